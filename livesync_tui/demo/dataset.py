"""Makes the demo's database: the schema of ``schema.sql`` and rows that the server computes by itself.

Every value follows from its row's number, so that two databases of the same size hold equal rows. Indexes
other than the primary keys, foreign keys and triggers come after the rows: then tables can be filled in any
order, several at a time, and faster.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from engine.connection.explain import explain
from engine.errors import Side

_SCHEMA_PATH = Path(__file__).with_name("schema.sql")
_AFTER_THE_ROWS = "-- After the rows --"

_SESSIONS = 2
"""Sessions that fill tables at the same time; the work is all the server's."""

SMALLEST_ROWS = 1000
"""Below this a table would get too few rows for the others to refer to."""


@dataclass(frozen=True, slots=True)
class _Fill:
    """How one table gets its rows."""

    share: float
    """This table's part of all rows."""

    statement: str
    """Inserts ``count`` rows; ``n`` is a row's number from 1 on."""


_FILLS: dict[str, _Fill] = {
    "order_items": _Fill(
        0.30,
        """
        -- The second round over all orders adds another product to each, never the same one.
        insert into shop.order_items (order_id, product_id, quantity, unit_price)
        select 1 + (n - 1) % {orders},
               1 + ((n - 1) % {orders} * 7 + (n - 1) / {orders}) % {products},
               1 + n % 5,
               (n * 7919 % 99999)::numeric / 100
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "orders": _Fill(
        0.20,
        """
        insert into shop.orders (customer_id, status, total, delivery_window, placed_at, updated_at)
        select 1 + n * 7919 % {customers},
               (enum_range(null::shop.order_status))[1 + n % 6],
               (n * 104729 % 9999999)::numeric / 100,
               case when n % 3 = 0 then tstzrange(placed, placed + interval '2 days') end,
               placed,
               placed
        from (select n, timestamptz '2025-01-01 00:00+00' + n * interval '31536000 s' / {count} as placed
              from pg_catalog.generate_series(1, {count}) n) numbered
        """,
    ),
    "payments": _Fill(
        0.12,
        """
        insert into shop.payments (id, order_id, amount, fee, currency, receipt, paid_at)
        select md5('payment ' || n)::uuid,
               1 + n * 3 % {orders},
               (n * 1299709 % 99999999)::numeric / 10000,
               (n % 997)::numeric / 10000,
               (array['EUR', 'USD', 'CHF'])[1 + n % 3],
               case when n % 4 = 0 then decode(md5(n::text), 'hex') end,
               timestamptz '2025-01-01 00:10+00' + n * interval '31536000 s' / {count}
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "events": _Fill(
        0.12,
        """
        insert into shop.events (occurred_at, kind, payload)
        select timestamptz '2025-01-01 00:00+00' + n * interval '31536000 s' / ({count} + 1),
               (array['view', 'search', 'basket', 'login'])[1 + n % 4],
               jsonb_build_object('session', md5((n / 20)::text), 'step', n % 20)
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "metrics": _Fill(
        0.105,
        """
        insert into shop.metrics (time, device_id, value)
        select timestamptz '2025-12-01 00:00+00' + n / 50 * interval '10 s',
               n % 50,
               case when n % 1000 = 0 then 'NaN' else 20 + 5 * sin(n / 500.0) + n % 7 / 10.0 end
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "customers": _Fill(
        0.05,
        """
        insert into shop.customers (email, name, birthday, last_address, newsletter, created_at, updated_at)
        select 'customer' || n || '@example.com',
               (array['Ada', 'Grace', 'Edgar', 'Barbara', 'José', '陈'])[1 + n % 6] || ' '
                   || (array['Lovelace', 'Hopper', 'Codd', 'Liskov', 'O''Neil', 'Šimić'])[1 + n / 6 % 6],
               case when n % 5 > 0 then date '1950-01-01' + (n * 7919 % 20000)::int end,
               case when n % 3 > 0 then inet '10.0.0.0' + n end,
               n % 2 = 0,
               timestamptz '2024-01-01 00:00+00' + n * interval '1 minute',
               timestamptz '2024-01-01 00:00+00' + n * interval '1 minute'
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "audit_log": _Fill(
        0.05,
        """
        -- Every row exists twice: without a key, nothing but their number tells equal rows apart.
        insert into shop.audit_log (logged_at, actor, action, detail)
        select timestamptz '2025-06-01 00:00+00' + n / 2 * interval '1 minute',
               'clerk ' || n / 2 % 20,
               (array['login', 'price', 'refund'])[1 + n / 2 % 3],
               case when n / 2 % 4 > 0 then jsonb_build_object('number', n / 2) end
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "order_notes": _Fill(
        0.04,
        """
        insert into "Sales Dept"."Order Notes"
            ("Order Id", "Note Nr", "Note Text", "Written By", "Written At")
        select 1 + (n - 1) % {orders},
               1 + (n - 1) / {orders},
               case when n % 10 > 0
                    then E'Note\\t' || n || E'\\nwith "quotes", back\\\\slashes and ünïcode' end,
               'Clerk ' || n % 20,
               timestamptz '2025-03-01 00:00+00' + n * interval '1 minute'
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "products": _Fill(
        0.01,
        """
        insert into shop.products (sku, name, price, weight_kilograms, tags, attributes)
        select 'SKU-' || lpad(n::text, 7, '0'),
               'Product ' || n,
               (n * 7919 % 99999)::numeric / 100,
               case when n % 9 > 0 then n % 1000 / 7.0 end,
               (array['new', 'sale', 'with space', 'quo"te', null, ''])[1 : n % 7],
               jsonb_build_object('color', (array['red', 'green', 'blue'])[1 + n % 3], 'size', n % 50)
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
    "documents": _Fill(
        0.005,
        """
        insert into shop.documents (slug, title, body, updated_at)
        select 'document-' || n,
               'Document ' || n,
               case when n % 5 = 0
                    then (select string_agg(md5(n || ' ' || part), '')
                          from pg_catalog.generate_series(1, 300 + n % 100) part)
                    else repeat('Terms and conditions. ', 1 + (n % 20)::int) end,
               timestamptz '2025-01-01 00:00+00' + n * interval '1 minute'
        from pg_catalog.generate_series(1, {count}) n
        """,
    ),
}


def row_counts(rows: int) -> dict[str, int]:
    """How many rows each table gets when there are about ``rows`` in total."""
    return {name: max(1, int(rows * fill.share)) for name, fill in _FILLS.items()}


def create_demo(conninfo: str, rows: int = 1_000_000) -> None:
    """Create and fill the demo's schemas in the empty database that ``conninfo`` names.

    Args:
        conninfo: The database, as somebody who may create schemas in it.
        rows: About how many rows to make in all tables together, at least :data:`SMALLEST_ROWS`.

    Raises:
        EngineError: PostgreSQL refused something, for example because the schemas exist.
    """
    try:
        _create(conninfo, rows)
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "making the demo's data") from None


def _create(conninfo: str, rows: int) -> None:
    counts = row_counts(max(rows, SMALLEST_ROWS))
    # As bigint, because the expressions multiply them.
    numbers = {name: sql.SQL("{}::bigint").format(sql.Literal(count)) for name, count in counts.items()}
    tables, after_the_rows = _SCHEMA_PATH.read_text(encoding="utf-8").split(_AFTER_THE_ROWS)

    def fill(name: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL(_FILLS[name].statement).format(count=numbers[name], **numbers))

    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(tables.encode())
        with ThreadPoolExecutor(_SESSIONS, thread_name_prefix="demo-fill") as pool:
            for filled in [pool.submit(fill, name) for name in _FILLS]:
                filled.result()
        connection.execute(after_the_rows.partition("\n")[2].encode())
        # So that the planner, and the wizard's list of tables, know the sizes at once.
        connection.execute("analyze")
