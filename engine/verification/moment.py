"""Snapshots of both sides at one position of the source's log, while both are written to.

A slot gives a snapshot of the source with its exact position L. The apply stream, which stands still
while the slot is made, applies what was committed before L, records L and stands still again until a snapshot
of the target is open (:mod:`engine.replication.standstill`). That the recorded position is L in this very
snapshot is the proof: it is written together with the rows, so they are those of L.

Without an engine nobody moves the target. Then the subscription's slot is asked whether anything was
committed between the recorded position and L.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from engine.connection.deadline import deadline
from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.errors import BlockedError, ConnectionFailedError, EngineError, Failure, Retry, Side
from engine.lsn import format_lsn, parse_lsn
from engine.replication.bootstrap import require_usable
from engine.replication.outstanding import is_anything_outstanding
from engine.replication.refresh import unknown_subscription
from engine.replication.slots import apply_slot_name, list_slots, oldest_writer, require_subscription_name
from engine.replication.standstill import Answer, StandstillStore
from engine.replication.state import StateStore, SubscriptionRow
from engine.replication.stream import CreatedSlot, ReplicationConnection

_PATIENCE_SECONDS = (2, 4, 8, 16, 30, 30)
"""How long each attempt at the slot waits for a transaction that is writing; the apply stream stands still
meanwhile, and goes on between two attempts."""

_RENEWED_SECONDS = 30.0
"""How long an order is good for while somebody waits here for its answer."""

_POLL_SECONDS = 0.05

_RENEW_EVERY_SECONDS = 5.0

_NOTICE_SECONDS = 0.2
"""How long an engine that is obeying an order may take to see the next one."""

_STILL_SECONDS = 300.0
"""An apply stream that does not move for so long will not get there by itself."""

_CONNECT_SECONDS = 60.0

_SETTINGS = {
    # Compiling pays off for nothing that reads each row once.
    "jit": "off",
    # How much of a server is taken is decided here, by the number of sessions.
    "max_parallel_workers_per_gather": "0",
}

_BEGIN = "begin transaction isolation level repeatable read read only"

_POSITION = "select lsn::text from _ts_live_sync.progress where subname = %s"


@dataclass(frozen=True, slots=True)
class Moment:
    """Both sides at one position; each session is in a transaction with its side's snapshot."""

    lsn: int
    taken_at: datetime
    source: tuple[Session, ...]
    target: tuple[Session, ...]
    subscription: SubscriptionRow
    standstill_seconds: float | None
    """How long the apply stream stood still in all, about; None when no engine runs."""


class _LateError(Exception):
    """The apply stream went on before the target's snapshot was open."""


@contextmanager
def both_at_one_position(
    source: Endpoint,
    target: Endpoint,
    subscription: str,
    *,
    sessions: int,
    on_wait: Callable[[str], None],
) -> Iterator[Moment]:
    """Open sessions on both sides whose snapshots show the same commits of the source.

    Args:
        source: Where the slots are.
        target: Where the state is.
        subscription: Its name.
        sessions: How many on each side.
        on_wait: Told in words what is waited for.

    Raises:
        BlockedError: The target does not know the subscription; the engine is paused; no engine runs and
            something is not applied yet; another verification begins at this moment.
        EngineError: A server failed, or the moment could not be had in several attempts.
    """
    require_subscription_name(subscription)
    with ExitStack() as stack:
        with open_session(target, f"verify {subscription}") as control:
            taking = _Taking(source, target, control, subscription, sessions=sessions, on_wait=on_wait)
            moment = taking.take(stack)
        yield moment


@dataclass(frozen=True, slots=True)
class _Sessions:
    """What one attempt works with."""

    source: tuple[Session, ...]
    target: tuple[Session, ...]
    walsender: ReplicationConnection
    patience_seconds: int


