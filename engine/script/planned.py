"""A script of statements that stand on their own, and what became of them. Imports only the standard library.

The text of a file is made here too: it is what psql runs as is, what a person edits, and what
:mod:`engine.script.run` takes apart again. Each statement stands below one comment line that says what it is
about; that line survives an edit, so results are told by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from engine.connection.secret import Secret

_LINE_END = re.compile(r"\r\n|\r|\n")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u200e\u200f\u2066-\u2069]")
"""What ends a line, steers a terminal, or turns the direction of what follows."""

SET_APART = "Set apart"
"""How the comment begins above a statement that is not run."""

_ENCODING = "SET client_encoding = 'UTF8';"
"""psql reads a file in the encoding of its terminal, which may be another one."""


def one_line(text: str) -> str:
    r"""``text`` without what ends a line or steers a terminal, for a comment: a newline becomes ``\n``.

    A name may hold a newline; what follows it in a ``--`` comment would be run.
    """
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def placeholder(number: int) -> str:
    """What stands for a script's password ``number`` (from 1) wherever the script is shown."""
    return f"<hidden {number}>"


@dataclass(frozen=True, slots=True)
class ScriptStatement:
    """One statement, or a few that only make sense together, about one object."""

    about: str
    """The object, and what is done with it: ``role reporting: may log in``."""

    sql: str
    """Complete, identifiers quoted, without the last semicolon; a placeholder where a password belongs."""

    set_apart: str = ""
    """Why it is not run; empty when it is. The file has it as a comment."""


@dataclass(frozen=True, slots=True)
class Script:
    """What has to be done, in the order it has to be done."""

    file_name: str
    """Such as ``roles.sql``."""

    title: str
    """What it does, for the first line of the file."""

    statements: tuple[ScriptStatement, ...]
    already_there: tuple[str, ...] = ()
    """Objects that are as they should be."""

    notes: tuple[str, ...] = ()
    """What a person should know and no statement can change."""

    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Placeholder to what belongs there: a password, or what a server stores of one."""

    @property
    def to_run(self) -> tuple[ScriptStatement, ...]:
        """The statements that are not set apart."""
        return tuple(statement for statement in self.statements if not statement.set_apart)

    @property
    def set_apart(self) -> tuple[ScriptStatement, ...]:
        return tuple(statement for statement in self.statements if statement.set_apart)

    def text(self) -> str:
        """The script as a person may see it; passwords are placeholders.

        With :func:`engine.script.masking.reveal` it becomes the file that psql runs.
        """
        lines = [f"-- {one_line(self.title)}"]
        lines.extend(f"-- Note: {one_line(note)}" for note in self.notes)
        lines.extend(("", _ENCODING))
        for statement in self.statements:
            lines.append("")
            if statement.set_apart:
                lines.append(f"-- {SET_APART}: {one_line(statement.about)}: {one_line(statement.set_apart)}")
                lines.extend(f"-- {line}" for line in _LINE_END.split(f"{statement.sql};"))
            else:
                lines.append(f"-- {one_line(statement.about)}")
                lines.append(f"{statement.sql};")
        return "\n".join(lines) + "\n"


class Outcome(Enum):
    """What became of one statement."""

    APPLIED = "applied"
    ALREADY_THERE = "already there"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class StatementResult:
    """One statement of a script, after it was run."""

    about: str
    """The comment above it; of a statement without one, the statement itself."""

    sql: str
    """As it was run, passwords hidden."""

    outcome: Outcome
    said: str = ""
    """PostgreSQL's words when it was refused, or found in place; verbatim."""

    sqlstate: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """All statements of a script, in order."""

    results: tuple[StatementResult, ...]

    def count(self, outcome: Outcome) -> int:
        return sum(result.outcome is outcome for result in self.results)

    @property
    def refused(self) -> tuple[StatementResult, ...]:
        return tuple(result for result in self.results if result.outcome is Outcome.REFUSED)


def apart(statements: Iterable[ScriptStatement], reason: str) -> tuple[ScriptStatement, ...]:
    """The same statements, not to be run for ``reason``."""
    return tuple(ScriptStatement(statement.about, statement.sql, reason) for statement in statements)
