"""Reads the source's schema with ``pg_dump``, the one program that knows all of it."""

from __future__ import annotations

import subprocess

from engine.connection.endpoint import CONNECT_TIMEOUT_SECONDS, Endpoint
from engine.errors import EngineError, Failure, Retry
from engine.schema.programs import find_program, program_environment
from engine.schema.script import SchemaScript

_FLAGS = (
    "--schema-only",
    # Roles and grants are the target's own affair; managed targets refuse most of them.
    "--no-owner",
    "--no-privileges",
    "--no-publications",
    "--no-subscriptions",
    "--no-tablespaces",
    "--exclude-schema=_ts_live_sync",
    "--encoding=UTF8",
    # An ALTER TABLE that is stuck on the source must not hang the wizard without a word.
    "--lock-wait-timeout=60s",
    "--no-password",
)

_NO_TABLE_ACCESS_METHOD_SINCE = 15

_SINCE_17 = "SET transaction_timeout = 0;\n"
"""pg_dump 17 begins every script with it; a target older than that would refuse the script."""


def dump_schema(endpoint: Endpoint, source_version_number: int) -> SchemaScript:
    """Dump the schema of a whole database as an SQL script.

    The password goes to pg_dump by its environment; the command line, which everybody on this machine can
    read, has none.

    Args:
        endpoint: The database.
        source_version_number: Its ``server_version_num``; pg_dump has to be of that major version or newer.

    Raises:
        BlockedError: No pg_dump is new enough.
        EngineError: pg_dump failed; the detail is what it said.
    """
    program = find_program("pg_dump", source_version_number // 10000)
    flags = list(_FLAGS)
    if program.version[0] >= _NO_TABLE_ACCESS_METHOD_SINCE:
        flags.append("--no-table-access-method")
    try:
        finished = subprocess.run(
            [program.path, *flags, f"--dbname={endpoint.conninfo()}"],
            env=program_environment(endpoint.environment(), CONNECT_TIMEOUT_SECONDS),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            # A database in SQL_ASCII may hold anything; it has to come out as it went in.
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        raise EngineError(
            Failure(f"{program.path} could not be run", error.strerror or "", side=endpoint.side)
        ) from None
    if finished.returncode != 0:
        raise EngineError(
            Failure(
                title=f"pg_dump could not read the schema of the {endpoint.side.value}",
                detail=finished.stderr.strip(),
                hint=program.hint(),
                side=endpoint.side,
                retry=Retry.MANUAL,
            )
        )
    text = finished.stdout.replace(_SINCE_17, "", 1) if program.version[0] >= 17 else finished.stdout
    return SchemaScript(text, program.version_line)
