"""The net effect of a batch of changes on one table, row by row; pure, nothing is written here.

Rows are told apart by the values of their replica identity. What a row went through within the batch is
folded into one of three effects, so each row is written once:

    insert  the row was not there before the batch
    update  it was; only the columns that arrived are new
    delete  it was, and is gone

A key that changes is a delete of the old key and an insert of the new one. Because effects of different
rows are independent (no trigger and no foreign key acts in replica role), they may be written in any order
as far as the rows themselves go; only a constraint can object, and then the batch is replayed change by
change in stream order (:mod:`engine.replication.apply`).
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

    def __init__(self, key_positions: Sequence[int], *, is_full: bool, allows_updates: bool) -> None:
        """Start empty.

        Args:
            key_positions: Columns of the replica identity; empty when the table has none.
            is_full: REPLICA IDENTITY FULL: equal rows may exist several times, so only inserts fold.
            allows_updates: Updates may be written as one statement for many rows.
        """
        self._positions = tuple(key_positions)
        self._keyed = bool(key_positions) and not is_full
        self._allows_updates = allows_updates
        self.appended: list[Row] = []
        """Inserts of a table whose rows have no key of their own."""

        self.inserts: dict[Key, Row] = {}
        self.updates: dict[Key, Row] = {}
        self.deletes: set[Key] = set()

    def __len__(self) -> int:
        """How many rows have to be written."""
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
        if key in self.deletes:
            # The row with this key is still there: it takes the new values instead.
            if not self._allows_updates:
                raise NotCoalescableError
            self.deletes.discard(key)
            self.updates[key] = row
        elif key in self.inserts or key in self.updates:
            # The key is taken: a deferred constraint may allow that for a moment, one statement does not.
            raise NotCoalescableError
        else:
            self.inserts[key] = row

    def _delete(self, key: Key) -> None:
        if key in self.deletes:
            raise NotCoalescableError
        if self.inserts.pop(key, None) is None:
            self.updates.pop(key, None)
            self.deletes.add(key)

    def _update(self, change: Update) -> None:
        old_key = self._key(change.new if change.old is None else change.old)
        new_key = self._key(change.new)
        if old_key in self.deletes:
            raise NotCoalescableError
        inserted = self.inserts.get(old_key)
        updated = self.updates.get(old_key)
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
        if UNCHANGED in row:
            # The rest of the row is only on the target.
            raise NotCoalescableError
        if new_key in self.deletes and not self._allows_updates:
            raise NotCoalescableError
        self._delete(old_key)
        self._insert(new_key, row)


def _merged(row: Row, newer: Row) -> Row:
    """``newer`` with what did not arrive taken from ``row``."""
    if UNCHANGED not in newer:
        return newer
    return tuple([old if new is UNCHANGED else new for old, new in zip(row, newer, strict=True)])
