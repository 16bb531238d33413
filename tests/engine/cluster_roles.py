"""Roles for one test: they belong to a whole server, which other tests of this process use too."""

from __future__ import annotations

import secrets

from psycopg import sql

from tests.conftest import Database


class ClusterRoles:
    """Names that no other test has; whatever is called so is dropped afterwards on both servers."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(3)

    def name(self, base: str) -> str:
        """``base`` made unique, within PostgreSQL's 63 bytes."""
        suffix = f"_{self.token}"
        kept = base.encode()[: 63 - len(suffix)].decode("utf-8", "ignore")
        return kept + suffix

    def of(self, database: Database) -> list[str]:
        rows = database.query(
            "select rolname from pg_roles where rolname like %s order by rolname", [f"%{self.token}%"]
        )
        return [name for (name,) in rows]


def run(database: Database, statement: str, *names: str, **keywords: str) -> None:
    """Run a statement with names in the place of its fields."""
    composed = sql.SQL(statement).format(
        *map(sql.Identifier, names), **{key: sql.Identifier(name) for key, name in keywords.items()}
    )
    database.execute(composed)
