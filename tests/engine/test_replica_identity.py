"""What updates need is proposed with its cost, set table by table, and put back at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from engine.catalog.identity_change import (
    apply_identities,
    changed_identities,
    preview_undo,
    read_identity_settings,
    undo_identities,
)
from engine.catalog.planned_identity import (
    IdentityOutcome,
    IdentityPlan,
    IdentityRecord,
    IdentityResult,
    IdentitySetting,
    records_from_json,
    remember,
)
from engine.catalog.replica_identity import plan_identities
from engine.catalog.table import ReplicaIdentity, TableName
from engine.catalog.tables import list_tables
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import ConnectionFailedError, Side, UsageError
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.engine.odd_names import ODD_NAMES
from tests.waiting import wait_until

FULL = IdentitySetting(ReplicaIdentity.FULL)
DEFAULT = IdentitySetting(ReplicaIdentity.DEFAULT)
NOTHING = IdentitySetting(ReplicaIdentity.NOTHING)


@pytest.fixture
def session(source_db: Database) -> Iterator[Session]:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as opened:
        yield opened


def plan_all(session: Session) -> IdentityPlan:
    return plan_identities(session, [table.name for table in list_tables(session)])


def records_of(plan: IdentityPlan) -> tuple[IdentityRecord, ...]:
    """As they come back from a file."""
    return records_from_json(json.loads(json.dumps([p.record.to_json() for p in plan.proposals])))


def letters(database: Database) -> dict[str, str]:
    """What each table has, with the index where it is one."""
    return dict(
        database.query(
            "select c.relname, c.relreplident::text || coalesce(' ' || x.relname, '')"
            " from pg_class c left join pg_index i on i.indrelid = c.oid and i.indisreplident"
            " left join pg_class x on x.oid = i.indexrelid"
            " where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace"
        )
    )


def outcomes(results: tuple[IdentityResult, ...]) -> list[IdentityOutcome]:
    return [result.outcome for result in results]


def test_all_that_is_proposed_is_taken_and_a_second_run_proposes_nothing(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        """
        create table keyed (i int primary key);
        create table keyless (i int, j text);
        create table switched_off (i int primary key);
        alter table switched_off replica identity nothing;
        create table unique_only (i int not null, j int not null);
        create unique index two on unique_only (i, j);
        create unique index one on unique_only (j);
        create table lost (i int not null); create unique index gone on lost (i);
        alter table lost replica identity using index gone; drop index gone;
        create table deferrable_key (i int primary key deferrable);
        create table computed (i int, j int not null generated always as (i) stored);
        create unique index on computed (j); alter table computed replica identity using index computed_j_idx;
        """
    )
    before = letters(source_db)
    plan = plan_all(session)
    proposed = {proposal.relation.table: proposal for proposal in plan.proposals}
    assert {name: str(proposal.proposed) for name, proposal in proposed.items()} == {
        "keyless": "FULL",
        "switched_off": "DEFAULT",
        "unique_only": "USING INDEX one",
        "lost": "FULL",
        "deferrable_key": "FULL",
        "computed": "FULL",
    }
    now = {table.table.table: str(table.now) for table in plan.tables}
    assert now["computed"] == "USING INDEX computed_j_idx"
    assert now["lost"] == "USING INDEX (dropped)"
    assert now["keyed"] == "DEFAULT"
    assert "NOTHING" in proposed["switched_off"].missing
    assert "dropped" in proposed["lost"].missing
    assert "deferrable" in proposed["deferrable_key"].missing
    assert "generated" in proposed["computed"].missing
    assert "no primary key" in proposed["keyless"].missing
    assert all(proposal.missing_right is None for proposal in proposed.values())

    assert set(outcomes(apply_identities(session, plan.proposals))) == {IdentityOutcome.APPLIED}
    assert plan_all(session).proposals == ()
    source_db.execute(
        "create publication p for table keyless, switched_off, unique_only, lost, deferrable_key, computed;"
        " insert into computed values (1); update computed set i = 2; update keyless set i = 1;"
        " drop publication p"
    )
    assert set(outcomes(apply_identities(session, plan.proposals))) == {IdentityOutcome.ALREADY_THERE}

    assert set(outcomes(undo_identities(session, records_of(plan)))) == {IdentityOutcome.APPLIED}
    # No statement leads back to an index that is gone; NOTHING does the same.
    assert letters(source_db) == before | {"lost": "n"}
    assert set(outcomes(undo_identities(session, records_of(plan)))) == {IdentityOutcome.ALREADY_THERE}


def test_of_indexes_with_equally_many_columns_the_narrower_is_proposed(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        "create table t (a text not null unique, b bigint not null unique, c uuid not null unique,"
        " d varchar(5) not null unique, e int not null, f int not null, unique (e, f))"
    )
    [proposal] = plan_all(session).proposals
    assert proposal.proposed.index == "t_d_key"
    source_db.execute("alter table t drop column d")
    [proposal] = plan_all(session).proposals
    assert proposal.proposed.index == "t_b_key"
    source_db.execute("alter table t drop column b; alter table t drop column c")
    [proposal] = plan_all(session).proposals
    assert proposal.proposed.index == "t_a_key"
    assert "dropped" in proposal.costs[0]


def test_the_whole_row_has_its_cost_told_and_what_would_be_cheaper(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        """
        create domain place as point;
        create table t (a int, b int not null, payload text, doc json, docs jsonb, at place,
                        v varchar, tags text[], twice int generated always as (a * 2) stored);
        alter table t alter payload set storage external;
        create unique index nullable on t (a);
        create unique index partial on t (b) where b > 0;
        create unique index computed on t ((b + 1));
        alter table t add constraint late unique (b) deferrable;
        insert into t select i, i, repeat('x', 100000) from generate_series(1, 3) i;
        """
    )
    [proposal] = plan_all(session).proposals
    costs = "\n".join(proposal.costs)
    assert proposal.proposed == FULL
    assert "TOAST" in costs
    assert "No index on the target" in costs
    assert "PostgreSQL 18" in costs
    assert "doc json, at public.place: " in costs
    assert [text.split(" would do if it ")[1] for text in proposal.alternatives] == [
        "held columns only, no expression",
        "were not deferrable",
        "had NOT NULL on a",
        "held all rows (no WHERE)",
    ]


def test_a_table_without_any_index_is_told_what_would_help(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (a int)")
    [proposal] = plan_all(session).proposals
    assert "primary key" in proposal.alternatives[0]
    assert "TOAST" not in "".join(proposal.costs)
    assert "Updates and deletes so far: 0 " in "".join(proposal.costs)


def test_each_leaf_gets_its_own_index_under_its_own_name(source_db: Database, session: Session) -> None:
    source_db.execute(
        """
        create table t (i int not null, j int) partition by list (i);
        create table "Leaf 1" partition of t for values in (1);
        create table m partition of t default partition by list (i);
        create table l2 partition of m default;
        create unique index "Root's" on t (i);
        insert into t values (1), (2);
        """
    )
    before = letters(source_db)
    plan = plan_all(session)
    [table] = plan.tables
    assert [(str(p.relation), p.is_partition) for p in table.proposals] == [
        ("public.t", False),
        ('public."Leaf 1"', True),
        ("public.l2", True),
    ]
    assert len({p.proposed.index for p in table.proposals}) == 3
    assert "made or attached later" in "".join(table.proposals[0].costs)
    assert set(outcomes(apply_identities(session, plan.proposals))) == {IdentityOutcome.APPLIED}
    source_db.execute(
        "create publication p for table t with (publish_via_partition_root); update t set j = 1"
    )
    # A new partition starts with the default again.
    source_db.execute("create table l3 partition of t for values in (3)")
    [later] = plan_all(session).proposals
    assert later.relation.table == "l3"
    source_db.execute("drop publication p; drop table l3")
    undone = undo_identities(session, records_of(plan))
    assert set(outcomes(undone)) == {IdentityOutcome.APPLIED}
    assert letters(source_db) == before


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_set_and_put_back(source_db: Database, session: Session, name: str) -> None:
    source_db.execute(
        sql.SQL(
            "create schema {0}; create table {1} ({0} int not null); create unique index {2} on {1} ({0})"
        ).format(sql.Identifier(name), sql.Identifier(name, name), sql.Identifier(f"x{name[:20]}"))
    )
    plan = plan_all(session)
    [proposal] = plan.proposals
    assert proposal.proposed == IdentitySetting(ReplicaIdentity.INDEX, f"x{name[:20]}")
    assert outcomes(apply_identities(session, plan.proposals)) == [IdentityOutcome.APPLIED]
    assert plan_all(session).proposals == ()
    assert outcomes(undo_identities(session, records_of(plan))) == [IdentityOutcome.APPLIED]
    [again] = plan_all(session).proposals
    source_db.execute(again.sql)
    source_db.execute(again.record.undo_sql)
    assert plan_all(session) == plan


def test_who_blocks_is_named_and_the_others_are_set(source_db: Database, session: Session) -> None:
    source_db.execute("create table busy (i int); create table free (i int)")
    plan = plan_all(session)
    seen: list[IdentityResult] = []
    with source_db.connect(application_name="the shop") as other, other.transaction():
        other.execute("select from busy")
        results = apply_identities(session, plan.proposals, lock_timeout_seconds=0.05, on_result=seen.append)
        assert tuple(seen) == results
        assert outcomes(results) == [IdentityOutcome.REFUSED, IdentityOutcome.APPLIED]
        [holder] = results[0].blocked_by
        assert (holder.pid, holder.application, holder.state) == (
            other.info.backend_pid,
            "the shop",
            "idle in transaction",
        )
        assert results[0].failure is not None
        assert results[0].failure.sqlstate == "55P03"
        assert f"pid {holder.pid}" in results[0].failure.hint
    assert [p.relation.table for p in plan_all(session).proposals] == ["busy"]
    assert letters(source_db) == {"busy": "d", "free": "f"}


def test_a_prepared_transaction_that_blocks_is_named(server_base: Path) -> None:
    server = EmbeddedServer.create(16, server_base / "prepares", settings={"max_prepared_transactions": "2"})
    server.start()
    try:
        database = Database(server, "prepared")
        database.create()
        database.execute("create table t (i int); create table u (i int)")
        with database.connect() as other:
            for table in "ut":
                other.execute(f"begin; select from {table}; prepare transaction 'left over %s {table}'")
        with open_session(parse_endpoint(Side.SOURCE, database.conninfo), "test") as session:
            results = apply_identities(session, plan_all(session).proposals, lock_timeout_seconds=0.05)
        told = [str(holder) for result in results for holder in result.blocked_by]
        assert told == [f"the prepared transaction 'left over %s {table}' of postgres" for table in "tu"]
    finally:
        server.stop("immediate")


def test_a_table_of_another_owner_names_the_statement_that_helps(source_db: Database) -> None:
    source_db.execute(
        "drop role if exists identity_owner, identity_mover;"
        " create role identity_owner; create role identity_mover login password 'Mover-1';"
        " create table t (i int); alter table t owner to identity_owner;"
        " grant select on t to identity_mover"
    )
    try:
        conninfo = psycopg.conninfo.make_conninfo(
            source_db.conninfo, user="identity_mover", password="Mover-1"
        )
        with open_session(parse_endpoint(Side.SOURCE, conninfo), "test") as session:
            plan = plan_all(session)
            [proposal] = plan.proposals
            assert proposal.missing_right is not None
            assert "identity_owner" in proposal.missing_right.what
            [result] = apply_identities(session, plan.proposals)
            assert result.outcome is IdentityOutcome.REFUSED
            assert result.failure is not None
            assert result.failure.sqlstate == "42501"
            source_db.execute(proposal.missing_right.statement)
            [proposal] = plan_all(session).proposals
            assert proposal.missing_right is None
            assert outcomes(apply_identities(session, [proposal])) == [IdentityOutcome.APPLIED]
    finally:
        source_db.execute("drop table t; drop role identity_owner, identity_mover")


def test_what_somebody_else_changed_is_left(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (i int); create table u (i int); create table v (i int)")
    plan = plan_all(session)
    source_db.execute("alter table t replica identity nothing; alter table u rename to w; drop table v")
    results = apply_identities(session, plan.proposals)
    assert outcomes(results) == [IdentityOutcome.LEFT] * 3
    told = [result.failure.title for result in results if result.failure is not None]
    assert "NOTHING now" in told[0]
    assert "public.w" in told[1]
    assert "not exist" in told[2]

    plan = plan_all(session)
    apply_identities(session, plan.proposals)
    source_db.execute(
        "alter table t replica identity nothing; alter table w rename to z; create table more (i int)"
    )
    undone = {result.relation.table: result for result in undo_identities(session, records_of(plan))}
    assert undone["t"].outcome is IdentityOutcome.ALREADY_THERE
    assert undone["z"].outcome is IdentityOutcome.APPLIED
    source_db.execute("alter table z replica identity nothing")
    [result] = undo_identities(session, [r for r in records_of(plan) if r.relation.table == "w"])
    assert result.outcome is IdentityOutcome.LEFT
    source_db.execute("drop table z")
    [result] = undo_identities(session, [r for r in records_of(plan) if r.relation.table == "w"])
    assert result.outcome is IdentityOutcome.ALREADY_THERE


@pytest.mark.parametrize("scope", ["table t", "table leaf", "tables in schema public", "all tables"])
def test_it_is_not_put_back_while_updates_would_fail(
    source_db: Database, session: Session, scope: str
) -> None:
    source_db.execute(
        "create table t (i int) partition by list (i); create table leaf partition of t default;"
        " insert into t values (1)"
    )
    plan = plan_all(session)
    apply_identities(session, plan.proposals)
    source_db.execute(f'create publication "P %s" for {scope}')
    results = {r.relation.table: r for r in undo_identities(session, records_of(plan))}
    assert results["leaf"].outcome is IdentityOutcome.LEFT
    assert results["leaf"].failure is not None
    assert '"P %s"' in results["leaf"].failure.title
    source_db.execute("update t set i = 2")
    source_db.execute("alter publication \"P %s\" set (publish = 'insert')")
    assert IdentityOutcome.LEFT not in outcomes(undo_identities(session, records_of(plan)))
    assert letters(source_db) == {"t": "d", "leaf": "d"}


def test_it_is_put_back_under_a_publication_when_the_identity_before_names_rows(
    source_db: Database, session: Session
) -> None:
    source_db.execute(
        "create table t (i int primary key, j int not null unique);"
        " alter table t replica identity using index t_j_key; create publication p for table t"
    )
    record = IdentityRecord(
        oid=int(source_db.query("select 't'::regclass::oid::int8")[0][0]),
        relation=TableName("public", "t"),
        before=DEFAULT,
        after=IdentitySetting(ReplicaIdentity.INDEX, "t_j_key"),
        undo_sql="",
    )
    assert outcomes(undo_identities(session, [record])) == [IdentityOutcome.APPLIED]
    assert letters(source_db) == {"t": "d"}


def test_of_a_table_changed_twice_the_first_state_is_put_back(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (i int)")
    first = plan_all(session).proposals[0].record
    apply_identities(session, plan_all(session).proposals)
    source_db.execute("alter table t add primary key (i); alter table t replica identity nothing")
    second = plan_all(session).proposals[0].record
    apply_identities(session, plan_all(session).proposals)
    assert (second.before, second.after) == (NOTHING, DEFAULT)
    known = remember(remember((), [first]), [second])
    assert known == (replace(second, before=first.before, undo_sql=first.undo_sql),)
    # Read again before the second was applied, the first is not forgotten either.
    assert remember(known, [second]) == known


def test_an_undo_is_shown_before_it_is_done(source_db: Database, session: Session) -> None:
    source_db.execute("create table t (i int); create table k (i int primary key)")
    before = read_identity_settings(session)
    records = tuple(one.record for one in plan_all(session).proposals)
    assert preview_undo(session, records) == ()
    apply_identities(session, plan_all(session).proposals)
    assert changed_identities(session, before, read_identity_settings(session)) == records
    assert letters(source_db) == {"t": "f", "k": "d"}
    source_db.execute("create publication p for table t")
    [shown] = preview_undo(session, records)
    assert shown.left is not None
    assert "still published by p" in shown.left.title
    [result] = undo_identities(session, records)
    assert result.outcome is IdentityOutcome.LEFT
    [shown] = preview_undo(session, records, without=["p"])
    assert shown.left is None
    source_db.execute("drop publication p")
    [result] = undo_identities(session, records)
    assert result.outcome is IdentityOutcome.APPLIED
    assert result.sql == shown.sql
    assert letters(source_db) == {"t": "d", "k": "d"}


def test_what_no_identity_helps_has_a_problem_instead(source_db: Database, target_db: Database) -> None:
    source_db.execute("create unlogged table u (i int)")
    target_db.execute("create table g (i int, j int generated always as (i) stored)")
    for database, words in ((source_db, "unlogged"), (target_db, "primary key")):
        with open_session(parse_endpoint(Side.SOURCE, database.conninfo), "test") as session:
            [table] = plan_all(session).tables
            assert words in table.problem
            assert table.proposals == ()


def test_what_was_done_before_the_connection_broke_is_told(source_db: Database, session: Session) -> None:
    source_db.execute("create table a (i int); create table b (i int)")
    plan = plan_all(session)
    seen: list[IdentityResult] = []

    def cut(result: IdentityResult) -> None:
        seen.append(result)
        source_db.execute("select pg_terminate_backend(%s)", [session.info.backend_pid])
        wait_until(
            lambda: (
                not source_db.query("select from pg_stat_activity where pid = %s", [session.info.backend_pid])
            )
        )

    with pytest.raises(ConnectionFailedError):
        apply_identities(session, plan.proposals, on_result=cut)
    assert [result.relation.table for result in seen] == ["a"]
    assert letters(source_db) == {"a": "f", "b": "d"}


@pytest.mark.parametrize(
    "damaged", [None, "[]", {"records": []}, [{}], [{"oid": 1}], [[]], [1], [{"oid": "x"}]]
)
def test_a_damaged_record_is_refused(damaged: object) -> None:
    with pytest.raises(UsageError, match="damaged"):
        records_from_json(damaged)
