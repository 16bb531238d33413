"""The cutover's services, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engine.cutover.outcome import (
    FenceOutcome,
    ReadOnlyOffer,
    ReadOnlyRecord,
    SequenceOutcome,
    SourceSession,
    WriteActivity,
)
from engine.errors import Failure
from engine.snapshot import FenceSeen

if TYPE_CHECKING:
    from tests.screens.fake_services import FakeServices

_NOW = datetime(2026, 11, 21, 2, 30, 0, tzinfo=UTC)

PASSED_FENCE = FenceOutcome(
    fence="fence 0123456789abcdef",
    statement="select pg_catalog.pg_logical_emit_message(true, 'livesync-tui', 'fence 0123456789abcdef')",
    fence_lsn="2A/5B0F1D20",
    applied_lsn="2A/5B0F1D20",
    reached=True,
    comes_through_stream=True,
    seconds=0.8,
    failure=None,
)
FENCE_SEEN = FenceSeen(PASSED_FENCE.fence, PASSED_FENCE.fence_lsn, 0)
SEQUENCES = tuple(
    SequenceOutcome(f"public.s{number}", f"public.s{number}", 100 * number, True, None)
    for number in range(1, 12)
)
QUIET = WriteActivity(_NOW, "2A/5B0F1D20", (), 7_000)
OFFER = ReadOnlyOffer(
    ReadOnlyRecord("shop", "", None),
    (ReadOnlyRecord("shop", "app", None), ReadOnlyRecord("shop", "billing", "off")),
    (SourceSession(4711, _NOW, "app", "pid 4711 · app · checkout · 10.0.3.4 · idle"),),
)


@dataclass
class FakeCutover:
    """CutoverServices for tests."""

    activities: list[WriteActivity | Failure] = field(default_factory=list)
    can_stop_writers: bool = False
    fence: FenceOutcome | Failure = PASSED_FENCE
    sequences: tuple[SequenceOutcome, ...] | Failure = SEQUENCES
    not_writable: str | Failure = ""
    left: tuple[str, ...] | Failure = ()
    offer: ReadOnlyOffer | Failure = OFFER
    refuses: Failure | None = None
    """Why the source takes no setting."""

    left_out: tuple[str, ...] | Failure = (
        "table public.sessions_cache: unlogged: its rows are not in the WAL",
    )
    changes: tuple[str, ...] = ("ALTER TABLE public.audit_log REPLICA IDENTITY FULL",)
    calls: list[str] = field(default_factory=list)
    services: FakeServices | None = None
    """Whose migration and engine it changes; set by these."""

    def stop_writers(self) -> Failure | None:
        self.calls.append("stop writers")
        return None

    def write_activity(self) -> WriteActivity | Failure:
        return self.activities.pop(0) if self.activities else QUIET

    def why_not_writable(self) -> str | Failure:
        return self.not_writable

    def leftovers(self) -> tuple[str, ...] | Failure:
        return self.left

    def pass_fence(self) -> FenceOutcome | Failure:
        self.calls.append("fence")
        engine = self.services.engine if self.services is not None else None
        if isinstance(self.fence, FenceOutcome) and self.fence.reached and engine is not None:
            current = engine.current
            if current is not None and current.fence(self.fence.fence) is None:
                seen = FenceSeen(self.fence.fence, self.fence.fence_lsn, 0)
                engine.current = replace(current, fences=(*current.fences, seen))
        return self.fence

    def copy_sequences(self) -> tuple[SequenceOutcome, ...] | Failure:
        self.calls.append("copy sequences")
        return self.sequences

    def measure_sequences(self) -> tuple[SequenceOutcome, ...] | Failure:
        self.calls.append("measure sequences")
        return self.sequences

    def offer_read_only(self) -> ReadOnlyOffer | Failure:
        return self.offer

    def make_read_only(self, records: Sequence[ReadOnlyRecord]) -> Failure | None:
        self.calls.append("read-only")
        if self.refuses is None:
            self._remember(tuple(records))
        return self.refuses

    def undo_read_only(self) -> Failure | None:
        self.calls.append("undo read-only")
        if self.refuses is None:
            self._remember(())
        return self.refuses

    def _remember(self, records: tuple[ReadOnlyRecord, ...]) -> None:
        assert self.services is not None
        self.services.migration = replace(self.services.migration, read_only=records)

    def end_sessions(self, sessions: Sequence[SourceSession]) -> int | Failure:
        self.calls.append(f"end {', '.join(str(session.pid) for session in sessions)}")
        return len(sessions)

    def not_migrated(self) -> tuple[str, ...] | Failure:
        return self.left_out

    def source_changes(self) -> tuple[str, ...]:
        return self.changes
