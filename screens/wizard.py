"""The frame around every step: who moves where, which step, whether Next is possible and why not.

A step is made anew each time it is shown, so what it shows was read now; what was chosen lives in the
migration record. A step never goes anywhere itself: it posts :class:`StepRequested`, and the application
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Static

from engine.errors import Failure
from engine.snapshot import Phase, Snapshot
from screens.action_button import ActionButton
from screens.footer import KeyFooter
from screens.format import human_bytes, human_duration, human_whole_seconds, plain, visible
from screens.job import JobFinished, Jobs
from screens.keys import WIZARD_BINDINGS
from screens.migration import Step
from screens.rail import narrow_rail, wide_rail
from screens.services import MigrationServices

Value = TypeVar("Value")

TICK_SECONDS = 1.0
"""How often a step looks at the engine and the clock."""

_SHOW_ELAPSED_AFTER_SECONDS = 0.1
"""Below that nothing is noticed; an indication that comes and goes would only flicker."""


@dataclass
class StepRequested(Message):
    """A step wants another one to be shown."""

    step: Step


class LeaveRequested(Message):
    """The person wants to leave the wizard."""


class WizardScreen(Screen[None]):
    """Base of all steps."""

    STEP: ClassVar[Step]
    QUESTION: ClassVar[str]
    """What this step asks of the person, one line."""

    HELP_TEXT: ClassVar[str]
    """What this step does, what it changes, how to undo it; plain text."""

    BINDINGS: ClassVar[list[BindingType]] = [*WIZARD_BINDINGS]
    CSS_PATH: ClassVar[CSSPathType | None] = "wizard.tcss"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "tone--good",
        "tone--warn",
        "tone--bad",
        "tone--quiet",
        "tone--busy",
    }

    def __init__(self, services: MigrationServices) -> None:
        super().__init__()
        self.services = services
        self.jobs = Jobs(self, services.monotonic_seconds)
        self._drawn_gate: tuple[str, str] | None = None
        self._drawn_moves: tuple[bool, bool] | None = None
        self._drawn_link = ""
        self._notice: Failure | None = None

    # The frame.

    def compose(self) -> ComposeResult:
        with Horizontal(id="frame-top"):
            yield Static(self._where(), id="where")
            yield Static("", id="link", markup=False)
        furthest = self.services.migration.furthest_step
        yield Static(wide_rail(self.STEP, furthest), id="rail-wide", classes="rail")
        yield Static(narrow_rail(self.STEP, furthest), id="rail-narrow", classes="rail")
        with Vertical(id="body"):
            yield Static(self.QUESTION, id="question", markup=False)
            yield from self.compose_body()
        with Horizontal(id="nav"):
            yield Static("", id="why-not", markup=False)
            yield ActionButton("Back", id="back")
            yield ActionButton("Next", id="next")
        yield KeyFooter()

    def compose_body(self) -> Iterable[Widget]:
        """The widgets of the step."""
        return ()

    def on_mount(self) -> None:
        self.set_interval(TICK_SECONDS, self._tick)
        self.query_one("#next", Button).display = self.STEP.following is not None
        self.redraw_frame()
        self.opened()

    def opened(self) -> None:
        """Called once when the step is shown, after its widgets exist."""

    def tick(self) -> None:
        """Called once a second while the step is shown."""

    def resized(self) -> None:
        """Called when the terminal has another size, after the layout."""

    def on_resize(self) -> None:
        self.call_after_refresh(self.resized)

    def _tick(self) -> None:
        self.redraw_frame()
        self.tick()

    def _where(self) -> Content:
        migration = self.services.migration
        name = Content.styled("livesync", "bold")
        if not migration.source_name:
            return Content.assemble(name, "  no connection yet")
        return Content.assemble(
            name, "  ", visible(migration.source_name), " → ", visible(migration.target_name or "?")
        )

    def redraw_frame(self) -> None:
        """Show the gate and the state of the engine; what is the same is not sent again."""
        self._draw_gate()
        engine = self.services.engine
        snapshot = engine.snapshot() if engine is not None else None
        text = "" if snapshot is None else link_text(snapshot)
        if text != self._drawn_link:
            self._drawn_link = text
            self.query_one("#link", Static).update(text)

    # The gate.

    def next_blocked(self) -> str | None:
        """Why Next is off, or None."""
        return None

    def next_hint(self) -> str:
        """What to say beside Next when it is on."""
        following = self.STEP.following
        return "" if following is None else f"Ready for {following.title}"

    def advance(self) -> None:
        """Next was asked for and is possible."""
        following = self.STEP.following
        if following is not None:
            self.post_message(StepRequested(following))

    def back_step(self) -> Step | None:
        """Where Back leads, or None."""
        return self.STEP.previous

    def _gate(self) -> tuple[str, str]:
        """The line beside the buttons and its class."""
        running = self.jobs.running
        if running:
            now = self.services.monotonic_seconds()
            oldest = running[0]
            return (
                f"{oldest.doing} … {human_whole_seconds(max(0.0, now - oldest.started_monotonic_seconds))}",
                "-calm",
            )
        if self._notice is not None:
            return f"{self._notice.title}. Press e for details.", ""
        blocked = self.next_blocked()
        if blocked is not None:
            return (f"Next is off: {blocked}" if self.STEP.following is not None else blocked), ""
        return self.next_hint(), "-go"

    def _draw_gate(self) -> None:
        text, tone = self._gate()
        off = bool(self.jobs.running) or self.next_blocked() is not None
        has_back = self.back_step() is not None
        if (text, tone) != self._drawn_gate:
            self._drawn_gate = (text, tone)
            why_not = self.query_one("#why-not", Static)
            why_not.set_classes(tone)
            why_not.update(plain(text))
        if (off, has_back) != self._drawn_moves:
            self._drawn_moves = (off, has_back)
            self.query_one("#next", ActionButton).turn_off(off)
            self.query_one("#back", Button).display = has_back
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey what is not possible now, rather than hide it."""
        if action == "next":
            if self.STEP.following is None:
                return False
            return None if self.jobs.running or self.next_blocked() is not None else True
        if action == "back":
            return self.back_step() is not None
        return True

    # Jobs.

    def start_job(
        self,
        name: str,
        doing: str,
        call: Callable[[], Value | Failure],
        done: Callable[[Value | Failure], None],
        *,
        quiet: bool = False,
    ) -> None:
        """Run a blocking call beside the screen; Next is off until it is back, unless it is quiet."""
        self.jobs.start(name, doing, call, done, quiet=quiet)
        if not quiet:
            self.set_timer(_SHOW_ELAPSED_AFTER_SECONDS, self.redraw_frame)

    def on_job_finished(self, finished: JobFinished) -> None:
        finished.stop()
        self.jobs.finish(finished)
        self.redraw_frame()

    def notice(self, failure: Failure | None) -> None:
        """Show a failure on the gate line until the next action, with ``e`` for its details."""
        self._notice = failure
        self.redraw_frame()

    # What the keys do.

    @on(Button.Pressed, "#next")
    def _next_pressed(self) -> None:
        self.action_next()

    @on(Button.Pressed, "#back")
    def _back_pressed(self) -> None:
        self.action_back()

    def action_next(self) -> None:
        if self.check_action("next", ()):
            self.advance()

    def action_back(self) -> None:
        step = self.back_step()
        if step is not None:
            self.post_message(StepRequested(step))

    def action_steps(self) -> None:
        from screens.modals.steps import StepsModal

        self.app.push_screen(StepsModal(self.services.migration, self.STEP), self._go_to)

    def _go_to(self, step: Step | None) -> None:
        if step is not None and step is not self.STEP:
            self.post_message(StepRequested(step))

    def action_leave(self) -> None:
        self.post_message(LeaveRequested())

    def action_explain_leaving(self) -> None:
        self.notify("Press ctrl+q to leave the wizard; it asks first.", markup=False)

    def action_redraw(self) -> None:
        self.app.refresh(layout=True)

    def action_help(self) -> None:
        from screens.modals.help import HelpModal

        self.app.push_screen(HelpModal(self))

    def copy_text(self) -> tuple[str, str] | None:
        """A file name and the text that ``y`` copies, or None when there is nothing to copy."""
        return None

    def action_copy(self) -> None:
        copied = self.copy_text()
        if copied is None:
            self.notify("There is nothing to copy here.", markup=False)
            return
        self.copy(*copied)

    def copy(self, file_name: str, text: str) -> None:
        """Offer ``text`` to the terminal's clipboard, and write it to a file: many terminals ignore that."""
        self.app.copy_to_clipboard(text)
        written = self.services.write_file(file_name, text)
        if isinstance(written, Failure):
            self.notice(written)
        else:
            self.notify(f"Sent to the terminal's clipboard, and written to {written}", markup=False)

    def action_error_details(self) -> None:
        from screens.modals.failure import FailureModal

        if self._notice is not None:
            self.app.push_screen(FailureModal(self._notice, self.copy))

    # Small things every step does.

    def tone(self, name: str) -> str:
        """The style of a table cell by meaning: good, warn, bad, quiet, busy."""
        return str(self.get_component_rich_style(f"tone--{name}", partial=True)) if name else ""

    def remember(self, **changes: object) -> None:
        """Change the migration record and write it down; a full disk is said, not raised."""
        migration = replace(self.services.migration, updated_at=self.services.now(), **changes)  # type: ignore[arg-type]
        failure = self.services.record(migration)
        if failure is not None:
            self.notice(failure)


def link_text(snapshot: Snapshot) -> str:
    """The engine in a few words, for the right end of the first line."""
    words = snapshot.phase.value
    if snapshot.phase in (Phase.COPYING, Phase.REPLICATING) and snapshot.lag is not None:
        lag = human_bytes(snapshot.lag.lag_bytes)
        if snapshot.lag.lag_seconds is None:
            return f"{words} | lag {lag}"
        return f"{words} | lag {lag} ({human_duration(snapshot.lag.lag_seconds)})"
    return words
