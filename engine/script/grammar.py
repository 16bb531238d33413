"""Takes a script apart by PostgreSQL's own grammar (``pglast``, around libpg_query), not by rules of ours.

The only module that knows pglast.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

import pglast
from pglast import ast, parser
from pglast.enums import VariableSetKind

from engine.errors import Failure, Retry, UsageError

_COMMENT = re.compile(r"^[ \t]*--[ \t]*(.*?)[ \t]*$", re.M)

_CHANGES_ROLE = ("role", "session_authorization")

_ENCODING = "client_encoding"


@dataclass(frozen=True, slots=True)
class ScriptUnit:
    """What is run, or refused, as one: a statement, or all from SET ROLE to RESET ROLE."""

    comment: str
    """The last comment line above it, without the dashes; empty when there is none."""

    sql: str
    """Without the last semicolon."""

    line: int
    """Where it begins, from 1."""

    grants_role: bool
    """Whether it makes members: a NOTICE about that means that they were members already."""


@dataclass(frozen=True, slots=True)
class _Statement:
    start: int
    end: int
    node: ast.Node


def split_script(text: str) -> tuple[ScriptUnit, ...]:
    """Cut a script into what can be run one by one.

    A ``SET client_encoding`` is for psql and left out: a session of ours speaks UTF-8 whatever happens.

    Args:
        text: SQL; psql's own commands are not understood.

    Raises:
        UsageError: It is not SQL, holds a transaction statement, or has a SET ROLE without an end; nothing
            of it was run. The message names the line and never repeats a value.
    """
    units: list[ScriptUnit] = []
    opened: _Statement | None = None
    comment = ""
    previous_end = 0
    for statement in _statements(text):
        line = _line_of(text, statement.start)
        node = statement.node
        if opened is None:
            comments = _COMMENT.findall(text[previous_end : statement.start])
            comment = comments[-1] if comments else ""
        previous_end = statement.end
        if isinstance(node, ast.TransactionStmt):
            raise _refusal(
                f"Line {line}: begin, commit, rollback and savepoint do not belong into this script",
                "Remove it; each statement is run behind a savepoint of its own",
            )
        if isinstance(node, ast.VariableSetStmt) and node.name == _ENCODING:
            continue
        if opened is None and _begins_other_role(node):
            opened = statement
            continue
        if opened is not None:
            if not _ends_other_role(node):
                continue
            start = opened.start
            opened = None
        else:
            start = statement.start
        units.append(
            ScriptUnit(
                comment,
                text[start : statement.end],
                _line_of(text, start),
                isinstance(node, ast.GrantRoleStmt) and bool(node.is_grant),
            )
        )
    if opened is not None:
        raise _refusal(
            f"Line {_line_of(text, opened.start)}: SET ROLE has no RESET ROLE after it",
            "Add RESET ROLE after the statements that are meant for that role",
        )
    return tuple(units)


def _statements(text: str) -> Iterator[_Statement]:
    try:
        slices = parser.split(text, with_parser=True, only_slices=True)
        nodes = pglast.parse_sql(text)
    except parser.ParseError as error:
        position = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else 0
        raise _refusal(
            f"Line {_line_of(text, position)} cannot be read as SQL",
            # PostgreSQL's own words hold the text near the mistake, which may be a password.
            "Check that line; psql's own commands, which begin with a backslash, are not understood here",
        ) from None
    for part, raw in zip(slices, nodes, strict=True):
        assert raw.stmt is not None  # The parser leaves empty statements out.
        yield _Statement(part.start, part.stop, raw.stmt)


def _begins_other_role(node: ast.Node) -> bool:
    return _sets_role(node) and not _ends_other_role(node)


def _ends_other_role(node: ast.Node) -> bool:
    if not _sets_role(node):
        return False
    if node.kind in (VariableSetKind.VAR_RESET, VariableSetKind.VAR_SET_DEFAULT):
        return True
    # SET ROLE NONE.
    return [constant.val.sval for constant in node.args or ()] == ["none"]


def _sets_role(node: ast.Node) -> TypeGuard[ast.VariableSetStmt]:
    return isinstance(node, ast.VariableSetStmt) and node.name in _CHANGES_ROLE


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _refusal(title: str, hint: str) -> UsageError:
    return UsageError(Failure(title, hint=hint, retry=Retry.NEVER))


def password_literals(text: str) -> list[tuple[int, int]] | None:
    """Where string literals stand that follow the word PASSWORD: begin and end of each, quotes included.

    Returns:
        None where the text cannot be read, because a quote is open.
    """
    try:
        tokens = [token for token in parser.scan(text) if "COMMENT" not in token.name]
    except parser.ParseError:
        return None
    return [
        (value.start, value.end + 1)
        for word, value in itertools.pairwise(tokens)
        if word.name == "PASSWORD" and value.name in ("SCONST", "USCONST")
    ]
