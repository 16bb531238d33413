"""The database of pgbench."""

from __future__ import annotations

from benchmarks.servers import Database


def fill_pgbench(database: Database, scale: int) -> None:
    """Make pgbench's four tables with their primary keys; ``scale`` hundred thousand rows in the largest."""
    database.run("pgbench", "--initialize", "--quiet", f"--scale={scale}", database.name)
