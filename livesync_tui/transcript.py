"""The transcript of a migration: each statement the wizard ran, when, where, how long, what came of it.

It is SQL with comments, so that it can be read, searched, and compared with what somebody remembers. Entries
are only ever added. Passwords stand as placeholders, as they do wherever a statement is shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from engine.connection.summary import EndpointSummary
from engine.errors import Side
from engine.script.planned import Outcome, StatementResult, one_line

FILE_NAME = "transcript.sql"

_HEAD = re.compile(r"-- \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ (source|target) ")


@dataclass(frozen=True, slots=True)
class Executed:
    """One statement that was sent to a server."""

    sql: str
    """Passwords hidden; without the last semicolon."""

    seconds: float
    outcome: str
    """In a word or two: ``applied``, ``refused``."""

    said: str = ""
    """PostgreSQL's words, when it had any."""


def executed(results: Iterable[StatementResult]) -> tuple[Executed, ...]:
    """Results of a script for the transcript."""
    return tuple(
        Executed(
            result.sql,
            result.seconds,
            result.outcome.value,
            f"{result.said} (SQLSTATE {result.sqlstate})" if result.sqlstate else result.said,
        )
        for result in results
    )


def transcript_text(ended_at: datetime, where: EndpointSummary, statements: Iterable[Executed]) -> str:
    """Entries as they are written; each one ends its last line.

    Args:
        ended_at: When the last of them was done, in UTC.
        where: The server and role they were run as.
        statements: In order.
    """
    place = f"{where.side.value} {where.database} on {where.host}:{where.port} as {where.user}"
    lines: list[str] = []
    for statement in statements:
        lines.append(
            one_line(
                f"-- {ended_at:%Y-%m-%d %H:%M:%SZ} {place}: {statement.outcome}, {statement.seconds:.3f} s"
            )
        )
        if statement.said:
            lines.append(f"-- {one_line(statement.said)}")
        sql = f"{statement.sql.rstrip().removesuffix(';')};"
        # What was not applied must not run when somebody feeds the transcript to psql.
        done = statement.outcome not in (Outcome.REFUSED.value, Outcome.ALREADY_THERE.value)
        lines.extend(sql.splitlines() if done else (f"-- {line}" for line in sql.splitlines()))
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def applied_statements(text: str, side: Side) -> tuple[str, ...]:
    """Statements of a transcript that were applied on ``side``, in order, without the last semicolon."""
    found: list[str] = []
    lines: list[str] | None = None
    for line in (*text.splitlines(), ""):
        head = _HEAD.match(line)
        if head is not None:
            lines = [] if head[1] == side.value else None
        elif lines is None:
            continue
        elif not line:
            if lines:
                found.append("\n".join(lines).removesuffix(";"))
            lines = None
        elif lines or not line.startswith("-- "):  # What stands in front is the server's words.
            lines.append(line)
    return tuple(found)


def append_private(path: Path, text: str) -> None:
    """Add to a file that only its owner can read, and wait until it is on disk.

    Raises:
        OSError: The disk is full or read-only.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
