"""What has to be done on the source, as values that screens may hold. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlannedStatement:
    """One statement and why it is needed."""

    sql: str
    """Complete, identifiers quoted, without a trailing semicolon."""

    why: str


@dataclass(frozen=True, slots=True)
class PublicationPlan:
    """Statements that make the publication what was chosen, in the order they have to run."""

    publication: str
    """Unquoted name."""

    statements: tuple[PlannedStatement, ...]
    """Empty when the publication is as it should be."""
