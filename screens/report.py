"""What was done, as a text for the person, the file and the terminal after exit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from pathlib import Path

from screens.format import human_bytes, human_count, human_duration, human_moment, plural, visible
from screens.migration import ComparedTable, SavedMigration


def _span(start: datetime | None, end: datetime | None) -> str:
    return (
        human_duration((end - start).total_seconds()) if start is not None and end is not None else "unknown"
    )


def _code(text: str) -> str:
    """Foreign text that Markdown leaves as it is."""
    shown = visible(text)
    fence = "``" if "`" in shown else "`"
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _listed(title: str, lines: Iterable[str], nothing: str) -> list[str]:
    return ["", f"## {title}", "", *([f"* {line}" for line in lines] or [nothing])]


def _remains(migration: SavedMigration, drop_command: str) -> list[str]:
    created = migration.created_user
    on_source = _remains_on_source(migration)
    if created is not None:
        on_source.append(f"source: role {_code(created.name)}, made for the migration")
    on_source += [f"source: read-only for {_code(record.words)}" for record in migration.read_only]
    if migration.dropped_at is not None:
        cleaned = f"Cleaned up {human_moment(migration.dropped_at)}: slots and our state are gone"
        return [cleaned, *(on_source or ["Nothing of ours remains on the source."])]
    return [
        f"source: slot live_sync_{migration.subscription}: it keeps WAL until it is dropped",
        *on_source,
        "target: schema _ts_live_sync, our state",
        f"When the application runs well on the target: {_code(drop_command)}",
    ]


def source_changes_of(migration: SavedMigration, statements: Iterable[str]) -> tuple[str, ...]:
    """Everything that was changed on the source, as it is known here.

    Args:
        migration: What was chosen.
        statements: Of the transcript, those that were run on the source.
    """
    known = []
    if migration.created_user is not None:
        known.append(f"role {migration.created_user.name}: made for the migration")
    known += [
        f"publication {record.name}: {'made' if record.is_ours else 'changed'}"
        for record in migration.publications
    ]
    if migration.started_at is not None:
        known.append(f"replication slot live_sync_{migration.subscription}")
    known += [
        f"replica identity of {record.relation}; back with: {record.undo_sql}"
        for record in migration.identities
    ]
    return (*known, *statements)


def report_markdown(migration: SavedMigration, drop_command: str, statements: Iterable[str] = ()) -> str:
    """The whole report.

    Args:
        migration: After the cutover.
        drop_command: What removes the rest.
        statements: Of the transcript, those that were run on the source.
    """
    record = migration.cutover
    difference = "unknown" if record.differences is None else plural(record.differences, "difference")
    facts = [
        ("From", visible(migration.source_name)),
        ("To", visible(migration.target_name)),
        ("Started", human_moment(migration.started_at)),
        ("Cut over", human_moment(record.done_at)),
        ("Initial copy", _span(migration.started_at, migration.copy_finished_at)),
        ("Whole time", _span(migration.started_at, record.done_at)),
        ("Write outage", f"{human_duration(record.outage_seconds)}, from the writers' stop to the line"),
        ("Writers", record.attested or "unknown"),
        (
            "Fence",
            f"{record.fence_lsn or 'unknown'}, committed on the target after "
            f"{human_duration(record.fence_seconds)}; nothing came after it",
        ),
        (
            "Sequences",
            f"{human_count(record.sequences_set)} set in {human_duration(record.sequences_seconds)}",
        ),
        (
            "Compared",
            f"{human_count(record.tables_compared)} tables, {human_count(record.rows_compared)} rows: "
            f"{difference}, in {human_duration(record.compare_seconds)}",
        ),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [
        f"# Migration {visible(migration.name)}",
        "",
        *(f"    {name:<{width}}  {value}" for name, value in facts),
    ]
    lines += _listed(
        "Steps",
        (f"{human_moment(moment)}  {step.title}" for step, moment in migration.steps_reached),
        "Not recorded.",
    )
    lines += _listed(
        "Rehearsals",
        (
            f"{human_moment(one.at)}: fence {human_duration(one.fence_seconds)}, sequences "
            f"{human_duration(one.sequences_seconds)}, comparison {human_duration(one.compare_seconds)}"
            for one in migration.rehearsals
        ),
        "None.",
    )
    compared = {table.name: table for table in record.tables}
    lines += _listed(
        f"{plural(len(migration.tables), 'table')} moved",
        (_table_line(str(name), compared.get(str(name))) for name in migration.tables),
        "None.",
    )
    lines += _listed("Warnings accepted", map(visible, record.warnings), "None.")
    left_out = migration.not_migrated
    lines += _listed(
        "Not migrated",
        map(_code, left_out or ()),
        "Nothing of the source's tables and roles was left out."
        if left_out is not None
        else "Not looked at.",
    )
    lines += _listed(
        "Changed on the source", map(_code, source_changes_of(migration, statements)), "Nothing."
    )
    lines += _listed("What remains", _remains(migration, drop_command), "Nothing.")
    return "\n".join(lines) + "\n"


def _table_line(name: str, table: ComparedTable | None) -> str:
    if table is None:
        return f"{_code(name)}: not compared"
    return f"{_code(name)}: {human_count(table.rows)} rows, {visible(table.found) or 'equal'}"


def report_json(migration: SavedMigration, statements: Iterable[str] = ()) -> str:
    """The report for programs: times in ISO 8601 and UTC, spans in seconds.

    Args:
        migration: After the cutover.
        statements: Of the transcript, those that were run on the source.
    """
    record = migration.cutover
    document = {
        "migration": migration.name,
        "subscription": migration.subscription,
        "source": migration.source_name,
        "target": migration.target_name,
        "started_at": _iso(migration.started_at),
        "copy_finished_at": _iso(migration.copy_finished_at),
        "writers_stopped_at": _iso(record.writers_stopped_at),
        "cut_over_at": _iso(record.done_at),
        "cleaned_up_at": _iso(migration.dropped_at),
        "write_outage_seconds": record.outage_seconds,
        "writers": record.attested,
        "fence_lsn": record.fence_lsn,
        "fence_seconds": record.fence_seconds,
        "sequences_set": record.sequences_set,
        "sequences_seconds": record.sequences_seconds,
        "tables_compared": record.tables_compared,
        "rows_compared": record.rows_compared,
        "tables_different": record.differences,
        "compare_seconds": record.compare_seconds,
        "steps": [{"step": step.value, "reached_at": _iso(at)} for step, at in migration.steps_reached],
        "rehearsals": [
            {
                "at": _iso(one.at),
                "fence_seconds": one.fence_seconds,
                "sequences_seconds": one.sequences_seconds,
                "compare_seconds": one.compare_seconds,
            }
            for one in migration.rehearsals
        ],
        "tables_moved": [str(name) for name in migration.tables],
        "comparisons": [
            {"table": table.name, "rows": table.rows, "equal": not table.found, "found": table.found}
            for table in record.tables
        ],
        "warnings_accepted": list(record.warnings),
        "not_migrated": None if migration.not_migrated is None else list(migration.not_migrated),
        "changed_on_source": list(source_changes_of(migration, statements)),
        "source_read_only_for": [one.words for one in migration.read_only],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


class EngineLeft(Enum):
    """What became of the engine when the wizard ended."""

    NEVER_RAN = "never ran"
    STOPPED = "stopped"
    NOT_IN_TIME = "not in time"
    RUNS_ON = "runs on"


def _remains_on_source(migration: SavedMigration) -> list[str]:
    """What was done to publications and replica identities and is not taken back."""
    lines = [
        f"source: publication {_code(record.name)}, "
        + ("made for this migration" if record.is_ours else "changed from what it was")
        for record in migration.publications
    ]
    if migration.identities:
        lines.append(
            f"source: {plural(len(migration.identities), 'replica identity', 'replica identities')} "
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


def after_exit_text(
    migration: SavedMigration, engine: EngineLeft, drop_command: str, source_statements: Iterable[str] = ()
) -> str:
    """What is printed after the wizard."""
    if migration.cutover.done_at is not None:
        return report_markdown(migration, drop_command, source_statements)
    if not migration.source_name:
        return "Nothing was begun.\n"
    sides = f"{visible(migration.source_name)} → {visible(migration.target_name)}"
    where = f"Migration {visible(migration.name)}: {sides}"
    if migration.read_only:
        said = ", ".join(visible(record.words) for record in migration.read_only)
        where += f"\nThe source is still read-only for {said}; o at Cutover, or Back from there, undoes it."
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
