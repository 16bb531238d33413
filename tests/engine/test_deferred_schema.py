"""A restored schema: keys come before a table's catch-up, the rest after the copy, and nothing is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.cutover.fence import pass_fence
from engine.errors import Side
from engine.replication.engine import Engine
from engine.replication.status import SubscriptionStatus, read_status
from engine.schema.archive import dump_archive
from engine.schema.dump import dump_schema
from engine.snapshot import Phase, Severity, TableState
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.faults.running import RunProcess
from tests.waiting import wait_until

GATE = """
create function gate(anything anyelement) returns boolean language plpgsql immutable
    set lock_timeout = 0 as $$
begin perform pg_catalog.pg_advisory_xact_lock_shared(4711); return true; end $$;
"""
"""On a database where somebody holds the advisory lock 4711 alone, whoever evaluates this waits."""

FORGED = """line one
--
-- TOC entry 1 (class 0 OID 0)
-- Name: forged; Type: INDEX; Schema: public; Owner: -
--

drop table customer;

-- Completed on 2026-01-01
"""

SCHEMA = f"""
create schema "Sales Dept";
create type mood as enum ('calm', 'cross');
create function touch() returns trigger language plpgsql as $$begin new.touched := true; return new; end$$;

create table customer (
    id int primary key, email text not null, name text, mood mood default 'calm', touched bool default false,
    parent int references customer);
create unique index customer_email on customer (email);
create index customer_name on customer (lower(name)) where id > 5;
comment on index customer_name is '{FORGED}';
comment on constraint customer_pkey on customer is 'the key';
create trigger touched before update on customer for each row execute function touch();
alter table customer enable replica trigger touched;
create trigger touched_too before insert on customer for each row execute function touch();

create table egg (id int primary key, hen int);
create table hen (id int primary key, egg int references egg deferrable initially deferred);
alter table egg add constraint egg_hen foreign key (hen) references hen deferrable;
alter table egg add constraint unsure foreign key (id) references customer not valid;

create table badge (code int not null, holder text, constraint holder_once unique (holder) deferrable);
create unique index badge_code on badge (code);
alter table badge replica identity using index badge_code;
cluster badge using badge_code;

create table seat (x int not null, note text, constraint seat_x unique (x));
alter table seat replica identity using index seat_x;

create table booking (id int primary key, during int4range, exclude using gist (during with &&));
create table keyless (a int, b text);
alter table keyless replica identity full;
create index keyless_a on keyless (a desc nulls last) include (b);
alter table keyless add constraint small check (a < 1000000) not valid;

create table "Sales Dept"."Odd ""Table" ("I d" int primary key, "select" text);
create index "Odd index" on "Sales Dept"."Odd ""Table" ("select");

create table event (id int not null, at date not null, v text, customer int, primary key (id, at))
    partition by range (at);
create table event_1 partition of event for values from ('2026-01-01') to ('2026-02-01');
create table event_2 partition of event for values from ('2026-02-01') to ('2026-03-01')
    partition by list (id);
create table event_2a partition of event_2 for values in (1, 2, 3);
create table event_2b partition of event_2 default;
create index event_v on event (v);
create index event_1_only on event_1 (v desc);
alter table event add foreign key (customer) references customer;
create table ticket (id int primary key, event int, at date, foreign key (event, at) references event);

create view grouped as select id, name, email from customer group by id;
create view on_grouped as select name from grouped where id < 100;
create materialized view names as select id, name from customer;
create unique index names_id on names (id);
create rule no_seat as on delete to keyless where old.a = 77 do instead nothing;
create statistics both_columns on a, b from keyless;
create policy own on badge using (code > 0);
alter table badge enable row level security;
"""

ROWS = """
insert into customer select n, 'mail' || n, 'Name ' || n, 'calm', false, nullif(n - 1, 0)
  from generate_series(1, 3000) n;
