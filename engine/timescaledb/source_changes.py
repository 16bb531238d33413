"""Makes changes on the source for the time of the migration, and puts back what was before.

Each is recorded in the target, table ``_ts_live_sync.source_change``, before it is made: whoever crashes in
between leaves a record of a change that was not made, and taking that back does no harm. The record is the
only one. On the source nothing is left that says whose doing a paused job is: what a table's owner may write
there (comments, a job's ``config``) is part of the schema that is being moved, and settings of an own name
need a superuser. So where the target is gone, :func:`find_left_over` says what it may have been, for a person
to decide.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import psycopg

from engine.checks.identity import DatabaseIdentity, read_identity
from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.errors import Side
from engine.script.planned import Outcome, Script, ScriptResult, StatementResult
from engine.timescaledb.pause import find_paused, plan_pause
from engine.timescaledb.read_catalog import read_catalog
from engine.timescaledb.temporary_change import TemporaryChange, restore_script
from engine.timescaledb.visible_writes import find_visible_writes, plan_visible_writes

_EXISTS = "select pg_catalog.to_regclass('_ts_live_sync.source_change') is not null"

_INSERT = """
insert into _ts_live_sync.source_change
       (subname, about, statement, restore, job, source_system_identifier, source_database)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (subname, about) do nothing
"""

_READ = """
select c.about, c.statement, c.restore, c.job, c.source_system_identifier, c.source_database
  from _ts_live_sync.source_change c
 where c.subname = %s
 order by c.position
"""

_DELETE = "delete from _ts_live_sync.source_change where subname = %s and about = %s"

_FORGET = "delete from _ts_live_sync.source_change where subname = %s"

_PAUSED = """
select c.job
  from _ts_live_sync.source_change c
 where c.job is not null and c.source_database = %(database)s
   and coalesce(c.source_system_identifier = %(system)s, true)
"""

_PATIENCE = "10s"
"""How long a change may wait for a lock: whoever waits for us would wait as long."""

_LEFT_OVER = (
    "The record of what the migration changed is gone with the target. This is all that looks like it; "
    "leave out what was so before the migration",
)


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change as recorded, and where it was made."""

    change: TemporaryChange
    system_identifier: str | None
    database: str

    def is_of(self, source: DatabaseIdentity) -> bool:
        """Whether it was made there, as far as can be told."""
        systems = {self.system_identifier, source.system_identifier} - {None}
        return self.database == source.database and len(systems) < 2


class SourceChangeStore:
    """The record of one subscription over one target session.

    Every method raises :class:`~engine.errors.EngineError` when the target refuses or is gone.
    """

    def __init__(self, target: Session, subscription: str) -> None:
        self._target = target
        self._subscription = subscription

    def _run(
        self, statement: str, parameters: list[object], doing: str
    ) -> psycopg.Cursor[tuple[object, ...]]:
        try:
            return self._target.execute(statement.encode(), parameters)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, doing) from None

    def exists(self) -> bool:
        """Whether the target holds the table; an older version of us made none."""
        return self._run(_EXISTS, [], "looking for changes of the source").fetchone() == (True,)

    def record(self, change: TemporaryChange, source: DatabaseIdentity) -> None:
        """Write down a change that is about to be made; what was recorded of it before stays."""
        self._run(
            _INSERT,
            [
                self._subscription,
                change.about,
                change.statement,
                change.restore,
                change.job,
                source.system_identifier,
                source.database,
            ],
            "recording a change of the source",
        )

    def changes(self) -> tuple[RecordedChange, ...]:
        """All that was not taken back, in the order it was made."""
        if not self.exists():
            return ()
        rows = self._run(_READ, [self._subscription], "reading changes of the source").fetchall()
        return tuple(
            RecordedChange(
                TemporaryChange(
                    str(about), str(statement), str(restore), None if job is None else int(str(job))
                ),
                None if system is None else str(system),
                str(database),
            )
            for about, statement, restore, job, system, database in rows
        )

    def delete(self, change: TemporaryChange) -> None:
        """Forget a change that was taken back."""
        self._run(_DELETE, [self._subscription, change.about], "forgetting a change of the source")

    def forget(self) -> None:
        """Forget all changes of the subscription, taken back or not."""
        if self.exists():
            self._run(_FORGET, [self._subscription], "forgetting changes of the source")


