"""A verification finds every difference, and none where there is none, while both sides are written to."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from engine.connection.session import Session, open_session
from engine.cutover.outcome import ComparisonProgress, TableComparison
from engine.errors import BlockedError, EngineError, Side
from engine.lsn import parse_lsn
from engine.replication.standstill import StandstillStore
from engine.snapshot import Phase
from engine.verification import layout, narrow
from engine.verification.outcome import Verification
from engine.verification.verify import verify
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until


def verified(migration: Migration, *, is_quick: bool = False) -> Verification:
    config = migration.config
    return verify(
        config.source,
        config.target,
        config.subscription,
        is_quick=is_quick,
        on_progress=lambda progress: None,
        on_wait=lambda words: None,
    )


@pytest.fixture
def both(source_db: Database, target_db: Database) -> Callable[[str], None]:
    def execute(statements: str) -> None:
        source_db.execute(statements)
        target_db.execute(statements)

    return execute


class Writers:
    """Sessions that insert, update and delete all the time, some of it in large transactions."""

    def __init__(self, source: Database) -> None:
        self._source = source
        self._stop = threading.Event()
        self._large = threading.Semaphore(0)
        self.commits = [0] * 5
        self.failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(5)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def write_large(self) -> None:
        """Begin another transaction that the apply stream splits over several batches."""
        self._large.release()

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._large.release()
        for thread in self._threads:
            thread.join()
        assert self.failure is None

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        try:
            with self._source.connect(autocommit=False) as connection:
                while not self._stop.is_set():
                    try:
                        for statement in self._statements(number, chance):
                            connection.execute(statement)
                    except psycopg.errors.DeadlockDetected:
                        connection.rollback()
                        if number == 0:
                            self.write_large()
                        continue
                    connection.rollback() if chance.random() < 0.1 else connection.commit()
                    self.commits[number] += 1
        except BaseException as error:
            self.failure = error

    def _statements(self, number: int, chance: random.Random) -> Iterator[str]:
        if number == 0:
            self._large.acquire()
            yield "update keyed set touched = touched + 1, note = note || 'x' where id % 2 = 0"
            yield "insert into keyless select n, 'bulk' from generate_series(1, 300) n"
            yield "delete from keyless where label = 'bulk' and n % 9 = 0"
            return
        # No faster than two cores can apply it.
        self._stop.wait(0.01)
        for _ in range(chance.randrange(1, 6)):
            match chance.randrange(6):
                case 0:
                    yield (
                        "insert into keyed (id, note)"
                        f" values ({chance.randrange(10**6) * 10 + number + 100_000}, 'n')"
                        " on conflict (id) do update set touched = keyed.touched + 1"
                    )
                case 1:
                    yield (
                        "update keyed set touched = touched + 1, note = md5(random()::text)"
                        f" where id = {chance.randrange(20_000) * 5 + number}"
                    )
                case 2:
                    yield f"delete from keyed where id = {chance.randrange(20_000) * 5 + number}"
                case 3:
                    yield f"insert into keyless values ({chance.randrange(9)}, null)"
                case 4:
                    yield f"insert into root values ({chance.randrange(2000)}, {number})"
                case 5:
                    yield f"delete from root where id = {chance.randrange(2000)} and v = {number}"


_LOADED = """
create table keyed (id int primary key, touched int not null default 0, note text);
create table keyless (n int, label text);
alter table keyless replica identity full;
create table root (id int, v int) partition by range (id);
create table root_low partition of root for values from (0) to (1000);
create table root_high partition of root default;
alter table root replica identity full; alter table root_low replica identity full;
alter table root_high replica identity full;
"""


def test_no_difference_is_found_while_everything_is_written_to(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both(_LOADED)
    source_db.execute("insert into keyed select n, 0, 'old' from generate_series(1, 60000) n")
    source_db.execute(
        "create publication pub for table keyed, keyless, root with (publish_via_partition_root)"
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        lsns = []
        with Writers(source_db) as writers:
            for _ in range(5):
                before = list(writers.commits)
                writers.write_large()
                wait_until(
                    lambda before=before: all(
                        now > was for now, was in zip(writers.commits, before, strict=True)
                    )
                )
                writers.write_large()
                found = verified(migration)
                assert found.is_equal, found
                assert found.not_compared == ()
                assert found.standstill_seconds is not None
                lsns.append(found.lsn)
        assert len(set(lsns)) == 5
        migration.wait_applied()
        assert verified(migration).is_equal
        # What was compared is not nothing.
        assert found.rows > 60000
        assert source_db.query("select count(*) from pg_replication_slots where temporary") == [(0,)]
        assert target_db.query("select count(*) from _ts_live_sync.verification") == [(0,)]


def damage(target: Database, statements: str) -> None:
    """Change the target behind the engine's back."""
    target.execute(statements)


