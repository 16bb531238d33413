"""What the step Schema needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.catalog.table import TableName
from engine.errors import Failure
from engine.schema.comparison import (
    AppliedStatement,
    ApplyReport,
    ObjectKey,
    PlannedExtension,
    SchemaComparison,
)
from engine.schema.script import WaitingObjects
from screens.generated import GeneratedFile

OnResult = Callable[[AppliedStatement], None]
"""Told each result as it comes, on the thread that does the work."""


NOTHING_COMPARED = SchemaComparison(())


@dataclass(frozen=True, slots=True)
class SchemaLook:
    """Both schemas as they are now, and the script that was made of what is missing."""

    missing: tuple[TableName, ...]
    """Chosen tables that the target lacks."""

    waiting: WaitingObjects | None
    """What an earlier restore put off for a subscription that has not been started."""

    risks: tuple[str, ...] = ()
    """A sentence for each column of a chosen table in which values may be refused, rounded or lost."""

    comparison: SchemaComparison = NOTHING_COMPARED
    """Without extensions; passwords are placeholders."""

    extensions: tuple[PlannedExtension, ...] = ()
    waiting_keys: frozenset[ObjectKey] = frozenset()
    """Missing objects that an engine builds later."""

    file: GeneratedFile | None = None
    unreadable: Failure | None = None
    """Why an edited file cannot be read; then there is no ``file``."""

    pg_dump: str = ""
    """Version line of the program that read both."""

    problem: Failure | None = None
    """Why the schemas could not be compared."""


@dataclass(frozen=True, slots=True)
class ScriptToRun:
    """The script's file as it is now."""

    file: GeneratedFile
    drops: tuple[str, ...]
    """What it would drop or empty by its own words."""


class SchemaServices(Protocol):
    """The schemas of both sides."""

    def look(self, *, over_edited: bool = False) -> SchemaLook | Failure:
        """Compare both sides and write the script of what is missing, unless that was edited (blocking)."""

    @property
    def script_path(self) -> Path | None:
        """Where the script lies once both sides have been compared."""

    def read(self) -> ScriptToRun | Failure:
        """The script as it is now; somebody may have edited it (blocking)."""

    def apply(
        self, *, tables_first: bool, may_drop: Collection[str], on_result: OnResult
    ) -> ApplyReport | Failure:
        """Run the script on the target (blocking).

        Args:
            tables_first: Leave what waits for rows to the engine of the migration's subscription.
            may_drop: What a person allowed it to drop, by name.
            on_result: As :data:`OnResult`.
        """

    def drop(self, key: ObjectKey) -> ApplyReport | Failure:
        """Drop one object of the target, and nothing beside it (blocking)."""

    @property
    def made_count(self) -> int:
        """Objects that this step has made since the program was started."""

    def undo(self, on_result: OnResult) -> ApplyReport | Failure:
        """Drop what this step has made, and forget what was put off (blocking)."""
