"""A running engine in another process, seen through its host's socket."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import ConnectionFailedError, Failure, Retry
from engine.feed import EVENT_BACKLOG
from engine.snapshot import Event, Phase, Snapshot
from livesync_tui.host.address import is_ours, socket_paths
from livesync_tui.host.server import PROTOCOL_VERSION, HostAbout
from livesync_tui.host.wire import ConnectionClosedError, from_plain, receive, send

_LOOK_SECONDS = 0.1
"""How often it is asked for what is new; an answer without news is a hundred bytes on a local socket."""

_ANSWER_SECONDS = 20.0
"""A host that is suspended, or whose machine swaps, answers late; it is not gone."""


def find_hosts(directory: Path) -> tuple[HostAbout, ...]:
    """Who listens; what a killed host left behind is passed over."""
    found = []
    for path in socket_paths(directory):
        try:
            found.append(ask_about(path))
        except ConnectionFailedError:
            continue
    return tuple(found)


def ask_about(path: Path) -> HostAbout:
    """What a host tells of itself.

    Raises:
        ConnectionFailedError: Nobody of ours listens there, or not in our version's words.
    """
    with _connect(path) as connection:
        return _about(connection)


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_ANSWER_SECONDS)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise _gone(error.strerror or str(error)) from None
    if not is_ours(connection):
        connection.close()
        raise _gone("it belongs to another user")
    return connection


def _about(connection: socket.socket) -> HostAbout:
    try:
        about = from_plain(HostAbout, _ask(connection, {"ask": "about"})["about"])
    except (ConnectionClosedError, KeyError, TypeError, ValueError) as error:
        raise _gone(str(error)) from None
    if about.protocol_version != PROTOCOL_VERSION:
        raise _gone(f"it is of another version (process {about.pid}); stop it with that version")
    return about


def _ask(connection: socket.socket, message: dict[str, Any]) -> dict[str, Any]:
    send(connection, message)
    return receive(connection)


def _gone(said: str) -> ConnectionFailedError:
    return ConnectionFailedError(
        Failure(
            "The process that replicates does not answer",
            said,
            "Start livesync-tui again: it goes on from the recorded position",
            retry=Retry.MANUAL,
        )
    )


class RemoteEngine:
    """Implements :class:`engine.view.EngineView` over a socket.

    A thread of its own asks for what is new, so that reading returns at once. When the host is gone, the last
    snapshot stays, with ``FAILED`` as its phase. Orders of a view that is not in control come to nothing.
    """

    def __init__(self, path: Path) -> None:
        """Connect, and ask for control.

        Raises:
            ConnectionFailedError: Nobody listens.
        """
        self._connection = _connect(path)
        self.about = _about(self._connection)
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._events: list[Event] = []
        self._has_ended = threading.Event()
        self._closed = threading.Event()
        self._is_in_control = False
        self.control_pid = 0
        """Process of the view that gives the orders."""

        self._look()
        self._ask_for_control()
        self._thread = threading.Thread(target=self._follow, name="livesync-remote", daemon=True)
        self._thread.start()

    # What a view may ask.

    @property
    def is_read_only(self) -> bool:
        """Whether another view gives the orders."""
        return not self._is_in_control

    def snapshot(self) -> Snapshot | None:
        with self._lock:
            return self._snapshot

    def events(self, since: int) -> tuple[Event, ...]:
        with self._lock:
            return tuple(event for event in self._events if event.number > since)

    def pause(self) -> None:
        self._order("pause")

    def resume(self) -> None:
        self._order("resume")

    def refresh_publication(self) -> None:
        self._order("refresh_publication")

    def retry(self, source_oid: int) -> None:
        self._order("retry", source_oid)

    def stop(self) -> None:
        self._order("stop")

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the engine's end, or its host's; whether it has come."""
        return self._has_ended.wait(timeout_seconds)

    def release(self) -> None:
        """Let the host go once its engine has ended."""
        self._order("goodbye")

    def close(self) -> None:
        """Deliver the orders given before, let another view have control, and look no more."""
        self._closed.set()
        self._thread.join(_ANSWER_SECONDS)

    def wait_until_gone(self) -> None:
        """Wait until the host has ended, after :meth:`release`."""
        self._thread.join(_ANSWER_SECONDS)
        self.close()

    # The thread.

    def _order(self, order: str, source_oid: int | None = None) -> None:
        if self._is_in_control:
            self._orders.put({"ask": "order", "order": order, "source_oid": source_oid})

    def _follow(self) -> None:
        try:
            while not self._closed.is_set():
                self._send_orders()
                self._look()
                if not self._is_in_control:
                    self._ask_for_control()
                time.sleep(_LOOK_SECONDS)
            self._send_orders()
        except ConnectionFailedError as error:
            self._host_is_gone(error.failure)
        finally:
            self._connection.close()

    def _send_orders(self) -> None:
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return
            self._request(order)

    def _request(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            return _ask(self._connection, message)
        except ConnectionClosedError as error:
            raise _gone(str(error)) from None

    def _ask_for_control(self) -> None:
        answer = self._request({"ask": "control", "pid": os.getpid()})
        self._is_in_control = answer.get("granted") is True
        self.control_pid = int(answer.get("pid", 0))

    def _look(self) -> None:
        with self._lock:
            seq = 0 if self._snapshot is None else self._snapshot.seq
            number = self._events[-1].number if self._events else 0
        answer = self._request({"ask": "look", "snapshot_after": seq, "events_after": number})
        try:
            plain = answer["snapshot"]
            snapshot = None if plain is None else from_plain(Snapshot, plain)
            events = [from_plain(Event, event) for event in answer["events"]]
            has_ended = bool(answer["has_ended"])
        except (KeyError, TypeError, ValueError):
            raise _gone("it answers in other words than this version's") from None
        with self._lock:
            if snapshot is not None:
                self._snapshot = snapshot
            self._events += events
            del self._events[:-EVENT_BACKLOG]
        if has_ended:
            self._has_ended.set()

    def _host_is_gone(self, failure: Failure) -> None:
        with self._lock:
            last = self._snapshot
            if last is not None and last.phase not in (Phase.STOPPED, Phase.FAILED):
                self._snapshot = replace(last, seq=last.seq + 1, phase=Phase.FAILED, failure=failure)
        self._has_ended.set()
