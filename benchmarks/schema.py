"""The source's schema for a target, by pg_dump and psql."""

from __future__ import annotations

from benchmarks.servers import Database


def schema_of(source: Database, *, with_indexes: bool) -> str:
    """SQL that makes the source's tables; their indexes and constraints only if asked for."""
    parts = [] if with_indexes else ["--section=pre-data"]
    return source.run(
        "pg_dump", "--schema-only", "--no-owner", "--no-publications", "--no-subscriptions", *parts
    )


def restore_schema(schema: str, target: Database) -> None:
    """Run what `schema_of` said."""
    target.run("psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null", text=schema)
