"""Publications that are there are compared with the choice, and what they leave out is kept and said."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from engine.catalog.planned import PublicationOffer
from engine.catalog.publication_offer import offer_publications
from engine.catalog.publication_plan import apply_plan, plan_publication
from engine.catalog.table import TableName
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import BlockedError, EngineError, Side, UsageError
from tests.conftest import Database
from tests.engine.odd_names import ODD_NAMES


@pytest.fixture
def session(source_db: Database) -> Iterator[Session]:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as opened:
        yield opened


def names(*tables: str) -> tuple[TableName, ...]:
    return tuple(TableName("public", table) for table in tables)


def offers(session: Session, *tables: str) -> dict[str, PublicationOffer]:
    return {offer.name: offer for offer in offer_publications(session, names(*tables)).offers}


def statements(session: Session, *tables: str, schemas: tuple[str, ...] = ()) -> list[str]:
    """Plan publication ``p`` and apply it; what was done. Nothing must be left to do."""
    plan = plan_publication(session, "p", names(*tables), schemas=schemas)
    apply_plan(session, plan)
    assert plan_publication(session, "p", names(*tables), schemas=schemas).statements == ()
    return [statement.sql for statement in plan.statements]


def test_each_publication_is_offered_with_what_is_missing_and_what_is_too_much(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        """
        create table a (i int primary key, secret text); create table b (i int primary key);
        create table c (i int primary key);
        create table part (i int primary key) partition by list (i);
        create table leaf partition of part default;
        create schema "Other %s"; create table "Other %s".d (i int primary key);
        create publication fits for table a, part with (publish_via_partition_root);
        create publication limited for table a (i) where (i > 5), b;
        create publication inserts for table a, part with (publish = 'insert, truncate');
        create publication schemas for tables in schema public, "Other %s"
            with (publish_via_partition_root);
        create publication leaves for table a, leaf;
        create publication nothing;
        create publication "all" for all tables;
        """
    )
    found = offers(session, "a", "part")
    assert list(found)[:2] == ["fits", "inserts"]
    assert list(found)[-1] == "all"
    assert [name for name, offer in found.items() if offer.fits] == ["fits"]

    [limited] = found["limited"].limited
    assert (limited.name, limited.columns, limited.row_filter) == (names("a")[0], ("i",), "(i > 5)")
    assert (found["limited"].missing, found["limited"].extra) == (names("part"), names("b"))
    assert found["inserts"].lacking_kinds == ("update", "delete")
    assert found["inserts"].lacks_via_root
    assert found["schemas"].schemas == ("Other %s", "public")
    assert found["schemas"].missing == ()
    assert found["schemas"].extra == (TableName("Other %s", "d"), *names("b", "c"))
    assert (found["leaves"].missing, found["leaves"].extra) == (names("part"), names("leaf"))
    assert found["nothing"].missing == names("a", "part")
    assert "FOR ALL TABLES" in found["all"].refused
    assert not any(offer.refused for name, offer in found.items() if name != "all")


@pytest.mark.parametrize(
    "publication",
    [
        "for table t, part with (publish_via_partition_root)",
        "for table t, part",
        "for table t, leaf with (publish_via_partition_root)",
        "for table t, part with (publish_via_partition_root, publish = 'insert, delete')",
        "for tables in schema public with (publish_via_partition_root)",
        "for tables in schema public, empty with (publish_via_partition_root)",
        "for tables in schema public, empty, table other.t with (publish_via_partition_root)",
        "for table t (i), part where (i = 1) with (publish_via_partition_root)",
        "",
    ],
)
def test_an_offer_fits_exactly_when_the_plan_has_nothing_to_do(
    source_db: Database, session: Session, publication: str
) -> None:
    source_db.execute(
        "create schema empty; create schema other; create table other.t (i int primary key);"
        " create table t (i int primary key); create table part (i int primary key) partition by list (i);"
        f" create table leaf partition of part default; create publication p {publication}"
    )
    fitted = offers(session, "t", "part")["p"].fits
    assert fitted == (statements(session, "t", "part") == [])
    assert offers(session, "t", "part")["p"].fits


def test_column_lists_and_row_filters_stay_when_tables_come_and_go(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        """
        create table a (i int primary key, j int, k int); create table b (i int primary key, j int);
        create table c (i int primary key); create table d (i int primary key);
        create publication p for table a (i, j), b where (i > 3 and i <> 7), c where (i > 1);
        """
    )
    plan = plan_publication(session, "p", names("a", "b", "d"))
    assert [statement.sql for statement in plan.statements] == [
        'alter publication "p" add table "public"."d"',
        'alter publication "p" drop table "public"."c"',
    ]
    assert "row filter goes with it: public.c" in plan.statements[1].why
    assert [note.split("; ")[0] for note in plan.notes] == [
        "public.a is published with only the columns i, j",
        "public.b is published with only rows where ((i > 3) AND (i <> 7))",
    ]
    apply_plan(session, plan)
    assert source_db.query(
        "select tablename, array_to_string(attnames, ','), rowfilter from pg_publication_tables order by 1"
    ) == [("a", "i,j", None), ("b", "i,j", "((i > 3) AND (i <> 7))"), ("d", "i", None)]
    source_db.execute("update a set k = 1; update b set j = 1; update d set i = 1")


@pytest.mark.parametrize(
    ("table", "listed", "words", "repair"),
    [
        ("i int primary key, j int", "(j)", "column list", "alter table t drop constraint t_pkey"),
        ("i int, j int", "(i, j)", "column list", "alter table t add primary key (i)"),
        (
            "i int primary key, j int",
            "where (j > 1 and i > 0)",
            "row filter over j",
            "alter table t replica identity full",
        ),
    ],
)
def test_limits_under_which_updates_would_fail_are_refused(
    source_db: Database, session: Session, *, table: str, listed: str, words: str, repair: str
) -> None:
    """The application's own update is what fails; a publication without updates does no harm."""
    source_db.execute(
        f"create table t ({table}); insert into t values (1, 1);"
        f" create publication p for table t {listed} with (publish = 'insert')"
    )
    source_db.execute("update t set j = 2")
    with pytest.raises(BlockedError, match="would fail") as raised:
        plan_publication(session, "p", names("t"))
    assert words in raised.value.failure.title
    source_db.execute("begin; alter publication p set (publish = 'insert, update'); commit")
    with pytest.raises(psycopg.Error, match="cannot update table"):
        source_db.execute("update t set j = 2")
    if listed == "(j)":
        return  # A list without the key is only right as another list.
    source_db.execute(f"alter publication p set (publish = 'insert'); {repair}")
    statements(session, "t")
    source_db.execute("update t set j = 2")


