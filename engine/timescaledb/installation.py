"""Which TimescaleDB a database has, and what can be asked of it. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from engine.catalog.table import quote_identifier

UUID_SINCE = (2, 22)
"""Hypertables whose dimension is a UUIDv7."""

LATE_DEFAULTS_SINCE = (2, 22)
"""A columnstore without segmentby or orderby chooses them when it is first written, no longer at ALTER."""

_NAMED_PLAINLY = "public"
"""Where the extension nearly always is; other schemas are quoted, whatever their name."""


class Edition(Enum):
    """What may be used, by license."""

    APACHE = "Apache edition"
    """Hypertables and chunks only."""

    FULL = "full edition"
    """Columnstore, continuous aggregates, policies and jobs too (``timescaledb.license = timescale``)."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The extension in one database."""

    version_text: str
    edition: Edition
    schema: str
    """Where its functions are."""

    arguments: Mapping[str, frozenset[str]]
    """Names of its functions with the names of what they take."""

    role: str
    """Whom the session that read this is."""

    roles: frozenset[str]
    """All of the server."""

    @property
    def version(self) -> tuple[int, ...]:
        """Numbers of a release: ``2.16.1`` or ``2.30.0-dev`` begin with (2, 16, 1) and (2, 30, 0)."""
        return tuple(int(part) for part in self.version_text.split("-")[0].split("."))

    @property
    def is_full(self) -> bool:
        return self.edition is Edition.FULL

    def has(self, function: str) -> bool:
        return function in self.arguments

    def takes(self, function: str, argument: str) -> bool:
        return argument in self.arguments.get(function, frozenset())

    def call(self, function: str, *arguments: str) -> str:
        """SQL of a call, with the function's schema.

        Args:
            function: Its name.
            arguments: SQL of each.
        """
        schema = self.schema.replace('"', '""')
        if schema != _NAMED_PLAINLY:
            schema = f'"{schema}"'
        return f"{schema}.{quote_identifier(function)}({', '.join(arguments)})"
