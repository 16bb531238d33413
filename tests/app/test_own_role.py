"""The migration's own role on a real server: made, used, resumed without a password, and taken away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from engine.checks.finding import Finding, Verdict
from engine.errors import Side
from engine.roles.migration_role import MigrationUserPlan
from engine.script.planned import Script, ScriptResult
from livesync_tui.services import LivesyncServices
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run


@pytest.fixture
def roles(source_db: Database, target_db: Database) -> Iterator[ClusterRoles]:
    names = ClusterRoles()
    yield names
    for database in (source_db, target_db):
        for name in names.of(database):
            run(database, "drop owned by {0}; drop role {0}".replace("{0}", "{role}"), role=name)


def _services(source: Database, target: Database, folder: Path) -> LivesyncServices:
    services = LivesyncServices(source=source.conninfo, target=target.conninfo, folder=folder)
    services.begin()
    for side, database in ((Side.SOURCE, source), (Side.TARGET, target)):
        services.use_connection(side, database.conninfo)
    migration = services.migration
    services.scripts._context.remember(
        name="own",
        subscription="own",
        source_conninfo=services.conninfo(Side.SOURCE),
        target_conninfo=services.conninfo(Side.TARGET),
    )
    assert services.migration.id == migration.id
    return services


def _make(services: LivesyncServices, name: str, *, new_password: bool = False) -> None:
    planned = services.user.plan(name, new_password=new_password)
    assert isinstance(planned, MigrationUserPlan), planned
    services.scripts.generate(Side.SOURCE, planned.script)
    result = services.user.run(planned)
    assert isinstance(result, ScriptResult), result
    assert result.refused == ()


def _use(services: LivesyncServices, name: str, password: str | None = None) -> dict[str, Finding]:
    findings = services.user.use(name, password)
    assert isinstance(findings, tuple), findings
    return {one.check: one for one in findings}


def _logged_in(services: LivesyncServices) -> str:
    summary = services.probe(Side.SOURCE)
    return getattr(summary, "user", repr(summary))


def test_the_source_is_used_as_the_role_until_it_is_taken_away(
    roles: ClusterRoles, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    services = _services(source_db, target_db, tmp_path)
    source_db.execute("create table t (id int primary key)")
    name = roles.name('Mover: \\ "o\'dd"')
    first = services.conninfo(Side.SOURCE)
    _make(services, name)
    assert services.migration.created_user is not None
    assert services.migration.created_user.name == name
    assert _logged_in(services) == "postgres"
    assert all(one.verdict is Verdict.OK for one in _use(services, name).values())
    assert _logged_in(services) == name
    migration = services.migration
    assert (migration.migration_user, migration.first_source_conninfo) == (name, first)
    assert migration.source_conninfo == services.conninfo(Side.SOURCE) != first
    # A new one counts at once.
    old = services.user.password_file_line(name)
    _make(services, name, new_password=True)
    new = services.user.password_file_line(name)
    assert old is not None
    assert new is not None
    assert old != new
    assert _logged_in(services) == name
    escaped = name.replace("\\", "\\\\").replace(":", "\\:")
    assert f":{escaped}:" in new.reveal()
    password = new.reveal().rsplit(":", 1)[1]
    assert password not in services.redact(f"it was {password}")
    with psycopg.connect(source_db.server.conninfo(source_db.name, user=name, password=password)) as session:
        session.execute("create publication p for table t")
    script = services.user.plan_removal()
    assert isinstance(script, Script)
    removed = services.user.remove(script)
    assert isinstance(removed, ScriptResult)
    assert removed.refused == ()
    assert roles.of(source_db) == []
    assert _logged_in(services) == "postgres"
    assert services.migration.source_conninfo == first
    assert (services.migration.migration_user, services.migration.created_user) == ("", None)
    assert source_db.query("select pubowner::regrole::text from pg_publication") == [("postgres",)]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or not any(
            secret in path.read_text("utf-8") for secret in (password, "SCRAM-SHA-256$")
        )


def test_after_a_resume_a_lost_password_is_set_anew(
    roles: ClusterRoles, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    name = roles.name("mover")
    before = _services(source_db, target_db, tmp_path)
    _make(before, name)
    _use(before, name)
    services = LivesyncServices(source=source_db.conninfo, target=target_db.conninfo, folder=tmp_path)
    assert services.resume(before.migration.id) is None
    assert services.user.password_file_line(name) is None
    findings = _use(services, name)
    assert findings["role_login"].verdict is Verdict.BLOCKS
    assert "password" in findings["role_login"].found
    assert _use(services, name, "wrong")["role_login"].verdict is Verdict.BLOCKS
    assert services.user.password_file_line(name) is None
    # $SOURCE has the password of the first role.
    _make(services, name, new_password=True)
    assert _use(services, name)["role_login"].verdict is Verdict.OK
    assert _logged_in(services) == name
    # Somebody who does not give it in the environment is asked.
    nobody = LivesyncServices(folder=tmp_path)
    assert nobody.resume(before.migration.id) is None
    failure = nobody.user.plan(name)
    assert "password" in getattr(failure, "title", "")
    nobody.user.give_first_password(source_db.conninfo.split("@", 1)[0].rsplit(":", 1)[1])
    assert isinstance(nobody.user.plan(name), MigrationUserPlan)


def test_a_role_that_was_there_can_be_used_and_is_never_taken_away(
    roles: ClusterRoles, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    services = _services(source_db, target_db, tmp_path)
    name = roles.name("theirs")
    run(
        source_db,
        "create role {} login replication password 'known'; grant create on database {} to {}",
        name,
        source_db.name,
        name,
    )
    _make(services, name)
    assert services.migration.created_user is None
    assert _use(services, name, "known")["role_login"].verdict is Verdict.OK
    assert getattr(services.user.plan_removal(), "title", "").startswith("This migration has made no role")
    assert _logged_in(services) == name


def test_a_role_made_anew_by_somebody_else_is_not_taken_away(
    roles: ClusterRoles, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    services = _services(source_db, target_db, tmp_path)
    name = roles.name("mover")
    _make(services, name)
    run(source_db, "drop owned by {role}; drop role {role}", role=name)
    run(source_db, "create role {}", name)
    script = services.user.plan_removal()
    assert isinstance(script, Script)
    assert script.statements == ()


def test_a_role_that_cannot_do_its_work_is_not_used(
    roles: ClusterRoles, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    services = _services(source_db, target_db, tmp_path)
    name = roles.name("weak")
    run(source_db, "create role {} login password 'known'", name)
    findings = _use(services, name, "known")
    assert findings["role_replication"].verdict is Verdict.BLOCKS
    assert services.migration.migration_user == ""
    assert _logged_in(services) == "postgres"


def test_only_roles_made_here_are_dropped_on_the_target(
    roles: ClusterRoles, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    made, there = roles.name("made"), roles.name("there")
    run(source_db, "create role {}; create role {}", made, there)
    run(target_db, "create role {}", there)
    services = _services(source_db, target_db, tmp_path)
    planned = services.roles.plan()
    assert not isinstance(planned, Exception)
    services.scripts.generate(Side.TARGET, planned.script)  # type: ignore[union-attr]
    assert isinstance(services.roles.run(planned), ScriptResult)  # type: ignore[arg-type]
    assert made in [role.name for role in services.migration.created_roles]
    assert there not in [role.name for role in services.migration.created_roles]
    again = LivesyncServices(source=source_db.conninfo, target=target_db.conninfo, folder=tmp_path)
    assert again.resume(services.migration.id) is None
    target_db.execute(f"create table owned (id int); alter table owned owner to {made}")
    script = again.roles.plan_removal()
    assert isinstance(script, Script)
    refused = again.roles.remove(script)
    assert isinstance(refused, ScriptResult)
    assert ["owner of table public.owned" in one.said for one in refused.refused] == [True]
    assert [role.name for role in again.migration.created_roles] == [made]
    target_db.execute("drop table owned")
    script = again.roles.plan_removal()
    assert isinstance(script, Script)
    assert isinstance(again.roles.remove(script), ScriptResult)
    assert again.migration.created_roles == ()
    assert roles.of(target_db) == [there]


def test_a_dry_run_runs_nothing(
    roles: ClusterRoles, source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    made = _services(source_db, target_db, tmp_path)
    name = roles.name("mover")
    services = LivesyncServices(
        source=source_db.conninfo, target=target_db.conninfo, folder=tmp_path, dry_run=True
    )
    assert services.resume(made.migration.id) is None
    planned = services.user.plan(name)
    assert isinstance(planned, MigrationUserPlan)
    services.scripts.generate(Side.SOURCE, planned.script)
    calls = [
        lambda: services.user.run(planned),
        lambda: services.user.use(name, "x"),
        lambda: services.scripts.run("migration_user.sql"),
        lambda: services.scripts.run_now(Side.SOURCE, planned.script),
        lambda: services.schema.undo(lambda _result: None),
        services.start_engine,
        services.cutover.copy_sequences,
        services.identity.apply,
        services.identity.undo,
        services.publication.apply,
        services.publication.undo,
        services.cleanup.run,
        lambda: services.apply_fix(Side.SOURCE, ("select 1",)),
    ]
    for call in calls:
        assert getattr(call(), "title", "") == "This is a dry run: nothing is changed"
    assert roles.of(source_db) == []