def test_a_leaf_by_its_whole_row_takes_no_column_list(source_db: Database, session: Session) -> None:
    source_db.execute(
        "create table t (i int primary key, j int) partition by list (i);"
        " create table leaf partition of t default; alter table leaf replica identity full;"
        " create publication p for table t (i) with (publish_via_partition_root, publish = 'insert')"
    )
    with pytest.raises(BlockedError, match="column list"):
        plan_publication(session, "p", names("t"))
    source_db.execute("insert into t values (1, 1); alter publication p set (publish = 'insert, update')")
    with pytest.raises(psycopg.Error, match="cannot update table"):
        source_db.execute("update t set j = 2")


def test_kinds_are_added_when_tables_that_would_refuse_updates_have_left(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        "create table t (i int primary key); create table log (line text);"
        " create publication p for table t, log with (publish = 'insert')"
    )
    done = statements(session, "t")
    assert done[-1].endswith("set (publish = 'insert, update, delete, truncate')")
    assert "drop table" in done[-2]


def test_whole_schemas_are_made_and_added(source_db: Database, session: Session) -> None:
    source_db.execute(
        """
        create schema "S 1"; create table "S 1".a (i int primary key); create table "S 1".keyless (i int);
        alter table "S 1".keyless replica identity full;
        create table "S 1".part (i int primary key) partition by list (i);
        create table "S 1".leaf partition of "S 1".part default;
        create unlogged table "S 1".fast (i int);
        create schema s2; create table t (i int primary key);
        """
    )
    assert statements(session, "t", schemas=("S 1",)) == [
        'create publication "p" for tables in schema "S 1", table "public"."t"'
        " with (publish_via_partition_root = true)",
    ]
    assert statements(session, "t", schemas=("S 1", "s2")) == [
        'alter publication "p" add tables in schema "s2"'
    ]
    source_db.execute("create table s2.later (i int)")
    with pytest.raises(BlockedError, match=r"rows of s2\.later"):
        plan_publication(session, "p", names("t"), schemas=("S 1", "s2"))
    # Without a word about the schema it stays only while all of it is chosen.
    assert statements(session, "t", schemas=("S 1",)) == ['alter publication "p" drop tables in schema "s2"']
    assert source_db.query("select tablename from pg_publication_tables order by 1") == [
        ("a",),
        ("keyless",),
        ("part",),
        ("t",),
    ]
    [in_use] = offer_publications(session, names("t")).offers
    assert in_use.schemas == ("S 1",)


def test_schemas_that_cannot_be_published_whole_are_refused(source_db: Database, session: Session) -> None:
    source_db.execute(
        """
        create schema _timescaledb_catalog; create table _timescaledb_catalog.h (i int primary key);
        create schema ext; create table ext.owned (i int); alter extension plpgsql add table ext.owned;
        create schema s; create table s.t (i int primary key, j int);
        create table u (i int primary key, j int);
        create publication p for table s.t where (i > 1), u (i);
        create publication q for table s.t where (i > 1);
        """
    )
    for schema in ("_timescaledb_catalog", "pg_catalog", "gone", ""):
        with pytest.raises(BlockedError, match="no schema"):
            plan_publication(session, "x", (), schemas=(schema,))
    with pytest.raises(BlockedError, match=r"ext\.owned is an extension's"):
        plan_publication(session, "x", (), schemas=("ext",))
    source_db.execute("alter extension plpgsql drop table ext.owned")
    with pytest.raises(BlockedError, match="column list"):
        plan_publication(session, "p", names("u"), schemas=("s",))
    with pytest.raises(psycopg.Error, match=r"[Cc]olumn list"):
        source_db.execute("alter publication p add tables in schema s")
    with pytest.raises(BlockedError, match="row filter"):
        plan_publication(session, "q", (), schemas=("s",))
    source_db.execute("create schema bare")
    with pytest.raises(UsageError):
        plan_publication(session, "x", (), schemas=("bare",))