class _Taking:
    """The attempts at one moment."""

    def __init__(
        self,
        source: Endpoint,
        target: Endpoint,
        control: Session,
        subscription: str,
        *,
        sessions: int,
        on_wait: Callable[[str], None],
    ) -> None:
        self._source = source
        self._target = target
        self._control = control
        self._subscription = subscription
        self._sessions = sessions
        self._on_wait = on_wait
        self._state = StateStore(control, subscription)
        self._standstill = StandstillStore(control, subscription)
        self._stood_seconds = 0.0

    def take(self, stack: ExitStack) -> Moment:
        """Try until it works; the sessions are closed with ``stack``."""
        row = self._state.read() if self._state.exists() else None
        if row is None:
            raise unknown_subscription(self._subscription)
        if row.progress_lsn is None:
            raise _not_started(self._subscription)
        is_running = self._state.is_locked()
        if is_running:
            if not self._standstill.exists():
                raise _engine_too_old()
            self._standstill.claim()
        for patience_seconds in _PATIENCE_SECONDS:
            with ExitStack() as attempt:
                made = self._connect(attempt, patience_seconds)
                try:
                    lsn = self._while_applied(made) if is_running else self._while_idle(made)
                except _LateError:
                    self._on_wait("The apply stream went on too early; trying again")
                    continue
                finally:
                    if is_running:
                        self._end_standstill()
                if lsn is None:
                    self._wait_for_writer(patience_seconds)
                    continue
                stack.push(attempt.pop_all())
                stood_seconds = self._stood_seconds if is_running else None
                return Moment(lsn, datetime.now(UTC), made.source, made.target, row, stood_seconds)
        raise EngineError(
            Failure(
                title="No moment could be had at which both sides show the same commits",
                hint="End the long transactions on the source that were named, then verify again",
                side=Side.SOURCE,
                retry=Retry.MANUAL,
            )
        )

    # --- beside a running engine

    def _while_applied(self, made: _Sessions) -> int | None:
        self._await(None, lambda answer: answer.is_standing, "Waiting for the apply stream to stand still")
        stands_since = time.monotonic()
        # Several transactions may be waited for, one after the other.
        self._standstill.order(None, _RENEWED_SECONDS + 4 * made.patience_seconds)
        lsn = self._enter_source(made)
        if lsn is None:
            self._stood(stands_since)
            return None
        self._standstill.order(lsn, _RENEWED_SECONDS)
        self._stood(stands_since)
        self._await(
            lsn,
            lambda answer: answer.position_lsn >= lsn,
            f"Waiting for the apply stream to reach {format_lsn(lsn)}",
        )
        stands_since = time.monotonic()
        position = self._enter_target(made)
        self._standstill.end()
        self._stood(stands_since)
        if position != lsn:
            raise _LateError
        return lsn

    def _stood(self, since: float) -> None:
        self._stood_seconds += time.monotonic() - since + _NOTICE_SECONDS

    def _await(self, stop_lsn: int | None, has_come: Callable[[Answer], bool], words: str) -> None:
        """Order a standstill, renew the order, and wait for ``has_come``."""
        began = moved = time.monotonic()
        renewed = float("-inf")
        position = -1
        said = False
        while True:
            now = time.monotonic()
            if now - renewed > _RENEW_EVERY_SECONDS:
                if not self._state.is_locked():
                    raise _engine_ended()
                self._standstill.order(stop_lsn, _RENEWED_SECONDS)
                renewed = now
            answer = self._standstill.answer()
            if answer is not None:
                if answer.refusal is not None:
                    raise _refused(answer.refusal)
                if has_come(answer):
                    return
                if answer.position_lsn != position:
                    position, moved = answer.position_lsn, now
            if not said and now - began > _RENEW_EVERY_SECONDS:
                said = True
                self._on_wait(words)
            if now - moved > _STILL_SECONDS:
                raise _does_not_move(self._subscription)
            time.sleep(_POLL_SECONDS)

    def _end_standstill(self) -> None:
        try:
            self._standstill.end()
        except EngineError:
            pass  # With the session the order is void too.

    # --- without an engine

    def _while_idle(self, made: _Sessions) -> int | None:
        lsn = self._enter_source(made)
        if lsn is None:
            return None
        position = self._enter_target(made)
        row = self._state.read()
        if row is None:
            raise unknown_subscription(self._subscription)
        if self._state.is_locked() or row.progress_lsn != position:
            raise _engine_began()
        slot_name = apply_slot_name(self._subscription)
        with open_session(self._source, f"verify {self._subscription}") as session:
            slot = list_slots(session, self._subscription).get(slot_name)
        require_usable(self._subscription, slot, position)
        if is_anything_outstanding(
            self._source, slot_name, row.publications, position, lsn, purpose=f"verify {self._subscription}"
        ):
            raise _outstanding(self._subscription)
        return lsn

    # --- snapshots

    def _connect(self, stack: ExitStack, patience_seconds: int) -> _Sessions:
        """Open everything there will be a use for, so that the stream does not stand still for it."""
        purpose = f"verify {self._subscription}"
        source, target = (
            tuple(
                stack.enter_context(open_session(endpoint, purpose, extra=_SETTINGS))
                for _ in range(self._sessions)
            )
            for endpoint in (self._source, self._target)
        )
        walsender = ReplicationConnection(self._source, purpose, lock_timeout_seconds=patience_seconds)
        return _Sessions(source, target, stack.enter_context(walsender), patience_seconds)

    def _enter_source(self, made: _Sessions) -> int | None:
        """Make a slot and take up its snapshot; its position, or None when a transaction was in the way."""
        attempts = iter((False,))
        with made.walsender as walsender:
            created: CreatedSlot | None = walsender.create_slot(
                f"verify_live_sync_{self._subscription}_{self._control.info.backend_pid}",
                on_blocked=lambda: None,
                should_stop=lambda: next(attempts, True),
                is_temporary=True,
            )
            if created is None:
                return None
            for session in made.source:
                _enter_snapshot(session, Side.SOURCE, created.snapshot)
        return created.consistent_lsn

    def _enter_target(self, made: _Sessions) -> int:
        """Open one snapshot of the target in all its sessions; the recorded position in it."""
        first, *others = made.target
        try:
            with deadline(_CONNECT_SECONDS, *made.target):
                first.execute(_BEGIN)
                row = first.execute(_POSITION, (self._subscription,)).fetchone()
                exported = first.execute("select pg_catalog.pg_export_snapshot()").fetchone()
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, "opening a snapshot") from None
        if row is None or exported is None:
            raise unknown_subscription(self._subscription)
        for session in others:
            _enter_snapshot(session, Side.TARGET, str(exported[0]))
        return parse_lsn(str(row[0]))

    def _wait_for_writer(self, patience_seconds: int) -> None:
        """Say which transaction was in the way; give it as long again to end, while the stream goes on."""
        with open_session(self._source, f"verify {self._subscription}") as session:
            until = time.monotonic() + patience_seconds
            said = False
            while time.monotonic() < until and (writer := oldest_writer(session)) is not None:
                if not said:
                    said = True
                    self._on_wait(f"A snapshot of the source waits for a transaction to end: {writer}")
                time.sleep(_POLL_SECONDS)


