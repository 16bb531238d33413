"""Step 1: which migration to go on with, or a new one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Static

from engine.connection.summary import ServerSummary
from engine.errors import Failure, Side
from screens.fitted_table import Column, FittedTable
from screens.format import cell, human_moment, plain, plural
from screens.migration import SavedMigration, Step
from screens.modals.confirm_name import ConfirmNameModal
from screens.modals.password import PasswordModal
from screens.services import MigrationServices
from screens.step_services.host import RunningHost
from screens.wizard import StepRequested, WizardScreen

_HELP = """
Migrations that were begun on this machine, latest first. Only answers are stored here, never a password
and never data: how far replication came is recorded in the target database itself.

Resuming one whose replication was started goes straight to Live and goes on from the recorded position.
Forgetting one removes its folder on this machine; the replication slot on the source and the state in
the target stay until `livesync-tui drop` removes them.
"""


_ABOUT_OWN_ROLE = (
    ".\nThe password of the migration's own role was kept nowhere but where you put it. Another one is set "
    "as a role that may: \\password ROLE in psql"
)
_RENEWS = "; or press esc, then n, x and k at the step User"

_COLUMNS = (
    Column("Name", "name", weight=2),
    Column("Source → target", "where", weight=5),
    Column("Step", "step", width=11),
    Column("Last worked on", "when", width=16),
)


def asks_for_password(failure: Failure) -> bool:
    """Whether another password may be all that is missing."""
    if failure.sqlstate is not None:
        return failure.sqlstate.startswith("28")
    return "password" in failure.detail.lower()


def resume_step(migration: SavedMigration) -> Step:
    """Where a resumed migration opens."""
    if migration.cutover.done_at is not None:
        return Step.DONE
    if migration.started_at is not None:
        return Step.LIVE
    return migration.step if migration.step not in (Step.START, Step.LIVE, Step.CUTOVER) else Step.CONNECT


class StartScreen(WizardScreen):
    """Lists saved migrations."""

    STEP = Step.START
    QUESTION = "Go on with a migration, or start a new one?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "start.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="start.new", tooltip="Start a new migration."),
        Binding(
            "d", "forget", "Forget", id="start.forget", tooltip="Remove it from this machine; asks first."
        ),
        Binding("e", "error_details", "Error", id="start.error", show=False, tooltip="Details of the error."),
    ]

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="list"):
            yield FittedTable(_COLUMNS, id="migrations")
            yield Static("", id="empty", markup=False)
        yield Static("", id="says", markup=False)

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._goes_to_user = False
        self._hosts: tuple[RunningHost, ...] = ()

    def opened(self) -> None:
        self._table.focus()
        self._fill()
        self.start_job(
            "hosts", "looking for what runs", self.services.host.running, self._hosts_found, quiet=True
        )

    def _hosts_found(self, hosts: tuple[RunningHost, ...] | Failure) -> None:
        if not isinstance(hosts, Failure) and hosts:
            self._hosts = hosts
            self._fill()

    def resized(self) -> None:
        if self._table.fit():
            self._fill()

    @property
    def _table(self) -> FittedTable:
        return self.query_one("#migrations", FittedTable)

    def _fill(self) -> None:
        table = self._table
        table.fit()
        table.clear()
        saved = self.services.saved_migrations()
        for migration in saved:
            cells = {
                "name": cell(migration.name),
                "where": cell(f"{migration.source_name} → {migration.target_name}"),
                "step": cell("running" if self._host_of(migration) else _progress(migration)),
                "when": cell(human_moment(migration.updated_at)[:16]),
            }
            table.add(migration.id, cells)
        table.display = bool(saved)
        unreadable = self.services.unreadable_migrations()
        empty = self.query_one("#empty", Static)
        empty.display = not saved or bool(unreadable)
        said = [failure.sentence() for failure in unreadable]
        if not saved:
            said.insert(0, "No migration was begun on this machine yet. Press n to start one.")
        empty.update(plain("  ".join(said)))
        self._say()

    def _selected(self) -> SavedMigration | None:
        key = self._table.marked()
        return next((m for m in self.services.saved_migrations() if m.id == key), None)

    def _say(self) -> None:
        """One line about what resuming the marked migration does."""
        migration = self._selected()
        text = ""
        if migration is not None:
            step = resume_step(migration)
            text = f"enter: {migration.name} goes on at {step.title}"
            if step is Step.LIVE:
                tables = plural(len(migration.tables), "table")
                host = self._host_of(migration)
                text += (
                    f"; replication of {tables} goes on from the position recorded in the target"
                    if host is None
                    else f"; {tables} are replicated now by process {host.pid}"
                )
            elif step is Step.DONE:
                text += "; the cutover is done"
            else:
                text += "; nothing has been copied so far"
        self.query_one("#says", Static).update(plain(text))
        self.redraw_frame()

    def _host_of(self, migration: SavedMigration) -> RunningHost | None:
        return next((host for host in self._hosts if host.migration_id == migration.id), None)

    def on_data_table_row_highlighted(self) -> None:
        self._say()

    def on_data_table_row_selected(self) -> None:
        migration = self._selected()
        if migration is not None and not self.jobs.running:
            self._resume(migration)

    def back_step(self) -> Step | None:
        return None

    def next_blocked(self) -> str | None:
        return (
            None if self._selected() is not None else "there is nothing to go on with; n starts a migration"
        )

    def next_hint(self) -> str:
        return "Next goes on with the marked migration; n starts a new one"

    def advance(self) -> None:
        migration = self._selected()
        if migration is not None:
            self._resume(migration)

    def action_new(self) -> None:
        self.services.begin()
        self.post_message(StepRequested(Step.CONNECT))

    def action_forget(self) -> None:
        migration = self._selected()
        if migration is None:
            return
        remains = (
            "\n\nIts replication slot on the source keeps WAL until it is dropped. To drop it later:\n"
            f"livesync-tui drop --subscription {migration.subscription} --source … --target …"
            if migration.started_at is not None and migration.dropped_at is None
            else ""
        )
        modal = ConfirmNameModal(
            "Forget this migration?",
            f"Removes its answers, scripts and reports from this machine.{remains}",
            name=migration.name,
            act="Forget",
        )
        self.app.push_screen(modal, partial(self._forget, migration.id))

    def _forget(self, migration_id: str, confirmed: bool | None) -> None:
        if confirmed:
            self.notice(self.services.forget(migration_id))
            self._fill()

    def _resume(self, migration: SavedMigration) -> None:
        self._goes_to_user = False
        failure = self.services.resume(migration.id)
        self.notice(failure)
        if failure is not None:
            return
        if resume_step(migration) is Step.CONNECT or migration.dropped_at is not None:
            self._go_on()
            return
        self._probe(Side.SOURCE)

    def _go_on(self) -> None:
        step = Step.USER if self._goes_to_user else resume_step(self.services.migration)
        self.post_message(StepRequested(step))

    def _probe(self, side: Side) -> None:
        self.notice(None)
        self.start_job(
            "probe",
            f"connecting to the {side.value}",
            partial(self.services.probe, side),
            partial(self._probed, side),
        )

    def _probed(self, side: Side, summary: ServerSummary | Failure) -> None:
        if isinstance(summary, Failure):
            runs = self._host_of(self.services.migration) is not None
            if runs and not asks_for_password(summary):
                # What the engine makes of a server that does not answer is seen there.
                self._take_engine()
            elif asks_for_password(summary):
                endpoint = self.services.endpoint(side)
                said = summary.title
                if self._is_own_role(side):
                    started = self.services.migration.started_at is not None
                    said += f"{_ABOUT_OWN_ROLE}{'' if started else _RENEWS}."
                modal = PasswordModal(side.value, str(endpoint), said)
                self.app.push_screen(modal, partial(self._password_given, side))
            elif self.services.migration.cutover.done_at is not None:
                self._go_on()
            elif self.services.migration.started_at is None:
                self.post_message(StepRequested(Step.CONNECT))
            else:
                self.notice(summary)
            return
        if side is Side.SOURCE:
            self._probe(Side.TARGET)
            return
        if resume_step(self.services.migration) is not Step.LIVE:
            self._go_on()
            return
        self._take_engine()

    def _take_engine(self) -> None:
        self.start_job("engine", "starting the engine", self._start_engine, self._engine_started)

    def _password_given(self, side: Side, password: str | None) -> None:
        if password is not None:
            self.services.give_password(side, password)
            self._probe(side)
        elif self.services.migration.cutover.done_at is not None:
            # The report can be read without the servers.
            self._go_on()
        elif self._host_of(self.services.migration) is not None:
            # So can the engine be watched.
            self._take_engine()
        elif self._is_own_role(side) and self.services.migration.started_at is None:
            # That step works as the role of the first connection.
            self._goes_to_user = True
            self._probe(Side.TARGET)

    def _is_own_role(self, side: Side) -> bool:
        return side is Side.SOURCE and bool(self.services.migration.migration_user)

    def _start_engine(self) -> bool | Failure:
        return self.services.start_engine() or True

    def _engine_started(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
        else:
            self.post_message(StepRequested(Step.LIVE))


def _progress(migration: SavedMigration) -> str:
    """Where a migration stands, in a word."""
    if migration.dropped_at is not None:
        return "cleaned up"
    return resume_step(migration).title
