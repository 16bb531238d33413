"""How updates name their rows: what is proposed, what was done, how it is undone. Values for screens.

Imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from engine.catalog.table import ReplicaIdentity, TableName, quote_identifier
from engine.errors import Failure, Retry, UsageError


@dataclass(frozen=True, slots=True)
class MissingRight:
    """A right that the session's role lacks, and what gives it."""

    what: str
    """What is refused and why, one sentence without a trailing full stop."""

    statement: str
    """SQL without semicolon, to be run by whoever may."""


@dataclass(frozen=True, slots=True)
class IdentitySetting:
    """What ALTER TABLE … REPLICA IDENTITY was set to."""

    identity: ReplicaIdentity
    index: str | None = None
    """Unquoted name, only with ``INDEX``; None there when the index was dropped, and then nothing names a
    row."""

    def __str__(self) -> str:
        if self.identity is not ReplicaIdentity.INDEX:
            return self.identity.name
        return "USING INDEX " + ("(dropped)" if self.index is None else quote_identifier(self.index))

    def to_json(self) -> dict[str, str | None]:
        """For storing; :meth:`from_json` reads it back."""
        return {"identity": self.identity.value, "index": self.index}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> IdentitySetting:
        """Read what :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        index = value["index"]
        return IdentitySetting(ReplicaIdentity(value["identity"]), None if index is None else str(index))


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """A replica identity that was changed, kept so that cleanup can put it back."""

    oid: int
    """Of the relation: it is found again after it was renamed."""

    relation: TableName
    """Its name when it was changed."""

    before: IdentitySetting
    after: IdentitySetting
    undo_sql: str
    """The statement that puts it back, without semicolon, for a person to run."""

    def to_json(self) -> dict[str, Any]:
        """For storing; :func:`records_from_json` reads a list of them back."""
        return {
            "oid": self.oid,
            "schema": self.relation.schema,
            "table": self.relation.table,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "undo_sql": self.undo_sql,
        }


def records_from_json(value: object) -> tuple[IdentityRecord, ...]:
    """Read a list of what :meth:`IdentityRecord.to_json` wrote.

    Raises:
        UsageError: It is something else.
    """
    try:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError("no list")
        return tuple(
            IdentityRecord(
                oid=int(item["oid"]),
                relation=TableName(str(item["schema"]), str(item["table"])),
                before=IdentitySetting.from_json(item["before"]),
                after=IdentitySetting.from_json(item["after"]),
                undo_sql=str(item["undo_sql"]),
            )
            for item in value
        )
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            Failure(
                "The record of changed replica identities is damaged",
                hint="Put them back by hand: alter table … replica identity …",
                retry=Retry.NEVER,
            )
        ) from None


def remember(
    known: Iterable[IdentityRecord], changed: Iterable[IdentityRecord]
) -> tuple[IdentityRecord, ...]:
    """Add records to those that are known: of a relation changed twice, what was there first is put back.

    Call it with a proposal's record before applying it, and store the result: a record of what was never
    applied does no harm, an applied change without record cannot be undone.
    """
    records = {record.oid: record for record in known}
    for record in changed:
        first = records.get(record.oid)
        if first is None:
            records[record.oid] = record
        else:
            records[record.oid] = replace(record, before=first.before, undo_sql=first.undo_sql)
    return tuple(records.values())


@dataclass(frozen=True, slots=True)
class IdentityProposal:
    """One relation that needs another replica identity."""

    table: TableName
    """The chosen table; ``relation`` is itself or one of its partitions."""

    relation: TableName
    now: IdentitySetting
    proposed: IdentitySetting
    sql: str
    """Complete, identifiers quoted, without a trailing semicolon."""

    missing: str
    """Why what it has now is not enough, one sentence without a trailing full stop."""

    why: str
    """What the statement is for and why this identity is proposed."""

    costs: tuple[str, ...]
    """What it costs, and what to look out for."""

    alternatives: tuple[str, ...]
    """What would make a cheaper one possible."""

    missing_right: MissingRight | None
    """Why PostgreSQL would refuse it to the session's role."""

    record: IdentityRecord
    """What undoes it; see :func:`remember`."""

    @property
    def about(self) -> str:
        """What is set for which reason; no two proposals of a plan have the same."""
        return f"{self.relation}: {self.missing}"

    @property
    def is_partition(self) -> bool:
        """Whether it is for a partition of the chosen table."""
        return self.relation != self.table


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """One chosen table."""

    table: TableName
    now: IdentitySetting
    proposals: tuple[IdentityProposal, ...]
    """For itself first, then for its partitions; empty when updates of all of them can be published."""

    problem: str = ""
    """Why no identity helps: unlogged, a foreign partition, generated columns without a key."""


@dataclass(frozen=True, slots=True)
class IdentityPlan:
    """All chosen tables, by name."""

    tables: tuple[TableIdentity, ...]

    @property
    def proposals(self) -> tuple[IdentityProposal, ...]:
        """What has to be done, in order."""
        return tuple(proposal for table in self.tables for proposal in table.proposals)


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who keeps a statement from getting its lock."""

    pid: int | None
    """None for a prepared transaction."""

    role: str
    application: str
    """``application_name``, or the kind of server process; the name of a prepared transaction."""

    state: str
    """``pg_stat_activity.state``; empty where our role may not see it."""

    transaction_seconds: float | None
    """How long its transaction has been open; None where our role may not see it."""

    def __str__(self) -> str:
        if self.pid is None:
            return f"the prepared transaction {self.application!r} of {self.role}"
        known = [self.role, self.application, self.state]
        if self.transaction_seconds is not None:
            known.append(f"for {self.transaction_seconds:.0f} s")
        described = ", ".join(part for part in known if part)
        return f"pid {self.pid} ({described})" if described else f"pid {self.pid}"


@dataclass(frozen=True, slots=True)
class IdentityUndo:
    """What putting one identity back would do."""

    relation: TableName
    """By its name now."""

    sql: str
    """Complete, identifiers quoted, without a trailing semicolon."""

    left: Failure | None = None
    """Why it stays as it is."""


class IdentityOutcome(Enum):
    """What became of one relation."""

    APPLIED = "applied"
    ALREADY_THERE = "already there"
    LEFT = "left as it is"
    """For a reason that ``failure`` says; nothing was tried."""

    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class IdentityResult:
    """One relation, after its identity was set or put back."""

    relation: TableName
    sql: str
    outcome: IdentityOutcome
    failure: Failure | None = None
    """Only with ``LEFT`` and ``REFUSED``."""

    blocked_by: tuple[LockHolder, ...] = ()
    """Who held a lock on it; empty when that was not the reason, or when it is gone by now."""

    seconds: float = 0.0
