"""A source that is kept from writing, and let write again as before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.cutover.fence import send_fence
from engine.cutover.outcome import ReadOnlyRecord
from engine.cutover.read_only import (
    offer_read_only,
    refusal,
    run_together,
    set_statements,
    terminate,
    undo_statements,
)
from engine.cutover.target_writable import why_not_writable
from engine.errors import Side
from engine.roles.planned import RoleFilter
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles
from tests.waiting import wait_until

_SETTINGS = """
select coalesce(r.rolname::text, ''), s.setconfig
  from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole
 where s.setdatabase = (select oid from pg_database where datname = current_database())
 order by 1
"""


@pytest.fixture
def session(source_db: Database) -> Iterator[Session]:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as session:
        yield session


def _refuses_writes(database: Database) -> bool:
    with database.connect() as connection:
        try:
            connection.execute("create table written (a int); drop table written")
        except psycopg.errors.ReadOnlySqlTransaction:
            return True
    return False


def test_a_database_is_read_only_for_new_sessions_and_ours_still_write(
    source_db: Database, session: Session
) -> None:
    with source_db.connect() as open_before:
        offer = offer_read_only(session, RoleFilter())
        assert offer.database == ReadOnlyRecord(source_db.name, "", None)
        records = (offer.database,)
        assert refusal(run_together(session, set_statements(records))) is None
        assert _refuses_writes(source_db)
        open_before.execute("create table t (a int)")
        with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as ours:
            assert send_fence(ours).text
            assert why_not_writable(ours) == "default_transaction_read_only is on"
    assert refusal(run_together(session, undo_statements(records))) is None
    assert not _refuses_writes(source_db)
    assert source_db.query(_SETTINGS) == []
    assert why_not_writable(session) == ""


def test_what_was_set_before_comes_back_also_for_odd_names(
    cluster_roles: ClusterRoles, source_db: Database, session: Session
) -> None:
    name = cluster_roles.name('o"d%s role')
    with psycopg.connect(source_db.conninfo, autocommit=True) as connection:
        role, database = sql.Identifier(name), sql.Identifier(source_db.name)
        connection.execute(sql.SQL("create role {} login").format(role))
        connection.execute(
            sql.SQL("alter role {} in database {} set default_transaction_read_only = off").format(
                role, database
            )
        )
        connection.execute(
            sql.SQL("alter role {} in database {} set work_mem = '5MB'").format(role, database)
        )
    before = source_db.query(_SETTINGS)
    records = tuple(record for record in offer_read_only(session, RoleFilter()).roles if record.role == name)
    assert records == (ReadOnlyRecord(source_db.name, name, "off"),)
    run_together(session, set_statements(records))
    assert why_not_writable(session).startswith("default_transaction_read_only is on for role ")
    # Twice does no harm.
    for _ in range(2):
        assert refusal(run_together(session, undo_statements(records))) is None
        assert sorted(source_db.query(_SETTINGS)[0][1]) == sorted(before[0][1])


def test_roles_that_are_left_out_are_not_offered(
    cluster_roles: ClusterRoles, source_db: Database, session: Session
) -> None:
    name = cluster_roles.name("other")
    with psycopg.connect(source_db.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    roles = offer_read_only(session, RoleFilter(unwanted=frozenset({name}))).roles
    assert name not in {record.role for record in roles}


def test_of_several_settings_all_count_or_none(source_db: Database, session: Session) -> None:
    records = (ReadOnlyRecord(source_db.name, "", None), ReadOnlyRecord(source_db.name, "no such role", None))
    failure = refusal(run_together(session, set_statements(records)))
    assert failure is not None
    assert 'role "no such role" does not exist' in failure.detail
    assert failure.sqlstate == "42704"
    assert source_db.query(_SETTINGS) == []


def test_open_sessions_are_named_and_ended_and_a_pid_that_is_another_s_now_is_not(
    source_db: Database, session: Session
) -> None:
    with source_db.connect(application_name="checkout") as other:
        (found,) = offer_read_only(session, RoleFilter()).sessions
        assert found.pid == other.info.backend_pid
        assert " · checkout · " in found.words
        assert terminate(session, [replace(found, started_at=found.started_at - timedelta(days=1))]) == 0
        assert other.execute("select 1").fetchone() == (1,)
        assert terminate(session, [found]) == 1
        wait_until(lambda: offer_read_only(session, RoleFilter()).sessions == ())
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")
