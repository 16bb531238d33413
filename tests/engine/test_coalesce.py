"""Folding a history of changes into net effects loses nothing; checked against a plain dict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.replication.coalesce import NetChanges, NotCoalescableError
from engine.replication.protocol import UNCHANGED, Delete, Insert, Row, Update, Value
from engine.replication.tuple_data import NULL

Key = tuple[Value, Value]
Table = dict[Key, Row]

KEY_POSITIONS = (0, 2)
"""The key is not the first columns, so that mixing up positions shows."""

OID = 16384


@dataclass(frozen=True)
class Step:
    """What a history would like to do; :func:`change_for` makes a possible change of it, if there is one."""

    kind: str
    key: Key
    new_key: Key
    values: tuple[Value, Value]
    """For the columns outside the key; UNCHANGED counts in updates only."""


keys = st.tuples(st.sampled_from([b"1", b"2", b"3"]), st.sampled_from([b"x", b"y"]))
values = st.sampled_from([b"a", b"b", b"", NULL])
maybe_unchanged = st.one_of(values, st.just(UNCHANGED))
steps = st.builds(
    Step,
    kind=st.sampled_from(["insert", "update", "move", "delete"]),
    key=keys,
    new_key=keys,
    values=st.tuples(maybe_unchanged, maybe_unchanged),
)
tables = st.dictionaries(keys, st.tuples(values, values), max_size=6).map(
    lambda found: {key: row_of(key, value) for key, value in found.items()}
)


def row_of(key: Key, values: tuple[Value, Value]) -> Row:
    return (key[0], values[0], key[1], values[1])


def key_of(row: Row) -> Key:
    return (row[0], row[2])


def old_key_row(key: Key) -> Row:
    """As the source sends it: the key's columns, the others null."""
    return row_of(key, (NULL, NULL))


def change_for(step: Step, table: Table) -> Insert | Update | Delete | None:
    """The change that a source whose table holds ``table`` would send."""
    exists = step.key in table
    if step.kind == "insert":
        complete = tuple(NULL if value is UNCHANGED else value for value in step.values)
        return None if exists else Insert(OID, row_of(step.key, (complete[0], complete[1])))
    if not exists:
        return None
    if step.kind == "delete":
        return Delete(OID, old_key_row(step.key))
    if step.kind == "update":
        return Update(OID, None, row_of(step.key, step.values))
    if step.new_key in table:
        return None
    return Update(OID, old_key_row(step.key), row_of(step.new_key, step.values))


def apply_change(table: Table, change: Insert | Update | Delete) -> None:
    """One change, as the source did it."""
    if isinstance(change, Insert):
        assert key_of(change.new) not in table
        table[key_of(change.new)] = change.new
    elif isinstance(change, Delete):
        del table[key_of(change.old)]
    else:
        before = table.pop(key_of(change.new if change.old is None else change.old))
        table[key_of(change.new)] = merged(before, change.new)


def merged(before: Row, newer: Row) -> Row:
    return tuple(old if new is UNCHANGED else new for old, new in zip(before, newer, strict=True))


def fold(net: NetChanges, change: Insert | Update | Delete) -> None:
    match change:
        case Insert():
            net.insert(list(change.new))
        case Delete():
            net.delete(list(change.old))
        case Update(old=None):
            net.update(list(change.new))
        case Update():
            net.move(list(change.old), list(change.new))


def apply_net(table: Table, net: NetChanges) -> None:
    """All net effects, as the writer does it: deletes, updates that keep the key, inserts."""
    for key in net.deletes:
        del table[(key[0], key[1])]
    for key, row in net.updates.items():
        assert key_of(row) == key
        table[key_of(row)] = merged(table[key_of(row)], tuple(row))
    for key, row in net.inserts.items():
        assert key_of(row) == key
        assert UNCHANGED not in row
        assert key_of(row) not in table
        table[key_of(row)] = tuple(row)
    assert net.appended == []


def new_net(*, is_full: bool = False, allows_updates: bool = True, fills_rows: bool = True) -> NetChanges:
    return NetChanges(KEY_POSITIONS, is_full=is_full, allows_updates=allows_updates, fills_rows=fills_rows)


@settings(max_examples=600, deadline=None)
@given(before=tables, history=st.lists(steps, max_size=40), allows_updates=st.booleans())
def test_net_changes_leave_the_table_as_the_changes_one_by_one_do(
    before: Table, history: list[Step], allows_updates: bool
) -> None:
    source, target = dict(before), dict(before)
    net = new_net(allows_updates=allows_updates)
    for step in history:
        change = change_for(step, source)
        if change is None:
            continue
        apply_change(source, change)
        try:
            fold(net, change)
        except NotCoalescableError:
            apply_net(target, net)
            apply_change(target, change)
            net = new_net(allows_updates=allows_updates)
    apply_net(target, net)
    assert target == source


Own = dict[Key, str]
"""Of each row on the target, what is in a column that the source does not publish."""


def apply_change_to_own(own: Own, change: Insert | Update | Delete) -> None:
    """A new row has the column's default; an updated one keeps it, whatever its key becomes."""
    if isinstance(change, Insert):
        own[key_of(change.new)] = "default"
    elif isinstance(change, Delete):
        del own[key_of(change.old)]
    else:
        own[key_of(change.new)] = own.pop(key_of(change.new if change.old is None else change.old))


def apply_net_to_own(own: Own, net: NetChanges) -> None:
    for key in net.deletes:
        del own[(key[0], key[1])]
    for row in net.inserts.values():
        own[key_of(row)] = "default"


