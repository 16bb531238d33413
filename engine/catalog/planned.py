"""What has to be done on the source, as values that screens may hold. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass

from engine.catalog.planned_identity import MissingRight
from engine.catalog.table import TableName


@dataclass(frozen=True, slots=True)
class PlannedStatement:
    """One statement and why it is needed."""

    sql: str
    """Complete, identifiers quoted, without a trailing semicolon."""

    why: str
    locks: tuple[TableName, ...] = ()
    """Tables that it has to lock."""


@dataclass(frozen=True, slots=True)
class PublicationPlan:
    """Statements that make the publication what was chosen, in the order they have to run."""

    publication: str
    """Unquoted name."""

    statements: tuple[PlannedStatement, ...]
    """Empty when the publication is as it should be."""

    notes: tuple[str, ...] = ()
    """What a person should know: column lists and row filters that stay, what comes with whole schemas."""

    missing_rights: tuple[MissingRight, ...] = ()
    """Why PostgreSQL would refuse statements of this plan to the session's role."""

    is_new: bool = True
    """Whether there is no publication of that name yet."""


@dataclass(frozen=True, slots=True)
class PublicationReview:
    """A plan, and what else there is to know before it is applied."""

    plan: PublicationPlan
    schemas: tuple[str, ...]
    """Schemas that are planned whole."""

    whole_schemas_asked: bool
    inserts_only: bool
    other_slots: tuple[str, ...]
    """Replication slots of the database that are not ours; they may read any publication."""


@dataclass(frozen=True, slots=True)
class PublishedMember:
    """A table that a publication names, and what it leaves out of it."""

    name: TableName
    columns: tuple[str, ...] | None
    """The column list in table order, None for all columns."""

    row_filter: str | None
    """SQL condition, None for all rows."""


@dataclass(frozen=True, slots=True)
class PublicationOffer:
    """A publication that the source has, against the tables that were chosen."""

    name: str
    owner: str
    is_owner: bool
    """Whether the session's role may alter it."""

    members: tuple[PublishedMember, ...]
    """Tables that it names."""

    schemas: tuple[str, ...]
    """Schemas that it publishes whole, with the tables made later."""

    missing: tuple[TableName, ...]
    """Chosen, but not published as such."""

    extra: tuple[TableName, ...]
    """Published, but not chosen; they leave the publication when it is used."""

    lacking_kinds: tuple[str, ...]
    """Of insert, update, delete and truncate those that it does not publish."""

    lacks_via_root: bool
    """Whether a chosen table is partitioned and its partitions would come under their own names."""

    refused: str = ""
    """Why it cannot be used, whatever is changed in it; empty when it can."""

    @property
    def fits(self) -> bool:
        """Whether it publishes the chosen tables and nothing else, with all their changes."""
        return not (self.refused or self.missing or self.extra or self.lacking_kinds or self.lacks_via_root)

    @property
    def limited(self) -> tuple[PublishedMember, ...]:
        """Tables of which not all columns or rows are published."""
        return tuple(
            member for member in self.members if member.columns is not None or member.row_filter is not None
        )


@dataclass(frozen=True, slots=True)
class PublicationOffers:
    """The publications of the source, those that need the least change first."""

    offers: tuple[PublicationOffer, ...]
    other_slots: tuple[str, ...]
    """Replication slots of the database that are not ours. Whoever uses one may read any publication, and
    would get what it is changed into."""
