"""The step Publication on a real source, and the cleanup that takes back what it did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from engine.errors import Failure, Side
from engine.script.planned import Outcome, ScriptResult
from livesync_tui.saved import SavedMigrations
from livesync_tui.services import LivesyncServices
from screens.identity import IdentityScreen
from screens.publication import PublicationScreen
from screens.step_services.publication import FILE_NAME
from tests.app.on_servers import begin, good, replica_identities, text_of, write
from tests.conftest import Database

_SCHEMA = """
create table a (i int primary key, secret text); create table b (i int primary key);
create table "C "" %s" (i int primary key); create table later (i int primary key);
"""
_TABLES = ("a", "b", 'C " %s')
_STATE = """
select tablename::text, attnames::text, rowfilter, p.pubinsert, p.pubupdate, p.pubtruncate, p.pubviaroot
  from pg_publication p join pg_publication_tables t using (pubname) where pubname = %s order by 1
"""


def state(database: Database, publication: str = "p") -> list[tuple[Any, ...]]:
    return database.query(_STATE, [publication])


def published(database: Database, publication: str = "p") -> list[str]:
    return [str(row[0]) for row in state(database, publication)]


def planned(services: LivesyncServices) -> list[str]:
    """Plan and write the file; the statements in it."""
    [script] = PublicationScreen(services).scripts_of(good(services.publication.plan()))
    return [statement.sql for statement in write(services, script).statements]


def apply(services: LivesyncServices) -> ScriptResult:
    planned(services)
    result = good(services.publication.apply())
    assert not result.refused
    assert good(services.publication.plan()).plan.statements == ()
    return result


def test_a_publication_of_ours_is_remembered_told_and_dropped(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    apply(services)
    assert published(source_db) == ['C " %s', "a", "b"]
    [saved] = SavedMigrations(tmp_path).read_all()[0]
    assert [(record.name, record.is_ours) for record in saved.publications] == [("p", True)]
    assert 'create publication "p"' in text_of(services, tmp_path, "transcript.sql")
    # It stays ours when it is changed afterwards.
    services.record(replace(services.migration, tables=services.migration.tables[:1]))
    apply(services)
    assert published(source_db) == ["a"]
    [statement] = good(services.publication.plan_undo()).to_run
    assert statement.sql == 'drop publication "p"'
    good(services.publication.undo())
    assert source_db.query("select from pg_publication") == []
    assert services.migration.publications == ()
    assert good(services.publication.plan_undo()).statements == ()


def test_one_that_somebody_made_anew_under_the_name_is_not_dropped(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    apply(services)
    source_db.execute("drop publication p; create publication p for table later")
    assert good(services.publication.plan_undo()).statements == ()
    good(services.publication.undo())
    assert published(source_db) == ["later"]
    assert services.migration.publications == ()


def test_a_publication_that_was_there_gets_back_what_it_had(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(
        _SCHEMA
        + 'create table old (i int primary key, "J %s" int, k int);'
        'create publication p for table a (i), old (i, "J %s") where (i > 3 and k is null)'
        " with (publish = 'insert')".replace("k is null", "i < 99")
    )
    before = state(source_db)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    assert len(planned(services)) == 3
    apply(services)
    assert published(source_db) == ['C " %s', "a", "b"]
    assert state(source_db)[1][1] == "{i}"  # The column list of a table that stays is kept.
    source_db.execute("alter publication p add table later")
    good(services.publication.undo())
    # What somebody else has put in meanwhile stays.
    assert published(source_db) == ["a", "later", "old"]
    source_db.execute("alter publication p drop table later")
    assert state(source_db) == before
    assert services.migration.publications == ()


def test_whole_schemas_and_inserts_only_are_asked_for_and_taken_back(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA + "create table keyless (i int); create publication p for table a")
    before = state(source_db)
    tables = (*_TABLES, "later", "keyless")
    services = begin(source_db, target_db, tmp_path, *tables)
    refused = services.publication.plan()
    assert isinstance(refused, Failure)
    assert "public.keyless" in refused.title
    services.record(replace(services.migration, publishes_updates=False, publishes_whole_schemas=True))
    apply(services)
    source_db.execute("insert into keyless values (1); update keyless set i = 2; delete from keyless")
    assert source_db.query("select count(*) from pg_publication_namespace") == [(1,)]
    good(services.publication.undo())
    assert state(source_db) == before


def test_an_edited_file_is_what_is_applied_and_can_be_undone(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    planned(services)
    path = tmp_path / services.migration.id / FILE_NAME
    path.write_text(
        'create publication p for table public.a (i), public.b where (i > 7), public."C "" %s"'
        " with (publish_via_partition_root = true);\ncreate publication Besides for table public.later;\n"
    )
    result = good(services.publication.apply())
    assert [one.outcome for one in result.results] == [Outcome.APPLIED] * 2
    review = good(services.publication.plan())
    assert review.plan.statements == ()
    assert len(review.plan.notes) == 2
    good(services.publication.undo())
    assert source_db.query("select from pg_publication") == []


def test_one_that_could_not_be_made_is_not_taken_for_ours(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    role = f"poor_{source_db.name[-6:]}"
    source_db.execute(_SCHEMA + f"create role {role} login password 'Poor-1'")
    try:
        poor = psycopg.conninfo.make_conninfo(source_db.conninfo, user=role, password="Poor-1")
        services = begin(source_db, target_db, tmp_path, *_TABLES)
        good(services.use_connection(Side.SOURCE, poor))
        [script] = PublicationScreen(services).scripts_of(good(services.publication.plan()))
        assert any("grant create on database" in one.sql for one in script.set_apart)
        write(services, script)
        result = good(services.publication.apply())
        assert [one.outcome for one in result.results] == [Outcome.REFUSED]
        assert services.migration.publications == ()
        source_db.execute("create publication p for table a")
        assert good(services.publication.plan_undo()).statements == ()
    finally:
        source_db.execute(f"drop owned by {role}; drop role {role}")


def test_who_keeps_a_table_locked_is_named(source_db: Database, target_db: Database, tmp_path: Path) -> None:
    source_db.execute(_SCHEMA)
    services = begin(source_db, target_db, tmp_path, *_TABLES)
    planned(services)
    with source_db.connect(application_name="indexer") as busy, busy.transaction():
        busy.execute("create index on b (i)")
        result = good(services.publication.apply())
        holder = f"pid {busy.info.backend_pid} (postgres, indexer"
    assert holder in result.refused[0].said
    assert services.migration.publications == ()
    assert not good(services.publication.apply()).refused


def test_nothing_is_changed_in_a_dry_run(source_db: Database, target_db: Database, tmp_path: Path) -> None:
    source_db.execute(_SCHEMA + "create table keyless (i int)")
    services = begin(source_db, target_db, tmp_path, *_TABLES, "keyless", dry_run=True)
    # The identities come before it in the script that a dry run ends with.
    assert len(planned(services)) == 1
    for refused in (services.publication.apply(), services.publication.undo(), services.cleanup.run()):
        assert isinstance(refused, Failure)
        assert "dry run" in refused.title
    assert source_db.query("select from pg_publication") == []
    assert services.migration.publications == ()


def test_the_cleanup_shows_and_takes_back_everything(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SCHEMA + "create table keyless (i int); create table shared (i int)")
    services = begin(source_db, target_db, tmp_path, *_TABLES, "keyless", "shared")
    [identities] = IdentityScreen(services).scripts_of(good(services.identity.plan()))
    assert len(write(services, identities).statements) == 2
    good(services.identity.apply())
    apply(services)
    source_db.execute(
        "select pg_create_logical_replication_slot('live_sync_night', 'pgoutput');"
        " create publication theirs for table shared"
    )
    plan = good(services.cleanup.plan())
    assert plan.slots == ("live_sync_night",)
    assert [one.sql for one in plan.statements if not one.set_apart] == [
        'drop publication "p"',
        'alter table "public"."keyless" replica identity default',
    ]
    assert [one.about for one in plan.statements if one.set_apart] == ["public.shared"]
    outcome = good(services.cleanup.run())
    assert outcome.slots == ("live_sync_night",)
    assert [one.about for one in outcome.refused] == ["public.shared"]
    assert source_db.query("select pubname from pg_publication") == [("theirs",)]
    assert source_db.query("select from pg_replication_slots where database = %s", [source_db.name]) == []
    assert replica_identities(source_db)["keyless"] == "d"
    assert replica_identities(source_db)["shared"] == "f"
    source_db.execute("update shared set i = 1")
    # Tried again when nothing is in the way any more.
    source_db.execute("drop publication theirs")
    assert not good(services.cleanup.run()).refused
    assert replica_identities(source_db)["shared"] == "d"
    assert (services.migration.publications, services.migration.identities) == ((), ())
    assert "pg_drop_replication_slot('live_sync_night')" in text_of(services, tmp_path, "transcript.sql")
