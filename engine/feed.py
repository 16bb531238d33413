"""The one place where the engine's threads hand values to a view.

Publishing never waits for a reader: a reader that stalls (an SSH link that stopped draining, a
suspended process) costs the engine nothing and only misses intermediate snapshots. Events are kept up
to a backlog; past that the oldest are dropped, because the log has them all.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from engine.snapshot import Event, Severity, Snapshot

EVENT_BACKLOG = 2000
"""Events kept for a view that attaches late: a night's worth of state changes of some hundred tables."""

_LOG_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}


class Feed:
    """Latest snapshot plus a bounded list of events; safe from any thread."""

    def __init__(self, on_event: Callable[[Event], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._events: deque[Event] = deque(maxlen=EVENT_BACKLOG)
        self._next_number = 1
        self._on_event = on_event
        self._logger = logging.getLogger("livesync.engine")

    def publish(self, snapshot: Snapshot) -> None:
        """Replace the latest snapshot."""
        with self._lock:
            self._snapshot = snapshot

    def emit(self, severity: Severity, text: str) -> None:
        """Append an event, log it, and hand it to the observer given at construction, if any."""
        with self._lock:
            event = Event(self._next_number, datetime.now(UTC), severity, text)
            self._next_number += 1
            self._events.append(event)
        self._logger.log(_LOG_LEVELS[severity], "%s", text)
        if self._on_event is not None:
            self._on_event(event)

    def snapshot(self) -> Snapshot | None:
        """The latest snapshot, or None before the first."""
        with self._lock:
            return self._snapshot

    def events(self, since: int) -> tuple[Event, ...]:
        """Events numbered above ``since``, oldest first."""
        with self._lock:
            return tuple(event for event in self._events if event.number > since)
