"""What the screens need from outside, and nothing more.

The application implements :class:`MigrationServices`; tests bring their own. Values are frozen and free
of any driver. A method marked *blocking* talks to a server or runs a program: a screen calls it from a
job, and it returns a value or a :class:`~engine.errors.Failure`, never raises. The other methods return
at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from engine.checks.finding import Finding
from engine.checks.report import CheckReport, ServerStart
from engine.connection.fields import ConnectionFields
from engine.connection.stage import StageDone
from engine.connection.summary import EndpointSummary, ServerSummary
from engine.cutover.outcome import (
    ComparisonProgress,
    TableComparison,
)
from engine.errors import Failure, Side
from engine.script.planned import StatementResult
from engine.view import EngineView
from screens.migration import SavedMigration
from screens.step_services.cleanup import CleanupServices
from screens.step_services.cutover import CutoverServices
from screens.step_services.host import HostServices
from screens.step_services.identity import IdentityServices
from screens.step_services.postsync import PostsyncServices
from screens.step_services.publication import PublicationServices
from screens.step_services.rights import RightsServices
from screens.step_services.roles import RoleServices
from screens.step_services.schema import SchemaServices
from screens.step_services.scripts import ScriptServices
from screens.step_services.tables import TablesServices
from screens.step_services.timescaledb import TimescaleServices
from screens.step_services.user import UserServices


class MigrationServices(Protocol):
    """Everything the wizard does beyond drawing."""

    @property
    def migration(self) -> SavedMigration:
        """The migration the wizard is working on."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be changed on a server."""

    @property
    def scripts(self) -> ScriptServices:
        """Generated scripts and their files."""

    @property
    def user(self) -> UserServices:
        """For the step User."""

    @property
    def tables(self) -> TablesServices:
        """For the step Tables."""

    @property
    def roles(self) -> RoleServices:
        """For the step Roles."""

    @property
    def schema(self) -> SchemaServices:
        """For the step Schema."""

    @property
    def identity(self) -> IdentityServices:
        """For the step Identity."""

    @property
    def publication(self) -> PublicationServices:
        """For the step Publication."""

    @property
    def cleanup(self) -> CleanupServices:
        """For the step Done."""

    @property
    def rights(self) -> RightsServices:
        """For the step Rights."""

    @property
    def postsync(self) -> PostsyncServices:
        """For the step Post-sync."""

    @property
    def cutover(self) -> CutoverServices:
        """For the step Cutover."""

    @property
    def timescale(self) -> TimescaleServices:
        """What there is of TimescaleDB."""

    @property
    def host(self) -> HostServices:
        """Where the engine runs."""

    @property
    def starts_new(self) -> bool:
        """Whether the program was started for one new migration, as the demo does; saved ones wait."""

    def now(self) -> datetime:
        """The time, in UTC."""

    def monotonic_seconds(self) -> float:
        """The clock that snapshots carry."""

    def saved_migrations(self) -> tuple[SavedMigration, ...]:
        """Migrations found on this machine, latest first."""

    def unreadable_migrations(self) -> tuple[Failure, ...]:
        """Saved migrations that this version cannot read, each with the reason."""

    def begin(self) -> None:
        """Start a new migration; nothing is written before :meth:`record`."""

    def resume(self, migration_id: str) -> Failure | None:
        """Work on a saved migration."""

    def forget(self, migration_id: str) -> Failure | None:
        """Remove a saved migration's folder from this machine; the servers are not touched."""

    def record(self, migration: SavedMigration) -> Failure | None:
        """Make ``migration`` the current one and write it to this machine's disk."""

    def write_file(self, name: str, text: str) -> Path | Failure:
        """Write a text into the migration's folder."""

    def redact(self, text: str) -> str:
        """``text`` without any password this program knows."""

    @property
    def log_path(self) -> Path | None:
        """Where the log is written."""

    def prefilled(self, side: Side) -> str:
        """The connection string to start from; it may hold a password, so it goes into a masked input."""

    def use_connection(self, side: Side, text: str) -> EndpointSummary | Failure:
        """Parse a connection string and use it for that side from now on."""

    def preview_connection(self, side: Side, text: str) -> EndpointSummary | Failure:
        """Parse a connection string without using it."""

    def connection_fields(self, side: Side, text: str) -> ConnectionFields | Failure:
        """A connection string as fields; they hold the password."""

    def endpoint(self, side: Side) -> EndpointSummary | None:
        """The connection in use."""

    def conninfo(self, side: Side) -> str:
        """The connection in use as libpq keywords without the password; empty when there is none."""

    def give_password(self, side: Side, password: str) -> None:
        """Use this password for that side; it stays in memory."""

    def probe(
        self, side: Side, on_stage: Callable[[StageDone], None] | None = None
    ) -> ServerSummary | Failure:
        """Connect and look (blocking); ``on_stage`` is called on the job's thread."""

    def refused_addresses(self) -> tuple[Finding, ...] | Failure:
        """What stands against using the two servers at all (blocking)."""

    def providers(self) -> Mapping[str, str]:
        """Names of the providers there are advice for, and what they are called."""

    def run_checks(self) -> CheckReport | Failure:
        """Check both servers, taken for what the migration says they are (blocking)."""

    def apply_fix(self, side: Side, statements: tuple[str, ...]) -> tuple[StatementResult, ...] | Failure:
        """Run a fix's statements one by one up to the first that is refused (blocking)."""

    def look_for_restart(self, side: Side) -> ServerStart | Failure:
        """When the server was started (blocking)."""

    @property
    def engine(self) -> EngineView | None:
        """The running engine, or None before :meth:`start_engine`."""

    def start_engine(self) -> Failure | None:
        """Start replication, or go on with it (blocking)."""

    def stop_engine(self) -> bool | Failure:
        """Stop replication and wait for its end; whether it ended in time (blocking)."""

    def compare_tables(
        self, on_progress: Callable[[ComparisonProgress], None]
    ) -> tuple[TableComparison, ...] | Failure:
        """Compare every table row by row (blocking); ``on_progress`` is called on the job's thread."""

    def drop_command(self) -> str:
        """The command that removes what is left on the servers."""
