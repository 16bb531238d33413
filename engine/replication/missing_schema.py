"""Brings what the target's schema lacks to what it has, object by object.

What has to be there before rows comes at once, in the order of the archive. The rest comes with it, or is
recorded for the subscription like the post-data of a whole schema (:mod:`engine.replication.schema_restore`),
in the last transaction of the restore. A crash before that leaves objects whose post-data is not recorded;
the next comparison finds it missing.

Statements are committed in portions unless all of them are wanted or none, so a schema of any size needs no
more locks at a time than a portion's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from engine.connection.endpoint import Endpoint
from engine.connection.session import Session
from engine.replication.deferred_state import DeferredStep, DeferredStore, StepState, insert_script
from engine.replication.state import StateStore
from engine.schema.apply import OnResult, apply_statements, open_schema_session
from engine.schema.archive import ArchiveEntry, SchemaArchive
from engine.schema.compare import ComparedSchemas, single_statements
from engine.schema.comparison import Applied, ApplyReport, ObjectKey, PlannedStatement
from engine.schema.deferral import DeferredObject, plan_deferral
from engine.schema.edited import edited_statements


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


@dataclass(frozen=True, slots=True)
class _Now:
    """A statement that is run now, and the object of the source it makes, where that is known."""

    planned: PlannedStatement
    entry: ArchiveEntry | None


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
    now = [_Now(planned, entry) for entry, planned in compared.missing_pre_data]
    if put_off is None:
        now += [_Now(planned, entry) for entry, planned in compared.missing_post_data]

    def run(session: Session, finish: Callable[[ApplyReport], None] | None) -> ApplyReport:
        return apply_statements(
            session,
            [one.planned for one in now],
            all_or_nothing=all_or_nothing,
            finish=finish,
            on_result=on_result,
        )

    later = [entry for entry, _ in compared.missing_post_data]
    return _restore(target, compared, now, later, put_off=put_off, run=run)


def restore_edited(
    target: Endpoint,
    text: str,
    compared: ComparedSchemas,
    *,
    put_off: PutOff | None,
    may_drop: Collection[str] = (),
    on_result: OnResult | None = None,
) -> MissingReport:
    """Run a script that a person edited, but for what the target has already.

    Args:
        target: Where to.
        text: The script.
        compared: Both schemas as they are now.
        put_off: Given, what the script has in the source's own words and is post-data waits for rows. What
            was written otherwise is run now: nobody but its writer knows what it needs.
        may_drop: What a DROP or TRUNCATE in it may name.
        on_result: Told each result as it comes.

    Raises:
        UsageError: It cannot be read, or would drop something else; nothing was run.
        BlockedError: An engine runs for the subscription.
        ConnectionFailedError: The target cannot be reached or went away.
        EngineError: A server failed.
    """
    statements = edited_statements(text)
    words = [compared.comparable(statement.sql) for statement in statements]
    own = _Words(compared, (*compared.missing_pre_data, *compared.missing_post_data))
    later = (
        []
        if put_off is None
        else [entry for entry, _ in compared.missing_post_data if own.of_entry[entry.id] <= frozenset(words)]
    )
    waiting = {entry.id for entry in later}
    now = [
        own.labelled(statement, said)
        for statement, said in zip(statements, words, strict=True)
        if (entry := own.entry_of(said)) is None or entry.id not in waiting
    ]
    there = compared.target_statements()

    def run(session: Session, finish: Callable[[ApplyReport], None] | None) -> ApplyReport:
        return apply_statements(
            session,
            [one.planned for one in now],
            all_or_nothing=False,
            there=lambda statement: compared.comparable(statement) in there,
            may_drop=may_drop,
            finish=finish,
            on_result=on_result,
        )

    return _restore(target, compared, now, later, put_off=put_off, run=run)


def waiting_keys(target: Session, subscription: str, compared: ComparedSchemas) -> frozenset[ObjectKey]:
    """Missing objects that are recorded already, so that an engine of the subscription builds them.

    Args:
        target: A session there.
        subscription: Its name.
        compared: Both schemas as they are now.

    Raises:
        EngineError: The target could not be read.
    """
    known = _unfinished(DeferredStore(target, subscription).steps())
    return frozenset(
        planned.key
        for entry, planned in compared.missing_post_data
        if planned.key is not None and _is_recorded(entry, known)
    )


class _Words:
    """Missing objects by the statements that make them."""

    def __init__(
        self, compared: ComparedSchemas, missing: Iterable[tuple[ArchiveEntry, PlannedStatement]]
    ) -> None:
        self.of_entry: dict[int, frozenset[str]] = {}
        """Of each entry its statements, comparable."""

        self._by_words: dict[str, tuple[ArchiveEntry, PlannedStatement]] = {}
        for entry, planned in missing:
            words = [compared.comparable(one) for one in single_statements(entry.statement)]
            self.of_entry[entry.id] = frozenset(words)
            for one in words:
                self._by_words.setdefault(one, (entry, planned))

    def entry_of(self, words: str) -> ArchiveEntry | None:
        found = self._by_words.get(words)
        return None if found is None else found[0]

    def labelled(self, statement: PlannedStatement, words: str) -> _Now:
        """``statement`` named after the object it makes, where its words are the source's."""
        found = self._by_words.get(words)
        if found is None:
            return _Now(statement, None)
        entry, planned = found
        return _Now(replace(statement, about=planned.about, key=planned.key), entry)


def _restore(
    target: Endpoint,
    compared: ComparedSchemas,
    now: Sequence[_Now],
    later: Sequence[ArchiveEntry],
    *,
    put_off: PutOff | None,
    run: Callable[[Session, Callable[[ApplyReport], None] | None], ApplyReport],
) -> MissingReport:
    if put_off is None:
        with open_schema_session(target) as session:
            return MissingReport(run(session, None), 0)
    state = StateStore(put_off.target, put_off.subscription)
    state.create()
    state.lock()
    recorded = DeferredStore(put_off.target, put_off.subscription).steps()
    known = _unfinished(recorded)
    wanted = [entry for entry in later if not _is_recorded(entry, known)]
    first_position = max((step.position for step in recorded), default=0)
    count = 0
    with open_schema_session(target) as session:

        def record(report: ApplyReport) -> None:
            nonlocal count
            steps = _plan(put_off, compared.source, _without_refused(now, wanted, report), first_position)
            count = len(steps)
            if steps:
                session.execute(insert_script(put_off.subscription, steps).encode("utf-8", "surrogateescape"))

        applied = run(session, record)
    return MissingReport(applied, count)


def _unfinished(steps: Iterable[DeferredStep]) -> frozenset[str]:
    return frozenset(step.planned.statement for step in steps if step.state is not StepState.DONE)


def _is_recorded(entry: ArchiveEntry, known: Collection[str]) -> bool:
    # A foreign key is added without looking at the rows, and validated by a step of its own.
    return entry.statement in known or f"{entry.statement.removesuffix(';')} NOT VALID;" in known


def _without_refused(
    now: Sequence[_Now], later: Sequence[ArchiveEntry], report: ApplyReport
) -> tuple[ArchiveEntry, ...]:
    """The entries that need nothing that was refused."""
    refused = {
        one.entry.id
        for one, result in zip(now, report.results, strict=True)
        if one.entry is not None and result.outcome is Applied.REFUSED
    }
    made = []
    for entry in later:
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
