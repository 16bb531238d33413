"""Removes everything a subscription left on either side: its slots on the source, its state in the target."""

from __future__ import annotations

from dataclasses import dataclass

from engine.connection.endpoint import Endpoint
from engine.connection.session import open_session
from engine.replication.deferred_state import DeferredStep, DeferredStore
from engine.replication.slots import drop_slot, list_slots, require_subscription_name
from engine.replication.standstill import StandstillStore
from engine.replication.state import StateStore
from engine.script.planned import StatementResult
from engine.timescaledb.source_changes import SourceChangeStore, take_back


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was there and is gone."""

    slots: tuple[str, ...]
    had_state: bool
    not_built: tuple[DeferredStep, ...]
    """What a restored schema still lacked; with the state, the record of it is gone."""

    not_put_back: tuple[StatementResult, ...] = ()
    """What the source refused to have back as it was before the migration; that record is gone too."""


def drop_subscription(source: Endpoint, target: Endpoint, subscription: str) -> Dropped:
    """Drop the slots and the state of ``subscription``; rows on the target stay.

    Raises:
        UsageError: The name is not one.
        BlockedError: An engine is running it.
        EngineError: A server could not be reached or refused. Slots go first: state without a slot is
            harmless, a slot without state fills the source's disk.
    """
    require_subscription_name(subscription)
    with open_session(target, f"drop {subscription}") as target_session:
        state = StateStore(target_session, subscription)
        state.lock()
        with open_session(source, f"drop {subscription}") as source_session:
            slots = tuple(sorted(list_slots(source_session, subscription)))
            for slot in slots:
                drop_slot(source_session, slot)
            changes = SourceChangeStore(target_session, subscription)
            not_put_back = take_back(source_session, changes).refused
            changes.forget()
        deferred = DeferredStore(target_session, subscription)
        not_built = deferred.unfinished()
        deferred.forget()
        standstill = StandstillStore(target_session, subscription)
        if standstill.exists():
            standstill.end()
        return Dropped(slots, state.forget() if state.exists() else False, not_built, not_put_back)
