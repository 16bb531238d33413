"""The schema as a script, and what became of it. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchemaScript:
    """The source's schema as ``pg_dump`` wrote it."""

    text: str
    pg_dump: str
    """Version line of the pg_dump that wrote it."""


@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """What ``psql`` reported while applying a script."""

    applied: bool
    """True when every statement succeeded and the transaction committed; otherwise nothing was changed."""

    statements: int
    """Commands psql completed before it stopped."""

    error: str
    """psql's messages about the statement that failed, verbatim; empty when applied."""


@dataclass(frozen=True, slots=True)
class WaitingObjects:
    """Indexes, constraints and other objects that a restored schema still lacks."""

    subscription: str
    """The one that builds them: keys after a table's rows, the rest after the copy."""

    count: int
