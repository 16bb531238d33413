"""Are the rows of both sides the same? Asked after every measured run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from psycopg import sql

from benchmarks.errors import BenchmarkError
from benchmarks.servers import Database

Sums = dict[str, tuple[int, str]]
"""Table name to its number of rows and the sum of their hashes."""

# Of the values, not of their text: a third of the time where they are wide or slow to print. As their types
# see equality: 1.0 counts as 1.00, which no way to copy is going to mix up.
_SUM = """
select count(*), coalesce(sum(hash_record_extended(r, 0)), 0)::text from {} as r
"""

_SETTINGS = (
    # In parallel also where most of a table is TOAST, which the planner does not count; not for a few rows.
    "set min_parallel_table_scan_size = '1MB'",
    "set parallel_setup_cost = 0",
)


def table_sums(database: Database, tables: Sequence[str]) -> Sums:
    """Number of rows and sum of the rows' 64-bit hashes of ``tables`` of the schema public."""
    sums: Sums = {}
    with database.connect() as connection:
        for setting in _SETTINGS:
            connection.execute(setting.encode())
        for table in tables:
            row = connection.execute(sql.SQL(_SUM).format(sql.Identifier("public", table))).fetchone()
            assert row is not None
            sums[table] = (row[0], row[1])
    return sums


def require_equal(source: Database, target: Database, tables: Sequence[str], peer: str) -> None:
    """Compare both sides.

    Raises:
        BenchmarkError: ``peer`` left another number of rows or other rows in a table.
    """
    with ThreadPoolExecutor(2) as pool:
        there, here = pool.map(lambda database: table_sums(database, tables), (source, target))
    require_sums(there, here, peer)


def require_sums(source: Sums, target: Sums, peer: str) -> None:
    """As `require_equal`, with both sides already summed."""
    for table, (rows, checksum) in source.items():
        target_rows, target_checksum = target[table]
        if rows != target_rows:
            raise BenchmarkError(
                f"{peer}: table {table} has {rows} rows on the source and {target_rows} on the target"
            )
        if checksum != target_checksum:
            raise BenchmarkError(f"{peer}: the rows of table {table} differ; there are {rows} on both sides")
