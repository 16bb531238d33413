"""What was done, as a text for the person, the file and the terminal after exit."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from pathlib import Path

from screens.format import human_bytes, human_count, human_duration, human_moment, plural, visible
from screens.migration import SavedMigration


def _span(start: datetime | None, end: datetime | None) -> str:
    return (
        human_duration((end - start).total_seconds()) if start is not None and end is not None else "unknown"
    )


def report_text(migration: SavedMigration, drop_command: str) -> str:
    """The whole report."""
    record = migration.cutover
    difference = "unknown" if record.differences is None else plural(record.differences, "difference")
    created = migration.created_user
    role = [] if created is None else [f"  source  role {visible(created.name)}, made for the migration"]
    lines = [
        f"Migration {visible(migration.name)}",
        f"  from {visible(migration.source_name)}",
        f"  to   {visible(migration.target_name)}",
        "",
        f"Started        {human_moment(migration.started_at)}",
        f"Cut over       {human_moment(record.done_at)}",
        f"Initial copy   {_span(migration.started_at, migration.copy_finished_at)}",
        f"Whole time     {_span(migration.started_at, record.done_at)}",
        f"Write outage   {human_duration(record.outage_seconds)}, from the writers' stop to the line",
        f"Writers        {record.attested or 'unknown'}",
        f"Fence          everything up to {record.fence_lsn or 'unknown'} was applied",
        f"Sequences      {human_count(record.sequences_set)} set",
        f"Compared       {human_count(record.tables_compared)} tables, "
        f"{human_count(record.rows_compared)} rows: {difference}",
        "",
        plural(len(migration.tables), "table") + " moved:",
        *(f"  {visible(str(name))}" for name in migration.tables),
        "",
    ]
    remains = [*_remains_on_source(migration), *role]
    if migration.dropped_at is not None:
        lines.append(f"Cleaned up     {human_moment(migration.dropped_at)}: slots and our state are gone")
        lines += ["What remains", *remains] if remains else ["Nothing of ours remains on the source."]
    else:
        lines += [
            "What remains",
            f"  source  slot live_sync_{migration.subscription}: it keeps WAL until it is dropped",
            *remains,
            "  target  schema _ts_live_sync, our state",
            "When the application runs well on the target:",
            f"  {visible(drop_command)}",
        ]
    return "\n".join(lines) + "\n"


class EngineLeft(Enum):
    """What became of the engine when the wizard ended."""

    NEVER_RAN = "never ran"
    STOPPED = "stopped"
    NOT_IN_TIME = "not in time"
    RUNS_ON = "runs on"


def _remains_on_source(migration: SavedMigration) -> list[str]:
    """What was done to publications and replica identities and is not taken back."""
    lines = [
        f"  source  publication {visible(record.name)}, "
        + ("made for this migration" if record.is_ours else "changed from what it was")
        for record in migration.publications
    ]
    if migration.identities:
        lines.append(
            f"  source  {plural(len(migration.identities), 'replica identity', 'replica identities')} "
            "that may differ from before"
        )
    return lines


def leaving_text(migration: SavedMigration, retained_wal_bytes: int | None, *, runs_on: bool) -> str:
    """What stays behind when the wizard is left before the end."""
    if migration.started_at is None:
        return "Nothing has been copied so far. The answers given up to here are kept on this machine."
    kept = "" if retained_wal_bytes is None else f" ({human_bytes(retained_wal_bytes)} now)"
    stopping = (
        "replication stops and its position is recorded in the target. It goes on from there, without "
        "copying finished tables again, when livesync-tui is started and this migration is resumed. "
        f"Meanwhile the source keeps all WAL for the slot live_sync_{migration.subscription}{kept}: "
        "its disk fills as long as nothing replicates."
    )
    if not runs_on:
        return f"When you leave, {stopping}"
    return (
        "Keep it running: replication goes on in a process of its own, without a terminal. livesync-tui "
        "finds it again.\n\n"
        f"Stop and record: {stopping}"
    )


def dry_run_text(migration: SavedMigration, script: Path | None) -> str:
    """What is printed after a dry run; ``script`` is None when it was left before its end."""
    if not migration.source_name:
        return "Nothing was begun.\n"
    sides = f"{visible(migration.source_name)} → {visible(migration.target_name)}"
    said = (
        "The script of all steps was not written."
        if script is None
        else f"The script of all steps:\n{script}"
    )
    return f"Dry run of {visible(migration.name)}: {sides}\nNothing was changed on either server.\n{said}\n"


def after_exit_text(migration: SavedMigration, engine: EngineLeft, drop_command: str) -> str:
    """What is printed after the wizard."""
    if migration.cutover.done_at is not None:
        return report_text(migration, drop_command)
    if not migration.source_name:
        return "Nothing was begun.\n"
    sides = f"{visible(migration.source_name)} → {visible(migration.target_name)}"
    where = f"Migration {visible(migration.name)}: {sides}"
    if migration.started_at is None:
        on = f"Start livesync-tui again to go on at {migration.step.title}."
        return f"{where}\nNothing has been copied so far. {on}\n"
    if engine is EngineLeft.RUNS_ON:
        return (
            f"{where}\nReplication goes on without this terminal.\n"
            "To look, stop it or cut over:  livesync-tui\n"
            f"To see where it stands:        livesync-tui status --subscription {migration.subscription}\n"
        )
    ended = {
        EngineLeft.STOPPED: "Replication is stopped; its position is recorded in the target.",
        EngineLeft.NOT_IN_TIME: "Replication did not stop in time; its last position recorded in the target "
        "is what counts.",
        EngineLeft.NEVER_RAN: "Replication was not running.",
    }[engine]
    return (
        f"{where}\n{ended}\n"
        f"The source keeps WAL for the slot live_sync_{migration.subscription} until then.\n"
        "To go on:    livesync-tui\n"
        f"To give up:  {visible(drop_command)}\n"
    )
