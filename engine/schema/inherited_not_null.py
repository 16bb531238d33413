"""Writes NOT NULL of an inherited column so that servers before PostgreSQL 18 read it, too.

A table that inherits a column and makes it NOT NULL itself does not list the column, so pg_dump 18 writes a
constraint of the table, ``CREATE TABLE child (NOT NULL v) INHERITS (parent)``, which older servers do not
know. ALTER COLUMN SET NOT NULL makes the same on all of them. A constraint with a name of its own comes from
a server of 18 or newer and is left as it is.
"""

from __future__ import annotations

import re

from engine.script.grammar import not_null_of_table

_NAME = r'(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")'
_TABLE = re.compile(rf"CREATE (?:UNLOGGED )?TABLE ({_NAME}\.{_NAME}) \(\n")
_BEFORE_ANOTHER = re.compile(rf"(?<=\n)    NOT NULL ({_NAME}),\n")
_LAST = re.compile(rf",?\n    NOT NULL ({_NAME})(?=\n\))")


def for_older_servers(statement: str) -> str:
    """What makes the same table everywhere.

    Args:
        statement: Of a table, as pg_dump wrote it, perhaps with others after it.

    Returns:
        The same where nothing has to be, or can be, written in another way.
    """
    table = _TABLE.match(statement)
    standing_alone, others = not_null_of_table(statement)
    if table is None or not standing_alone:
        return statement
    rewritten = statement
    columns: list[str] = []
    for pattern in (_BEFORE_ANOTHER, _LAST):
        columns += pattern.findall(rewritten)
        rewritten = pattern.sub("", rewritten)
    rewritten += "".join(
        f"\n\nALTER TABLE ONLY {table[1]} ALTER COLUMN {column} SET NOT NULL;" for column in columns
    )
    # Text in a default may look like one.
    is_meant = len(columns) == standing_alone and not_null_of_table(rewritten) == (0, others)
    return rewritten if is_meant else statement
