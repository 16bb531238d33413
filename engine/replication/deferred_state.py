"""The record of the schema's deferred steps in the target, table ``_ts_live_sync.deferred``.

It is filled by the transaction that restores the rest of the schema, so neither is there without the other.
A step is marked done by the transaction that runs its statement. Whoever runs one locks its row first, which
waits for a commit in doubt, and looks at the state again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.schema.deferral import DeferredObject
from engine.schema.script import WaitingObjects


class StepState(Enum):
    """What became of a step."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    """The target refused it; the next start of an engine tries it again."""


_EXISTS = "select pg_catalog.to_regclass('_ts_live_sync.deferred') is not null"

_READ = """
select position, kind, name, statement, source_tables::int8[], needed_by::int8[], requires, state, last_error
  from _ts_live_sync.deferred
 where subname = %s
 order by position
"""

_CLAIM = """
select state from _ts_live_sync.deferred where subname = %s and position = %s for update
"""

_WRITE = """
update _ts_live_sync.deferred
   set state = %s, last_error = %s, updated_at = pg_catalog.now()
 where subname = %s and position = %s
"""

_TRY_AGAIN = """
update _ts_live_sync.deferred
   set state = 'pending', last_error = null, updated_at = pg_catalog.now()
 where subname = %s and state = 'failed'
"""

_INSERT = """
insert into _ts_live_sync.deferred
       (subname, position, kind, name, statement, source_tables, needed_by, requires) values
"""

_NOT_STARTED = """
select d.subname, pg_catalog.count(*)
  from _ts_live_sync.deferred d
 where d.state <> 'done'
   and not exists (select from _ts_live_sync.subscription s where s.subname = d.subname)
 group by d.subname
 order by d.subname
"""

_FORGET = "delete from _ts_live_sync.deferred where subname = %s"


@dataclass(frozen=True, slots=True)
class DeferredStep:
    """One step as recorded."""

    planned: DeferredObject
    state: StepState
    last_error: str | None

    @property
    def position(self) -> int:
        """Its number in the order."""
        return self.planned.position

    @property
    def label(self) -> str:
        """Kind and name, for a person: ``index orders_total``."""
        return f"{self.planned.kind.lower()} {self.planned.name}"


class DeferredStore:
    """Reads and writes the steps of one subscription over one target session.

    Every method raises :class:`~engine.errors.EngineError` when the target refuses or is gone.
    """

    def __init__(self, session: Session, subscription: str) -> None:
        self._session = session
        self._subscription = subscription

    def _run(
        self, statement: str, parameters: Sequence[object], doing: str
    ) -> psycopg.Cursor[tuple[object, ...]]:
        try:
            return self._session.execute(statement.encode(), parameters)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, doing) from None

    def steps(self) -> tuple[DeferredStep, ...]:
        """All steps in order; none where an older version of us made the state."""
        if self._run(_EXISTS, (), "looking for deferred steps").fetchone() != (True,):
            return ()
        rows = self._run(_READ, (self._subscription,), "reading the deferred steps").fetchall()
        return tuple(_step(row) for row in rows)

    def unfinished(self) -> tuple[DeferredStep, ...]:
        """The steps that are pending or failed."""
        return tuple(step for step in self.steps() if step.state is not StepState.DONE)

    def claim(self, position: int) -> StepState | None:
        """Lock a step until the transaction ends; its state, None when it was forgotten.

        Raises:
            psycopg.Error: The target refused, or the lock was not to be had in time.
        """
        row = self._session.execute(_CLAIM.encode(), (self._subscription, position)).fetchone()
        return None if row is None else StepState(str(row[0]))

    def write(self, position: int, state: StepState, last_error: str | None = None) -> None:
        """Record what became of a step."""
        self._run(
            _WRITE,
            (state.value, last_error, self._subscription, position),
            "recording a deferred step",
        )

    def try_again(self) -> None:
        """Make failed steps pending."""
        self._run(_TRY_AGAIN, (self._subscription,), "recording deferred steps")

    def forget(self) -> None:
        """Delete all steps."""
        if self._run(_EXISTS, (), "looking for deferred steps").fetchone() == (True,):
            self._run(_FORGET, (self._subscription,), "deleting the deferred steps")


def waiting_objects(target: Session) -> tuple[WaitingObjects, ...]:
    """What was put off for subscriptions that have not been started, by their names.

    Raises:
        EngineError: The target could not be read.
    """
    try:
        if target.execute(_EXISTS).fetchone() != (True,):
            return ()
        rows = target.execute(_NOT_STARTED).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for deferred steps") from None
    return tuple(WaitingObjects(str(subscription), int(str(count))) for subscription, count in rows)


def _step(row: tuple[object, ...]) -> DeferredStep:
    position, kind, name, statement, source_tables, needed_by, requires, state, last_error = row
    return DeferredStep(
        DeferredObject(
            position=int(str(position)),
            kind=str(kind),
            name=str(name),
            statement=str(statement),
            source_tables=_numbers(source_tables),
            needed_by=_numbers(needed_by),
            requires=_numbers(requires),
        ),
        state=StepState(str(state)),
        last_error=None if last_error is None else str(last_error),
    )


def _numbers(array: object) -> frozenset[int]:
    assert isinstance(array, list)
    return frozenset(int(str(number)) for number in array)


def insert_script(subscription: str, steps: Iterable[DeferredObject]) -> str:
    """Statements for psql that record ``steps``, under ``standard_conforming_strings = on``."""
    rows = (
        (
            _text(subscription),
            str(step.position),
            *map(_text, (step.kind, step.name, step.statement)),
            *map(_array, (step.source_tables, step.needed_by, step.requires)),
        )
        for step in steps
    )
    return "".join(f"{_INSERT} ({', '.join(row)});\n" for row in rows)


def _text(value: str) -> str:
    # Not psycopg's: a database in SQL_ASCII may hold what is not UTF-8, and it goes through as it came.
    return "'" + value.replace("'", "''") + "'"


def _array(numbers: frozenset[int]) -> str:
    return "'{" + ",".join(map(str, sorted(numbers))) + "}'"
