r"""Runs a script that a person may have edited, leaving out what the target has already.

Cut by PostgreSQL's own grammar. Of psql's own commands only the first and last line that pg_dump writes,
``\restrict`` and ``\unrestrict``, are known; they say nothing to a server.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from engine.connection.endpoint import Endpoint
from engine.schema.apply import OnResult, apply_statements, open_schema_session
from engine.schema.compare import ComparedSchemas
from engine.schema.comparison import ApplyReport, PlannedStatement
from engine.script.grammar import drops_of, split_script

_RESTRICT = re.compile(r"\A((?:[ \t]*(?:--[^\n]*)?\n)*)\\restrict ([A-Za-z0-9]+)[ \t]*$", re.M)

_ABOUT_LENGTH = 120


def edited_statements(text: str) -> tuple[PlannedStatement, ...]:
    """The statements of a script.

    Args:
        text: As pg_dump wrote it, edited or not.

    Raises:
        UsageError: It is not SQL, or holds a transaction statement; the message names the line.
    """
    return tuple(
        PlannedStatement(unit.comment or _about(unit.sql), unit.sql)
        for unit in split_script(_without_restrict(text))
    )


def drops_in(text: str) -> tuple[str, ...]:
    """What a script drops or empties by its own words, each once, as :func:`apply_edited` wants it named.

    Args:
        text: The script.

    Raises:
        UsageError: It cannot be read.
    """
    names = [
        name
        for statement in edited_statements(text)
        if (drops := drops_of(statement.sql)) is not None
        for name in drops.names
    ]
    return tuple(dict.fromkeys(names))


def apply_edited(
    target: Endpoint,
    text: str,
    compared: ComparedSchemas,
    *,
    all_or_nothing: bool,
    may_drop: Collection[str] = (),
    on_result: OnResult | None = None,
) -> ApplyReport:
    """Run a script's statements but for those whose object the target has exactly like this.

    Args:
        target: Where to.
        text: The script.
        compared: Both schemas as they are now.
        all_or_nothing: Undo everything when one statement is refused.
        may_drop: What a DROP or TRUNCATE in it may name.
        on_result: Told each result as it comes.

    Raises:
        UsageError: It cannot be read, or would drop something else; nothing was run.
        ConnectionFailedError: The target cannot be reached or went away.
    """
    statements = edited_statements(text)
    there = compared.target_statements()
    with open_schema_session(target) as session:
        return apply_statements(
            session,
            statements,
            all_or_nothing=all_or_nothing,
            there=lambda statement: compared.comparable(statement) in there,
            may_drop=may_drop,
            on_result=on_result,
        )


def _without_restrict(text: str) -> str:
    """The script with those two lines empty, so that lines keep their numbers."""
    found = _RESTRICT.match(text)
    if found is None:
        return text
    # In what a person added after it, the word is no command but part of SQL, or wrong.
    before, end, after = text[found.end() :].rpartition(f"\n\\unrestrict {found[2]}")
    return found[1] + (f"{before}\n{after}" if end else after)


def _about(sql: str) -> str:
    words = " ".join(sql.split())
    return words if len(words) <= _ABOUT_LENGTH else f"{words[: _ABOUT_LENGTH - 1]}…"
