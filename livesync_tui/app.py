"""The application on the terminal: which step is shown, leaving, and how it ends when something breaks."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.text import Text
from textual.app import App

from livesync_tui.theme import NIGHT
from screens.checks import ChecksScreen
from screens.connect import ConnectScreen
from screens.cutover import CutoverScreen
from screens.done import DoneScreen
from screens.format import visible
from screens.identity import IdentityScreen
from screens.live import LiveScreen
from screens.migration import Step, step_closed
from screens.modals.leave import LeaveModal, Leaving
from screens.postsync import PostsyncScreen
from screens.publication import PublicationScreen
from screens.report import EngineLeft, after_exit_text, dry_run_text, leaving_text
from screens.review import ReviewScreen
from screens.rights import RightsScreen
from screens.roles import RolesScreen
from screens.schema import SchemaScreen
from screens.services import MigrationServices
from screens.start import StartScreen
from screens.tables import TablesScreen
from screens.user import UserScreen
from screens.wizard import LeaveRequested, StepRequested, WizardScreen

_POSTSYNC_STOP_SECONDS = 10.0
"""Its statements are cancelled; the target answers at once, or is not there."""

_WATCH_TERMINAL_SECONDS = 3.0
"""A terminal that is gone makes Textual's input thread spin at full speed, so it is noticed soon."""

NARROW_BELOW_COLUMNS = 104
"""The rail with all steps in words needs that many."""

_SCREENS: dict[Step, type[WizardScreen]] = {
    Step.START: StartScreen,
    Step.CONNECT: ConnectScreen,
    Step.CHECKS: ChecksScreen,
    Step.USER: UserScreen,
    Step.TABLES: TablesScreen,
    Step.ROLES: RolesScreen,
    Step.SCHEMA: SchemaScreen,
    Step.IDENTITY: IdentityScreen,
    Step.PUBLICATION: PublicationScreen,
    Step.RIGHTS: RightsScreen,
    Step.REVIEW: ReviewScreen,
    Step.LIVE: LiveScreen,
    Step.POSTSYNC: PostsyncScreen,
    Step.CUTOVER: CutoverScreen,
    Step.DONE: DoneScreen,
}


