"""Numbers and foreign text as a person reads them; the examples in the docstrings are the cases."""

from __future__ import annotations

import doctest

import pytest
from rich.cells import cell_len

from engine.connection import fields
from screens import connection_stages, fitted_table, migration
from screens import format as format_module
from screens.format import cell, human_bytes, human_duration, plain, visible, visible_lines


@pytest.mark.parametrize(
    "module",
    [format_module, migration, fitted_table, connection_stages, fields],
    ids=lambda module: module.__name__,
)
def test_the_examples_in_docstrings_are_true(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["w[/]x", "a[b]c", "[/tmp]", "[red]x", "\\[x]", "語言", "שלום", "🐘"])
def test_text_that_is_not_ours_is_taken_literally(name: str) -> None:
    assert plain(name).plain == name
    assert cell(name).plain == name


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\x00", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"]
)
def test_characters_that_move_the_cursor_are_spelled_out(character: str) -> None:
    shown = visible(f"a{character}b")
    assert character not in shown
    assert shown.startswith("a\\")
    assert cell_len(shown) == len(shown)


def test_line_ends_that_are_meant_stay() -> None:
    assert visible_lines("a\n\tb\x1b[0m\n\nc") == "a\n    b\\x1b[0m\n\nc"


@pytest.mark.parametrize("number", [None])
def test_what_is_not_known_is_never_zero(number: None) -> None:
    assert human_bytes(number) == human_duration(number) == "unknown"


@pytest.mark.parametrize("width", [20, 77, 117, 300])
def test_columns_fill_the_width_and_never_more(width: int) -> None:
    columns = (
        fitted_table.Column("a", "a", width=5),
        fitted_table.Column("b", "b", weight=2),
        fitted_table.Column("c", "c", weight=1),
        fitted_table.Column("d", "d", width=4, wide_only=True),
    )
    fitted = fitted_table.fit_columns(columns, width, wide=width > 100)
    used = sum(cells + 1 for _, cells in fitted)
    assert width - 2 <= used <= width
    assert [column.key for column, _ in fitted] == (list("abcd") if width > 100 else list("abc"))
