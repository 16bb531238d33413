"""The wizard's services over two real servers, without a screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from engine.catalog.table import TableName
from engine.errors import Failure, Side
from engine.script.planned import Script
from livesync_tui.services import LivesyncServices
from screens.generated import GeneratedFile
from tests.conftest import Database

Value = TypeVar("Value")


def begin(
    source: Database, target: Database, folder: Path, *tables: str, dry_run: bool = False, **changes: object
) -> LivesyncServices:
    """A migration of these tables of schema public, written down."""
    services = LivesyncServices(
        source=source.conninfo,
        target=target.conninfo,
        subscription="night",
        folder=folder,
        dry_run=dry_run,
    )
    services.begin()
    services.use_connection(Side.SOURCE, source.conninfo)
    services.use_connection(Side.TARGET, target.conninfo)
    migration = replace(
        services.migration,
        source_conninfo=services.conninfo(Side.SOURCE),
        target_conninfo=services.conninfo(Side.TARGET),
        publication="p",
        tables=tuple(TableName("public", table) for table in tables),
    )
    assert services.record(replace(migration, **changes)) is None  # type: ignore[arg-type]
    return services


def good(value: Value | Failure) -> Value:
    """``value``, which is no failure."""
    assert not isinstance(value, Failure), value.sentence()
    return value


def write(services: LivesyncServices, script: Script) -> GeneratedFile:
    """The generated file of a script for the source."""
    return good(services.scripts.generate(Side.SOURCE, script))


def text_of(services: LivesyncServices, folder: Path, name: str) -> str:
    """A file of the migration."""
    return (folder / services.migration.id / name).read_text()


def replica_identities(database: Database) -> dict[str, str]:
    """The letter of each table of schema public."""
    return dict(
        database.query(
            "select relname, relreplident::text from pg_class where relkind = 'r'"
            " and relnamespace = 'public'::regnamespace"
        )
    )
