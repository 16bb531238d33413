"""Keeps writing to the demo's database, as a shop would while it is being moved.

The transactions are chosen for what they ask of replication: keys that change, rows that move to another
partition, updates that leave a large value alone, cascading deletes, rollbacks, TRUNCATE, and a table
without a key. Ordinary trouble of an application does not end it: deadlocks and lock timeouts are skipped,
and a lost connection is opened anew.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from engine.connection.explain import explain, is_connection_loss
from engine.errors import Side

APPLICATION_NAME = "demo shop"
"""Shown in ``pg_stat_activity`` of the source."""

RECONNECT_SECONDS = 30.0
"""How long a session tries to come back after its connection was lost, before it gives up."""

_CONNECT_TIMEOUT_SECONDS = 5
_RECONNECT_PAUSE_SECONDS = 0.25
_STOP_TIMEOUT_SECONDS = 15.0

_LOCK_TIMEOUT = "2s"
"""So that a TRUNCATE waiting for a running copy soon lets the other statements pass."""

_REPLICA_IDENTITY_INTERVAL_SECONDS = 2.0

_REMEMBERED = 500
"""How many of its own orders and payments a session keeps in mind to change or delete later."""

_SKIPPED = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.SerializationFailure,
)

_GREATEST = {
    "customers": "select max(id) from shop.customers",
    "products": "select max(id) from shop.products",
    "orders": "select max(id) from shop.orders",
    "documents": "select max(id) from shop.documents",
}

# One of possibly several equal rows, among the newest so that the index finds it.
_UPDATE_AUDIT_LOG = """
    update shop.audit_log set detail = null
    where ctid = (select ctid from shop.audit_log
                  where logged_at > pg_catalog.now() - interval '10 s' and actor = %s limit 1)
"""
_DELETE_FROM_AUDIT_LOG = """
    delete from shop.audit_log
    where ctid = (select ctid from shop.audit_log
                  where logged_at > pg_catalog.now() - interval '10 s' and actor = %s limit 1)
