"""The net effect of a batch of changes on one table, row by row; pure, nothing is written here.

Rows are told apart by the values of their replica identity. What a row went through within the batch is
folded into one of four effects:

    insert             the row was not there before the batch
    update             it was; only the columns that arrived are new
    delete             it was, and is gone
    delete and insert  it was, and another row has its key now

The last is never folded further into an update: a column that the source does not publish has its default
in the new row, not what the old one had. For the same reason a key that changes is a delete of the old key
and an insert of the new one only if every column of the row is known. Because effects of different rows are
independent (no trigger and no foreign key acts in replica role), they may be written in any order as far as
the rows themselves go, deletes before the rest; only a constraint can object, and then the batch is replayed
change by change in stream order (:mod:`engine.replication.apply`).
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.replication.protocol import UNCHANGED, Delete, Insert, Row, Update, Value

Key = tuple[Value, ...]


class NotCoalescableError(Exception):
    """This change cannot be folded into the batch; it has to be applied by itself, after the batch."""


class NetChanges:
    """What a batch does to one table.

    ``inserts`` and ``updates`` hold whole rows in stream order of columns; in ``updates`` a column that did
    not arrive is :data:`~engine.replication.protocol.UNCHANGED`.
    """

    def __init__(
        self, key_positions: Sequence[int], *, is_full: bool, allows_updates: bool, fills_rows: bool
    ) -> None:
        """Start empty.

        Args:
            key_positions: Columns of the replica identity; empty when the table has none.
            is_full: REPLICA IDENTITY FULL: equal rows may exist several times, so only inserts fold.
            allows_updates: Updates may be written as one statement for many rows.
            fills_rows: What arrives makes a whole row of the target: it has no column of its own.
        """
        self._positions = tuple(key_positions)
        self._keyed = bool(key_positions) and not is_full
        self._allows_updates = allows_updates
        self._fills_rows = fills_rows
        self.appended: list[Row] = []
        """Inserts of a table whose rows have no key of their own."""

        self.inserts: dict[Key, Row] = {}
        self.updates: dict[Key, Row] = {}
        self.deletes: set[Key] = set()
        """To be written first: a key may be in ``inserts`` as well."""

    def __len__(self) -> int:
        """How many effects have to be written."""
        return len(self.appended) + len(self.inserts) + len(self.updates) + len(self.deletes)

    def add(self, change: Insert | Update | Delete) -> None:
        """Fold one change in.

        Raises:
            NotCoalescableError: It cannot be; nothing was folded.
        """
        if not self._keyed:
            if not isinstance(change, Insert):
                raise NotCoalescableError
            self.appended.append(change.new)
            return
        match change:
            case Insert():
                self._insert(self._key(change.new), change.new)
            case Delete():
                self._delete(self._key(change.old))
            case Update():
                self._update(change)

    def _key(self, row: Row) -> Key:
        key = tuple([row[position] for position in self._positions])
        if UNCHANGED in key:
            raise NotCoalescableError
        return key

    def _insert(self, key: Key, row: Row) -> None:
        if key in self.inserts or key in self.updates:
            # The key is taken: a deferred constraint may allow that for a moment, one statement does not.
            raise NotCoalescableError
        self.inserts[key] = row

    def _delete(self, key: Key) -> None:
        if self.inserts.pop(key, None) is not None:
            return
        if key in self.deletes:
            raise NotCoalescableError
        self.updates.pop(key, None)
        self.deletes.add(key)

    def _update(self, change: Update) -> None:
        old_key = self._key(change.new if change.old is None else change.old)
        new_key = self._key(change.new)
        inserted = self.inserts.get(old_key)
        updated = self.updates.get(old_key)
        if inserted is None and old_key in self.deletes:
            raise NotCoalescableError
        if old_key == new_key:
            if inserted is not None:
                self.inserts[old_key] = _merged(inserted, change.new)
            elif not self._allows_updates:
                raise NotCoalescableError
            else:
                self.updates[old_key] = change.new if updated is None else _merged(updated, change.new)
            return
        if new_key in self.inserts or new_key in self.updates:
            raise NotCoalescableError
        known = inserted or updated
        row = change.new if known is None else _merged(known, change.new)
        if UNCHANGED in row or (inserted is None and not self._fills_rows):
            # The rest of the row is only on the target.
            raise NotCoalescableError
        self._delete(old_key)
        self._insert(new_key, row)


def _merged(row: Row, newer: Row) -> Row:
    """``newer`` with what did not arrive taken from ``row``."""
    if UNCHANGED not in newer:
        return newer
    return tuple([old if new is UNCHANGED else new for old, new in zip(row, newer, strict=True)])
