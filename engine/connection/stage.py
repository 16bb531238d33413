"""The stages of getting through to a server. Imports only the standard library, so screens may hold them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Stage(Enum):
    """One stage, in the order they are passed."""

    DNS = "DNS"
    TCP = "TCP"
    TLS = "TLS"
    LOGIN = "login"
    VERSION = "version"
    """A session with checked settings, which is what tells the version."""

    ROLE = "role"
    LATENCY = "latency"


STAGES = tuple(Stage)


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage that was passed."""

    stage: Stage
    seconds: float
    """How long it took; of the latency: one round trip."""

    found: str
    """A word or two: the address, how TLS is verified, where the password is from."""


def with_stage(done: tuple[StageDone, ...], new: StageDone) -> tuple[StageDone, ...]:
    """``done`` and the stage that was passed last.

    libpq may start over, with the next address of a name or without TLS: what was passed from that stage on
    counts no longer.
    """
    place = STAGES.index(new.stage)
    return (*(each for each in done if STAGES.index(each.stage) < place), new)


def stage_in_progress(done: tuple[StageDone, ...]) -> Stage | None:
    """The first stage that was not passed, None after the last."""
    passed = {each.stage for each in done}
    return next((stage for stage in STAGES if stage not in passed), None)
