"""The whole wizard in a dry run over two real servers: it ends with a script, and nothing was written."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.schema.programs import find_program
from livesync_tui.app import MigrationApp, build_app
from screens.migration import Step
from tests.app.test_wizard_end_to_end import next_is_open, press_until, step_of, until
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run
from tests.screens.scenario import shown

_SCHEMA = """
create schema app authorization {owner};
create table app.orders (id bigint primary key, total numeric(12, 2));
create table app."no key [/]" (note text);
alter table app.orders owner to {owner};
grant select on app.orders to {reader};
insert into app.orders values (1, 2.50);
"""

_SERVER = (
    "select r::text from pg_catalog.pg_roles r order by 1",
    "select m::text from pg_catalog.pg_auth_members m order by 1",
    "select s.slot_name from pg_catalog.pg_replication_slots s"
    " where s.database = pg_catalog.current_database() order by 1",
    "select p::text from pg_catalog.pg_publication p order by 1",
    "select d::text from pg_catalog.pg_db_role_setting d order by 1",
    "select s::text from pg_catalog.pg_file_settings s order by 1",
)
_STEPS_IN_ORDER = (
    "-- On the source: migration_user.sql",
    "-- On the target: roles.sql",
    "-- On the target: schema",
    "-- On the source: replica_identity.sql",
    "-- On the source: publication.sql",
    "-- On the target: privileges.sql",
    "-- On the target: db_settings.sql",
)


def everything(database: Database) -> list[Any]:
    """All that a migration could change on one side."""
    dump = subprocess.run(
        [find_program("pg_dump", 18).path, "--restrict-key=same", database.name],
        env=database.server.client_environment(database.name),
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    return [dump.splitlines(), *(database.query(query) for query in _SERVER)]


async def _walk(pilot: Pilot[Any], app: MigrationApp) -> None:
    """Press each step's key that would change something, then go on."""

    def at(step: Step) -> bool:
        return step_of(app).STEP is step

    await until(pilot, lambda: at(Step.CONNECT), "Connect")
    await press_until(pilot, ("ctrl+n",), lambda: "Ready for Checks" in shown(app), "both connections")
    for step in list(Step)[Step.CONNECT.number : Step.REVIEW.number]:
        await press_until(pilot, ("ctrl+n",), lambda wanted=step: at(wanted), step.title)  # type: ignore[misc]
        if step is Step.REVIEW:
            break
        await until(pilot, lambda: next_is_open(app), f"{step.title} to have looked")
        # Neither a key nor a button runs anything.
        await pilot.press("x")
        for button in step_of(app).query("ActionButton.-act"):
            button.press()  # type: ignore[attr-defined]
            await pilot.pause()
        await until(pilot, lambda: next_is_open(app), f"{step.title} to have refused")
    assert len(app.screen_stack) == 2, shown(app)
    assert not step_of(app).query("#start")
    await press_until(
        pilot, ("tab", "enter"), lambda: app.services.scripts.whole_script is not None, "the script"
    )
    assert at(Step.REVIEW)


@pytest.fixture
def owned_schema(source_db: Database, target_db: Database) -> Any:
    roles = ClusterRoles()
    owner, reader = roles.name("owner"), roles.name("reader")
    run(source_db, "create role {}; create role {} login password 'hunter2'", owner, reader)
    run(source_db, _SCHEMA, owner=owner, reader=reader)
    yield owner, reader
    run(source_db, "drop schema app cascade; drop role {}; drop role {}", owner, reader)


def test_a_dry_run_walks_all_steps_writes_the_script_and_nothing_else(
    owned_schema: tuple[str, str], source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    before = everything(source_db), everything(target_db)
    app = build_app(
        source=source_db.conninfo,
        target=target_db.conninfo,
        subscription="dry",
        folder=tmp_path,
        dry_run=True,
    )

    async def play() -> None:
        async with app.run_test(size=(100, 30)) as pilot:
            await _walk(pilot, app)

    asyncio.run(play())
    assert (everything(source_db), everything(target_db)) == before
    told = app.finish()
    path = Path(told.split("The script of all steps:\n")[1].strip())
    assert "Nothing was changed on either server" in told
    assert path.stat().st_mode & 0o777 == 0o600
    script = path.read_text(encoding="utf-8")
    places = [script.index(heading) for heading in _STEPS_IN_ORDER]
    assert places == sorted(places)
    owner, reader = owned_schema
    assert f'CREATE ROLE "{owner}"' in script
    assert f"CREATE ROLE \"{reader}\" WITH LOGIN PASSWORD '<hidden 1>'" in script
    assert "CREATE TABLE app.orders" in script
    assert 'alter table "app"."no key [/]" replica identity full;' in script.lower()
    assert 'create publication "livesync_dry" for table' in script.lower()
    assert not (path.parent / "transcript.sql").exists()
    for secret in ("hunter2", "SCRAM-SHA-256$", source_db.conninfo.split(":")[2].split("@")[0]):
        assert not any(secret in found.read_text("utf-8") for found in tmp_path.rglob("*") if found.is_file())
