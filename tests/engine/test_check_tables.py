"""What of a source's tables, columns, rows and extensions the checks find; good and bad of each."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from engine.checks.columns import type_risk
from engine.checks.finding import Finding, Verdict
from engine.errors import Side
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.engine.checking import apply, checked_databases, not_ok


@pytest.fixture
def source_18(target_server: EmbeddedServer) -> Iterator[Database]:
    """A database to be the source, on the server of PostgreSQL 18."""
    yield from _another(target_server)


def _another(server: EmbeddedServer) -> Iterator[Database]:
    database = Database(server, f"another_{secrets.token_hex(4)}")
    database.create()
    yield database
    database.drop()


def on_target(source: Database, target: Database, check: str) -> Finding:
    return checked_databases(source, target)[Side.TARGET, check]


def test_what_logical_replication_does_not_carry(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create unlogged table public.lost (a int);"
        'create table "Odd %" (a int primary key deferrable);'
        "create table fine (a int primary key, b int unique deferrable);"
        "select lo_create(0)"
    )
    found = checked_databases(source_db, target_db)
    assert not_ok(found) == {
        (Side.SOURCE, check): Verdict.WARNING
        for check in ("unlogged_tables", "deferrable_keys", "large_objects")
    }
    assert found[Side.SOURCE, "large_objects"].found == "1 large object"
    assert '"Odd %"' in found[Side.SOURCE, "deferrable_keys"].found
    for check in ("unlogged_tables", "deferrable_keys"):
        apply(source_db, found[Side.SOURCE, check])
    source_db.execute("select lo_unlink(oid) from pg_largeobject_metadata")
    assert not_ok(checked_databases(source_db, target_db)) == {}


def test_the_deferrable_key_would_stop_the_application(source_db: Database) -> None:
    source_db.execute(
        "create table t (a int primary key deferrable); insert into t values (1);"
        "create publication pub for table t"
    )
    with pytest.raises(psycopg.Error, match="does not have a replica identity"):
        source_db.execute("update t set a = 2")


def test_a_generated_column_in_the_identity_stops_the_application(
    source_18: Database, target_db: Database
) -> None:
    source_18.execute(
        "create table by_row (a int, b int generated always as (a) stored);"
        "alter table by_row replica identity full;"
        "create table by_key (a int, b int generated always as (a) stored primary key);"
        "create table by_index (a int, b int not null generated always as (a) stored);"
        "create unique index i on by_index (b); alter table by_index replica identity using index i"
    )
    finding = checked_databases(source_18, target_db)[Side.SOURCE, "generated_identity"]
    assert finding.verdict is Verdict.WARNING
    assert finding.found.startswith("3 tables ")
    for table in ("by_row", "by_key", "by_index"):
        source_18.execute(f"insert into {table} values (1); create publication {table} for table {table}")
        with pytest.raises(psycopg.Error, match="unpublished generated column"):
            source_18.execute(f"update {table} set a = 2")


def test_a_generated_column_beside_the_key_is_fine(source_18: Database, target_db: Database) -> None:
    source_18.execute("create table t (a int primary key, b int generated always as (a) stored)")
    assert not_ok(checked_databases(source_18, target_db)) == {}


def test_columns_of_tables_on_both_sides_are_compared(source_db: Database, target_db: Database) -> None:
    for database in (source_db, target_db):
        database.execute("create table same (a int primary key, b varchar(10)[], c numeric(10, 2))")
    assert on_target(source_db, target_db, "columns").found == "1 table of one name agree"
    source_db.execute(
        "create table t (a bigint, b text, c int, d int generated always as (c) stored, e int, gone int)"
    )
    target_db.execute(
        "create table t (a int, b varchar(20), c bigint, d int, e int generated always as (c) stored,"
        " more int not null, has_default int not null default 1, counts int generated always as identity)"
    )
    finding = on_target(source_db, target_db, "columns")
    assert finding.verdict is Verdict.WARNING
    assert finding.found.startswith(
        "6 columns differ: public.t.a bigint → integer: larger numbers are refused; public.t.b text → "
        "character varying(20): longer texts are refused; public.t.d is generated on the source only"
    )


@pytest.mark.parametrize(
    ("source", "target", "risk"),
    [
        ("integer", "bigint", None),
        ("bigint", "smallint", "larger numbers"),
        ("integer", "numeric", None),
        ("numeric", "numeric(10,2)", "larger numbers"),
        ("numeric(10,2)", "numeric(12,2)", None),
        ("numeric(10,2)", "numeric(10,4)", "larger numbers"),
        ("numeric(10,4)", "numeric(12,2)", "rounded"),
        ("numeric(10,2)", "numeric", None),
        ("numeric(10)", "numeric(12,2)", None),
        ("double precision", "real", "rounded"),
        ("real", "double precision", None),
        ("character varying(20)", "character varying(10)", "longer"),
        ("character varying(10)", "character varying(20)", None),
        ("character varying", "text", None),
        ("text", "character varying", None),
        ("text", "character varying(10)", "longer"),
        ("character varying(20)[]", "character varying(10)[]", "may not hold"),
        ("timestamp without time zone", "timestamp(3) without time zone", "rounded"),
        ("timestamp(3) with time zone", "timestamp with time zone", None),
        ("timestamp with time zone", "timestamp without time zone", "UTC"),
        ("json", "jsonb", "order"),
        ("jsonb", "json", None),
        ("uuid", "text", None),
        ("text", "uuid", "another type"),
        ("bit(3)", "bit(4)", "may not hold"),
    ],
)
def test_types_that_hold_less(source: str, target: str, risk: str | None) -> None:
    found = type_risk(source, target)
    assert (risk is None) == (found is None), found
    assert (risk or "") in (found or "")


def test_rows_that_are_there_already(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create table t (a int); create schema s; create table s.p (a int) partition by list (a)"
    )
    assert on_target(source_db, target_db, "target_empty").found == "empty"
    target_db.execute(
        "create table t (a int); create table other as select 1 as a; create schema s;"
        "create table s.p (a int) partition by list (a); create table s.p1 partition of s.p for values in (1)"
    )
    assert on_target(source_db, target_db, "target_empty").verdict is Verdict.OK
    target_db.execute("insert into t values (1); insert into s.p values (1)")
    finding = on_target(source_db, target_db, "target_empty")
    assert finding.verdict is Verdict.WARNING
    assert finding.found == "2 tables of the source's names hold rows: public.t, s.p"
    target_db.execute("truncate t, s.p")
    assert on_target(source_db, target_db, "target_empty").verdict is Verdict.OK


def test_rows_that_a_migration_has_copied_are_none_of_these(source_db: Database, target_db: Database) -> None:
    source_db.execute("create table t (a int)")
    target_db.execute(
        "create table t as select 1 as a; create schema _ts_live_sync;"
        "create table _ts_live_sync.subscription_rel as"
        " select 'public'::text as target_schema, 't'::text as target_table"
    )
    assert on_target(source_db, target_db, "target_empty").verdict is Verdict.OK


def test_another_encoding_and_collation(target_db: Database, source_server: EmbeddedServer) -> None:
    source = Database(source_server, f"latin_{secrets.token_hex(4)}")
    Database(source_server, "postgres").execute(
        f"create database {source.name} template template0 encoding 'LATIN1' locale 'C'"
    )
    try:
        found = checked_databases(source, target_db)
    finally:
        source.drop()
    assert not_ok(found) == {
        (Side.TARGET, "encodings"): Verdict.WARNING,
        (Side.TARGET, "collation"): Verdict.WARNING,
    }
    assert found[Side.TARGET, "encodings"].found == "LATIN1 → UTF8"
    assert found[Side.TARGET, "collation"].found.startswith("C (libc) → C.UTF-8 (libc)")


def test_a_collation_that_the_target_lacks(source_18: Database, source_db: Database) -> None:
    source_18.execute('create table t (a text collate "pg_c_utf8", b text collate "C")')
    finding = on_target(source_18, source_db, "column_collations")
    assert finding.verdict is Verdict.WARNING
    assert finding.found.endswith("pg_c_utf8")


def _offer_extension(server_base: Path, database: Database, version: str) -> None:
    """Have the server offer an extension with a type, in this database's sessions only."""
    folder = server_base / f"extensions-{database.name}"
    (folder / "extension").mkdir(parents=True)
    (folder / "extension" / "probe.control").write_text(f"default_version = '{version}'\n")
    (folder / "extension" / f"probe--{version}.sql").write_text("create type mood as enum ('good');\n")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    database.execute(f"alter database {database.name} set extension_control_path = '{folder}:$system'")


@pytest.fixture
def offered_10(server_base: Path, source_18: Database) -> Iterator[None]:
    _offer_extension(server_base, source_18, "1.10")
    yield
    shutil.rmtree(server_base / f"extensions-{source_18.name}")


def test_extensions_are_looked_for_on_the_target(
    server_base: Path, source_18: Database, target_db: Database, offered_10: None
) -> None:
    source_18.execute("create extension vector; create extension probe")
    finding = on_target(source_18, target_db, "extensions")
    assert finding.verdict is Verdict.WARNING
    assert finding.found == "the target does not offer probe"
    source_18.execute("create table t (a int, b mood[])")
    finding = on_target(source_18, target_db, "extensions")
    assert finding.verdict is Verdict.BLOCKS
    assert "columns have types of probe" in finding.why
    _offer_extension(server_base, target_db, "1.9")
    found = checked_databases(source_18, target_db)
    assert found[Side.TARGET, "extensions"].verdict is Verdict.OK
    older = found[Side.TARGET, "extension_versions"]
    assert (older.verdict, older.found) == (Verdict.WARNING, "probe 1.10 → 1.9")
