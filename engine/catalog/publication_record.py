"""What was done to publications of the source, kept so that it can be undone.

Imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.catalog.planned import PublishedMember
from engine.catalog.table import TableName
from engine.errors import Failure, Retry, UsageError


@dataclass(frozen=True, slots=True)
class PublicationState:
    """A publication as it was made."""

    oid: int
    members: tuple[PublishedMember, ...]
    schemas: tuple[str, ...]
    lacking_kinds: tuple[str, ...]
    """Of insert, update, delete and truncate those that it does not publish."""

    via_root: bool

    def to_json(self) -> dict[str, Any]:
        """For storing; :meth:`from_json` reads it back."""
        return {
            "oid": self.oid,
            "members": [
                {
                    "schema": member.name.schema,
                    "table": member.name.table,
                    "columns": None if member.columns is None else list(member.columns),
                    "row_filter": member.row_filter,
                }
                for member in self.members
            ],
            "schemas": list(self.schemas),
            "lacking_kinds": list(self.lacking_kinds),
            "via_root": self.via_root,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PublicationState:
        """Read what :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        return PublicationState(
            oid=int(value["oid"]),
            members=tuple(
                PublishedMember(
                    TableName(str(member["schema"]), str(member["table"])),
                    None if member["columns"] is None else tuple(map(str, member["columns"])),
                    None if member["row_filter"] is None else str(member["row_filter"]),
                )
                for member in value["members"]
            ),
            schemas=tuple(map(str, value["schemas"])),
            lacking_kinds=tuple(map(str, value["lacking_kinds"])),
            via_root=bool(value["via_root"]),
        )


@dataclass(frozen=True, slots=True)
class PublicationRecord:
    """A publication that was made or changed."""

    name: str
    before: PublicationState | None
    """None when it was made."""

    after: PublicationState | None
    """None when how it came out is not known: the program ended in the middle."""

    @property
    def is_ours(self) -> bool:
        """Whether it was made by the migration."""
        return self.before is None

    def to_json(self) -> dict[str, Any]:
        """For storing; :func:`publication_records_from_json` reads a list of them back."""
        return {
            "name": self.name,
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
        }


def publication_records_from_json(value: object) -> tuple[PublicationRecord, ...]:
    """Read a list of what :meth:`PublicationRecord.to_json` wrote.

    Raises:
        UsageError: It is something else.
    """

    def state(stored: Any) -> PublicationState | None:
        return None if stored is None else PublicationState.from_json(stored)

    try:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError("no list")
        return tuple(
            PublicationRecord(str(item["name"]), state(item["before"]), state(item["after"]))
            for item in value
        )
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            Failure(
                "The record of changed publications is damaged",
                hint="Take back by hand what the transcript says was done to them",
                retry=Retry.NEVER,
            )
        ) from None


def remember_publications(
    known: Iterable[PublicationRecord], changed: Iterable[PublicationRecord]
) -> tuple[PublicationRecord, ...]:
    """Add records to those that are known: of a publication changed twice, what was there first counts.

    Call it with what is about to be changed and store the result; call it again, with what was known then,
    about what came of it.
    """
    records = {record.name: record for record in known}
    for record in changed:
        first = records.get(record.name)
        if first is not None and _goes_on(first, record):
            records[record.name] = replace(record, before=first.before)
        else:
            records[record.name] = record
    return tuple(records.values())


def _goes_on(first: PublicationRecord, record: PublicationRecord) -> bool:
    """Whether ``record`` is about the publication that ``first`` left, not another of that name."""
    if record.before is None:
        return False
    left = first.after or first.before
    return left is None or left.oid == record.before.oid
