"""What the checks say of a source with TimescaleDB, and of a target without, with less, or older."""

from __future__ import annotations

import pytest
from psycopg import sql

from engine.checks.finding import Verdict
from engine.checks.timescaledb import OLDEST_SOURCE, OLDEST_TARGET
from engine.errors import Side
from tests.conftest import Database
from tests.engine.checking import ROLE_PASSWORD, Findings, checked, checked_databases, endpoint
from tests.timescaledb.moving import fill
from tests.timescaledb.samples import AGGREGATES, HYPERTABLES, POLICIES
from tests.timescaledb.test_full_edition import catalog_of
from tests.waiting import wait_until

_OURS = (
    "timescaledb",
    "compression_markers",
    "hidden_writes",
    "direct_compress",
    "new_chunks",
    "tiered_chunks",
    "chunk_jobs",
    "continuous_aggregates",
    "hypertables",
)


def ours(findings: Findings) -> dict[tuple[Side, str], Verdict]:
    return {key: finding.verdict for key, finding in findings.items() if key[1] in _OURS}


def test_plain_postgresql_is_told_nothing(source_db: Database, target_db: Database) -> None:
    assert ours(checked_databases(source_db, target_db)) == {}


def test_all_that_a_full_source_has_is_said(full_source: Database, full_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    findings = checked_databases(full_source, full_target)
    version = catalog_of(full_source).installation.version
    target_version = catalog_of(full_target).installation.version
    expected = {
        (Side.SOURCE, "timescaledb"): Verdict.OK,
        (Side.SOURCE, "compression_markers"): Verdict.OK if version >= (2, 16) else Verdict.WARNING,
        (Side.SOURCE, "hidden_writes"): Verdict.OK if version < (2, 17) else Verdict.WARNING,
        (Side.SOURCE, "new_chunks"): Verdict.OK,
        (Side.SOURCE, "chunk_jobs"): Verdict.WARNING,
        (Side.SOURCE, "continuous_aggregates"): Verdict.OK,
        (Side.TARGET, "timescaledb"): Verdict.OK if target_version >= OLDEST_TARGET else Verdict.BLOCKS,
    }
    assert ours(findings) == expected
    assert version >= OLDEST_SOURCE
    source = findings[Side.SOURCE, "timescaledb"].found
    assert source.endswith("full edition: 9 hypertables, 5 continuous aggregates, 13 jobs")
    jobs = findings[Side.SOURCE, "chunk_jobs"].found
    assert jobs.startswith("7 policies that change chunks: policy_compression of app.metrics")
    # All but app.aa_monthly stand on what loses old rows by a policy.
    aggregates = findings[Side.SOURCE, "continuous_aggregates"].found
    assert aggregates.startswith(
        "1 computed again from their rows; 4 copied: app.by_tick (a retention policy"
    )


def test_what_the_apache_edition_leaves_out_is_said(full_source: Database, apache_target: Database) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES, POLICIES)
    found = checked_databases(full_source, apache_target)[Side.TARGET, "timescaledb"]
    assert found.verdict is Verdict.WARNING
    assert "left out: 4 columnstores, 5 continuous aggregates, 13 jobs" in found.found


def test_the_apache_edition_alone_needs_nothing(apache_source: Database, apache_target: Database) -> None:
    fill(apache_source, HYPERTABLES)
    findings = ours(checked_databases(apache_source, apache_target))
    assert set(findings.values()) == {Verdict.OK}
    assert (Side.SOURCE, "chunk_jobs") in findings


def test_a_target_without_the_extension_gets_it(apache_source: Database, apache_target: Database) -> None:
    fill(apache_source, HYPERTABLES)
    apache_target.execute("drop extension timescaledb")
    found = checked_databases(apache_source, apache_target)[Side.TARGET, "timescaledb"]
    assert found.verdict is Verdict.BLOCKS
    assert found.remedy is not None
    assert found.remedy.applicable
    for statement in found.remedy.sql:
        apache_target.execute(statement)
    again = checked_databases(apache_source, apache_target)[Side.TARGET, "timescaledb"]
    assert again.verdict is Verdict.OK


