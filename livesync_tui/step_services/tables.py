"""The tables of the source, where they land, and which become hypertables there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from engine.catalog.hypertable import HypertableSuggestion
from engine.catalog.hypertable_facts import suggest_hypertables
from engine.catalog.hypertable_plan import plan_hypertables
from engine.catalog.table import TableName
from engine.catalog.table_list_file import load_table_list, save_table_list
from engine.catalog.table_map import TableMap
from engine.catalog.table_map_file import load_table_map, save_table_map
from engine.catalog.table_ties import read_ties
from engine.catalog.tables import list_tables
from engine.checks.source import read_source_facts
from engine.connection.probe import probe_server
from engine.connection.session import Session, open_session
from engine.errors import EngineError
from engine.script.planned import Script
from livesync_tui.migration_context import MigrationContext
from livesync_tui.paths import make_private_directory
from livesync_tui.service_failure import returns_failure
from screens.step_services.tables import SourceRoom, TablesLook


class TablesSteps:
    """Implements :class:`screens.step_services.tables.TablesServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("reading the table list")
    def look(self) -> TablesLook:
        with open_session(self._context.source, "table list") as source:
            return TablesLook(
                list_tables(source), read_ties(source), _room(source), self._timescaledb_version()
            )

    def _timescaledb_version(self) -> str | None:
        # The list is of use without the target; Connect and Checks say what is wrong with that.
        try:
            return probe_server(self._context.target).timescaledb_version
        except EngineError:
            return None

    @returns_failure("looking for time columns")
    def suggest(self, tables: Collection[TableName]) -> tuple[HypertableSuggestion, ...]:
        with open_session(self._context.source, "time columns") as source:
            return suggest_hypertables(source, tables)

    @returns_failure("planning hypertables")
    def plan_hypertables(self) -> Script:
        migration = self._context.migration
        chosen = frozenset(migration.tables)
        choices = [choice for choice in migration.hypertables if choice.table in chosen]
        with (
            open_session(self._context.source, "hypertables") as source,
            open_session(self._context.target, "hypertables") as target,
        ):
            return plan_hypertables(source, target, choices, self._context.table_map)

    def folder(self) -> Path:
        return self._context.folder

    @returns_failure("reading the list of tables")
    def load_choice(self, path: str) -> tuple[TableName, ...]:
        return load_table_list(self._path(path))

    @returns_failure("writing the list of tables")
    def save_choice(self, path: str, names: Collection[TableName]) -> Path:
        found = self._path(path, to_write=True)
        save_table_list(found, names)
        return found

    @returns_failure("reading the table map")
    def load_map(self, path: str) -> TableMap:
        return load_table_map(self._path(path))

    @returns_failure("writing the table map")
    def save_map(self, path: str, table_map: TableMap) -> Path:
        found = self._path(path, to_write=True)
        save_table_map(found, table_map)
        return found

    def _path(self, typed: str, *, to_write: bool = False) -> Path:
        """What a person typed: ``~`` is the home folder, and a bare name lies with the migration."""
        try:
            path = Path(typed.strip()).expanduser()
        except RuntimeError:
            path = Path(typed.strip())  # ~somebody who does not exist: reading it says so.
        folder = self._context.folder
        if to_write and not path.is_absolute():
            make_private_directory(folder.parent)
            make_private_directory(folder)
        return folder / path


def _room(source: Session) -> SourceRoom | None:
    try:
        facts = read_source_facts(source)
    except EngineError:
        return None
    return SourceRoom(
        facts.slots - facts.slots_used + facts.slots_ours,
        facts.walsenders - facts.walsenders_used + facts.walsenders_ours,
    )
