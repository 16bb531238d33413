"""Rows that come to a published root with a partition, or leave with one, are said: nobody sends them."""

from __future__ import annotations

from engine.snapshot import Phase
from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of
from tests.engine.test_publications import ATTACH, PARTITIONED, THIRD, both
from tests.waiting import wait_until


def events(migration: Migration) -> str:
    return "\n".join(event.text for event in migration.engine.events(0))


def test_a_partition_attached_with_rows_is_named_and_an_empty_one_is_not(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, PARTITIONED + THIRD + "; create table event_5 (like event including all)")
    source_db.execute("insert into event values (1, 'first')")
    source_db.execute("insert into event_3 values (200, 'before')")
    source_db.execute("create publication pub for table event with (publish_via_partition_root)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        target_db.execute("create table event_4 partition of event for values from (300) to (400)")
        source_db.execute(
            "create table event_4 partition of event for values from (300) to (400);"
            "insert into event values (300, 'sent, and there when the partition is first seen')"
        )
        both(
            source_db, target_db, "alter table event attach partition event_5 for values from (400) to (500)"
        )
        both(source_db, target_db, ATTACH)
        said = "public.event_3 was attached to public.event and is not empty"
        wait_until(lambda: said in events(migration), describe=lambda: events(migration))
        assert migration.snapshot.phase is Phase.REPLICATING
        assert "event_4" not in events(migration)
        assert "event_5" not in events(migration)
        migration.wait_applied()
        # This is why it is said.
        assert rows_of(target_db, "event_3") == []
        assert len(rows_of(target_db, "event")) == 2
        source_db.execute("alter table event detach partition event_2; drop table event_1")
        for name in ("event_1", "event_2"):
            gone = f"public.{name} is no longer a partition of public.event"
            wait_until(lambda gone=gone: gone in events(migration), describe=lambda: events(migration))


def test_a_partition_attached_in_the_transaction_that_made_and_filled_it_is_named(
    source_db: Database, target_db: Database
) -> None:
    both(source_db, target_db, PARTITIONED)
    source_db.execute("create publication pub for table event with (publish_via_partition_root)")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        both(source_db, target_db, f"{THIRD}; insert into event_3 values (200, 'before'); {ATTACH}")
        said = "public.event_3 was attached to public.event and is not empty"
        wait_until(lambda: said in events(migration), describe=lambda: events(migration))
