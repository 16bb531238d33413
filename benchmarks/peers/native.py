"""PostgreSQL's own ``CREATE SUBSCRIPTION``."""

from __future__ import annotations

import psycopg
from psycopg import sql

from benchmarks.errors import BenchmarkError, tail
from benchmarks.peers.subscriber import PUBLICATION, wait_until_idle
from benchmarks.servers import Database
from benchmarks.waiting import wait_until

_STATES = """
select count(*), count(*) filter (where srsubstate <> 'r') from pg_catalog.pg_subscription_rel
"""


class NativeSubscription:
    """A `Subscriber`: ``binary = true, streaming = off``, everything else as PostgreSQL has it."""

    name = "native"

    def __init__(self, source: Database, target: Database) -> None:
        self.source = source
        self.target = target
        self.slot_name = target.name
        self._created = False
        self._enabled = False

    def start(self) -> None:
        """Create the subscription, later enable it."""
        name = sql.Identifier(self.slot_name)
        with self.target.connect() as connection:
            if self._created:
                connection.execute(sql.SQL("alter subscription {} enable").format(name))
            else:
                connection.execute(
                    sql.SQL(
                        "create subscription {} connection {} publication {}"
                        " with (binary = true, streaming = off)"
                    ).format(name, sql.Literal(self.source.conninfo), sql.Identifier(PUBLICATION))
                )
        self._created = self._enabled = True

    def require_alive(self) -> None:
        """Raise `BenchmarkError` when the subscription counts errors: it would try again for ever."""
        errors = self.target.number(
            "select sum(apply_error_count + sync_error_count) from pg_catalog.pg_stat_subscription_stats"
        )
        if errors:
            raise BenchmarkError(f"{self.name} reports errors:\n{tail(self.target.server.log_path)}")

    def wait_until_ready(self) -> float:
        """Wait until every table is in state r; the monotonic time of that, in seconds."""
        with self.target.connect() as connection:
            ready = wait_until(lambda: self._is_ready(connection), f"{self.name} to have all tables ready")
        self.require_alive()
        return ready

    def _is_ready(self, connection: psycopg.Connection) -> bool:
        row = connection.execute(_STATES).fetchone()
        assert row is not None
        tables, unready = row
        return bool(tables) and unready == 0

    def stop(self) -> None:
        """Disable the subscription and wait until its walsender has gone."""
        if not self._enabled:
            return
        self.require_alive()
        self._enabled = False
        with self.target.connect() as connection:
            connection.execute(
                sql.SQL("alter subscription {} disable").format(sql.Identifier(self.slot_name))
            )
        with self.source.connect() as connection:
            wait_until_idle(connection, self.slot_name)

    def drop(self) -> None:
        """Stop, then drop the subscription with its slot."""
        self.stop()
        with self.target.connect() as connection:
            connection.execute(sql.SQL("drop subscription {}").format(sql.Identifier(self.slot_name)))
        self._created = False
