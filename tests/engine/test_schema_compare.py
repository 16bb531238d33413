"""Schemas are compared object by object; what is missing is made alone, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.catalog.identity_change import apply_identities, undo_identities
from engine.catalog.planned_identity import IdentityOutcome, IdentityRecord
from engine.catalog.replica_identity import plan_identities
from engine.catalog.table import TableName
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import EngineError, Side, UsageError
from engine.replication.deferred_state import DeferredStore
from engine.replication.missing_schema import MissingReport, PutOff, restore_missing
from engine.schema.compare import ComparedSchemas, compare_schemas
from engine.schema.comparison import (
    Applied,
    ApplyReport,
    ExtensionState,
    ObjectKey,
    Presence,
    as_script,
)
from engine.schema.drop import drop_objects
from engine.schema.dump import dump_schema
from engine.schema.edited import apply_edited
from engine.schema.extensions import create_extensions, plan_extensions
from engine.schema.restore import apply_script
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run
from tests.engine.test_deferred_schema import SCHEMA, schema_of

ODD = """
create schema "per%cent";
create table "per%cent"."new
line; Type: INDEX; Schema: x" (id int primary key, "c [red]" text default 'a;b');
create index "semi;colon" on "per%cent"."new
line; Type: INDEX; Schema: x" ("c [red]");
comment on table "per%cent"."new
line; Type: INDEX; Schema: x" is 'it''s
--
one';
-- The same words in another place: pg_dump writes both constraints as "a b c".
create table "a b" (id int constraint c unique);
create table a (id int constraint "b c" unique);
create domain positive as int constraint above check (value > 0) not null;
create function twice(n int default 2) returns int language sql as $$ select n * 2 -- ; drop table a;
$$;
create function inlined(n int) returns int language sql begin atomic select n + 1; end;
create procedure act(inout n int) language plpgsql as $$begin n := n + 1; end$$;
create aggregate longest(text) (sfunc = textcat, stype = text);
create sequence counted start 5 increment 2;
"""

NAMED_BY_THE_TARGET = """
create table averyveryveryveryveryveryverylongtablename_00000001 (
    averyveryveryveryveryverylongcolumnname_01 int not null);
