"""A host's end of the socket: any number of views look, one of them gives orders.

Actors: the engine's threads publish snapshots and never wait for anybody; an accepting thread; one thread per
view, which answers what its view asks. The first view that asks for control has it until its connection ends;
the others are read-only. A view that stops reading is dropped after a while and costs the engine nothing.
Nothing here survives the host: what replication depends on is in the target.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.view import EngineView
from livesync_tui.host.address import is_ours, listen
from livesync_tui.host.wire import ConnectionClosedError, receive, send, to_plain

PROTOCOL_VERSION = 1
_SEND_TIMEOUT = struct.pack("ll", 10, 0)
"""A struct timeval: seconds and microseconds."""


@dataclass(frozen=True, slots=True)
class HostAbout:
    """What a host tells of itself."""

    pid: int
    subscription: str
    source_name: str
    target_name: str
    migration_id: str
    """Name of the saved migration's folder; empty for ``livesync-tui run``."""

    started_at: datetime
    protocol_version: int = PROTOCOL_VERSION


class HostServer:
    """Answers views until it is closed."""

    def __init__(
        self, path: Path, about: HostAbout, engine: EngineView, has_ended: Callable[[], bool]
    ) -> None:
        """Listen.

        Args:
            path: Of the socket.
            about: What views are told.
            engine: What they look at.
            has_ended: Whether the engine's thread has ended.

        Raises:
            OSError: The socket cannot be made, or another host listens there.
        """
        self._path = path
        self._about = about
        self._engine = engine
        self._has_ended = has_ended
        self._lock = threading.Lock()
        self._views: set[socket.socket] = set()
        self._in_control: socket.socket | None = None
        self._control_pid = 0
        self.goodbye = threading.Event()
        """Set when the view in control has seen the engine's end and needs the host no more."""

        self._listening = listen(path)
        threading.Thread(target=self._accept, name="livesync-host-accept", daemon=True).start()

    def close(self) -> None:
        """Stop listening, take the socket away, and let the views go."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            views = tuple(self._views)
        for view in views:
            with contextlib.suppress(OSError):
                view.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return  # Closed.
            if not is_ours(connection):
                connection.close()
                continue
            with self._lock:
                self._views.add(connection)
            threading.Thread(
                target=self._serve, args=(connection,), name="livesync-host-view", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        # Sending is bounded, so that a view that stopped reading is let go; waiting for its question is not.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        try:
            while True:
                send(connection, self._answer(connection, receive(connection)))
        except (ConnectionClosedError, KeyError, TypeError, ValueError):
            pass  # Whatever it was, it is no view any more.
        finally:
            with self._lock:
                self._views.discard(connection)
                if self._in_control is connection:
                    self._in_control = None
            connection.close()

    def _answer(self, connection: socket.socket, message: dict[str, Any]) -> dict[str, Any]:
        match message["ask"]:
            case "about":
                return {"about": to_plain(self._about)}
            case "look":
                return self._look(int(message["snapshot_after"]), int(message["events_after"]))
            case "control":
                return self._take_control(connection, int(message["pid"]))
            case "order":
                return self._order(connection, str(message["order"]), message.get("source_oid"))
            case other:
                return {"refused": f"unknown request {other}"}

    def _look(self, snapshot_after: int, events_after: int) -> dict[str, Any]:
        # Asked first: an engine that ends after this is seen at the next look, with its last snapshot.
        has_ended = self._has_ended()
        snapshot = self._engine.snapshot()
        is_new = snapshot is not None and snapshot.seq > snapshot_after
        return {
            "snapshot": to_plain(snapshot) if is_new else None,
            "events": [to_plain(event) for event in self._engine.events(events_after)],
            "has_ended": has_ended,
        }

    def _take_control(self, connection: socket.socket, pid: int) -> dict[str, Any]:
        with self._lock:
            if self._in_control is None:
                self._in_control = connection
                self._control_pid = pid
            return {"granted": self._in_control is connection, "pid": self._control_pid}

    def _order(self, connection: socket.socket, order: str, source_oid: object) -> dict[str, Any]:
        with self._lock:
            if self._in_control is not connection:
                return {"refused": f"the view of process {self._control_pid} is in control"}
        engine = self._engine
        match order:
            case "pause":
                engine.pause()
            case "resume":
                engine.resume()
            case "refresh_publication":
                engine.refresh_publication()
            case "retry":
                engine.retry(int(str(source_oid)))
            case "stop":
                engine.stop()
            case "goodbye":
                self.goodbye.set()
            case _:
                return {"refused": f"unknown order {order}"}
        return {"done": True}


def about_here(
    subscription: str, source_name: str, target_name: str, migration_id: str, now: datetime
) -> HostAbout:
    """What this process tells of itself."""
    return HostAbout(os.getpid(), subscription, source_name, target_name, migration_id, now)
