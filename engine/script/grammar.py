"""Takes a script apart by PostgreSQL's own grammar (``pglast``, around libpg_query), not by rules of ours.

The only module that knows pglast.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

import pglast
from pglast import ast, parser
from pglast.enums import AlterTableType, ConstrType, DropBehavior, VariableSetKind

from engine.catalog.table import quote_identifier
from engine.errors import Failure, Retry, UsageError

_COMMENT = re.compile(r"^[ \t]*--[ \t]*(.*?)[ \t]*$", re.M)

_CHANGES_ROLE = ("role", "session_authorization")

_ENCODING = "client_encoding"

_DROPS_OF_A_TABLE = (
    AlterTableType.AT_DropColumn,
    AlterTableType.AT_DropConstraint,
    AlterTableType.AT_DropIdentity,
)
_DROPS_OF_A_DOMAIN = "X"

_NAMED_NOT_NULL = ("CONSTRAINT", None, "NOT", "NULL_P")


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
    opened_line = 0
    comment = ""
    previous_end = 0
    line, counted_to = 1, 0
    for statement in _statements(text):
        line += text.count("\n", counted_to, statement.start)
        counted_to = statement.start
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
            opened, opened_line = statement, line
            continue
        if opened is not None:
            if not _ends_other_role(node):
                continue
            start, first_line = opened.start, opened_line
            opened = None
        else:
            start, first_line = statement.start, line
        units.append(
            ScriptUnit(
                comment,
                text[start : statement.end],
                first_line,
                isinstance(node, ast.GrantRoleStmt) and bool(node.is_grant),
            )
        )
    if opened is not None:
        raise _refusal(
            f"Line {opened_line}: SET ROLE has no RESET ROLE after it",
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


@dataclass(frozen=True, slots=True)
class Drops:
    """What a statement would drop or empty."""

    names: tuple[str, ...]
    """With their schemas, quoted for display; a column or constraint after its table."""

    is_cascade: bool
    """Whether more than these would go."""


def drops_of(statement: str) -> Drops | None:
    """What one statement drops by its own words; None when nothing.

    What the code of a DO block or a function drops cannot be seen.
    """
    try:
        nodes = [raw.stmt for raw in pglast.parse_sql(statement)]
    except parser.ParseError:
        return None
    names: list[str] = []
    is_cascade = False
    for node in nodes:
        if isinstance(node, ast.DropStmt):
            names += [_quoted(_strings(one)) for one in node.objects or ()]
        elif isinstance(node, ast.TruncateStmt):
            names += [_quoted(_relation(one)) for one in node.relations or ()]
        elif isinstance(node, ast.AlterTableStmt):
            for command in node.cmds or ():
                if command.subtype in _DROPS_OF_A_TABLE:
                    names.append(_quoted([*_relation(node.relation), command.name]))
                    is_cascade |= command.behavior == DropBehavior.DROP_CASCADE
        elif isinstance(node, ast.AlterDomainStmt) and node.subtype == _DROPS_OF_A_DOMAIN:
            names.append(_quoted([*_strings(node.typeName), str(node.name)]))
        elif type(node).__name__.startswith("Drop"):
            names.append(" ".join(statement.split()))
        else:
            continue
        is_cascade |= getattr(node, "behavior", None) == DropBehavior.DROP_CASCADE
    return Drops(tuple(names), is_cascade) if names else None


def _strings(node: object) -> list[str]:
    """The parts of a name, wherever the grammar puts them."""
    if isinstance(node, ast.String):
        return [str(node.sval)]
    if isinstance(node, ast.TypeName):
        return _strings(node.names)
    if isinstance(node, ast.ObjectWithArgs):
        return _strings(node.objname)
    return [part for one in node for part in _strings(one)] if isinstance(node, tuple) else []


def _relation(node: ast.RangeVar | None) -> list[str]:
    assert node is not None
    return [str(part) for part in (node.schemaname, node.relname) if part]


def _quoted(parts: Iterable[str]) -> str:
    return ".".join(map(quote_identifier, parts))


def not_null_of_table(statement: str) -> tuple[int, int]:
    """What the table that a statement begins with is made of.

    Returns:
        The number of NOT NULL constraints without a name that stand by themselves, not after a column
        (``CREATE TABLE t (NOT NULL v)``, PostgreSQL 18 and newer), and that of all its other elements.
    """
    try:
        nodes = pglast.parse_sql(statement)
    except (parser.ParseError, UnicodeEncodeError):
        return 0, 0
    made = nodes[0].stmt if nodes else None
    elements = (made.tableElts or ()) if isinstance(made, ast.CreateStmt) else ()
    count = sum(
        isinstance(element, ast.Constraint)
        and element.contype == ConstrType.CONSTR_NOTNULL
        and element.conname is None
        for element in elements
    )
    return count, len(elements) - count


def canonical(statement: str, *, without_not_null_names: bool = False) -> str:
    """A statement without comments and with one space between words, to compare it with another.

    The roles of a policy are sorted: pg_dump writes them in the order in which the server has them.

    Args:
        statement: One or more.
        without_not_null_names: Leave the names of NOT NULL constraints out. PostgreSQL before 18 keeps none.

    Returns:
        The statement as it is where it cannot be read.
    """
    try:
        tokens = [token for token in parser.scan(statement) if "COMMENT" not in token.name]
    except (parser.ParseError, UnicodeEncodeError):
        return statement
    words = [statement[token.start : token.end + 1] for token in tokens]
    if without_not_null_names:
        length = len(_NAMED_NOT_NULL)
        kept: list[str] = []
        position = 0
        while position < len(words):
            names = [token.name for token in tokens[position : position + length]]
            if len(names) == length and all(
                wanted in (None, name) for wanted, name in zip(_NAMED_NOT_NULL, names, strict=True)
            ):
                position += 2
            kept.append(words[position])
            position += 1
        words = kept
    return " ".join(_with_roles_sorted(words))


def _with_roles_sorted(words: list[str]) -> list[str]:
    if [word.upper() for word in words[:2]] != ["CREATE", "POLICY"] or "TO" not in words:
        return words
    first = words.index("TO") + 1
    ends = (position for position in range(first, len(words)) if words[position] in ("USING", "WITH", ";"))
    end = next(ends, len(words))
    roles = sorted(word for word in words[first:end] if word != ",")
    return [*words[:first], " , ".join(roles), *words[end:]]
