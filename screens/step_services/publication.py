"""What the step Publication needs from outside."""

from __future__ import annotations

from typing import Protocol

from engine.catalog.planned import PublicationOffers, PublicationReview
from engine.errors import Failure
from engine.script.planned import Script, ScriptResult

FILE_NAME = "publication.sql"


class PublicationServices(Protocol):
    """What the source publishes."""

    def offers(self) -> PublicationOffers | Failure:
        """The publications that the source has, against the chosen tables (blocking)."""

    def plan(self) -> PublicationReview | Failure:
        """What makes the migration's publication publish the chosen tables (blocking)."""

    def apply(self) -> ScriptResult | Failure:
        """Run what is in the generated file, one by one, and remember what was there before (blocking)."""

    def plan_undo(self) -> Script | Failure:
        """What would take back what was done to publications (blocking)."""

    def undo(self) -> ScriptResult | Failure:
        """Take back what was done to publications (blocking)."""
