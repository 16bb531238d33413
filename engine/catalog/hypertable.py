"""Which tables are worth making hypertables of, by which column, and what is against it.

Everything is judged from catalogs and statistics; no row is read. Imports only the standard library beside
values.

The suggestion follows the seed ("3.2 Convert tables to hypertables"): a time column, rows that are mostly
appended, in the order of time, and many of them. The chunk interval follows Tiger's advice that the newest
chunk with its indexes takes no more than a quarter of the memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from engine.catalog.table import TableName, quote_identifier

DEFAULT_MEMORY_BYTES = 4 * 1024**3
"""Of the smallest service that is worth it, when the target's is not known."""

_MEMORY_SHARE_OF_CHUNK = 0.25

_WORTH_ROWS = 1_000_000
_WORTH_BYTES = 1024**3
"""Smaller tables are searched quickly as they are."""

_MOSTLY_APPENDED = 0.2
"""Updates and deletes against inserts, at most."""

_IN_ORDER = 0.9
"""``pg_stats.correlation`` from which rows count as coming in the order of time."""

_DAY_SECONDS = 86_400

_INTERVALS = (
    (3_600, "1 hour"),
    (6 * 3_600, "6 hours"),
    (_DAY_SECONDS, "1 day"),
    (7 * _DAY_SECONDS, "7 days"),
    (30 * _DAY_SECONDS, "30 days"),
)
_DEFAULT_INTERVAL = _INTERVALS[3]
"""TimescaleDB's own."""

_WORDS = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*")
_TIME_WORDS = frozenset(
    ("time", "timestamp", "datetime", "date", "ts", "epoch", "at", "created", "recorded", "occurred", "when")
)
_CHANGING_WORDS = frozenset(
    ("updated", "modified", "changed", "last", "deleted", "expires", "expiry", "until", "due", "end", "birth")
)
"""In names of columns whose value moves, or lies in the future."""


class TimeKind(Enum):
    """Type of a column that can be the dimension of a hypertable. The better ones first."""

    TIMESTAMPTZ = "timestamp with time zone"
    TIMESTAMP = "timestamp without time zone"
    DATE = "date"
    INTEGER = "integer"
    """int4 or int8 that counts seconds or parts of them since 1970."""


class EpochUnit(Enum):
    """What an integer counts since 1970: how many of them are a second."""

    SECONDS = 1
    MILLISECONDS = 1_000
    MICROSECONDS = 1_000_000
    NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ColumnSample:
    """``pg_stats`` of a column of a table or of one partition."""

    rows: float
    null_fraction: float
    correlation: float | None
    points: tuple[tuple[float, float], ...]
    """Values with the share of rows up to there from the last: epoch seconds, or an integer as it is."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column that may hold a time."""

    name: str
    kind: TimeKind
    is_not_null: bool
    is_generated: bool
    """Also as identity: an integer that counts rows is no time."""

    samples: tuple[ColumnSample, ...]
    """Empty when it was never analyzed, or may not be read; one a partition."""


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A unique index, a primary key or an exclusion constraint."""

    name: str
    is_primary: bool
    is_exclusion: bool
    columns: tuple[str, ...]
    has_expression: bool


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What is known of a table with all its partitions."""

    name: TableName
    approximate_rows: int
    size_bytes: int
    """With indexes and TOAST."""

    inserted_rows: int
    changed_rows: int
    """Updated and deleted; like the inserted, since the server's statistics were reset."""

    is_partitioned: bool
    partition_columns: tuple[str, ...]
    """Of partitioning by range."""

    inherits: bool
    """Whether it inherits, or is inherited from, in the old way."""

    has_rules: bool
    referenced_by: tuple[TableName, ...]
    """Tables with a foreign key to it."""

    keys: tuple[KeyFacts, ...]
    columns: tuple[ColumnFacts, ...]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why create_hypertable would refuse, or something would be lost, and what helps."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ChunkInterval:
    """How much time goes into one chunk."""

    seconds: int
    text: str
    """As PostgreSQL reads an interval."""

    integer: int | None
    """For an integer column: in what it counts; None when that is not known, or for other columns."""


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """One column that a table could be cut by."""

    name: str
    kind: TimeKind
    unit: EpochUnit | None
    """Only of an integer, when its values tell."""

    interval: ChunkInterval
    rows_per_day: float | None
    """Lately: of the newer half of the rows; None when it was never analyzed."""

    span_days: float | None
    """From the oldest to the newest rows, without the outermost hundredth at either end."""

    reasons: tuple[str, ...]
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True, slots=True)
class HypertableSuggestion:
    """A table with a time column."""

    table: TableName
    is_worth_it: bool
    """Whether it is large, and mostly appended to."""

    reasons: tuple[str, ...]
    """What speaks for it, and what speaks against it being worth it."""

    columns: tuple[TimeColumn, ...]
    """The best first; never empty."""

    @property
    def best(self) -> TimeColumn:
        return self.columns[0]


