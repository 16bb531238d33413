"""How the rows of a continuous aggregate come to the target. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from engine.catalog.table import TableName


class RefillWay(Enum):
    """What happens after the copy."""

    RECOMPUTE = "recompute"
    """It is refreshed as a whole: all it holds can be had from the rows there are."""

    COPY = "copy"
    """Its own rows are copied: they hold what cannot be computed any more. It is never refreshed from the
    beginning; that would delete what has no rows below it."""

    LOSE = "lose"
    """It holds what cannot be computed any more, in a form that cannot be copied."""


@dataclass(frozen=True, slots=True)
class Refill:
    """What was decided for one continuous aggregate, and why."""

    aggregate: TableName
    way: RefillWay
    reason: str
