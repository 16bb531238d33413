"""Colours: few, calm, and the terminal's own sixteen where it has no more."""

from __future__ import annotations

from textual.theme import Theme

NIGHT = Theme(
    name="livesync-night",
    primary="#5f87af",
    secondary="#5f8787",
    accent="#87afd7",
    success="#87af87",
    warning="#d7af5f",
    error="#d78787",
    foreground="#d0d0d0",
    background="#121212",
    surface="#1c1c1c",
    panel="#262626",
    dark=True,
)
"""Every colour is one of the 256 of xterm, so that nothing is rounded over SSH."""

SIXTEEN_COLOURS = "ansi-dark"
"""Textual's theme in the terminal's own colours; blends of ours would fall together there."""


def theme_name(term: str, colorterm: str) -> str:
    """The theme that a terminal can show."""
    many = colorterm.lower() in ("truecolor", "24bit") or "256color" in term or "direct" in term
    return NIGHT.name if many else SIXTEEN_COLOURS
