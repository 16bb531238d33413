"""Runs a script about tables that an application is using, so that the application waits for seconds at most.

Each statement waits a few seconds for its locks and is committed by itself. Of one that did not get them it
is said who has them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import psycopg

from engine.catalog.identity_change import LOCK_TIMEOUT_SECONDS
from engine.catalog.lock_holders import hint_about, lock_holders
from engine.catalog.table import TableName
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.script.grammar import split_script
from engine.script.planned import ScriptResult, StatementResult, one_line
from engine.script.run import run_script

_LOCK_NOT_AVAILABLE = "55P03"
_SET_LOCK_TIMEOUT = "select pg_catalog.set_config('lock_timeout', %s, false)"


@dataclass(frozen=True, slots=True)
class LockedTables:
    """What a script's statements lock, to find out who keeps one waiting."""

    is_exclusive: bool
    """Whether they wait for readers too, as ALTER TABLE does."""

    by_statement: Mapping[str, Collection[TableName]] = field(default_factory=dict)
    """By what a statement is about."""

    otherwise: Collection[TableName] = ()
    """Of a statement that was written by hand."""


def run_guarded_script(
    session: Session,
    text: str,
    locked: LockedTables,
    *,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
) -> ScriptResult:
    """Run all statements of a script one by one; one that is refused keeps no other back.

    Args:
        session: On the source, in autocommit mode, and not used afterwards: what the script SETs stays.
        text: As :meth:`~engine.script.planned.Script.text` makes it, edited or not.
        locked: What its statements lock.
        lock_timeout_seconds: How long each may wait for a lock, which makes the application wait behind it.

    Raises:
        UsageError: It is not SQL; nothing was run.
        ConnectionFailedError: The session was lost; what had been run stays.
    """
    units = split_script(text)
    try:
        session.execute(_SET_LOCK_TIMEOUT, (f"{lock_timeout_seconds * 1000:.0f}ms",))
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "running a script") from None
    by_statement = {one_line(about): tables for about, tables in locked.by_statement.items()}
    results: list[StatementResult] = []
    for unit in units:
        [result] = run_script(
            session, f"-- {unit.comment}\n{unit.sql};", Side.SOURCE, units_at_once=1
        ).results
        if result.sqlstate == _LOCK_NOT_AVAILABLE:
            tables = by_statement.get(unit.comment, locked.otherwise)
            holders = lock_holders(session, tuple(tables), is_exclusive=locked.is_exclusive)
            result = replace(result, said=f"{result.said}. {hint_about(holders)}")
        results.append(result)
    return ScriptResult(tuple(results))
