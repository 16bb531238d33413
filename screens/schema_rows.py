"""What the list of the step Schema shows: one line an object, an extension, or a statement of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from engine.schema.comparison import (
    Applied,
    AppliedStatement,
    ComparedObject,
    ExtensionState,
    PlannedExtension,
    Presence,
)
from engine.script.planned import one_line
from screens.format import human_duration, human_milliseconds
from screens.step_services.schema import SchemaLook


class RowState(Enum):
    """How a line stands: the word that is shown, and its tone."""

    MISSING = ("○ missing", "")
    WAITS = ("○ waits", "quiet")
    DIFFERS = ("! differs", "warn")
    ELSEWHERE = ("! elsewhere", "warn")
    EXISTS = ("! exists", "warn")
    REFUSED = ("✗ refused", "bad")
    NOT_OFFERED = ("✗ no offer", "bad")
    UNDONE = ("- undone", "quiet")
    MADE = ("✓ made", "good")
    IDENTICAL = ("✓ identical", "good")
    ONLY_ON_TARGET = ("- only there", "quiet")

    @property
    def word(self) -> str:
        return self.value[0]

    @property
    def tone(self) -> str:
        return self.value[1]


class Shown(Enum):
    """Which lines are shown."""

    ALL = "all"
    MISSING = "missing"
    REFUSED = "refused"
    DIFFERS = "different"
    ONLY_ON_TARGET = "only on the target"
    THERE = "there"


_SHOWN_STATES: Mapping[Shown, frozenset[RowState]] = {
    Shown.ALL: frozenset(RowState),
    Shown.MISSING: frozenset(
        (RowState.MISSING, RowState.WAITS, RowState.REFUSED, RowState.NOT_OFFERED, RowState.UNDONE)
    ),
    Shown.REFUSED: frozenset((RowState.REFUSED, RowState.NOT_OFFERED)),
    Shown.DIFFERS: frozenset((RowState.DIFFERS, RowState.ELSEWHERE, RowState.EXISTS)),
    Shown.ONLY_ON_TARGET: frozenset((RowState.ONLY_ON_TARGET,)),
    Shown.THERE: frozenset((RowState.MADE, RowState.IDENTICAL)),
}

_OF_RESULTS = {
    Applied.DONE: RowState.MADE,
    Applied.IDENTICAL: RowState.IDENTICAL,
    Applied.EXISTS: RowState.EXISTS,
    Applied.REFUSED: RowState.REFUSED,
    Applied.UNDONE: RowState.UNDONE,
}

_OF_PRESENCE = {
    Presence.MISSING: RowState.MISSING,
    Presence.DIFFERENT: RowState.DIFFERS,
    Presence.IDENTICAL: RowState.IDENTICAL,
    Presence.ONLY_ON_TARGET: RowState.ONLY_ON_TARGET,
}

_OF_EXTENSIONS = {
    ExtensionState.THERE: RowState.IDENTICAL,
    ExtensionState.OTHER_SCHEMA: RowState.ELSEWHERE,
    ExtensionState.MISSING: RowState.MISSING,
    ExtensionState.UNAVAILABLE: RowState.NOT_OFFERED,
}


@dataclass(frozen=True, slots=True)
class SchemaRow:
    """One line of the list."""

    number: int
    about: str
    """By what results are told: of the object, or the comment above a statement."""

    state: RowState
    kind: str
    name: str
    when: str = ""
    result: AppliedStatement | None = None
    """What came of it when it was last run."""

    one: ComparedObject | None = None
    extension: PlannedExtension | None = None

    @property
    def took(self) -> str:
        """How long it took, for reading; empty when it was not run."""
        if self.result is None or self.state not in (RowState.MADE, RowState.REFUSED):
            return ""
        seconds = self.result.seconds
        return human_milliseconds(seconds) if seconds < 1 else human_duration(seconds)

    def matches(self, shown: Shown, wanted: str) -> bool:
        """Whether it passes a filter; ``wanted`` is lower case."""
        return self.state in _SHOWN_STATES[shown] and (
            wanted in self.name.lower() or wanted in self.kind.lower()
        )


def result_key(about: str) -> str:
    """How a statement is told apart: what a file's comment keeps of a name."""
    return one_line(about)


def results_by_key(results: Iterable[AppliedStatement]) -> dict[str, AppliedStatement]:
    """Results by what they are about; of several the one that was refused."""
    found: dict[str, AppliedStatement] = {}
    for result in results:
        key = result_key(result.planned.about)
        known = found.get(key)
        if known is None or known.outcome is not Applied.REFUSED:
            found[key] = result
    return found


def schema_rows(look: SchemaLook, results: Mapping[str, AppliedStatement]) -> list[SchemaRow]:
    """The lines of the list: extensions, statements of one's own that were run, objects as they are made.

    Args:
        look: Both schemas.
        results: Of the last run, as :func:`results_by_key` has them.
    """
    rows: list[SchemaRow] = []
    unclaimed = dict(results)
    of_extensions = [
        (extension, unclaimed.pop(f"extension {extension.name}", None)) for extension in look.extensions
    ]
    of_objects = [
        (one, unclaimed.pop(result_key(str(one.key)), None)) if one.source_statement else (one, None)
        for one in look.comparison.objects
    ]
    for extension, result in of_extensions:
        rows.append(extension_row(len(rows), extension, result))
    for about, result in unclaimed.items():
        name = result.planned.about
        rows.append(SchemaRow(len(rows), about, _OF_RESULTS[result.outcome], "script", name, result=result))
    for one, result in of_objects:
        rows.append(object_row(len(rows), one, result, waits=one.key in look.waiting_keys))
    return rows


def extension_row(
    number: int, extension: PlannedExtension, result: AppliedStatement | None = None
) -> SchemaRow:
    """The line of an extension."""
    state = _OF_EXTENSIONS[extension.state]
    if result is not None and state in (RowState.MISSING, RowState.IDENTICAL):
        state = _of_result(state, result)
    versions = extension.source_version
    if extension.target_version and extension.target_version != versions:
        versions += f" → {extension.target_version}"
    name = f"{extension.name} {versions}"
    when = "first" if extension.state is ExtensionState.MISSING else ""
    return SchemaRow(
        number,
        f"extension {extension.name}",
        state,
        "extension",
        name,
        when,
        result,
        extension=extension,
    )


def object_row(
    number: int, one: ComparedObject, result: AppliedStatement | None = None, *, waits: bool = False
) -> SchemaRow:
    """The line of an object."""
    state = _of_result(_OF_PRESENCE[one.presence], result)
    when = ""
    if one.presence is Presence.MISSING:
        when = "after rows" if one.waits_for_rows else "now"
        if waits:
            state = RowState.WAITS
    return SchemaRow(
        number, result_key(str(one.key)), state, one.key.kind.lower(), one.key.name, when, result, one
    )


def with_result(row: SchemaRow, result: AppliedStatement) -> SchemaRow:
    """The line once something was done about it; a refusal is kept."""
    if row.result is not None and row.result.outcome is Applied.REFUSED:
        return row
    return replace(row, result=result, state=_of_result(row.state, result))


def _of_result(state: RowState, result: AppliedStatement | None) -> RowState:
    """What a run came to, as long as a newer look does not know better."""
    if result is None:
        return state
    if state is RowState.MISSING:
        return _OF_RESULTS[result.outcome]
    if state is RowState.IDENTICAL and result.outcome is Applied.DONE:
        return RowState.MADE
    return state