insert into egg select n, null from generate_series(1, 300) n;
insert into hen select n, n from generate_series(1, 300) n;
update egg set hen = id;
insert into badge select n, 'holder ' || n from generate_series(1, 500) n;
insert into seat select n, repeat('x', n % 50) from generate_series(1, 500) n;
insert into booking select n, int4range(n * 10, n * 10 + 9) from generate_series(1, 200) n;
insert into keyless select n % 100, 'b' from generate_series(1, 500) n;
insert into "Sales Dept"."Odd ""Table" select n, 'v' || n from generate_series(1, 200) n;
insert into event select n, date '2026-01-01' + n % 59, 'v' || n, n % 3000 + 1
  from generate_series(1, 5000) n;
insert into ticket select id, id, at from event where id % 10 = 0;
create publication pub for table customer, egg, hen, badge, seat, booking, keyless, event, ticket,
    "Sales Dept"."Odd ""Table" with (publish_via_partition_root = true);
"""

TABLES = ("customer", "egg", "hen", "badge", "seat", "booking", "keyless", "event", "ticket",
          'Sales Dept.Odd "Table')  # fmt: skip

CHANGES = """
update customer set name = name || '!' where id % 100 = %(n)s % 100;
insert into customer (id, email) values (10000 + %(n)s, 'new' || %(n)s);
update customer set id = -id where id = 10000 + %(n)s - 5;
delete from ticket where id = %(n)s * 10;
update badge set holder = holder || '!' where code = %(n)s % 500 + 1;
update seat set x = x + 10000 where x = %(n)s % 500 + 1;
delete from seat where x = %(n)s % 400 + 20;
delete from keyless where ctid = (select min(ctid) from keyless);
insert into keyless values (%(n)s, 'new');
update event set v = v || '!' where id = %(n)s % 5000 + 1;
delete from event where id = %(n)s + 3001 and id % 10 <> 0;
update booking set during = int4range(%(n)s * 10 + 100000, %(n)s * 10 + 100005) where id = %(n)s % 200 + 1;
insert into egg values (1000 + %(n)s, 1000 + %(n)s);
insert into hen values (1000 + %(n)s, 1000 + %(n)s);
"""


@pytest.fixture
def source(source_db: Database) -> Endpoint:
    return parse_endpoint(Side.SOURCE, source_db.conninfo)


class Restoring(Migration):
    """A subscription whose first start restores the schema."""

    def __init__(self, source: Database, target: Database, **settings: object) -> None:
        super().__init__(source, target)
        self.config = replace(self.config, restores_schema=True, **settings)  # type: ignore[arg-type]
        self.engine = Engine(self.config)

    def texts(self) -> list[str]:
        """What the engine has said."""
        return [event.text for event in self.engine.events(0)]

    def wait_complete(self) -> None:
        """Until nothing of the schema is missing or refused."""

        def complete() -> bool:
            snapshot = self.snapshot
            assert snapshot.phase is not Phase.FAILED, snapshot.failure
            assert not snapshot.objects_failed, self.texts()
            return snapshot.objects_to_build == 0

        self.wait_ready()
        wait_until(complete, describe=self.texts)


@contextmanager
def closed_gate(target: Database) -> Iterator[None]:
    """Until the block ends, whoever evaluates ``gate`` on the target waits."""
    with target.connect() as holder:
        holder.execute("select pg_advisory_lock(4711)")
        yield
        holder.execute("select pg_advisory_unlock(4711)")


@contextmanager
def written(source: Database) -> Iterator[None]:
    """Changes to every table while the block runs."""
    stop = threading.Event()
    failures: list[Exception] = []

    def write() -> None:
        number = 0
        try:
            with source.connect(autocommit=False) as connection:
                while not stop.wait(0.01):
                    number += 1
                    connection.execute("set constraints all deferred")
                    connection.execute(CHANGES.replace("%(n)s", str(number)))
                    connection.commit()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures


def schema_of(database: Database) -> list[str]:
    """What pg_dump writes of it, but for our own state and what differs from call to call."""
    endpoint = parse_endpoint(Side.SOURCE, database.conninfo)
    text = dump_schema(endpoint, 160000).text
    return [
        line
        for line in text.splitlines()
        if not line.startswith(("-- Dumped ", "\\restrict ", "\\unrestrict "))
    ]


def indexes(database: Database, table: str) -> set[str]:
    return {
        str(name)
        for (name,) in database.query(
            "select indexrelid::regclass::text from pg_index where indrelid = %s::regclass and indisvalid",
            [table],
        )
    }


def steps(database: Database) -> dict[str, str]:
    """State by name of what was put off; empty before the restore."""
    if database.query("select to_regclass('_ts_live_sync.deferred') is null") == [(True,)]:
        return {}
    return {
        f"{kind} {name}": str(state)
        for kind, name, state in database.query("select kind, name, state from _ts_live_sync.deferred")
    }


def status_of(target: Database) -> SubscriptionStatus:
    with open_session(parse_endpoint(Side.TARGET, target.conninfo), "test") as session:
        return read_status(session, "test")


@pytest.mark.parametrize("via_root", [True, False])
def test_every_kind_of_object_arrives_under_live_writes(
    source_db: Database, target_db: Database, via_root: bool
) -> None:
    source_db.execute(SCHEMA)
    source_db.execute(ROWS)
    source_db.execute(f"alter publication pub set (publish_via_partition_root = {via_root})")
    with Restoring(source_db, target_db) as migration:
        with written(source_db):
            migration.wait_complete()
        migration.wait_applied()
        wait_until(lambda: "The schema is complete" in migration.texts(), describe=migration.texts)
        migration.assert_equal(*TABLES)
    assert schema_of(target_db) == schema_of(source_db)
    assert set(steps(target_db).values()) == {"done"}
    unvalidated = "select conname from pg_constraint where not convalidated order by conname"
    assert target_db.query(unvalidated) == source_db.query(unvalidated) == [("small",), ("unsure",)]


def test_killed_again_and_again_it_goes_on_and_dumps_once(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(GATE + SCHEMA)
    source_db.execute(
        "create index slow on customer (gate(id));create unique index slow_too on egg (id, gate(id))"
    )
    source_db.execute(ROWS)
    log = tmp_path / "log"

    def running() -> RunProcess:
        return RunProcess(source_db, target_db, log, subscription="test", arguments=("--schema",))

    def copying() -> bool:
        found = target_db.query("select to_regclass('_ts_live_sync.subscription_rel') is not null")
        return found == [(True,)] and bool(
            target_db.query("select 1 from _ts_live_sync.subscription_rel where state in ('d', 'f')")
        )

    def building() -> bool:
        found = target_db.query(
            "select 1 from pg_stat_activity where wait_event = 'advisory' and datname = current_database()"
            " and query ~* '^create (unique )?index slow'"
        )
        return bool(found)

    with written(source_db):
        with running() as process:
            wait_until(lambda: steps(target_db), describe=log.read_text)
            process.kill()
        # Closed before the rows are copied: otherwise all may be built before the kill arrives.
        with closed_gate(target_db):
            for moment in (copying, building, building):
                with running() as process:
                    wait_until(moment, timeout_seconds=150, describe=log.read_text)
                    process.kill()
                    target_db.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where datname = current_database() and wait_event = 'advisory'"
                    )
        with running() as process:
            wait_until(lambda: set(steps(target_db).values()) == {"done"}, describe=log.read_text)
            assert process.terminate() == 0, log.read_text()
    said = log.read_text()
    assert said.count("Reading the schema of the source") == 1, said
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        migration.wait_applied()
        migration.assert_equal(*TABLES)
    assert schema_of(target_db) == schema_of(source_db)


@pytest.fixture
def gated(source_db: Database) -> None:
    """Rows of the table ``last`` are copied only while the target's gate is open."""
    source_db.execute(
        GATE
        + """
        create table item (id int primary key, name text);
        create unique index item_name on item (name);
        create table named (code int not null, note text);
        create unique index named_code on named (code);
        create index named_note on named (note);
        alter table named replica identity using index named_code;
        create table part (id int primary key, v text) partition by range (id);
        create table part_1 partition of part for values from (0) to (100) partition by list (id);
        create table part_2 partition of part_1 default;
        create index part_v on part (v);
        create table last (id int primary key, item int constraint of_item references item check (gate(id)));
        insert into item select n, 'name ' || n from generate_series(1, 1000) n;
        insert into last select n, n from generate_series(1, 10) n;
        create publication pub for table item, last, named, part with (publish_via_partition_root = true)
        """
    )


