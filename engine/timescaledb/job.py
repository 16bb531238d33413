"""Policies and jobs as values. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from engine.catalog.table import TableName
from engine.timescaledb.hypertable import RoutineName


class JobKind(Enum):
    """What a job does; the value is the name of its procedure."""

    COLUMNSTORE = "policy_compression"
    REFRESH = "policy_refresh_continuous_aggregate"
    RETENTION = "policy_retention"
    REORDER = "policy_reorder"
    COMPACTION = "policy_compaction"
    USER = "user"
    """A procedure of the user's own."""

    OTHER = "other"
    """A policy of TimescaleDB that is not known here, or is no more."""


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of TimescaleDB's scheduler."""

    kind: JobKind
    procedure: RoutineName
    relation: TableName | None
    """The hypertable or continuous aggregate it is about."""

    is_aggregate: bool
    schedule_interval: str
    """Like all intervals here, as PostgreSQL writes them with IntervalStyle postgres."""

    max_runtime: str
    max_retries: int
    """-1 without end."""

    retry_period: str
    is_scheduled: bool
    """False while it is paused."""

    is_fixed: bool
    """Whether it runs at fixed moments, or that long after it last ended."""

    initial_start: str | None
    """In UTC; of a job with fixed moments, the first of them."""

    timezone: str | None
    config: Mapping[str, object]
    """Without the number of the hypertable, which is another one on each server."""

    check: RoutineName | None
    """What looks at a changed ``config`` of a user's job."""

    title: str | None
    """What somebody called it."""

    owner: str
    number: int = field(default=0, compare=False)

    def __str__(self) -> str:
        if self.relation is None:
            return str(self.procedure)
        return f"{self.procedure.name} of {self.relation}"
