"""Step 8: copying and replicating, as the engine's latest snapshot tells it.

The screen asks for a snapshot once a second and draws what differs from what is drawn. The engine never
waits for it. Rows are sorted by attention; the list is filled again only when that order changes, and
then the cursor stays on its table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import DataTable, Static

from engine.errors import Failure
from engine.snapshot import CopyRate, Event, Lag, Phase, Severity, Snapshot, TableProgress, TableState
from screens.fitted_table import Column, FittedTable
from screens.format import (
    UNKNOWN,
    cell,
    human_bytes,
    human_count,
    human_duration,
    human_estimate,
    human_per_second,
    human_rate,
    human_whole_seconds,
    plain,
    plural,
    visible,
)
from screens.migration import Step
from screens.modals.confirm import ConfirmModal
from screens.modals.text import TextModal
from screens.services import MigrationServices
from screens.wizard import WizardScreen

_HELP = """
Each table is copied, catches up with what changed meanwhile, and then follows the source:
  i waiting        not started
  d copying        rows are being copied
  f catching up    the copy is complete, changes made since are being applied
  s synchronized   caught up, waits to be taken over by the live stream
  r ready          follows the source
  set aside        stopped by an error of its own; the others go on. e shows why, t copies it again

Space freezes what is shown; the engine runs on. p pauses the engine: nothing is applied and the source
keeps WAL until it is resumed. The lag is what the source has written and the target has not stored yet.

