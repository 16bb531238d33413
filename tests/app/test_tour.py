"""The README shows the pictures that the tour's script records, all of them and no others."""

from __future__ import annotations

import re
from pathlib import Path

from livesync_tui.demo.tour import PICTURES

_ROOT = Path(__file__).parents[2]


def test_the_readme_shows_every_picture_of_the_tour() -> None:
    shown = re.findall(r"\]\(docs/tour/([a-z-]+)\.svg\)", (_ROOT / "README.md").read_text())
    assert tuple(shown) == PICTURES
    recorded = sorted(path.stem for path in (_ROOT / "docs" / "tour").glob("*.svg"))
    assert recorded == sorted(PICTURES)


def test_no_picture_holds_a_password() -> None:
    for path in (_ROOT / "docs" / "tour").glob("*.svg"):
        assert "postgresql://" not in path.read_text()
