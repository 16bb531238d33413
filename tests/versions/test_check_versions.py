"""The checks read every major version that can be a source, and refuse a target that is too old."""

from __future__ import annotations

import pytest

from engine.checks.address import refused_addresses
from engine.checks.finding import Verdict
from engine.errors import Side
from tests.conftest import Database
from tests.engine.checking import checked_databases, endpoint, not_ok

pytestmark = pytest.mark.versions


def test_the_checks_read_both_versions(
    source_db: Database, target_db: Database, versions: tuple[int, int]
) -> None:
    source_db.execute("create table t (a int primary key, b text)")
    expected = {} if versions[0] <= versions[1] else {(Side.TARGET, "major_versions"): Verdict.WARNING}
    assert not_ok(checked_databases(source_db, target_db)) == expected


def test_a_target_before_15_is_refused(
    source_db: Database, target_db: Database, versions: tuple[int, int]
) -> None:
    finding = checked_databases(target_db, source_db)[Side.TARGET, "version"]
    assert (finding.verdict is Verdict.BLOCKS) == (versions[0] < 15)
    refused = refused_addresses(endpoint(target_db, Side.SOURCE), endpoint(source_db, Side.TARGET))
    assert refused == ((finding,) if versions[0] < 15 else ())
