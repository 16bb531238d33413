"""Runs a script's statements one by one: what is refused does not keep the others from being done."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg
from psycopg.errors import Diagnostic

from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.errors import Side
from engine.script.grammar import ScriptUnit, split_script
from engine.script.masking import mask
from engine.script.planned import Outcome, ScriptResult, StatementResult

_UNITS_AT_ONCE = 200
"""How many are committed together. A changed owner locks a table with all its indexes until the commit, and
the server has room for a few thousand locks."""

_ALREADY_THERE = frozenset(("42710", "42P04", "42P06", "42P07", "42701"))
"""SQLSTATEs of objects that exist (duplicate_object and its kin)."""

_NOTHING_DONE = frozenset(("01006", "01007"))
"""SQLSTATEs of warnings: a GRANT or REVOKE that a role had no right to, which PostgreSQL does not refuse."""


_KEEP = "release savepoint statement; savepoint statement"
_UNDO = "rollback to savepoint statement"
"""Both leave a savepoint for the next unit, which is sent on its own: one that the server cannot even parse
would take a savepoint sent along with it down."""


@dataclass(frozen=True, slots=True)
class _Notice:
    severity: str | None
    sqlstate: str | None
    said: str


def run_script(
    session: Session, text: str, side: Side, *, units_at_once: int = _UNITS_AT_ONCE
) -> ScriptResult:
    """Run all statements of a script, each behind a savepoint.

    What ran before the connection was lost, and was committed, stays; planning again leaves it out.

    Args:
        session: In autocommit mode, with no transaction open, and not used afterwards: what the script SETs
            stays.
        text: As :meth:`~engine.script.planned.Script.text` makes it, edited or not, with its passwords.
        side: Where it runs, for messages.
        units_at_once: How many are committed together; what they lock stays locked until then.

    Raises:
        UsageError: It is not SQL; nothing was run.
        ConnectionFailedError: The session was lost.
    """
    units = split_script(text)
    results: list[StatementResult] = []
    notices: list[_Notice] = []

    def keep(notice: Diagnostic) -> None:
        # It is empty as soon as this returns.
        notices.append(_Notice(notice.severity_nonlocalized, notice.sqlstate, notice.message_primary or ""))

    session.add_notice_handler(keep)
    try:
        for first in range(0, len(units), units_at_once):
            batch = units[first : first + units_at_once]
            session.execute("begin; savepoint statement")
            done = [_run(session, unit, notices) for unit in batch]
            session.execute("commit")
            results += done
    except psycopg.Error as error:
        raise explain(error, side, "running a script") from None
    finally:
        session.remove_notice_handler(keep)
        if not session.closed:
            # A server that was stopped, or an interrupt, must not leave a transaction open.
            session.rollback()
    return ScriptResult(tuple(results))


def _run(session: Session, unit: ScriptUnit, notices: list[_Notice]) -> StatementResult:
    """Run one unit in the open transaction.

    Raises:
        psycopg.Error: The session was lost.
    """
    shown, _ = mask(unit.sql)
    about = unit.comment or " ".join(shown.split())
    notices.clear()
    began = time.monotonic()
    try:
        session.execute(unit.sql.encode())
        seconds = time.monotonic() - began
    except psycopg.Error as error:
        if session.closed or is_connection_loss(error):
            raise
        session.execute(_UNDO)
        there = error.sqlstate in _ALREADY_THERE
        outcome = Outcome.ALREADY_THERE if there else Outcome.REFUSED
        return StatementResult(
            about, shown, outcome, message_of(error), error.sqlstate, time.monotonic() - began
        )
    for notice in notices:
        if notice.sqlstate in _NOTHING_DONE:
            session.execute(_UNDO)
            return StatementResult(about, shown, Outcome.REFUSED, notice.said, notice.sqlstate, seconds)
    session.execute(_KEEP)
    for notice in notices:
        if unit.grants_role and notice.severity == "NOTICE":
            return StatementResult(about, shown, Outcome.ALREADY_THERE, notice.said, seconds=seconds)
    return StatementResult(about, shown, Outcome.APPLIED, seconds=seconds)
