"""Logs in once with an eye on the clock: how long the name, the network, TLS and the login take.

libpq's own state machine tells them apart (PostgreSQL 32.1, ``PQconnectPoll``), so nothing is resolved,
connected or negotiated beside what any session of ours does.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import conninfo as libpq_conninfo
from psycopg import pq

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import connection_keywords
from engine.connection.stage import Stage, StageDone

OnStage = Callable[[StageDone], None]
"""Called on the thread that connects."""

_LOGIN_STAGES = (Stage.DNS, Stage.TCP, Stage.TLS, Stage.LOGIN)

_PASSED = {
    pq.ConnStatus.ALLOCATED: 0,
    pq.ConnStatus.NEEDED: 0,
    pq.ConnStatus.STARTED: 1,
    pq.ConnStatus.MADE: 2,
    pq.ConnStatus.GSS_STARTUP: 2,
    pq.ConnStatus.SSL_STARTUP: 2,
    pq.ConnStatus.AWAITING_RESPONSE: 3,
    pq.ConnStatus.AUTHENTICATING: 3,
    # The password was right, but the server may still refuse role or database.
    pq.ConnStatus.AUTH_OK: 3,
}
"""How many of the stages lie behind a connection in that state; all of them in any other."""

_DEFAULT_ROOT_CERTIFICATE = Path(".postgresql", "root.crt")
"""In the home directory. libpq verifies against it when it is there, with sslmode=require too (34.19.1)."""


def watch_login(endpoint: Endpoint, purpose: str, on_stage: OnStage) -> None:
    """Log in, tell each stage as it is passed, and log out.

    Args:
        endpoint: Where to connect.
        purpose: Shown in ``pg_stat_activity.application_name``.
        on_stage: Gets DNS, TCP, TLS and login; one that was told before when libpq starts over.

    Raises:
        ConnectionFailedError: Unreachable or refused, with libpq's words. Not when the time is up while there
            are more addresses to try: a session tries them one after the other.
    """
    started = time.monotonic()
    conninfo = libpq_conninfo.make_conninfo("", **connection_keywords(endpoint, purpose))
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        _Watch(connection, endpoint, started, on_stage).run()
    except psycopg.Error as error:
        raise explain(error, endpoint.side, "connecting") from None
    finally:
        connection.finish()


class _Watch:
    """Drives one connection and notices what it has passed."""

    def __init__(
        self, connection: pq.abc.PGconn, endpoint: Endpoint, started: float, on_stage: OnStage
    ) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._since = started
        self._on_stage = on_stage
        self._passed = 0

    def run(self) -> None:
        """Poll until the login is done.

        Raises:
            psycopg.Error: It failed.
        """
        options = self._options()
        limit_seconds = float(options.get("connect_timeout") or 0)
        deadline = time.monotonic() + limit_seconds if limit_seconds > 0 else None
        while True:
            if self._connection.status == pq.ConnStatus.BAD:
                raise self._error()
            self._look()
            polled = self._connection.connect_poll()
            if polled == pq.PollingStatus.FAILED:
                raise self._error()
            self._look()
            if polled == pq.PollingStatus.OK:
                return
            if not self._wait(polled, deadline):
                if self._has_more_addresses(options):
                    return
                raise psycopg.OperationalError("connection timeout expired")

    def _error(self) -> psycopg.Error:
        return psycopg.OperationalError(self._connection.get_error_message())

    def _wait(self, polled: int, deadline: float | None) -> bool:
        """Until the socket can go on; False when the time is up."""
        poller = select.poll()
        reads = polled == pq.PollingStatus.READING
        poller.register(self._connection.socket, select.POLLIN if reads else select.POLLOUT)
        left_seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        return bool(poller.poll(None if left_seconds is None else left_seconds * 1000))

    def _look(self) -> None:
        passed = _PASSED.get(pq.ConnStatus(self._connection.status), len(_LOGIN_STAGES))
        if passed < self._passed:
            self._passed = 0
        for stage in _LOGIN_STAGES[self._passed : passed]:
            now = time.monotonic()
            self._on_stage(StageDone(stage, now - self._since, self._found(stage)))
            self._since = now
        self._passed = passed

    def _found(self, stage: Stage) -> str:
        if stage is Stage.DNS:
            host = _text(self._connection.host)
            return "local socket" if host.startswith("/") else _text(self._connection.hostaddr) or host
        if stage is Stage.TCP:
            return f"port {_text(self._connection.port)}"
        if stage is Stage.TLS:
            return _verification(self._options()) if self._connection.ssl_in_use else "no TLS"
        return self._password_origin()

    def _options(self) -> dict[str, str]:
        """What counts for this connection, from wherever libpq has it: string, service file, environment."""
        return {_text(option.keyword): _text(option.val) for option in self._connection.info if option.val}

    def _password_origin(self) -> str:
        if not self._connection.used_password:
            return "no password asked"
        if self._endpoint.password is not None:
            return "password as given"
        known = self._options().get("password")
        if not known:
            return "password of pgpass"
        return "of PGPASSWORD" if known == os.environ.get("PGPASSWORD") else "of the service"

    def _has_more_addresses(self, options: dict[str, str]) -> bool:
        hosts = options.get("host", "")
        if "," in hosts + options.get("hostaddr", ""):
            return True
        if not hosts or options.get("hostaddr") or hosts.startswith("/"):
            return False
        try:
            found = socket.getaddrinfo(hosts, None, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return len({address[4][0] for address in found}) > 1


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _verification(options: dict[str, str]) -> str:
    """What of the server's certificate was verified before the password went out."""
    mode = options.get("sslmode", "prefer")
    if mode == "verify-full":
        return "name verified"
    root = options.get("sslrootcert") or (Path.home() / _DEFAULT_ROOT_CERTIFICATE).exists()
    if mode == "verify-ca" or (mode == "require" and root):
        return "authority verified"
    return "not verified"
