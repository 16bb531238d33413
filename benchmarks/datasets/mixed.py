"""Ten tables as an application has them: one takes half of the bytes, some are wide, most are narrow."""

from __future__ import annotations

from random import Random

from benchmarks.servers import Database

_NOISE_BYTES = 16_000

# Hexadecimal digits, in hexadecimal digits.
_NOISE = Random(0).randbytes(_NOISE_BYTES // 2).hex().encode().hex()

_STATEMENTS = (
    # Random text does not compress, so a long value goes out of line. Cut from one constant of bytes, of
    # which none before the piece is looked at: that is quick.
    f"""
    create function noise(seed bigint, length integer) returns text language sql immutable as
        $$ select convert_from(
            substr('\\x{_NOISE}'::bytea, 1 + (seed * 7919 %% ({_NOISE_BYTES} - length))::integer, length),
            'UTF8') $$
    """,
    # Half of the bytes, nearly all of them out of line.
    """
    create table documents (
        id bigint primary key, title text not null, body text not null, meta jsonb not null,
        created_at timestamptz not null
    )
    """,
    """
    insert into documents
    select g, noise(g, 40), noise(g * 31, 4000 + (g %% 50)::integer * 100),
           jsonb_build_object('tags', jsonb_build_array(noise(g, 8), noise(g + 1, 8)), 'size', g %% 997),
           timestamptz '2024-01-01' + g * interval '1 minute'
      from generate_series(1, %(documents)s::bigint) as g
    """,
    "create index on documents (created_at)",
    "create index on documents (title)",
    # Wide, in line and out of line.
    """
    create table events (
        id bigint primary key, kind text not null, payload jsonb not null, at timestamptz not null
    )
    """,
    """
    insert into events
    select g, (array['view', 'click', 'buy', 'leave'])[1 + g %% 4],
           jsonb_build_object('from', noise(g * 17, 100 + (g %% 16)::integer * 150), 'n', g),
           timestamptz '2024-01-01' + g * interval '1 second'
      from generate_series(1, %(rows)s / 15) as g
    """,
    "create index on events (at)",
    "create index on events (kind, at)",
    "create table customers (id integer primary key, email text not null unique, name text, note text)",
    """
    insert into customers
    select g, 'customer' || g || '@example.com', noise(g, 20), case when g %% 3 = 0 then noise(g, 200) end
      from generate_series(1, %(rows)s / 4) as g
    """,
    """
    create table orders (
        id bigint primary key, customer integer not null, total numeric(12, 2) not null, state text not null,
        at timestamptz not null
    )
    """,
    """
    insert into orders
    select g, g %% 9973, (g %% 100000) / 100.0, (array['new', 'paid', 'sent'])[1 + g %% 3],
           timestamptz '2024-01-01' + g * interval '1 second'
      from generate_series(1, %(rows)s) as g
    """,
    "create index on orders (customer)",
    "create index on orders (at)",
    """
    create table order_lines (
        order_id bigint, line integer, product integer not null, quantity integer not null,
        price numeric(10, 2) not null, primary key (order_id, line)
    )
    """,
    """
    insert into order_lines
    select g, l, (g * 13 + l) %% 5000, 1 + g %% 5, (g %% 9999) / 100.0
      from generate_series(1, %(rows)s) as g, generate_series(1, 3) as l
    """,
    "create index on order_lines (product)",
    "create table products (id integer primary key, name text not null, description text)",
    """
    insert into products
    select g, noise(g, 30), noise(g, 3000) from generate_series(1, %(rows)s / 100) as g
    """,
    """
    create table measurements (
        device integer, at timestamptz, value double precision not null, primary key (device, at)
    )
    """,
    """
    insert into measurements
    select g %% 100, timestamptz '2024-01-01' + g * interval '1 second', sin(g)
      from generate_series(1, %(rows)s * 2) as g
    """,
    "create table sessions (id uuid primary key, customer integer not null, agent text not null)",
    """
    insert into sessions
    select md5(g::text)::uuid, g %% 9973, noise(g, 120) from generate_series(1, %(rows)s / 2) as g
    """,
    "create index on sessions (customer)",
    "create table audit (id bigint generated always as identity primary key, who text, what text)",
    "insert into audit (who, what) select noise(g, 12), noise(g, 60) from generate_series(1, %(rows)s) as g",
    "create table countries (code text primary key, name text not null)",
    "insert into countries select 'c' || g, noise(g, 12) from generate_series(1, 250) as g",
    "drop function noise(bigint, integer)",
    "vacuum analyze",
)


def fill_mixed(database: Database, rows: int) -> None:
    """Make ten tables; a narrow one has ``rows`` rows, 1,500 bytes for each of them in all."""
    with database.connect() as connection:
        for statement in _STATEMENTS:
            connection.execute((statement % {"rows": rows, "documents": rows // 10}).encode())