Shares and times left go by the source's estimate of each table's rows; ? stands where it has none, or too
few. Bytes copied are those sent, which are not what a table takes on disk.
"""

SILENT_AFTER_SECONDS = 5.0
"""The engine publishes about once a second; five missed ones are worth a word."""

_WAIT_CELLS = 180
"""Of three lines of 80, as wide as the room for trouble is in the smallest terminal."""

_EVENT_LINES = 3
_EVENTS_KEPT = 500

_LOOKS: dict[TableState, tuple[str, str]] = {
    TableState.INIT: ("○", "quiet"),
    TableState.DATASYNC: ("▸", "busy"),
    TableState.FINISHEDCOPY: ("»", "busy"),
    TableState.SYNCDONE: ("✓", "good"),
    TableState.READY: ("✓", "good"),
}

_ATTENTION = {
    TableState.DATASYNC: 1,
    TableState.INIT: 2,
    TableState.FINISHEDCOPY: 3,
    TableState.SYNCDONE: 4,
    TableState.READY: 5,
}

_PHASE_STYLES = {
    Phase.FAILED: "$text-error",
    Phase.RETRYING: "$text-warning",
    Phase.PAUSED: "$text-warning",
    Phase.STOPPED: "$text-warning",
    Phase.STOPPING: "$text-warning",
}


_COLUMNS = (
    Column("State", "state", width=16),
    Column("Table", "name", weight=1),
    Column("Rows copied", "rows", width=11, right=True),
    Column("%", "share", width=4, right=True),
    Column("Bytes", "bytes", width=9, right=True, wide_only=True),
    Column("Changes", "changes", width=11, right=True, wide_only=True),
    Column("Now", "doing", weight=1),
)


@dataclass(frozen=True, slots=True)
class CellText:
    """One cell: what it says and in which tone."""

    text: str
    tone: str = ""
    right: bool = False


def attention(table: TableProgress) -> int:
    """What needs the person first: set aside, copying, waiting, catching up, synchronized, ready."""
    return 0 if table.last_error is not None else _ATTENTION[table.state]


def row_cells(table: TableProgress) -> dict[str, CellText]:
    """The text of one row by column; pure, so that tests need no screen."""
    if table.last_error is not None:
        state = CellText(f"✗ {table.state.value} set aside", "bad")
        doing = CellText(table.last_error, "bad")
    else:
        glyph, tone = _LOOKS[table.state]
        state = CellText(f"{glyph} {table.state.value} {table.state.word}", tone)
        doing = CellText(copy_speed(table) or table.activity)
    return {
        "state": state,
        "name": CellText(table.source_name),
        "rows": CellText(human_count(table.rows_copied), right=True),
        "share": CellText(copied_share(table), right=True),
        "bytes": CellText(human_bytes(table.bytes_copied), right=True),
        "changes": CellText(human_count(table.changes_applied), right=True),
        "doing": doing,
    }


def copied_share(table: TableProgress) -> str:
    """How much of a table is copied; never 100 % before it is, because the total is an estimate."""
    if table.is_copied:
        return "all"
    if table.rows_copied == 0:
        return "-"
    return "?" if table.copied_percent is None else f"{table.copied_percent} %"


def copy_speed(table: TableProgress) -> str:
    """How long a copy still takes and how fast it is; nothing while it does something else."""
    rate = table.copy_rate
    if rate is None or table.activity != "copying":
        return ""
    speed = human_rate(rate.bytes_per_second)
    if table.exceeds_estimate:
        return f"more than estimated, {speed}"
    return speed if rate.time_left is None else f"~{rate.time_left}, {speed}"


def counts_line(snapshot: Snapshot) -> Content:
    """How many tables are in which state, in letters and words."""
    set_aside = len(snapshot.tables_set_aside)
    healthy = [table for table in snapshot.tables if table.last_error is None]
    parts: list[Content] = []
    if set_aside:
        parts.append(Content.styled(f"set aside {set_aside}", "bold $text-error"))
    for state in TableState:
        count = sum(1 for table in healthy if table.state is state)
        parts.append(Content.styled(f"{state.value} {state.word} {count}", "" if count else "dim"))
    return Content("  ").join(parts)


def copy_line(snapshot: Snapshot) -> str:
    """How much was copied, how long the rest takes, and how fast it is."""
    total = snapshot.copy_total
    rows, size = f"{human_count(total.rows)} rows", human_bytes(total.size_bytes)
    if snapshot.phase is not Phase.COPYING:
        return f"Copied {size}, {rows}"
    share, rate = "", total.rate
    if total.exceeds_estimate:
        share = " more than estimated:"
    elif total.percent is not None:
        left = "" if rate is None or rate.time_left is None else f", ~{rate.time_left} left"
        share = f" ~{total.percent} %{left}:"
    if rate is not None:
        size += f" ({human_rate(rate.bytes_per_second)})"
        rows += f" ({human_per_second(rate.rows_per_second)})"
    return f"Copied{share} {size}, {rows}"


def lag_line(snapshot: Snapshot) -> str:
    """How far behind the target is, and what that costs the source."""
    applied = f"Applied {human_per_second(snapshot.changes_per_second)}"
    lag = snapshot.lag
    if lag is None:
        return f"{applied}  lag unknown  the source keeps an unknown amount of WAL"
    return f"{applied}  {_lag_words(lag)}  the source keeps {human_bytes(lag.retained_wal_bytes)} of WAL"


def _lag_words(lag: Lag) -> str:
    seconds = "" if lag.lag_seconds is None else f" ({human_duration(lag.lag_seconds)})"
    return f"lag {human_bytes(lag.lag_bytes)}{seconds}"


def trouble_line(snapshot: Snapshot | None, now_monotonic_seconds: float, frozen_at: str) -> tuple[str, str]:
    """What the person should know first, and its style: failure, silence, a wait, a frozen display, pause."""
    if snapshot is None:
        return "The engine has not reported yet.", "dim"
    failure = snapshot.failure
    if failure is not None:
        said = f"{failure.title}{f': {failure.detail}' if failure.detail else ''}"
        if snapshot.phase is Phase.RETRYING and snapshot.retry_at_monotonic_seconds is not None:
            wait = max(0.0, snapshot.retry_at_monotonic_seconds - now_monotonic_seconds)
            return f"Next try in {human_whole_seconds(wait)}. {said}. {failure.hint}", "$text-warning"
        return f"{said}. {failure.hint}", "$text-error"
    silent = now_monotonic_seconds - snapshot.taken_monotonic_seconds
    if silent > SILENT_AFTER_SECONDS and snapshot.phase not in (Phase.STOPPED, Phase.FAILED):
        return f"Engine silent for {human_whole_seconds(silent)}; numbers are that old.", "$text-warning"
    if snapshot.waiting_for is not None:
        return f"Applying waits for {_fitting(snapshot.waiting_for)}; e shows more.", "$text-warning"
    if frozen_at:
        return f"Display frozen at {frozen_at}; the engine runs on. space unfreezes.", "$text-warning"
    if snapshot.phase is Phase.PAUSED:
        return "Paused: nothing is applied, the source keeps WAL. p resumes.", "$text-warning"
    if snapshot.tables_set_aside:
        count = plural(len(snapshot.tables_set_aside), "table was", "tables were")
        return f"{count} set aside; e shows why, t copies it again.", "$text-error"
    return "", ""


def _fitting(words: str) -> str:
    """As much of foreign ``words`` as leaves room for what follows them on the screen."""
    shown = visible(words)
    if cell_len(shown) <= _WAIT_CELLS:
        return shown
    return f"{set_cell_size(shown, _WAIT_CELLS - 1).rstrip()}…"


def waiting_text(waiting_for: str) -> str:
    """What keeps the apply stream from moving, for reading."""
    return (
        f"The apply stream waits for {waiting_for}.\n\nNothing is lost: the source keeps WAL meanwhile, and "
        "applying goes on by itself when the wait is over."
    )


def event_line(event: Event) -> str:
    """One event as one line."""
    word = "" if event.severity is Severity.INFO else f"{event.severity.value.upper()} "
    return f"{event.at:%H:%M:%S} {word}{visible(event.text)}"


def table_text(table: TableProgress) -> str:
    """Everything known about one table, for reading."""
    lines = [
        f"Source        {table.source_name}",
        f"Target        {table.target_name}",
        f"State         {table.state.value} {table.state.word}",
        f"Rows copied   {_rows_copied(table)}",
        f"Bytes copied  {_bytes_copied(table)}",
        f"Applied       {human_count(table.changes_applied)} row changes since this start",
        f"Now           {table.activity}",
    ]
    if table.copy_rate is not None:
        lines.append(f"Time left     {_time_left(table.copy_rate)}")
    if table.state_since is not None:
        lines.append(f"State since   {table.state_since:%Y-%m-%d %H:%M:%S %Z}")
    if table.last_error is not None:
        lines.append(
            f"\nSet aside because\n{table.last_error}\n\nt on its line copies it again from the start."
        )
    return "\n".join(lines)


def _rows_copied(table: TableProgress) -> str:
    rows, estimate = human_count(table.rows_copied), human_estimate(table.approximate_rows)
    speed = "" if table.copy_rate is None else f", {human_per_second(table.copy_rate.rows_per_second)}"
    if table.is_copied:
        return rows
    if table.exceeds_estimate:
        return f"{rows}{speed}; more than the {estimate} estimated"
    if not table.approximate_rows:
        return f"{rows}{speed}; how many there are is not known"
    return f"{rows} of {estimate} ({table.copied_percent} %){speed}"


def _time_left(rate: CopyRate) -> str:
    return UNKNOWN if rate.time_left is None else f"about {rate.time_left}, at this speed"


def _bytes_copied(table: TableProgress) -> str:
    speed = "" if table.copy_rate is None else f", {human_rate(table.copy_rate.bytes_per_second)}"
    on_disk = human_bytes(table.approximate_size_bytes)
    return f"{human_bytes(table.bytes_copied)}{speed} (on the source's disk {on_disk})"


class LiveScreen(WizardScreen):
    """Shows the running engine."""

    STEP = Step.LIVE
    QUESTION = "Copying and replicating"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "live.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "p",
            "pause",
            "Pause",
            id="live.pause",
            tooltip="Pause or resume the engine; start it again when it has ended.",
        ),
        Binding("space", "freeze", "Freeze", id="live.freeze", tooltip="Freeze or unfreeze what is shown."),
        Binding(
            "t", "retry", "Retry", id="live.retry", tooltip="Copy a table that was set aside again; asks."
        ),
        Binding("e", "error_details", "Error", id="live.error", tooltip="Details of the error."),
        Binding("l", "events", "Log", id="live.events", tooltip="What happened, latest last."),
    ]

    def __init__(self, services: MigrationServices, refresh_seconds: float = 1.0) -> None:
        super().__init__(services)
        self._refresh_seconds = refresh_seconds
        self._snapshot: Snapshot | None = None
        self._events: list[Event] = []
        self._frozen_at = ""
        self._cursor_was_moved = False
        self._drawn_lines: dict[str, Content] = {}
        self._drawn_order: tuple[int, ...] = ()
        self._drawn_cells: dict[int, dict[str, CellText]] = {}

    def compose_body(self) -> Iterable[Widget]:
        for name in ("phase", "counts", "copied", "lag", "trouble"):
            yield Static("", id=name, classes="line", markup=False)
        yield FittedTable(_COLUMNS, id="progress")
        yield Static("", id="events", markup=False)

    def opened(self) -> None:
        self.query_one("#question").display = False
        self._table.focus()
        self.set_interval(self._refresh_seconds, self.poll)
        self.poll()

    def resized(self) -> None:
        if self._table.fit():
            self._drawn_order = ()
            self.poll()

    @property
    def _table(self) -> FittedTable:
        return self.query_one("#progress", FittedTable)

    def poll(self) -> None:
        """Take the latest snapshot and draw what is new."""
        engine = self.services.engine
        if engine is None:
            return
        self._snapshot = engine.snapshot()
        new = engine.events(self._events[-1].number if self._events else 0)
        self._events = (self._events + list(new))[-_EVENTS_KEPT:]
        with self.app.batch_update():
            self._draw_trouble()
            if not self._frozen_at and self._snapshot is not None:
                self._draw_summary(self._snapshot)
                self._draw_rows(self._snapshot)
                self._draw_events()
        self._note_copy_finished()
        self.redraw_frame()

    def _note_copy_finished(self) -> None:
        snapshot = self._snapshot
        migration = self.services.migration
        if snapshot is not None and migration.copy_finished_at is None and snapshot.all_tables_synchronized:
            self.remember(copy_finished_at=self.services.now())

    # Drawing.

    def _draw_line(self, name: str, content: Content) -> None:
        if self._drawn_lines.get(name) != content:
            self._drawn_lines[name] = content
            self.query_one(f"#{name}", Static).update(content)

    def _draw_trouble(self) -> None:
        text, style = trouble_line(self._snapshot, self.services.monotonic_seconds(), self._frozen_at)
        self._draw_line("trouble", plain(text, style))

    def _draw_summary(self, snapshot: Snapshot) -> None:
        style = _PHASE_STYLES.get(snapshot.phase, "$text-accent")
        phase = Content.assemble(
            (snapshot.phase.value.upper(), f"bold {style}"),
            f"  {plural(len(snapshot.tables), 'table')}",
            f", {snapshot.sync_workers_busy} of {snapshot.sync_workers} sync workers busy",
            f", subscription {visible(snapshot.subscription)}",
            f", applied {snapshot.applied_lsn or 'nothing yet'}",
            f", source at {snapshot.source_flush_lsn or 'unknown'}",
        )
        self._draw_line("phase", phase)
        self._draw_line("counts", counts_line(snapshot))
        self._draw_line("copied", Content(copy_line(snapshot)))
        self._draw_line("lag", Content(lag_line(snapshot)))

    def _draw_rows(self, snapshot: Snapshot) -> None:
        ordered = sorted(snapshot.tables, key=attention)
        order = tuple(table.source_oid for table in ordered)
        if order != self._drawn_order:
            self._fill(ordered, order)
            return
        rows = self._table
        for table in ordered:
            cells = row_cells(table)
            drawn = self._drawn_cells[table.source_oid]
            if cells == drawn:
                continue
            for column, new in cells.items():
                if new != drawn[column]:
                    rows.change(str(table.source_oid), column, self._text(new))
            self._drawn_cells[table.source_oid] = cells

    def _fill(self, ordered: list[TableProgress], order: tuple[int, ...]) -> None:
        """Fill the list in a new order; the cursor stays on its table."""
        rows = self._table
        at = self._marked()
        self._drawn_order = order
        self._drawn_cells = {table.source_oid: row_cells(table) for table in ordered}
        rows.fit()
        rows.clear()
        for table in ordered:
            cells = self._drawn_cells[table.source_oid]
            rows.add(str(table.source_oid), {column: self._text(text) for column, text in cells.items()})
        # A cursor that was never moved stays at the top, where attention is needed.
        if self._cursor_was_moved and at is not None and at in order:
            rows.move_cursor(row=order.index(at), scroll=True)

    def _text(self, cell_text: CellText) -> Text:
        style = self.tone(cell_text.tone) if cell_text.tone else ""
        return cell(cell_text.text, style, right=cell_text.right)

    def _draw_events(self) -> None:
        lines = [event_line(event) for event in self._events[-_EVENT_LINES:]]
        self._draw_line("events", Content("\n".join(lines)))

    # Keys.

    def _marked(self) -> int | None:
        key = self._table.marked()
        return None if key is None else int(key)

    def _marked_table(self) -> TableProgress | None:
        oid = self._marked()
        tables = self._snapshot.tables if self._snapshot is not None else ()
        return next((table for table in tables if table.source_oid == oid), None)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self._cursor_was_moved = event.cursor_row > 0

    def on_data_table_row_selected(self) -> None:
        table = self._marked_table()
        if table is not None:
            self.app.push_screen(TextModal(table.source_name, table_text(table), "table.txt", self.copy))

    def action_freeze(self) -> None:
        self._frozen_at = "" if self._frozen_at else f"{self.services.now():%H:%M:%S}"
        self.poll()

    def action_pause(self) -> None:
        engine = self.services.engine
        if engine is None or self._snapshot is None or self._only_looks():
            return
        if self._snapshot.phase in (Phase.FAILED, Phase.STOPPED):
            self.notice(None)
            self.start_job("engine", "starting the engine", self._start_engine, self._started)
        elif self._snapshot.phase in (Phase.PAUSED, Phase.RETRYING):
            engine.resume()
            self.notify("Resuming.", markup=False)
        else:
            engine.pause()
            self.notify("Pausing: the source keeps WAL until p resumes.", markup=False)

    def _start_engine(self) -> bool | Failure:
        return self.services.start_engine() or True

    def _started(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
        self._events = []
        self.poll()

    def _only_looks(self) -> bool:
        """Whether an order would be refused; says why."""
        because = self.services.host.read_only_because
        if because:
            self.notify(f"Not done: {because}.", markup=False)
        return bool(because)

    def action_retry(self) -> None:
        table = self._marked_table()
        if self._only_looks():
            return
        if table is None or table.last_error is None:
            set_aside = self._snapshot.tables_set_aside if self._snapshot is not None else ()
            if not set_aside:
                self.notify("No table is set aside.", markup=False)
                return
            table = set_aside[0]
        modal = ConfirmModal(
            "Copy this table again?",
            f"{visible(table.source_name)} → {visible(table.target_name)}\n\n"
            "The rows that were copied into the target table are removed, and the table is copied from the "
            f"start.\n\nIt was set aside because:\n{table.last_error}",
            act="Copy again",
        )
        self.app.push_screen(modal, partial(self._retry, table.source_oid))

    def _retry(self, source_oid: int, confirmed: bool | None) -> None:
        engine = self.services.engine
        if confirmed and engine is not None:
            engine.retry(source_oid)

    def action_error_details(self) -> None:
        from screens.modals.failure import FailureModal

        table = self._marked_table()
        failure = self._snapshot.failure if self._snapshot is not None else None
        waiting_for = self._snapshot.waiting_for if self._snapshot is not None else None
        set_aside = self._snapshot.tables_set_aside if self._snapshot is not None else ()
        if failure is not None:
            self.app.push_screen(FailureModal(failure, self.copy))
        elif waiting_for is not None:
            text = waiting_text(waiting_for)
            self.app.push_screen(TextModal("What applying waits for", text, "waiting.txt", self.copy))
        elif table is not None and table.last_error is not None:
            self.app.push_screen(TextModal(table.source_name, table_text(table), "table.txt", self.copy))
        elif set_aside:
            text = "\n\n\n".join(table_text(each) for each in set_aside)
            self.app.push_screen(TextModal("Tables set aside", text, "tables-set-aside.txt", self.copy))
        else:
            super().action_error_details()

    def action_events(self) -> None:
        text = "\n".join(event_line(event) for event in self._events) or "Nothing has happened yet."
        log = self.services.log_path
        title = "Events" if log is None else f"Events; all of them are in {log}"
        self.app.push_screen(TextModal(title, text, "events.txt", self.copy, large=True))

    def copy_text(self) -> tuple[str, str] | None:
        table = self._marked_table()
        return None if table is None else ("table.txt", table_text(table))

    # The gate.

    def _never_began(self) -> bool:
        """Whether the engine failed before it listed a table: wrong answers, which can still be changed."""
        snapshot = self._snapshot
        return snapshot is not None and snapshot.phase is Phase.FAILED and not snapshot.tables

    def back_step(self) -> Step | None:
        return Step.REVIEW if self._never_began() else None

    def action_back(self) -> None:
        if self._never_began():
            self.remember(started_at=None)
        super().action_back()

    def next_blocked(self) -> str | None:
        snapshot = self._snapshot
        if self.services.host.read_only_because:
            return f"{self.services.host.read_only_because}; this one only looks"
        if snapshot is None:
            return "the engine has not reported yet"
        if snapshot.phase in (Phase.FAILED, Phase.STOPPED, Phase.STOPPING):
            back = "; ctrl+o goes back to change the answers" if self._never_began() else ""
            return f"the engine is {snapshot.phase.value}; p starts it again{back}"
        set_aside = snapshot.tables_set_aside
        if set_aside:
            return (
                f"{plural(len(set_aside), 'table is', 'tables are')} set aside; t copies again, e shows why"
            )
        if not snapshot.all_tables_synchronized:
            if not snapshot.tables:
                return "the engine has not listed the tables yet"
            waiting = sum(
                1 for table in snapshot.tables if table.state not in (TableState.SYNCDONE, TableState.READY)
            )
            return f"{plural(waiting, 'table is', 'tables are')} not synchronized yet"
        if snapshot.phase is Phase.PAUSED:
            return "the engine is paused; p resumes"
        if snapshot.phase is Phase.RETRYING:
            return "a connection is lost; the engine tries again by itself, p tries now"
        return None

    def next_hint(self) -> str:
        return f"All tables are synchronized; ready for {Step.POSTSYNC.title} whenever you are"
