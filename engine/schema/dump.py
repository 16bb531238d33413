"""Reads the source's schema with ``pg_dump``, the one program that knows all of it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

from engine.connection.endpoint import CONNECT_TIMEOUT_SECONDS, Endpoint
from engine.errors import EngineError, Failure, Retry
from engine.schema.programs import Program, find_program, program_environment
from engine.schema.script import SchemaScript

_OUTPUT_FLAGS = (
    # Roles and grants are the target's own affair; managed targets refuse most of them.
    "--no-owner",
    "--no-privileges",
    "--no-publications",
    "--no-subscriptions",
    "--no-tablespaces",
)
"""What is left out of a script; ``pg_restore`` takes the same."""

_DUMP_FLAGS = (
    "--schema-only",
    "--exclude-schema=_ts_live_sync",
    # Chunks may be many thousands, and pg_dump locks each.
    "--exclude-schema=_timescaledb_*",
    "--encoding=UTF8",
    # An ALTER TABLE that is stuck on the source must not hang the wizard without a word.
    "--lock-wait-timeout=60s",
    "--no-password",
)

_SETTINGS = {
    "quote_all_identifiers": "off",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "lc_monetary": "C",
}
"""What databases and roles may be set to and pg_dump leaves as it is: all of it changes the text of defaults,
constraints and the bounds of partitions, so the same schema would be written in two ways."""

_NO_TABLE_ACCESS_METHOD_SINCE = 15

_SETTING_SINCE_17 = "SET transaction_timeout = 0;\n"
"""pg_dump 17 begins every script with it; a target older than that would refuse the script."""


def output_flags(program: Program) -> list[str]:
    """What to leave out of a script that ``program``, a pg_dump or pg_restore, writes."""
    flags = list(_OUTPUT_FLAGS)
    if program.version[0] >= _NO_TABLE_ACCESS_METHOD_SINCE:
        flags.append("--no-table-access-method")
    return flags


def for_any_target(script: str, program: Program) -> str:
    """The script that ``program`` wrote without what only targets of its own version understand."""
    return script.replace(_SETTING_SINCE_17, "", 1) if program.version[0] >= 17 else script


def dump_schema(endpoint: Endpoint, source_version_number: int) -> SchemaScript:
    """Dump the schema of a whole database as an SQL script.

    Args:
        endpoint: The database.
        source_version_number: Its ``server_version_num``; pg_dump has to be of that major version or newer.

    Raises:
        BlockedError: No pg_dump is new enough.
        EngineError: pg_dump failed; the detail is what it said.
    """
    program = find_program("pg_dump", source_version_number // 10000)
    # A database in SQL_ASCII may hold anything; it has to come out as it went in.
    text = run_pg_dump(endpoint, program).decode("utf-8", "surrogateescape")
    return SchemaScript(for_any_target(text, program), program.version_line)


def run_pg_dump(endpoint: Endpoint, program: Program, *flags: str) -> bytes:
    """Run pg_dump over the schema of a whole database.

    The password goes to pg_dump by its environment; the command line, which everybody on this machine can
    read, has none.

    Args:
        endpoint: The database.
        program: A pg_dump that is new enough for it.
        flags: Beside those that every dump of a schema has, such as the format.

    Returns:
        What it wrote.

    Raises:
        EngineError: It failed; the detail is what it said.
    """
    try:
        finished = subprocess.run(
            [
                program.path,
                *_DUMP_FLAGS,
                *output_flags(program),
                *flags,
                f"--dbname={_with_settings(endpoint).conninfo()}",
            ],
            env=program_environment(endpoint.environment(), CONNECT_TIMEOUT_SECONDS),
            stdin=subprocess.DEVNULL,
            capture_output=True,
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
                detail=finished.stderr.decode("utf-8", "replace").strip(),
                hint=program.hint(),
                side=endpoint.side,
                retry=Retry.MANUAL,
            )
        )
    return finished.stdout


def _with_settings(endpoint: Endpoint) -> Endpoint:
    """The endpoint with our settings after those that its own connections begin with, which they win over."""
    # Options of a connection string take the place of the environment's.
    own = endpoint.parameters.get("options") or os.environ.get("PGOPTIONS", "")
    ours = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
    return replace(endpoint, parameters={**endpoint.parameters, "options": f"{own} {ours}".strip()})
