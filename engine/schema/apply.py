"""Runs statements that make objects, each behind a savepoint: one refused does not hide how the others do.

Either what could be done is kept, committed in portions because each new object is a lock until then, or all
of it is undone when one was refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import psycopg

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session, open_session
from engine.errors import Failure, Side, UsageError
from engine.schema.comparison import Applied, AppliedStatement, ApplyReport, PlannedStatement
from engine.script.grammar import drops_of

_STATEMENTS_AT_ONCE = 200

_SETTINGS = {
    # A function may be written before what it uses.
    "check_function_bodies": "off",
    "client_min_messages": "warning",
}
"""As pg_dump's own scripts have them; sessions have the rest, such as the empty search_path."""

_EXISTS = frozenset(("42710", "42P06", "42P07", "42701", "42723"))
"""SQLSTATEs of what is there already: duplicate_object, _schema, _table, _column, _function."""

_SAVEPOINT = "savepoint statement"
"""Sent before each statement, not with it: one that cannot even be parsed would take it down."""

OnResult = Callable[[AppliedStatement], None]


def open_schema_session(endpoint: Endpoint) -> Session:
    """A session with the settings that statements of pg_dump need; not to be used for anything else.

    Raises:
        ConnectionFailedError, BlockedError: There is none to be had.
    """
    return open_session(endpoint, "schema", extra=_SETTINGS)


def apply_statements(
    session: Session,
    statements: Sequence[PlannedStatement],
    *,
    all_or_nothing: bool,
    there: Callable[[str], bool] = lambda statement: False,
    may_drop: Collection[str] = (),
    finish: Callable[[ApplyReport], None] | None = None,
    on_result: OnResult | None = None,
) -> ApplyReport:
    """Run statements in order.

    Args:
        session: As :func:`open_schema_session` makes it, with no transaction open.
        statements: What to run.
        all_or_nothing: Undo everything when one is refused, or finds something else of that name.
        there: Whether exactly this statement's object is on the target, so that nothing is to be done.
        may_drop: Names of what may be dropped or emptied, as a person typed them: quoted where needed, with
            schema, a column or constraint after its table. Never more than these, so never with CASCADE.
        finish: Called inside the last transaction, unless that will be undone; what it does is committed with
            the last statements.
        on_result: Told each result as it comes; of an undone transaction it was told what then is undone.

    Raises:
        UsageError: A statement would drop what may not be dropped; nothing was run.
        ConnectionFailedError: The session was lost. What was committed stays.
        EngineError: ``finish`` raised it, or a deferred constraint was refused at the commit.
    """
    for planned in statements:
        _require_may_drop(planned, may_drop)
    results: list[AppliedStatement] = []
    portions = (
        [statements]
        if all_or_nothing or not statements
        else [
            statements[first : first + _STATEMENTS_AT_ONCE]
            for first in range(0, len(statements), _STATEMENTS_AT_ONCE)
        ]
    )
    try:
        for number, portion in enumerate(portions, 1):
            session.execute(f"begin; {_SAVEPOINT}")
            for planned in portion:
                if there(planned.sql):
                    result = AppliedStatement(planned, Applied.IDENTICAL)
                else:
                    result = _run(session, planned)
                results.append(result)
                if on_result is not None:
                    on_result(result)
            report = ApplyReport(tuple(results))
            if all_or_nothing and (report.refused or report.those(Applied.EXISTS)):
                session.execute("rollback")
                return ApplyReport(tuple(map(_undone, results)))
            if finish is not None and number == len(portions):
                finish(report)
            session.execute("commit")
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "bringing the schema") from None
    finally:
        if not session.closed:
            session.rollback()
    return ApplyReport(tuple(results))


def _run(session: Session, planned: PlannedStatement) -> AppliedStatement:
    """Run one statement in the open transaction.

    Raises:
        psycopg.Error: The session was lost.
    """
    began = time.monotonic()
    try:
        session.execute(planned.sql.encode("utf-8", "surrogateescape"))
    except psycopg.Error as error:
        if session.closed or is_connection_loss(error):
            raise
        session.execute("rollback to savepoint statement")
        exists = error.sqlstate in _EXISTS
        failure = Failure(
            f"{planned.about} {'is there already' if exists else 'was refused'}",
            message_of(error),
            error.diag.message_hint or "",
            error.sqlstate,
            Side.TARGET,
        )
        return AppliedStatement(
            planned,
            Applied.EXISTS if exists else Applied.REFUSED,
            time.monotonic() - began,
            failure,
        )
    session.execute(f"release savepoint statement; {_SAVEPOINT}")
    return AppliedStatement(planned, Applied.DONE, time.monotonic() - began)


def _undone(result: AppliedStatement) -> AppliedStatement:
    return replace(result, outcome=Applied.UNDONE) if result.outcome is Applied.DONE else result


def _require_may_drop(planned: PlannedStatement, may_drop: Collection[str]) -> None:
    drops = drops_of(planned.sql)
    if drops is None:
        return
    unnamed = [name for name in drops.names if name not in may_drop]
    if unnamed:
        raise UsageError(
            Failure(
                f"A statement would drop or empty {', '.join(unnamed)}; nothing was run",
                hint="Take it out, or name what may be dropped",
                side=Side.TARGET,
            )
        )
    if drops.is_cascade:
        raise UsageError(
            Failure(
                f"A statement would drop whatever depends on {', '.join(drops.names)}; nothing was run",
                hint="Write it without CASCADE, and drop what depends on it by name",
                side=Side.TARGET,
            )
        )
