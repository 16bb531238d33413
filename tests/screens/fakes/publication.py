"""What the source publishes, without a server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from engine.catalog.planned import (
    PlannedStatement,
    PublicationOffer,
    PublicationOffers,
    PublicationPlan,
    PublicationReview,
    PublishedMember,
)
from engine.catalog.table import TableName
from engine.errors import Failure
from engine.script.planned import Script, ScriptResult, ScriptStatement
from screens.step_services.publication import FILE_NAME
from tests.screens.fakes.scripts import FakeScripts


def review(*statements: PlannedStatement, **changes: object) -> PublicationReview:
    """A plan of these statements; none: all is as it should be."""
    plan = replace(PublicationPlan("livesync_shop", statements), **changes)  # type: ignore[arg-type]
    return PublicationReview(plan, (), whole_schemas_asked=False, inserts_only=False, other_slots=())


CREATE = PlannedStatement(
    'create publication "livesync_shop" for table "public"."customers", "public"."orders" '
    "with (publish_via_partition_root = true)",
    "The publication does not exist yet; partitions are published as their root, so that the target may be "
    "partitioned in another way",
)


def offers() -> PublicationOffers:
    """One that nearly fits and limits a table, one that cannot be used."""
    limited = PublicationOffer(
        "reporting",
        "app",
        False,
        (
            PublishedMember(TableName("public", "customers"), ("id", "name"), None),
            PublishedMember(TableName("public", "orders"), None, "(total > 100)"),
        ),
        (),
        (TableName("public", "order_lines"),),
        (),
        ("truncate",),
        False,
    )
    everything = PublicationOffer(
        "everything", "postgres", True, (), (), (), (), (), False, "It is FOR ALL TABLES: choose another one"
    )
    return PublicationOffers((limited, everything), ("debezium",))


@dataclass
class FakePublication:
    """PublicationServices for tests."""

    scripts: FakeScripts
    planned: PublicationReview | Failure = field(default_factory=lambda: review(CREATE))
    offered: PublicationOffers | Failure = field(default_factory=offers)
    applied: int = 0
    undone: int = 0

    def offers(self) -> PublicationOffers | Failure:
        return self.offered

    def plan(self) -> PublicationReview | Failure:
        return self.planned

    def apply(self) -> ScriptResult | Failure:
        result = self.scripts.run(FILE_NAME)
        if isinstance(result, ScriptResult) and not result.refused:
            self.applied += 1
            self.planned = review()
        return result

    def plan_undo(self) -> Script | Failure:
        drop = ScriptStatement(
            "publication livesync_shop: dropped, it was made for this migration",
            'drop publication "livesync_shop"',
        )
        return Script(FILE_NAME, "", (drop,) if self.applied else ())

    def undo(self) -> ScriptResult | Failure:
        self.undone += 1
        self.planned = review(CREATE)
        return ScriptResult(())
