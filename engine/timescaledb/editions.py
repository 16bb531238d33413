"""What a target's edition or release lacks, in words."""

from __future__ import annotations

from collections.abc import Iterable

from engine.script.planned import ScriptStatement, apart
from engine.timescaledb.installation import Installation


def unless_full(
    statements: Iterable[ScriptStatement], installation: Installation, what: str
) -> tuple[ScriptStatement, ...]:
    """Set statements apart where the edition has nothing of the kind.

    Args:
        statements: For the target.
        installation: The target's.
        what: What it would have to have: ``no columnstore``.
    """
    if installation.is_full:
        return tuple(statements)
    return apart(statements, f"the target runs TimescaleDB's Apache edition, which has {what}")
