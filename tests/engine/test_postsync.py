"""What comes after the copy: validations, statistics, materialized views, each done once and told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator

import pytest

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.errors import ConnectionFailedError, Side
from engine.postsync.checklist import Checklist, Progress, Task
from engine.postsync.plan import plan_checklist
from engine.postsync.run import run_checklist
from engine.schema.dump import dump_schema
from engine.schema.restore import apply_script
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run
from tests.waiting import wait_until

SCHEMA = """
create schema "Sales Dept";
create table "Sales Dept"."Odd ""Tab.le" ("I d" int primary key, "select" text);
create table customer (id int primary key, name text, constraint "named %s" check (name <> ''));
create table orders (id int primary key, customer int, constraint of_customer foreign key (customer)
    references customer, constraint positive check (id > 0));
create table unsure (id int, customer int);
alter table unsure add constraint doubted foreign key (customer) references customer not valid;
create table event (id int, at date) partition by range (at);
create table event_1 partition of event for values from ('2026-01-01') to ('2026-02-01');
create table event_2 partition of event for values from ('2026-02-01') to ('2026-03-01');
create view busy as select customer, count(*) as orders from orders group by customer;
create materialized view "a Last" as select * from busy;
create materialized view first as select id, name from customer;
create view through as select id from first;
create materialized view before as select count(*) as n from through;
create materialized view empty as select 1 as one with no data;
"""

ROWS = """
insert into "Sales Dept"."Odd ""Tab.le" select n, 'v' || n % 3 from generate_series(1, 100) n;
insert into customer select n, 'c' || n from generate_series(1, 500) n;
insert into orders select n, n % 500 + 1 from generate_series(1, 1000) n;
insert into event select n, date '2026-01-01' + n % 59 from generate_series(1, 1000) n;
-- Or the server would hear of these rows after they were analyzed.
select pg_stat_force_next_flush();
"""

GATE = """
create function gate() returns int language plpgsql as $$
begin perform pg_catalog.pg_advisory_xact_lock_shared(4712); return 1; end $$;
"""

ANALYZED = "select count(*) from pg_stats where schemaname = %s and tablename = %s and inherited = %s"


class Pair:
    """Both databases and the list of what is left to do."""

    def __init__(self, source: Database, target: Database) -> None:
        self.source = source
        self.target = target
        self.seen: list[Checklist] = []

    @property
    def target_endpoint(self) -> Endpoint:
        return parse_endpoint(Side.TARGET, self.target.conninfo)

    def restore(self) -> None:
        """The source's schema on the target, as the wizard brings it."""
        script = dump_schema(parse_endpoint(Side.SOURCE, self.source.conninfo), 160000)
        outcome = apply_script(self.target_endpoint, script.text)
        assert outcome.applied, outcome.error

    def plan(self) -> Checklist:
        with (
            open_session(parse_endpoint(Side.SOURCE, self.source.conninfo), "test") as source,
            open_session(self.target_endpoint, "test") as target,
        ):
            return plan_checklist(source, target)

    def run(self, checklist: Checklist | None = None, chosen: Collection[int] | None = None) -> Checklist:
        return run_checklist(
            self.target_endpoint,
            self.plan() if checklist is None else checklist,
            session_count=3,
            stop=threading.Event(),
            on_progress=self.seen.append,
            chosen=chosen,
        )


@pytest.fixture
def pair(source_db: Database, target_db: Database) -> Pair:
    return Pair(source_db, target_db)


def by_name(checklist: Checklist, task: Task) -> dict[str, Progress]:
    return {item.name: item.progress for item in checklist.of(task)}


def failures(checklist: Checklist) -> dict[str, str]:
    return {
        f"{item.task.value} {item.name}": item.failure.sentence()
        for item in checklist.items
        if item.failure is not None
    }


def without_validity(database: Database, *constraints: str) -> None:
    """Make constraints what they are when they were added NOT VALID."""
    for constraint in constraints:
        table, definition = database.query(
            "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
            " where conname = %s",
            [constraint],
        )[0]
        database.execute(
            f'alter table {table} drop constraint "{constraint}";'
            f'alter table {table} add constraint "{constraint}" {definition} not valid'
        )


