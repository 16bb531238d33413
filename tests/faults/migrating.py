"""A whole migration of the demo's database, for tests that disturb it."""

from __future__ import annotations

from engine.catalog.identity_change import apply_identities
from engine.catalog.publication_plan import apply_plan, plan_publication
from engine.catalog.replica_identity import plan_identities
from engine.catalog.tables import list_tables
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.lsn import parse_lsn
from engine.schema.dump import dump_schema
from engine.schema.restore import apply_script
from engine.verification.verify import verify
from livesync_tui.demo.dataset import create_demo
from tests.conftest import Database
from tests.waiting import wait_until

_STATES = "select state, count(*)::int from _ts_live_sync.subscription_rel group by state"
_HAS_STATE = "select to_regclass('_ts_live_sync.subscription_rel') is not null"


def prepare(source_db: Database, target_db: Database, *, rows: int) -> None:
    """Fill the source, restore its schema on the target, publish every table."""
    source = parse_endpoint(Side.SOURCE, source_db.conninfo)
    target = parse_endpoint(Side.TARGET, target_db.conninfo)
    create_demo(source_db.conninfo, rows=rows)
    version = int(str(source_db.query("show server_version_num")[0][0]))
    outcome = apply_script(target, dump_schema(source, version).text)
    assert outcome.applied, outcome.error
    with open_session(source, "test") as session:
        tables = [table.name for table in list_tables(session)]
        apply_identities(session, plan_identities(session, tables).proposals)
        apply_plan(session, plan_publication(session, "pub", tables))


def states(target: Database) -> dict[str, int]:
    """How many tables are in each state; empty before there is any state."""
    if target.query(_HAS_STATE) != [(True,)]:
        return {}
    return dict(target.query(_STATES))


def all_ready(target: Database) -> bool:
    return set(states(target)) == {"r"}


def wait_drained(source: Database, target: Database) -> None:
    """Until everything written so far has been applied."""
    fence = parse_lsn(str(source.query("select pg_current_wal_flush_lsn()")[0][0]))

    def position() -> int:
        return parse_lsn(str(target.query("select lsn from _ts_live_sync.progress")[0][0]))

    wait_until(lambda: position() >= fence, timeout_seconds=150, describe=lambda: (position(), fence))


def wait_moved(target: Database) -> None:
    """Until the apply stream has committed something more."""
    before = target.query("select lsn from _ts_live_sync.progress")
    wait_until(lambda: target.query("select lsn from _ts_live_sync.progress") != before)


def assert_all_equal(source_db: Database, target_db: Database) -> None:
    source = parse_endpoint(Side.SOURCE, source_db.conninfo)
    target = parse_endpoint(Side.TARGET, target_db.conninfo)
    with open_session(source, "test") as session:
        tables = list_tables(session)
    ((subscription,),) = target_db.query("select subname from _ts_live_sync.subscription")
    found = verify(
        source, target, subscription, on_progress=lambda progress: None, on_wait=lambda words: None
    )
    assert len(found.comparisons) == len(tables)
    assert found.rows > 1000
    assert found.is_equal, (found.differing, found.unknown, found.not_compared)
