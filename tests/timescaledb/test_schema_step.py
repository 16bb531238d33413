"""The step Schema brings hypertables, and does not take what TimescaleDB made for a difference."""

from __future__ import annotations

from pathlib import Path

from engine.schema.comparison import Presence
from tests.conftest import Database
from tests.screens.test_real_schema import Opened


def test_hypertables_come_with_tables_first(
    apache_source: Database, apache_target: Database, tmp_path: Path
) -> None:
    apache_source.execute(
        "create table customer (at timestamptz not null, v int); select create_hypertable('customer', 'at');"
        "insert into customer select now() - n * interval '1 month', n from generate_series(1, 5) n;"
        "create table sale (id int primary key)"
    )
    opened = Opened(apache_source, apache_target, tmp_path / "state")
    look = opened.look()
    assert not any("_timescaledb" in str(one.key) for one in look.comparison.objects)
    opened.apply(tables_first=True)
    assert apache_target.query("select hypertable_name from timescaledb_information.hypertables") == [
        ("customer",)
    ]
    left = opened.look()
    assert left.missing == ()
    assert left.waiting is not None
    assert left.file is not None
    assert left.file.statements == ()
    tables = {one.presence for one in left.comparison.objects if one.key.kind == "TABLE"}
    assert tables == {Presence.IDENTICAL}
