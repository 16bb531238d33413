"""A plan that was applied leaves nothing to plan, and the application's updates work at every moment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.catalog import publication_plan
from engine.catalog.identity_change import apply_identities
from engine.catalog.planned import PlannedStatement, PublicationPlan
from engine.catalog.publication_plan import apply_plan, plan_publication
from engine.catalog.publication_schemas import schemas_chosen_whole
from engine.catalog.replica_identity import plan_identities
from engine.catalog.table import TableName
from engine.catalog.tables import list_tables
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import BlockedError, EngineError, Side, UsageError
from livesync_tui.demo.dataset import create_demo
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database


@pytest.fixture
def session(source_db: Database) -> Iterator[Session]:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as opened:
        yield opened


def names(*tables: str) -> tuple[TableName, ...]:
    return tuple(TableName("public", table) for table in tables)


def published(database: Database, publication: str) -> set[str]:
    return {
        str(row[0])
        for row in database.query(
            "select tablename from pg_publication_tables where pubname = %s", [publication]
        )
    }


def statements(plan: PublicationPlan) -> list[str]:
    return [statement.sql for statement in plan.statements]


def apply_all(session: Session, publication: str, tables: tuple[TableName, ...]) -> list[str]:
    """Set identities, plan and apply; what was done. Nothing must be left to do."""
    results = apply_identities(session, plan_identities(session, tables).proposals)
    plan = plan_publication(session, publication, tables)
    apply_plan(session, plan)
    assert plan_publication(session, publication, tables).statements == ()
    return [*(result.sql for result in results), *statements(plan)]


def test_the_demo_needs_identities_before_its_publication(source_db: Database, session: Session) -> None:
    create_demo(source_db.conninfo, 1000)
    tables = tuple(table.name for table in list_tables(session))
    done = apply_all(session, "live sync", tables)
    assert 'alter table "shop"."audit_log" replica identity full' in done
    assert done[-1].startswith('create publication "live sync" for table "Sales Dept"."Order Notes", ')
    assert done[-1].endswith(" with (publish_via_partition_root = true)")
    assert all(table.can_replicate_updates for table in list_tables(session))
    assert published(source_db, "live sync") == {name.table for name in tables}
    source_db.execute("update shop.audit_log set actor = actor; update shop.events set kind = kind")


def test_tables_are_added_and_dropped_as_chosen(source_db: Database, session: Session) -> None:
    source_db.execute(
        "create table a (i int primary key); create table b (i int primary key);"
        ' create table "C %s" (i int primary key); create publication p for table a'
    )
    assert apply_all(session, "p", names("a", "b", "C %s")) == [
        'alter publication "p" add table "public"."C %s", "public"."b"'
    ]
    assert apply_all(session, "p", names("C %s")) == [
        'alter publication "p" drop table "public"."a", "public"."b"'
    ]
    assert published(source_db, "p") == {"C %s"}


def test_a_unique_index_is_preferred_to_the_whole_row(source_db: Database, session: Session) -> None:
    source_db.execute('create table t (i int not null); create unique index "By i" on t (i)')
    [identity, _] = apply_all(session, "p", names("t"))
    assert identity == 'alter table "public"."t" replica identity using index "By i"'


def test_a_primary_key_that_was_switched_off_is_switched_on(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (i int primary key); alter table t replica identity nothing")
    [identity, _] = apply_all(session, "p", names("t"))
    assert identity == 'alter table "public"."t" replica identity default'


@pytest.mark.parametrize(
    ("definition", "identity"),
    [
        ("create table t (i int not null, j int)", "full"),
        ("create table t (i int not null, j int, unique (i))", 'using index "t_i_key"'),
        ("create table t (i int primary key, j int)", None),
    ],
)
def test_every_leaf_gets_the_identity_of_its_root(
    source_db: Database, session: Session, definition: str, identity: str | None
) -> None:
    source_db.execute(
        f"{definition} partition by list (i);"
        " create table t1 partition of t for values in (1);"
        " create table m partition of t default partition by list (i);"
        " create table t2 partition of m default; insert into t values (1), (2)"
    )
    done = apply_all(session, "p", names("t"))
    assert len(done) == (4 if identity else 1)
    assert not identity or done[0] == f'alter table "public"."t" replica identity {identity}'
    assert published(source_db, "p") == {"t"}
    source_db.execute("update t set j = 1")


def test_a_leaf_with_a_key_of_its_own_still_gives_what_its_root_promises(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        "create table t (i int) partition by list (i); alter table t replica identity full;"
        " create table leaf partition of t default; alter table leaf add primary key (i);"
        " create publication p for table t with (publish_via_partition_root = true)"
    )
    assert apply_all(session, "p", names("t")) == ['alter table "public"."leaf" replica identity full']


def test_leaves_in_the_publication_are_replaced_by_their_root(source_db: Database, session: Session) -> None:
    source_db.execute(
        "create table t (i int primary key) partition by list (i); create table leaf partition of t default;"
        " create publication p for table leaf with (publish = 'insert')"
    )
    assert apply_all(session, "p", names("t")) == [
        'alter publication "p" set (publish_via_partition_root = true)',
        'alter publication "p" add table "public"."t"',
        'alter publication "p" drop table "public"."leaf"',
        "alter publication \"p\" set (publish = 'insert, update, delete, truncate')",
    ]
    assert published(source_db, "p") == {"t"}


def test_inheritance_children_are_published_only_when_chosen(source_db: Database, session: Session) -> None:
    source_db.execute(
        "create table parent (i int primary key); create table child (primary key (i)) inherits (parent)"
    )
    apply_all(session, "p", names("parent"))
    assert published(source_db, "p") == {"parent"}
    apply_all(session, "p", names("parent", "child"))
    assert published(source_db, "p") == {"parent", "child"}
    apply_all(session, "p", names("child"))
    assert published(source_db, "p") == {"child"}


def test_a_published_schema_stays_only_while_all_of_it_is_chosen(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        "create table a (i int primary key); create table b (i int primary key) partition by list (i);"
        " create table b1 partition of b default; create publication p for tables in schema public"
        " with (publish_via_partition_root = true)"
    )
    assert apply_all(session, "p", names("a", "b")) == []
    assert apply_all(session, "p", names("b")) == [
        'alter publication "p" add table "public"."b"',
        'alter publication "p" drop tables in schema "public"',
    ]
    assert published(source_db, "p") == {"b"}


def test_what_cannot_be_planned_is_refused(source_db: Database, session: Session) -> None:
    source_db.execute("create table a (i int primary key); create publication everything for all tables")
    with pytest.raises(BlockedError, match="FOR ALL TABLES"):
        plan_publication(session, "everything", names("a"))
    with pytest.raises(BlockedError, match=r"no table public\.gone"):
        plan_publication(session, "p", names("a", "gone"))
    with pytest.raises(UsageError):
        plan_publication(session, "p", ())


def test_the_first_failing_statement_stops_and_is_named(source_db: Database, session: Session) -> None:
    plan = PublicationPlan(
        "p",
        tuple(
            PlannedStatement(f"create {what}", "")
            for what in ("publication one", "publication one", "publication two")
        ),
    )
    with pytest.raises(EngineError) as raised:
        apply_plan(session, plan)
    assert "create publication one" in raised.value.failure.detail
    assert raised.value.failure.sqlstate == "42710"
    assert source_db.query("select pubname from pg_publication") == [("one",)]


def test_it_does_not_queue_for_long_behind_a_busy_table(
    source_db: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication_plan, "_LOCK_TIMEOUT", "set local lock_timeout = '50ms'")
    source_db.execute("create table t (i int primary key)")
    plan = plan_publication(session, "p", names("t"))
    with source_db.connect() as busy, busy.transaction():
        busy.execute("lock table t in share mode")
        with pytest.raises(EngineError) as raised:
            apply_plan(session, plan)
    assert raised.value.failure.sqlstate == "55P03"
    assert "Another session" in raised.value.failure.hint


def test_a_table_whose_updates_would_fail_once_published_is_refused(target_server: EmbeddedServer) -> None:
    database = Database(target_server, "generated_without_key")
    database.create()
    try:
        database.execute("create table t (n int, doubled int generated always as (n * 2) stored)")
        with (
            open_session(parse_endpoint(Side.SOURCE, database.conninfo), "test") as session,
            pytest.raises(BlockedError) as raised,
        ):
            plan_publication(session, "p", names("t"))
        assert "public.t" in raised.value.failure.title
        assert "add a primary key" in raised.value.failure.title
    finally:
        database.drop()


def test_a_table_without_identity_is_published_only_with_its_inserts(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        "create table k (i int primary key); create table t (i int); insert into t values (1);"
        " create publication there for table k; create publication inserts for table k"
        " with (publish = 'insert')"
    )
    for publication in ("p", "there", "inserts"):
        with pytest.raises(BlockedError, match=r"public\.t: updates and deletes of it fail") as raised:
            plan_publication(session, publication, names("k", "t"))
        assert 'alter table "public"."t" replica identity full' in raised.value.failure.hint
    done = {}
    for publication in ("p", "there", "inserts"):
        plan = plan_publication(session, publication, names("k", "t"), with_updates=False)
        apply_plan(session, plan)
        assert not plan_publication(session, publication, names("k", "t"), with_updates=False).statements
        source_db.execute("update t set i = i + 1; delete from t where i = 0")
        done[publication] = statements(plan)
    assert done["p"][0].endswith("with (publish = 'insert, truncate', publish_via_partition_root = true)")
    # What would make updates fail goes before the table comes.
    assert done["there"] == [
        "alter publication \"there\" set (publish = 'insert, truncate')",
        'alter publication "there" add table "public"."t"',
    ]
    # Back to all changes only once the table has an identity.
    with pytest.raises(BlockedError):
        plan_publication(session, "there", names("k", "t"))
    assert apply_all(session, "there", names("k", "t"))[-1].endswith("'insert, update, delete, truncate')")
    source_db.execute("update t set i = i + 1")


def test_a_dry_run_plans_as_if_the_identities_were_set(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (i int)")
    plan = plan_publication(session, "p", names("t"), identities_come_first=True)
    assert len(plan.statements) == 1


def test_a_schema_that_is_chosen_whole_can_be_published_as_such(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        'create schema "s %s"; create table "s %s".a (i int primary key);'
        ' create table "s %s".b (i int primary key) partition by list (i);'
        ' create table "s %s".b1 partition of "s %s".b default; create table c (i int primary key)'
    )
    whole = (TableName("s %s", "a"), TableName("s %s", "b"))
    assert schemas_chosen_whole(session, whole[:1]) == ()
    assert schemas_chosen_whole(session, (*whole, *names("c"))) == ("public", "s %s")
    plan = plan_publication(session, "p", (*whole, *names("c")), schemas=("s %s",))
    assert 'for tables in schema "s %s", table "public"."c" with' in statements(plan)[0]
    assert [note for note in plan.notes if "made later" in note and '"s %s"' in note]
