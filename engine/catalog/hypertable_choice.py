"""A table that is to be a hypertable on the target. Imports only the standard library beside values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.catalog.table import TableName


@dataclass(frozen=True, slots=True)
class HypertableChoice:
    """A suggestion that was accepted."""

    table: TableName
    """Its name on the source."""

    column: str
    interval: str | int
    """How much time goes into one chunk: an interval as PostgreSQL reads it, or, for an integer column, in
    what that counts."""

    def to_json(self) -> dict[str, object]:
        """For storing; :func:`choices_from_json` reads it back."""
        return {
            "schema": self.table.schema,
            "table": self.table.table,
            "column": self.column,
            "interval": self.interval,
        }


def choices_from_json(stored: Sequence[object]) -> tuple[HypertableChoice, ...]:
    """Read what :meth:`HypertableChoice.to_json` wrote.

    Raises:
        ValueError: It is something else.
    """
    return tuple(_choice(one) for one in stored)


def _choice(stored: object) -> HypertableChoice:
    if not isinstance(stored, dict):
        raise ValueError("not an accepted hypertable")
    schema, table, column, interval = (stored.get(key) for key in ("schema", "table", "column", "interval"))
    if not (isinstance(schema, str) and isinstance(table, str) and isinstance(column, str)):
        raise ValueError("an accepted hypertable lacks a name")
    if isinstance(interval, bool) or not isinstance(interval, str | int):
        raise ValueError("an accepted hypertable lacks its interval")
    return HypertableChoice(TableName(schema, table), column, interval)
