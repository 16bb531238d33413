"""Runs the statements of a finding's fix."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from psycopg.errors import Diagnostic

from engine.connection.endpoint import Endpoint
from engine.connection.explain import message_of
from engine.connection.session import Session, open_session
from engine.script.planned import Outcome, StatementResult

_PATIENCE = {"lock_timeout": "10s", "statement_timeout": "60s"}
"""A fix changes a setting or a right; one that takes longer waits for somebody, whom it would hold up too."""

_NOTHING_DONE = frozenset(("01006", "01007"))
"""SQLSTATEs of warnings: a GRANT or REVOKE without the right to it, which PostgreSQL does not refuse."""


def apply_fix(endpoint: Endpoint, statements: Sequence[str]) -> tuple[StatementResult, ...]:
    """Run statements one by one, each committed by itself (ALTER SYSTEM refuses a transaction).

    The first that is refused is the last: what comes after it counts on it.

    Args:
        endpoint: Where to run them, and as whom.
        statements: As :attr:`engine.providers.fix.Fix.sql` has them.

    Returns:
        A result for each statement that was run.

    Raises:
        ConnectionFailedError: The server cannot be reached; nothing was run.
        EngineError: It can, but not as it has to be; nothing was run.
    """
    results: list[StatementResult] = []
    with open_session(endpoint, "fix", extra=_PATIENCE) as session:
        for statement in statements:
            results.append(_run(session, statement))
            if results[-1].outcome is not Outcome.APPLIED:
                break
    return tuple(results)


def _run(session: Session, statement: str) -> StatementResult:
    refusals: list[tuple[str, str | None]] = []

    def keep(notice: Diagnostic) -> None:
        if notice.sqlstate in _NOTHING_DONE:
            refusals.append((notice.message_primary or "", notice.sqlstate))

    session.add_notice_handler(keep)
    began = time.monotonic()
    try:
        session.execute(statement.encode())
    except psycopg.Error as error:
        refusals.append((message_of(error), error.sqlstate))
    finally:
        session.remove_notice_handler(keep)
    seconds = time.monotonic() - began
    if refusals:
        said, sqlstate = refusals[0]
        return StatementResult(statement, statement, Outcome.REFUSED, said, sqlstate, seconds)
    return StatementResult(statement, statement, Outcome.APPLIED, seconds=seconds)
