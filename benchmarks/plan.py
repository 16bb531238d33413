"""How large and how often a benchmark runs, and in which order its peers take their turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for."""

    asked_rounds: int | None
    """Turns of every peer; None: as many as each benchmark usually takes."""

    quick: bool
    """Everything small: shows that a benchmark works, its numbers mean nothing."""

    def rounds(self, usual: int = 3) -> int:
        """Turns of every peer: as asked for, otherwise ``usual``, in a quick run one."""
        return self.asked_rounds or self.size(usual, 1)

    def size(self, full: int, quick: int) -> int:
        """``full``, or ``quick`` in a quick run."""
        return quick if self.quick else full


def turns(peers: Sequence[_T], rounds: int) -> Iterator[tuple[int, Sequence[_T]]]:
    """The number of each round, from 1, and its peers: each round another one begins."""
    for number in range(rounds):
        first = number % len(peers)
        yield number + 1, [*peers[first:], *peers[:first]]
