"""Gathers the messages of one stream into batches; pure but for one question, how a table is written.

What it decides: which transactions and tables are to be applied, and where the boundaries between source
transactions are. Values are cut out of the messages and folded per row (:mod:`engine.replication.batch`).
The innermost loop looks a change's handler up by the bytes that hold its kind and its relation's oid, so a
change costs one look-up, one cutting and one folding.

Positions: everything whose commit record starts before :attr:`Gatherer.position` has been dealt with,
everything from there on has not. A transaction is named by its ``final_lsn``, the start of its commit record.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from engine.catalog.table import TableName
from engine.errors import TableError
from engine.replication.batch import (
    Batch,
    CommitPoint,
    EmptyTables,
    PassedFence,
    RelationChanges,
    Step,
    TableStoppedError,
    TargetChanges,
    WriteChanges,
)
from engine.replication.change_statement import ChangeStatements
from engine.replication.protocol import (
    Keepalive,
    LogicalMessage,
    ProtocolError,
    Relation,
    Truncate,
    committed_at_of,
    decode_copy_data,
    decode_message,
    end_lsn_of,
    final_lsn_of,
)

FENCE_PREFIX = "livesync-tui"
"""Prefix of the messages that are fences; their content tells one from another."""

Handler = Callable[[bytes], None]

_KEY = slice(25, 30)
"""Where an XLogData message of a change has its kind and the relation's oid."""

_KINDS = (b"I", b"U", b"D")

_MARKERS = {
    "::timescaledb-compression-start": True,
    "::timescaledb-compression-end": False,
    "::timescaledb-decompression-start": True,
    "::timescaledb-decompression-end": False,
}
"""What TimescaleDB writes around changes that only move rows between a chunk's two forms (2.16)."""


