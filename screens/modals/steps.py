"""All steps, to go to one that was reached before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.widget import Widget
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from screens.migration import SavedMigration, Step, step_closed
from screens.modals.box import ModalBox
from screens.rail import step_mark


def step_line(migration: SavedMigration, step: Step, here: Step) -> str:
    """A step with its mark, and why it cannot be gone to."""
    glyph, _ = step_mark(step, here, migration.furthest_step)
    line = f"{glyph} {step.number:2} {step.title}"
    closed = step_closed(migration, step)
    if step is here:
        return f"{line}: you are here"
    if step.number > migration.furthest_step.number:
        return f"{line}: not reached yet"
    return line if closed is None else f"{line}: closed, {closed}"


class StepsModal(ModalBox[Step]):
    """Returns the step to go to."""

    KEYS_LINE: ClassVar[str] = "arrows move, enter goes there, esc closes"

    def __init__(self, migration: SavedMigration, here: Step) -> None:
        super().__init__("Go to which step?")
        self._migration = migration
        self._here = here

    def compose_box(self) -> Iterable[Widget]:
        migration = self._migration
        yield OptionList(
            *(
                Option(
                    step_line(migration, step, self._here),
                    id=step.value,
                    disabled=step.number > migration.furthest_step.number
                    or step_closed(migration, step) is not None,
                )
                for step in Step
            ),
            id="steps",
            markup=False,
            compact=True,
        )

    def on_mount(self) -> None:
        options = self.query_one("#steps", OptionList)
        options.highlighted = self._here.number - 1
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(Step(event.option_id))
