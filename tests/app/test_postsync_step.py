"""The step Post-sync on real servers: what fails, what is stopped, what is done again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.errors import Failure
from engine.postsync.checklist import Checklist, Progress
from livesync_tui.services import LivesyncServices
from tests.app.on_servers import begin, good, text_of
from tests.conftest import Database
from tests.waiting import wait_until

_SCHEMA = """
create table customer (id int primary key); create table orders (id int primary key, customer int);
create function gate() returns int language plpgsql as
    $$ begin perform pg_catalog.pg_advisory_xact_lock_shared(4713); return 1; end $$;
create materialized view held as select public.gate() as one{no_data};
create materialized view divided as select 1 / (count(*) - {offset}) as n from customer{no_data};
alter table orders add constraint of_customer foreign key (customer) references customer{not_valid};
"""
_WAITS = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'"
)


@pytest.fixture
def services(source_db: Database, target_db: Database, tmp_path: Path) -> LivesyncServices:
    """A target with an order of a customer that is not there, and a view that divides by zero."""
    source_db.execute(_SCHEMA.format(no_data="", not_valid="", offset=7))
    target_db.execute(_SCHEMA.format(no_data=" with no data", not_valid=" not valid", offset=1))
    target_db.execute("insert into customer values (1)")
    with target_db.connect() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("insert into orders values (1, 99)")
    return begin(source_db, target_db, tmp_path, "customer", "orders")


def progress(checklist: Checklist) -> dict[str, Progress]:
    return {f"{item.task.value} {item.name}": item.progress for item in checklist.items}


def test_what_fails_keeps_nothing_back_and_is_done_again_by_itself(
    services: LivesyncServices, target_db: Database, tmp_path: Path
) -> None:
    seen: list[Checklist] = []
    done = good(services.postsync.run(good(services.postsync.plan()), None, seen.append))
    assert progress(done) == {
        "validate of_customer on public.orders": Progress.FAILED,
        "analyze public.customer": Progress.DONE,
        "analyze public.orders": Progress.DONE,
        "refresh public.divided": Progress.FAILED,
        "refresh public.held": Progress.DONE,
        "analyze public.divided": Progress.FAILED,
        "analyze public.held": Progress.DONE,
    }
    transcript = text_of(services, tmp_path, "transcript.sql")
    assert 'analyze only "public"."orders";' in transcript
    assert '-- alter table "public"."orders" validate constraint "of_customer";' in transcript
    assert "division by zero" in transcript

    target_db.execute("insert into customer values (99)")
    [validate] = [item for item in done.items if item.name.startswith("of_customer")]
    again = good(services.postsync.run(done, (validate.number,), seen.append))
    assert again.items[validate.number].progress is Progress.DONE
    # Nothing else was touched.
    assert again.count(Progress.FAILED) == 2
    assert target_db.query("select from pg_constraint where not convalidated") == []
    rest = good(services.postsync.run(again, None, seen.append))
    assert rest.is_settled


def test_a_stop_cancels_on_the_server_and_the_item_waits_again(
    services: LivesyncServices, target_db: Database
) -> None:
    checklist = good(services.postsync.plan())
    [held] = [
        item for item in checklist.items if item.statement.endswith('"held"') and item.task.value == "refresh"
    ]
    results: list[Checklist | Failure] = []

    def run() -> None:
        results.append(services.postsync.run(checklist, (held.number,), lambda _: None))

    with target_db.connect() as gate:
        gate.execute("select pg_advisory_lock(4713)")
        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: target_db.query(_WAITS) == [(1,)], describe="the refresh to wait at the gate")
        assert not services.postsync.wait_for_end(0)
        services.postsync.stop()
        assert services.postsync.wait_for_end(60)
        thread.join()
        # The server has let go while the gate is still closed.
        assert target_db.query(_WAITS) == [(0,)]
    [stopped] = [good(result) for result in results]
    assert stopped.items[held.number].progress is Progress.WAITING
    assert target_db.query("select relispopulated from pg_class where relname = 'held'") == [(False,)]
    # A stop counts for the run it was meant for only.
    done = good(services.postsync.run(stopped, (held.number,), lambda _: None))
    assert done.items[held.number].progress is Progress.DONE


def test_a_dry_run_changes_nothing(source_db: Database, target_db: Database, tmp_path: Path) -> None:
    target_db.execute("create table customer (id int)")
    services = begin(source_db, target_db, tmp_path, "customer", dry_run=True)
    refused = services.postsync.run(good(services.postsync.plan()), None, lambda _: None)
    assert isinstance(refused, Failure)
    assert "dry run" in refused.title
    assert services.postsync.wait_for_end(0)
