"""What the source has of TimescaleDB, and what becomes of it."""

from __future__ import annotations

from engine.connection.session import open_session
from engine.timescaledb.overview import TimescaleOverview
from engine.timescaledb.read_overview import read_overview
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure


class TimescaleSteps:
    """Implements :class:`screens.step_services.timescaledb.TimescaleServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("looking at what there is of TimescaleDB")
    def overview(self) -> TimescaleOverview:
        with (
            open_session(self._context.source, "TimescaleDB") as source,
            open_session(self._context.target, "TimescaleDB") as target,
        ):
            return read_overview(source, target)
