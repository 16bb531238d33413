"""Programs of the operating system that some tests need beside the wheel's: they are skipped without them."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo as libpq_conninfo

from livesync_tui.demo.servers import EmbeddedServer
from tests.waiting import wait_until

_POSTGRES = Path("/usr/lib/postgresql")
_PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def installed_postgres() -> tuple[int, Path]:
    """Major version and programs of Debian's newest PostgreSQL that can be either side; built with TLS."""
    found = [
        (int(server.parts[-3]), server.parent)
        for server in _POSTGRES.glob("*/bin/postgres")
        if int(server.parts[-3]) >= 15
    ]
    if not found:
        pytest.skip("no PostgreSQL 15 or newer of the system (Debian: apt install postgresql)")
    return max(found)


def give_to_server_account(*paths: Path) -> None:
    """Make files belong to the account that servers run as: PostgreSQL and pgbouncer refuse to be root."""
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def pgbouncer(server: EmbeddedServer, base: Path, pool_mode: str) -> Iterator[int]:
    """Debian's pgbouncer in front of ``server``, as its documentation has it; its port on 127.0.0.1.

    Args:
        server: The superuser logs in with the server's own password.
        base: A folder that others can enter.
        pool_mode: ``session`` or ``transaction``.
    """
    if _PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian: apt install pgbouncer)")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port: int = reserved.getsockname()[1]
    folder = base / f"pgbouncer-{secrets.token_hex(3)}"
    folder.mkdir(mode=0o700)
    keywords = libpq_conninfo.conninfo_to_dict(server.conninfo())
    users = folder / "users.txt"
    users.write_text(f'"{keywords["user"]}" "{keywords["password"]}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\npool_mode = {pool_mode}\nignore_startup_parameters = extra_float_digits\n"
        "max_client_conn = 20\n"
    )
    give_to_server_account(folder, users, configuration)
    process = subprocess.Popen(
        [_PGBOUNCER, str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user="postgres" if os.geteuid() == 0 else None,
    )

    def answers() -> bool:
        assert process.poll() is None, "pgbouncer ended"
        try:
            psycopg.connect(server.conninfo(), port=port).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        wait_until(answers, describe="pgbouncer to answer")
        yield port
    finally:
        process.terminate()
        process.wait()
