"""What a step does, and all its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from screens.modals.text import TextModal

if TYPE_CHECKING:
    from screens.wizard import WizardScreen

_KEY_WORDS = {"question_mark": "?", "slash": "/", "f1": "F1"}


def key_lines(bindings: list[Binding]) -> list[str]:
    """One line for each action with all its keys."""
    keys: dict[str, list[str]] = {}
    said: dict[str, str] = {}
    for binding in bindings:
        keys.setdefault(binding.action, []).append(_KEY_WORDS.get(binding.key, binding.key))
        said.setdefault(binding.action, binding.tooltip or binding.description)
    lines = [f"  {', '.join(names):<16} {said[action]}" for action, names in keys.items()]
    lines.append(f"  {'tab, arrows':<16} Move; space and enter act; esc closes or clears, it never leaves.")
    return lines


def unwrapped(text: str) -> str:
    """Paragraphs as one line each, to be wrapped by the terminal; indented lines stay."""
    lines: list[str] = []
    for line in text.strip().split("\n"):
        goes_on = lines and lines[-1] and not lines[-1].startswith(" ") and line and not line.startswith(" ")
        if goes_on:
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


class HelpModal(TextModal):
    """Help for one step."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f1", "close", "Close", id="help.close", show=False)]

    def __init__(self, screen: WizardScreen) -> None:
        step = screen.STEP
        own = [
            binding
            for cls in type(screen).__mro__
            for binding in cls.__dict__.get("BINDINGS", ())
            # What is hidden here is of no use here.
            if _named(binding) and screen.check_action(binding.action, ()) is not False
        ]
        text = "\n".join([unwrapped(screen.HELP_TEXT), "", "Keys", *key_lines(own)])
        super().__init__(f"Help: {step.title}", text, "help.txt", screen.copy, large=True)


def _named(binding: object) -> bool:
    return isinstance(binding, Binding) and bool(binding.id)
