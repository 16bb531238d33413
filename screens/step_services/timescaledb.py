"""What screens that show TimescaleDB need from outside."""

from __future__ import annotations

from typing import Protocol

from engine.errors import Failure
from engine.timescaledb.overview import TimescaleOverview


class TimescaleServices(Protocol):
    """Hypertables, continuous aggregates and policies of the source."""

    def overview(self) -> TimescaleOverview | Failure:
        """What there is, and what becomes of it on the target (blocking)."""
