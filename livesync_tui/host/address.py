"""Where hosts listen: one Unix socket each, in a folder that only its owner can enter.

A socket's name follows from the subscription and the target, so that whoever wants to go on with a migration
finds its host without asking around. What a host that was killed left behind refuses connections; the next
host for the same subscription replaces it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from pathlib import Path

import platformdirs

from engine.connection.endpoint import Endpoint
from livesync_tui.paths import make_private_directory

_SUFFIX = ".sock"
_CREDENTIALS = struct.Struct("3i")


def runtime_directory() -> Path:
    """The folder of the sockets."""
    return platformdirs.user_runtime_path("livesync-tui")


def socket_path(directory: Path, subscription: str, target: Endpoint) -> Path:
    """Where the host of a subscription listens."""
    summary = target.summary()
    key = f"{subscription}\n{summary.host}\n{summary.port}\n{summary.database}"
    # Short: the path of a Unix socket has room for 107 bytes.
    return directory / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}{_SUFFIX}"


def socket_paths(directory: Path) -> list[Path]:
    """All sockets, whether somebody listens there or not."""
    return sorted(directory.glob(f"*{_SUFFIX}"))


def listen(path: Path) -> socket.socket:
    """Listen there; nobody else's host may be alive at that address.

    Raises:
        OSError: It cannot be made, or another host listens (``EADDRINUSE``).
    """
    make_private_directory(path.parent)
    if path.exists():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen()
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def is_ours(connection: socket.socket) -> bool:
    """Whether the process at the other end belongs to the same user (Linux: unix(7), SO_PEERCRED)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True  # The folder's mode has to do.
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return int(user) == os.getuid()
