"""Applies a schema script to the target with psql, all of it or nothing."""

from __future__ import annotations

import re
import subprocess

from engine.connection.endpoint import Endpoint
from engine.errors import ConnectionFailedError, EngineError, Failure, Retry
from engine.schema.programs import child_environment, client_programs
from engine.schema.script import ScriptOutcome

_OPTIONS = (
    "--no-psqlrc",
    "--no-password",
    # Only tags and messages, so that commands can be counted.
    "--tuples-only",
    "--no-align",
    "--set=ON_ERROR_STOP=1",
    "--single-transaction",
    "--file=-",
)

_COMMAND_TAG = re.compile(r"[A-Z]+(?: [A-Z]+)*(?: \d+)*")
_OF_THE_TRANSACTION = frozenset({"BEGIN", "COMMIT", "ROLLBACK"})

_CONNECTION_BROKE = 2
_SCRIPT_FAILED = 3


_DUMPED_BY = re.compile(r"^-- Dumped by pg_dump version (\d+)", re.MULTILINE)
_HEADER_CHARACTERS = 2000


def apply_script(endpoint: Endpoint, text: str) -> ScriptOutcome:
    """Run ``text`` in one transaction; when a statement fails, nothing of it remains.

    Args:
        endpoint: The target.
        text: What pg_dump wrote, possibly edited.

    Raises:
        BlockedError: There is no psql on this machine that is new enough.
        ConnectionFailedError: The target cannot be reached or went away.
        EngineError: psql could not run.
    """
    # psql has to know the backslash commands of the pg_dump that wrote the script.
    written_by = _DUMPED_BY.search(text[:_HEADER_CHARACTERS])
    programs = client_programs(int(written_by.group(1)) * 10000 if written_by else 0)
    finished = subprocess.run(
        [programs.psql, *_OPTIONS, f"--dbname={endpoint.conninfo()}"],
        input=text.encode("utf-8"),
        capture_output=True,
        env=child_environment(endpoint),
        check=False,
    )
    messages = finished.stderr.decode("utf-8", "replace").strip()
    tags = [
        line
        for line in finished.stdout.decode("utf-8", "replace").splitlines()
        if _COMMAND_TAG.fullmatch(line) and line not in _OF_THE_TRANSACTION
    ]
    if finished.returncode == 0:
        return ScriptOutcome(applied=True, statements=len(tags), error="")
    if finished.returncode == _SCRIPT_FAILED:
        return ScriptOutcome(applied=False, statements=len(tags), error=messages)
    hint = "Check that the target can be reached; the script runs in one transaction, so it can be repeated"
    if programs.is_from_wheel:
        hint += (
            ". This psql was built without TLS; where the target needs TLS, install "
            f"postgresql-client-{programs.major}"
        )
    if finished.returncode == _CONNECTION_BROKE:
        raise ConnectionFailedError(
            Failure(
                "psql lost or could not make its connection to the target",
                detail=messages,
                hint=hint,
                side=endpoint.side,
                retry=Retry.MANUAL,
            )
        )
    raise EngineError(Failure("psql could not run", detail=messages, hint=hint, side=endpoint.side))
