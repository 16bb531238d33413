"""PostgreSQL servers with TimescaleDB: Debian's Apache edition, unpacked and kept, and full ones found here.

Debian carries PostgreSQL 17 with the Apache edition. apt, told to use lists and a state of its own, resolves
and downloads it with the libraries it was built against; nothing is installed, no right is needed. The
programs run by that Debian's own dynamic loader, so the machine's own release does not matter.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest

VARIABLE = "TIMESCALEDB_INSTALLATIONS"
"""Folders of PostgreSQL installations with the full edition, like PATH; the first is the source's."""

_RELEASE = "trixie"
_MAJOR = 17
_PACKAGE = "postgresql-17-timescaledb"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_DOWNLOAD_SECONDS = 300

_COMPLETE = "complete"
"""A file that is there once all of an installation is."""

_NEEDED = ("lib", "postgresql-")
"""How names of packages begin that hold programs or libraries of the server."""

_STARTER = """#!/bin/sh
root=$(dirname "$0")/../../../../..
exec "$root/usr/lib/{triplet}/{loader}" --library-path "$root/usr/lib/{triplet}" \\
  --argv0 "$0" "$(dirname "$0")/../programs/{program}" "$@"
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """A server that offers TimescaleDB."""

    major: int
    """PostgreSQL's major version."""

    bin_directory: Path
    is_full: bool
    """Whether it is the edition under the Timescale License."""


def apache_edition() -> Installation:
    """Debian's packages, unpacked into a cache. Skips the test where they cannot be had."""
    kept = platformdirs.user_cache_path("livesync-tui", ensure_exists=True) / "servers"
    if os.geteuid() == 0:
        # The server's user, whom root becomes, cannot enter root's own folders.
        kept = Path("/var/cache/livesync-tui/servers")
    kept.mkdir(parents=True, exist_ok=True)
    installation = kept / f"{_RELEASE}-{_PACKAGE}"
    programs = installation / f"usr/lib/postgresql/{_MAJOR}/bin"
    with _alone(kept / f"{installation.name}.lock"):
        if not (installation / _COMPLETE).exists():
            shutil.rmtree(installation, ignore_errors=True)
            _download(installation)
            _make_runnable(installation, programs)
            (installation / _COMPLETE).touch()
    return Installation(_MAJOR, programs, is_full=False)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock between processes."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(installation: Path) -> None:
    tools = [shutil.which(name) for name in ("apt-get", "dpkg-deb", "dpkg")]
    if None in tools or not _KEYRING.exists():
        pytest.skip(f"TimescaleDB's Apache edition comes from Debian's {_PACKAGE}, and this is no Debian")
    apt = installation / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "preferences.d", "sources.list.d"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {_RELEASE} main\n")
    options = [
        f"Dir::State={apt}",
        f"Dir::State::Lists={apt}/lists",
        f"Dir::State::status={apt}/status",
        f"Dir::Cache={apt}/cache",
        f"Dir::Etc::sourcelist={apt}/sources.list",
        f"Dir::Etc::sourceparts={apt}/sources.list.d",
        f"Dir::Etc::preferences={apt}/none",
        f"Dir::Etc::preferencesparts={apt}/preferences.d",
        "APT::Install-Recommends=false",
        "Debug::NoLocking=true",
        "APT::Sandbox::User=",
    ]
    for action in (["update"], ["--yes", "--download-only", "install", _PACKAGE]):
        _require(["apt-get", *(f"-o{option}" for option in options), *action])
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        if package.name.startswith(_NEEDED):
            _require(["dpkg-deb", "--extract", str(package), str(installation)])
    shutil.rmtree(apt)


def _mirror() -> str:
    """The archive that this machine's own apt takes Debian from; its lists need not be there."""
    columns = "$(CREATED_BY) $(COMPONENT) $(REPO_URI)"
    listed = _require(["apt-get", "--no-release-info", "indextargets", "--format", columns])
    for line in listed.splitlines():
        created_by, component, *uri = line.split()
        if (created_by, component) == ("Packages", "main") and uri[0].rstrip("/").endswith("/debian"):
            return uri[0]
    pytest.skip("apt of this machine takes nothing from Debian's main archive")


def _require(command: list[str]) -> str:
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} took more than {_DOWNLOAD_SECONDS} s to get {_PACKAGE}")
    if finished.returncode != 0:
        pytest.skip(f"{command[0]} cannot get {_PACKAGE}: {finished.stderr.strip()[-200:]}")
    return finished.stdout


def _make_runnable(installation: Path, programs: Path) -> None:
    """Put a starter in the place of each program: it names the loader and the libraries that belong to it."""
    loader = next(installation.glob("usr/lib/*/ld-linux-*.so.*"))
    moved = programs.parent / "programs"
    programs.rename(moved)
    programs.mkdir()
    for program in moved.iterdir():
        starter = programs / program.name
        starter.write_text(
            _STARTER.format(triplet=loader.parent.name, loader=loader.name, program=program.name)
        )
        starter.chmod(0o755)


def full_editions() -> list[Installation]:
    """Installed servers with the full edition, the one for sources first. Skips the test without any."""
    named = os.environ.get(VARIABLE, "")
    folders = [Path(folder) for folder in named.split(os.pathsep) if folder]
    if not folders:
        folders = sorted(Path("/usr/lib/postgresql").glob("*"), key=lambda folder: folder.name.zfill(3))
    found = [installation for folder in folders if (installation := _full_edition(folder)) is not None]
    if not found:
        where = named or "/usr/lib/postgresql"
        pytest.skip(
            f"No PostgreSQL with TimescaleDB's full edition in {where}; {VARIABLE} can name some, like PATH"
        )
    return found


def _full_edition(folder: Path) -> Installation | None:
    programs = folder / "bin"
    asked = programs / "pg_config"
    if not asked.exists():
        return None
    said = subprocess.run(
        [asked, "--pkglibdir", "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    major = re.search(r"\d+", said[1])
    assert major is not None
    if not list(Path(said[0]).glob("timescaledb-tsl-*.so")):
        return None
    return Installation(int(major[0]), programs, is_full=True)
