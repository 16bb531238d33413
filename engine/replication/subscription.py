"""What one running engine is about, and what its threads share: all frozen or thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.catalog.table_map import TableMap
from engine.connection.endpoint import Endpoint
from engine.feed import Feed
from engine.replication.deferred_builds import DeferredBuilds
from engine.replication.handover import HandoverQueue
from engine.replication.monitor import Monitor

REPLICA_ROLE = {"session_replication_role": "replica"}
"""Ordinary triggers and foreign keys stay quiet: their effects arrive as changes of their own."""


@dataclass(frozen=True, slots=True)
class SubscriptionConfig:
    """What the user asked for."""

    subscription: str
    publications: tuple[str, ...]
    source: Endpoint
    target: Endpoint
    table_map: TableMap
    sync_workers: int = 4
    copy_data: bool = True
    restores_schema: bool = False
    """Whether the first start restores the source's schema on the target."""

    index_jobs: int = 2
    """How many indexes and constraints of a restored schema are built at a time."""

    maintenance_work_mem: str | None = None
    """Setting of the sessions that build them, in PostgreSQL's units; None for the server's."""

    def with_table_map(self, table_map: TableMap) -> SubscriptionConfig:
        """The same with another map."""
        return replace(self, table_map=table_map)


@dataclass(frozen=True, slots=True)
class Running:
    """One taking-over of a subscription, as its workers see it."""

    config: SubscriptionConfig
    epoch: int
    feed: Feed
    monitor: Monitor
    handover: HandoverQueue
    stop: threading.Event
    deferred: DeferredBuilds

    @property
    def subscription(self) -> str:
        """The subscription's name."""
        return self.config.subscription

    @property
    def stopping(self) -> Callable[[], bool]:
        """For waits that look whether they should end."""
        return self.stop.is_set
