"""One migration as the wizard remembers it between runs: what was chosen and how far it came.

Holds no password and nothing that replication depends on; the truth about that is in the target
database. Imports only the standard library and the engine's plain values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from engine.catalog.hypertable_choice import HypertableChoice
from engine.catalog.planned_identity import IdentityRecord
from engine.catalog.publication_record import PublicationRecord
from engine.catalog.table import TableName
from engine.cutover.outcome import ReadOnlyRecord
from engine.roles.planned import CreatedRole

DEFAULT_SYNC_WORKERS = 4
LONGEST_SUBSCRIPTION_NAME = 35
"""``live_sync_<subscription>_<oid>_sync`` has to fit into the 63 bytes of a slot's name."""

_SUBSCRIPTION_NAME = re.compile(rf"[a-z0-9_]{{1,{LONGEST_SUBSCRIPTION_NAME}}}\Z")


class Step(Enum):
    """The steps of the wizard, in order."""

    START = "start"
    CONNECT = "connect"
    CHECKS = "checks"
    USER = "user"
    TABLES = "tables"
    ROLES = "roles"
    SCHEMA = "schema"
    IDENTITY = "identity"
    PUBLICATION = "publication"
    RIGHTS = "rights"
    REVIEW = "review"
    LIVE = "live"
    POSTSYNC = "post-sync"
    CUTOVER = "cutover"
    DONE = "done"

    @property
    def number(self) -> int:
        """Its place in the rail, from 1."""
        return list(Step).index(self) + 1

    @property
    def title(self) -> str:
        """The word on the rail."""
        return self.value.capitalize()

    @property
    def following(self) -> Step | None:
        """The step after this one."""
        steps = list(Step)
        return steps[self.number] if self.number < len(steps) else None

    @property
    def previous(self) -> Step | None:
        """The step before this one."""
        return list(Step)[self.number - 2] if self.number > 1 else None


CHOOSING_STEPS = (
    Step.CONNECT,
    Step.CHECKS,
    Step.USER,
    Step.TABLES,
    Step.SCHEMA,
    Step.IDENTITY,
    Step.PUBLICATION,
    Step.REVIEW,
)
"""Steps whose answers are fixed once the subscription has started."""


@dataclass(frozen=True, slots=True)
class RehearsalRecord:
    """How long the parts of a cutover took while the writers went on."""

    at: datetime
    fence_seconds: float
    sequences_seconds: float
    compare_seconds: float

    @property
    def low_seconds(self) -> float:
        """The outage when all goes as it did: two fences, the sequences, the comparison."""
        return 2 * self.fence_seconds + self.sequences_seconds + self.compare_seconds

    @property
    def high_seconds(self) -> float:
        """With half as much again, and a moment to type the name."""
        return 1.5 * self.low_seconds + 3.0


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """One table as it was compared before the line."""

    name: str
    """Schema-qualified, for display."""

    rows: int
    found: str
    """What differs, in words; empty when nothing does."""


@dataclass(frozen=True, slots=True)
class CutoverRecord:
    """What was done on the way over the line, for the report and for a resume."""

    writers_stopped_at: datetime | None = None
    attested: str = ""
    """What the person confirmed about the writers, in words."""

    fence_lsn: str = ""
    """Source position up to which everything was applied before the switch."""

    fence_seconds: float | None = None
    """From writing the fence to its commit on the target."""

    sequences_set: int | None = None
    sequences_seconds: float | None = None
    tables_compared: int | None = None
    rows_compared: int | None = None
    differences: int | None = None
    compare_seconds: float | None = None
    tables: tuple[ComparedTable, ...] = ()
    warnings: tuple[str, ...] = ()
    """What was known not to be done, and accepted by typing the name."""

    done_at: datetime | None = None
    """When the line was crossed; None before."""

    @property
    def outage_seconds(self) -> float | None:
        """From the writers' stop to the line."""
        if self.writers_stopped_at is None or self.done_at is None:
            return None
        return (self.done_at - self.writers_stopped_at).total_seconds()


