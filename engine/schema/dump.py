"""Writes the source's schema as a script, with pg_dump (seed "3.1 Dump and restore the schema")."""

from __future__ import annotations

import subprocess

from engine.connection.endpoint import Endpoint
from engine.errors import EngineError, Failure
from engine.schema.programs import child_environment, client_programs
from engine.schema.script import SchemaScript

_OPTIONS = (
    "--schema-only",
    "--no-privileges",
    "--no-owner",
    "--no-publications",
    "--no-subscriptions",
    "--no-table-access-method",
    "--no-tablespaces",
    "--exclude-schema=_ts_live_sync",
    "--encoding=UTF8",
    # pg_dump waits for whoever alters a table; a minute, then it says so instead of hanging.
    "--lock-wait-timeout=60s",
    # Never a prompt: the terminal belongs to the screen.
    "--no-password",
)


def dump_schema(endpoint: Endpoint, source_version_number: int) -> SchemaScript:
    """Dump tables, indexes, functions and so on without rows, owners and privileges.

    Args:
        endpoint: The source.
        source_version_number: Its ``server_version_num``; pg_dump must be at least as new.

    Raises:
        BlockedError: There is no pg_dump on this machine that is new enough.
        EngineError: pg_dump failed; its messages are the detail.
    """
    programs = client_programs(source_version_number)
    finished = subprocess.run(
        [programs.pg_dump, *_OPTIONS, f"--dbname={endpoint.conninfo()}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=child_environment(endpoint),
        check=False,
    )
    messages = finished.stderr.decode("utf-8", "replace").strip()
    if finished.returncode != 0:
        hint = "Look at the message above; the role needs SELECT on every table and USAGE on every schema"
        if programs.is_from_wheel:
            hint += (
                ". This pg_dump was built without TLS; where the source needs TLS, install "
                f"postgresql-client-{programs.major}"
            )
        raise EngineError(
            Failure("pg_dump could not read the schema", detail=messages, hint=hint, side=endpoint.side)
        )
    # Since version 17 it writes this whatever it dumps; a target older than 17 would refuse the script.
    text = finished.stdout.decode("utf-8").replace("SET transaction_timeout = 0;\n", "", 1)
    return SchemaScript(text, programs.version_line)
