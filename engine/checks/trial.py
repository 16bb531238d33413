"""What can be tried is tried: a replication connection, a slot, the replica role, further sessions."""

from __future__ import annotations

import secrets
from contextlib import closing

import psycopg
from psycopg import sql

from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.identity import read_identity
from engine.checks.server import Server
from engine.checks.source import SourceFacts
from engine.connection.explain import message_of
from engine.connection.session import Session, open_session
from engine.errors import EngineError, Side
from engine.replication.slots import oldest_writer

SLOT_TRIAL_SECONDS = 3.0
"""How long a trial waits for writing transactions; one that is as short as it should be ends before."""

_MORE_SESSIONS = 2
"""Beside the first one and the replication connection: a balancer of two servers shows up in most runs."""

_LOCK_NOT_AVAILABLE = "55P03"

_LOCK_TIMEOUT = "select pg_catalog.set_config('lock_timeout', {}, false)"


def check_one_server(server: Server) -> Finding:
    """Whether further sessions reach the same server, which they need not behind a load balancer.

    Raises:
        EngineError: The server could not be read.
    """
    check = "one_server"
    first = read_identity(server.session, server.side)
    for _ in range(_MORE_SESSIONS):
        with open_session(server.endpoint, "check") as session:
            other = read_identity(session, server.side)
            if other.is_same_database(first):
                continue
            return trouble(
                check,
                server.side,
                Verdict.BLOCKS,
                f"another session reached another server ({session.info.host} port {session.info.port})",
                "Snapshots, locks and positions belong to one server; sessions that are spread over several "
                "cannot work together",
                remedy=by_hand("Use an address that always leads to the primary, with a single host in it"),
            )
    return ok(check, server.side, "every session reaches the same server")


def check_replication_connection(server: Server, facts: SourceFacts) -> tuple[Finding, Finding]:
    """Open a replication connection, and make a temporary slot on it.

    Poolers, proxies and allow lists may refuse only replication connections, so one is opened for real.

    Raises:
        EngineError: The source could not be read.
    """
    connection, slot = "replication_connection", "slot_trial"
    try:
        session = open_session(server.endpoint, "check", replication=True)
    except EngineError as error:
        refused = trouble(
            connection,
            Side.SOURCE,
            Verdict.BLOCKS,
            f"refused: {error.failure.detail or error.failure.title}",
            "Changes are read over a replication connection; an ordinary one works, this one does not",
            remedy=by_hand(error.failure.hint or "Use the direct (not pooled) host and port of the primary"),
        )
        return refused, _not_tried(slot, "there is no replication connection")
    with closing(session):
        accepted = ok(connection, Side.SOURCE, "accepted")
        if obstacle := _obstacle(server, facts):
            return accepted, _not_tried(slot, obstacle)
        return accepted, _slot_trial(server, session)


def _obstacle(server: Server, facts: SourceFacts) -> str:
    if facts.wal_level != "logical":
        return f"wal_level is {facts.wal_level}"
    if server.is_standby:
        return "this is a standby"
    return "no slot is free" if facts.slots_used >= facts.slots else ""


def _not_tried(check: str, obstacle: str) -> Finding:
    return trouble(
        check,
        Side.SOURCE,
        Verdict.UNKNOWN,
        f"not tried: {obstacle}",
        "Whether the source gives out a replication slot shows only when one is made",
        remedy=by_hand("Fix what blocks, and check again"),
    )


def _slot_trial(server: Server, session: Session) -> Finding:
    """A temporary slot is gone with its session, whatever happens (PostgreSQL 54.4)."""
    check = "slot_trial"
    name = f"livesync_check_{secrets.token_hex(4)}"
    # lock_timeout bounds the wait for writing transactions; statement_timeout does not reach it.
    timeout = sql.SQL(_LOCK_TIMEOUT).format(sql.Literal(f"{SLOT_TRIAL_SECONDS * 1000:.0f}ms"))
    create = sql.SQL("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT").format(
        sql.Identifier(name)
    )
    try:
        session.execute(timeout)
        session.execute(create)
    except psycopg.Error as error:
        if error.sqlstate != _LOCK_NOT_AVAILABLE:
            return trouble(
                check,
                Side.SOURCE,
                Verdict.BLOCKS,
                f"refused: {message_of(error)}",
                "The copy of every table begins with a replication slot",
                remedy=by_hand("Change what the message names, and check again"),
            )
        blocker = oldest_writer(server.session) or "a transaction that has just ended"
        return trouble(
            check,
            Side.SOURCE,
            Verdict.WARNING,
            f"not ready within {SLOT_TRIAL_SECONDS:g} s: it waits for {blocker}",
            "A replication slot is ready only when every transaction that was writing has ended, in any "
            "database of the server; until then the copy does not start",
            remedy=by_hand("Let the transaction end, or end its session: select pg_terminate_backend(…)"),
        )
    return ok(check, Side.SOURCE, "a temporary slot was made and dropped")


def check_replica_role(server: Server) -> Finding:
    """Set session_replication_role for real: which roles may differs between providers.

    Raises:
        psycopg.Error: The target could not be asked.
    """
    check, session = "session_replication_role", server.session
    session.execute("begin")
    try:
        session.execute("set local session_replication_role = replica")
    except psycopg.Error as error:
        if session.closed:
            raise
        return trouble(
            check,
            Side.TARGET,
            Verdict.BLOCKS,
            f"role {server.role} may not set it: {message_of(error)}",
            "Triggers and foreign keys have already done their work on the source; "
            "on the target they must stay quiet while rows arrive",
            remedy=server.advisor.right("replica_role"),
        )
    finally:
        if not session.closed:
            session.execute("rollback")
    return ok(check, Side.TARGET, f"role {server.role} may set it to replica")
