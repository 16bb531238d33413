"""Hides passwords in scripts that are shown, and puts them back into what is run.

What a server stores of a password (``SCRAM-SHA-256$…``, ``md5…``) is one too: with it somebody can try
passwords at leisure, with md5's even log in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from psycopg import sql

from engine.connection.secret import Secret
from engine.errors import Failure, Retry, UsageError
from engine.script.grammar import password_literals
from engine.script.planned import placeholder

_PASSWORD = re.compile(r"\bpassword\b.*", re.I | re.S)


def literal(value: str) -> str:
    """``value`` as a string literal that no setting reads differently."""
    # It puts a space before E'…', so that it can follow anything.
    return sql.quote(value).strip()


def mask(text: str, *, first: int = 1) -> tuple[str, dict[str, Secret]]:
    """Hide the passwords of a script that a person wrote or edited.

    Args:
        text: SQL.
        first: Number of the first placeholder.

    Returns:
        The text with a placeholder for each literal that follows the word PASSWORD, and the literals. Of a
        text that cannot be read, because a quote is open, all from the first PASSWORD on is left out.
    """
    found = password_literals(text)
    if found is None:
        return _PASSWORD.sub("password …", text), {}
    shown: list[str] = []
    secrets: dict[str, Secret] = {}
    position = 0
    for start, end in found:
        name = placeholder(first + len(secrets))
        secrets[name] = Secret(text[start:end])
        shown += [text[position:start], literal(name)]
        position = end
    return "".join([*shown, text[position:]]), secrets


def reveal(text: str, secrets: Mapping[str, Secret]) -> str:
    """Put what belongs there in the place of each placeholder that follows the word PASSWORD.

    Args:
        text: A script as it was shown, perhaps edited since.
        secrets: As the :class:`~engine.script.planned.Script` or :func:`mask` has them.

    Returns:
        What may be run, or written to a file that only its owner can read.

    Raises:
        UsageError: A placeholder is left that stands for nothing; it would become the password.
    """
    known = {literal(name): secret.reveal() for name, secret in secrets.items()}
    result: list[str] = []
    position = 0
    for start, end in password_literals(text) or ():
        value = text[start:end]
        if value in known:
            result += [text[position:start], known[value]]
            position = end
        elif re.fullmatch(r"'<hidden \d+>'", value):
            line = text.count("\n", 0, start) + 1
            raise UsageError(
                Failure(
                    f"Line {line}: {value} stands for a password that is not known here",
                    hint="Write the password itself, or take the PASSWORD clause out",
                    retry=Retry.NEVER,
                )
            )
    return "".join([*result, text[position:]])
