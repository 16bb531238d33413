"""NOT NULL of inherited columns is written for every server, and nothing else is touched."""

from __future__ import annotations

import pytest

from engine.schema.inherited_not_null import for_older_servers

_CHILD = """CREATE TABLE "a b".child (
    own text DEFAULT '(
    NOT NULL x,
'::text,
    NOT NULL v,
    NOT NULL "A ""b"" c",
    CONSTRAINT positive CHECK ((v > 0))
)
INHERITS ("a b".parent);


ALTER TABLE ONLY "a b".child FORCE ROW LEVEL SECURITY;"""


def test_it_is_set_after_the_table_is_made() -> None:
    assert (
        for_older_servers(_CHILD.replace("    NOT NULL x,\n", ""))
        == """CREATE TABLE "a b".child (
    own text DEFAULT '(
'::text,
    CONSTRAINT positive CHECK ((v > 0))
)
INHERITS ("a b".parent);


ALTER TABLE ONLY "a b".child FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY "a b".child ALTER COLUMN v SET NOT NULL;

ALTER TABLE ONLY "a b".child ALTER COLUMN "A ""b"" c" SET NOT NULL;"""
    )


@pytest.mark.parametrize(
    ("elements", "left"),
    [("    NOT NULL v\n", ""), ("    o text,\n    NOT NULL v\n", "    o text\n")],
    ids=["alone", "the last"],
)
def test_commas_are_as_they_have_to_be(elements: str, left: str) -> None:
    statement = f"CREATE UNLOGGED TABLE s.c (\n{elements})\nINHERITS (s.p);"
    assert for_older_servers(statement) == (
        f"CREATE UNLOGGED TABLE s.c (\n{left})\nINHERITS (s.p);\n\n"
        "ALTER TABLE ONLY s.c ALTER COLUMN v SET NOT NULL;"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE s.c (\n    a text DEFAULT '\n    NOT NULL v,\n'::text NOT NULL\n);",
        "CREATE TABLE s.c (\n    CONSTRAINT named NOT NULL v\n)\nINHERITS (s.p);",
        _CHILD,
        "CREATE VIEW s.v AS\n SELECT 1 AS one;",
    ],
    ids=["text of a default", "with a name", "text and constraint", "no table"],
)
def test_what_cannot_be_told_apart_is_left_as_it_is(statement: str) -> None:
    assert for_older_servers(statement) == statement