def by_source(found: Verification) -> dict[str, TableComparison]:
    return {table.source: table for table in found.comparisons}


def words(table: TableComparison) -> list[str]:
    return [row.words for row in table.differing]


def test_rows_that_differ_are_named_by_their_key_and_by_nothing_else(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both(
        "create table plain (id int primary key, secret text);"
        "create table two (a text, b bigint, secret text, primary key (b, a));"
        "create table doubled (n int, secret text); alter table doubled replica identity full;"
        'create schema "Odd %s.""S"; create table "Odd %s.""S"."T {0} %" ("k % {x} ""q" text primary key);'
        "create table equal (id int primary key)"
    )
    source_db.execute(
        "insert into plain select n, 'hidden' from generate_series(1, 5000) n;"
        "insert into two select 'it''s', n, 'hidden' from generate_series(1, 50) n;"
        "insert into doubled values (1, 'hidden'), (1, 'hidden'), (2, 'hidden'), (null, null), (null, null);"
        r"""insert into "Odd %s.""S"."T {0} %" values (E'tab\t new\nline back\\slash "ü" 😀 \\N'), ('');"""
        "insert into equal values (1);"
        "create publication pub for table plain, two, doubled, equal,"
        ' "Odd %s.""S"."T {0} %"'
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        assert verified(migration).is_equal
        damage(
            target_db,
            "update plain set secret = 'damaged' where id = 42; delete from plain where id = 4000;"
            "insert into plain values (-7, 'surplus');"
            "update two set secret = null where b = 7;"
            "insert into doubled values (1, 'hidden'); delete from doubled where n = 2;"
            'delete from "Odd %s.""S"."T {0} %" where "k % {x} ""q" <> \'\'',
        )
        found = verified(migration)
    tables = by_source(found)
    assert not found.is_equal
    assert [table.source for table in found.comparisons if table.equal] == ["public.equal"]
    assert words(tables["public.plain"]) == [
        "only on the target: id = '-7'",
        "differs: id = '42'",
        "only on the source: id = '4000'",
    ]
    assert (tables["public.plain"].source_rows, tables["public.plain"].target_rows) == (5000, 5000)
    assert words(tables["public.two"]) == ["differs: b = '7' and a = 'it''s'"]
    surplus, missing = sorted(tables["public.doubled"].differing, key=lambda row: str(row.side), reverse=True)
    assert surplus.side is Side.TARGET
    assert surplus.row.startswith("public.doubled (0,")
    assert surplus.row.endswith(", 2 times on the source and 3 on the target")
    assert missing.side is Side.SOURCE
    assert words(tables['"Odd %s.""S"."T {0} %"']) == [
        'only on the source: "k % {x} ""q" = \'tab\t new\nline back\\slash "ü" 😀 \\N\''
    ]
    assert "hidden" not in str(found)
    assert "damaged" not in str(found)


def test_counting_rows_is_enough_for_a_quick_look(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key, v int); create table u (id int primary key)")
    source_db.execute(
        "insert into t select n, n from generate_series(1, 9) n; insert into u values (1), (2);"
        "create publication pub for table t, u"
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        damage(target_db, "update t set v = 0; delete from u where id = 1")
        found = verified(migration, is_quick=True)
    assert [(table.source, table.equal) for table in found.comparisons] == [
        ("public.t", True),
        ("public.u", False),
    ]
    assert (found.comparisons[1].source_rows, found.comparisons[1].target_rows) == (2, 1)


def test_a_value_that_is_written_differently_is_no_difference(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both(
        "create type mood as enum ('fine', 'bad'); create type pair as (a int, b timestamptz);"
        "create domain positive as numeric(10, 2) check (value > 0);"
        "create table t (id int primary key, f float8, f4 float4, fs float8[], n numeric, j json, jb jsonb,"
        " p point, x xid, b bytea, bs bytea[], ts timestamptz, tss timestamptz[], i interval, i_s interval[],"
        ' m money, c "char", cs "char"[], r tstzrange, mood mood, moods mood[], pair pair, d positive,'
        " bits bit(3), name name);"
        # By itself, so that it is copied in binary: as text this byte is no character.
        'create table chars (id int primary key, c "char")'
    )
    source_db.execute(
        "create table narrow (id int primary key, a int, b timestamp, c char(5), d json, e numeric,"
        " f varchar(9), g date, h float4)"
    )
    target_db.execute(
        "create table narrow (id bigint primary key, a numeric, b timestamptz, c text, d jsonb,"
        " e numeric(12, 3), f char(12), g timestamp, h float8, extra text default 'ours')"
    )
    source_db.execute(
        r"""insert into t values (1, 'NaN', 0.1, '{0.1,-0,Infinity}', 'NaN', '{"a": 1,  "a":2}',"""
        r""" '{"b":1.10,"a": 2}', '(0.1,2)', '7', '\x00ff', array['\xff'::bytea, null],"""
        " '2025-07-01 12:00+02', '{infinity,2025-01-01}', '1 mon -1 day', '{-1 day}', 12.5, 'a', '{b,NULL}',"
        " '[2025-01-01,)', 'fine', '{bad,NULL}', row(1, '2025-07-01 12:00+02'), 1.5, '101', 'x');"
        "insert into t (id) values (2);"
        "insert into narrow values"
        """ (1, 7, '2025-07-01 12:00', 'ab', '{"b":1,  "a": 2}', 1.5, 'x', '2025-01-01', 0.1);"""
        'insert into narrow (id) values (2); insert into chars values (1, (-61)::int4::"char");'
        "create publication pub for table t, narrow, chars"
    )
    for database, settings in (
        (source_db, ("datestyle = 'German'", "timezone = 'Asia/Tokyo'", "extra_float_digits = -5")),
        (target_db, ("bytea_output = 'escape'", "intervalstyle = 'iso_8601'", "xmloption = 'document'")),
    ):
        for setting in settings:
            database.execute(f'alter database "{database.name}" set {setting}')
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        found = verified(migration)
        assert found.is_equal, found
        narrow = by_source(found)["public.narrow"]
        assert (narrow.source_rows, narrow.target_only_columns) == (2, ("extra",))
        damage(
            target_db,
            "update narrow set e = 1.501 where id = 1; update t set f4 = 0.1, jb = '{}' where id = 2",
        )
        tables = by_source(verified(migration))
        assert words(tables["public.narrow"]) == ["differs: id = '1'"]
        assert words(tables["public.t"]) == ["differs: id = '2'"]


def test_what_is_not_published_is_not_compared(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both(
        "create table listed (id int primary key, a int, b int);"
        "create table filtered (id int primary key, kind text);"
        "create table computed (id int primary key, twice int generated always as (id * 2) stored);"
        "create table lacking (id int primary key, gone int)"
    )
    source_db.execute(
        "insert into listed values (1, 2, 3); insert into computed values (1), (2);"
        "insert into filtered values (1, 'yes'), (2, 'no'), (3, 'Y{0}%s'); insert into lacking values (1, 1);"
        "create publication pub for table listed (id, a), filtered where (kind in ('yes', 'Y{0}%s')),"
        " computed, lacking"
    )
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        assert verified(migration).is_equal
        damage(
            target_db,
            "update listed set b = 77; insert into filtered values (2, 'no'); alter table lacking drop gone;"
            "alter table computed drop twice, add twice int generated always as (id * id * 2) stored",
        )
        tables = by_source(verified(migration))
    assert tables["public.listed"].equal
    assert words(tables["public.filtered"]) == ["only on the target: id = '2'"]
    assert words(tables["public.computed"]) == ["differs: id = '2'"]
    assert (tables["public.lacking"].equal, tables["public.lacking"].source_only_columns) == (
        False,
        ("gone",),
    )


def test_tables_that_share_a_target_are_compared_together(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    source_db.execute(
        "create table shard_1 (id int primary key, v text);"
        "create table shard_2 (id int primary key, v text);"
        "insert into shard_1 select n, 'one' from generate_series(1, 500) n;"
        # The key of the other shard's rows, too.
        "insert into shard_2 select n, 'two' from generate_series(1, 500) n;"
        "create publication pub for table shard_1, shard_2"
    )
    target_db.execute("create table whole (id int, v text); alter table whole replica identity full")
    with Migration(
        source_db,
        target_db,
        table_map=(
            '{"source": {"schema": "public", "table": "shard_.*"},'
            ' "target": {"schema": "public", "table": "whole"}}',
        ),
    ) as migration:
        migration.wait_ready()
        found = verified(migration)
        assert found.is_equal
        assert [(table.source, table.target, table.source_rows) for table in found.comparisons] == [
            ("public.shard_1 + public.shard_2", "public.whole", 1000)
        ]
        damage(
            target_db,
            "update whole set v = 'damaged' where id = 3 and v = 'two'; delete from whole where id = 9;"
            "insert into whole values (501, 'surplus')",
        )
        assert words(verified(migration).comparisons[0]) == [
            "differs: id = '3'",
            "only on the source: id = '9'",
            "only on the target: id = '501'",
        ]


def test_tables_that_are_not_at_the_position_are_named_and_not_compared(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("".join(f"create table t{number} (id int primary key, v int);" for number in range(4)))
    source_db.execute("insert into t1 values (1, 1); create publication pub for table t0, t1, t2")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute("alter publication pub drop table t2; alter publication pub add table t3")
        damage(target_db, "delete from t1")
        source_db.execute("update t1 set v = 2")
        migration.wait_set_aside("public.t1")
        found = verified(migration)
    assert [table.source for table in found.comparisons] == ["public.t0"]
    assert [(left_out.source, left_out.reason.split(":")[0]) for left_out in found.not_compared] == [
        ("public.t1", "set aside"),
        ("public.t2", "no longer published"),
        ("public.t3", "published, and not taken up yet"),
    ]
    assert not found.is_equal


def test_rows_are_those_of_the_table_however_it_is_stored(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table parent (id int primary key); create table child () inherits (parent)")
    source_db.execute(
        "create table root (id int primary key) partition by range (id);"
        "create table low partition of root for values from (0) to (10);"
        "create table high partition of root default partition by list (id);"
        "create table highest partition of high default;"
        "insert into root select generate_series(1, 20);"
        "insert into parent values (1); insert into child values (2);"
        "create publication pub for table only parent, root with (publish_via_partition_root)"
    )
    target_db.execute("create table root (id int primary key)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        damage(target_db, "insert into child values (3)")
        found = verified(migration)
        assert found.is_equal, found
        assert [table.source_rows for table in found.comparisons] == [1, 20]


def test_without_an_engine_a_verification_needs_nothing_outstanding(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key); create table private (id int)")
    source_db.execute("insert into t values (1); create publication pub for table t")
    migration = Migration(source_db, target_db)
    with migration:
        migration.wait_ready()
    # Neither changes anything that is published.
    source_db.execute("insert into private values (1)")
    found = verified(migration)
    assert found.is_equal
    assert found.standstill_seconds is None
    set_state = "update _ts_live_sync.subscription_rel set state = "
    target_db.execute(set_state + "'d'")
    assert [left_out.reason for left_out in verified(migration).not_compared] == [
        "not synchronized yet (copying)"
    ]
    target_db.execute(set_state + "'r'")
    source_db.execute("insert into t values (2)")
    with pytest.raises(BlockedError, match="not applied yet"):
        verified(migration)
    migration.restart()
    try:
        migration.wait_applied()
        assert verified(migration).rows == 2
    finally:
        migration.engine.stop()
        assert migration.engine.join(90)


def test_a_subscription_that_is_not_there_is_said(source_db: Database, target_db: Database) -> None:
    with pytest.raises(BlockedError, match="knows no subscription"):
        verified(Migration(source_db, target_db))


def test_a_paused_engine_cannot_be_verified(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key)")
    source_db.execute("create publication pub for table t")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        migration.engine.pause()
        wait_until(lambda: migration.snapshot.phase is Phase.PAUSED)
        with pytest.raises(BlockedError, match="paused"):
            verified(migration)
        migration.engine.resume()
        assert verified(migration).is_equal


@contextmanager
def standing(migration: Migration) -> Iterator[tuple[Session, StandstillStore]]:
    """A verifier that has the apply stream stand still."""
    with open_session(migration.config.target, "test") as session:
        store = StandstillStore(session, migration.config.subscription)
        store.claim()
        store.order(None, 600)

        def stands() -> bool:
            answer = store.answer()
            return answer is not None and answer.is_standing

        wait_until(stands)
        yield session, store


def test_the_stream_goes_on_when_its_verifier_dies_or_falls_silent(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key)")
    source_db.execute("create publication pub for table t")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        with standing(migration) as (session, store):
            with pytest.raises(BlockedError, match="Another verification"):
                verified(migration)
            position = target_db.query("select lsn from _ts_live_sync.progress")
            source_db.execute("insert into t values (1)")
            # It has looked for orders since, and gathered nothing.
            asked = target_db.query("select updated_at from _ts_live_sync.subscription")
            wait_until(lambda: target_db.query("select updated_at from _ts_live_sync.subscription") > asked)
            assert target_db.query("select lsn from _ts_live_sync.progress") == position
            target_db.execute("select pg_terminate_backend(%s)", [session.info.backend_pid])
            migration.wait_applied()
        with standing(migration) as (_, store):
            source_db.execute("insert into t values (2)")
            store.order(None, 0)
            migration.wait_applied()
        assert target_db.query("select count(*) from t") == [(2,)]


def test_the_stream_stops_exactly_where_it_is_told_to(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key)")
    source_db.execute("create publication pub for table t")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        with standing(migration) as (_, store):
            source_db.execute("insert into t values (1)")
            lsn = parse_lsn(str(source_db.query("select pg_current_wal_insert_lsn()")[0][0]))
            source_db.execute("insert into t values (2)")
            store.order(lsn, 600)

            def reached() -> bool:
                answer = store.answer()
                return answer is not None and answer.is_standing

            wait_until(reached)
            answer = store.answer()
            assert answer is not None
            assert answer.position_lsn == lsn
            assert target_db.query("select id from t") == [(1,)]
            store.end()
            migration.wait_applied()
        assert target_db.query("select id from t") == [(1,), (2,)]


def test_a_long_transaction_is_named_and_the_stream_goes_on_meanwhile(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key)")
    source_db.execute("create publication pub for table t")
    said: list[str] = []
    with Migration(source_db, target_db) as migration, source_db.connect(autocommit=False) as writer:
        migration.wait_ready()
        writer.execute("insert into t values (1)")

        def on_wait(words: str) -> None:
            if "waits for a transaction" in words and not said:
                said.append(words)
                source_db.execute("insert into t values (2)")
                migration.wait_applied()
                assert target_db.query("select id from t") == [(2,)]
                writer.commit()

        config = migration.config
        found = verify(
            config.source, config.target, "test", on_progress=lambda progress: None, on_wait=on_wait
        )
    assert said
    assert (found.is_equal, found.rows) == (True, 2)


def test_a_table_that_is_emptied_meanwhile_is_said_and_not_called_different(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key); create table u (id int primary key)")
    source_db.execute(
        "insert into t values (1); insert into u values (1); create publication pub for table t, u"
    )
    emptied = threading.Lock()

    def on_progress(progress: ComparisonProgress) -> None:
        # After the snapshots, before the first row is read.
        if emptied.acquire(blocking=False):
            source_db.execute("truncate t; insert into t values (2), (3)")

    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        config = migration.config
        found = verify(
            config.source, config.target, "test", on_progress=on_progress, on_wait=lambda words: None
        )
        migration.wait_applied()
        assert verified(migration).is_equal
    assert "emptied, rewritten or dropped meanwhile on the source" in (
        by_source(found)["public.t"].problem or ""
    )
    assert by_source(found)["public.u"].equal
    assert (found.differing, found.is_equal) == ((), False)


def test_a_table_that_cannot_be_read_leaves_the_others_compared(
    source_db: Database, target_db: Database, both: Callable[[str], None]
) -> None:
    both("create table t (id int primary key); create table u (id int primary key)")
    source_db.execute("insert into t values (1); create publication pub for table t, u")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        damage(target_db, "alter table t rename to elsewhere")
        found = verified(migration)
    assert "does not have the table" in (by_source(found)["public.t"].problem or "")
    assert by_source(found)["public.u"].equal


def test_large_tables_are_read_in_ranges_and_differences_narrowed_step_by_step(
    source_db: Database,
    target_db: Database,
    both: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both(
        "create table t (id int primary key, v text);"
        "create table k (v int); alter table k replica identity full;"
        "create table root (id int primary key, v text) partition by range (id);"
        "create table low partition of root for values from (0) to (5000);"
        "create table high partition of root default"
    )
    source_db.execute(
        "insert into t select n, repeat('x', 50) from generate_series(1, 20000) n;"
        "insert into root select n, repeat('x', 50) from generate_series(1, 20000) n;"
        "insert into k select 1 from generate_series(1, 3000);"
        "create publication pub for table t, k, root with (publish_via_partition_root)"
    )
    monkeypatch.setattr(layout, "RANGE_BYTES", 64 * 1024)
    monkeypatch.setattr(narrow, "_ROWS_READ", 20)
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        assert verified(migration).is_equal
        damage(
            target_db,
            "delete from t where id in (1, 20000); update root set v = 'damaged' where id = 15000;"
            "insert into k values (1)",
        )
        tables = by_source(verified(migration))
        assert words(tables["public.t"]) == [
            "only on the source: id = '1'",
            "only on the source: id = '20000'",
        ]
        assert words(tables["public.root"]) == ["differs: id = '15000'"]
        doubled = tables["public.k"].differing[0].row
        assert doubled.endswith("3000 times on the source and 3001 on the target")
        damage(target_db, "truncate t; update root set v = 'damaged'")
        tables = by_source(verified(migration))
    for source, side in (("public.t", Side.SOURCE), ("public.root", None)):
        assert tables[source].more_differ
        assert {row.side for row in tables[source].differing} == {side}


def test_another_encoding_holds_the_same_texts(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "create database latin_verify encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'"
    )
    latin = Database(source_db.server, "latin_verify")
    try:
        for database in (latin, target_db):
            database.execute("create table t (a text primary key)")
        latin.execute("insert into t values ('ü'), ('z'), ('ÿé'); create publication pub for table t")
        with Migration(latin, target_db) as migration:
            migration.wait_ready()
            assert verified(migration).is_equal
            damage(target_db, "update t set a = 'ä' where a = 'ü'")
            assert words(verified(migration).comparisons[0]) == [
                "only on the target: a = 'ä'",
                "only on the source: a = 'ü'",
            ]
    finally:
        latin.drop()


def test_a_server_that_cannot_be_reached_is_an_error(source_db: Database, target_db: Database) -> None:
    nowhere = Migration(source_db, target_db, target_conninfo="host=127.0.0.1 port=1 dbname=x")
    with pytest.raises(EngineError) as raised:
        verified(nowhere)
    assert raised.value.failure.side is Side.TARGET