def test_everything_is_done_once_in_an_order_that_works(pair: Pair) -> None:
    pair.source.execute(SCHEMA + ROWS)
    pair.restore()
    pair.target.execute(ROWS)
    without_validity(pair.target, "of_customer", "named %s")

    done = pair.run()
    assert failures(done) == {}
    assert done.is_settled
    assert done.settled_bytes == done.size_bytes > 0
    assert by_name(done, Task.VALIDATE) == {
        "of_customer on public.orders": Progress.DONE,
        '"named %s" on public.customer': Progress.DONE,
        "positive on public.orders": Progress.ALREADY_THERE,
    }
    assert pair.target.query("select conname from pg_constraint where not convalidated") == [("doubted",)]
    refreshed = by_name(done, Task.REFRESH)
    assert refreshed == dict.fromkeys(("public.first", 'public."a Last"', "public.before"), Progress.DONE)
    assert list(refreshed).index("public.first") < list(refreshed).index("public.before")
    assert pair.target.query("select n from before") == [(500,)]
    assert pair.target.query('select count(*) from "a Last"') == [(500,)]
    assert pair.target.query("select relispopulated from pg_class where relname = 'empty'") == [(False,)]
    for schema, table, inherited, columns in (
        ("Sales Dept", 'Odd "Tab.le', False, 2),
        ("public", "event", True, 2),
        ("public", "event_1", False, 2),
        ("public", "event_2", False, 2),
        ("public", "a Last", False, 2),
    ):
        assert pair.target.query(ANALYZED, (schema, table, inherited)) == [(columns,)], table
    assert (
        pair.target.query(
            "select relname from pg_stat_user_tables"
            " where coalesce(last_analyze, last_autoanalyze) is null and relname <> 'empty'"
        )
        == []
    )
    assert all(item.seconds > 0 for item in done.items if item.progress is Progress.DONE)

    # What was told only ever went forward, and ends with what is returned.
    counts = [sum(item.is_settled for item in seen.items) for seen in pair.seen]
    assert counts == sorted(counts)
    assert pair.seen[-1] == done
    assert any(seen.count(Progress.RUNNING) for seen in pair.seen)

    again = pair.plan()
    assert {item.progress for item in again.items} == {Progress.ALREADY_THERE}
    pair.seen.clear()
    assert pair.run(again) == again
    assert pair.seen == []
    pair.target.execute("insert into customer values (1000, 'more')")
    chosen = [item.number for item in again.items if item.task is Task.REFRESH]
    assert pair.run(again, chosen).count(Progress.DONE) == 3
    assert pair.target.query("select n from before") == [(501,)]


def test_what_fails_is_said_and_keeps_nothing_else_from_being_done(pair: Pair) -> None:
    pair.source.execute(
        SCHEMA
        + "create function names() returns bigint language sql as 'select count(*) from public.customer';"
        "create materialized view broken as select names() as n;"
        "create materialized view on_broken as select n from broken;"
        "create materialized view on_both as select n from on_broken, first"
    )
    pair.restore()
    pair.target.execute(ROWS)
    without_validity(pair.target, "of_customer", "positive")
    pair.target.execute(
        "set session_replication_role = replica; insert into orders values (9999, 9999);"
        # As a function that relies on a search_path: ours is empty.
        "create or replace function names() returns bigint language plpgsql as"
        " 'begin return (select count(*) from customer); end'"
    )
    done = pair.run()
    said = failures(done)
    assert set(said) == {
        "validate of_customer on public.orders",
        "refresh public.broken",
        "refresh public.on_broken",
        "refresh public.on_both",
        *(f"analyze public.{view}" for view in ("broken", "on_broken", "on_both")),
    }
    assert 'violates foreign key constraint "of_customer"' in said["validate of_customer on public.orders"]
    assert 'relation "customer" does not exist' in said["refresh public.broken"]
    assert "set search_path" in said["refresh public.broken"]
    assert "needs public.broken, which failed" in said["refresh public.on_both"]
    assert by_name(done, Task.VALIDATE)["positive on public.orders"] is Progress.DONE
    assert by_name(done, Task.REFRESH)["public.before"] is Progress.DONE
    assert pair.target.query(ANALYZED, ("public", "orders", False)) == [(2,)]

    pair.target.execute("delete from orders where id = 9999; alter function names() set search_path = public")
    mended = pair.run(done)
    assert failures(mended) == {}
    assert mended.is_settled
    assert pair.target.query("select n from on_both limit 1") == [(500,)]


def test_a_view_is_refreshed_with_what_its_owner_may_see(cluster_roles: ClusterRoles, pair: Pair) -> None:
    owner = cluster_roles.name("owner")
    for database in (pair.source, pair.target):
        run(
            database,
            "create role {owner}; create table secret (id int primary key, theirs bool);"
            "insert into secret values (1, true), (2, false); alter table secret enable row level security;"
            "alter table secret force row level security; create policy p on secret using (theirs);"
            "create materialized view seen as select * from secret with no data;"
            "alter table secret owner to {owner}; alter materialized view seen owner to {owner}",
            owner=owner,
        )
    pair.source.execute("refresh materialized view seen")
    assert failures(pair.run()) == {}
    assert pair.target.query("select id from seen") == pair.source.query("select id from seen") == [(1,)]