class Gatherer:
    """Belongs to the thread that reads the stream."""

    def __init__(
        self,
        position: int,
        *,
        target_of: Callable[[int, int], TableName | None],
        describe: Callable[[Relation, TableName], ChangeStatements],
    ) -> None:
        """Start at ``position``.

        Args:
            position: Where the stream was started.
            target_of: Where a change of a source table in the transaction ``final_lsn`` goes, or None when
                it is not ours to apply; once it names a target it does so for every later transaction.
            describe: How changes of a relation are written into a table of the target.
        """
        self._target_of = target_of
        self._describe = describe
        self._started_at = position
        self._handlers: dict[bytes, Handler] = {}
        self._relations: dict[int, Relation] = {}
        self._statements: dict[int, tuple[TableName, ChangeStatements]] = {}
        self._final_lsn: int | None = None
        self._steps: list[Step] = []
        self._tables: dict[TableName, TargetChanges] = {}
        self.position = position
        self.changes = 0
        """Changes gathered since the last batch was taken."""

        self.size_bytes = 0
        """Their messages' size."""

        self._transactions = 0
        self._announced: list[str] = []
        """Fences of the source transaction at hand; they are passed with its Commit."""

        self._fences: list[tuple[str, int, int]] = []
        """Text, position, and how many changes had been gathered, of those passed in this batch."""

        self._last_commit: bytes | None = None
        self._ignores = False
        self.stops_at_commit = False
        """Whoever calls :meth:`take` wants to know of the next boundary between source transactions."""

        self._stop_lsn: int | None = None
        self._marker_depth = 0
        """How many of TimescaleDB's markers are open: what they enclose moves rows between the forms of a
        chunk and changes none."""

        self._held_handlers: dict[bytes, Handler] = {}
        """While some are, what is to be done with changes afterwards."""

        self._held_begin: bytes | None = None
        """Begin of the first transaction behind the stop; taken when it is lifted."""

        self.wants_answer = False
        """The source asked for an answer; whoever gives it resets this."""

    @property
    def in_source_transaction(self) -> bool:
        """Whether the stream is between a Begin and its Commit."""
        return self._final_lsn is not None

    def stop_before(self, lsn: int | None) -> None:
        """Take no transaction whose commit record starts at ``lsn`` or later; None lifts that.

        :attr:`position` becomes ``lsn``, not more, once every earlier transaction was taken.
        """
        self._stop_lsn = lsn
        begin = self._held_begin
        if begin is not None and (lsn is None or final_lsn_of(begin) < lsn):
            self._held_begin = None
            self._final_lsn = final_lsn_of(begin)

    @property
    def has_fence(self) -> bool:
        """Whether a fence was passed since the last batch was taken."""
        return bool(self._fences)

    def take(self, message: bytes) -> bool:
        """Deal with one CopyData message of the stream.

        Returns:
            Whether to read no more for now: it ended a source transaction and :attr:`stops_at_commit` is set,
            or the position given to :meth:`stop_before` is reached.

        Raises:
            TableError: A table's changes cannot be written.
            ProtocolError: The stream is not what it should be.
        """
        handler = self._handlers.get(message[_KEY])
        if handler is not None:
            self.changes += 1
            self.size_bytes += len(message)
            handler(message)
            return False
        return self._take_other(message)

    def forget(self, source_oid: int) -> None:
        """Ask ``target_of`` again before the next change of a table."""
        oid = source_oid.to_bytes(4, "big")
        for kind in _KINDS:
            self._handlers.pop(kind + oid, None)

    def take_batch(self, commit: CommitPoint | None) -> Batch:
        """What was gathered; gathering starts afresh.

        Args:
            commit: How the target transaction ends, or None inside a source transaction.
        """
        self._close_step()
        fences = tuple(
            PassedFence(text, position, self.changes - before) for text, position, before in self._fences
        )
        batch = Batch(tuple(self._steps), commit, self._transactions, self._last_commit_at(), fences)
        self._steps = []
        self._fences = []
        self.changes = self.size_bytes = self._transactions = 0
        return batch

    def _close_step(self) -> None:
        if self._tables:
            for table in self._tables.values():
                for relation in table.relations:
                    relation.close()
            self._steps.append(WriteChanges(tuple(self._tables.values())))
            self._tables = {}
        self._handlers.clear()
        self._held_handlers.clear()
        self._ignores = False

    def _take_other(self, message: bytes) -> bool:
        kind = message[25:26]
        if kind in _KINDS:
            self._first_change(message)
        elif kind == b"B":
            final_lsn = final_lsn_of(message)
            if self._stop_lsn is not None and final_lsn >= self._stop_lsn:
                self._held_begin = message
                self.position = max(self.position, self._stop_lsn)
                return True
            self._final_lsn = final_lsn
        elif kind == b"C":
            if self._marker_depth:
                raise ProtocolError("a transaction ended inside TimescaleDB's compression markers")
            self._final_lsn = None
            self.position = max(self.position, end_lsn_of(message))
            self._last_commit = message
            self._transactions += 1
            if self._announced:
                self._fences += [(text, self.position, self.changes) for text in self._announced]
                self._announced = []
            if self._ignores:
                self._forget_ignored()
            return self.stops_at_commit
        else:
            return self._take_rare(message)
        return False

    def _take_rare(self, message: bytes) -> bool:
        decoded = decode_copy_data(message)
        if isinstance(decoded, Keepalive):
            self.wants_answer = self.wants_answer or decoded.reply_requested
            return not self.in_source_transaction and self._reach(decoded.wal_end)
        match decode_message(decoded.payload):
            case Relation() as relation:
                self._close_step()
                self._relations[relation.oid] = relation
                self._statements.pop(relation.oid, None)
            case Truncate() as truncate:
                self._truncate(truncate)
            case LogicalMessage(is_transactional=True, prefix=prefix, content=content):
                if prefix in _MARKERS:
                    self._mark(is_start=_MARKERS[prefix])
                elif prefix == FENCE_PREFIX:
                    self._announced.append(content.decode(errors="replace"))
            case _:
                pass  # The others change no row.
        return False

    def _mark(self, *, is_start: bool) -> None:
        if is_start:
            self._marker_depth += 1
            if self._marker_depth == 1:
                # Without handlers each change comes to `_first_change`.
                self._handlers, self._held_handlers = self._held_handlers, self._handlers
            return
        self._marker_depth -= 1
        if self._marker_depth < 0:
            raise ProtocolError("TimescaleDB's compression markers end more often than they start")
        if self._marker_depth == 0:
            self._handlers, self._held_handlers = self._held_handlers, self._handlers

    def _reach(self, wal_end: int) -> bool:
        """Between transactions the server has sent everything that was committed before ``wal_end``."""
        stop_lsn = self._stop_lsn
        if stop_lsn is not None and wal_end >= stop_lsn:
            self.position = max(self.position, stop_lsn)
            return True
        self.position = max(self.position, wal_end)
        return False

    def _forget_ignored(self) -> None:
        """What was not ours may be from the next transaction on."""
        ignored = self._ignore
        self._handlers = {key: handler for key, handler in self._handlers.items() if handler != ignored}
        self._ignores = False

    def _first_change(self, message: bytes) -> None:
        """The first change of a table in this batch: find out whose it is."""
        if self._marker_depth:
            return
        oid = message[26:30]
        source_oid = int.from_bytes(oid, "big")
        target = self._admitted(source_oid)
        if target is None:
            for kind in _KINDS:
                self._handlers[kind + oid] = self._ignore
            self._ignores = True
            return
        statements = self._statements_for(source_oid, target)
        table = self._tables.get(target)
        if table is None:
            table = self._tables[target] = TargetChanges(target)
        changes = RelationChanges(source_oid, statements, table.messages)
        table.relations.append(changes)
        self._handlers[b"I" + oid] = changes.insert
        self._handlers[b"U" + oid] = changes.update
        self._handlers[b"D" + oid] = changes.delete
        self.take(message)

    def _last_commit_at(self) -> datetime | None:
        return None if self._last_commit is None else committed_at_of(self._last_commit)

    def _ignore(self, message: bytes) -> None:
        """A change that is not ours to apply."""
        self.changes -= 1
        self.size_bytes -= len(message)

    def _admitted(self, source_oid: int) -> TableName | None:
        # A transaction that was dealt with before comes again only if the source was told less than was
        # durable; its changes must not be applied twice.
        if self._final_lsn is None or self._final_lsn < self._started_at:
            return None
        return self._target_of(source_oid, self._final_lsn)

    def _statements_for(self, source_oid: int, target: TableName) -> ChangeStatements:
        known = self._statements.get(source_oid)
        if known is not None and known[0] == target:
            return known[1]
        try:
            statements = self._describe(self._relations[source_oid], target)
        except TableError as error:
            raise TableStoppedError(source_oid, error.failure) from None
        self._statements[source_oid] = (target, statements)
        return statements

    def _truncate(self, truncate: Truncate) -> None:
        if self._marker_depth:
            return
        statements: dict[int, ChangeStatements] = {}
        for source_oid in truncate.relation_oids:
            target = self._admitted(source_oid)
            if target is not None:
                statements[source_oid] = self._statements_for(source_oid, target)
        if statements:
            self._close_step()
            self._steps.append(EmptyTables(statements, truncate.restart_identity))
            self.changes += len(statements)
