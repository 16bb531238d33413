"""A connection as fields: what a form shows of a connection string, and the string it makes.

Imports only the standard library, so screens may hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

FIELD_KEYWORDS = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "service")
"""libpq's keywords (PostgreSQL 34.1.2) that have a field of their own, in the order of the form."""


@dataclass(frozen=True, slots=True)
class ConnectionFields:
    """libpq keywords and their values as typed, which may be secret; an empty one is left to libpq."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def conninfo(self) -> str:
        r"""The fields as libpq keywords, each value in quotes, so that every character means itself.

        >>> ConnectionFields({"host": "db 1", "password": "it's; \\", "port": ""}).conninfo()
        "host='db 1' password='it\\'s; \\\\'"
        """
        return " ".join(f"{keyword}={_quoted(value)}" for keyword, value in self.values.items() if value)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