def state_of(migration: Migration, table: str) -> TableState | None:
    return next((one.state for one in migration.snapshot.tables if one.source_name == table), None)


def test_a_key_comes_before_the_catch_up_and_all_else_after_the_whole_copy(
    source_db: Database, target_db: Database, gated: None
) -> None:
    with Restoring(source_db, target_db) as migration:
        with closed_gate(target_db):
            wait_until(
                lambda: state_of(migration, "public.item") is TableState.READY, describe=migration.texts
            )
            wait_until(lambda: state_of(migration, "public.named") is TableState.READY)
            wait_until(lambda: state_of(migration, "public.part") is TableState.READY)
            source_db.execute("update item set name = name || '!'")
            migration.wait_applied()
            assert indexes(target_db, "named") == {"named_code"}
            # Valid, so those of the partitions are attached.
            assert indexes(target_db, "part") == {"part_pkey"}
            assert indexes(target_db, "item") == {"item_pkey"}
            assert indexes(target_db, "last") == set()
            built = steps(target_db)
            assert built["CONSTRAINT item item_pkey"] == "done"
            waiting = {
                "CONSTRAINT last last_pkey",
                "INDEX item_name",
                "INDEX named_note",
                "INDEX part_v",
                "INDEX part_1_v_idx",
                "INDEX part_2_v_idx",
                "INDEX ATTACH part_1_v_idx",
                "INDEX ATTACH part_2_v_idx",
                "FK CONSTRAINT last of_item",
                "FK VALIDATION last of_item",
            }
            assert {name for name, state in built.items() if state == "pending"} == waiting
            assert migration.snapshot.objects_to_build == len(waiting)
            assert len(status_of(target_db).not_built) == len(waiting)
        migration.wait_complete()
        assert indexes(target_db, "item") == {"item_pkey", "item_name"}
        assert any(text.startswith("Built index item_name (") for text in migration.texts())
    assert target_db.query("select convalidated from pg_constraint where conname = 'of_item'") == [(True,)]


