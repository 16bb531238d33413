"""What each server is asked: sums of digests by bucket, the rows of some buckets, the rows of some keys.

A row's digest is 64 bits of its text; its lowest bits are its bucket. A bucket's count and sum do not care
about order and count duplicates, so they can be added over ranges, partitions and tables that share a target,
and are equal on both sides when the rows are. A row that differs is in a bucket that differs, on each side
that has it.

Texts are comparable because sessions fix every setting that changes one (:mod:`engine.connection.session`)
and :mod:`engine.verification.layout` chose the columns' forms.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import EngineError, Failure, Retry
from engine.verification.layout import Part, Reading

Sums = dict[int, tuple[int, int]]
"""Bucket to the number of its rows and the sum of their digests."""

_PROBE = """
select pg_catalog.hashtextextended('livesync-tui' collate pg_catalog."C", 0)
"""

_HASH = 'pg_catalog.hashtextextended({row_text} collate pg_catalog."C", 0)'

_MD5 = """
('x' || pg_catalog.substr(pg_catalog.md5(pg_catalog.convert_to({row_text}, 'UTF8')), 1, 16))::bit(64)::int8
"""

# Without "offset 0" the subqueries are flattened, and each row is written and digested more than once.
_SUMS = """
select digest & {mask}, pg_catalog.count(*), pg_catalog.sum(digest)
  from (select {digest} as digest from {rows}{where} offset 0) digests
{within}
 group by 1
"""

_COUNT = """
select 0, pg_catalog.count(*), 0 from {rows}{where}
"""

_ROWS = """
select digest, pg_catalog.count(*), pg_catalog.min(key)
  from (select {digest} as digest, {key} as key from {rows}{where} offset 0) digests
{within}
 group by digest
"""

# Of a snapshot the catalog tells the storage of then, and the function that of now.
_REWRITTEN = """
select pg_catalog.count(*)
  from pg_catalog.pg_class c
 where c.oid = any (%s::int8[]::oid[])
   and c.relfilenode is distinct from pg_catalog.pg_relation_filenode(c.oid)
"""

Buckets = tuple[int, Collection[int]]
"""How many bits make a bucket, and some of the buckets."""


@dataclass(frozen=True, slots=True)
class FoundRow:
    """Rows that are alike."""

    count: int
    key: tuple[str, ...]
    """Texts of the key's columns; without a key the relation and the place of one of the rows."""


def uses_fast_digest(sessions: Sequence[Session]) -> bool:
    """Whether servers agree about PostgreSQL's own hash: it is of the bytes, in the machine's byte order.

    Raises:
        EngineError: One cannot be read.
    """
    probes = set()
    for session in sessions:
        # SQL_ASCII holds whatever clients sent, and the engine's send UTF-8.
        if session.info.parameter_status("server_encoding") not in ("UTF8", "SQL_ASCII"):
            return False
        try:
            probes.add(session.execute(_PROBE).fetchone())
        except psycopg.Error:
            return False
    return len(probes) == 1


