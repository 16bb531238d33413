"""Saved migrations: private, without passwords, never half written, never overwritten by an older version."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import fields, replace
from pathlib import Path

import pytest

from livesync_tui import paths
from livesync_tui.paths import write_private_file
from livesync_tui.saved import (
    VERSION,
    SavedMigrations,
    UnreadableMigrationError,
    from_document,
    new_migration,
    to_document,
)
from screens.migration import SavedMigration, Step
from tests.screens.fake_services import NOW, finished_migration, shop_migration


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def saved(tmp_path: Path) -> SavedMigrations:
    return SavedMigrations(tmp_path / "state" / "livesync-tui")


@pytest.mark.parametrize("migration", [new_migration(NOW), shop_migration(Step.LIVE), finished_migration()])
def test_what_is_written_is_read_back(saved: SavedMigrations, migration: SavedMigration) -> None:
    saved.write(migration)
    assert saved.read(migration.id) == migration
    assert saved.read_all() == ((migration,), ())


def test_a_file_from_before_providers_could_be_named_is_read(saved: SavedMigrations) -> None:
    migration = shop_migration(Step.TABLES, source_provider="rds", target_provider="tiger")
    saved.write(migration)
    assert saved.read(migration.id) == migration
    path = saved.folder(migration.id) / "migration.json"
    document = json.loads(path.read_text())
    del document["source_provider"], document["target_provider"]
    path.write_text(json.dumps(document))
    assert saved.read(migration.id) == replace(migration, source_provider="", target_provider="")


def test_folders_and_files_are_their_owner_s_only(saved: SavedMigrations) -> None:
    before = os.umask(0)
    try:
        migration = shop_migration(Step.TABLES)
        saved.write(migration)
        written = saved.write_file(migration.id, "schema.sql", "select 1;\n")
    finally:
        os.umask(before)
    assert _mode(saved.directory) == 0o700
    assert _mode(saved.folder(migration.id)) == 0o700
    assert _mode(saved.folder(migration.id) / "migration.json") == 0o600
    assert _mode(written) == 0o600


def test_there_is_no_place_for_a_password() -> None:
    assert not [field.name for field in fields(SavedMigration) if "password" in field.name]
    assert not [key for key in to_document(finished_migration()) if "password" in key]


def test_a_newer_version_is_refused_and_left_as_it_is(saved: SavedMigrations) -> None:
    migration = shop_migration(Step.TABLES)
    saved.write(migration)
    path = saved.folder(migration.id) / "migration.json"
    document = json.loads(path.read_text())
    newer = json.dumps({**document, "version": VERSION + 1, "something": "new"})
    path.write_text(newer)

    with pytest.raises(UnreadableMigrationError, match="newer livesync-tui"):
        saved.read(migration.id)
    with pytest.raises(UnreadableMigrationError, match="newer livesync-tui"):
        saved.write(migration)
    readable, unreadable = saved.read_all()
    assert readable == ()
    assert "newer livesync-tui" in unreadable[0].sentence()
    assert path.read_text() == newer


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 1}', '{"version": "x"}'])
def test_a_damaged_file_is_said_and_does_not_hide_the_others(saved: SavedMigrations, text: str) -> None:
    good = shop_migration(Step.TABLES)
    bad = replace(good, id="bad")
    saved.write(good)
    saved.write(bad)
    (saved.folder("bad") / "migration.json").write_text(text)
    readable, unreadable = saved.read_all()
    assert [migration.id for migration in readable] == [good.id]
    assert "bad" in unreadable[0].title


def test_the_latest_comes_first(saved: SavedMigrations) -> None:
    for day in (3, 9, 6):
        saved.write(replace(shop_migration(Step.TABLES), id=f"day-{day}", updated_at=NOW.replace(day=day)))
    assert [migration.id for migration in saved.read_all()[0]] == ["day-9", "day-6", "day-3"]


def test_a_write_that_is_cut_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "migration.json"
    write_private_file(path, "old")

    def cut(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paths.os, "fsync", cut)
    with pytest.raises(OSError, match="No space left"):
        write_private_file(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_forgetting_removes_the_folder(saved: SavedMigrations) -> None:
    migration = shop_migration(Step.TABLES)
    saved.write(migration)
    saved.forget(migration.id)
    assert saved.read_all() == ((), ())


def test_names_of_any_kind_survive(saved: SavedMigrations) -> None:
    migration = replace(shop_migration(Step.TABLES), name="語[/]\n\u202e\"'", source_name="\ud800")
    document = json.loads(json.dumps(to_document(migration)))
    assert from_document(document) == migration