def _enter_snapshot(session: Session, side: Side, snapshot: str) -> None:
    try:
        with deadline(_CONNECT_SECONDS, session):
            session.execute(_BEGIN)
            session.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))
    except psycopg.Error as error:
        raise explain(error, side, "taking up a snapshot") from None


def _not_started(subscription: str) -> BlockedError:
    return BlockedError(
        Failure(
            title=f"Subscription {subscription} has not begun to replicate",
            hint="Start it with livesync-tui run, then verify",
            side=Side.TARGET,
            retry=Retry.MANUAL,
        )
    )


def _engine_too_old() -> BlockedError:
    return BlockedError(
        Failure(
            title="The running engine does not know of verification",
            hint="Start it again with this version of livesync-tui",
            side=Side.TARGET,
            retry=Retry.MANUAL,
        )
    )


def _engine_ended() -> ConnectionFailedError:
    return ConnectionFailedError(
        Failure(
            title="The engine ended, or lost its connection, while it was waited for",
            hint="Verify again when livesync-tui run works",
            side=Side.TARGET,
            retry=Retry.MANUAL,
        )
    )


def _engine_began() -> EngineError:
    return EngineError(
        Failure(
            title="An engine was started while the snapshots were taken",
            hint="Verify again",
            side=Side.TARGET,
            retry=Retry.MANUAL,
        )
    )


def _refused(why: str) -> BlockedError:
    return BlockedError(
        Failure(
            title=f"{why}, so the target cannot be brought to a position of the source",
            hint="Resume it, then verify again",
            side=Side.TARGET,
            retry=Retry.MANUAL,
        )
    )


def _does_not_move(subscription: str) -> EngineError:
    return EngineError(
        Failure(
            title=f"The apply stream has not moved for {_STILL_SECONDS:.0f} s",
            hint=f"Look at livesync-tui status --subscription {subscription}; verify again when it moves",
            side=Side.TARGET,
            retry=Retry.MANUAL,
        )
    )


def _outstanding(subscription: str) -> BlockedError:
    return BlockedError(
        Failure(
            title="No engine is running, and the source has written rows that are not applied yet",
            hint=f"Start livesync-tui run for {subscription} and verify while it runs",
            side=Side.SOURCE,
            retry=Retry.MANUAL,
        )
    )
