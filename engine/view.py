"""What any view of a running engine may ask of it, in this process or over a socket."""

from __future__ import annotations

from typing import Protocol

from engine.snapshot import Event, Snapshot


class EngineView(Protocol):
    """A running engine as a screen, a command or a test sees it.

    Reading returns at once. Orders are put on a queue and return at once; their effect shows in a later
    snapshot.
    """

    def snapshot(self) -> Snapshot | None:
        """The latest snapshot, or None before the first."""

    def events(self, since: int) -> tuple[Event, ...]:
        """Events numbered above ``since``, oldest first."""

    def pause(self) -> None:
        """Stop reading and applying; the source keeps WAL from here on."""

    def resume(self) -> None:
        """Go on after :meth:`pause`, or try again now while retrying."""

    def refresh_publication(self) -> None:
        """Take up tables added to or dropped from the publications."""

    def retry(self, source_oid: int) -> None:
        """Copy again a table that was set aside."""

    def stop(self) -> None:
        """Finish the open target transaction, record the position, end the engine thread."""