"""

_Connection = psycopg.Connection[tuple[Any, ...]]


def _one_number(connection: _Connection, statement: LiteralString, values: list[object]) -> int:
    """The only value of the only row of a query that returns a number."""
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return int(row[0])


class DemoWriter:
    """Background threads that write to the demo's database until stopped."""

    def __init__(self, conninfo: str, transactions_per_second: float = 300, sessions: int = 2) -> None:
        """Prepare the sessions; nothing connects before :meth:`start`.

        Args:
            conninfo: The database made by :func:`livesync_tui.demo.dataset.create_demo`.
            transactions_per_second: Of all sessions together. A server that cannot keep up gets fewer.
            sessions: How many connections write at the same time.
        """
        self._conninfo = conninfo
        self._seconds_per_transaction = sessions / transactions_per_second
        self._stopping = threading.Event()
        self._sessions = [_Session(self, number) for number in range(sessions)]
        self._threads: list[threading.Thread] = []
        self._failure: str | None = None

    @property
    def transactions_committed(self) -> int:
        """How many transactions are known to be committed; one cut off while committing is not counted."""
        return sum(session.transactions_committed for session in self._sessions)

    @property
    def failure(self) -> str | None:
        """Why writing ended by itself, or None. Holds no password."""
        return self._failure

    @property
    def running(self) -> bool:
        """Whether any session still writes."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Start writing; may be called again after :meth:`stop`."""
        if self.running:
            return
        self._stopping.clear()
        self._failure = None
        self._threads = [
            threading.Thread(target=session.run, name=f"demo-writer-{number}", daemon=True)
            for number, session in enumerate(self._sessions)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each session finish its transaction, and wait for that at most 15 seconds."""
        self._stopping.set()
        deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self.running:
            self._failure = "The demo's writers did not end: the source does not answer."


class _Session:
    """One connection of the shop and what it remembers of its own rows."""

    def __init__(self, writer: DemoWriter, number: int) -> None:
        self.transactions_committed = 0
        self._writer = writer
        self._random = random.Random(number)
        self._orders: deque[int] = deque(maxlen=_REMEMBERED)
        self._payments: deque[str] = deque(maxlen=_REMEMBERED)
        self._events: deque[int] = deque(maxlen=_REMEMBERED)
        self._greatest: dict[str, int] = {}
        self._audit_log_is_full = False
        self._audit_log_looked_at = 0.0
        self._last_written_at: float | None = None
        # Out of a hundred transactions, so many are of each kind.
        kinds: dict[Callable[[_Connection], None], float] = {
            self._place_order: 26,
            self._advance_orders: 17,
            self._record_metrics: 13,
            self._record_events: 9,
            self._update_customer: 9,
            self._revise_document: 6,
            self._write_audit_log: 5,
            self._change_payment_key: 4,
            self._change_prices: 3,
            self._delete_order: 3,
            self._import_lines: 2,
            self._cancel: 1.5,
            self._rewrite_document: 0.8,
            self._move_event: 0.5,
            self._empty_import: 0.2,
        }
        self._kinds = list(kinds)
        self._weights = list(kinds.values())

    def run(self) -> None:
        """Write until the writer stops, or something happens that trying again does not mend."""
        stopping = self._writer._stopping
        self._last_written_at = None
        while not stopping.is_set():
            try:
                with self._connect() as connection:
                    self._write(connection)
            except psycopg.Error as error:
                if not is_connection_loss(error) or not self._may_come_back():
                    self._fail(explain(error, Side.SOURCE, "the demo's shop wrote to it").failure.sentence())
                else:
                    stopping.wait(_RECONNECT_PAUSE_SECONDS)
            except Exception as error:  # A bug here must not look like a shop without customers.
                self._fail(f"The demo's writer broke: {type(error).__name__}.")

    def _may_come_back(self) -> bool:
        """Whether a lost connection is worth another try; one that never was is not."""
        written_at = self._last_written_at
        return written_at is not None and time.monotonic() - written_at < RECONNECT_SECONDS

    def _fail(self, sentence: str) -> None:
        """Keep the first failure, because later ones follow from it, and end all sessions."""
        if self._writer._failure is None:
            self._writer._failure = sentence
        self._writer._stopping.set()

    def _connect(self) -> _Connection:
        connection: _Connection = psycopg.connect(
            self._writer._conninfo,
            autocommit=True,
            application_name=APPLICATION_NAME,
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        )
        connection.execute("select pg_catalog.set_config('lock_timeout', %s, false)", [_LOCK_TIMEOUT])
        return connection

    def _write(self, connection: _Connection) -> None:
        """Run transactions at the asked pace until the writer stops."""
        stopping = self._writer._stopping
        self._look_at_sizes(connection)
        self._audit_log_looked_at = 0.0
        due = time.monotonic()
        while not stopping.is_set():
            now = time.monotonic()
            if now < due:
                stopping.wait(due - now)
                continue
            # A pause of the server is not followed by a rush.
            due = max(due, now - 1.0) + self._writer._seconds_per_transaction
            if now - self._audit_log_looked_at > _REPLICA_IDENTITY_INTERVAL_SECONDS:
                self._look_at_audit_log(connection)
            transaction = self._random.choices(self._kinds, self._weights)[0]
            try:
                with connection.transaction():
                    transaction(connection)
            except _SKIPPED:
                continue
            except psycopg.errors.ObjectNotInPrerequisiteState:
                # The table without a key was published, or lost its identity, after the last look.
                self._audit_log_is_full = False
                continue
            self._last_written_at = time.monotonic()
            if transaction != self._cancel:
                self.transactions_committed += 1

    def _look_at_sizes(self, connection: _Connection) -> None:
        """Rows that existed at the start are never deleted, so that any number up to these may be used."""
        for name, statement in _GREATEST.items():
            self._greatest[name] = _one_number(connection, statement, [])

    def _look_at_audit_log(self, connection: _Connection) -> None:
        """Whether rows of the table without a key may be updated once it is published."""
        self._audit_log_is_full = bool(
            _one_number(
                connection,
                "select (relreplident = 'f')::int from pg_catalog.pg_class"
                " where oid = 'shop.audit_log'::pg_catalog.regclass",
                [],
            )
        )
        self._audit_log_looked_at = time.monotonic()

    def _any(self, name: str) -> int:
        """The number of one of the rows that were there at the start, a third of the time a popular one."""
        greatest = self._greatest[name]
        return self._random.randint(1, min(greatest, 20) if self._random.random() < 1 / 3 else greatest)

    def _place_order(self, connection: _Connection) -> None:
        """Insert into up to four tables."""
        order = _one_number(
            connection,
            "insert into shop.orders (customer_id) values (%s) returning id",
            [self._any("customers")],
        )
        for product in {self._any("products") for _ in range(self._random.randint(1, 4))}:
            connection.execute(
                "insert into shop.order_items (order_id, product_id, quantity, unit_price)"
                " select %s, id, %s, price from shop.products where id = %s",
                [order, self._random.randint(1, 5), product],
            )
        connection.execute(
            "update shop.orders set total = (select coalesce(sum(quantity * unit_price), 0)"
            " from shop.order_items where order_id = %s) where id = %s",
            [order, order],
        )
        if self._random.random() < 0.6:
            payment = f"{self._random.getrandbits(64):016x}{time.time_ns():016x}"
            connection.execute(
                "insert into shop.payments (id, order_id, amount, fee) values (%s::uuid, %s, %s, 0.35)",
                [payment, order, self._random.randint(1, 99999)],
            )
            self._payments.append(payment)
        if self._random.random() < 0.2:
            connection.execute(
                'insert into "Sales Dept"."Order Notes" ("Order Id", "Note Nr", "Note Text")'
                " values (%s, 1, %s)",
                [order, "Ring twice,\tplease.\nThe bell's \\ broken — or so they say"],
            )
        self._orders.append(order)

    def _advance_orders(self, connection: _Connection) -> None:
        """Update one order that was always there and one new one; a trigger writes to the audit log."""
        recent = self._random.choice(self._orders) if self._orders else 0
        connection.execute(
            "update shop.orders set status = coalesce((enum_range(status, null))[2], 'new')"
            " where id in (%s, %s)",
            [self._any("orders"), recent],
        )

    def _record_metrics(self, connection: _Connection) -> None:
        """Insert a handful of rows with one statement."""
        connection.execute(
            "insert into shop.metrics (time, device_id, value)"
            " select clock_timestamp(), %s + n, %s + n / 10.0 from pg_catalog.generate_series(1, 8) n"
            " on conflict do nothing",
            [self._random.randint(1, 1000), self._random.random() * 30],
        )

    def _record_events(self, connection: _Connection) -> None:
        """Insert through the root of a partition tree."""
        self._events.append(
            _one_number(
                connection,
                "insert into shop.events (occurred_at, kind, payload) values (clock_timestamp(), 'view', %s)"
                " returning id",
                [Jsonb({"session": self._random.getrandbits(32), "step": 1})],
            )
        )

    def _update_customer(self, connection: _Connection) -> None:
        """Update a row that has an identity column which always generates."""
        customer = self._any("customers")
        connection.execute(
            "update shop.customers set newsletter = not newsletter, email = %s where id = %s",
            [f"customer{customer}.{self._random.getrandbits(16)}@example.com", customer],
        )

    def _revise_document(self, connection: _Connection) -> None:
        """Update beside a large value, which then is not in the WAL."""
        connection.execute(
            "update shop.documents set revision = revision + 1 where id = %s", [self._any("documents")]
        )

    def _rewrite_document(self, connection: _Connection) -> None:
        """Update a large value itself."""
        connection.execute(
            "update shop.documents set body = (select string_agg(md5(n || %s::text), '')"
            " from pg_catalog.generate_series(1, 400) n) where id = %s",
            [self._random.getrandbits(32), self._any("documents")],
        )

    def _write_audit_log(self, connection: _Connection) -> None:
        """Insert without a key, some rows twice; update and delete only where PostgreSQL lets it."""
        actor = f"clerk {self._random.randint(0, 19)}"
        connection.execute(
            "insert into shop.audit_log (actor, action, detail)"
            " select %s, 'login', %s from pg_catalog.generate_series(1, %s)",
            [actor, Jsonb({"try": self._random.randint(1, 3)}), self._random.randint(1, 2)],
        )
        if self._audit_log_is_full:
            deletes = self._random.random() < 0.3
            connection.execute(_DELETE_FROM_AUDIT_LOG if deletes else _UPDATE_AUDIT_LOG, [actor])

    def _change_payment_key(self, connection: _Connection) -> None:
        """Update a primary key."""
        if not self._payments:
            return self._place_order(connection)
        payment = self._payments.popleft()
        connection.execute(
            "update shop.payments set id = pg_catalog.gen_random_uuid() where id = %s::uuid", [payment]
        )

    def _change_prices(self, connection: _Connection) -> None:
        """Update twenty rows with one statement, and one of them again."""
        first = self._any("products")
        connection.execute(
            "update shop.products set price = price + 0.01 where id between %s and %s", [first, first + 19]
        )
        connection.execute(
            "update shop.products set tags = array_append(tags[1:5], 'changed') where id = %s", [first]
        )

    def _delete_order(self, connection: _Connection) -> None:
        """Delete with foreign keys that cascade and one that does not."""
        if not self._orders:
            return self._place_order(connection)
        order = self._orders.popleft()
        connection.execute("delete from shop.payments where order_id = %s", [order])
        connection.execute("delete from shop.orders where id = %s", [order])

    def _import_lines(self, connection: _Connection) -> None:
        """Insert into the small table that is emptied now and then."""
        connection.execute(
            "insert into shop.import_lines (line)"
            " select 'line ' || n from pg_catalog.generate_series(1, 10) n"
        )

    def _empty_import(self, connection: _Connection) -> None:
        """TRUNCATE, now and then with the sequence, and insert again in the same transaction."""
        connection.execute(
            "truncate shop.import_lines restart identity"
            if self._random.random() < 0.5
            else "truncate shop.import_lines"
        )
        connection.execute("insert into shop.import_lines (line) values ('first line after truncate')")

    def _cancel(self, connection: _Connection) -> None:
        """Write something and roll it back."""
        self._import_lines(connection)
        connection.execute("delete from shop.documents where id = %s", [self._any("documents")])
        raise psycopg.Rollback

    def _move_event(self, connection: _Connection) -> None:
        """Update a partition key, so that the row moves to another partition."""
        if not self._events:
            return self._record_events(connection)
        connection.execute(
            "update shop.events set occurred_at = timestamptz '2025-12-31 00:00+00'"
            " + random() * interval '1 hour' where id = %s and occurred_at > '2026-01-01'",
            [self._events.popleft()],
        )
