"""Keys that work over SSH, tmux and screen, and that can be told apart in the help."""

from __future__ import annotations

from itertools import chain

import pytest
from textual.binding import Binding
from textual.screen import Screen

from livesync_tui.app import _SCREENS, MigrationApp
from screens.keys import BANNED_KEYS
from screens.modals.box import ModalBox
from screens.modals.confirm import ConfirmModal
from screens.modals.confirm_name import ConfirmNameModal
from screens.modals.failure import FailureModal
from screens.modals.help import HelpModal
from screens.modals.hypertables import HypertablesModal
from screens.modals.leave import LeaveModal
from screens.modals.password import PasswordModal
from screens.modals.path import PathModal
from screens.modals.provider import ProviderModal
from screens.modals.steps import StepsModal
from screens.modals.table_map import TableMapModal
from screens.modals.text import TextModal
from screens.wizard import WizardScreen

_MODALS: tuple[type[Screen[object]], ...] = (
    ModalBox,
    TextModal,
    FailureModal,
    HelpModal,
    ConfirmModal,
    ConfirmNameModal,
    LeaveModal,
    PasswordModal,
    ProviderModal,
    StepsModal,
    PathModal,
    TableMapModal,
    HypertablesModal,
)
_OURS = (MigrationApp, WizardScreen, *_SCREENS.values(), *_MODALS)


def _own_bindings(owner: type) -> list[Binding]:
    return [binding for binding in owner.__dict__.get("BINDINGS", ()) if isinstance(binding, Binding)]


_ALL = list(chain.from_iterable(_own_bindings(owner) for owner in _OURS))


def _keys(binding: Binding) -> list[str]:
    return [key.strip() for key in binding.key.split(",")]


@pytest.mark.parametrize("binding", _ALL, ids=lambda binding: str(binding.id))
def test_no_binding_uses_a_key_that_something_else_takes(binding: Binding) -> None:
    for key in _keys(binding):
        assert key not in BANNED_KEYS
        assert not key.startswith(("alt+", "super+", "ctrl+shift+"))
        # A bare capital is what remains of a broken arrow key, or needs shift to be known.
        assert not (len(key) == 1 and key.isupper())


def test_binding_ids_are_unique() -> None:
    ids = [binding.id for binding in _ALL]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("binding", _ALL, ids=lambda binding: str(binding.id))
def test_each_binding_can_be_named_and_explained(binding: Binding) -> None:
    assert binding.id
    assert 0 < len(binding.description) <= 10
    assert binding.show is False or binding.tooltip.endswith(".")


@pytest.mark.parametrize("screen", _SCREENS.values(), ids=lambda screen: screen.__name__)
def test_no_step_gives_a_key_of_the_frame_another_meaning(screen: type[WizardScreen]) -> None:
    frame = {key for binding in _own_bindings(WizardScreen) for key in _keys(binding)}
    own = [key for binding in _own_bindings(screen) for key in _keys(binding)]
    assert len(own) == len(set(own))
    assert not frame & set(own)


@pytest.mark.parametrize("screen", _SCREENS.values(), ids=lambda screen: screen.__name__)
def test_escape_never_leaves_a_step(screen: type[WizardScreen]) -> None:
    assert all(
        binding.action in ("clear_filter",) for binding in _own_bindings(screen) if "escape" in _keys(binding)
    )
