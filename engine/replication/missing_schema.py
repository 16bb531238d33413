"""Brings what the target's schema lacks to what it has, object by object.

What has to be there before rows comes at once, in the order of the archive. The rest comes with it, or is
recorded for the subscription like the post-data of a whole schema (:mod:`engine.replication.schema_restore`),
in the last transaction of the restore. A crash before that leaves objects whose post-data is not recorded;
the next comparison finds it missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.connection.endpoint import Endpoint
from engine.connection.session import Session
from engine.replication.deferred_state import DeferredStore, StepState, insert_script
from engine.replication.state import StateStore
from engine.schema.apply import OnResult, apply_statements, open_schema_session
from engine.schema.archive import ArchiveEntry, SchemaArchive
from engine.schema.compare import ComparedSchemas
from engine.schema.comparison import Applied, ApplyReport, PlannedStatement
from engine.schema.deferral import DeferredObject, plan_deferral


@dataclass(frozen=True, slots=True)
class PutOff:
    """Who builds later what waits for rows."""

    subscription: str
    source: Session
    target: Session
    """Holds the subscription's lock from now on, so that no engine starts meanwhile."""


@dataclass(frozen=True, slots=True)
class MissingReport:
    """What became of the missing objects."""

    applied: ApplyReport
    put_off: int
    """Steps that were recorded now."""


def restore_missing(
    target: Endpoint,
    compared: ComparedSchemas,
    *,
    put_off: PutOff | None,
    all_or_nothing: bool,
    on_result: OnResult | None = None,
) -> MissingReport:
    """Make what is missing; touch nothing that is there.

    Args:
        target: Where to.
        compared: Both schemas as they are now.
        put_off: Given, post-data waits for rows; not given, it is made now.
        all_or_nothing: Undo everything when one object is refused.
        on_result: Told each result as it comes.

    Raises:
        BlockedError: An engine runs for the subscription.
        ConnectionFailedError: The target cannot be reached or went away.
        EngineError: A server failed.
    """
    statements = [planned for _, planned in compared.missing_pre_data]
    if put_off is None:
        statements += [planned for _, planned in compared.missing_post_data]
        with open_schema_session(target) as session:
            applied = apply_statements(
                session, statements, all_or_nothing=all_or_nothing, on_result=on_result
            )
        return MissingReport(applied, 0)
    state = StateStore(put_off.target, put_off.subscription)
    state.create()
    state.lock()
    recorded = DeferredStore(put_off.target, put_off.subscription).steps()
    known = {step.planned.statement for step in recorded if step.state is not StepState.DONE}
    wanted = [entry for entry, _ in compared.missing_post_data if not _is_recorded(entry, known)]
    first_position = max((step.position for step in recorded), default=0)
    count = 0
    with open_schema_session(target) as session:

        def record(report: ApplyReport) -> None:
            nonlocal count
            made = _without_refused(compared.missing_pre_data, wanted, report)
            steps = _plan(put_off, compared.source, made, first_position)
            count = len(steps)
            if steps:
                session.execute(insert_script(put_off.subscription, steps).encode("utf-8", "surrogateescape"))

        applied = apply_statements(
            session, statements, all_or_nothing=all_or_nothing, finish=record, on_result=on_result
        )
    return MissingReport(applied, count)


def _is_recorded(entry: ArchiveEntry, known: set[str]) -> bool:
    # A foreign key is added without looking at the rows, and validated by a step of its own.
    return entry.statement in known or f"{entry.statement.removesuffix(';')} NOT VALID;" in known


def _without_refused(
    pre_data: tuple[tuple[ArchiveEntry, PlannedStatement], ...],
    post_data: list[ArchiveEntry],
    report: ApplyReport,
) -> tuple[ArchiveEntry, ...]:
    """The entries that need nothing that was refused."""
    refused = {
        entry.id
        for (entry, _), result in zip(pre_data, report.results, strict=True)
        if result.outcome is Applied.REFUSED
    }
    made = []
    for entry in post_data:
        if refused.isdisjoint(entry.dependencies):
            made.append(entry)
        else:
            refused.add(entry.id)
    return tuple(made)


def _plan(
    put_off: PutOff, source: SchemaArchive, entries: tuple[ArchiveEntry, ...], first_position: int
) -> tuple[DeferredObject, ...]:
    return tuple(
        replace(
            step,
            position=step.position + first_position,
            requires=frozenset(number + first_position for number in step.requires),
        )
        for step in plan_deferral(put_off.source, replace(source, post_data=entries))
    )
