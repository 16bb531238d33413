"""The publications that the source has, to use one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import OptionList, Static

from engine.catalog.planned import PublicationOffer, PublicationOffers, PublishedMember
from screens.format import plural, visible
from screens.modals.box import ModalBox

_SHOWN_TABLES = 30


def offer_line(offer: PublicationOffer, used: str) -> str:
    """A publication and whether it fits, on one line."""
    mark = "●" if offer.name == used else "○"
    return f"{mark} {offer.name}: {_fit(offer)}"


def _fit(offer: PublicationOffer) -> str:
    if offer.refused:
        return "cannot be used"
    if offer.fits:
        return "fits"
    parts = []
    if offer.missing:
        parts.append(f"{plural(len(offer.missing), 'table')} missing")
    if offer.extra:
        parts.append(f"{len(offer.extra)} not chosen")
    if offer.lacking_kinds:
        parts.append(f"without {', '.join(offer.lacking_kinds)}")
    if offer.lacks_via_root:
        parts.append("partitions by themselves")
    return "; ".join(parts)


def offer_text(offer: PublicationOffer) -> str:
    """All there is to know about a publication."""
    lines = [offer.refused] if offer.refused else []
    owned = "which may be altered" if offer.is_owner else "and only its owner may alter it"
    lines.append(f"Belongs to {offer.owner}, {owned}")
    lines += [f"Schema {schema}: all tables, also later ones" for schema in offer.schemas]
    lines += [_member(member) for member in offer.members[:_SHOWN_TABLES]]
    if len(offer.members) > _SHOWN_TABLES:
        lines.append(f"and {plural(len(offer.members) - _SHOWN_TABLES, 'table')} more")
    for heading, names in (("Missing", offer.missing), ("Leaves it when used", offer.extra)):
        lines += [f"{heading}: {name}" for name in names[:_SHOWN_TABLES]]
        if len(names) > _SHOWN_TABLES:
            lines.append(f"{heading}: {len(names) - _SHOWN_TABLES} more")
    return "\n".join(map(visible, lines))


def _member(member: PublishedMember) -> str:
    line = f"Table {member.name}"
    if member.columns is not None:
        line += f", only columns {', '.join(member.columns)}"
    if member.row_filter is not None:
        line += f", only rows where {member.row_filter}"
    return line


class PublicationsModal(ModalBox[str]):
    """Returns the name of the publication to use."""

    KEYS_LINE: ClassVar[str] = "arrows move, tab reads on below, enter uses it, esc closes"

    def __init__(self, offers: PublicationOffers, used: str) -> None:
        super().__init__("Publications of the source")
        self._offers = offers
        self._used = used
        self.add_class("-large")

    def compose_box(self) -> Iterable[Widget]:
        if self._offers.other_slots:
            slots = ", ".join(map(visible, self._offers.other_slots))
            yield Static(f"Others read this database by the slots {slots}", id="slots", markup=False)
        yield OptionList(
            *(visible(offer_line(offer, self._used)) for offer in self._offers.offers),
            id="publications",
            markup=False,
            compact=True,
        )
        with VerticalScroll(id="offer-box"):
            yield Static(offer_text(self._offers.offers[self._first]), id="offer", markup=False)

    @property
    def _first(self) -> int:
        names = [offer.name for offer in self._offers.offers]
        return names.index(self._used) if self._used in names else 0

    def on_mount(self) -> None:
        options = self.query_one("#publications", OptionList)
        options.highlighted = self._first
        options.focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.query_one("#offer", Static).update(offer_text(self._offers.offers[event.option_index]))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._offers.offers[event.option_index].name)