def test_rights_that_are_missing_are_named_with_what_gives_them(source_db: Database) -> None:
    source_db.execute(
        """
        drop role if exists "Pub owner", publisher;
        create role "Pub owner"; create role publisher login password 'Publisher-1';
        create table mine (i int primary key); alter table mine owner to publisher;
        create table theirs (i int primary key); alter table theirs owner to "Pub owner";
        create table keyless (i int); alter table keyless replica identity full;
        alter table keyless owner to "Pub owner";
        create publication q for table theirs; alter publication q owner to "Pub owner";
        """
    )
    conninfo = psycopg.conninfo.make_conninfo(source_db.conninfo, user="publisher", password="Publisher-1")
    try:
        with open_session(parse_endpoint(Side.SOURCE, conninfo), "test") as session:
            plan = plan_publication(session, "p", names("mine", "theirs", "keyless"))
            assert [right.statement.split(" to ")[0] for right in plan.missing_rights] == [
                f'grant create on database "{source_db.name}"',
                'grant "Pub owner"',
                'grant "Pub owner"',
            ]
            with pytest.raises(EngineError):
                apply_plan(session, plan)
            assert not offers(session, "mine")["q"].is_owner
            altered = plan_publication(session, "q", names("mine"))
            [right] = altered.missing_rights
            assert "The publication q belongs" in right.what
            [_, superuser] = plan_publication(session, "p", (), schemas=("public",)).missing_rights[-2:]
            assert "superuser" in superuser.what
            for right in plan.missing_rights:
                source_db.execute(right.statement)
            plan = plan_publication(session, "p", names("mine", "theirs", "keyless"))
            assert plan.missing_rights == ()
            apply_plan(session, plan)
            apply_plan(session, plan_publication(session, "q", names("mine")))
        assert source_db.query(
            "select pubname from pg_publication_tables where tablename = 'mine' order by 1"
        ) == [
            ("p",),
            ("q",),
        ]
    finally:
        source_db.execute(
            'drop publication if exists p, q; drop owned by "Pub owner", publisher;'
            ' drop role "Pub owner", publisher'
        )


def test_who_else_may_read_a_publication_is_said(source_db: Database, session: Session) -> None:
    source_db.execute("select pg_create_logical_replication_slot('another_tool', 'pgoutput')")
    source_db.execute("select pg_create_logical_replication_slot('live_sync_mine', 'pgoutput')")
    assert offer_publications(session, ()).other_slots == ("another_tool",)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_published(source_db: Database, session: Session, name: str) -> None:
    identifier = sql.Identifier(name)
    source_db.execute(
        sql.SQL(
            "create schema {0}; create table {1} ({0} int primary key, other int);"
            " create publication {0} for table {1} ({0}) where ({0} > 1) with (publish = 'insert')"
        ).format(identifier, sql.Identifier(name, name))
    )
    source_db.execute("create table t (i int primary key)")
    table = TableName(name, name)
    [offer] = offer_publications(session, [table, *names("t")]).offers
    assert offer.members[0].columns == (name,)
    assert (offer.missing, offer.extra) == (names("t"), ())
    plan = plan_publication(session, name, [table, *names("t")])
    apply_plan(session, plan)
    [offer] = offer_publications(session, [table, *names("t")]).offers
    assert offer.fits
    assert offer.limited[0].row_filter is not None
    source_db.execute(sql.SQL("drop publication {}").format(identifier))
    apply_plan(session, plan_publication(session, name, (), schemas=(name,)))
    [offer] = offer_publications(session, [table]).offers
    assert (offer.schemas, offer.fits) == ((name,), True)


def test_who_blocks_the_publication_is_named(
    source_db: Database, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.catalog.publication_plan._LOCK_TIMEOUT", "set local lock_timeout = '50ms'")
    source_db.execute("create table t (i int primary key)")
    plan = plan_publication(session, "p", names("t"))
    with (
        source_db.connect(application_name="indexer") as other,
        source_db.connect(application_name="reader") as reader,
        other.transaction(),
        reader.transaction(),
    ):
        other.execute("create index on t (i)")
        reader.execute("lock table t in access share mode")
        with pytest.raises(EngineError) as raised:
            apply_plan(session, plan)
        pid = other.info.backend_pid
    hint = raised.value.failure.hint
    assert f"pid {pid} (postgres, indexer, idle in transaction" in hint
    assert "reader" not in hint
