"""How a verifier has the apply stream stand still at a position, whichever process the engine runs in.

The two meet on one row of the target's state:

    verifier                                   engine
    --------                                   ------
    lock; row with stop_lsn null ------------> stands still at the next boundary between source transactions
                        <--------------------- is_standing
    makes a slot: snapshot of the source at L
    stop_lsn = L ----------------------------> applies everything committed before L, records the position L
    sees progress.lsn = L, opens a snapshot of the target in which it still is
    deletes the row -------------------------> goes on

Whether the target is at L is said by ``progress`` alone, which is written together with the rows. So an
engine that goes on too early, because the verifier was too slow, makes the verification fail and never err.

Nothing here can hold the stream up for long: the engine obeys while the verifier's session lives, which
holds an advisory lock, and renews ``expires_at``; the apply worker only while the engine repeats the order.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side
from engine.lsn import format_lsn, parse_lsn

_LOCK_CLASS = 0x4C535456
"""First key of the verifier's advisory lock; the second is a checksum of the subscription's name."""

_CLAIM = "select pg_catalog.pg_try_advisory_lock(%s, %s)"

_ORDER = """
insert into _ts_live_sync.verification as v (subname, verifier_pid, stop_lsn, expires_at)
values (%s, pg_catalog.pg_backend_pid(), %s::pg_lsn,
        pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => %s))
on conflict (subname) do update
   set verifier_pid = excluded.verifier_pid, stop_lsn = excluded.stop_lsn, expires_at = excluded.expires_at,
       is_standing = v.is_standing and v.verifier_pid = excluded.verifier_pid
                     and v.stop_lsn is not distinct from excluded.stop_lsn,
       refusal = null
"""

_END = "delete from _ts_live_sync.verification where subname = %s"

_ANSWER = """
select v.is_standing, v.refusal, p.lsn
  from _ts_live_sync.verification v
  join _ts_live_sync.progress p using (subname)
 where v.subname = %s and v.verifier_pid = pg_catalog.pg_backend_pid()
"""

_WANTED = """
select v.verifier_pid, v.stop_lsn,
       v.expires_at > pg_catalog.clock_timestamp()
       and exists (
           select from pg_catalog.pg_locks l
            where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s and l.objsubid = 2
              and l.pid = v.verifier_pid
              and l.database = (select oid from pg_catalog.pg_database
                                 where datname = pg_catalog.current_database()))
  from _ts_live_sync.verification v
 where v.subname = %s
"""

_WRITE_STANDING = """
update _ts_live_sync.verification
   set is_standing = true
 where subname = %s and verifier_pid = %s and stop_lsn is not distinct from %s::pg_lsn and not is_standing
"""

_REFUSE = "update _ts_live_sync.verification set refusal = %s where subname = %s and verifier_pid = %s"

_EXISTS = "select pg_catalog.to_regclass('_ts_live_sync.verification') is not null"


@dataclass(frozen=True, slots=True)
class Standstill:
    """One verifier's order."""

    verifier_pid: int
    stop_lsn: int | None
    """Apply what was committed before it and nothing else; None: stop at the next boundary."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the verifier finds."""

    is_standing: bool
    refusal: str | None
    position_lsn: int
    """The recorded position of the apply stream."""


class StandstillStore:
    """Reads and writes the row of one subscription over one target session.

    Every method raises :class:`~engine.errors.EngineError` when the target refuses or is gone.
    """

    def __init__(self, session: Session, subscription: str) -> None:
        self._session = session
        self._subscription = subscription
        self._key = zlib.crc32(subscription.encode()) & 0x7FFFFFFF

    def _run(
        self, statement: str, parameters: tuple[object, ...], doing: str
    ) -> psycopg.Cursor[tuple[object, ...]]:
        try:
            return self._session.execute(statement.encode(), parameters)
        except psycopg.Error as error:
            raise explain(error, Side.TARGET, doing) from None

    def exists(self) -> bool:
        """Whether the engine that made the state knows of verification."""
        return self._run(_EXISTS, (), "looking for state").fetchone() == (True,)

    # --- the verifier

    def claim(self) -> None:
        """Be the verifier for as long as this session lives.

        Raises:
            BlockedError: There is another one.
        """
        if self._run(_CLAIM, (_LOCK_CLASS, self._key), "taking the lock").fetchone() == (True,):
            return
        raise BlockedError(
            Failure(
                title=f"Another verification of subscription {self._subscription} begins at this moment",
                hint="Try again in a minute",
                side=Side.TARGET,
                retry=Retry.MANUAL,
            )
        )

    def order(self, stop_lsn: int | None, seconds: float) -> None:
        """Order a standstill, or renew the order, for at most ``seconds``."""
        position = None if stop_lsn is None else format_lsn(stop_lsn)
        self._run(_ORDER, (self._subscription, position, seconds), "asking for a standstill")

    def answer(self) -> Answer | None:
        """What came of the order; None when it was forgotten."""
        row = self._run(_ANSWER, (self._subscription,), "waiting for the standstill").fetchone()
        if row is None:
            return None
        return Answer(bool(row[0]), None if row[1] is None else str(row[1]), parse_lsn(str(row[2])))

    def end(self) -> None:
        """Let the apply stream go on."""
        self._run(_END, (self._subscription,), "ending the standstill")

    # --- the engine

    def wanted(self) -> Standstill | None:
        """The order in force; one whose verifier is gone, or has not renewed it, is removed."""
        row = self._run(
            _WANTED, (_LOCK_CLASS, self._key, self._subscription), "looking for a verification"
        ).fetchone()
        if row is None:
            return None
        pid, stop_lsn, is_in_force = row
        if not is_in_force:
            self.end()
            return None
        return Standstill(int(str(pid)), None if stop_lsn is None else parse_lsn(str(stop_lsn)))

    def write_standing(self, order: Standstill) -> None:
        """Say that ``order`` is carried out."""
        position = None if order.stop_lsn is None else format_lsn(order.stop_lsn)
        self._run(
            _WRITE_STANDING, (self._subscription, order.verifier_pid, position), "answering a verification"
        )

    def refuse(self, order: Standstill, why: str) -> None:
        """Say why ``order`` is not carried out."""
        self._run(_REFUSE, (why, self._subscription, order.verifier_pid), "answering a verification")