def test_what_the_target_refuses_is_said_and_tried_again_by_the_next_start(
    source_db: Database, target_db: Database, gated: None
) -> None:
    with Restoring(source_db, target_db) as migration:
        with closed_gate(target_db):
            wait_until(
                lambda: state_of(migration, "public.item") is TableState.READY, describe=migration.texts
            )
            target_db.execute("insert into item values (-1, 'name 1'); insert into item values (-2, 'other')")
            target_db.execute("set session_replication_role = replica; delete from item where id = 2")
        wait_until(lambda: migration.snapshot.objects_failed == 2, describe=migration.texts)
        errors = [event.text for event in migration.engine.events(0) if event.severity is Severity.ERROR]
        assert len(errors) == 2
        assert any('could not create unique index "item_name"' in text for text in errors)
        assert any('violates foreign key constraint "of_item"' in text for text in errors)
        failed = {step.planned.name: step.last_error for step in status_of(target_db).objects_failed}
        assert set(failed) == {"item_name", "last of_item"}
        assert 'could not create unique index "item_name"' in (failed["item_name"] or "")
        migration.wait_ready()
        source_db.execute("insert into item values (5000, 'after')")
        migration.wait_applied()
        assert target_db.query("select name from item where id = 5000") == [("after",)]
        target_db.execute("delete from item where id < 0; insert into item values (2, 'name 2')")
        migration.restart()
        migration.wait_complete()
    assert status_of(target_db).not_built == ()
    assert schema_of(target_db) == schema_of(source_db)