def suggest_hypertable(
    table: TableFacts, memory_bytes: int = DEFAULT_MEMORY_BYTES
) -> HypertableSuggestion | None:
    """What can be said about making ``table`` a hypertable; None when no column of it is a time.

    Args:
        table: As it is on the source.
        memory_bytes: Of the target's server.
    """
    columns = [_time_column(table, column, memory_bytes) for column in table.columns if _may_be_time(column)]
    if not columns:
        return None
    ranked = sorted(columns, key=lambda column: _rank(table, column))
    is_worth_it, reasons = _worth(table, ranked[0])
    return HypertableSuggestion(table.name, is_worth_it, reasons, tuple(ranked))


def _words(name: str) -> frozenset[str]:
    """Words of ``created_at``, ``createdAt`` or ``TS``, in small letters."""
    return frozenset(word.lower() for word in _WORDS.findall(name))


def _may_be_time(column: ColumnFacts) -> bool:
    if column.kind is not TimeKind.INTEGER:
        return True
    if column.is_generated or not _words(column.name) & _TIME_WORDS:
        return False
    # A name alone does not tell; values that are no time do.
    return not any(sample.points for sample in column.samples) or _unit_of(column) is not None


def _quantile(samples: Sequence[ColumnSample], share: float) -> float | None:
    """The value below which ``share`` of the rows lie."""
    points = sorted((value, sample.rows * part) for sample in samples for value, part in sample.points)
    goal = share * sum(weight for _, weight in points)
    passed = 0.0
    for value, weight in points:
        passed += weight
        if passed >= goal:
            return value
    return None


def _unit_of(column: ColumnFacts) -> EpochUnit | None:
    """What an integer counts, if its middle value is a moment between 1980 and 2100 in some unit."""
    middle = _quantile(column.samples, 0.5)
    if middle is None:
        return None
    return next((unit for unit in EpochUnit if 315_532_800 <= middle / unit.value < 4_102_444_800), None)


def _time_column(table: TableFacts, column: ColumnFacts, memory_bytes: int) -> TimeColumn:
    unit = _unit_of(column) if column.kind is TimeKind.INTEGER else None
    per_day = _DAY_SECONDS * (1 if unit is None else unit.value)
    rows_per_day = _rows_per_day(column, per_day)
    oldest, newest = _quantile(column.samples, 0.01), _quantile(column.samples, 0.99)
    return TimeColumn(
        name=column.name,
        kind=column.kind,
        unit=unit,
        interval=_interval(table, column.kind, unit, rows_per_day, memory_bytes),
        rows_per_day=rows_per_day,
        span_days=None if oldest is None or newest is None else (newest - oldest) / per_day,
        reasons=_column_reasons(table, column),
        obstacles=_obstacles(table, column, unit),
    )


def _rows_per_day(column: ColumnFacts, per_day: float) -> float | None:
    # The last hundredth may hold made-up moments such as the year 9999.
    for low in (0.5, 0.01):
        start, end = _quantile(column.samples, low), _quantile(column.samples, 0.99)
        if start is None or end is None:
            return None
        if end > start:
            rows = sum(
                sample.rows * part
                for sample in column.samples
                for value, part in sample.points
                if start < value <= end
            )
            return rows * per_day / (end - start)
    return None


def _interval(
    table: TableFacts,
    kind: TimeKind,
    unit: EpochUnit | None,
    rows_per_day: float | None,
    memory_bytes: int,
) -> ChunkInterval:
    seconds, text = _DEFAULT_INTERVAL
    if rows_per_day is not None and table.approximate_rows:
        bytes_per_day = rows_per_day * table.size_bytes / table.approximate_rows
        room = memory_bytes * _MEMORY_SHARE_OF_CHUNK
        # A chunk of dates holds whole days.
        choices = [choice for choice in _INTERVALS if kind is not TimeKind.DATE or choice[0] >= _DAY_SECONDS]
        fitting = [choice for choice in choices if bytes_per_day * choice[0] / _DAY_SECONDS <= room]
        seconds, text = (fitting or choices[:1])[-1]
    return ChunkInterval(seconds, text, None if unit is None else seconds * unit.value)


def _null_fraction(column: ColumnFacts) -> float:
    rows = sum(sample.rows for sample in column.samples)
    if not rows:
        return 0.0
    return sum(sample.rows * sample.null_fraction for sample in column.samples) / rows


def _correlation(column: ColumnFacts) -> float | None:
    known = [(sample.rows, sample.correlation) for sample in column.samples if sample.correlation is not None]
    rows = sum(weight for weight, _ in known)
    if not rows:
        return None
    return sum(weight * abs(correlation) for weight, correlation in known) / rows


