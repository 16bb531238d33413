"""Has a subscription take up what its publications publish now, whether or not an engine is running it."""

from __future__ import annotations

import time

from engine.catalog.table_map import TableMap
from engine.checks.subscription import require_publications
from engine.connection.endpoint import Endpoint
from engine.connection.session import open_session
from engine.errors import BlockedError, EngineError, Failure, Retry, Side
from engine.replication.publication import list_published_tables
from engine.replication.slots import require_subscription_name
from engine.replication.state import StateStore

_POLL_SECONDS = 0.2


def refresh_publication(
    source: Endpoint,
    target: Endpoint,
    subscription: str,
    table_map: TableMap | None,
    *,
    timeout_seconds: float,
) -> bool:
    """Record the request and wait until a running engine has answered it.

    Args:
        source: Where the publications are.
        target: Where the state is.
        subscription: Its name.
        table_map: In force from now on; None keeps the recorded one.
        timeout_seconds: How long a running engine may take.

    Returns:
        True when a running engine has taken it up; False when none is running: the next start does.

    Raises:
        BlockedError: The target does not know the subscription, or a publication is gone, or
            two of them publish different columns of one table.
        EngineError: A server failed, or the running engine did not answer.
    """
    require_subscription_name(subscription)
    with open_session(target, f"refresh {subscription}") as session:
        state = StateStore(session, subscription)
        row = state.read() if state.exists() else None
        if row is None:
            raise unknown_subscription(subscription)
        with open_session(source, f"refresh {subscription}") as source_session:
            require_publications(source_session, row.publications)
            # Refuses what a running engine would have to refuse as well.
            list_published_tables(source_session, row.publications)
        state.update_publications(row.publications, table_map or row.table_map)
        state.request_refresh()
        if _is_idle(state):
            return False
        deadline = time.monotonic() + timeout_seconds
        while state.refresh_is_requested():
            if time.monotonic() > deadline:
                raise EngineError(
                    Failure(
                        title="The running engine has not answered the request yet",
                        hint="It does so as soon as it reaches both servers; look at its status",
                        side=Side.TARGET,
                        retry=Retry.MANUAL,
                    )
                )
            time.sleep(_POLL_SECONDS)
        return True


def _is_idle(state: StateStore) -> bool:
    """Whether no engine runs the subscription: its lock can be had."""
    try:
        state.lock()
    except BlockedError:
        return False
    return True


def unknown_subscription(subscription: str) -> BlockedError:
    """The error of a command about a subscription the target does not know."""
    return BlockedError(
        Failure(
            title=f"The target knows no subscription {subscription}",
            hint="Check --subscription and --target; livesync-tui run starts a new one",
            side=Side.TARGET,
            retry=Retry.NEVER,
        )
    )
