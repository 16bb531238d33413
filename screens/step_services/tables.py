"""What the step Tables needs from outside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.catalog.hypertable import HypertableSuggestion
from engine.catalog.schema_tables import TableTie
from engine.catalog.table import SourceTable, TableName
from engine.catalog.table_map import TableMap
from engine.errors import Failure
from engine.script.planned import Script


@dataclass(frozen=True, slots=True)
class SourceRoom:
    """What the source has left for a copy; slots that this tool holds there count as free."""

    free_slots: int
    free_walsenders: int


@dataclass(frozen=True, slots=True)
class TablesLook:
    """The source's tables, and what goes with choosing some."""

    tables: tuple[SourceTable, ...]
    """All that can be listed."""

    ties: tuple[TableTie, ...]
    """Foreign keys and inheritance among them."""

    room: SourceRoom | None
    """None when it could not be read."""

    timescaledb_version: str | None
    """Of the target; None when it has none, or could not be asked."""


class TablesServices(Protocol):
    """The tables of the source, where they land, and which become hypertables there."""

    def look(self) -> TablesLook | Failure:
        """Read the table list (blocking)."""

    def suggest(self, tables: Collection[TableName]) -> tuple[HypertableSuggestion, ...] | Failure:
        """Which tables have a time column, those worth being hypertables first (blocking)."""

    def plan_hypertables(self) -> Script | Failure:
        """The script that makes the accepted tables hypertables on the target (blocking)."""

    def folder(self) -> Path:
        """Where files without a folder of their own go, and relative paths begin."""

    def load_choice(self, path: str) -> tuple[TableName, ...] | Failure:
        """Read a list of tables from a file."""

    def save_choice(self, path: str, names: Collection[TableName]) -> Path | Failure:
        """Write a list of tables to a file, and say where that is."""

    def load_map(self, path: str) -> TableMap | Failure:
        """Read a table map from a file."""

    def save_map(self, path: str, table_map: TableMap) -> Path | Failure:
        """Write a table map to a file, and say where that is."""
