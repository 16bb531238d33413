"""What is left on both servers, without them."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.errors import Failure
from engine.script.planned import ScriptStatement, StatementResult
from screens.step_services.cleanup import CleanupOutcome, CleanupPlan


def cleanup_plan() -> CleanupPlan:
    """A slot, a publication of ours, and an identity."""
    return CleanupPlan(
        ("live_sync_shop",),
        (
            ScriptStatement(
                "publication livesync_shop: dropped, it was made for this migration",
                'drop publication "livesync_shop"',
            ),
            ScriptStatement("public.audit_log", 'alter table "public"."audit_log" replica identity default'),
            ScriptStatement(
                "public.legacy",
                'alter table "public"."legacy" replica identity default',
                "public.legacy is still published by reporting, and DEFAULT would make its updates fail",
            ),
        ),
        (ScriptStatement("role app: no longer acted for", "REVOKE app FROM tsdbadmin"),),
        (ScriptStatement("role livesync_migrate: the role itself", "DROP ROLE livesync_migrate"),),
    )


@dataclass
class FakeCleanup:
    """CleanupServices for tests."""

    planned: CleanupPlan | Failure = field(default_factory=cleanup_plan)
    results: tuple[StatementResult, ...] = ()
    runs: int = 0

    def plan(self) -> CleanupPlan | Failure:
        return self.planned

    def run(self) -> CleanupOutcome | Failure:
        self.runs += 1
        return CleanupOutcome(("live_sync_shop",), True, self.results)
