"""Values of settings that are lists of names, such as ``search_path``: taken apart as PostgreSQL does.

``pg_db_role_setting`` holds the list as one text, ``"$user", public``. Given back to SET as one literal it
would be one name (``SET search_path = '"$user", public'``), so each element becomes a literal of its own.
"""

from __future__ import annotations

_IDENTIFIER_LISTS = frozenset(("search_path", "temp_tablespaces"))
"""Here a name without quotes is folded to lower case (``SplitIdentifierString``)."""

_PATH_LISTS = frozenset(
    (
        "session_preload_libraries",
        "shared_preload_libraries",
        "local_preload_libraries",
        "unix_socket_directories",
    )
)
"""Here it is not (``SplitDirectoriesString``)."""


def is_list(setting: str) -> bool:
    """Whether SET takes a list of names for it (``GUC_LIST_QUOTE``, which extensions cannot ask for)."""
    return setting.lower() in _IDENTIFIER_LISTS | _PATH_LISTS


def elements(setting: str, value: str) -> tuple[str, ...] | None:
    """The names in ``value``, or None where PostgreSQL would not read it as a list either."""
    folds = setting.lower() in _IDENTIFIER_LISTS
    found: list[str] = []
    rest = value.strip()
    if not rest:
        return ("",)
    while True:
        if rest.startswith('"'):
            name, rest = _quoted(rest)
            if name is None:
                return None
        else:
            bare, separator, after = rest.partition(",")
            name = bare.strip()
            # Only ASCII is folded.
            name = "".join(one.lower() if one.isascii() else one for one in name) if folds else name
            if not name or '"' in name:
                return None
            rest = separator + after
        found.append(name)
        rest = rest.lstrip()
        if not rest:
            return tuple(found)
        if not rest.startswith(","):
            return None
        rest = rest[1:].lstrip()


def _quoted(text: str) -> tuple[str | None, str]:
    """The name at the beginning of ``text`` with its quotes undone, and what follows; None without an end."""
    position = 1
    while True:
        end = text.find('"', position)
        if end < 0:
            return None, ""
        if text[end : end + 2] != '""':
            return text[1:end].replace('""', '"'), text[end + 1 :]
        position = end + 2
