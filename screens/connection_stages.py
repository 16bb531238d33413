"""The stages of getting through to one server: passed or not, how long each took, where it stopped."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from engine.connection.stage import STAGES, Stage, StageDone, stage_in_progress
from screens.format import human_duration, human_milliseconds, visible

_LEFT = (Stage.DNS, Stage.TCP, Stage.TLS, Stage.LOGIN)
_RIGHT = tuple(stage for stage in STAGES if stage not in _LEFT)
_TIME_WIDTH = 8


def stage_time(seconds: float) -> str:
    """A stage's time in a column of fixed width.

    >>> stage_time(0.0123), stage_time(12.34)
    (' 12.3 ms', '    12 s')
    """
    words = human_milliseconds(seconds) if seconds < 0.99995 else human_duration(seconds)
    return words.rjust(_TIME_WIDTH)


def stage_lines(column: Iterable[Stage], done: tuple[StageDone, ...], *, failed: bool) -> Content:
    """One line for each stage of a column."""
    stages = tuple(column)
    label_width = max(len(stage.value) for stage in stages)
    passed = {each.stage: each for each in done}
    current = stage_in_progress(done)
    lines = []
    for stage in stages:
        label = stage.value.ljust(label_width)
        if stage in passed:
            value = passed[stage]
            words = f"{label} {stage_time(value.seconds)}  {visible(value.found)}"
            lines.append(Content.assemble(("✓ ", "$text-success"), words))
        elif stage is not current:
            lines.append(Content.styled(f"· {label}", "dim"))
        elif failed:
            lines.append(Content.styled(f"✗ {label}   failed", "$text-error"))
        else:
            lines.append(Content.styled(f"… {label}", "$text-accent"))
    return Content("\n").join(lines)


class ConnectionStages(Horizontal):
    """Two columns of stages; takes no room before there is anything to say."""

    def compose(self) -> ComposeResult:
        yield Static("", classes="stages-left", markup=False)
        yield Static("", classes="stages-right", markup=False)

    def on_mount(self) -> None:
        self.display = False

    def draw(self, done: tuple[StageDone, ...], *, failed: bool = False) -> None:
        """Show what was passed so far, and that the next stage is on its way or has failed."""
        self.display = True
        self.query_one(".stages-left", Static).update(stage_lines(_LEFT, done, failed=failed))
        self.query_one(".stages-right", Static).update(stage_lines(_RIGHT, done, failed=failed))

    def clear(self) -> None:
        """Nothing is known any more."""
        self.display = False
