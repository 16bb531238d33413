"""Saved migrations: one folder each, with the wizard's answers as JSON and whatever it wrote beside them.

``migration.json`` carries a version. A file of an older version would be brought up here; one of a newer
version is refused and never overwritten, because what this version does not know it would drop. There is
no place for a password in it.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.catalog.hypertable_choice import choices_from_json
from engine.catalog.planned_identity import records_from_json
from engine.catalog.publication_record import publication_records_from_json
from engine.catalog.table import TableName
from engine.cutover.outcome import ReadOnlyRecord
from engine.errors import EngineError, Failure, Retry
from engine.roles.planned import CreatedRole
from livesync_tui.paths import make_private_directory, write_private_file
from screens.migration import (
    DEFAULT_SYNC_WORKERS,
    ComparedTable,
    CutoverRecord,
    RehearsalRecord,
    SavedMigration,
    Step,
)

VERSION = 1
_FILE = "migration.json"


class UnreadableMigrationError(EngineError):
    """A saved migration is damaged or was written by a newer version."""


def new_migration(now: datetime, subscription: str = "") -> SavedMigration:
    """A migration without answers; its id sorts by time."""
    return SavedMigration(
        id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        name=subscription,
        source_conninfo="",
        target_conninfo="",
        source_name="",
        target_name="",
        target_database="",
        step=Step.CONNECT,
        furthest_step=Step.CONNECT,
        subscription=subscription,
        publication="",
        tables=(),
        sync_workers=DEFAULT_SYNC_WORKERS,
        created_at=now,
        updated_at=now,
    )


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat()


def _read_moment(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _role_document(role: CreatedRole) -> dict[str, Any]:
    return {"name": role.name, "oid": role.oid}


def _read_role(document: Mapping[str, Any]) -> CreatedRole:
    return CreatedRole(str(document["name"]), int(document["oid"]))


def to_document(migration: SavedMigration) -> dict[str, Any]:
    """The JSON of a migration."""
    record = migration.cutover
    return {
        "version": VERSION,
        "id": migration.id,
        "name": migration.name,
        "source_conninfo": migration.source_conninfo,
        "target_conninfo": migration.target_conninfo,
        "source_name": migration.source_name,
        "target_name": migration.target_name,
        "target_database": migration.target_database,
        "step": migration.step.value,
        "furthest_step": migration.furthest_step.value,
        "subscription": migration.subscription,
        "publication": migration.publication,
        "tables": [{"schema": name.schema, "table": name.table} for name in migration.tables],
        "sync_workers": migration.sync_workers,
        "source_provider": migration.source_provider,
        "target_provider": migration.target_provider,
        "created_at": _moment(migration.created_at),
        "updated_at": _moment(migration.updated_at),
        "started_at": _moment(migration.started_at),
        "copy_finished_at": _moment(migration.copy_finished_at),
        "builds_schema": migration.builds_schema,
        "migration_user": migration.migration_user,
        "first_source_conninfo": migration.first_source_conninfo,
        "created_user": None if migration.created_user is None else _role_document(migration.created_user),
        "created_roles": [_role_document(role) for role in migration.created_roles],
        "left_out_roles": list(migration.left_out_roles),
        "left_out_statements": [
            {"file": file, "about": about} for file, about in migration.left_out_statements
        ],
        "table_map": migration.table_map,
        "hypertables": [choice.to_json() for choice in migration.hypertables],
        "identities": [record.to_json() for record in migration.identities],
        "publications": [publication.to_json() for publication in migration.publications],
        "publishes_whole_schemas": migration.publishes_whole_schemas,
        "publishes_updates": migration.publishes_updates,
        "read_only": [
            {"database": one.database, "role": one.role, "before": one.before} for one in migration.read_only
        ],
        "rehearsals": [
            {
                "at": _moment(one.at),
                "fence_seconds": one.fence_seconds,
                "sequences_seconds": one.sequences_seconds,
                "compare_seconds": one.compare_seconds,
            }
            for one in migration.rehearsals
        ],
        "steps_reached": [
            {"step": step.value, "at": _moment(moment)} for step, moment in migration.steps_reached
        ],
        "not_migrated": None if migration.not_migrated is None else list(migration.not_migrated),
        "cutover": {
            "writers_stopped_at": _moment(record.writers_stopped_at),
            "attested": record.attested,
            "fence_lsn": record.fence_lsn,
            "fence_seconds": record.fence_seconds,
            "sequences_set": record.sequences_set,
            "sequences_seconds": record.sequences_seconds,
            "tables_compared": record.tables_compared,
            "rows_compared": record.rows_compared,
            "differences": record.differences,
            "compare_seconds": record.compare_seconds,
            "tables": [
                {"name": table.name, "rows": table.rows, "found": table.found} for table in record.tables
            ],
            "warnings": list(record.warnings),
            "done_at": _moment(record.done_at),
        },
        "dropped_at": _moment(migration.dropped_at),
    }


def from_document(document: Mapping[str, Any]) -> SavedMigration:
    """A migration from its JSON.

    Raises:
        UnreadableMigrationError: A newer version wrote it, or a part is missing or of another kind.
    """
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise UnreadableMigrationError(
            Failure(
                f"It was written by a newer livesync-tui (format {version}, this one reads up to {VERSION})",
                hint="Use the newer version; the file is left as it is",
                retry=Retry.NEVER,
            )
        )
    try:
        if version != VERSION:
            raise ValueError("no version")
        record = document["cutover"]
        created_at, updated_at = _read_moment(document["created_at"]), _read_moment(document["updated_at"])
        if created_at is None or updated_at is None:
            raise ValueError("no times")
        return SavedMigration(
            id=str(document["id"]),
            name=str(document["name"]),
            source_conninfo=str(document["source_conninfo"]),
            target_conninfo=str(document["target_conninfo"]),
            source_name=str(document["source_name"]),
            target_name=str(document["target_name"]),
            target_database=str(document["target_database"]),
            step=Step(document["step"]),
            furthest_step=Step(document["furthest_step"]),
            subscription=str(document["subscription"]),
            publication=str(document["publication"]),
            tables=tuple(TableName(name["schema"], name["table"]) for name in document["tables"]),
            sync_workers=int(document["sync_workers"]),
            source_provider=str(document.get("source_provider", "")),
            target_provider=str(document.get("target_provider", "")),
            created_at=created_at,
            updated_at=updated_at,
            started_at=_read_moment(document["started_at"]),
            copy_finished_at=_read_moment(document["copy_finished_at"]),
            builds_schema=bool(document.get("builds_schema", False)),
            migration_user=str(document.get("migration_user", "")),
            first_source_conninfo=str(document.get("first_source_conninfo", "")),
            created_user=_read_role(document["created_user"]) if document.get("created_user") else None,
            created_roles=tuple(_read_role(role) for role in document.get("created_roles", ())),
            left_out_roles=tuple(str(name) for name in document.get("left_out_roles", ())),
            left_out_statements=tuple(
                (str(one["file"]), str(one["about"])) for one in document.get("left_out_statements", ())
            ),
            table_map=str(document.get("table_map", "")),
            hypertables=choices_from_json(document.get("hypertables", [])),
            identities=records_from_json(document.get("identities", [])),
            publications=publication_records_from_json(document.get("publications", [])),
            publishes_whole_schemas=bool(document.get("publishes_whole_schemas", False)),
            publishes_updates=bool(document.get("publishes_updates", True)),
            read_only=tuple(
                ReadOnlyRecord(str(one["database"]), str(one["role"]), one["before"])
                for one in document.get("read_only", ())
            ),
            rehearsals=tuple(_read_rehearsal(one) for one in document.get("rehearsals", ())),
            steps_reached=tuple(
                (Step(one["step"]), datetime.fromisoformat(one["at"]))
                for one in document.get("steps_reached", ())
            ),
            not_migrated=None
            if document.get("not_migrated") is None
            else tuple(str(one) for one in document["not_migrated"]),
            cutover=CutoverRecord(
                writers_stopped_at=_read_moment(record["writers_stopped_at"]),
                attested=str(record["attested"]),
                fence_lsn=str(record["fence_lsn"]),
                fence_seconds=record.get("fence_seconds"),
                sequences_set=record["sequences_set"],
                sequences_seconds=record.get("sequences_seconds"),
                tables_compared=record["tables_compared"],
                rows_compared=record["rows_compared"],
                differences=record["differences"],
                compare_seconds=record.get("compare_seconds"),
                tables=tuple(
                    ComparedTable(str(one["name"]), int(one["rows"]), str(one["found"]))
                    for one in record.get("tables", ())
                ),
                warnings=tuple(str(one) for one in record.get("warnings", ())),
                done_at=_read_moment(record["done_at"]),
            ),
            dropped_at=_read_moment(document["dropped_at"]),
        )
    except (KeyError, TypeError, ValueError):
        raise UnreadableMigrationError(
            Failure(
                "Its file is damaged",
                hint="Remove its folder when it is not needed; what replication recorded is in the target",
                retry=Retry.NEVER,
            )
        ) from None


def _read_rehearsal(document: Mapping[str, Any]) -> RehearsalRecord:
    return RehearsalRecord(
        datetime.fromisoformat(document["at"]),
        float(document["fence_seconds"]),
        float(document["sequences_seconds"]),
        float(document["compare_seconds"]),
    )


class SavedMigrations:
    """The folder of saved migrations."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def folder(self, migration_id: str) -> Path:
        """The folder of one migration."""
        return self.directory / migration_id

    def read_all(self) -> tuple[tuple[SavedMigration, ...], tuple[Failure, ...]]:
        """Readable migrations, latest first, and why the others are not."""
        readable: list[SavedMigration] = []
        unreadable: list[Failure] = []
        for path in sorted(self.directory.glob(f"*/{_FILE}")):
            try:
                readable.append(replace(self.read(path.parent.name), id=path.parent.name))
            except UnreadableMigrationError as error:
                failure = error.failure
                unreadable.append(
                    Failure(f"{path.parent} cannot be read", failure.title, failure.hint, retry=Retry.NEVER)
                )
        readable.sort(key=lambda migration: migration.updated_at, reverse=True)
        return tuple(readable), tuple(unreadable)

    def read(self, migration_id: str) -> SavedMigration:
        """One migration.

        Raises:
            UnreadableMigrationError: Missing, damaged, or of a newer version.
        """
        try:
            document = json.loads((self.folder(migration_id) / _FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            document = None
        if not isinstance(document, dict):
            document = {}
        return from_document(document)

    def write(self, migration: SavedMigration) -> None:
        """Write one migration down; the file is the old or the new one at every moment.

        Raises:
            UnreadableMigrationError: What is there was written by a newer version.
            OSError: The disk is full or read-only.
        """
        path = self.folder(migration.id) / _FILE
        if path.exists():
            self._refuse_newer(path)
        make_private_directory(self.directory)
        make_private_directory(path.parent)
        write_private_file(path, json.dumps(to_document(migration), indent=2, ensure_ascii=False) + "\n")

    @staticmethod
    def _refuse_newer(path: Path) -> None:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > VERSION:
            from_document(document)

    def write_file(self, migration_id: str, name: str, text: str) -> Path:
        """Write a text beside the answers.

        Raises:
            OSError: The disk is full or read-only.
        """
        folder = self.folder(migration_id)
        make_private_directory(self.directory)
        make_private_directory(folder)
        path = folder / name
        write_private_file(path, text)
        return path

    def forget(self, migration_id: str) -> None:
        """Remove a migration's folder.

        Raises:
            OSError: It cannot be removed.
        """
        shutil.rmtree(self.folder(migration_id))
