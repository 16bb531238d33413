"""A generated script as it lies in the migration's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.script.planned import ScriptStatement


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """What is in the file now, which is what is applied."""

    path: Path
    text: str
    """Passwords are placeholders."""

    statements: tuple[ScriptStatement, ...]
    """Those that are run, in order."""

    is_edited: bool
    """Whether somebody has changed it since it was written."""
