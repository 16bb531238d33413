"""A TCP proxy in front of a server, for the faults that a network has and a server does not."""

from __future__ import annotations

import select
import socket
import struct
import threading
from enum import Enum

from psycopg import conninfo as libpq_conninfo

_POLL_SECONDS = 0.05
_CHUNK_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST instead of FIN."""


class Way(Enum):
    """A direction, as the client sees it."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


BOTH = frozenset(Way)


class Proxy:
    """Forwards 127.0.0.1:``port`` to a server, until told to disturb; use it in a ``with`` block.

    A stalled direction keeps its bytes where they are and passes them on after :meth:`heal`. A half-open
    connection acknowledges bytes and throws them away; it stays so for good, only new ones are sound again.
    While ``loses_ends`` is set, the other side never hears that one has closed its end.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._stalled: frozenset[Way] = frozenset()
        self._dropping: frozenset[Way] = frozenset()
        self._refusing = False
        self._closing = threading.Event()
        self.loses_ends = False
        self.accepted = 0
        """Connections so far, for finding busy loops."""

        self._thread = threading.Thread(target=self._accept, name="proxy-accept", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.cut()
        self._thread.join()
        self._listener.close()

    def conninfo(self, conninfo: str) -> str:
        """``conninfo`` by way of this proxy; TLS and GSS would only hide what passes."""
        return libpq_conninfo.make_conninfo(
            conninfo, host="127.0.0.1", port=self.port, sslmode="disable", gssencmode="disable"
        )

    def cut(self, *, reset: bool = True) -> int:
        """End every connection, by RST or in order; how many there were."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.end(reset=reset)
        return len(links)

    def stall(self, *ways: Way) -> None:
        """Forward nothing in these directions (both when none is named); sockets stay open."""
        self._stalled = frozenset(ways) or BOTH

    def half_open(self, *ways: Way) -> None:
        """Throw away what comes in these directions on every connection there is or comes."""
        with self._lock:
            self._dropping = frozenset(ways) or BOTH
            for link in self._links:
                link.dropping |= self._dropping

    def refuse(self) -> None:
        """Reset new connections at once; those there are go on."""
        self._refusing = True

    def heal(self) -> None:
        """New connections are sound; stalled ones go on; half-open ones stay as they are."""
        with self._lock:
            self._stalled = self._dropping = frozenset()
            self._refusing = False

    def is_stalled(self, way: Way) -> bool:
        return way in self._stalled

    def _accept(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._listener], [], [], _POLL_SECONDS)[0]:
                continue
            client, _ = self._listener.accept()
            self.accepted += 1
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            with self._lock:
                link = _Link(self, client, server, self._dropping)
                self._links.append(link)
            link.start()


class _Link:
    """One connection: a thread for each direction, so that a full buffer in one does not stop the other."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket, dropping: frozenset[Way]
    ) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        self._over = threading.Event()
        self.dropping = dropping
        for end in self._sockets:
            end.settimeout(_POLL_SECONDS)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._threads = [
            threading.Thread(target=self._pump, args=(client, server, Way.TO_SERVER), daemon=True),
            threading.Thread(target=self._pump, args=(server, client, Way.TO_CLIENT), daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self, *, reset: bool) -> None:
        """Close both ends once nobody forwards any more."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for end in self._sockets:
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()

    def _pump(self, giver: socket.socket, taker: socket.socket, way: Way) -> None:
        while not self._over.is_set():
            if self._proxy.is_stalled(way):
                self._over.wait(_POLL_SECONDS)
                continue
            try:
                data = giver.recv(_CHUNK_BYTES)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if way in self.dropping:
                if not data:
                    return  # An end that is dropped as well: the other side never hears of it.
                continue
            if not data and self._proxy.loses_ends:
                return
            if not data or not self._forward(taker, data):
                self._shut(taker)
                return

    def _forward(self, taker: socket.socket, data: bytes) -> bool:
        view = memoryview(data)
        while view and not self._over.is_set():
            try:
                view = view[taker.send(view) :]
            except TimeoutError:
                continue
            except OSError:
                return False
        return True

    @staticmethod
    def _shut(taker: socket.socket) -> None:
        try:
            taker.shutdown(socket.SHUT_WR)
        except OSError:
            return  # Gone as well.
