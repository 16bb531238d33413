"""The Connect step with its real services: real servers, and what stands in front of some of them."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo as libpq_conninfo
from psycopg import sql
from textual import events
from textual.pilot import Pilot

from livesync_tui.app import MigrationApp, build_app
from livesync_tui.demo.servers import EmbeddedServer
from livesync_tui.saved import SavedMigrations
from tests.conftest import Database
from tests.debian import pgbouncer
from tests.engine.front import Front
from tests.screens.scenario import shown

_SECONDS = 60.0

Until = Callable[[str], Awaitable[None]]
Walk = Callable[[Pilot[Any], MigrationApp, Until], Awaitable[None]]


def walk_wizard(source: str, target: str, folder: Path, walk: Walk) -> None:
    """Run the wizard over two connection strings; nothing secret is ever shown."""
    app = build_app(source=source, target=target, folder=folder)

    async def run() -> None:
        async with app.run_test(size=(120, 40)) as pilot:

            async def until(words: str) -> None:
                loop = asyncio.get_running_loop()
                deadline = loop.time() + _SECONDS
                while words not in shown(app):
                    assert loop.time() < deadline, f"waited for: {words}\n{shown(app)}"
                    await pilot.pause(0.05)

            await walk(pilot, app, until)

    asyncio.run(run())


def refusal(source: str, target: str, folder: Path, words: str) -> str:
    """Test both, wait for ``words``; the details of the refusal. There is no way on."""
    details = ""

    async def walk(pilot: Pilot[Any], app: MigrationApp, until: Until) -> None:
        nonlocal details
        await until("Next tests both connections first")
        await pilot.press("ctrl+n")
        await until(f"✗ {words}")
        await until("Press e for details")
        await pilot.press("ctrl+n")
        await pilot.press("e")
        await until("What to do")
        details = " ".join(" ".join(re.findall("│(.*)│", shown(app))).split())

    walk_wizard(source, target, folder, walk)
    assert not list(folder.rglob("*.json")), "nothing was recorded"
    for secret in (libpq_conninfo.conninfo_to_dict(text)["password"] for text in (source, target)):
        assert str(secret) not in details
    return details


def by_way_of(port: int, conninfo: str) -> str:
    return libpq_conninfo.make_conninfo(conninfo, port=port, sslmode="disable", gssencmode="disable")


@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_pgbouncer_is_refused_with_the_reason(
    source_db: Database, target_db: Database, server_base: Path, tmp_path: Path, pool_mode: str
) -> None:
    with pgbouncer(source_db.server, server_base, pool_mode) as port:
        through = by_way_of(port, source_db.conninfo)
        words = "The source cannot be used: a pooler is in between"
        details = refusal(through, target_db.conninfo, tmp_path, words)
    assert "So a pooler such as pgbouncer is in between" in details
    assert "Use the host and port that the database itself listens on" in details


def test_pgbouncer_in_front_of_the_target_is_refused_too(
    source_db: Database, target_db: Database, server_base: Path, tmp_path: Path
) -> None:
    with pgbouncer(target_db.server, server_base, "transaction") as port:
        words = "The target cannot be used: a pooler is in between"
        refusal(source_db.conninfo, by_way_of(port, target_db.conninfo), tmp_path, words)


def test_one_database_given_twice_is_refused(source_db: Database, tmp_path: Path) -> None:
    again = libpq_conninfo.make_conninfo(source_db.conninfo, host="localhost")
    words = "The target cannot be used: it is the same database as the source"
    assert "Check the two connection strings" in refusal(source_db.conninfo, again, tmp_path, words)


def test_a_standby_is_refused(server_base: Path, source_db: Database, tmp_path: Path) -> None:
    server = EmbeddedServer.create(18, server_base / f"standby-{secrets.token_hex(3)}")
    # Without a primary it waits for WAL that never comes, and answers queries meanwhile.
    (server.directory / "data" / "standby.signal").touch()
    server.start()
    try:
        words = "The target cannot be used: it is a standby"
        details = refusal(source_db.conninfo, server.conninfo(), tmp_path, words)
    finally:
        server.stop("immediate")
    assert "Use the connection string of the primary" in details


def test_a_load_balancer_is_refused(source_db: Database, target_db: Database, tmp_path: Path) -> None:
    role, password = f"both_{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    create = sql.SQL("create role {} superuser login password {}")
    for database in (source_db, target_db):
        database.execute(create.format(sql.Identifier(role), sql.Literal(password)))
    try:
        with Front([source_db.server.port, target_db.server.port]) as front:
            balanced = by_way_of(front.port, f"postgresql://{role}:{password}@127.0.0.1/postgres")
            words = "The source cannot be used: a load balancer spreads its sessions over servers"
            details = refusal(balanced, target_db.conninfo, tmp_path, words)
    finally:
        for database in (source_db, target_db):
            database.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    assert "Use an address that always leads to the primary" in details


def test_a_server_without_tls_is_refused_where_it_is_asked_for(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    over_tls = libpq_conninfo.make_conninfo(target_db.conninfo, sslmode="require")
    details = refusal(source_db.conninfo, over_tls, tmp_path, "The target does not speak TLS")
    assert "server does not support SSL, but SSL was required" in details
    assert "tries again by itself" not in details


def test_fields_make_the_connection(source_db: Database, target_db: Database, tmp_path: Path) -> None:
    role, password = f"odd_{secrets.token_hex(3)}", f"p@ss:w/rd#1?&% '\"\\{secrets.token_hex(3)};"
    create = sql.SQL("create role {} superuser login password {}")
    source_db.execute(create.format(sql.Identifier(role), sql.Literal(password)))
    typed = ["127.0.0.1", str(source_db.server.port), source_db.name, role, password]

    async def walk(pilot: Pilot[Any], app: MigrationApp, until: Until) -> None:
        await until("give both connection strings")
        await pilot.press("f2")
        await until("The source's connection, field by field")
        for text in typed:
            assert app.focused is not None
            app.focused.post_message(events.Paste(text))
            await pilot.pause()
            assert password not in shown(app)
            await pilot.press("tab")
        await pilot.press("tab", "enter")
        await until(f"password set, sslmode prefer: {role}@127.0.0.1:{source_db.server.port}/source_fields")
        # Opened again, the form has the same.
        await pilot.press("f2")
        await until(role)
        await pilot.press("escape")
        await pilot.press("ctrl+n")
        await until("Ready for Checks")
        await until("✓ login")
        assert password not in shown(app)
        await pilot.press("ctrl+n")
        await until("3● Checks")

    try:
        walk_wizard("", target_db.conninfo, tmp_path, walk)
    finally:
        source_db.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
    (saved,), _ = SavedMigrations(tmp_path).read_all()
    assert saved.source_name == f"{source_db.name} on 127.0.0.1"
    assert all(password not in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_service_and_the_password_file_are_enough(
    source_db: Database, target_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)
    keywords = libpq_conninfo.conninfo_to_dict(source_db.conninfo)
    password = str(keywords.pop("password"))
    services = "".join(f"{name}={value}\n" for name, value in keywords.items())
    (tmp_path / ".pg_service.conf").write_text(f"[shop]\n{services}")
    (tmp_path / ".pgpass").write_text(f"*:{source_db.server.port}:*:*:{password}\n")
    (tmp_path / ".pgpass").chmod(0o600)

    async def walk(pilot: Pilot[Any], app: MigrationApp, until: Until) -> None:
        await until("password not given, sslmode of the service: service shop")
        await pilot.press("ctrl+n")
        await until("Ready for Checks")
        await until("password of pgpass")
        await pilot.press("ctrl+n")
        await until("3● Checks")

    walk_wizard("service=shop", target_db.conninfo, tmp_path / "state", walk)
    (saved,), _ = SavedMigrations(tmp_path / "state").read_all()
    assert saved.source_conninfo == "service=shop"
    assert saved.source_name == f"{source_db.name} on 127.0.0.1"
    assert saved.subscription.startswith("source_")
