"""The keys every step has, and those none may use."""

from __future__ import annotations

from textual.binding import Binding

BANNED_KEYS = frozenset(
    {
        # tmux's and screen's prefixes; docker's detach; suspend, which can leave the terminal raw.
        "ctrl+b",
        "ctrl+a",
        "ctrl+p",
        "ctrl+z",
        # Backspace, tab, line feed, return and escape on most terminals.
        "ctrl+h",
        "ctrl+i",
        "ctrl+j",
        "ctrl+m",
        "ctrl+left_square_bracket",
        # Grabbed by desktop terminals.
        "f10",
        "f11",
        # What is left of an arrow key when its escape sequence arrives in two pieces.
        "left_square_bracket",
        "O",
        "A",
        "B",
        "C",
        "D",
    }
)

WIZARD_BINDINGS = [
    Binding("ctrl+n", "next", "Next", id="wizard.next", tooltip="Go to the next step."),
    Binding("ctrl+o", "back", "Back", id="wizard.back", tooltip="Go to the step before."),
    Binding("f1", "help", "Help", id="wizard.help", tooltip="What this step does, and its keys."),
    Binding("question_mark", "help", "Help", id="wizard.help-mark", show=False, tooltip="Same as F1."),
    Binding("q", "leave", "Leave", id="wizard.leave", tooltip="Leave the wizard; asks first."),
    Binding(
        "ctrl+q",
        "leave",
        "Leave",
        id="wizard.leave-anywhere",
        show=False,
        priority=True,
        tooltip="Leave the wizard from inside an input too; asks first.",
    ),
    Binding("ctrl+c", "explain_leaving", "Leave", id="wizard.interrupt", show=False, tooltip="How to leave."),
    Binding("ctrl+l", "redraw", "Redraw", id="wizard.redraw", show=False, tooltip="Draw everything again."),
    Binding("y", "copy", "Copy", id="wizard.copy", show=False, tooltip="Copy what has the focus."),
    Binding("g", "steps", "Steps", id="wizard.steps", show=False, tooltip="Go to a step that was reached."),
]
