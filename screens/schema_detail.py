"""What is said about one line of the step Schema: in the pane below the list, and on the whole screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.schema.comparison import Applied, ExtensionState, PlannedExtension, Presence
from screens.schema_rows import RowState, SchemaRow

_DIFF_HEADER_LINES = 2

_EXTENSIONS = {
    ExtensionState.THERE: "The target has it.",
    ExtensionState.OTHER_SCHEMA: (
        "The target has it in another schema. What uses its types or functions names the schema they have on "
        "the source, and is refused: move it with ALTER EXTENSION … SET SCHEMA, then press r."
    ),
    ExtensionState.MISSING: "It is created before all else, in the version that the target offers.",
    ExtensionState.UNAVAILABLE: (
        "The target does not offer it. What uses its types or functions is refused: have it installed there, "
        "or do without and edit the script with i."
    ),
}

_STATES = {
    RowState.DIFFERS: "Left as it is (- target, + source): change it there, or drop it with k.",
    RowState.ONLY_ON_TARGET: "Only the target has it; left as it is. k drops it.",
    RowState.WAITS: "It is recorded on the target: Start builds it once rows are there.",
    RowState.EXISTS: "Something of that name was on the target, and was left as it is. r compares again.",
}


@dataclass(frozen=True, slots=True)
class DetailLine:
    """One line, or a few, in one tone."""

    text: str
    tone: str = ""


def detail_lines(row: SchemaRow) -> Iterator[DetailLine]:
    """All that is known about a line, the most important first."""
    yield DetailLine(f"{row.kind} {row.name}", "bold")
    if row.extension is not None:
        yield from _extension_lines(row.extension)
    if row.state in _STATES:
        yield DetailLine(_STATES[row.state], "warn" if row.state is not RowState.WAITS else "quiet")
    if row.state is RowState.MISSING and row.when == "after rows":
        yield DetailLine("With Tables first it is built once rows are there.", "quiet")
    yield from _result_lines(row)
    if row.one is not None:
        yield from _statement_lines(row)
    elif row.extension is not None and row.extension.statement:
        yield DetailLine(f"{row.extension.statement};")
    elif row.result is not None:
        yield DetailLine(f"{row.result.planned.sql};")


def detail_text(row: SchemaRow) -> str:
    """The same to read in full."""
    return "\n".join(line.text for line in detail_lines(row))


def _extension_lines(extension: PlannedExtension) -> Iterator[DetailLine]:
    offered = extension.target_version or "none"
    yield DetailLine(f"Schema {extension.schema}, version {extension.source_version}; target: {offered}")
    bad = extension.state in (ExtensionState.OTHER_SCHEMA, ExtensionState.UNAVAILABLE)
    yield DetailLine(_EXTENSIONS[extension.state], "warn" if bad else "")
    if extension.is_older:
        yield DetailLine(
            "The target's version is older than the source's: newer features are refused.", "warn"
        )


def _result_lines(row: SchemaRow) -> Iterator[DetailLine]:
    result = row.result
    if result is None or result.failure is None or row.state not in (RowState.REFUSED, RowState.EXISTS):
        return
    tone = "bad" if result.outcome is Applied.REFUSED else "warn"
    code = f" (SQLSTATE {result.failure.sqlstate})" if result.failure.sqlstate else ""
    yield DetailLine(f"PostgreSQL said: {result.failure.detail}{code}", tone)
    if result.failure.hint:
        yield DetailLine(f"Its hint: {result.failure.hint}", tone)


def _statement_lines(row: SchemaRow) -> Iterator[DetailLine]:
    one = row.one
    assert one is not None
    if one.presence is Presence.DIFFERENT:
        # The state says whose lines they are.
        lines = one.diff().splitlines()[_DIFF_HEADER_LINES:]
        for line in lines if sum(line.startswith("@@") for line in lines) > 1 else lines[1:]:
            tone = "good" if line.startswith("+") else "bad" if line.startswith("-") else ""
            yield DetailLine(line, tone)
    else:
        yield DetailLine(one.source_statement or one.target_statement)
