"""Accepted hypertables come back from disk as they were, and need TimescaleDB on the target."""

from __future__ import annotations

import json

import pytest

from engine.catalog.hypertable_choice import HypertableChoice, choices_from_json
from engine.catalog.hypertable_plan import plan_hypertables
from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import BlockedError, Side
from tests.conftest import Database
from tests.engine.odd_names import ODD_NAMES

CHOICES = (
    *(HypertableChoice(TableName(name, name), name, "7 days") for name in ODD_NAMES),
    HypertableChoice(TableName("public", "t"), "ts", 86_400_000),
)


def test_they_are_the_same_after_saving() -> None:
    stored = json.dumps([choice.to_json() for choice in CHOICES])
    assert choices_from_json(json.loads(stored)) == CHOICES


@pytest.mark.parametrize("damage", [{"column": None}, {"interval": True}, {"table": 1}, {"interval": None}])
def test_a_damaged_one_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="hypertable"):
        choices_from_json([{**CHOICES[0].to_json(), **damage}])
    with pytest.raises(ValueError, match="hypertable"):
        choices_from_json(["x"])


def test_a_target_without_timescaledb_is_refused(source_db: Database, target_db: Database) -> None:
    source_db.execute("create table t (at timestamptz not null)")
    with (
        open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as source,
        open_session(parse_endpoint(Side.TARGET, target_db.conninfo), "test") as target,
        pytest.raises(BlockedError, match="no TimescaleDB"),
    ):
        plan_hypertables(source, target, CHOICES, TableMap())
