"""All that TimescaleDB knows of one database, as one value. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

from engine.timescaledb.aggregate import ContinuousAggregate
from engine.timescaledb.hypertable import Hypertable
from engine.timescaledb.installation import Installation
from engine.timescaledb.job import Job


@dataclass(frozen=True, slots=True)
class TimescaleCatalog:
    """Hypertables, continuous aggregates and jobs of a database with the extension."""

    installation: Installation
    hypertables: tuple[Hypertable, ...]
    """By name; without those that hold continuous aggregates or compressed rows."""

    aggregates: tuple[ContinuousAggregate, ...]
    """Each after what it reads."""

    jobs: tuple[Job, ...]
    """As they were made; without TimescaleDB's own housekeeping."""

    def with_scheduled(self, numbers: Set[int]) -> TimescaleCatalog:
        """The same with jobs that are paused only for the migration's time as they were before.

        Args:
            numbers: Of those jobs.
        """
        jobs = tuple(replace(job, is_scheduled=True) if job.number in numbers else job for job in self.jobs)
        return replace(self, jobs=jobs)
