"""The process in which the engine runs, as screens see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RunningHost:
    """A process that replicates without this wizard."""

    pid: int
    subscription: str
    migration_id: str
    started_at: datetime


class HostServices(Protocol):
    """Where the engine runs."""

    def running(self) -> tuple[RunningHost, ...]:
        """Processes of this user that replicate on this machine; asks each of them."""

    @property
    def survives(self) -> bool:
        """Whether the engine goes on when the wizard ends."""

    @property
    def read_only_because(self) -> str:
        """Who gives the engine its orders instead of this wizard; empty when this one does."""

    def let_run(self) -> None:
        """Look at the engine no more; it goes on."""
