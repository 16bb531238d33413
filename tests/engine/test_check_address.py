"""Addresses behind which there is not simply the primary: poolers, balancers, standbys, old servers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import conninfo as libpq_conninfo

from engine.checks.finding import Verdict
from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.debian import pgbouncer
from tests.engine.checking import ROLE_PASSWORD, checked, endpoint, not_ok
from tests.engine.front import Front


def by_way_of(port: int, side: Side, conninfo: str) -> Endpoint:
    """A database at another port; TLS and GSS would only hide what passes."""
    return parse_endpoint(
        side, libpq_conninfo.make_conninfo(conninfo, port=port, sslmode="disable", gssencmode="disable")
    )


def test_who_makes_up_the_process_id_is_a_pooler(source_db: Database, target_db: Database) -> None:
    target = endpoint(target_db, Side.TARGET)
    with Front([source_db.server.port], own_process_id=4_000_000) as front:
        found = checked(by_way_of(front.port, Side.SOURCE, source_db.conninfo), target)
    assert not_ok(found) == {(Side.SOURCE, "direct_connection"): Verdict.BLOCKS}
    assert "pgbouncer" in found[Side.SOURCE, "direct_connection"].why
    with Front([source_db.server.port]) as front:
        assert not_ok(checked(by_way_of(front.port, Side.SOURCE, source_db.conninfo), target)) == {}


@pytest.fixture
def role_of_both(source_db: Database, target_db: Database) -> Iterator[str]:
    """A superuser with one password on both servers."""
    role = f"both_{secrets.token_hex(3)}"
    for database in (source_db, target_db):
        database.execute(f"create role {role} superuser login password '{ROLE_PASSWORD}'")
    yield role
    for database in (source_db, target_db):
        database.execute(f"drop role {role}")


def test_sessions_spread_over_servers_block(
    source_db: Database, target_db: Database, role_of_both: str
) -> None:
    conninfo = f"postgresql://{role_of_both}:{ROLE_PASSWORD}@127.0.0.1/postgres"
    with Front([source_db.server.port, target_db.server.port]) as front:
        found = checked(by_way_of(front.port, Side.SOURCE, conninfo), endpoint(target_db, Side.TARGET))
    assert found[Side.SOURCE, "one_server"].verdict is Verdict.BLOCKS


def test_a_standby_blocks_on_either_side(server_base: Path, source_db: Database, target_db: Database) -> None:
    server = EmbeddedServer.create(18, server_base / f"standby-{secrets.token_hex(3)}")
    # Without a primary it waits for WAL that never comes, and answers queries meanwhile.
    (server.directory / "data" / "standby.signal").touch()
    server.start()
    standby = Database(server, "postgres")
    try:
        as_source = checked(endpoint(standby, Side.SOURCE), endpoint(target_db, Side.TARGET))
        as_target = checked(endpoint(source_db, Side.SOURCE), endpoint(standby, Side.TARGET))
    finally:
        server.stop("immediate")
    assert not_ok(as_source) == {
        (Side.SOURCE, "standby"): Verdict.BLOCKS,
        (Side.SOURCE, "slot_trial"): Verdict.UNKNOWN,
    }
    assert not_ok(as_target) == {(Side.TARGET, "standby"): Verdict.BLOCKS}


@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_pgbouncer_is_refused(
    source_db: Database, target_db: Database, server_base: Path, pool_mode: str
) -> None:
    with pgbouncer(source_db.server, server_base, pool_mode) as port:
        through = by_way_of(port, Side.SOURCE, source_db.conninfo)
        # No setting is swallowed while nobody else is there: only a closer look tells.
        open_session(through, "test").close()
        found = checked(through, endpoint(target_db, Side.TARGET))
        assert found[Side.SOURCE, "direct_connection"].verdict is Verdict.BLOCKS
        assert "pgbouncer" in found[Side.SOURCE, "direct_connection"].why
        assert found[Side.SOURCE, "replication_connection"].verdict is Verdict.BLOCKS
        as_target = by_way_of(port, Side.TARGET, source_db.conninfo)
        found = checked(endpoint(target_db, Side.SOURCE), as_target)
        assert found[Side.TARGET, "direct_connection"].verdict is Verdict.BLOCKS
