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
the rows themselves go, deletes before the rest; only a constraint can object, and then the changes are
replayed one by one in stream order (:mod:`engine.replication.apply`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from operator import itemgetter

from engine.replication.protocol import UNCHANGED
from engine.replication.tuple_data import Fields

Key = Hashable
"""The value of the only key column, or a tuple of several."""


class NotCoalescableError(Exception):
    """This change cannot be folded into the batch; it has to be applied by itself, after the batch."""


class NetChanges:
    """What a batch does to one table; rows are in stream order of columns.

    Every method raises :class:`NotCoalescableError`, without having folded anything, for a change that has
    to be written by itself.
    """

    __slots__ = (
        "_allows_updates",
        "_fills_rows",
        "_key_of",
        "appended",
        "deletes",
        "has_partial_updates",
        "inserts",
        "updates",
    )

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
        self._key_of: Callable[[Fields], Key] | None = (
            itemgetter(*key_positions) if key_positions and not is_full else None
        )
        self._allows_updates = allows_updates
        self._fills_rows = fills_rows
        self.appended: list[Fields] = []
        """Inserts of a table whose rows have no key of their own."""

        self.inserts: dict[Key, Fields] = {}
        self.updates: dict[Key, Fields] = {}
        self.has_partial_updates = False
        """Some row of ``updates`` lacks columns: they are UNCHANGED."""

        self.deletes: set[Key] = set()
        """To be written first: a key may be in ``inserts`` as well."""

    def __len__(self) -> int:
        """How many effects have to be written."""
        return len(self.appended) + len(self.inserts) + len(self.updates) + len(self.deletes)

    def insert(self, row: Fields) -> None:
        """A new row."""
        key_of = self._key_of
        if key_of is None:
            self.appended.append(row)
            return
        key = key_of(row)
        if key in self.inserts or key in self.updates:
            # The key is taken: a deferred constraint may allow that for a moment, one statement does not.
            raise NotCoalescableError
        self.inserts[key] = row

    def delete(self, old: Fields) -> None:
        """A row named by the key columns of ``old``."""
        self._delete(self._key(old))

    def update(self, row: Fields) -> None:
        """New values of a row that keeps its key."""
        key_of = self._key_of
        if key_of is None:
            raise NotCoalescableError
        is_partial = UNCHANGED in row
        key = self._key(row) if is_partial else key_of(row)
        known = self.inserts.get(key)
        if known is not None:
            self.inserts[key] = _merged(known, row) if is_partial else row
            return
        if not self._allows_updates or key in self.deletes:
            raise NotCoalescableError
        if is_partial:
            known = self.updates.get(key)
            if known is not None:
                row = _merged(known, row)
            self.has_partial_updates = True
        self.updates[key] = row

    def move(self, old: Fields, row: Fields) -> None:
        """New values of the row named by the key columns of ``old``, whose key changes."""
        old_key, new_key = self._key(old), self._key(row)
        if old_key == new_key:
            self.update(row)
            return
        inserted = self.inserts.get(old_key)
        updated = self.updates.get(old_key)
        if inserted is None and old_key in self.deletes:
            raise NotCoalescableError
        if new_key in self.inserts or new_key in self.updates:
            raise NotCoalescableError
        known = inserted or updated
        if known is not None:
            row = _merged(known, row)
        if UNCHANGED in row or (inserted is None and not self._fills_rows):
            # The rest of the row is only on the target.
            raise NotCoalescableError
        self._delete(old_key)
        self.inserts[new_key] = row

    def _key(self, row: Fields) -> Key:
        if self._key_of is None:
            raise NotCoalescableError
        key = self._key_of(row)
        if key is UNCHANGED or (type(key) is tuple and UNCHANGED in key):
            raise NotCoalescableError
        return key

    def _delete(self, key: Key) -> None:
        if self.inserts.pop(key, None) is not None:
            return
        if key in self.deletes:
            raise NotCoalescableError
        self.updates.pop(key, None)
        self.deletes.add(key)


def _merged(row: Fields, newer: Fields) -> Fields:
    """``newer`` with what did not arrive taken from ``row``."""
    return [old if new is UNCHANGED else new for old, new in zip(row, newer, strict=True)]