"""
"""PostgreSQL 18 cuts the name that it gives to this NOT NULL, and pg_dump writes such a name."""


class Sides:
    """Both databases, each with a session, and what the two schemas are now."""

    def __init__(self, source_db: Database, target_db: Database, sessions: ExitStack) -> None:
        self.source_db = source_db
        self.target_db = target_db
        self.source_endpoint = parse_endpoint(Side.SOURCE, source_db.conninfo)
        self.target_endpoint = parse_endpoint(Side.TARGET, target_db.conninfo)
        self.source = sessions.enter_context(open_session(self.source_endpoint, "test"))
        self.target = sessions.enter_context(open_session(self.target_endpoint, "test"))

    def compare(self, own_identities: Collection[IdentityRecord] = ()) -> ComparedSchemas:
        return compare_schemas(
            self.source_endpoint,
            self.source,
            self.target_endpoint,
            self.target,
            own_identities=own_identities,
        )

    def restore_all(self) -> None:
        outcome = apply_script(self.target_endpoint, self.script())
        assert outcome.applied, outcome.error

    def script(self) -> str:
        return dump_schema(self.source_endpoint, 180000).text

    def put_off(self, lock_session: Session) -> PutOff:
        return PutOff("moving", self.source, lock_session)

    def run_edited(
        self, text: str, *, all_or_nothing: bool = True, may_drop: tuple[str, ...] = ()
    ) -> ApplyReport:
        return apply_edited(
            self.target_endpoint, text, self.compare(), all_or_nothing=all_or_nothing, may_drop=may_drop
        )


@pytest.fixture
def sides(source_db: Database, target_db: Database) -> Iterator[Sides]:
    with ExitStack() as sessions:
        yield Sides(source_db, target_db, sessions)


def presences(compared: ComparedSchemas) -> dict[Presence, set[str]]:
    return {
        presence: {str(one.key) for one in compared.comparison.those(presence)}
        for presence in Presence
        if compared.comparison.those(presence)
    }


def refusals(report: ApplyReport) -> dict[str, str]:
    return {
        result.planned.about: result.failure.detail for result in report.results if result.failure is not None
    }


def test_what_was_restored_is_identical(sides: Sides) -> None:
    sides.source_db.execute(SCHEMA + ODD + NAMED_BY_THE_TARGET)
    sides.restore_all()
    assert schema_of(sides.target_db) != schema_of(sides.source_db)
    compared = sides.compare()
    assert set(presences(compared)) == {Presence.IDENTICAL}
    assert compared.comparison.count(Presence.IDENTICAL) > 80
    assert not any(one.diff() for one in compared.comparison.objects)
    assert compared.missing_pre_data == compared.missing_post_data == ()
    assert len({one.key for one in compared.comparison.objects}) == len(compared.comparison.objects)
    # An untouched script has nothing to do then, and does nothing.
    report = sides.run_edited(sides.script())
    assert {result.outcome for result in report.results if not result.planned.sql.startswith("S")} == {
        Applied.IDENTICAL
    }


def restored(sides: Sides) -> ComparedSchemas:
    """Make what is missing object by object, and compare again."""
    done = restore_missing(sides.target_endpoint, sides.compare(), put_off=None, all_or_nothing=True)
    assert refusals(done.applied) == {}
    return sides.compare()


def test_what_a_database_is_set_to_is_no_difference(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create table at (at timestamptz default '2026-01-01 00:00+00', b bytea default '\\x00ff', m money"
        " default 12.5) partition by range (at);"
        "create table at_1 partition of at for values from ('2026-01-01 00:00+00') to ('2026-02-01 00:00+0');"
        'create view named as select at.b as "key" from at; create index by_b on at (b)'
    )
    run(
        source_db,
        "alter database {0} set timezone = 'Asia/Kathmandu'; alter database {0} set bytea_output = 'escape';"
        "alter database {0} set quote_all_identifiers = on; alter database {0} set datestyle = 'SQL, DMY';"
        "alter database {0} set intervalstyle = 'iso_8601'",
        source_db.name,
    )
    with ExitStack() as sessions:
        assert set(presences(restored(Sides(source_db, target_db, sessions)))) == {Presence.IDENTICAL}


def test_options_of_a_connection_string_reach_pg_dump(source_db: Database, target_db: Database) -> None:
    source_db.execute("create role nobody_else; create table t (id int); revoke all on t from public")
    try:
        endpoint = parse_endpoint(Side.SOURCE, f"{source_db.conninfo}?options=-c%20role%3Dnobody_else")
        with pytest.raises(EngineError) as refusal:
            dump_schema(endpoint, 160000)
        assert "permission denied for table t" in refusal.value.failure.detail
    finally:
        source_db.execute("drop role nobody_else")


def test_carriage_returns_stay_what_they_are(sides: Sides) -> None:
    sides.source_db.execute(
        """create table "a\rb" ("c\r\n" text default e'\\r');
        create function windows() returns int language plpgsql as 'begin\r\n  return 1;\r\nend\r'"""
    )
    restored(sides)
    of_both = (
        "select prosrc from pg_proc where proname = 'windows' union all "
        "select attname from pg_attribute where attrelid = '\"a\rb\"'::regclass and attnum > 0"
    )
    found = sides.target_db.query(of_both)
    assert found == sides.source_db.query(of_both) == [("begin\r\n  return 1;\r\nend\r",), ("c\r\n",)]


def test_the_order_of_a_policys_roles_is_no_difference(
    cluster_roles: ClusterRoles, source_db: Database, target_db: Database
) -> None:
    one, other = cluster_roles.name("one"), cluster_roles.name('o, TO "')
    run(source_db, "create role {}; create role {}", one, other)
    run(target_db, "create role {}; create role {}", other, one)
    run(
        source_db,
        "create table t (id int);"
        "create policy p on t for update to {}, {} using (id > 1) with check (id > 2)",
        one,
        other,
    )
    with ExitStack() as sessions:
        sides = Sides(source_db, target_db, sessions)
        assert set(presences(restored(sides))) == {Presence.IDENTICAL}
        run(target_db, "alter policy p on t to {}", one)
        assert presences(sides.compare())[Presence.DIFFERENT] == {"policy p on public.t"}


def test_replica_identities_that_we_set_are_not_the_sources(sides: Sides) -> None:
    sides.source_db.execute(
        'create table "No\nKey" (a int, b text); alter table "No\nKey" force row level security;'
        "create table nothing (a int); alter table nothing replica identity nothing;"
        "create table unique_only (a int not null); create unique index by_a on unique_only (a);"
        "alter table unique_only cluster on by_a, replica identity nothing;"
        "create table constrained (a int not null unique);"
        "create table another (a int references constrained (a));"
        "create table theirs (a int); alter table theirs replica identity full;"
        "create table parted (a int) partition by range (a);"
        "create table parted_1 partition of parted for values from (1) to (2)"
    )
    before = schema_of(sides.source_db)
    names = ("No\nKey", "nothing", "unique_only", "constrained", "parted")
    with open_session(sides.source_endpoint, "test") as session:
        proposals = plan_identities(session, [TableName("public", name) for name in names]).proposals
        records = [proposal.record for proposal in proposals]
        assert {one.outcome for one in apply_identities(session, proposals)} == {IdentityOutcome.APPLIED}
    assert schema_of(sides.source_db) != before
    compared = sides.compare(records)
    restore_missing(sides.target_endpoint, compared, put_off=None, all_or_nothing=True)
    assert set(presences(sides.compare(records))) == {Presence.IDENTICAL}
    # What somebody changed since is the source's own.
    sides.source_db.execute("alter table parted_1 replica identity nothing")
    assert presences(sides.compare(records))[Presence.DIFFERENT] == {"table public.parted_1"}
    sides.source_db.execute("alter table parted_1 replica identity full")
    with open_session(sides.source_endpoint, "test") as session:
        undo_identities(session, records)
    assert schema_of(sides.target_db) == schema_of(sides.source_db) == before


def test_each_object_is_missing_different_or_only_there(sides: Sides) -> None:
    sides.source_db.execute(ODD)
    sides.restore_all()
    sides.target_db.execute(
        'drop table a; alter table "a b" drop constraint c, add check (id > 0);'
        "alter sequence counted increment 3;"
        "create table \"only; here\" (id int); comment on domain positive is 'x'"
    )
    compared = sides.compare()
    found = presences(compared)
    assert found[Presence.MISSING] == {
        "table public.a",
        'constraint "b c" on public.a',
        'constraint c on public."a b"',
    }
    assert found[Presence.DIFFERENT] == {'table public."a b"', "sequence public.counted"}
    counted = next(one for one in compared.comparison.objects if one.key.name == "public.counted")
    assert "-    INCREMENT BY 3\n+    INCREMENT BY 2" in counted.diff()
    assert found[Presence.ONLY_ON_TARGET] == {
        'table public."only; here"',
        "comment DOMAIN positive of public.positive",
    }


def test_what_is_missing_is_made_and_the_second_time_nothing(sides: Sides) -> None:
    sides.source_db.execute(SCHEMA + ODD)
    sides.target_db.execute(
        'create table a (id int constraint "b c" unique);'
        "create table customer (id int); insert into customer values (7)"
    )
    compared = sides.compare()
    assert presences(compared)[Presence.IDENTICAL] == {"table public.a", 'constraint "b c" on public.a'}
    assert presences(compared)[Presence.DIFFERENT] == {"table public.customer"}
    heard: list[str] = []
    done = restore_missing(
        sides.target_endpoint,
        compared,
        put_off=None,
        all_or_nothing=False,
        on_result=lambda result: heard.append(result.planned.about),
    )
    assert done.put_off == 0
    assert heard == [result.planned.about for result in done.applied.results]
    # What needs columns that this customer lacks. The view is made of NULLs first, because it needs a key.
    refused = {result.planned.about for result in done.applied.refused}
    assert 'rule "_RETURN" on public.grouped' in refused, refused
    assert "materialized view public.names" in refused
    assert "index public.customer_email" in refused
    assert "index public.event_v" not in refused
    assert done.applied.count(Applied.DONE) > 60
    assert sides.target_db.query("select id from customer") == [(7,)]

    left = sides.compare()
    assert {str(planned.key) for _, planned in (*left.missing_pre_data, *left.missing_post_data)} == refused
    again = restore_missing(sides.target_endpoint, left, put_off=None, all_or_nothing=False)
    assert again.applied.count(Applied.DONE) == 0

    dropped = drop_objects(
        sides.target_endpoint,
        left,
        [
            ObjectKey("TABLE", "public.customer"),
            ObjectKey("FK CONSTRAINT", "unsure on public.egg"),
            ObjectKey("FK CONSTRAINT", "event_customer_fkey on public.event"),
        ],
    )
    assert refusals(dropped) == {}
    restore_missing(sides.target_endpoint, sides.compare(), put_off=None, all_or_nothing=True)
    assert set(presences(sides.compare())) == {Presence.IDENTICAL}
    assert schema_of(sides.target_db) == schema_of(sides.source_db)


def test_all_or_nothing_tells_each_result_and_leaves_nothing(sides: Sides) -> None:
    sides.source_db.execute(
        "create table good (id int primary key); create table customer (id int, name text);"
        "create view v as select name from customer"
    )
    sides.target_db.execute("create table customer (id int)")
    done = restore_missing(sides.target_endpoint, sides.compare(), put_off=None, all_or_nothing=True)
    assert {result.planned.about: result.outcome for result in done.applied.results} == {
        "table public.good": Applied.UNDONE,
        "view public.v": Applied.REFUSED,
        "constraint good_pkey on public.good": Applied.UNDONE,
    }
    assert "does not exist" in refusals(done.applied)["view public.v"]
    assert sides.target_db.query("select to_regclass('good')") == [(None,)]


def put_off(sides: Sides) -> MissingReport:
    with open_session(sides.target_endpoint, "test lock") as lock_session:
        return restore_missing(
            sides.target_endpoint,
            sides.compare(),
            put_off=sides.put_off(lock_session),
            all_or_nothing=False,
        )


def recorded(sides: Sides) -> list[str]:
    return [step.label for step in DeferredStore(sides.target, "moving").steps()]


def test_what_waits_for_rows_is_recorded_once(sides: Sides) -> None:
    sides.source_db.execute(
        "create table item (id int primary key, of int); create index item_of on item (of);"
        "create table other (id int primary key, item int references item);"
        "create table third (id int primary key); create view v as select 1 as one"
    )
    sides.target_db.execute("create table item (id int, of int)")
    done = put_off(sides)
    assert done.put_off == 6
    assert sorted(recorded(sides)) == [
        "constraint item item_pkey",
        "constraint other other_pkey",
        "constraint third third_pkey",
        "fk constraint other other_item_fkey",
        "fk validation other other_item_fkey",
        "index item_of",
    ]
    assert sides.target_db.query("select count(*) from pg_indexes where schemaname = 'public'") == [(0,)]
    assert put_off(sides).put_off == 0
    sides.source_db.execute("create index late on other (item)")
    assert put_off(sides).put_off == 1
    steps = DeferredStore(sides.target, "moving").steps()
    assert [step.position for step in steps] == list(range(1, 8))
    assert steps[-1].planned.name == "late"
    # Making it at once instead finds the engine's later attempt to be no harm.
    restore_missing(sides.target_endpoint, sides.compare(), put_off=None, all_or_nothing=True)
    assert set(presences(sides.compare())) == {Presence.IDENTICAL}


def test_nothing_waits_for_a_table_that_was_refused(sides: Sides) -> None:
    sides.source_db.execute(
        "create extension vector; create table odd (id int primary key, v vector(3));"
        "create index odd_id on odd (id desc); comment on index odd_id is 'x';"
        "create table even (id int primary key)"
    )
    done = put_off(sides)
    assert [result.planned.about for result in done.applied.refused] == ["table public.odd"]
    assert recorded(sides) == ["constraint even even_pkey"]


def test_an_edited_script_runs_what_the_target_lacks(sides: Sides) -> None:
    sides.source_db.execute(
        "create table a (id int, b text); create table b (id int); create view v as select 1 as x"
    )
    sides.target_db.execute("create table a (id int, b text); create table b (other text)")
    edited = sides.script().replace("CREATE VIEW public.v", "CREATE VIEW public.renamed") + (
        "\n-- mine\ncreate index on public.a (lower(b));"
        "create function public.f() returns text language sql as $$ select ';' $$;"
    )
    kept = sides.run_edited(edited, all_or_nothing=False)
    made = {result.planned.sql.split("\n")[0].strip(): result.outcome for result in kept.results}
    assert made["CREATE TABLE public.a ("] is Applied.IDENTICAL
    assert made["CREATE TABLE public.b ("] is Applied.EXISTS
    assert made["CREATE VIEW public.renamed AS"] is Applied.DONE
    assert sides.target_db.query("select indexname from pg_indexes where tablename = 'a'") == [
        ("a_lower_idx",)
    ]
    assert sides.target_db.query("select f()") == [(";",)]
    undone = sides.run_edited("create table public.c (); create table public.d (id nope);")
    assert [result.outcome for result in undone.results] == [Applied.UNDONE, Applied.REFUSED]
    assert 'type "nope" does not exist' in refusals(undone)["create table public.d (id nope)"]
    assert sides.target_db.query("select to_regclass('c')") == [(None,)]


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("drop table public.a", ("public.a",)),
        ('drop table if exists public.a, "S x"."y"', ("public.a", '"S x".y')),
        ("truncate public.a", ("public.a",)),
        ("alter table public.a drop column id", ("public.a.id",)),
        ("alter table public.a drop constraint k", ("public.a.k",)),
        ("drop function public.f(int)", ("public.f",)),
        ("alter domain public.d drop constraint k", ("public.d.k",)),
        ("drop trigger t on public.a", ("public.a.t",)),
        ("drop owned by postgres", ("drop owned by postgres",)),
    ],
)
def test_a_script_drops_only_what_was_named(sides: Sides, statement: str, names: tuple[str, ...]) -> None:
    sides.target_db.execute("create table a (id int constraint k check (id > 0))")
    with pytest.raises(UsageError) as raised:
        sides.run_edited(f"create table public.before (); {statement};", may_drop=names[1:])
    assert names[0] in raised.value.failure.title
    if not statement.startswith("drop owned"):
        with pytest.raises(UsageError, match="whatever depends"):
            sides.run_edited(f"{statement} cascade", may_drop=names)
    assert sides.target_db.query("select to_regclass('before'), to_regclass('a')::text") == [(None, "a")]


def test_what_was_named_is_dropped(sides: Sides) -> None:
    sides.target_db.execute("create table a (id int); create table b (id int)")
    report = sides.run_edited("drop table public.a; create table public.a (n int);", may_drop=("public.a",))
    assert report.count(Applied.DONE) == 2
    assert sides.target_db.query(
        "select attname from pg_attribute where attrelid = 'a'::regclass and attnum > 0"
    ) == [("n",)]


def test_objects_are_dropped_by_name_all_or_none(sides: Sides) -> None:
    sides.target_db.execute(SCHEMA + ODD)
    compared = sides.compare()
    by_text = {str(one.key): one.key for one in compared.comparison.objects}
    needed = drop_objects(sides.target_endpoint, compared, [by_text["view public.grouped"]])
    assert "other objects depend on it" in refusals(needed)["drop of view public.grouped"]
    named = [
        "view public.grouped",
        "view public.on_grouped",
        "index public.customer_name",
        "trigger touched on public.customer",
        "policy own on public.badge",
        "rule no_seat on public.keyless",
        "statistics public.both_columns",
        "materialized view public.names",
        "function public.twice(integer)",
        "procedure public.act(integer)",
        "aggregate public.longest(pg_catalog.text)",
        "sequence public.counted",
        "domain public.positive",
        "fk constraint unsure on public.egg",
    ]
    assert set(named) <= set(by_text), sorted(by_text)
    with pytest.raises(UsageError, match=r"no table public\.nothing"):
        drop_objects(
            sides.target_endpoint,
            compared,
            [by_text["view public.on_grouped"], ObjectKey("TABLE", "public.nothing")],
        )
    dropped = drop_objects(sides.target_endpoint, compared, [by_text[name] for name in named])
    assert refusals(dropped) == {}
    assert dropped.count(Applied.DONE) == len(named)
    left = {str(one.key) for one in sides.compare().comparison.objects}
    assert left.isdisjoint(named)
    assert "table public.customer" in left
    assert 'table "Sales Dept"."Odd ""Table"' in left


def _offer(server_base: Path, database: Database, controls: dict[str, str]) -> Path:
    """Have the server offer extensions in this database's sessions only."""
    folder = server_base / f"extensions-{database.name}"
    (folder / "extension").mkdir(parents=True)
    for name, requires in controls.items():
        control = f"default_version = '1.0'\nrelocatable = true\nrequires = '{requires}'\n"
        (folder / "extension" / f"{name}.control").write_text(control)
        (folder / "extension" / f"{name}--1.0.sql").write_text(f"create domain {name}_type as int;\n")
    for path in (folder, folder / "extension", *(folder / "extension").iterdir()):
        path.chmod(0o755)
    database.execute(f"alter database {database.name} set extension_control_path = '{folder}:$system'")
    return folder


