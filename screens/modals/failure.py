"""The details of a failure: what happened, what PostgreSQL said, what to do, what happens next."""

from __future__ import annotations

from engine.errors import Failure, Retry
from screens.modals.text import Copy, TextModal

_NEXT = {
    Retry.TIMED: "livesync-tui tries again by itself.",
    Retry.MANUAL: "Nothing happens until you try again.",
    Retry.NEVER: "Trying again cannot help before this is changed.",
}


def failure_text(failure: Failure) -> str:
    """All parts of a failure under headings, for the screen and for a report."""
    parts = [("What happened", failure.title)]
    if failure.detail:
        code = f"\nSQLSTATE {failure.sqlstate}" if failure.sqlstate else ""
        parts.append(("What was said", failure.detail + code))
    if failure.hint:
        parts.append(("What to do", failure.hint))
    parts.append(("What happens next", _NEXT[failure.retry]))
    return "\n\n".join(f"{heading}\n{text}" for heading, text in parts)


class FailureModal(TextModal):
    """Shows one failure."""

    def __init__(self, failure: Failure, copy: Copy) -> None:
        side = f" on the {failure.side.value}" if failure.side is not None else ""
        super().__init__(f"Error{side}", failure_text(failure), "error.txt", copy)