def test_a_table_that_may_not_be_analyzed_is_not_told_as_done(pair: Pair) -> None:
    role = pair.target.name
    pair.target.execute("create table item (id int); create table own (id int)")
    pair.target.execute(f"create role {role} login password 'x'; alter table own owner to {role}")
    try:
        endpoint = parse_endpoint(Side.TARGET, pair.target.conninfo)
        endpoint = Endpoint(endpoint.side, {**endpoint.parameters, "user": role}, None).with_password("x")
        done = run_checklist(
            endpoint, pair.plan(), session_count=1, stop=threading.Event(), on_progress=pair.seen.append
        )
    finally:
        pair.target.execute(f"drop owned by {role}; drop role {role}")
    assert by_name(done, Task.ANALYZE) == {
        "public.item": Progress.FAILED,
        "public.own": Progress.DONE,
    }
    assert "permission denied to analyze" in failures(done)["analyze public.item"]


@pytest.fixture
def gated(pair: Pair) -> Iterator[Callable[[], None]]:
    """A materialized view whose refresh waits until the returned function is called."""
    pair.source.execute(GATE + "create table item (id int); create materialized view slow as select gate()")
    pair.restore()
    with pair.target.connect() as holder:
        holder.execute("select pg_advisory_lock(4712)")

        def open_gate() -> None:
            holder.execute("select pg_advisory_unlock(4712)")

        yield open_gate


WAITS = "select 1 from pg_stat_activity where wait_event = 'advisory' and datname = current_database()"


def test_a_stop_in_the_middle_cancels_and_a_later_run_goes_on(pair: Pair, gated: Callable[[], None]) -> None:
    stop = threading.Event()
    results: list[Checklist] = []
    thread = threading.Thread(
        target=lambda: results.append(
            run_checklist(
                pair.target_endpoint, pair.plan(), session_count=2, stop=stop, on_progress=pair.seen.append
            )
        )
    )
    thread.start()
    wait_until(lambda: pair.target.query(WAITS), describe=lambda: pair.seen[-1])
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    (stopped,) = results
    assert by_name(stopped, Task.REFRESH) == {"public.slow": Progress.WAITING}
    assert by_name(stopped, Task.ANALYZE)["public.slow"] is Progress.WAITING
    assert failures(stopped) == {}
    assert pair.target.query(WAITS) == []
    gated()
    assert pair.run(stopped).is_settled
    assert pair.target.query("select * from slow") == [(1,)]


def test_a_session_that_is_lost_fails_its_item_only(pair: Pair, gated: Callable[[], None]) -> None:
    pair.target.execute("create materialized view zz as select 1 as one with no data")
    pair.source.execute("create materialized view zz as select 1 as one")

    def end_session() -> None:
        wait_until(lambda: pair.target.query(WAITS))
        pair.target.execute(WAITS.replace("select 1", "select pg_terminate_backend(pid)"))

    killer = threading.Thread(target=end_session)
    killer.start()
    done = run_checklist(
        pair.target_endpoint,
        pair.plan(),
        session_count=1,
        stop=threading.Event(),
        on_progress=pair.seen.append,
    )
    killer.join(30)
    assert by_name(done, Task.REFRESH) == {
        "public.slow": Progress.FAILED,
        "public.zz": Progress.DONE,
    }
    assert "terminating connection" in failures(done)["refresh public.slow"]


def test_a_target_that_is_gone_is_said(pair: Pair) -> None:
    pair.target.execute("create table item (id int)")
    planned = pair.plan()
    gone = parse_endpoint(Side.TARGET, "host=127.0.0.1 port=1 dbname=x user=x")
    with pytest.raises(ConnectionFailedError):
        run_checklist(gone, planned, session_count=2, stop=threading.Event(), on_progress=pair.seen.append)
    assert pair.seen[-1].count(Progress.WAITING) == len(planned.items)


def test_before_18_a_partitioned_table_is_one_item(source_db: Database) -> None:
    source_db.execute(SCHEMA + ROWS)
    pair = Pair(source_db, source_db)
    analyzed = by_name(pair.plan(), Task.ANALYZE)
    assert "public.event" in analyzed
    assert "public.event_1" not in analyzed
    assert pair.run().is_settled
    assert source_db.query(ANALYZED, ("public", "event_1", False)) == [(2,)]
    assert {item.progress for item in pair.plan().items} == {Progress.ALREADY_THERE}