def test_a_server_that_does_not_offer_it_gets_plain_tables(
    apache_source: Database, target_db: Database
) -> None:
    fill(apache_source, HYPERTABLES)
    found = checked_databases(apache_source, target_db)[Side.TARGET, "timescaledb"]
    assert found.verdict is Verdict.WARNING
    assert "9 hypertables" in found.why


def test_a_role_that_owns_nothing_is_told(
    other_role: str, full_source: Database, full_target: Database
) -> None:
    fill(full_source, HYPERTABLES, AGGREGATES)
    role = sql.Identifier(other_role)
    full_source.execute(
        sql.SQL("alter role {} login replication password {}").format(role, sql.Literal(ROLE_PASSWORD))
    )
    full_source.execute(
        sql.SQL(
            'grant usage on schema app, "O\'dd ""S""" to {0};'
            'grant select on all tables in schema app, "O\'dd ""S""" to {0}'
        ).format(role)
    )
    findings = checked(endpoint(full_source, Side.SOURCE, other_role), endpoint(full_target, Side.TARGET))
    found = findings[Side.SOURCE, "new_chunks"]
    assert found.verdict is Verdict.WARNING
    assert "app.days" in found.found
    hidden = findings[Side.SOURCE, "hidden_writes"]
    if hidden.verdict is not Verdict.OK:
        assert hidden.remedy is not None
        assert hidden.remedy.sql
        assert not hidden.remedy.applicable
        assert "reset" in hidden.fix


def _is_off(database: Database, setting: str) -> bool:
    with database.connect() as connection:
        connection.execute("select public.time_bucket('1 day', now())")
        return connection.execute(f"show {setting}").fetchone() == ("off",)


def test_markers_that_were_switched_off_block(full_source: Database, full_target: Database) -> None:
    if catalog_of(full_source).installation.version < (2, 16):
        pytest.skip("The setting is there since TimescaleDB 2.16")
    fill(full_source, HYPERTABLES, AGGREGATES)
    wanted = "timescaledb.enable_compression_wal_markers"
    full_source.execute(f"alter system set {wanted} = off")
    try:
        full_source.execute("select pg_reload_conf()")
        wait_until(lambda: _is_off(full_source, wanted), describe="the server to read its configuration")
        found = checked_databases(full_source, full_target)[Side.SOURCE, "compression_markers"]
        assert found.verdict is Verdict.BLOCKS
        assert found.remedy is not None
        for statement in found.remedy.sql:
            full_source.execute(statement)
    finally:
        full_source.execute(f"alter system reset {wanted}")
        full_source.execute("select pg_reload_conf()")


def test_tables_written_straight_into_the_columnstore_block(
    full_source: Database, full_target: Database
) -> None:
    if catalog_of(full_source).installation.version < (2, 29):
        pytest.skip("A table can be told so since TimescaleDB 2.29")
    fill(full_source, HYPERTABLES, AGGREGATES)
    full_source.execute("alter table app.ticks set (timescaledb.direct_compress = true)")
    found = checked_databases(full_source, full_target)[Side.SOURCE, "direct_compress"]
    assert found.verdict is Verdict.BLOCKS
    assert found.remedy is not None
    for statement in found.remedy.sql:
        full_source.execute(statement)
    assert (Side.SOURCE, "direct_compress") not in checked_databases(full_source, full_target)


def test_a_dimension_that_the_target_does_not_know_is_said(
    full_source: Database, apache_target: Database
) -> None:
    full_source.execute("create table public.u (id uuid not null, v int)")
    if catalog_of(full_source).installation.version < (2, 22):
        pytest.skip("TimescaleDB cuts by a UUID since 2.22")
    full_source.execute(
        "select public.create_hypertable('public.u', public.by_range('id', interval '5 days'))"
    )
    apache_target.execute("create table public.u (id uuid not null, v int)")
    found = checked_databases(full_source, apache_target)[Side.TARGET, "hypertables"]
    assert found.verdict is Verdict.WARNING
    assert "cannot cut by a UUID" in found.found
