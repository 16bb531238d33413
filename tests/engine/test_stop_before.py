"""Where a stream that is to stop at a position stops: to the byte."""

from __future__ import annotations

import struct

import pytest

from engine.replication.gather import Gatherer


def never(*_: object) -> None:
    raise AssertionError


def begin(final_lsn: int) -> bytes:
    return b"w" + bytes(24) + b"B" + struct.pack(">QqI", final_lsn, 0, 1)


def commit(final_lsn: int, end_lsn: int) -> bytes:
    return b"w" + bytes(24) + b"C" + struct.pack(">BQQq", 0, final_lsn, end_lsn, 0)


def keepalive(wal_end: int) -> bytes:
    return b"k" + struct.pack(">Qq?", wal_end, 0, False)


@pytest.fixture
def gatherer() -> Gatherer:
    gatherer = Gatherer(100, target_of=never, describe=never)  # type: ignore[arg-type]
    gatherer.stop_before(1000)
    return gatherer


@pytest.mark.parametrize("final_lsn", [1000, 1001, 5000])
def test_a_transaction_that_commits_at_the_stop_or_later_waits(gatherer: Gatherer, final_lsn: int) -> None:
    assert not gatherer.take(begin(999))
    assert not gatherer.take(commit(999, 1000))
    assert gatherer.take(begin(final_lsn))
    assert (gatherer.position, gatherer.in_source_transaction) == (1000, False)
    assert gatherer.take_batch(None).transactions == 1
    gatherer.stop_before(None)
    assert gatherer.in_source_transaction
    assert not gatherer.take(commit(final_lsn, final_lsn + 50))
    assert gatherer.position == final_lsn + 50


@pytest.mark.parametrize("wal_end", [1000, 1001, 5000])
def test_what_the_source_has_sent_beyond_the_stop_does_not_count(gatherer: Gatherer, wal_end: int) -> None:
    assert not gatherer.take(keepalive(999))
    assert gatherer.position == 999
    assert gatherer.take(keepalive(wal_end))
    assert gatherer.position == 1000
    gatherer.stop_before(None)
    assert not gatherer.take(keepalive(wal_end))
    assert gatherer.position == wal_end


def test_inside_a_transaction_before_the_stop_nothing_stops(gatherer: Gatherer) -> None:
    assert not gatherer.take(begin(999))
    assert not gatherer.take(keepalive(5000))
    assert (gatherer.position, gatherer.in_source_transaction) == (100, True)


def test_a_later_stop_lets_what_waited_go_on_only_when_it_commits_before(gatherer: Gatherer) -> None:
    assert gatherer.take(begin(2000))
    gatherer.stop_before(1500)
    assert not gatherer.in_source_transaction
    gatherer.stop_before(2001)
    assert gatherer.in_source_transaction
