"""Replica identities without a server."""

from __future__ import annotations

from dataclasses import dataclass

from engine.catalog.planned_identity import (
    IdentityPlan,
    IdentityProposal,
    IdentityRecord,
    IdentitySetting,
    MissingRight,
    TableIdentity,
)
from engine.catalog.table import ReplicaIdentity, TableName
from engine.errors import Failure
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement
from screens.generated import GeneratedFile
from screens.step_services.identity import FILE_NAME
from tests.screens.fakes.scripts import FakeScripts

DEFAULT = IdentitySetting(ReplicaIdentity.DEFAULT)
FULL = IdentitySetting(ReplicaIdentity.FULL)
NOTHING_MISSING = IdentityPlan(
    tuple(TableIdentity(TableName("public", name), DEFAULT, ()) for name in ("customers", "orders"))
)


def proposal(
    table: str, after: IdentitySetting = FULL, right: MissingRight | None = None
) -> IdentityProposal:
    """What a table without a primary key needs."""
    name = TableName("public", table)
    by_index = after.index is not None
    sql = f"alter table {name} replica identity " + (f"using index {after.index}" if by_index else "full")
    return IdentityProposal(
        table=name,
        relation=name,
        now=DEFAULT,
        proposed=after,
        sql=sql,
        missing="It has no primary key",
        why=f"Once {name} is published, its updates and deletes fail, unless something names the row. "
        + (
            "The unique index can do that"
            if by_index
            else "It has no key, so the whole old row goes into the WAL"
        ),
        costs=("While it is published, updates and deletes fail as soon as that index is dropped",)
        if by_index
        else (
            "Each update and delete writes the whole old row into the WAL",
            "No index on the target finds such a row: each update and delete searches the table there, "
            "325,058,560 bytes as it is now. Updates and deletes so far: 2,114",
        ),
        alternatives=()
        if by_index
        else ('The unique index audit_log_ref would do if it had NOT NULL on "ref"',),
        missing_right=right,
        record=IdentityRecord(104, name, DEFAULT, after, f"alter table {name} replica identity default"),
    )


def some_missing() -> IdentityPlan:
    """Two tables that need another identity, one that our role may not change, one that nothing helps."""
    index = IdentitySetting(ReplicaIdentity.INDEX, "readings_at_key")
    right = MissingRight(
        "public.legacy belongs to billing, and only its owner may change it", "grant billing to mover"
    )
    proposals = (proposal("audit_log"), proposal("legacy", right=right), proposal("readings", index))
    return IdentityPlan(
        (
            *NOTHING_MISSING.tables,
            *(TableIdentity(one.table, DEFAULT, (one,)) for one in proposals),
            TableIdentity(
                TableName("public", "sessions_cache"), DEFAULT, (), "unlogged: its rows are not in the WAL"
            ),
        )
    )


@dataclass
class FakeIdentity:
    """IdentityServices for tests."""

    scripts: FakeScripts
    planned: IdentityPlan | Failure = NOTHING_MISSING
    stays: str = ""
    """Why nothing can be put back."""

    applied: int = 0
    undone: int = 0

    def plan(self) -> IdentityPlan | Failure:
        return self.planned

    def apply(self) -> ScriptResult | Failure:
        file = self.scripts.read(FILE_NAME)
        result = self.scripts.run(FILE_NAME)
        self.applied += 1
        if isinstance(result, ScriptResult) and isinstance(self.planned, IdentityPlan):
            assert isinstance(file, GeneratedFile)
            done = {one.about for one in result.results if one.outcome is Outcome.APPLIED}
            self.planned = IdentityPlan(
                tuple(
                    TableIdentity(
                        one.table,
                        one.now,
                        tuple(each for each in one.proposals if each.about not in done),
                        one.problem,
                    )
                    for one in self.planned.tables
                )
            )
        return result

    def plan_undo(self) -> Script | Failure:
        if not self.applied and not self.stays:
            return Script(FILE_NAME, "", ())
        undo = ScriptStatement(
            "public.audit_log", "alter table public.audit_log replica identity default", self.stays
        )
        return Script(FILE_NAME, "", (undo,))

    def undo(self) -> ScriptResult | Failure:
        self.undone += 1
        return ScriptResult(())