def plan_changes(source: Session, chosen_jobs: Collection[int] = ()) -> tuple[TemporaryChange, ...]:
    """What a source with TimescaleDB needs for the migration's time: visible writes, and jobs that wait.

    Args:
        source: On the source, as the role that will do it; nothing is changed.
        chosen_jobs: Numbers of users' jobs that wait too.

    Returns:
        Nothing without the extension, and where nothing is left to change.

    Raises:
        EngineError: The source could not be read.
    """
    catalog = read_catalog(source, Side.SOURCE)
    if catalog is None:
        return ()
    return (*plan_visible_writes(source), *plan_pause(catalog, chosen_jobs))


def make_changes(
    source: Session, store: SourceChangeStore, changes: Iterable[TemporaryChange]
) -> ScriptResult:
    """Record each change, then make it. One that is refused does not keep the others from being made.

    Args:
        source: In autocommit mode, with no transaction open.
        store: On a target that has the state's tables.
        changes: As planned.

    Returns:
        What became of each; what is refused is not recorded any more.

    Raises:
        EngineError: A server was lost; what was recorded is taken back by :func:`take_back`.
    """
    identity = read_identity(source, Side.SOURCE)
    known = {recorded.change.about for recorded in store.changes()}
    results = []
    for change in changes:
        store.record(change, identity)
        result = _run(source, change.about, change.statement)
        if result.outcome is Outcome.REFUSED and change.about not in known:
            store.delete(change)
        results.append(result)
    return ScriptResult(tuple(results))


def take_back(source: Session, store: SourceChangeStore) -> ScriptResult:
    """Put back what was before all recorded changes, the last one first.

    Args:
        source: In autocommit mode, with no transaction open.
        store: On the target.

    Returns:
        What became of each; what was put back is not recorded any more, what was refused still is.

    Raises:
        EngineError: A server was lost; what is left is taken back by the next call.
    """
    recorded = store.changes()
    if not recorded:
        return ScriptResult(())
    identity = read_identity(source, Side.SOURCE)
    results = []
    for one in reversed(recorded):
        about = f"{one.change.about}: as before"
        if not one.is_of(identity):
            said = f"this was done in database {one.database} of another source"
            results.append(StatementResult(about, one.change.restore, Outcome.REFUSED, said))
            continue
        result = _run(source, about, one.change.restore)
        if result.outcome is not Outcome.REFUSED:
            store.delete(one.change)
        results.append(result)
    return ScriptResult(tuple(results))


def _run(source: Session, about: str, statement: str) -> StatementResult:
    """One statement in a transaction of its own.

    Raises:
        ConnectionFailedError: The source was lost.
    """
    began = time.monotonic()
    try:
        with source.transaction():
            source.execute("select pg_catalog.set_config('lock_timeout', %s, true)", [_PATIENCE])
            source.execute(statement.encode())
    except psycopg.Error as error:
        if source.closed or is_connection_loss(error):
            raise explain(error, Side.SOURCE, about) from None
        seconds = time.monotonic() - began
        return StatementResult(about, statement, Outcome.REFUSED, message_of(error), error.sqlstate, seconds)
    return StatementResult(about, statement, Outcome.APPLIED, seconds=time.monotonic() - began)


def paused_jobs(target: Session, source: DatabaseIdentity) -> frozenset[int]:
    """Numbers of the source's jobs that are paused only because a migration into ``target`` did so.

    Raises:
        EngineError: The target could not be read.
    """
    try:
        if target.execute(_EXISTS).fetchone() != (True,):
            return frozenset()
        rows = target.execute(
            _PAUSED, {"database": source.database, "system": source.system_identifier}
        ).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading which jobs of the source are paused") from None
    return frozenset(int(str(number)) for (number,) in rows)


def find_left_over(source: Session) -> Script:
    """What a migration may have left on the source whose target is gone, with what puts it back.

    Args:
        source: On the source; nothing is changed.

    Raises:
        EngineError: The source could not be read.
    """
    catalog = read_catalog(source, Side.SOURCE)
    if catalog is None:
        return restore_script(())
    return restore_script((*find_paused(catalog), *find_visible_writes(source)), _LEFT_OVER)
