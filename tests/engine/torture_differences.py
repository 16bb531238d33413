"""Where a target differs from its source after all steps, and why. ``docs/schema.md`` tells the same."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason for statements that a dump of one side has and that of the other has not."""

    title: str
    """As ``docs/schema.md`` has it in bold."""

    on_source: str
    """Expression for all of a statement; empty when there is none."""

    on_target: str = ""
    between_versions: bool = False
    """Whether it is only seen where source and target are of different versions."""


_LONG_NAMES = r'CREATE TABLE "ä{31}z"\."ä{31}z" \(.*'

DIFFERENCES = (
    Difference("Publications and subscriptions", r"(CREATE|ALTER|COMMENT ON) PUBLICATION torture_theirs\b.*"),
    Difference("Table access methods", r"SET default_table_access_method = \w+"),
    Difference(
        "Comments on extensions",
        r"COMMENT ON EXTENSION vector IS 'mine'",
        r"COMMENT ON EXTENSION vector IS 'vector data type.*",
    ),
    Difference(
        "Options of user mappings",
        r"CREATE USER MAPPING FOR torture_app SERVER \"Torture Server\" OPTIONS \(.*",
        r"CREATE USER MAPPING FOR torture_app SERVER \"Torture Server\"",
    ),
    Difference("Names of NOT NULL constraints", _LONG_NAMES, _LONG_NAMES, between_versions=True),
    Difference(
        "The privilege MAINTAIN",
        r"REVOKE SELECT,INSERT,REFERENCES,DELETE,TRIGGER,TRUNCATE,UPDATE ON TABLE app\.orders FROM \w+",
        r"REVOKE ALL ON TABLE app\.orders FROM torture_owner",
        between_versions=True,
    ),
    Difference(
        "The privilege MAINTAIN",
        r"GRANT SELECT,INSERT,DELETE,TRIGGER,UPDATE ON TABLE app\.orders TO torture_owner",
        r"GRANT SELECT,INSERT,DELETE,TRIGGER,MAINTAIN,UPDATE ON TABLE app\.orders TO torture_owner",
        between_versions=True,
    ),
    Difference(
        "The order of a policy's roles",
        r'CREATE POLICY mine ON app\.orders AS RESTRICTIVE TO (torture_app|"torture_SELECT"), .*',
        r'CREATE POLICY mine ON app\.orders AS RESTRICTIVE TO (torture_app|"torture_SELECT"), .*',
    ),
)
"""A pattern stands for the least that it has to: that of one table, role or policy of the torture schema."""


def explain(source: Counter[str], target: Counter[str]) -> tuple[list[str], set[str]]:
    """The statements in which two dumps differ without a reason, and the titles of the reasons there were."""
    unexplained: list[str] = []
    reasons: set[str] = set()
    for side, statements in (("on_source", source - target), ("on_target", target - source)):
        for statement in sorted(statements):
            titles = {
                one.title
                for one in DIFFERENCES
                if getattr(one, side) and re.fullmatch(getattr(one, side), statement, re.S)
            }
            reasons |= titles
            if not titles:
                unexplained.append(f"{side}: {statement}")
    return unexplained, reasons
