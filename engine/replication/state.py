"""The migration's state in the target, schema ``_ts_live_sync``: the only truth that survives a crash.

What each piece is for, and who writes it:

``subscription``
    Identity and metrics, written by the supervisor. ``epoch`` counts the engines that took over.
``progress``
    The apply stream's position. The apply worker writes it in the same transaction as the rows, so after
    any crash the rows and the position agree.
``subscription_rel``
    One row a table: letter, position, error. A table's own worker writes it together with the rows it
    copied or applied; the apply worker writes the last step, s to r, together with its position. A table
    that several sessions copy is marked ``copy_again`` before the first of them commits rows, and f is
    recorded after the last: in between it holds some of its rows, and the next copy empties it.

A commit whose answer was lost is in doubt: the server may be carrying it out at this moment. Reading the
row it writes without more would show the state before it, and the same rows would be applied twice. So
whoever goes on from a recorded position first locks that row (``settled_…``), which waits for such a
commit, and every step of a table checks the state it comes from.

A stale engine (a host that lost its network and came back) cannot do harm: taking over increments the
epoch in both ``subscription`` and ``progress`` while holding their rows, and every transaction that
writes rows ends with a statement that finds nothing when the epoch is no longer its own.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import psycopg
from psycopg import sql

from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, ConnectionFailedError, Failure, Retry, Side, SubscriptionBrokenError
from engine.lsn import format_lsn, parse_lsn
from engine.snapshot import TableState

_LOCK_CLASS = 0x4C535459
"""First key of the advisory lock; the second is a checksum of the subscription's name."""

_LOCK_HOLDER = """
select a.pid, a.usename, coalesce(host(a.client_addr), 'a local socket'), a.backend_start
  from pg_catalog.pg_locks l
  join pg_catalog.pg_stat_activity a using (pid)
 where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s and l.objsubid = 2
   and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
"""

_READ_SUBSCRIPTION = """
select s.publications, s.source_system_identifier, s.source_database, s.table_map, s.copy_data, s.epoch,
       p.lsn, s.source_flush_lsn, s.last_replicated_lsn, s.last_replicated_txn_time, s.updated_at,
       s.last_error
  from _ts_live_sync.subscription s
  left join _ts_live_sync.progress p using (subname)
 where s.subname = %s
"""

_INSERT_SUBSCRIPTION = """
insert into _ts_live_sync.subscription
       (subname, publications, slot_name, source_system_identifier, source_database, table_map, copy_data)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (subname) do nothing
"""

_UPDATE_PUBLICATIONS = """
update _ts_live_sync.subscription
   set publications = %s, table_map = %s, updated_at = pg_catalog.now()
 where subname = %s
"""

_TAKE_OVER = """
with taken as (
    update _ts_live_sync.subscription
       set epoch = epoch + 1, last_error = null, updated_at = pg_catalog.now()
     where subname = %(subscription)s
    returning epoch
), fenced as (
    update _ts_live_sync.progress
       set epoch = (select epoch from taken)
     where subname = %(subscription)s
    returning lsn
)
select taken.epoch, (select lsn from fenced) from taken
"""

_START_PROGRESS = """
insert into _ts_live_sync.progress (subname, epoch, lsn) values (%s, %s, %s)
"""

_TABLE_COLUMNS = """
select rrelid, pubname, schemaname, tablename, target_schema, target_table, state, lsn, last_error,
       copy_again, rows_copied, bytes_copied, approximate_rows, approximate_size, updated_at,
       hypertable, rows_condition
  from _ts_live_sync.subscription_rel
 where subname = %s
"""

_READ_TABLES = _TABLE_COLUMNS + " order by schemaname, tablename"

_READ_TABLE = _TABLE_COLUMNS + " and rrelid = %s"

_SHARERS = """
select other.rrelid
  from _ts_live_sync.subscription_rel this
  join _ts_live_sync.subscription_rel other using (subname, target_schema, target_table)
 where subname = %s and this.rrelid = %s and other.rrelid <> this.rrelid
"""

_INSERT_TABLE = """
insert into _ts_live_sync.subscription_rel
       (subname, pubname, schemaname, tablename, rrelid, target_schema, target_table, state, lsn,
        approximate_rows, approximate_size, hypertable, rows_condition)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (subname, rrelid) do nothing
"""

