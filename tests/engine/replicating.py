"""A subscription between two test databases, driven the way its user would."""

from __future__ import annotations

from types import TracebackType

from psycopg import sql

from engine.catalog.table_map import parse_table_map
from engine.connection.endpoint import parse_endpoint
from engine.errors import Side
from engine.lsn import parse_lsn
from engine.replication.engine import Engine
from engine.replication.subscription import SubscriptionConfig
from engine.snapshot import Phase, Snapshot, TableState
from tests.conftest import Database
from tests.waiting import wait_until


class Migration:
    """Runs an engine over two databases; leaving the block stops it."""

    def __init__(
        self,
        source: Database,
        target: Database,
        *,
        subscription: str = "test",
        publications: tuple[str, ...] = ("pub",),
        table_map: tuple[str, ...] = (),
        sync_workers: int = 2,
        copy_data: bool = True,
        source_conninfo: str | None = None,
        target_conninfo: str | None = None,
    ) -> None:
        # Another way to the same databases: through a proxy, or as a role with fewer rights.
        self.source = source
        self.target = target
        self.config = SubscriptionConfig(
            subscription=subscription,
            publications=publications,
            source=parse_endpoint(Side.SOURCE, source_conninfo or source.conninfo),
            target=parse_endpoint(Side.TARGET, target_conninfo or target.conninfo),
            table_map=parse_table_map(table_map),
            sync_workers=sync_workers,
            copy_data=copy_data,
        )
        self.engine = Engine(self.config)

    def __enter__(self) -> Migration:
        self.engine.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.stop()
        assert self.engine.join(90), "the engine did not end"

    @property
    def snapshot(self) -> Snapshot:
        snapshot = self.engine.snapshot()
        assert snapshot is not None
        return snapshot

    def restart(self) -> None:
        """Stop the engine in order and start another one for the same subscription."""
        self.engine.stop()
        assert self.engine.join(90), "the engine did not end"
        self.engine = Engine(self.config)
        self.engine.start()

    def wait_ready(self) -> None:
        """Until every table is in r and none is set aside."""

        def all_ready() -> bool:
            snapshot = self.snapshot
            assert snapshot.phase is not Phase.FAILED, snapshot.failure
            assert not snapshot.tables_set_aside, snapshot.tables_set_aside
            return bool(snapshot.tables) and all(table.state is TableState.READY for table in snapshot.tables)

        wait_until(all_ready, describe=lambda: self.snapshot.tables)

    def wait_set_aside(self, table: str) -> str:
        """Until ``table`` is set aside; its error."""

        def error() -> str | None:
            assert self.snapshot.phase is not Phase.FAILED, self.snapshot.failure
            return next((item.last_error for item in self.snapshot.tables if item.source_name == table), None)

        return wait_until(error, describe=lambda: self.snapshot.tables) or ""

    def wait_applied(self) -> None:
        """Until everything written on the source so far is durable on the target."""
        fence = parse_lsn(str(self.source.query("select pg_current_wal_flush_lsn()")[0][0]))

        def reached() -> bool:
            snapshot = self.snapshot
            assert snapshot.phase is not Phase.FAILED, snapshot.failure
            return snapshot.applied_lsn is not None and parse_lsn(snapshot.applied_lsn) >= fence

        wait_until(reached, describe=lambda: self.snapshot)

    def assert_equal(self, *tables: str, target_table: str | None = None) -> None:
        """Every row of each table is on both sides equally often."""
        for table in tables:
            assert rows_of(self.source, table) == rows_of(self.target, target_table or table), table


def rows_of(database: Database, table: str) -> list[str]:
    """All rows as text, sorted; the same on both sides when the tables are equal."""
    schema, _, name = table.rpartition(".")
    with database.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        columns = [
            str(row[0])
            for row in connection.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
                " and not attisdropped order by attname",
                [sql.Identifier(schema or "public", name).as_string(connection)],
            )
        ]
        statement = sql.SQL("select row({})::text from {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(schema or "public", name)
        )
        return sorted(str(row[0]) for row in connection.execute(statement))
