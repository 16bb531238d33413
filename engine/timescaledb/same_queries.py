"""Tells which continuous aggregates have the same query on both sides, whatever words PostgreSQL has for it.

As in :mod:`engine.schema.rewording`, the target is asked how it would word the source's query.
"""

from __future__ import annotations

from engine.catalog.table import TableName
from engine.connection.session import Session
from engine.schema.rewording import word_query
from engine.timescaledb.catalog import TimescaleCatalog


def find_same_queries(
    target_session: Session, source: TimescaleCatalog, target: TimescaleCatalog
) -> frozenset[TableName]:
    """Aggregates that are on both sides with the same query.

    Args:
        target_session: In autocommit mode, with no transaction open; it is left as it was.
        source, target: As they are now.

    Raises:
        ConnectionFailedError: The target was lost.
    """
    there = {view.name: view.query for view in target.aggregates}
    return frozenset(
        view.name
        for view in source.aggregates
        if view.name in there
        and (
            view.query == there[view.name]
            or _reworded(target_session, view.query) == there[view.name].strip()
        )
    )


def _reworded(session: Session, query: str) -> str | None:
    words = word_query(session, query)
    return None if words is None else words.strip()
