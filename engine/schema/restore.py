"""Applies a schema script with ``psql``, whole or not at all."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from engine.connection.endpoint import CONNECT_TIMEOUT_SECONDS, Endpoint
from engine.errors import ConnectionFailedError, EngineError, Failure, Retry
from engine.schema.programs import find_program, program_environment
from engine.schema.script import ScriptOutcome

_RESTRICT = re.compile(r"^\\restrict ", re.M)
"""How scripts of newer pg_dumps begin, so that a malicious server cannot smuggle in psql's own commands."""

_OLDEST_MAJOR = 13
_RESTRICT_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}

_COMMAND_TAG = re.compile(r"[A-Z]+(?: [A-Z]+)*(?: \d+)*")
"""Rows of a result begin with a space, so they do not look like one."""

_CONNECTION_FAILED = 2
"""psql's exit status when there is no connection, or no longer one."""


def apply_script(endpoint: Endpoint, text: str) -> ScriptOutcome:
    """Run a script in one transaction; the first error undoes all of it.

    Args:
        endpoint: The database.
        text: SQL, and psql's own commands such as pg_dump's ``\\restrict``.

    Returns:
        Whether it was applied, or psql's messages about the statement that failed.

    Raises:
        BlockedError: No psql on this machine understands the script.
        ConnectionFailedError: The database cannot be reached or went away.
        EngineError: psql could not be run.
    """
    program = find_program("psql", _OLDEST_MAJOR, _RESTRICT_SINCE if _RESTRICT.search(text) else {})
    command: list[str | Path] = [
        program.path,
        "--no-psqlrc",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
        "--single-transaction",
        # psql refuses --single-transaction for a script that it was not told to read.
        "--file=-",
        f"--dbname={endpoint.conninfo()}",
    ]
    try:
        finished = subprocess.run(
            command,
            env=program_environment(endpoint.environment(), CONNECT_TIMEOUT_SECONDS),
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        raise EngineError(
            Failure(f"{program.path} could not be run", error.strerror or "", side=endpoint.side)
        ) from None
    if finished.returncode == _CONNECTION_FAILED:
        raise ConnectionFailedError(
            Failure(
                title=f"psql has no connection to the {endpoint.side.value}",
                detail=finished.stderr.strip(),
                hint=program.hint(),
                side=endpoint.side,
                retry=Retry.MANUAL,
            )
        )
    applied = finished.returncode == 0
    statements = sum(1 for line in finished.stdout.splitlines() if _COMMAND_TAG.fullmatch(line))
    return ScriptOutcome(applied, statements, "" if applied else finished.stderr.strip())
