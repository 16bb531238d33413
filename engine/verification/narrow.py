"""From buckets that differ to rows that differ; pure but for the readings it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from engine.catalog.table import quote_identifier
from engine.cutover.outcome import RowDifference
from engine.errors import Side
from engine.verification.digest import Buckets, FoundRow, Sums

BUCKET_BITS = 12
"""Of the first look at a table, and how many more of each further one."""

_DIGEST_BITS = 60
"""No finer than that: what shares so many bits is the same row in every respect."""

_ROWS_READ = 100_000
"""Rows of both sides that are looked at one by one, at most: tens of megabytes of keys."""

_BUCKETS_LOOKED_INTO = 16

ROWS_NAMED = 20

_SHOWN_CHARACTERS = 200

BothRows = tuple[dict[int, FoundRow], dict[int, FoundRow]]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Some rows that differ."""

    rows: tuple[RowDifference, ...]
    is_cut: bool
    """Whether there are more."""


def differing_buckets(source: Sums, target: Sums) -> dict[int, int]:
    """Buckets that differ, with the number of their rows on both sides together."""
    return {
        bucket: source.get(bucket, (0, 0))[0] + target.get(bucket, (0, 0))[0]
        for bucket in source.keys() | target.keys()
        if source.get(bucket) != target.get(bucket)
    }


def narrow(
    source: Sums,
    target: Sums,
    key_columns: tuple[str, ...],
    *,
    sums_of: Callable[[int, Buckets], tuple[Sums, Sums]],
    rows_of: Callable[[Buckets], BothRows],
    rows_of_keys: Callable[[Collection[tuple[str, ...]]], BothRows],
) -> Narrowed:
    """Name rows that differ.

    Args:
        source: Sums by bucket of :data:`BUCKET_BITS` bits.
        target: Likewise.
        key_columns: Names of the key's columns; none without a key.
        sums_of: Reads finer sums of some buckets on both sides.
        rows_of: Reads the rows of some buckets on both sides.
        rows_of_keys: Reads the rows of some keys on both sides.
    """
    bits, differing = BUCKET_BITS, differing_buckets(source, target)
    chosen, is_cut = _choose(differing)
    while sum(differing[bucket] for bucket in chosen) > _ROWS_READ and bits < _DIGEST_BITS:
        finer = differing_buckets(*sums_of(bits + BUCKET_BITS, (bits, chosen)))
        bits, differing = bits + BUCKET_BITS, finer
        chosen, was_cut = _choose(differing)
        is_cut = is_cut or was_cut
    source_rows, target_rows = rows_of((bits, chosen))
    surplus = _surplus(source_rows, target_rows)
    if not key_columns:
        named = [
            _without_key(digest, source_rows.get(digest), target_rows.get(digest))
            for digest in sorted(surplus)
        ]
        return Narrowed(tuple(named[:ROWS_NAMED]), is_cut or len(named) > ROWS_NAMED)
    keys = sorted(
        {(source_rows.get(digest) or target_rows[digest]).key for digest in surplus}, key=_by_number
    )
    is_cut = is_cut or len(keys) > ROWS_NAMED
    keys = keys[:ROWS_NAMED]
    by_key = rows_of_keys(keys)
    named = []
    for key in keys:
        sides = [
            Counter({digest: row.count for digest, row in rows.items() if row.key == key}) for rows in by_key
        ]
        words = _condition(key_columns, key)
        if sides[0] - sides[1]:
            named.append(RowDifference(None if sides[1] - sides[0] else Side.SOURCE, words))
        elif sides[1] - sides[0]:
            named.append(RowDifference(Side.TARGET, words))
    return Narrowed(tuple(named), is_cut)


def _choose(differing: Mapping[int, int]) -> tuple[list[int], bool]:
    """Few buckets with few rows, and whether there are others."""
    chosen: list[int] = []
    rows = 0
    for bucket in sorted(differing, key=lambda bucket: differing[bucket]):
        if chosen and (rows + differing[bucket] > _ROWS_READ or len(chosen) >= _BUCKETS_LOOKED_INTO):
            return chosen, True
        chosen.append(bucket)
        rows += differing[bucket]
    return chosen, False


def _surplus(source: Mapping[int, FoundRow], target: Mapping[int, FoundRow]) -> set[int]:
    """Digests that one side has more often."""
    return {
        digest for digest in source.keys() | target.keys() if _count(source, digest) != _count(target, digest)
    }


def _count(rows: Mapping[int, FoundRow], digest: int) -> int:
    return rows[digest].count if digest in rows else 0


def _by_number(key: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Numbers in their order, texts in theirs."""
    return tuple((len(text) if text.isdigit() else 0, text) for text in key)


def _condition(columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    return " and ".join(
        f"{quote_identifier(column)} = {_literal(text)}" for column, text in zip(columns, key, strict=True)
    )


def _literal(text: str) -> str:
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    return "'" + shown.replace("'", "''") + "'"


def _without_key(digest: int, source: FoundRow | None, target: FoundRow | None) -> RowDifference:
    counts = (0 if source is None else source.count, 0 if target is None else target.count)
    side, row = (Side.SOURCE, source) if counts[0] > counts[1] else (Side.TARGET, target)
    assert row is not None
    relation, place = row.key
    times = f", {counts[0]} times on the source and {counts[1]} on the target" if min(counts) else ""
    return RowDifference(side, f"{relation} {place}, digest {digest & (1 << 64) - 1:016x}{times}")