def _column_reasons(table: TableFacts, column: ColumnFacts) -> tuple[str, ...]:
    reasons = []
    if column.name in table.partition_columns:
        reasons.append("the table is partitioned by it")
    correlation = _correlation(column)
    if correlation is None:
        reasons.append("no statistics about it (analyze), so the interval is TimescaleDB's own")
    elif correlation >= _IN_ORDER:
        reasons.append("rows come in its order")
    else:
        reasons.append("rows do not come in its order, so each write may touch any chunk")
    if _words(column.name) & _CHANGING_WORDS:
        reasons.append("by its name it changes, and a row whose time changes moves to another chunk")
    if not column.is_not_null and not _null_fraction(column):
        reasons.append("it becomes NOT NULL")
    return tuple(reasons)


def _obstacles(table: TableFacts, column: ColumnFacts, unit: EpochUnit | None) -> tuple[Obstacle, ...]:
    found = [_key_obstacle(key, column) for key in table.keys if column.name not in key.columns]
    name = quote_identifier(column.name)
    if column.is_generated:
        found.append(
            Obstacle(
                f"{name} is a generated column, which cannot be a dimension",
                "Choose another column, or make it an ordinary one on the target",
            )
        )
    nulls = _null_fraction(column)
    if nulls:
        found.append(
            Obstacle(
                f"{nulls:.1%} of the rows have no {name}, and a hypertable takes none of them",
                "Give them a time on the source first, or choose another column",
            )
        )
    if column.kind is TimeKind.INTEGER and unit is None:
        found.append(
            Obstacle(
                f"{name} was never analyzed, so it is not known what it counts",
                "analyze the table, or give the interval yourself in what the column counts",
            )
        )
    if table.referenced_by:
        shown = ", ".join(map(str, table.referenced_by))
        found.append(
            Obstacle(
                f"Foreign keys refer to the table from {shown}",
                f"TimescaleDB takes them from 2.16 on, and only to a key that has {name} in it: drop them on "
                f"the target, or give the other tables {name} too",
            )
        )
    if table.is_partitioned:
        found.append(
            Obstacle(
                "The table is partitioned, and a hypertable cannot be",
                "On the target make an ordinary table of that name in its place: alter table … rename to …, "
                "create table … (like … including all)",
            )
        )
    if table.inherits:
        found.append(
            Obstacle(
                "The table inherits or is inherited from, and a hypertable can do neither",
                "alter table … no inherit … on the target, if nothing queries them together",
            )
        )
    if table.has_rules:
        found.append(Obstacle("The table has rules, and a hypertable can have none", "Make triggers of them"))
    return tuple(found)


def _key_obstacle(key: KeyFacts, column: ColumnFacts) -> Obstacle:
    columns = ", ".join(map(quote_identifier, key.columns))
    name = quote_identifier(column.name)
    if key.is_exclusion:
        what, kind = f"{quote_identifier(key.name)} ({columns})", "exclusion constraint"
    else:
        what = f"({columns})" if not key.has_expression else quote_identifier(key.name)
        kind = "primary key" if key.is_primary else "unique index"
    remedy = f"On the target drop it, or make it ({columns}, {name})" if not key.has_expression else ""
    return Obstacle(
        f"The {kind} {what} does not have {name} in it, and every key of a hypertable must",
        f"{remedy or f'On the target drop it, or add {name} to it'}: then two rows may be equal but for "
        "their time",
    )


def _rank(table: TableFacts, column: TimeColumn) -> tuple[object, ...]:
    words = _words(column.name)
    return (
        column.name not in table.partition_columns,
        len(column.obstacles),
        bool(words & _CHANGING_WORDS),
        list(TimeKind).index(column.kind),
        column.rows_per_day is None,
        not words & _TIME_WORDS,
        column.name,
    )


def _worth(table: TableFacts, best: TimeColumn) -> tuple[bool, tuple[str, ...]]:
    reasons = []
    is_large = table.approximate_rows >= _WORTH_ROWS or table.size_bytes >= _WORTH_BYTES
    size = f"about {table.approximate_rows:,} rows"
    reasons.append(f"{size}, which is much" if is_large else f"{size}: small as it is")
    by_time = table.is_partitioned and best.name in table.partition_columns
    if by_time:
        reasons.append("cut by time already")
    is_appended = True
    if table.inserted_rows or table.changed_rows:
        is_appended = table.changed_rows <= _MOSTLY_APPENDED * table.inserted_rows
        shown = f"{table.inserted_rows:,} inserts against {table.changed_rows:,} updates and deletes"
        reasons.append(f"{shown}: {'mostly appended to' if is_appended else 'changed often'}")
    return (is_large or by_time) and is_appended, tuple(reasons)