_RENAME_TABLE = """
update _ts_live_sync.subscription_rel
   set pubname = %s, schemaname = %s, tablename = %s, target_schema = %s, target_table = %s
 where subname = %s and rrelid = %s
"""

_DELETE_TABLE = "delete from _ts_live_sync.subscription_rel where subname = %s and rrelid = %s"

_WRITE_STATE = """
update _ts_live_sync.subscription_rel
   set state = %s, lsn = %s, updated_at = pg_catalog.now()
 where subname = %s and rrelid = %s
"""

_BEGIN_COPY = """
update _ts_live_sync.subscription_rel
   set state = 'd', lsn = null, updated_at = pg_catalog.now()
 where subname = %s and rrelid = %s and state in ('i', 'd')
"""

_REPLACE_BY_NEXT_COPY = """
update _ts_live_sync.subscription_rel
   set copy_again = true
 where subname = %s and rrelid = %s and state = 'd'
"""

_WRITE_COPIED = """
update _ts_live_sync.subscription_rel
   set state = 'f', lsn = %s, rows_copied = %s, bytes_copied = %s, copy_again = false,
       updated_at = pg_catalog.now()
 where subname = %s and rrelid = %s and state = 'd'
"""

_SETTLED_POSITION = """
select lsn from _ts_live_sync.progress where subname = %s and epoch = %s for update
"""

_SETTLED_TABLE = """
select 1 from _ts_live_sync.subscription_rel where subname = %s and rrelid = %s for update
"""

_WRITE_ERROR = """
update _ts_live_sync.subscription_rel
   set last_error = %s, updated_at = pg_catalog.now()
 where subname = %s and rrelid = %s
"""

_WRITE_ROWS_CONDITION = """
update _ts_live_sync.subscription_rel set rows_condition = %s where subname = %s and rrelid = %s
"""

_OTHERS_THAN_PARTS = """
select pg_catalog.bool_or(other.hypertable is distinct from this.hypertable)
  from _ts_live_sync.subscription_rel this
  join _ts_live_sync.subscription_rel other using (subname, target_schema, target_table)
 where subname = %s and this.rrelid = %s
"""

_RESET_TABLE = """
update _ts_live_sync.subscription_rel
   set state = 'i', lsn = null, last_error = null, rows_copied = 0, bytes_copied = 0,
       copy_again = copy_again or state in ('f', 's', 'r'), updated_at = pg_catalog.now()
 where subname = %s and rrelid = %s
"""

_WRITE_COPY_PROGRESS = """
update _ts_live_sync.subscription_rel
   set rows_copied = %s, bytes_copied = %s
 where subname = %s and rrelid = %s and state = 'd'
"""

_WRITE_METRICS = """
update _ts_live_sync.subscription
   set source_flush_lsn = %s, last_replicated_lsn = %s, last_replicated_txn_time = %s,
       metrics_updated_at = case
           when last_replicated_txn_time is distinct from %s then pg_catalog.now()
           else metrics_updated_at end,
       updated_at = pg_catalog.now(), last_error = %s
 where subname = %s
"""

_REQUEST_REFRESH = """
update _ts_live_sync.subscription
   set refresh_requested_at = pg_catalog.clock_timestamp()
 where subname = %s
"""

_REFRESH_IS_REQUESTED = """
select refresh_requested_at > coalesce(refreshed_at, '-infinity')
  from _ts_live_sync.subscription
 where subname = %s
"""

_WRITE_REFRESHED = """
update _ts_live_sync.subscription
   set refreshed_at = pg_catalog.clock_timestamp()
 where subname = %s
"""

HOLDS_EPOCH = """
select 1 from _ts_live_sync.subscription where subname = %s and epoch = %s for share
"""
"""Ends a table sync's transaction: waits for a take-over in progress, finds nothing after one."""

_COMMIT_OWNED = """
select 1 / pg_catalog.count(*)
  from (select from _ts_live_sync.subscription where subname = {} and epoch = {} for share) held;
commit
"""
"""Of a script, what follows an error is not run: no row means no commit."""

_FORGET = """
with tables as (delete from _ts_live_sync.subscription_rel where subname = %(subscription)s),
     position as (delete from _ts_live_sync.progress where subname = %(subscription)s)
delete from _ts_live_sync.subscription where subname = %(subscription)s
"""