@dataclass(frozen=True, slots=True)
class SavedMigration:
    """One migration's answers and progress."""

    id: str
    """Name of its folder."""

    name: str
    source_conninfo: str
    """libpq keywords without the password; empty before Connect."""

    target_conninfo: str
    source_name: str
    """``database on host``, for lists and the header."""

    target_name: str
    target_database: str
    step: Step
    furthest_step: Step
    subscription: str
    publication: str
    tables: tuple[TableName, ...]
    sync_workers: int
    created_at: datetime
    updated_at: datetime
    source_provider: str = ""
    """Whose server the source is by what a person said; empty: as the checks find out."""

    target_provider: str = ""
    started_at: datetime | None = None
    """When the engine was first started; from then on the subscription exists."""

    copy_finished_at: datetime | None = None
    """When every table was first seen synchronized."""

    builds_schema: bool = False
    """Whether keys and indexes of the restored schema wait on the target under the subscription's name."""

    migration_user: str = ""
    """The migration's own role, when the source is used as that; empty: it is used as the first one."""

    created_user: CreatedRole | None = None
    """The migration's own role, when it was made here."""

    first_source_conninfo: str = ""
    """The connection before the migration's role took over, whose role takes that one away again."""

    left_out_roles: tuple[str, ...] = ()
    """Roles of the source that are not carried over."""

    created_roles: tuple[CreatedRole, ...] = ()
    """Roles that were made on the target."""

    left_out_statements: tuple[tuple[str, str], ...] = ()
    """File name and comment of statements that a person took out of a generated script."""

    table_map: str = ""
    """Which target table each source table goes to, as a table map file has it; empty: of the same name."""

    hypertables: tuple[HypertableChoice, ...] = ()
    """Tables that become hypertables on the target."""

    identities: tuple[IdentityRecord, ...] = ()
    """Replica identities that were changed on the source, with what was set before."""

    publications: tuple[PublicationRecord, ...] = ()
    """Publications that were made or changed on the source, with what was there before."""

    publishes_whole_schemas: bool = False
    """Whether a schema of which every table is chosen is published as such, with what is made in it later."""

    publishes_updates: bool = True
    """Whether updates and deletes are published; otherwise inserts and truncates only."""

    read_only: tuple[ReadOnlyRecord, ...] = ()
    """Settings made on the source so that it is not written to; written down before they are made."""

    rehearsals: tuple[RehearsalRecord, ...] = ()
    steps_reached: tuple[tuple[Step, datetime], ...] = ()
    """When each step was first shown, in order."""

    not_migrated: tuple[str, ...] | None = None
    """What of the source was left out, in words; None while nobody looked."""

    cutover: CutoverRecord = CutoverRecord()
    dropped_at: datetime | None = None
    """When the slot and our state were removed from the servers."""


def subscription_name_problem(name: str) -> str | None:
    """Why ``name`` cannot be a subscription's name, or None.

    >>> subscription_name_problem("shop_2026") is None
    True
    """
    if _SUBSCRIPTION_NAME.match(name):
        return None
    return f"Use 1 to {LONGEST_SUBSCRIPTION_NAME} of a-z, 0-9 and _ (it becomes part of slot names)"


def subscription_name_for(database: str) -> str:
    """A valid subscription name that reminds of ``database``.

    >>> subscription_name_for("Shop-EU")
    'shop_eu'
    """
    cleaned = re.sub(r"[^a-z0-9_]+", "_", database.lower()).strip("_")
    return cleaned[:LONGEST_SUBSCRIPTION_NAME] or "livesync"


def step_closed(migration: SavedMigration, step: Step) -> str | None:
    """Why a step cannot be opened now, or None."""
    if migration.cutover.done_at is not None and step is not Step.DONE:
        return "the cutover is done; there is no way back"
    if migration.started_at is not None and step in (Step.START, *CHOOSING_STEPS):
        return "replication has started, so its answers are fixed; q leaves, to work on another migration"
    return None
