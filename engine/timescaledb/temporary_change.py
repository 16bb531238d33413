"""What is changed on the source for the time of the migration. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.script.planned import Script, ScriptStatement

CHANGES_FILE = "source_for_the_migration.sql"
RESTORE_FILE = "source_as_before.sql"


@dataclass(frozen=True, slots=True)
class TemporaryChange:
    """One change, with what puts back what was there before."""

    about: str
    """The object, and what is done with it; no two changes have the same."""

    statement: str
    """Does no harm when it is run once more; without its semicolon."""

    restore: str
    """The same; what was before is written out in it."""

    job: int | None = None
    """Of a job that is paused, its number on the source."""


def change_script(changes: Iterable[TemporaryChange], notes: tuple[str, ...] = ()) -> Script:
    """The changes to be read before they are made."""
    statements = tuple(ScriptStatement(change.about, change.statement) for change in changes)
    return Script(
        CHANGES_FILE, "What is changed on the source until the migration ends", statements, (), notes
    )


def restore_script(changes: Iterable[TemporaryChange], notes: tuple[str, ...] = ()) -> Script:
    """What puts the source back, the last change first."""
    statements = tuple(
        ScriptStatement(f"{change.about}: as before", change.restore) for change in reversed([*changes])
    )
    return Script(RESTORE_FILE, "Puts the source back as it was before the migration", statements, (), notes)
