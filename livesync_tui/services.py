"""What the screens ask for, done with the engine: the only place that knows both sides.

Holds the two endpoints with their passwords, the saved migration, and the engine. Every method that
talks to a server opens its own session and returns a value or a Failure; none raises into a screen.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from engine.checks.address import refused_addresses
from engine.checks.apply_fix import apply_fix
from engine.checks.finding import Finding
from engine.checks.report import CheckReport, ServerStart
from engine.checks.restart import look_for_restart
from engine.checks.run import run_checks
from engine.connection.endpoint import Endpoint, fields_of, parse_endpoint
from engine.connection.fields import ConnectionFields
from engine.connection.probe import probe_server
from engine.connection.stage import StageDone
from engine.connection.summary import EndpointSummary, ServerSummary
from engine.cutover.outcome import ComparisonProgress, TableComparison
from engine.errors import EngineError, Failure, Side
from engine.providers.load import load_providers
from engine.replication.subscription import SubscriptionConfig
from engine.script.planned import StatementResult
from engine.verification.verify import verify
from engine.view import EngineView
from livesync_tui.migration_context import MigrationContext, harmless_conninfo
from livesync_tui.paths import state_directory
from livesync_tui.saved import SavedMigrations
from livesync_tui.service_failure import failure_of, returns_failure
from livesync_tui.step_services.cleanup import CleanupSteps
from livesync_tui.step_services.cutover import CutoverSteps
from livesync_tui.step_services.host import HostSteps
from livesync_tui.step_services.identity import IdentitySteps
from livesync_tui.step_services.postsync import PostsyncSteps
from livesync_tui.step_services.publication import PublicationSteps
from livesync_tui.step_services.rights import RightsSteps
from livesync_tui.step_services.roles import RoleSteps
from livesync_tui.step_services.schema import SchemaSteps
from livesync_tui.step_services.scripts import ScriptSteps
from livesync_tui.step_services.tables import TablesSteps
from livesync_tui.step_services.timescaledb import TimescaleSteps
from livesync_tui.step_services.user import UserSteps
from livesync_tui.transcript import executed
from screens.migration import SavedMigration

_STOP_SECONDS = 60.0
"""Finishing the open target transaction takes as long as the largest batch; a minute is many of them."""


class LivesyncServices:
    """Implements :class:`screens.services.MigrationServices`."""

    def __init__(
        self,
        *,
        source: str = "",
        target: str = "",
        subscription: str = "",
        stop_writers: Callable[[], None] | None = None,
        folder: Path | None = None,
        log_path: Path | None = None,
        dry_run: bool = False,
        host_directory: Path | None = None,
    ) -> None:
        self._context = MigrationContext(
            SavedMigrations(folder or state_directory()), subscription, dry_run=dry_run
        )
        self._given = {Side.SOURCE: source, Side.TARGET: target}
        self._starts_new = stop_writers is not None
        self._log_path = log_path
        self._typed: dict[Side, str] = {}
        """Connection strings as they were used, for the masked inputs."""

        self._list: tuple[tuple[SavedMigration, ...], tuple[Failure, ...]] | None = None
        self.scripts = ScriptSteps(self._context)
        self.user = UserSteps(self._context)
        self.tables = TablesSteps(self._context)
        self.roles = RoleSteps(self._context)
        self.schema = SchemaSteps(self._context)
        self.identity = IdentitySteps(self._context)
        self.publication = PublicationSteps(self._context)
        self.cleanup = CleanupSteps(self._context)
        self.rights = RightsSteps(self._context)
        self.postsync = PostsyncSteps(self._context)
        self.timescale = TimescaleSteps(self._context)
        self.host = HostSteps(self._context, host_directory)
        self.cutover = CutoverSteps(self._context, self.host, stop_writers)

    # This machine.

    @property
    def migration(self) -> SavedMigration:
        return self._context.migration

    @property
    def dry_run(self) -> bool:
        return self._context.dry_run

    @property
    def starts_new(self) -> bool:
        return self._starts_new

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        return time.monotonic()

    def _read_all(self) -> tuple[tuple[SavedMigration, ...], tuple[Failure, ...]]:
        if self._list is None:
            self._list = self._context.saved.read_all()
        return self._list

    def saved_migrations(self) -> tuple[SavedMigration, ...]:
        return self._read_all()[0]

    def unreadable_migrations(self) -> tuple[Failure, ...]:
        return self._read_all()[1]

    def begin(self) -> None:
        self._context.begin()
        self._typed = {}

    def resume(self, migration_id: str) -> Failure | None:
        try:
            migration = self._context.saved.read(migration_id)
            endpoints = {
                side: self._with_known_password(side, conninfo)
                for side, conninfo in (
                    (Side.SOURCE, migration.source_conninfo),
                    (Side.TARGET, migration.target_conninfo),
                )
            }
            first = migration.first_source_conninfo
            first_source = self._with_known_password(Side.SOURCE, first) if first else None
        except EngineError as error:
            return error.failure
        self._context.take(migration, endpoints)
        self._context.first_source = first_source
        self._typed = {}
        return None

    def _with_known_password(self, side: Side, conninfo: str) -> Endpoint:
        """A stored connection, with the password of ``$SOURCE`` or ``$TARGET`` when they name the same."""
        endpoint = parse_endpoint(side, conninfo)
        if not self._given[side]:
            return endpoint
        try:
            given = parse_endpoint(side, self._given[side])
        except EngineError:
            return endpoint
        same = all(
            given.parameters.get(key) == endpoint.parameters.get(key)
            for key in ("service", "host", "hostaddr", "port", "dbname", "user")
        )
        return given if same else endpoint

    def forget(self, migration_id: str) -> Failure | None:
        self._list = None
        try:
            self._context.saved.forget(migration_id)
        except OSError as error:
            return failure_of(error, "Removing the migration's folder")
        return None

    def record(self, migration: SavedMigration) -> Failure | None:
        self._list = None
        return self._context.record(migration)

    @returns_failure("Writing the file")
    def write_file(self, name: str, text: str) -> Path:
        return self._context.saved.write_file(self._migration.id, name, text)

    def redact(self, text: str) -> str:
        for endpoint in self._context.endpoints.values():
            if endpoint.password is not None:
                text = text.replace(endpoint.password.reveal(), "…")
        for password in self._context.role_passwords.values():
            text = text.replace(password.reveal(), "…")
        return text

    @property
    def log_path(self) -> Path | None:
        return self._log_path

    # The two connections.

    def prefilled(self, side: Side) -> str:
        migration = self._migration
        stored = migration.source_conninfo if side is Side.SOURCE else migration.target_conninfo
        return self._typed.get(side) or stored or self._given[side]

    @returns_failure("reading the connection string")
    def preview_connection(self, side: Side, text: str) -> EndpointSummary:
        return parse_endpoint(side, text).summary()

    @returns_failure("reading the connection string")
    def use_connection(self, side: Side, text: str) -> EndpointSummary:
        endpoint = parse_endpoint(side, text)
        self._typed[side] = text
        self._context.endpoints[side] = endpoint
        return endpoint.summary()

    @returns_failure("reading the connection string")
    def connection_fields(self, side: Side, text: str) -> ConnectionFields:
        return fields_of(side, text) if text.strip() else ConnectionFields()

    def endpoint(self, side: Side) -> EndpointSummary | None:
        endpoint = self._context.endpoints.get(side)
        return None if endpoint is None else endpoint.summary()

    def conninfo(self, side: Side) -> str:
        endpoint = self._context.endpoints.get(side)
        return "" if endpoint is None else harmless_conninfo(endpoint)

    def give_password(self, side: Side, password: str) -> None:
        self._context.endpoints[side] = self._context.endpoint(side).with_password(password)

    @property
    def _migration(self) -> SavedMigration:
        return self._context.migration

    @property
    def _source(self) -> Endpoint:
        return self._context.source

    @property
    def _target(self) -> Endpoint:
        return self._context.target

    @returns_failure("connecting")
    def probe(self, side: Side, on_stage: Callable[[StageDone], None] | None = None) -> ServerSummary:
        return probe_server(self._context.endpoint(side), on_stage)

    @returns_failure("looking who answers")
    def refused_addresses(self) -> tuple[Finding, ...]:
        source, target = self._named_provider(Side.SOURCE), self._named_provider(Side.TARGET)
        return refused_addresses(self._source, self._target, source_provider=source, target_provider=target)

    def _named_provider(self, side: Side) -> str | None:
        """Whose server a person said it is; what was said of another connection does not count."""
        migration = self._migration
        is_source = side is Side.SOURCE
        stored = migration.source_conninfo if is_source else migration.target_conninfo
        named = migration.source_provider if is_source else migration.target_provider
        return named or None if stored == self.conninfo(side) else None

    # Checks.

    def providers(self) -> Mapping[str, str]:
        return {name: provider.title for name, provider in load_providers().items()}

    @returns_failure("running the checks")
    def run_checks(self) -> CheckReport:
        migration = self._migration
        return run_checks(
            self._source,
            self._target,
            sync_workers=migration.sync_workers,
            source_provider=migration.source_provider or None,
            target_provider=migration.target_provider or None,
        )

    @returns_failure("running the fix")
    def apply_fix(self, side: Side, statements: tuple[str, ...]) -> tuple[StatementResult, ...]:
        self._context.require_writing()
        results = apply_fix(self._context.endpoint(side), statements)
        self._context.transcribe(side, executed(results))
        return results

    @returns_failure("looking for a restart")
    def look_for_restart(self, side: Side) -> ServerStart:
        return look_for_restart(self._context.endpoint(side))

    # The engine.

    @property
    def engine(self) -> EngineView | None:
        return self.host.engine

    @returns_failure("starting the engine")
    def start_engine(self) -> None:
        self._context.require_writing()
        migration = self._migration
        self.host.start(
            SubscriptionConfig(
                subscription=migration.subscription,
                publications=(migration.publication,),
                source=self._source,
                target=self._target,
                table_map=self._context.table_map,
                sync_workers=migration.sync_workers,
            )
        )

    @returns_failure("stopping the engine")
    def stop_engine(self) -> bool:
        return self.host.stop(_STOP_SECONDS)

    # Cutover.

    @returns_failure("comparing row by row")
    def compare_tables(
        self, on_progress: Callable[[ComparisonProgress], None]
    ) -> tuple[TableComparison, ...]:
        verified = verify(
            self._source,
            self._target,
            self._migration.subscription,
            on_progress=on_progress,
            on_wait=lambda words: None,
        )
        return verified.comparisons + tuple(
            TableComparison(table.source, table.target or "", 0, 0, equal=False, problem=table.reason)
            for table in verified.not_compared
        )

    def drop_command(self) -> str:
        subscription = shlex.quote(self._migration.subscription)
        return f'livesync-tui drop --subscription {subscription} --source "$SOURCE" --target "$TARGET"'
