"""A connection as a form: makes the connection string, with every character taken as typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button, Input, Select, Static

from engine.connection.fields import FIELD_KEYWORDS, SSL_MODES, ConnectionFields
from engine.connection.summary import EndpointSummary
from engine.errors import Failure, Side
from screens.action_button import ActionButton
from screens.format import plain, visible, visible_lines
from screens.modals.box import ModalBox

_LABELS = {
    "host": "Host",
    "port": "Port",
    "dbname": "Database",
    "user": "User",
    "password": "Password",
    "sslmode": "TLS (sslmode)",
    "sslrootcert": "Authority",
    "service": "Service",
}

_EXAMPLES = {
    "host": "name or address; empty: PGHOST",
    "port": "5432",
    "dbname": "empty: named as the user",
    "user": "empty: PGUSER",
    "password": "empty: ~/.pgpass or PGPASSWORD",
    "sslrootcert": "file with its certificate, for verify-ca and verify-full; or: system",
    "service": "section of ~/.pg_service.conf, for what is left empty above",
}

_TRIMMED = frozenset({"host", "port", "sslrootcert", "service"})
"""Where a space before or after is never meant."""

_DRAWABLE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c\ud800-\udfff]*"
"""Text without what :func:`screens.format.visible` spells out."""

_SSL_WORDS = {
    "": "as libpq does: TLS if the server has it",
    "disable": "disable: no TLS",
    "allow": "allow: TLS if the server insists",
    "prefer": "prefer: TLS if the server has it",
    "require": "require: TLS, whoever answers",
    "verify-ca": "verify-ca: TLS, certificate verified",
    "verify-full": "verify-full: TLS, certificate and host name verified",
}


class ConnectionFieldsModal(ModalBox[str]):
    """Returns a connection string, or None when the person closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "close", "Close", id="connection-fields.close", show=False),
    ]
    KEYS_LINE = "tab moves, enter uses the fields (on sslmode: its list), esc closes"

    def __init__(
        self, side: Side, fields: ConnectionFields, check: Callable[[str], EndpointSummary | Failure]
    ) -> None:
        """Ask.

        Args:
            side: Whose connection it is.
            fields: What is known of it.
            check: Says what a connection string means, or why it means nothing.
        """
        super().__init__(f"The {side.value}'s connection, field by field")
        self._side = side
        self._values = fields.values
        self._check = check

    def compose_box(self) -> Iterable[Widget]:
        for keyword in FIELD_KEYWORDS:
            with Horizontal(classes="field"):
                yield Static(_LABELS[keyword], classes="field-label", markup=False)
                yield self._sslmode() if keyword == "sslmode" else self._typed(keyword)
        kept = ", ".join(keyword for keyword in self._values if keyword not in FIELD_KEYWORDS)
        note = f" Kept as they are: {kept}." if kept else ""
        words = f"Passwords are taken as typed, and stay in this program's memory.{note}"
        yield Static(visible(words), classes="quiet", markup=False)
        yield Static("", id="said", markup=False)
        with Horizontal(id="buttons"):
            yield ActionButton("Cancel", id="keep")
            yield ActionButton("Use them", id="act")

    def _typed(self, keyword: str) -> Input:
        value = self._values.get(keyword, "")
        # An input draws its value as it is; what would move the cursor is masked, or not let in.
        can_be_drawn = visible(value) == value
        typed = Input(
            value=value,
            password=keyword == "password" or not can_be_drawn,
            restrict=_DRAWABLE if can_be_drawn and keyword != "password" else None,
            compact=True,
            id=f"field-{keyword}",
            placeholder=_EXAMPLES[keyword],
        )
        typed.cursor_blink = False
        return typed

    def _sslmode(self) -> Select[str]:
        given = self._values.get("sslmode", "")
        modes = ("", *SSL_MODES) if given in ("", *SSL_MODES) else ("", *SSL_MODES, given)
        options = [(plain(_SSL_WORDS.get(mode, mode)), mode) for mode in modes]
        return Select(options, value=given, allow_blank=False, compact=True, id="field-sslmode")

    def on_mount(self) -> None:
        self.query_one("#field-host").focus()

    def _fields(self) -> ConnectionFields:
        values = dict(self._values)
        for keyword in FIELD_KEYWORDS:
            if keyword == "sslmode":
                values[keyword] = str(self.query_one("#field-sslmode", Select).value)
                continue
            value = self.query_one(f"#field-{keyword}", Input).value
            values[keyword] = value.strip() if keyword in _TRIMMED else value
        return ConnectionFields(values)

    @on(Input.Submitted)
    @on(Button.Pressed, "#act")
    def _use(self) -> None:
        text = self._fields().conninfo()
        if not text:
            self._say("All fields are empty: a host and a database are the least, or a service.")
            return
        understood = self._check(text)
        if isinstance(understood, Failure):
            self._say(f"{understood.title}. {understood.hint}")
            return
        self.dismiss(text)

    def _say(self, words: str) -> None:
        self.query_one("#said", Static).update(visible_lines(words))

    @on(Button.Pressed, "#keep")
    def _keep_pressed(self) -> None:
        self.dismiss(None)
