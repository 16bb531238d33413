"""What all steps of one wizard share: the migration, the two endpoints with their passwords, its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.catalog.table_map import TableMap, read_table_map
from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.secret import Secret
from engine.connection.session import Session
from engine.errors import BlockedError, EngineError, Failure, Retry, Side
from engine.providers.detect import detect_provider, read_traits
from engine.providers.provider import Provider
from engine.roles.planned import RoleFilter
from livesync_tui.generated_files import GeneratedFiles
from livesync_tui.paths import make_private_directory
from livesync_tui.saved import SavedMigrations, new_migration
from livesync_tui.service_failure import failure_of
from livesync_tui.transcript import FILE_NAME, Executed, append_private, transcript_text
from screens.migration import SavedMigration

_SECRET_KEYWORDS = frozenset({"password", "sslpassword", "oauth_client_secret"})
"""libpq keywords that are not written down."""


def harmless_conninfo(endpoint: Endpoint) -> str:
    """A connection as libpq keywords that may be written down."""
    harmless = {key: value for key, value in endpoint.parameters.items() if key not in _SECRET_KEYWORDS}
    return Endpoint(endpoint.side, harmless, None).conninfo()


class MigrationContext:
    """One migration at a time; used from a step's job and from the screen's thread, one after the other."""

    def __init__(self, saved: SavedMigrations, subscription: str, *, dry_run: bool = False) -> None:
        self.saved = saved
        self.dry_run = dry_run
        self.endpoints: dict[Side, Endpoint] = {}
        self._subscription = subscription
        self.begin()

    def begin(self) -> None:
        """Start with a new migration, of which nothing is on disk."""
        self.take(new_migration(datetime.now(UTC), self._subscription), {})

    def take(self, migration: SavedMigration, endpoints: dict[Side, Endpoint]) -> None:
        """Work on ``migration`` from now on."""
        self.migration = migration
        self.endpoints = endpoints
        self.first_source: Endpoint | None = None
        """The connection to the source before the migration's role took over; None where it has not."""

        self.role_passwords: dict[str, Secret] = {}
        """Passwords of roles that were made here, by name; nowhere else."""

        self.files = GeneratedFiles(self.folder)

    @property
    def folder(self) -> Path:
        """Where its files lie; made when the first is written."""
        return self.saved.folder(self.migration.id)

    def record(self, migration: SavedMigration) -> Failure | None:
        """Make ``migration`` the current one and write it down, once it has a source."""
        self.migration = migration
        if not migration.source_conninfo:
            return None
        try:
            self.saved.write(migration)
        except (EngineError, OSError) as error:
            return failure_of(error, "Writing the migration's answers")
        return None

    def remember(self, **changes: object) -> None:
        """Change the migration and write it down.

        Raises:
            EngineError: It could not be written; in memory it is changed.
        """
        failure = self.record(replace(self.migration, updated_at=datetime.now(UTC), **changes))  # type: ignore[arg-type]
        if failure is not None:
            raise EngineError(failure)

    def endpoint(self, side: Side) -> Endpoint:
        """The endpoint of a side.

        Raises:
            UsageError: None was given yet.
        """
        endpoint = self.endpoints.get(side)
        return parse_endpoint(side, "") if endpoint is None else endpoint

    @property
    def source(self) -> Endpoint:
        """As :meth:`endpoint`."""
        return self.endpoint(Side.SOURCE)

    @property
    def target(self) -> Endpoint:
        """As :meth:`endpoint`."""
        return self.endpoint(Side.TARGET)

    @property
    def source_admin(self) -> Endpoint:
        """The connection to the source as the role that makes and removes the migration's own.

        Raises:
            UsageError: None was given yet.
        """
        return self.first_source or self.source

    @property
    def table_map(self) -> TableMap:
        """Where tables land on the target.

        Raises:
            UsageError: What was written down is not a table map.
        """
        text = self.migration.table_map
        return read_table_map(text, "The migration's table map") if text else TableMap()

    def provider(self, session: Session, side: Side) -> Provider:
        """Whose server a side is: as a person said, or by what is found there.

        Raises:
            EngineError: The server could not be read.
        """
        named = self.migration.source_provider if side is Side.SOURCE else self.migration.target_provider
        return detect_provider(read_traits(session, self.endpoint(side)), named or None).provider

    def role_filter(self, source: Session, target: Session) -> RoleFilter:
        """Which roles are not the user's own.

        Raises:
            EngineError: A server could not be read.
        """
        patterns = [
            pattern
            for session, side in ((source, Side.SOURCE), (target, Side.TARGET))
            for pattern in self.provider(session, side).leave_out.roles
        ]
        created = self.migration.created_user
        ours = {self.migration.migration_user, "" if created is None else created.name} - {""}
        return RoleFilter(
            tuple(dict.fromkeys(patterns)), frozenset(self.migration.left_out_roles), frozenset(ours)
        )

    def require_writing(self) -> None:
        """Refuse to change a server in a dry run.

        Raises:
            BlockedError: It is one.
        """
        if self.dry_run:
            raise BlockedError(
                Failure(
                    "This is a dry run: nothing is changed",
                    hint="Start without --dry-run to apply it",
                    retry=Retry.NEVER,
                )
            )

    def transcribe(self, side: Side, statements: Iterable[Executed], where: Endpoint | None = None) -> None:
        """Add statements that were run to the transcript.

        Args:
            side: Where they were run.
            statements: In order.
            where: The connection they were run on, when it is not that side's present one.

        Raises:
            OSError: The disk is full or read-only.
        """
        text = transcript_text(datetime.now(UTC), (where or self.endpoint(side)).summary(), statements)
        if text:
            make_private_directory(self.saved.directory)
            make_private_directory(self.folder)
            append_private(self.folder / FILE_NAME, text)