@settings(max_examples=600, deadline=None)
@given(before=tables, history=st.lists(steps, max_size=40), allows_updates=st.booleans())
def test_what_the_source_does_not_publish_lives_and_dies_with_its_row(
    before: Table, history: list[Step], allows_updates: bool
) -> None:
    source = dict(before)
    one_by_one: Own = {key: f"of {key}" for key in before}
    target = dict(one_by_one)
    net = new_net(allows_updates=allows_updates, fills_rows=False)
    for step in history:
        change = change_for(step, source)
        if change is None:
            continue
        apply_change(source, change)
        apply_change_to_own(one_by_one, change)
        try:
            fold(net, change)
        except NotCoalescableError:
            apply_net_to_own(target, net)
            apply_change_to_own(target, change)
            net = new_net(allows_updates=allows_updates, fills_rows=False)
    apply_net_to_own(target, net)
    assert target == one_by_one


@settings(max_examples=300, deadline=None)
@given(before=tables, history=st.lists(steps, max_size=40))
def test_a_refused_change_leaves_the_net_changes_as_they_were(before: Table, history: list[Step]) -> None:
    source = dict(before)
    net = new_net(allows_updates=False)
    for step in history:
        change = change_for(step, source)
        if change is None:
            continue
        apply_change(source, change)
        earlier = (dict(net.inserts), dict(net.updates), set(net.deletes))
        try:
            fold(net, change)
        except NotCoalescableError:
            assert (net.inserts, net.updates, net.deletes) == earlier
            net = new_net(allows_updates=False)


@settings(max_examples=300, deadline=None)
@given(before=tables, history=st.lists(steps, max_size=40))
def test_each_row_is_written_at_most_once(before: Table, history: list[Step]) -> None:
    source = dict(before)
    net = new_net()
    for step in history:
        change = change_for(step, source)
        if change is None:
            continue
        apply_change(source, change)
        try:
            fold(net, change)
        except NotCoalescableError:
            net = new_net()
        written = Counter([*net.inserts, *net.updates])
        assert all(times == 1 for times in written.values())
        assert not net.deletes & net.updates.keys(), "a row that goes is not changed first"
        assert len(net) == sum(written.values()) + len(net.deletes)


@settings(max_examples=200, deadline=None)
@given(before=tables, history=st.lists(steps, max_size=40))
def test_complete_rows_always_fold(before: Table, history: list[Step]) -> None:
    source, target = dict(before), dict(before)
    net = new_net()
    for step in history:
        if UNCHANGED in step.values:
            continue
        change = change_for(step, source)
        if change is not None:
            apply_change(source, change)
            fold(net, change)
    apply_net(target, net)
    assert target == source


@given(rows=st.lists(st.tuples(values, values, values, values), max_size=20), is_full=st.booleans())
def test_inserts_without_a_key_are_all_kept_in_order(rows: list[Row], is_full: bool) -> None:
    net = NetChanges(KEY_POSITIONS if is_full else (), is_full=is_full, allows_updates=True, fills_rows=True)
    for row in rows:
        fold(net, Insert(OID, row))
    assert net.appended == [list(row) for row in rows]
    assert len(net) == len(rows)


ROW: Row = (b"1", b"a", b"x", b"b")


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("change", [Update(OID, ROW, ROW), Delete(OID, ROW)])
def test_a_row_without_a_key_of_its_own_is_never_updated_or_deleted_in_bulk(
    change: Update | Delete, is_full: bool
) -> None:
    net = NetChanges(KEY_POSITIONS if is_full else (), is_full=is_full, allows_updates=True, fills_rows=True)
    fold(net, Insert(OID, ROW))
    with pytest.raises(NotCoalescableError):
        fold(net, change)
    assert net.appended == [list(ROW)]


def test_a_key_left_in_toast_does_not_fold() -> None:
    with pytest.raises(NotCoalescableError):
        fold(new_net(), Update(OID, None, (UNCHANGED, b"a", b"x", b"b")))


def test_a_moved_row_whose_rest_was_not_sent_does_not_fold() -> None:
    with pytest.raises(NotCoalescableError):
        fold(new_net(), Update(OID, old_key_row((b"1", b"x")), (b"2", UNCHANGED, b"x", b"b")))


def test_a_moved_row_that_was_inserted_within_the_batch_keeps_what_was_not_sent_again() -> None:
    net = new_net()
    fold(net, Insert(OID, ROW))
    fold(net, Update(OID, old_key_row((b"1", b"x")), (b"2", UNCHANGED, b"x", b"c")))
    assert net.inserts == {(b"2", b"x"): [b"2", b"a", b"x", b"c"]}
    assert not net.updates
    assert not net.deletes


IMPOSSIBLE: dict[str, tuple[list[Insert | Update | Delete], Insert | Update | Delete]] = {
    "insert of a key inserted before": ([Insert(OID, ROW)], Insert(OID, ROW)),
    "insert of a key updated before": ([Update(OID, None, ROW)], Insert(OID, ROW)),
    "delete of a key deleted before": ([Delete(OID, ROW)], Delete(OID, ROW)),
    "update of a key deleted before": ([Delete(OID, ROW)], Update(OID, None, ROW)),
    "move onto a key inserted before": (
        [Insert(OID, ROW)],
        Update(OID, old_key_row((b"2", b"x")), ROW),
    ),
    "move onto a key updated before": (
        [Update(OID, None, ROW)],
        Update(OID, old_key_row((b"2", b"x")), ROW),
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_history_that_a_key_forbids_is_left_to_the_target_to_judge(name: str) -> None:
    earlier, impossible = IMPOSSIBLE[name]
    net = new_net()
    for change in earlier:
        fold(net, change)
    before = (dict(net.inserts), dict(net.updates), set(net.deletes))
    with pytest.raises(NotCoalescableError):
        fold(net, impossible)
    assert (net.inserts, net.updates, net.deletes) == before
