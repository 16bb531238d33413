"""TimescaleDB without a server."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import Failure
from engine.timescaledb.overview import TimescaleOverview

NO_TIMESCALEDB = TimescaleOverview("", "", ())


@dataclass
class FakeTimescale:
    """TimescaleServices for tests."""

    found: TimescaleOverview | Failure = NO_TIMESCALEDB

    def overview(self) -> TimescaleOverview | Failure:
        return self.found