_HAS_SOURCE_CHANGES = "select pg_catalog.to_regclass('_ts_live_sync.source_change') is not null"
_ANY_SOURCE_CHANGE = "select 1 from _ts_live_sync.source_change limit 1"


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """One row of ``subscription`` with its position."""

    publications: tuple[str, ...]
    source_system_identifier: str
    source_database: str
    table_map: TableMap
    copy_data: bool
    epoch: int
    progress_lsn: int | None
    """None until the apply slot exists."""

    source_flush_lsn: int | None
    last_replicated_lsn: int | None
    last_replicated_txn_time: datetime | None
    updated_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of ``subscription_rel``."""

    oid: int
    publication: str
    source: TableName
    target: TableName
    state: TableState
    lsn: int | None
    last_error: str | None
    copy_again: bool
    rows_copied: int
    bytes_copied: int
    approximate_rows: int | None
    approximate_size_bytes: int | None
    updated_at: datetime | None = None
    hypertable_oid: int | None = None
    """Of a hypertable and its chunks: the hypertable on the source."""

    rows_condition: str | None = None
    """Of a chunk: SQL that is true for its rows alone, as its copy found it."""

    @property
    def is_chunk(self) -> bool:
        return self.hypertable_oid is not None and self.hypertable_oid != self.oid


class EpochLostError(SubscriptionBrokenError):
    """Another engine has taken over this subscription."""

    def __init__(self, subscription: str) -> None:
        super().__init__(
            Failure(
                title=f"Another engine has taken over subscription {subscription}",
                hint="This one has stopped without writing anything more; look at the other one",
                side=Side.TARGET,
                retry=Retry.NEVER,
            )
        )


def _optional_lsn(value: object) -> int | None:
    return None if value is None else parse_lsn(str(value))


def _optional_string(value: object) -> str | None:
    return None if value is None else str(value)


def _optional_text(lsn: int | None) -> str | None:
    return None if lsn is None else format_lsn(lsn)


class StateStore:
    """Reads and writes the state of one subscription over one target session.

    Every method raises :class:`~engine.errors.EngineError` when the target refuses or is gone.
    """

    def __init__(self, session: Session, subscription: str) -> None:
        self._session = session
        self._subscription = subscription

    def _run(
        self, statement: str, parameters: Sequence[object] | dict[str, object], doing: str
    ) -> psycopg.Cursor[tuple[object, ...]]:
        try:
            return self._session.execute(statement.encode(), parameters)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, doing) from None

    def exists(self) -> bool:
        """Whether the target holds the state tables at all."""
        found = self._run(
            "select pg_catalog.to_regclass('_ts_live_sync.subscription_rel') is not null",
            (),
            "looking for state",
        ).fetchone()
        return found == (True,)

    def create(self) -> None:
        """Make schema and tables where they are missing."""
        script = resources.files("engine.replication").joinpath("state.sql").read_bytes()
        try:
            with self._session.transaction():
                self._session.execute(script)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "creating the schema _ts_live_sync") from None

    def lock(self) -> None:
        """Take the subscription's advisory lock for as long as this session lives.

        Raises:
            BlockedError: Another engine holds it; the message says from where.
        """
        key = zlib.crc32(self._subscription.encode()) & 0x7FFFFFFF
        taken = self._run(
            "select pg_catalog.pg_try_advisory_lock(%s, %s)", (_LOCK_CLASS, key), "taking the lock"
        )
        if taken.fetchone() == (True,):
            return
        holder = self._run(_LOCK_HOLDER, (_LOCK_CLASS, key), "looking for the lock's holder").fetchone()
        who = (
            "it has just ended; try again"
            if holder is None
            else (
                f"backend pid {holder[0]} of user {holder[1]} from {holder[2]}, "
                f"connected since {holder[3]:%F %T %Z}"
            )
        )
        raise BlockedError(
            Failure(
                title=f"Another engine is running subscription {self._subscription}: {who}",
                hint="Use that one, or stop it first; nothing was changed",
                side=Side.TARGET,
                retry=Retry.NEVER,
            )
        )

    def is_locked(self) -> bool:
        """Whether an engine runs the subscription now: whether its lock is held."""
        key = zlib.crc32(self._subscription.encode()) & 0x7FFFFFFF
        return (
            self._run(_LOCK_HOLDER, (_LOCK_CLASS, key), "looking for the lock's holder").fetchone()
            is not None
        )

    def read(self) -> SubscriptionRow | None:
        """The subscription, or None when the target does not know it."""
        row = self._run(_READ_SUBSCRIPTION, (self._subscription,), "reading the subscription").fetchone()
        if row is None:
            return None
        (publications, system, database, table_map, copy_data, epoch, progress, flush, replicated, time,
         updated_at, last_error) = row  # fmt: skip
        assert isinstance(publications, list)
        assert isinstance(table_map, list)
        assert isinstance(updated_at, datetime)
        return SubscriptionRow(
            publications=tuple(str(name) for name in publications),
            source_system_identifier=str(system),
            source_database=str(database),
            table_map=TableMap.from_json(table_map),
            copy_data=bool(copy_data),
            epoch=int(str(epoch)),
            progress_lsn=_optional_lsn(progress),
            source_flush_lsn=_optional_lsn(flush),
            last_replicated_lsn=_optional_lsn(replicated),
            last_replicated_txn_time=time if isinstance(time, datetime) else None,
            updated_at=updated_at,
            last_error=None if last_error is None else str(last_error),
        )

    def insert(
        self,
        publications: Sequence[str],
        slot_name: str,
        source_system_identifier: str,
        source_database: str,
        table_map: TableMap,
        *,
        copy_data: bool,
    ) -> None:
        """Record a new subscription; one that is there stays as it is."""
        self._run(
            _INSERT_SUBSCRIPTION,
            (
                self._subscription,
                list(publications),
                slot_name,
                source_system_identifier,
                source_database,
                json.dumps(table_map.to_json()),
                copy_data,
            ),
            "recording the subscription",
        )

    def update_publications(self, publications: Sequence[str], table_map: TableMap) -> None:
        """Record which publications and map are in force from now on."""
        self._run(
            _UPDATE_PUBLICATIONS,
            (list(publications), json.dumps(table_map.to_json()), self._subscription),
            "recording the publications",
        )

    def take_over(self) -> tuple[int, int | None]:
        """Fence off any earlier engine; return the new epoch and the position, None when there is none."""
        row = self._run(_TAKE_OVER, {"subscription": self._subscription}, "taking over").fetchone()
        assert row is not None
        return int(str(row[0])), _optional_lsn(row[1])

    def start_progress(self, epoch: int, lsn: int) -> None:
        """Record the apply slot's consistent point as the first position."""
        self._run(
            _START_PROGRESS, (self._subscription, epoch, format_lsn(lsn)), "recording the first position"
        )

    def tables(self) -> tuple[TableRow, ...]:
        """All tables of the subscription, sorted by source name."""
        rows = self._run(_READ_TABLES, (self._subscription,), "reading the tables' states").fetchall()
        return tuple(_table_row(row) for row in rows)

    def sharers(self, oid: int) -> frozenset[int]:
        """Other source tables that land in the same target table, those set aside included."""
        rows = self._run(_SHARERS, (self._subscription, oid), "looking for tables that share a target")
        return frozenset(int(str(other)) for (other,) in rows.fetchall())

    def insert_tables(self, tables: Iterable[TableRow]) -> None:
        """Add tables that are not there yet."""
        with self._session.cursor() as cursor:
            try:
                cursor.executemany(
                    _INSERT_TABLE.encode(),
                    [
                        (
                            self._subscription,
                            table.publication,
                            table.source.schema,
                            table.source.table,
                            table.oid,
                            table.target.schema,
                            table.target.table,
                            table.state.value,
                            _optional_text(table.lsn),
                            table.approximate_rows,
                            table.approximate_size_bytes,
                            table.hypertable_oid,
                            table.rows_condition,
                        )
                        for table in tables
                    ],
                )
            except psycopg.Error as error:
                raise explain(error, Side.TARGET, "recording the tables") from None

    def rename_table(self, oid: int, publication: str, source: TableName, target: TableName) -> None:
        """Follow a table that was renamed on the source or mapped elsewhere."""
        self._run(
            _RENAME_TABLE,
            (publication, source.schema, source.table, target.schema, target.table, self._subscription, oid),
            "recording a table's name",
        )

    def delete_table(self, oid: int) -> None:
        """Forget a table that is no longer published."""
        self._run(_DELETE_TABLE, (self._subscription, oid), "forgetting a table")

    def write_state(self, oid: int, state: TableState, lsn: int | None) -> None:
        """Move a table to ``state``."""
        self._run(
            _WRITE_STATE,
            (state.value, _optional_text(lsn), self._subscription, oid),
            "recording a table's state",
        )

    def write_state_owned(self, oid: int, state: TableState, lsn: int, epoch: int) -> None:
        """Move a table to ``state`` in a transaction of its own, if this engine still owns it.

        Raises:
            EpochLostError: Another engine has taken over; nothing was written.
        """
        try:
            with self._session.transaction():
                self.write_state(oid, state, lsn)
                self.require_epoch(epoch)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "recording a table's state") from None

    def settled_position(self, epoch: int) -> int:
        """The apply stream's position, once no commit of ours is in doubt any more.

        Raises:
            EpochLostError: Another engine has taken over.
        """
        row = self._run(_SETTLED_POSITION, (self._subscription, epoch), "reading the position").fetchone()
        if row is None:
            raise EpochLostError(self._subscription)
        return parse_lsn(str(row[0]))

    def settled_table(self, oid: int) -> TableRow | None:
        """One table's row, once no commit of ours is in doubt any more."""
        self._run(_SETTLED_TABLE, (self._subscription, oid), "reading a table's state")
        row = self._run(_READ_TABLE, (self._subscription, oid), "reading a table's state").fetchone()
        return None if row is None else _table_row(row)

    def begin_copy(self, oid: int) -> None:
        """Move a table from i or d to d.

        Raises:
            ConnectionFailedError: It is in another state by now; read it again.
        """
        self._expect_one(
            self._run(_BEGIN_COPY, (self._subscription, oid), "recording the start of a copy"), oid
        )

    def replace_by_next_copy(self, oid: int) -> None:
        """Record that the target table may hold part of the rows from now on, until f is recorded.

        Raises:
            ConnectionFailedError: It is not in d by now; the transaction must be rolled back.
        """
        self._expect_one(
            self._run(_REPLACE_BY_NEXT_COPY, (self._subscription, oid), "recording the start of a copy"), oid
        )

    def _expect_one(self, cursor: psycopg.Cursor[tuple[object, ...]], oid: int) -> None:
        if cursor.rowcount != 1:
            raise ConnectionFailedError(
                Failure(
                    title=f"The recorded state of table {oid} is not what it was",
                    hint="Nothing to do; it is read again",
                    side=Side.TARGET,
                    retry=Retry.TIMED,
                )
            )

    def write_copied(self, oid: int, lsn: int, rows: int, size_bytes: int) -> None:
        """Move a table from d to f, in the transaction that copied its rows or after those that did.

        Raises:
            ConnectionFailedError: It is not in d by now; the transaction must be rolled back.
        """
        self._expect_one(
            self._run(
                _WRITE_COPIED,
                (format_lsn(lsn), rows, size_bytes, self._subscription, oid),
                "recording a copied table",
            ),
            oid,
        )

    def write_rows_condition(self, oid: int, condition: str | None) -> None:
        """Record which rows a chunk holds that is copied now."""
        self._run(_WRITE_ROWS_CONDITION, (condition, self._subscription, oid), "recording a chunk's range")

    def others_than_parts(self, oid: int) -> bool:
        """Whether the target table of a chunk also takes rows of something else than its hypertable."""
        doing = "looking for tables that share a target"
        return self._run(_OTHERS_THAN_PARTS, (self._subscription, oid), doing).fetchone() == (True,)

    def write_error(self, oid: int, message: str) -> None:
        """Set a table aside."""
        self._run(_WRITE_ERROR, (message, self._subscription, oid), "recording a table's error")

    def reset_table(self, oid: int) -> None:
        """Start a table over; its earlier rows are replaced by the next copy."""
        self._run(_RESET_TABLE, (self._subscription, oid), "resetting a table")

    def start_over(self, oid: int, epoch: int) -> None:
        """Like :meth:`reset_table`, for a table's own worker.

        Raises:
            EpochLostError: Another engine has taken over; nothing was written.
        """
        try:
            with self._session.transaction():
                self.reset_table(oid)
                self.require_epoch(epoch)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "resetting a table") from None

    def write_copy_progress(self, oid: int, rows: int, size_bytes: int) -> None:
        """Show how far a running copy is."""
        self._run(
            _WRITE_COPY_PROGRESS, (rows, size_bytes, self._subscription, oid), "recording copy progress"
        )

    def write_metrics(
        self,
        source_flush_lsn: int | None,
        applied_lsn: int | None,
        applied_at: datetime | None,
        last_error: str | None,
    ) -> None:
        """Refresh the row that the monitoring queries read."""
        self._run(
            _WRITE_METRICS,
            (
                _optional_text(source_flush_lsn),
                _optional_text(applied_lsn),
                applied_at,
                applied_at,
                last_error,
                self._subscription,
            ),
            "recording metrics",
        )

    def request_refresh(self) -> None:
        """Ask the running engine to take up what the publications publish now."""
        self._run(_REQUEST_REFRESH, (self._subscription,), "asking for a refresh")

    def refresh_is_requested(self) -> bool:
        """Whether somebody asked and nobody has answered."""
        row = self._run(_REFRESH_IS_REQUESTED, (self._subscription,), "looking for requests").fetchone()
        return row == (True,)

    def write_refreshed(self) -> None:
        """Answer the request."""
        self._run(_WRITE_REFRESHED, (self._subscription,), "answering a request")

    def require_epoch(self, epoch: int) -> None:
        """End a table sync's transaction with the check that this engine still owns the subscription.

        Raises:
            EpochLostError: Another engine has taken over; the transaction must be rolled back.
        """
        if self._run(HOLDS_EPOCH, (self._subscription, epoch), "checking ownership").fetchone() is None:
            raise EpochLostError(self._subscription)

    def commit_owned(self, epoch: int, doing: str) -> None:
        """:meth:`require_epoch` and commit in one message: a link that dies in between leaves no row locked.

        Raises:
            EpochLostError: Another engine has taken over; the transaction must be rolled back.
            EngineError: The target failed; whether it committed is known after reconnecting.
        """
        statement = sql.SQL(_COMMIT_OWNED).format(sql.Literal(self._subscription), sql.Literal(epoch))
        try:
            self._session.execute(statement)
        except psycopg.errors.DivisionByZero:
            raise EpochLostError(self._subscription) from None
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, doing) from None

    def forget(self) -> bool:
        """Delete everything about the subscription; drop the schema when it was the last.

        Returns:
            Whether there was anything to delete.
        """
        try:
            with self._session.transaction():
                deleted = self._session.execute(
                    _FORGET.encode(), {"subscription": self._subscription}
                ).rowcount
                others = self._session.execute("select 1 from _ts_live_sync.subscription limit 1").fetchone()
                if others is None and not self._holds_source_changes():
                    self._session.execute("drop schema _ts_live_sync cascade")
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "deleting the subscription's state") from None
        return deleted > 0

    def _holds_source_changes(self) -> bool:
        """Whether a migration that has not begun to replicate changed its source; the only record is here."""
        there = self._session.execute(_HAS_SOURCE_CHANGES).fetchone() == (True,)
        return there and self._session.execute(_ANY_SOURCE_CHANGE).fetchone() is not None


def _table_row(row: tuple[object, ...]) -> TableRow:
    (oid, publication, schema, table, target_schema, target_table, state, lsn, last_error, copy_again, rows,
     size, approximate_rows, approximate_size, updated_at, hypertable, rows_condition) = row  # fmt: skip
    return TableRow(
        oid=int(str(oid)),
        publication=str(publication),
        source=TableName(str(schema), str(table)),
        target=TableName(str(target_schema), str(target_table)),
        state=TableState(str(state)),
        lsn=_optional_lsn(lsn),
        last_error=None if last_error is None else str(last_error),
        copy_again=bool(copy_again),
        rows_copied=int(str(rows)),
        bytes_copied=int(str(size)),
        approximate_rows=None if approximate_rows is None else int(str(approximate_rows)),
        approximate_size_bytes=None if approximate_size is None else int(str(approximate_size)),
        updated_at=updated_at if isinstance(updated_at, datetime) else None,
        hypertable_oid=None if hypertable is None else int(str(hypertable)),
        rows_condition=_optional_string(rows_condition),
    )
