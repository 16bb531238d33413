"""The line of steps: done, here, still to come."""

from __future__ import annotations

from textual.content import Content

from screens.migration import Step

_DONE = "✓"
_HERE = "●"
_PENDING = "○"


def step_mark(step: Step, current: Step, furthest: Step) -> tuple[str, str]:
    """The glyph of a step, and the style to draw it in."""
    if step is current:
        return _HERE, "bold $accent"
    if step.number <= furthest.number:
        return _DONE, "$success"
    return _PENDING, "dim"


def wide_rail(current: Step, furthest: Step) -> Content:
    """Every step with its number, glyph and word, in two lines of much the same width."""
    parts = []
    for step in Step:
        glyph, style = step_mark(step, current, furthest)
        parts.append(Content.styled(f"{step.number}{glyph} {step.title}", style))
    half = sum(part.cell_length for part in parts) / 2
    first = next(
        count for count in range(1, len(parts)) if sum(part.cell_length for part in parts[:count]) >= half
    )
    return Content("\n").join(Content("  ").join(line) for line in (parts[:first], parts[first:]))


def narrow_rail(current: Step, furthest: Step) -> Content:
    """One line for narrow terminals: where we are in words, the rest as glyphs."""
    here = Content.styled(f"Step {current.number}/{len(Step)} {current.title}", "bold $accent")
    glyphs = [
        Content.styled(glyph, style) for glyph, style in (step_mark(s, current, furthest) for s in Step)
    ]
    return Content("  ").join([here, Content("").join(glyphs)])