class Reader:
    """Reads rows of one group; the digest is the same on both sides."""

    def __init__(self, *, is_fast: bool) -> None:
        self._digest: LiteralString = _HASH if is_fast else _MD5

    def count(self, session: Session, reading: Reading, part: Part) -> Sums:
        """Number of rows, as one bucket."""
        return self._sums(session, reading, part, sql.SQL(_COUNT).format(rows=part.rows, where=_where(part)))

    def sums(
        self,
        session: Session,
        reading: Reading,
        part: Part,
        bits: int,
        within: Buckets | None,
    ) -> Sums:
        """Sums by bucket.

        Args:
            session: In the snapshot.
            reading: The table.
            part: Which of its rows.
            bits: How many of the digest's lowest bits make a bucket.
            within: Only rows in these buckets of so many bits.

        Raises:
            EngineError: The rows cannot be read, or are not those of the snapshot any more.
        """
        statement = sql.SQL(_SUMS).format(
            mask=_mask(bits),
            digest=self._digest_of(reading),
            rows=part.rows,
            where=_where(part),
            within=_within(within),
        )
        return self._sums(session, reading, part, statement)

    def _sums(self, session: Session, reading: Reading, part: Part, statement: sql.Composed) -> Sums:
        rows = _read(session, reading, part, statement)
        return {int(str(bucket)): (int(str(count)), int(str(total))) for bucket, count, total in rows}

    def rows(self, session: Session, reading: Reading, part: Part, within: Buckets) -> dict[int, FoundRow]:
        """The rows of some buckets, by digest.

        Raises:
            EngineError: As :meth:`sums`.
        """
        return self._rows(session, reading, part, part.conditions, _within(within))

    def rows_of_keys(
        self, session: Session, reading: Reading, keys: Collection[tuple[str, ...]]
    ) -> dict[int, FoundRow]:
        """The rows that have one of ``keys``, by digest.

        Raises:
            EngineError: As :meth:`sums`.
        """
        part = reading.whole
        columns = reading.key if reading.key_is_builtin else [_text(column) for column in reading.key]
        condition = sql.SQL("({}) in ({})").format(
            _listed(columns),
            _listed([sql.SQL("({})").format(_listed([sql.Literal(text) for text in key])) for key in keys]),
        )
        return self._rows(session, reading, part, (*part.conditions, condition), sql.SQL(""))

    def _rows(
        self,
        session: Session,
        reading: Reading,
        part: Part,
        conditions: tuple[sql.Composable, ...],
        within: sql.Composable,
    ) -> dict[int, FoundRow]:
        key = (
            [_text(column) for column in reading.key]
            if reading.key
            else [sql.SQL("tableoid::pg_catalog.regclass::text"), sql.SQL("ctid::text")]
        )
        statement = sql.SQL(_ROWS).format(
            digest=self._digest_of(reading),
            key=sql.SQL("array[{}]::text[]").format(_listed(key)),
            rows=part.rows,
            where=_where(Part(part.rows, conditions, part.oids)),
            within=within,
        )
        found = {}
        for digest, count, texts in _read(session, reading, part, statement):
            assert isinstance(texts, list)
            found[int(str(digest))] = FoundRow(int(str(count)), tuple(str(text) for text in texts))
        return found

    def _digest_of(self, reading: Reading) -> sql.Composed:
        row_text = sql.SQL("row({})::text").format(_listed(reading.columns))
        return sql.SQL(self._digest).format(row_text=sql.SQL("({})").format(row_text))


def _read(
    session: Session, reading: Reading, part: Part, statement: sql.Composed
) -> list[tuple[object, ...]]:
    try:
        rows = session.execute(statement).fetchall()
        # What the statement has locked cannot be rewritten between these two.
        rewritten = session.execute(_REWRITTEN, (list(part.oids),)).fetchone()
    except psycopg.Error as error:
        raise explain(error, reading.side, f"comparing {reading.name}") from None
    if rewritten != (0,):
        raise EngineError(
            Failure(
                title=f"{reading.name} was emptied, rewritten or dropped meanwhile on the "
                f"{reading.side.value}",
                hint="Verify again",
                side=reading.side,
                retry=Retry.MANUAL,
            )
        )
    return rows


def _text(value: sql.Composable) -> sql.Composed:
    return sql.SQL("pg_catalog.format('%s', {})").format(value)


def _listed(items: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(items)


def _mask(bits: int) -> sql.Composed:
    return sql.SQL("{}::pg_catalog.int8").format(sql.SQL(str((1 << bits) - 1)))


def _where(part: Part) -> sql.Composable:
    if not part.conditions:
        return sql.SQL("")
    return sql.SQL(" where {}").format(sql.SQL(" and ").join(part.conditions))


def _within(within: Buckets | None) -> sql.Composable:
    if within is None:
        return sql.SQL("")
    bits, buckets = within
    return sql.SQL(" where digest & {} in ({})").format(
        _mask(bits), sql.SQL(", ").join(sql.SQL(str(bucket)) for bucket in sorted(buckets))
    )
