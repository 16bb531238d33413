"""Tables of a source without a server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from engine.catalog.hypertable import HypertableSuggestion
from engine.catalog.schema_tables import TableTie
from engine.catalog.table import SourceTable, TableName
from engine.catalog.table_map import TableMap
from engine.errors import Failure
from engine.script.planned import Script
from screens.step_services.tables import SourceRoom, TablesLook

FOLDER = Path("/home/me/.local/state/livesync-tui/shop")


@dataclass
class FakeTables:
    """TablesServices for tests."""

    tables: tuple[SourceTable, ...] | Failure
    ties: tuple[TableTie, ...] = ()
    room: SourceRoom | None = field(default_factory=lambda: SourceRoom(28, 18))
    timescaledb_version: str | None = None
    suggestions: tuple[HypertableSuggestion, ...] | Failure = ()
    hypertables: Script | Failure = field(
        default_factory=lambda: Script("hypertables.sql", "Hypertables of the accepted tables", ())
    )
    choices: dict[str, tuple[TableName, ...] | Failure] = field(default_factory=dict)
    """Lists of tables by the path of their file."""

    maps: dict[str, TableMap | Failure] = field(default_factory=dict)
    asked: list[tuple[TableName, ...]] = field(default_factory=list)
    """Tables whose time columns were looked for."""

    def look(self) -> TablesLook | Failure:
        if isinstance(self.tables, Failure):
            return self.tables
        return TablesLook(self.tables, self.ties, self.room, self.timescaledb_version)

    def suggest(self, tables: Collection[TableName]) -> tuple[HypertableSuggestion, ...] | Failure:
        self.asked.append(tuple(tables))
        return self.suggestions

    def plan_hypertables(self) -> Script | Failure:
        return self.hypertables

    def folder(self) -> Path:
        return FOLDER

    def load_choice(self, path: str) -> tuple[TableName, ...] | Failure:
        return self.choices.get(path, Failure(f"{path} cannot be read (No such file or directory)"))

    def save_choice(self, path: str, names: Collection[TableName]) -> Path | Failure:
        self.choices[path] = tuple(sorted(names))
        return FOLDER / path

    def load_map(self, path: str) -> TableMap | Failure:
        return self.maps.get(path, Failure(f"{path} cannot be read (No such file or directory)"))

    def save_map(self, path: str, table_map: TableMap) -> Path | Failure:
        self.maps[path] = table_map
        return FOLDER / path
