"""What the step Cutover needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.cutover.outcome import (
    FenceOutcome,
    ReadOnlyOffer,
    ReadOnlyRecord,
    SequenceOutcome,
    SourceSession,
    WriteActivity,
)
from engine.errors import Failure


class CutoverServices(Protocol):
    """From the writers' stop to the line."""

    @property
    def can_stop_writers(self) -> bool:
        """Whether this program can stop the application's writers itself, as the demo does."""

    def stop_writers(self) -> Failure | None:
        """Stop the application's writers (blocking)."""

    def write_activity(self) -> WriteActivity | Failure:
        """Look for writers and long transactions on the source (blocking)."""

    def why_not_writable(self) -> str | Failure:
        """Why the application could not write to the target; empty when it can (blocking)."""

    def leftovers(self) -> tuple[str, ...] | Failure:
        """What of Post-sync and Rights is not done on the target, a sentence each (blocking)."""

    def pass_fence(self) -> FenceOutcome | Failure:
        """Write a fence on the source and wait until it is durable on the target (blocking)."""

    def copy_sequences(self) -> tuple[SequenceOutcome, ...] | Failure:
        """Carry the positions of sequences over to the target (blocking)."""

    def measure_sequences(self) -> tuple[SequenceOutcome, ...] | Failure:
        """Find out what would be carried over, and set nothing (blocking)."""

    def offer_read_only(self) -> ReadOnlyOffer | Failure:
        """How the source can be kept from writing, and whose sessions are open (blocking)."""

    def make_read_only(self, records: Sequence[ReadOnlyRecord]) -> Failure | None:
        """Write the records down with the migration, then make the settings (blocking)."""

    def undo_read_only(self) -> Failure | None:
        """Bring back what was set before, and forget the records (blocking)."""

    def end_sessions(self, sessions: Sequence[SourceSession]) -> int | Failure:
        """End sessions on the source; how many were told to (blocking)."""

    def not_migrated(self) -> tuple[str, ...] | Failure:
        """What of the source was left out, in words (blocking)."""

    def source_changes(self) -> tuple[str, ...]:
        """Statements of the transcript that were run on the source."""
