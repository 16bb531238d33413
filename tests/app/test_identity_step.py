"""The step Identity on a real source: set, remembered before, edited, put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Failure
from engine.script.planned import Outcome, ScriptResult
from livesync_tui.saved import SavedMigrations
from livesync_tui.services import LivesyncServices
from screens.identity import IdentityScreen
from screens.step_services.identity import FILE_NAME
from tests.app.on_servers import begin, good, replica_identities, text_of, write
from tests.conftest import Database

_SCHEMA = """
create table logged (note text); create table "Odd "" %s" (i int not null);
create unique index "By i" on "Odd "" %s" (i); create table fine (i int primary key);
"""
_TABLES = ("logged", 'Odd " %s', "fine")


def planned(services: LivesyncServices) -> list[str]:
    """Plan and write the file; the statements in it."""
    plan = good(services.identity.plan())
    [script] = IdentityScreen(services).scripts_of(plan)
    return [statement.sql for statement in write(services, script).statements]


def outcomes(result: ScriptResult) -> dict[str, Outcome]:
    return {one.about.split(":")[0]: one.outcome for one in result.results}


def test_identities_are_remembered_on_disk_told_and_put_back(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    assert len(planned(services)) == 2
    result = good(services.identity.apply())
    assert set(outcomes(result).values()) == {Outcome.APPLIED}
    assert replica_identities(source_db) == {"logged": "f", 'Odd " %s': "i", "fine": "d"}
    assert planned(services) == []
    [saved] = SavedMigrations(tmp_path).read_all()[0]
    assert {record.relation.table for record in saved.identities} == {"logged", 'Odd " %s'}
    assert 'alter table "public"."logged" replica identity full;' in text_of(
        services, tmp_path, "transcript.sql"
    )

    # Another wizard, after a restart, puts them back; not while updates of one are published.
    source_db.execute("create publication other for table logged")
    again = LivesyncServices(source=source_db.conninfo, target=target_db.conninfo, folder=tmp_path)
    assert again.resume(saved.id) is None
    shown = good(again.identity.plan_undo())
    assert [one.about for one in shown.set_apart] == ["public.logged"]
    assert [one.about for one in shown.to_run] == ['public."Odd "" %s"']
    undone = good(again.identity.undo())
    assert sorted(one.outcome.value for one in undone.results) == ["applied", "refused"]
    assert "still published by other" in next(one.said for one in undone.results if one.said)
    assert replica_identities(source_db) == {"logged": "f", 'Odd " %s': "d", "fine": "d"}
    assert [record.relation.table for record in again.migration.identities] == ["logged"]
    source_db.execute("drop publication other")
    good(again.identity.undo())
    assert set(replica_identities(source_db).values()) == {"d"}
    assert again.migration.identities == ()
    assert good(again.identity.plan_undo()).statements == ()


def test_what_holds_a_table_is_named_and_only_that_table_is_tried_again(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    planned(services)
    with source_db.connect(application_name="report") as busy, busy.transaction():
        busy.execute("select from logged")
        result = good(services.identity.apply())
        assert outcomes(result)["public.logged"] is Outcome.REFUSED
        assert replica_identities(source_db) == {"logged": "d", 'Odd " %s': "i", "fine": "d"}
        said = next(one.said for one in result.results if one.outcome is Outcome.REFUSED)
        assert [one.relation.table for one in services.migration.identities] == ['Odd " %s']
        assert f"pid {busy.info.backend_pid} (postgres, report" in said
        assert len(planned(services)) == 1
    result = good(services.identity.apply())
    assert outcomes(result) == {"public.logged": Outcome.APPLIED}


def test_an_edited_file_is_what_is_applied_and_can_be_undone(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA + "create table besides (i int);")
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    planned(services)
    path = tmp_path / services.migration.id / FILE_NAME
    path.write_text(
        '-- by hand\nalter table "Odd "" %s" replica identity full;\n'
        "do $$ begin execute 'alter table public.' || 'besides replica identity full'; end $$;\n"
        "alter table public.gone replica identity full;\n"
    )
    result = good(services.identity.apply())
    assert [one.outcome for one in result.results] == [Outcome.REFUSED, Outcome.APPLIED, Outcome.REFUSED]
    # Names have to be written with their schema, as everywhere.
    path.write_text(path.read_text().replace('table "Odd', 'table public."Odd'))
    result = good(services.identity.apply())
    assert [one.outcome for one in result.results] == [Outcome.APPLIED, Outcome.APPLIED, Outcome.REFUSED]
    assert replica_identities(source_db) == {"logged": "d", 'Odd " %s': "f", "fine": "d", "besides": "f"}
    assert "by hand" not in planned(services)
    good(services.identity.undo())
    assert set(replica_identities(source_db).values()) == {"d"}
    assert services.migration.identities == ()


def test_an_edited_file_that_waits_for_a_lock_says_for_whom(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    planned(services)
    path = tmp_path / services.migration.id / FILE_NAME
    path.write_text(
        "alter table public.logged replica identity full; alter table public.fine replica identity full;"
    )
    with source_db.connect(application_name="report") as busy, busy.transaction():
        busy.execute("select from logged")
        result = good(services.identity.apply())
        holder = f"pid {busy.info.backend_pid} (postgres, report"
    assert [one.outcome for one in result.results] == [Outcome.REFUSED, Outcome.APPLIED]
    assert holder in result.results[0].said


def test_nothing_is_changed_in_a_dry_run(source_db: Database, target_db: Database, tmp_path: Path) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES, dry_run=True)
    assert len(planned(services)) == 2
    for refused in (services.identity.apply(), services.identity.undo()):
        assert isinstance(refused, Failure)
        assert "dry run" in refused.title
    assert set(replica_identities(source_db).values()) == {"d"}
    assert services.migration.identities == ()


def test_what_could_not_be_remembered_is_not_changed(
    source_db: Database, target_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    planned(services)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("livesync_tui.saved.write_private_file", full)
    for text in (None, "alter table public.logged replica identity full;"):
        if text:
            (tmp_path / services.migration.id / FILE_NAME).write_text(text)
        failure = services.identity.apply()
        assert isinstance(failure, Failure)
        assert "No space left" in failure.sentence()
        assert set(replica_identities(source_db).values()) == {"d"}
