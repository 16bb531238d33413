"""A batch: what the gathering side of a stream hands to the writing side.

A batch is a sequence of steps for the open target transaction and, when it ends at a boundary between
source transactions, the position to record with the commit. A source transaction that is larger than a
batch spans several, of which only the last has a commit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from engine.catalog.table import TableName
from engine.errors import Failure
from engine.replication.change_statement import ChangeStatements
from engine.replication.coalesce import NetChanges, NotCoalescableError
from engine.replication.protocol import ProtocolError
from engine.replication.tuple_data import end_of_row, read_fields

_NEW_ROW = ord("N")

_TUPLE_AT = 31
"""Where the first TupleData of a change starts in an XLogData message: behind its 25 bytes of header, the
message's kind, the relation's oid and the tuple's kind."""

_FIELDS_AT = _TUPLE_AT + 2


def source_oid_of(message: bytes) -> int:
    """The source table of an XLogData message with a change."""
    return int.from_bytes(message[26:30], "big")


class TableStoppedError(Exception):
    """A change of one table cannot be applied; the table has to be set aside."""

    def __init__(self, source_oid: int, failure: Failure) -> None:
        super().__init__(failure.sentence())
        self.source_oid = source_oid
        self.failure = failure


@dataclass(eq=False, slots=True)
class TargetChanges:
    """Changes of one target table, from one source table or from several that share it."""

    target: TableName
    messages: list[bytes] = field(default_factory=list)
    """Every change in stream order, as it arrived: what is replayed when the fast way does not fit."""

    relations: list[RelationChanges] = field(default_factory=list)

    def statements_of(self) -> dict[int, ChangeStatements]:
        """By source table, for replaying."""
        return {changes.source_oid: changes.statements for changes in self.relations}

    def counts(self) -> Counter[int]:
        """How many changes of each source table."""
        if len(self.relations) == 1:
            return Counter({self.relations[0].source_oid: len(self.messages)})
        return Counter(source_oid_of(message) for message in self.messages)


class RelationChanges:
    """Folds the changes of one source table; its methods take XLogData messages."""

    __slots__ = ("_messages", "_net", "parts", "source_oid", "statements")

    def __init__(self, source_oid: int, statements: ChangeStatements, messages: list[bytes]) -> None:
        """Start empty.

        Args:
            source_oid: The source table.
            statements: How it is written.
            messages: Where every message is kept in stream order, perhaps with those of other tables.
        """
        self.source_oid = source_oid
        self.statements = statements
        self.parts: list[NetChanges | list[bytes]] = []
        """In order: folded changes, or messages that have to be written one by one."""

        self._messages = messages
        self._net = self._new_net()

    def insert(self, message: bytes) -> None:
        """Fold an Insert."""
        row = read_fields(message, _FIELDS_AT)
        self._messages.append(message)
        try:
            self._net.insert(row)
        except NotCoalescableError:
            self._keep_single(message)

    def update(self, message: bytes) -> None:
        """Fold an Update."""
        self._messages.append(message)
        try:
            if message[_TUPLE_AT - 1] == _NEW_ROW:
                self._net.update(read_fields(message, _FIELDS_AT))
            else:
                self._move(message)
        except NotCoalescableError:
            self._keep_single(message)

    def delete(self, message: bytes) -> None:
        """Fold a Delete."""
        row = read_fields(message, _FIELDS_AT)
        self._messages.append(message)
        try:
            self._net.delete(row)
        except NotCoalescableError:
            self._keep_single(message)

    def close(self) -> None:
        """Nothing more is folded in; :attr:`parts` is complete."""
        if len(self._net):
            self.parts.append(self._net)

    def _move(self, message: bytes) -> None:
        end = end_of_row(message, _TUPLE_AT)
        if message[end : end + 1] != b"N":
            raise ProtocolError("an update without a new row")
        self._net.move(read_fields(message[:end], _FIELDS_AT), read_fields(message, end + 3))

    def _keep_single(self, message: bytes) -> None:
        if len(self._net):
            self.parts.append(self._net)
            self._net = self._new_net()
        if not self.parts or isinstance(self.parts[-1], NetChanges):
            self.parts.append([])
        singles = self.parts[-1]
        assert isinstance(singles, list)
        singles.append(message)

    def _new_net(self) -> NetChanges:
        statements = self.statements
        return NetChanges(
            statements.key_positions,
            is_full=statements.is_full,
            allows_updates=statements.allows_bulk_updates,
            fills_rows=not statements.unsent_columns,
        )


@dataclass(frozen=True, slots=True)
class WriteChanges:
    """Write rows; the order of tables does not matter, that within a table does."""

    tables: tuple[TargetChanges, ...]


@dataclass(frozen=True, slots=True)
class EmptyTables:
    """A TRUNCATE of the source; CASCADE there has already named every table."""

    statements: dict[int, ChangeStatements]
    """By source table."""

    restart_identity: bool


Step = WriteChanges | EmptyTables


@dataclass(frozen=True, slots=True)
class PositionStatement:
    """A statement that records a position or checks ownership."""

    text: str
    values: tuple[bytes, ...]
    is_fence: bool = False
    """It must find exactly one row; none means that another engine took over."""


@dataclass(frozen=True, slots=True)
class CommitPoint:
    """The boundary between source transactions at which a batch ends."""

    position: int
    """Everything whose commit record starts before it has been dealt with."""

    statements: tuple[PositionStatement, ...]
    promoted: tuple[int, ...] = ()
    """Source tables that the statements move from s to r."""


@dataclass(frozen=True, slots=True)
class PassedFence:
    """A fence that the stream has brought (:mod:`engine.cutover.fence`)."""

    text: str
    position: int
    """End of its transaction's commit record."""

    changes_after: int
    """Row changes to be applied that came after it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Steps for the open target transaction, and how it ends."""

    steps: tuple[Step, ...]
    commit: CommitPoint | None
    transactions: int
    """Source transactions that end in it."""

    committed_at: datetime | None
    """When the last of them was committed on the source."""

    fences: tuple[PassedFence, ...] = ()
    """In order, with what came after them in this batch."""