def test_a_key_that_cannot_be_built_sets_its_table_aside(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create table broken (id int primary key, v text); create table good (id int primary key);"
        "create index broken_v on broken (v); create index good_id on good (id);"
        "insert into broken values (1, 'a'); insert into good values (1);"
        "create publication pub for table broken, good"
    )
    with source_db.connect() as connection:
        connection.execute("set allow_system_table_mods = on")
        for unique in ("false", "true"):
            connection.execute(
                f"update pg_index set indisunique = {unique} where indexrelid = 'broken_pkey'::regclass"
            )
            if unique == "false":
                source_db.execute("insert into broken values (1, 'b')")
    with Restoring(source_db, target_db) as migration:
        error = migration.wait_set_aside("public.broken")
        assert 'could not create unique index "broken_pkey"' in error
        assert "Key (id)=(1) is duplicated" in error
        wait_until(lambda: steps(target_db)["INDEX good_id"] == "done", describe=migration.texts)
        assert steps(target_db)["INDEX broken_v"] == "pending"
        assert state_of(migration, "public.good") is TableState.READY
        source_db.execute(
            "set enable_indexscan = off; set enable_bitmapscan = off; delete from broken where v = 'b'"
        )
        table = next(one for one in migration.snapshot.tables if one.source_name == "public.broken")
        migration.engine.retry(table.source_oid)
        wait_until(lambda: not migration.snapshot.tables_set_aside, describe=migration.texts)
        migration.wait_complete()
        migration.assert_equal("broken", "good")
    assert schema_of(target_db) == schema_of(source_db)


def test_builds_share_a_budget_and_have_the_memory_asked_for(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        GATE
        + """
        create sequence memory;
        create function remember(n int) returns int language plpgsql immutable as $$
        begin
            perform pg_catalog.setval('public.memory',
                pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')));
            return n;
        end $$;
        create table item (id int primary key);
        create index one on item (gate(id));
        create index two on item ((gate(id)), id);
        create index three on item (id, (gate(id)));
        create index with_memory on item (remember(id));
        insert into item select generate_series(1, 10);
        create publication pub for table item
        """
    )
    waiting = (
        "select count(*) from pg_stat_activity where wait_event = 'advisory' and query ilike 'create index%'"
        " and datname = current_database()"
    )
    with Restoring(source_db, target_db, index_jobs=2, maintenance_work_mem="7MB") as migration:
        with closed_gate(target_db):
            wait_until(lambda: target_db.query(waiting) == [(2,)], describe=migration.texts)
            with open_session(migration.config.source, "test") as session:
                passed = pass_fence(migration.engine, session, timeout_seconds=30)
            assert passed.failure is not None
            assert "4 indexes and constraints" in passed.failure.title
            seen = migration.snapshot.seq
            wait_until(lambda: migration.snapshot.seq > seen + 5)
            assert target_db.query(waiting) == [(2,)]
            assert migration.snapshot.tables[0].activity.startswith("building index ")
            assert migration.snapshot.objects_to_build == 4
        migration.wait_complete()
        assert migration.snapshot.tables[0].activity == "replicating"
    assert target_db.query("select last_value from memory") == [(7 * 1024 * 1024,)]


