"""Finds, starts and attaches to the process in which the engine runs."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ConnectionFailedError
from engine.feed import Feed
from engine.replication.engine import Engine
from engine.replication.subscription import SubscriptionConfig
from livesync_tui.host.address import socket_path
from livesync_tui.host.orders import HostOrders
from livesync_tui.host.process import start_host
from livesync_tui.host.remote_engine import RemoteEngine, find_hosts
from livesync_tui.migration_context import MigrationContext
from screens.step_services.host import RunningHost


class HostSteps:
    """Implements :class:`screens.step_services.host.HostServices`, and holds the engine."""

    def __init__(self, context: MigrationContext, directory: Path | None) -> None:
        """Start with no engine.

        Args:
            context: The migration.
            directory: Where hosts listen; None to run the engine in this process.
        """
        self._context = context
        self._directory = directory
        self.engine: Engine | RemoteEngine | None = None

    def running(self) -> tuple[RunningHost, ...]:
        if self._directory is None:
            return ()
        return tuple(
            RunningHost(about.pid, about.subscription, about.migration_id, about.started_at)
            for about in find_hosts(self._directory)
        )

    @property
    def survives(self) -> bool:
        return isinstance(self.engine, RemoteEngine)

    @property
    def read_only_because(self) -> str:
        engine = self.engine
        if isinstance(engine, RemoteEngine) and engine.is_read_only:
            return f"another livesync-tui (process {engine.control_pid}) gives the orders"
        return ""

    def let_run(self) -> None:
        if isinstance(self.engine, RemoteEngine):
            self.engine.close()
            self.engine = None

    def start(self, config: SubscriptionConfig) -> None:
        """Have an engine for ``config``: the one that runs already, or a new one.

        Raises:
            EngineError: It could not be started.
        """
        if self.engine is not None and not self.engine.join(0):
            return
        if self._directory is None:
            engine = Engine(config, Feed())
            engine.start()
            self.engine = engine
            return
        self._let_go()
        migration = self._context.migration
        path = socket_path(self._directory, config.subscription, config.target)
        found = self._attach(path)
        if found is not None and found.join(0):
            # It has ended and waits only to tell why; there is a new order now.
            found.release()
            found.wait_until_gone()
            found = None
        if found is None:
            start_host(
                HostOrders(
                    config,
                    path,
                    self._context.saved.directory,
                    migration.id,
                    migration.source_name,
                    migration.target_name,
                )
            )
            found = RemoteEngine(path)
        self.engine = found

    def stop(self, timeout_seconds: float) -> bool:
        """Stop the engine and wait for its end; whether it came in time."""
        if self.engine is None:
            return True
        self.engine.stop()
        has_ended = self.engine.join(timeout_seconds)
        if has_ended:
            self._let_go()
        return has_ended

    def _let_go(self) -> None:
        """The host of an engine that has ended is needed no more."""
        if isinstance(self.engine, RemoteEngine):
            self.engine.release()
            self.engine.close()

    @staticmethod
    def _attach(path: Path) -> RemoteEngine | None:
        try:
            return RemoteEngine(path)
        except ConnectionFailedError:
            return None
