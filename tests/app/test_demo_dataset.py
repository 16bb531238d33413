"""The demo's database holds what its schema promises, the same each time."""

from __future__ import annotations

import subprocess

import pytest
from psycopg import sql

from engine.errors import EngineError
from livesync_tui.demo.dataset import SMALLEST_ROWS, create_demo, row_counts
from tests.conftest import Database

ROWS = 20_000


def contents(database: Database) -> dict[tuple[str, str], tuple[int, str | None]]:
    """Number and checksum of the rows of every table."""
    found = {}
    for schema, table in database.query(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('shop', 'Sales Dept') and c.relkind in ('r', 'p')"
    ):
        statement = sql.SQL("select count(*), md5(string_agg(t::text, ',' order by t::text)) from {} t")
        rows = database.query(statement.format(sql.Identifier(schema, table)))
        found[schema, table] = rows[0]
    return found


def test_the_same_size_makes_equal_rows_on_both_versions(source_db: Database, target_db: Database) -> None:
    create_demo(source_db.conninfo, ROWS)
    create_demo(target_db.conninfo, ROWS)
    source = contents(source_db)
    assert source == contents(target_db)
    assert sum(row_counts(ROWS).values()) == ROWS
    # The root of the partition tree counts its leaves once more.
    assert sum(count for count, _ in source.values()) == ROWS + row_counts(ROWS)["events"]
    assert source["Sales Dept", "Order Notes"][0] == row_counts(ROWS)["order_notes"]


def test_the_smallest_size_has_rows_everywhere_and_valid_references(source_db: Database) -> None:
    create_demo(source_db.conninfo, rows=1)
    counts = {table: count for (_, table), (count, _) in contents(source_db).items()}
    assert counts["orders"] == row_counts(SMALLEST_ROWS)["orders"]
    assert {table for table, count in counts.items() if count == 0} == {"import_lines", "events_later"}


def test_it_has_what_makes_a_migration_interesting(source_db: Database) -> None:
    create_demo(source_db.conninfo, ROWS)
    [[longest, toast_bytes]] = source_db.query(
        "select max(length(body)), (select pg_relation_size(reltoastrelid) from pg_class"
        " where oid = 'shop.documents'::regclass) from shop.documents"
    )
    assert longest > 8192
    assert toast_bytes > row_counts(ROWS)["documents"] / 5 * 8192
    [[keyless]] = source_db.query(
        "select array_agg(c.oid::regclass::text) from pg_class c join pg_namespace n on n.oid = relnamespace"
        " where nspname in ('shop', 'Sales Dept') and relkind in ('r', 'p') and relreplident = 'd'"
        " and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)"
    )
    assert keyless == ["shop.audit_log"]
    # The next order gets the number after the last, also from the sequence that no column owns.
    [[next_is_last_plus_one]] = source_db.query(
        "select nextval('shop.invoice_number') = (select max(invoice_number) + 1 from shop.orders)"
    )
    assert next_is_last_plus_one
    [[equal_rows]] = source_db.query(
        "select max(copies) from (select count(*) copies from shop.audit_log a group by a::text) counted"
    )
    assert equal_rows == 2


def test_pg_dump_restores_it_on_the_newer_version(source_db: Database, target_db: Database) -> None:
    create_demo(source_db.conninfo, SMALLEST_ROWS)
    programs = target_db.server.bin_directory
    dumped = subprocess.run(
        [programs / "pg_dump", "--no-owner"],
        env=source_db.server.client_environment(source_db.name),
        capture_output=True,
        check=True,
    )
    restored = subprocess.run(
        [programs / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"],
        env=target_db.server.client_environment(target_db.name),
        input=dumped.stdout,
        capture_output=True,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr.decode()
    assert contents(source_db) == contents(target_db)


def test_a_database_that_already_has_it_is_refused_without_its_password(source_db: Database) -> None:
    create_demo(source_db.conninfo, SMALLEST_ROWS)
    with pytest.raises(EngineError, match='schema "shop" already exists') as raised:
        create_demo(source_db.conninfo, SMALLEST_ROWS)
    assert source_db.server.client_environment()["PGPASSWORD"] not in str(raised.value)
    assert raised.value.__cause__ is None
