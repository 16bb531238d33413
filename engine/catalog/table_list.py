r"""A choice of tables as text: one name a line, quoted as in SQL, for review and version control.

PostgreSQL's rules for identifiers hold (4.1.1): an unquoted part is folded to lower case, a quoted one is
taken as it stands, ``U&"\0041"`` spells characters by their numbers. The last is written for names with
characters that would end the line or steer a terminal, so that a name always fits on one line. Empty lines
and lines that begin with ``#`` are left out. Imports only the standard library beside values.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from engine.catalog.table import TableName, quote_identifier
from engine.errors import Failure, Retry, UsageError

_PART = re.compile(
    r"""(?P<unicode>[uU]&)?"(?P<quoted>(?:[^"]|"")*)"
      | (?P<plain>[^\W\d][\w$]*)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:\\|\+([0-9A-Fa-f]{6})|([0-9A-Fa-f]{4}))|\\")
_HEADING = "# The chosen tables, one a line. Lines that begin with # are left out."

_NAME_BYTES = 63
"""PostgreSQL cuts longer names off (4.1.1)."""

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what ends a line, steers a terminal, or is not seen."""


def identifier_text(name: str) -> str:
    r"""``name`` as :func:`parse_table_name` reads it back, on one line.

    >>> print(identifier_text("orders"), identifier_text("Two\nlines"))
    orders U&"Two\000alines"
    """
    if not any(unicodedata.category(character) in _UNSEEN for character in name):
        return quote_identifier(name)
    spelled = "".join(
        f"\\+{ord(character):06x}"
        if ord(character) > 0xFFFF and unicodedata.category(character) in _UNSEEN
        else f"\\{ord(character):04x}"
        if unicodedata.category(character) in _UNSEEN
        else {"\\": "\\\\", '"': '""'}.get(character, character)
        for character in name
    )
    return f'U&"{spelled}"'


def table_name_text(name: TableName) -> str:
    """``schema.table`` as :func:`parse_table_name` reads it back, on one line."""
    return f"{identifier_text(name.schema)}.{identifier_text(name.table)}"


def parse_identifier(text: str) -> str:
    """One name as a person types it in SQL.

    Args:
        text: Such as ``archive`` or ``"Odd name"``; white space around it is left out.

    Raises:
        UsageError: It is something else, or longer than 63 bytes.
    """
    parts = _parts(text)
    if len(parts) != 1:
        raise _refused(text, "it needs one name")
    return parts[0]


def parse_table_name(text: str) -> TableName:
    """A table's name as a person types it in SQL.

    Args:
        text: Such as ``public.orders`` or ``"Odd"."Na.me"``; white space around it is left out.

    Raises:
        UsageError: It is something else, or a part is longer than 63 bytes.
    """
    parts = _parts(text)
    if len(parts) != 2:
        raise _refused(text, "it needs a schema and a table with a dot in between")
    return TableName(*parts)


def _parts(text: str) -> list[str]:
    text = text.strip()
    parts: list[str] = []
    position = 0
    while True:
        found = _PART.match(text, position)
        if found is None:
            raise _refused(text, 'write a name with unusual characters in "quotes"')
        parts.append(_part(found, text))
        position = found.end()
        if position == len(text):
            return parts
        if text[position] != ".":
            raise _refused(text, 'write a name with unusual characters in "quotes"')
        position += 1


def _part(found: re.Match[str], text: str) -> str:
    if found["plain"] is not None:
        # PostgreSQL folds ASCII letters only, in most encodings.
        name = re.sub("[A-Z]", lambda letter: letter[0].lower(), found["plain"])
    else:
        name = found["quoted"].replace('""', '"')
        if found["unicode"]:
            name = _ESCAPE.sub(lambda escape: _character(escape, text), name)
    if not name:
        raise _refused(text, "a name is empty")
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise _refused(text, "a name holds a character that PostgreSQL does not take")
    if len(name.encode()) > _NAME_BYTES:
        raise _refused(text, f"a name is longer than {_NAME_BYTES} bytes")
    return name


def _character(escape: re.Match[str], text: str) -> str:
    number = escape[1] or escape[2]
    if number is not None:
        code = int(number, 16)
        if code > 0x10FFFF:
            raise _refused(text, "an escape in it is no character")
        return chr(code)
    if escape[0] == "\\\\":
        return "\\"
    raise _refused(text, "a backslash in it begins no escape")


def _refused(text: str, why: str) -> UsageError:
    return UsageError(
        Failure(
            f"“{text}” is not a name: {why}",
            hint='Write it as in SQL: public.orders, or "Odd schema"."Odd table"',
            retry=Retry.NEVER,
        )
    )


def table_list_text(names: Iterable[TableName]) -> str:
    """The file of a choice, by name. :func:`read_table_list` reads it back."""
    return "\n".join([_HEADING, *(table_name_text(name) for name in sorted(names))]) + "\n"


def read_table_list(text: str, file_name: str) -> tuple[TableName, ...]:
    """The names in a file, in its order, each once.

    Args:
        text: The file's content.
        file_name: For messages.

    Raises:
        UsageError: A line is no table's name; the message says which.
    """
    names: dict[TableName, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                names[parse_table_name(line)] = None
            except UsageError as error:
                failure = error.failure
                title = f"{file_name} cannot be used: line {number}: {failure.title}"
                raise UsageError(Failure(title, hint=failure.hint, retry=Retry.NEVER)) from None
    return tuple(names)
