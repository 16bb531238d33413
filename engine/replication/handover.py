"""How a table passes from its own sync to the apply stream, without a gap and without an overlap.

The actors are one table's sync worker and the apply worker; they meet on a queue.

    sync worker                                apply worker
    -----------                                ------------
    copies in the snapshot of slot S (X)       skips the table's changes
    applies S from X on, until near the tail   goes on
    offer(position Y0)  ---------------------> at a boundary between source transactions:
                                               gathers nothing beyond P
                        <--------------------- catch_up_to = P
    applies S until its position Y >= P
    commits state s with lsn Y
    finished = Y        ---------------------> from now on applies the table's changes of
    drops slot S                               transactions with final_lsn >= Y, skips earlier ones
                                               when its own position reaches Y: state r

Between ``catch_up_to`` and ``finished`` the apply worker stands still, so it cannot pass Y unseen. Near the
tail that takes milliseconds; the long part of catching up happens before the offer.

After a crash the target tells where each stands: in f the sync goes on from its lsn (its rows and that lsn
were committed together) through slot S, in s or r the apply stream has the table from lsn on. A sync that
dies between the two answers leaves f; an apply worker that dies meanwhile reads the states again only
after :meth:`HandoverQueue.wait_for_accepted` said that no answer is outstanding.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from engine.replication.state import TableRow

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Offer:
    """One table's offer to be taken over; the two futures are its only moving parts."""

    table: TableRow
    catch_up_to: Future[int] = field(default_factory=Future)
    """Set by the apply worker: where it stands still."""

    finished: Future[int] = field(default_factory=Future)
    """Set by the sync worker: the lsn recorded with state s; or an exception when it gave up."""


class HandoverQueue:
    """Where offers wait for the apply worker."""

    def __init__(self) -> None:
        self._offers: queue.SimpleQueue[Offer] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._accepted: Offer | None = None
        self.apply_position = 0
        """Where the apply worker is; a hint for sync workers that decide when to make an offer."""

        self.on_offer: Callable[[], None] = lambda: None
        """Wakes the apply worker: with thousands of tables its naps would be most of the time."""

    def offer(self, table: TableRow) -> Offer:
        """Called by a sync worker that is near the tail."""
        offer = Offer(table)
        self._offers.put(offer)
        self.on_offer()
        return offer

    def accept(self) -> Offer | None:
        """Called by the apply worker at a boundary: the next offer that nobody has withdrawn."""
        while True:
            try:
                offer = self._offers.get_nowait()
            except queue.Empty:
                return None
            if not offer.finished.done():
                with self._lock:
                    self._accepted = offer
                return offer

    @property
    def waiting(self) -> bool:
        """Whether an offer may be waiting."""
        return not self._offers.empty()

    def wait_for_accepted(
        self, should_stop: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None
    ) -> int | None:
        """Wait until the accepted offer is answered.

        Args:
            should_stop: Looked at while waiting.
            meanwhile: Called again and again while waiting.

        Returns:
            The lsn of state s; None when there was none, the sync gave up, or ``should_stop`` said so.
        """
        with self._lock:
            offer = self._accepted
        if offer is None:
            return None
        while True:
            try:
                lsn = offer.finished.result(timeout=_POLL_SECONDS)
            except FutureTimeoutError:
                if should_stop():
                    return None
                meanwhile()
                continue
            except Exception:  # The sync worker has reported it; here it only means: not taken over.
                lsn = None
            with self._lock:
                self._accepted = None
            return lsn