def test_a_build_that_waits_for_a_lock_keeps_nobody_waiting(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        GATE + "create table item (id int primary key); create index item_id on item (id);"
        "create table last (id int primary key, check (gate(id))); insert into last values (1);"
        "create publication pub for table item, last"
    )
    with Restoring(source_db, target_db) as migration:
        with target_db.connect() as writer:
            with closed_gate(target_db):
                wait_until(
                    lambda: state_of(migration, "public.item") is TableState.READY, describe=migration.texts
                )
                writer.execute("begin; lock table item in row exclusive mode")
            wait_until(
                lambda: target_db.query("select 1 from pg_locks where not granted and mode = 'ShareLock'"),
                describe=migration.texts,
            )
            source_db.execute("insert into item values (1)")
            migration.wait_applied()
            assert indexes(target_db, "item") == {"item_pkey"}
            wait_until(lambda: any("waits for another session" in text for text in migration.texts()))
            writer.execute("commit")
        migration.wait_complete()
        assert indexes(target_db, "item") == {"item_pkey", "item_id"}


def test_a_stop_does_not_wait_for_a_build(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        GATE + "create table item (id int primary key); create index slow on item (gate(id));"
        "insert into item values (1); create publication pub for table item"
    )
    with Restoring(source_db, target_db) as migration:
        with closed_gate(target_db):
            wait_until(
                lambda: target_db.query("select 1 from pg_stat_activity where wait_event = 'advisory'"),
                describe=migration.texts,
            )
            migration.engine.stop()
            assert migration.engine.join(20)
            assert migration.engine.error is None
            assert steps(target_db)["INDEX slow"] == "pending"
        migration.restart()
        migration.wait_complete()


def test_tables_that_are_there_are_left_as_they_are(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create table item (id int primary key); create index item_id on item (id);"
        "insert into item values (1); create publication pub for table item"
    )
    target_db.execute("create table item (id int primary key)")
    with Restoring(source_db, target_db) as migration:
        migration.wait_ready()
        assert any("on the target already" in text for text in migration.texts())
        migration.assert_equal("item")
    assert indexes(target_db, "item") == {"item_pkey"}
    assert steps(target_db) == {}


def test_half_a_schema_is_refused(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create table a (id int primary key); create table b (id int primary key);"
        "create publication pub for table a, b"
    )
    target_db.execute("create table a (id int primary key)")
    migration = Restoring(source_db, target_db)
    migration.engine.start()
    assert migration.engine.join(30)
    assert migration.engine.error is not None
    assert "public.b" in migration.engine.error.failure.title
    assert "Empty the target for --schema" in migration.engine.error.failure.hint
    assert target_db.query("select 1 from pg_namespace where nspname = '_ts_live_sync'") == []


def test_a_schema_that_the_target_refuses_leaves_nothing(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create table a (id int primary key); create table b (id int primary key);"
        "create publication pub for table a"
    )
    target_db.execute("create table b (id int primary key)")
    migration = Restoring(source_db, target_db)
    migration.engine.start()
    assert migration.engine.join(30)
    assert migration.engine.error is not None
    assert 'relation "b" already exists' in migration.engine.error.failure.detail
    assert target_db.query("select to_regclass('a')") == [(None,)]
    assert steps(target_db) == {}


def test_a_comment_that_looks_like_pg_restores_own_is_kept_whole(
    source_db: Database, source: Endpoint
) -> None:
    source_db.execute(
        "create table a (id int primary key); create index i on a (id); create index j on a (id desc)"
    )
    source_db.execute(f"comment on index i is '{FORGED}'; comment on index j is 'plain'")
    entries = {entry.name: entry for entry in dump_archive(source, 160000).post_data}
    assert set(entries) == {"a a_pkey", "i", "INDEX i", "j", "INDEX j"}
    assert entries["INDEX i"].statement == f"COMMENT ON INDEX public.i IS '{FORGED}';"
    assert entries["j"].statement == "CREATE INDEX j ON public.a USING btree (id DESC);"
    assert entries["INDEX j"].statement == "COMMENT ON INDEX public.j IS 'plain';"