class MigrationApp(App[None], inherit_bindings=False):
    """The wizard."""

    TITLE = "livesync"
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        services: MigrationServices,
        *,
        refresh_seconds: float = 1.0,
        theme: str = NIGHT.name,
        terminal_is_there: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW_BELOW_COLUMNS, "-wide")]
        self.services = services
        self._refresh_seconds = refresh_seconds
        self._terminal_is_there = terminal_is_there
        self._stop_wanted = False
        self.register_theme(NIGHT)
        self.theme = theme

    # Which step is shown.

    def first_step(self) -> Step:
        """Saved migrations when there are any, otherwise straight to the connections."""
        services = self.services
        found = services.saved_migrations() or services.unreadable_migrations()
        if found and not services.starts_new:
            return Step.START
        services.begin()
        return Step.CONNECT

    def _screen(self, step: Step) -> WizardScreen:
        if step is Step.LIVE:
            return LiveScreen(self.services, self._refresh_seconds)
        return _SCREENS[step](self.services)

    def on_mount(self) -> None:
        """Show the first step."""
        self.push_screen(self._screen(self.first_step()))
        if self._terminal_is_there is not None:
            self.set_interval(_WATCH_TERMINAL_SECONDS, self._watch_terminal)

    def on_step_requested(self, request: StepRequested) -> None:
        """Show another step, and remember that it was reached."""
        services = self.services
        migration = services.migration
        closed = step_closed(migration, request.step)
        if closed is not None:
            self.notify(f"{request.step.title} is closed: {closed}.", markup=False)
            return
        # A start page of a migration that has no answers yet is nothing to remember.
        if migration.source_conninfo and request.step is not Step.START:
            furthest = max(migration.furthest_step, request.step, key=lambda step: step.number)
            reached = migration.steps_reached
            if request.step not in (step for step, _ in reached):
                reached = (*reached, (request.step, services.now()))
            failure = services.record(
                replace(
                    migration,
                    step=request.step,
                    furthest_step=furthest,
                    steps_reached=reached,
                    updated_at=services.now(),
                )
            )
            if failure is not None:
                self.notify(visible(failure.sentence()), severity="error", markup=False)
        self.switch_screen(self._screen(request.step))

    # Leaving.

    def on_leave_requested(self, _request: LeaveRequested) -> None:
        """Ask before leaving, and say what stays behind."""
        services = self.services
        engine = services.engine
        if services.migration.cutover.done_at is not None:
            self.exit()
            return
        if services.host.read_only_because:
            self.exit()
            return
        snapshot = engine.snapshot() if engine is not None else None
        retained = (
            snapshot.lag.retained_wal_bytes if snapshot is not None and snapshot.lag is not None else None
        )
        runs_on = services.host.survives
        text = leaving_text(services.migration, retained, runs_on=runs_on)
        act = "Leave" if engine is None else "Stop and record"
        self.push_screen(LeaveModal(text, act=act, may_run_on=runs_on), self._left)

    def _left(self, answer: Leaving | None) -> None:
        if answer is Leaving.STOP:
            self._stop_wanted = True
            self.exit()
        elif answer is Leaving.RUN_ON:
            self.exit()

    def leave_now(self) -> None:
        """Leave without asking: the terminal is gone or a signal came. Safe from a signal handler."""
        self._stop_engine()
        loop = self._loop
        if loop is not None:
            # The loop may be asleep; posting from a signal handler alone does not wake it.
            loop.call_soon_threadsafe(self.exit)

    def _stop_engine(self) -> None:
        """An engine in this process ends with it; one in a host of its own goes on."""
        engine = self.services.engine
        if engine is not None and not self.services.host.survives:
            engine.stop()

    def _watch_terminal(self) -> None:
        if self._terminal_is_there is not None and not self._terminal_is_there():
            self.leave_now()

    def finish(self) -> str:
        """Settle what runs as asked for; what to print on the normal terminal. Called after the run."""
        services = self.services
        services.postsync.stop()
        services.postsync.wait_for_end(_POSTSYNC_STOP_SECONDS)
        if services.dry_run and services.engine is None:
            return dry_run_text(services.migration, services.scripts.whole_script)
        state = EngineLeft.NEVER_RAN
        if services.engine is not None and services.migration.cutover.done_at is None:
            if services.host.survives and not self._stop_wanted:
                services.host.let_run()
                state = EngineLeft.RUNS_ON
            else:
                state = EngineLeft.STOPPED if services.stop_engine() is True else EngineLeft.NOT_IN_TIME
        changes = services.cutover.source_changes()
        return after_exit_text(services.migration, state, services.drop_command(), changes)

    # When something breaks.

    def _fatal_error(self) -> None:
        """Say that the program broke, without local variables: they may hold connection strings."""
        error = self._exception
        self.bell()
        self._exit_renderables.append(Text(self._crash_report(error)))
        self._close_messages_no_wait()

    def _crash_report(self, error: Exception | None) -> str:
        log = self.services.log_path
        text = self.services.redact(crash_text(error))
        written = self.services.write_file("crash.txt", text)
        where = f" Written to {written}." if isinstance(written, Path) else ""
        about = f" The log is {log}." if log is not None else ""
        said = f"livesync-tui broke off; this is a bug.{where}{about}"
        goes_on = "goes on without it" if self.services.host.survives else "stops at a recorded position"
        return f"{said}\nReplication {goes_on}.\n{text}"


def crash_text(error: BaseException | None) -> str:
    """Where the program broke: the error's class, its message, and the lines that led there."""
    if error is None:
        return "unknown error"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([f"{type(error).__name__}: {error}", *lines])


def build_app(
    *,
    source: str = "",
    target: str = "",
    subscription: str = "",
    stop_writers: Callable[[], None] | None = None,
    folder: Path | None = None,
    log_path: Path | None = None,
    theme: str = NIGHT.name,
    terminal_is_there: Callable[[], bool] | None = None,
    dry_run: bool = False,
    host_directory: Path | None = None,
) -> MigrationApp:
    """The wizard with its real services.

    Args:
        source: Connection string to prefill, such as ``$SOURCE``.
        target: The same for the target.
        subscription: Name to use for a new migration; made from the source database's name when empty.
        stop_writers: Stops the application's writers and returns when they have stopped; the demo's.
        folder: Where saved migrations live; the user's state directory when None.
        log_path: Where the log is written, for the person to know.
        theme: Name of a theme of Textual's or of :mod:`livesync_tui.theme`.
        terminal_is_there: Whether the terminal still exists; None does not watch it.
        host_directory: Where processes that replicate listen; None to replicate in this process.
        dry_run: Change nothing on either server; the last step is to write the whole script.
    """
    # psycopg takes a tenth of a second to import; the App itself does not need it.
    from livesync_tui.services import LivesyncServices

    services = LivesyncServices(
        source=source,
        target=target,
        subscription=subscription,
        stop_writers=stop_writers,
        folder=folder,
        log_path=log_path,
        dry_run=dry_run,
        host_directory=host_directory,
    )
    return MigrationApp(services, theme=theme, terminal_is_there=terminal_is_there)
