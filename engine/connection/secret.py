"""A password that cannot be printed by accident."""

from __future__ import annotations


class Secret:
    """Holds a password; only :meth:`reveal` gives it out, and nothing prints it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The password itself, for libpq and for a child's environment only."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
