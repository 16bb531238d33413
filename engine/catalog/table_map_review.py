"""What a table map does to the tables that there are. Imports only the standard library beside values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap, TableMapping


@dataclass(frozen=True, slots=True)
class MappingReview:
    """One map against the tables."""

    mapping: TableMapping
    decides: tuple[TableName, ...]
    """Tables that land where it says."""

    comes_too_late: tuple[TableName, ...]
    """Tables that it matches and an earlier map decides."""


@dataclass(frozen=True, slots=True)
class TableMapReview:
    """A table map against the tables that were chosen."""

    mappings: tuple[MappingReview, ...]
    """In their order."""

    targets: tuple[tuple[TableName, TableName], ...]
    """Where each table lands, by its name on the source."""

    shared: tuple[tuple[TableName, tuple[TableName, ...]], ...]
    """Target tables that several source tables land in. Their keys must not meet, and none of them can be
    copied again alone, because the target table would have to be emptied."""

    @property
    def moved(self) -> tuple[tuple[TableName, TableName], ...]:
        """Tables that land under another name."""
        return tuple((source, target) for source, target in self.targets if source != target)

    @property
    def idle(self) -> tuple[MappingReview, ...]:
        """Maps that decide nothing: a name is misspelt, or an earlier map is in the way."""
        return tuple(review for review in self.mappings if not review.decides)


def review_table_map(table_map: TableMap, tables: Collection[TableName]) -> TableMapReview:
    """Apply ``table_map`` to ``tables``."""
    decided: defaultdict[int, list[TableName]] = defaultdict(list)
    late: defaultdict[int, list[TableName]] = defaultdict(list)
    sources: defaultdict[TableName, list[TableName]] = defaultdict(list)
    targets = []
    for name in sorted(tables):
        matching = table_map.matching(name)
        for number in matching[:1]:
            decided[number].append(name)
        for number in matching[1:]:
            late[number].append(name)
        target = table_map.target_of(name)
        targets.append((name, target))
        sources[target].append(name)
    return TableMapReview(
        tuple(
            MappingReview(mapping, tuple(decided[number]), tuple(late[number]))
            for number, mapping in enumerate(table_map.mappings)
        ),
        tuple(targets),
        tuple((target, tuple(names)) for target, names in sources.items() if len(names) > 1),
    )
