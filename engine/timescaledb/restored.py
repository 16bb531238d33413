"""What a restore does for a source with TimescaleDB between tables and rows, and what it puts off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side
from engine.schema.archive import SchemaArchive
from engine.schema.deferral import DeferredObject
from engine.script.planned import Script
from engine.timescaledb.columnstore_script import COLUMNSTORE_FILE
from engine.timescaledb.made import TimescaleMade, plan_dependents, split_post_data
from engine.timescaledb.plan import plan_timescaledb

COLUMNSTORE = "COLUMNSTORE"
"""Of what kind the steps are that give tables a columnstore."""

_OFFERED = """
select exists (select from pg_catalog.pg_available_extensions e where e.name = 'timescaledb')
"""


@dataclass(frozen=True, slots=True)
class RestoredSchema:
    """A schema for a target, TimescaleDB's part of it in statements."""

    archive: SchemaArchive
    """Its post-data without what ``after_tables`` makes."""

    after_tables: str
    """SQL that comes after the archive's pre-data; perhaps nothing."""

    columnstores: Script | None
    """What waits for all constraints: up to 2.17 a table with a columnstore takes none."""

    notes: tuple[str, ...]
    """What is not as on the source, and why."""

    def put_off(self, steps: Sequence[DeferredObject]) -> tuple[DeferredObject, ...]:
        """Add columnstores to what waits until rows are there.

        Args:
            steps: Of the archive's post-data.
        """
        if self.columnstores is None:
            return tuple(steps)
        # All of them: an index or a foreign key of another table is no reason to begin earlier.
        requires = frozenset(step.position for step in steps)
        return (
            *steps,
            *(
                DeferredObject(
                    position=number,
                    kind=COLUMNSTORE,
                    name=statement.about,
                    statement=f"{statement.sql};",
                    source_tables=frozenset(),
                    needed_by=frozenset(),
                    requires=requires,
                )
                for number, statement in enumerate(self.columnstores.to_run, len(steps) + 1)
            ),
        )


def plan_restored(
    archive: SchemaArchive, made: TimescaleMade, source: Session, target: Session
) -> RestoredSchema:
    """Plan hypertables, continuous aggregates and columnstores for tables that are about to be restored.

    Args:
        archive: Of the source, sorted by :func:`~engine.timescaledb.made.sort_entries`.
        made: Read from the source.
        source: On the source.
        target: On the target, with no transaction open.

    Raises:
        BlockedError: The target offers TimescaleDB, and its database does not have it.
        EngineError: One of them could not be read.
    """
    if not made.hypertables:
        return RestoredSchema(archive, "", None, ())
    plan = plan_timescaledb(source, target)
    if plan is None:
        _require_none_to_be_had(target)
        return RestoredSchema(archive, "", None, tuple(_plain(archive, made)))
    split = split_post_data(archive.post_data, archive.relations, made)
    scripts = list(plan.with_the_schema)
    columnstores = next(script for script in scripts if script.file_name == COLUMNSTORE_FILE)
    at_once = [script for script in scripts if script is not columnstores]
    if plan.target.installation.is_full:
        at_once.append(plan_dependents(archive.later, ()))
    keys = [f"{entry.statement}\n" for entry in split.keys]
    return RestoredSchema(
        replace(archive, post_data=split.rest),
        "\n".join((*keys, *(script.text() for script in at_once if script.to_run))),
        columnstores,
        tuple(_notes(scripts)),
    )


def _require_none_to_be_had(target: Session) -> None:
    try:
        offered = target.execute(_OFFERED).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for TimescaleDB") from None
    if offered == (True,):
        raise BlockedError(
            Failure(
                title="The source has hypertables, and the target's database does not have TimescaleDB yet",
                hint="On the target: CREATE EXTENSION timescaledb",
                side=Side.TARGET,
                retry=Retry.MANUAL,
            )
        )


def _plain(archive: SchemaArchive, made: TimescaleMade) -> list[str]:
    notes = [f"The target has no TimescaleDB: {len(made.hypertables)} hypertables become plain tables"]
    if made.aggregates:
        notes.append(
            f"{len(made.aggregates)} continuous aggregates are left out, and {len(archive.later)} objects "
            "that need them"
        )
    return notes


def _notes(scripts: Sequence[Script]) -> list[str]:
    notes = [note for script in scripts for note in script.notes]
    # Of many with one reason, one is enough.
    reasons: dict[str, list[str]] = {}
    for script in scripts:
        for statement in script.set_apart:
            reasons.setdefault(statement.set_apart, []).append(statement.about)
    for reason, abouts in reasons.items():
        more = f" and {len(abouts) - 1} more" if len(abouts) > 1 else ""
        notes.append(f"Left out: {abouts[0]}{more}: {reason}")
    return notes