@pytest.fixture
def source_18(target_db: Database) -> Iterator[Database]:
    """Another database on the server of version 18, which alone can be told where extensions are."""
    other = Database(target_db.server, f"other_{target_db.name}")
    other.create()
    yield other
    other.drop()


def test_extensions_come_first_those_that_others_need_before_them(
    source_18: Database, target_db: Database, server_base: Path
) -> None:
    _offer(
        server_base, source_18, {"a_last": "m_middle", "m_middle": "z_first", "z_first": "", "nowhere": ""}
    )
    source_18.execute(
        'create schema "Ext s"; create extension z_first schema "Ext s"; create extension m_middle;'
        "create extension a_last; create extension nowhere; create extension vector;"
        'create table item (id int, v public.vector, z "Ext s".z_first_type)'
    )
    _offer(server_base, target_db, {"a_last": "m_middle", "m_middle": "z_first", "z_first": ""})
    target_db.execute("create schema elsewhere; create extension vector schema elsewhere")
    with ExitStack() as stack:
        sides = Sides(source_18, target_db, stack)
        planned = plan_extensions(sides.source, sides.target)
        assert {one.name: one.state for one in planned} == {
            "plpgsql": ExtensionState.THERE,
            "z_first": ExtensionState.MISSING,
            "m_middle": ExtensionState.MISSING,
            "a_last": ExtensionState.MISSING,
            "nowhere": ExtensionState.UNAVAILABLE,
            "vector": ExtensionState.OTHER_SCHEMA,
        }
        first = next(one for one in planned if one.name == "z_first")
        assert (first.schema, first.source_version, first.target_version) == ("Ext s", "1.0", "1.0")
        report = create_extensions(sides.target_endpoint, planned)
        assert refusals(report) == {}
        assert [result.planned.about for result in report.results] == [
            "extension z_first",
            "extension m_middle",
            "extension a_last",
        ]
        again = plan_extensions(sides.source, sides.target)
        assert not any(one.statement for one in again)
        target_db.execute("drop extension vector; create extension vector")
        compared = sides.compare()
        assert not any(planned.sql.startswith("CREATE EXTENSION") for _, planned in compared.missing_pre_data)
        done = restore_missing(sides.target_endpoint, compared, put_off=None, all_or_nothing=True)
        assert refusals(done.applied) == {}
        assert presences(sides.compare())[Presence.MISSING] == {"extension nowhere"}


def test_a_plan_is_a_script_too(sides: Sides, tmp_path: Path) -> None:
    sides.source_db.execute(ODD)
    compared = sides.compare()
    text = as_script([planned for _, planned in (*compared.missing_pre_data, *compared.missing_post_data)])
    assert sides.run_edited(text).refused == ()
    assert set(presences(sides.compare())) == {Presence.IDENTICAL}
