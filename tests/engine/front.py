"""What stands in front of servers: a balancer, and a pooler's way of answering the login itself."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Sequence

_BACKEND_KEY_DATA = b"K"


class Front:
    """Forwards connections of 127.0.0.1:``port`` to each server in turn; use it in a ``with`` block."""

    def __init__(self, server_ports: Sequence[int], *, own_process_id: int | None = None) -> None:
        """
        Args:
            server_ports: On 127.0.0.1; the first connection goes to the first.
            own_process_id: Told to clients in the place of the server's, as a pooler does.
        """
        self._servers = itertools.cycle(server_ports)
        self._own_process_id = own_process_id
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Front:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake a thread in accept or recv.
        for opened in (self._listener, *self._sockets):
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # The other end was quicker.
        for thread in self._threads:
            thread.join()
        for opened in (self._listener, *self._sockets):
            opened.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", next(self._servers)))
            self._sockets += [client, server]
            pumps = [
                threading.Thread(target=_pump, args=(client, server), daemon=True),
                threading.Thread(target=self._answer, args=(server, client), daemon=True),
            ]
            self._threads += pumps
            for pump in pumps:
                pump.start()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        """Pass on the server's messages, with another process id in BackendKeyData (PostgreSQL 54.7)."""
        if self._own_process_id is not None:
            try:
                self._introduce(server, client, self._own_process_id)
            except OSError:
                return
        _pump(server, client)

    @staticmethod
    def _introduce(server: socket.socket, client: socket.socket, process_id: int) -> None:
        kind = b""
        while kind != _BACKEND_KEY_DATA:
            header = server.recv(5, socket.MSG_WAITALL)
            if len(header) < 5:
                return
            kind, (length,) = header[:1], struct.unpack("!I", header[1:])
            body = server.recv(length - 4, socket.MSG_WAITALL) if length > 4 else b""
            if kind == _BACKEND_KEY_DATA:
                body = struct.pack("!I", process_id) + body[4:]
            client.sendall(header + body)


def _pump(giver: socket.socket, taker: socket.socket) -> None:
    try:
        while data := giver.recv(65536):
            taker.sendall(data)
        taker.shutdown(socket.SHUT_WR)
    except OSError:
        return  # One of them is gone; the other is told by Front's end at the latest.
