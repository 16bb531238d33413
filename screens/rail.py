"""The line of steps: done, here, still to come."""

from __future__ import annotations

from textual.content import Content

from screens.migration import Step

_DONE = "✓"
_HERE = "●"
_PENDING = "○"


def _mark(step: Step, current: Step, furthest: Step) -> tuple[str, str]:
    if step is current:
        return _HERE, "bold $accent"
    if step.number <= furthest.number:
        return _DONE, "$success"
    return _PENDING, "dim"


def wide_rail(current: Step, furthest: Step) -> Content:
    """Every step with its number, glyph and word; 111 cells."""
    parts: list[Content] = []
    for step in Step:
        glyph, style = _mark(step, current, furthest)
        parts.append(Content.styled(f"{step.number}{glyph} {step.title}", style))
    return Content("  ").join(parts)


def narrow_rail(current: Step, furthest: Step) -> Content:
    """One line for narrow terminals: where we are in words, the rest as glyphs."""
    here = Content.styled(f"Step {current.number}/{len(Step)} {current.title}", "bold $accent")
    glyphs = [Content.styled(glyph, style) for glyph, style in (_mark(s, current, furthest) for s in Step)]
    return Content("  ").join([here, Content("").join(glyphs)])
