"""The step Schema in sentences: how both sides stand, and how a run ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from engine.catalog.table import TableName
from engine.schema.comparison import Applied, AppliedStatement, Presence
from engine.schema.script import WaitingObjects
from screens.format import plural
from screens.step_services.schema import SchemaLook

_NAMES_SHOWN = 4

_PRESENCE_WORDS = {
    Presence.MISSING: "missing",
    Presence.DIFFERENT: "different",
    Presence.IDENTICAL: "identical",
    Presence.ONLY_ON_TARGET: "only there",
}


def missing_line(missing: tuple[TableName, ...], chosen: int) -> str:
    """Which chosen tables the target lacks, in one sentence."""
    if not missing:
        return f"All {plural(chosen, 'chosen table')} exist on the target already."
    names = ", ".join(str(name) for name in missing[:_NAMES_SHOWN])
    more = f" and {len(missing) - _NAMES_SHOWN} more" if len(missing) > _NAMES_SHOWN else ""
    verb = "is" if len(missing) == 1 else "are"
    return f"{len(missing)} of {plural(chosen, 'chosen table')} {verb} missing on the target: {names}{more}"


def waiting_line(waiting: WaitingObjects) -> str:
    """What is built later, in one sentence."""
    count = plural(waiting.count, "key, index or other object", "keys, indexes and other objects")
    return f"{count} wait for the rows: Start builds them"


def compared_line(look: SchemaLook) -> str:
    """How the two schemas stand, in one sentence."""
    counts = Counter(one.presence for one in look.comparison.objects)
    parts = [f"{counts[presence]:,} {word}" for presence, word in _PRESENCE_WORDS.items() if counts[presence]]
    objects = plural(len(look.comparison.objects), "object")
    return f"{objects}: {', '.join(parts)}" if parts else "Neither side has any object"


def results_line(results: Iterable[AppliedStatement]) -> tuple[str, str]:
    """How a run ended, or how far it is, and the tone to say it in."""
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[Applied.DONE]:,} made"]
    for outcome, word in (
        (Applied.IDENTICAL, "already there"),
        (Applied.EXISTS, "exist and were left as they are"),
        (Applied.UNDONE, "undone"),
        (Applied.REFUSED, "refused"),
    ):
        if counts[outcome]:
            parts.append(f"{counts[outcome]:,} {word}")
    is_bad = counts[Applied.REFUSED] or counts[Applied.UNDONE]
    return f"{'✗' if is_bad else '✓'} {', '.join(parts)}.", "$text-warning" if is_bad else "$text-success"
