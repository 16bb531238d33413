"""Makes hypertables of the tables that pg_dump restored (seed "3.2 Create hypertables").

All of a dimension is carried over: the extent of integers too, what says the present moment, partitioning
functions, and where chunks are. Default indexes are never made: pg_dump has the indexes there are.
"""

from __future__ import annotations

from engine.catalog.table import quote_identifier
from engine.script.masking import literal
from engine.script.planned import Script, ScriptStatement
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.hypertable import INTERNAL_SCHEMA, Dimension, Hypertable
from engine.timescaledb.installation import UUID_SINCE, Installation
from engine.timescaledb.words import extent, relation, routine

HYPERTABLES_FILE = "create_hypertables.sql"
DIMENSIONS_FILE = "add_dimensions.sql"


def plan_hypertables(source: TimescaleCatalog, target: TimescaleCatalog) -> tuple[Script, Script]:
    """What makes the source's hypertables on the target.

    Args:
        source, target: As they are now; of the target, tables may still be plain.

    Returns:
        The script of first dimensions, and that of further ones.
    """
    there = {table.name: table for table in target.hypertables}
    first: list[ScriptStatement] = []
    further: list[ScriptStatement] = []
    same: list[str] = []
    notes: list[str] = []
    for table in source.hypertables:
        planning = _Planning(table, there.get(table.name), target.installation)
        made, added = planning.first_dimension(), planning.further_dimensions()
        first += made
        further += added
        notes += planning.notes()
        if not made and not added:
            same.append(f"hypertable {table.name}")
    return (
        Script(
            HYPERTABLES_FILE,
            "Makes hypertables of the tables that are some",
            tuple(first),
            tuple(same),
            tuple(notes),
        ),
        Script(DIMENSIONS_FILE, "Further dimensions of hypertables", tuple(further)),
    )


class _Planning:
    """One hypertable."""

    def __init__(self, table: Hypertable, there: Hypertable | None, installation: Installation) -> None:
        self._table = table
        self._there = there
        self._installation = installation

    def first_dimension(self) -> list[ScriptStatement]:
        dimension = self._table.dimensions[0]
        statements = []
        now = None
        if self._there is None:
            statements.append(self._creation())
        else:
            found = self._there.dimensions[0]
            now = found.integer_now
            statements += self._changed(dimension, found)
        if dimension.integer_now not in (None, now):
            assert dimension.integer_now is not None
            statements.append(
                ScriptStatement(
                    f"hypertable {self._table.name}: what says the present moment",
                    "SELECT "
                    + self._installation.call(
                        "set_integer_now_func",
                        relation(self._table.name),
                        routine(dimension.integer_now),
                        "replace_if_exists => true",
                    ),
                )
            )
        return statements

    def further_dimensions(self) -> list[ScriptStatement]:
        found = {} if self._there is None else {one.column: one for one in self._there.dimensions}
        statements = []
        for dimension in self._table.dimensions[1:]:
            if dimension.column in found:
                statements += self._changed(dimension, found[dimension.column])
            else:
                statements.append(
                    ScriptStatement(
                        f"hypertable {self._table.name}: dimension {quote_identifier(dimension.column)}",
                        "SELECT "
                        + self._installation.call(
                            "add_dimension", relation(self._table.name), self._spec(dimension)
                        ),
                    )
                )
        return statements

    def notes(self) -> list[str]:
        notes = []
        if self._table.is_distributed:
            notes.append(
                f"{self._table.name} is distributed over several servers on the source; here it becomes an "
                "ordinary hypertable"
            )
        there = self._there
        if there is not None and (there.chunk_schema, there.chunk_prefix) != (
            self._table.chunk_schema,
            self._table.chunk_prefix,
        ):
            notes.append(
                f"New chunks of {self._table.name} get other names than on the source, or are in another "
                "schema"
            )
        return notes

    def _creation(self) -> ScriptStatement:
        dimension = self._table.dimensions[0]
        arguments = [relation(self._table.name)]
        if self._table.chunk_schema == INTERNAL_SCHEMA and self._table.chunk_prefix is None:
            arguments.append(self._spec(dimension))
        else:
            # The newer way, with by_range, has no words for where chunks are.
            assert dimension.extent is not None
            arguments += [
                literal(dimension.column),
                f"chunk_time_interval => {extent(dimension.extent)}",
                f"associated_schema_name => {literal(self._table.chunk_schema)}",
            ]
            if self._table.chunk_prefix is not None:
                arguments.append(f"associated_table_prefix => {literal(self._table.chunk_prefix)}")
            if dimension.partitioning is not None:
                arguments.append(f"time_partitioning_func => {routine(dimension.partitioning)}")
        arguments.append("create_default_indexes => false")
        return ScriptStatement(
            f"hypertable {self._table.name}",
            "SELECT " + self._installation.call("create_hypertable", *arguments),
            self._too_new(dimension),
        )

    def _too_new(self, dimension: Dimension) -> str:
        if dimension.column_type == "uuid" and dimension.extent and self._installation.version < UUID_SINCE:
            return (
                f"the target's TimescaleDB {self._installation.version_text} cannot cut by a UUID; 2.22 can"
            )
        return ""

    def _spec(self, dimension: Dimension) -> str:
        column = literal(dimension.column)
        function = []
        if dimension.partitioning is not None:
            function.append(f"partition_func => {routine(dimension.partitioning)}")
        if dimension.extent is None:
            return self._installation.call("by_hash", column, str(dimension.partitions), *function)
        return self._installation.call("by_range", column, extent(dimension.extent), *function)

    def _changed(self, dimension: Dimension, found: Dimension) -> list[ScriptStatement]:
        """What makes a dimension that is there like the source's."""
        about = f"hypertable {self._table.name}: dimension {quote_identifier(dimension.column)}"
        like = (dimension.column, dimension.partitioning, dimension.extent is None)
        if like != (found.column, found.partitioning, found.extent is None):
            return [
                ScriptStatement(
                    f"hypertable {self._table.name}",
                    self._creation().sql,
                    "it is a hypertable there already, cut in another way; drop and restore the table to "
                    "change that",
                )
            ]
        statements = []
        if dimension.extent is not None and dimension.extent != found.extent:
            statements.append(
                ScriptStatement(
                    f"{about}: extent of new chunks",
                    "SELECT "
                    + self._installation.call(
                        "set_chunk_time_interval",
                        relation(self._table.name),
                        extent(dimension.extent),
                        f"dimension_name => {literal(dimension.column)}",
                    ),
                )
            )
        if dimension.partitions is not None and dimension.partitions != found.partitions:
            statements.append(
                ScriptStatement(
                    f"{about}: number of partitions",
                    "SELECT "
                    + self._installation.call(
                        "set_number_partitions",
                        relation(self._table.name),
                        str(dimension.partitions),
                        f"dimension_name => {literal(dimension.column)}",
                    ),
                )
            )
        return statements
