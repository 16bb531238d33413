"""The migration's own role is made, can do its work, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import pytest
from psycopg import sql

from engine.checks.finding import Finding, Verdict
from engine.connection.endpoint import parse_endpoint
from engine.connection.secret import Secret
from engine.connection.session import open_session
from engine.errors import Side, UsageError
from engine.roles.migration_check import check_migration_user
from engine.roles.migration_role import MigrationRoleWishes, MigrationUserPlan
from engine.roles.migration_user import logged_in_as, plan_migration_user, plan_removal
from engine.script.masking import reveal
from engine.script.planned import Outcome, Script, ScriptResult
from engine.script.run import run_script
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run

_RIGHTS = """
with list (kind, name, acl) as (
select 'schema', n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner)) from pg_namespace n
 where n.nspname !~ '^pg_'
union all
select 'class', c.oid::regclass::text,
       coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))
  from pg_class c where c.oid > 16384 and c.relkind in ('r', 'v', 'S')
union all
select 'default', d.defaclrole::regrole || d.defaclobjtype::text, d.defaclacl from pg_default_acl d
union all
select 'database', '', d.datacl from pg_database d where d.datname = current_database())
select l.kind, l.name, a.grantor, a.grantee, a.privilege_type, a.is_grantable
  from list l, aclexplode(l.acl) a
union all
select 'role', m.roleid::regrole::text, m.member, m.grantor, '', m.admin_option from pg_auth_members m
order by 1, 2, 3, 4, 5
"""


def plan(
    source: Database,
    wishes: MigrationRoleWishes,
    password: Secret | None = None,
    login: Mapping[str, str] = {},
) -> MigrationUserPlan:
    endpoint = parse_endpoint(Side.SOURCE, source.server.conninfo(source.name, **login))
    with open_session(endpoint, "test") as session:
        return plan_migration_user(session, wishes, password)


def apply(source: Database, script: Script, login: Mapping[str, str] = {}) -> ScriptResult:
    endpoint = parse_endpoint(Side.SOURCE, source.server.conninfo(source.name, **login))
    with open_session(endpoint, "test") as session:
        return run_script(session, reveal(script.text(), script.secrets), Side.SOURCE)


def removal(source: Database, name: str, login: Mapping[str, str] = {}) -> Script:
    endpoint = parse_endpoint(Side.SOURCE, source.server.conninfo(source.name, **login))
    with open_session(endpoint, "test") as session:
        return plan_removal(session, name)


def check(source: Database, name: str, password: Secret) -> dict[str, Finding]:
    endpoint = logged_in_as(parse_endpoint(Side.SOURCE, source.conninfo), name, password)
    return {one.check: one for one in check_migration_user(endpoint)}


def make_database(source: Database, owner: str) -> None:
    """Tables of two owners in odd schemas, some behind policies, in a database that is not open to all."""
    run(source, "create role {}", owner)
    for schema in ("O\"d'd\n[b]", "app"):
        run(
            source,
            "create schema {schema} authorization {owner};"
            "create table {schema}.of_owner (id serial primary key);"
            "alter table {schema}.of_owner owner to {owner}; create table {schema}.of_postgres (id int);"
            "create view {schema}.v as select 1 as one; create sequence {schema}.s;"
            "alter table {schema}.of_owner enable row level security;"
            "insert into {schema}.of_owner values (1)",
            schema=schema,
            owner=owner,
        )
    run(source, "revoke all on database {} from public; create schema empty", source.name)


def test_it_is_made_does_its_work_and_is_taken_away_again(
    cluster_roles: ClusterRoles, source_db: Database
) -> None:
    name, owner = cluster_roles.name("live\"s'ync\n[b]"), cluster_roles.name("owner")
    make_database(source_db, owner)
    before = source_db.query(_RIGHTS)
    wishes = MigrationRoleWishes(name)
    first = plan(source_db, wishes)
    assert not first.already_there
    assert first.password is not None
    assert first.password.reveal() not in first.script.text() + repr(first)
    # The server never sees it in the clear either.
    assert all(secret.reveal().startswith("'SCRAM-SHA-256$") for secret in first.script.secrets.values())
    assert apply(source_db, first.script).refused == ()
    second = plan(source_db, wishes)
    assert (second.already_there, second.script.statements, second.password) == (True, (), None)
    findings = check(source_db, name, first.password)
    assert {one.verdict for one in findings.values()} == {Verdict.OK}, findings
    run(source_db, "set role {}; create table app.later (id int)", owner)
    source_db.execute("create table app.later_too (id int)")
    with psycopg.connect(
        source_db.server.conninfo(source_db.name, user=name, password=first.password.reveal()),
        autocommit=True,
    ) as connection:
        assert connection.execute("select count(*) from app.later, app.later_too").fetchone() == (0,)
        assert connection.execute("select id from app.of_owner").fetchall() == [(1,)]
        connection.execute("create publication p for table app.of_owner, app.of_postgres")
    source_db.execute("drop table app.later, app.later_too")
    script = removal(source_db, name)
    assert apply(source_db, script).refused == ()
    assert source_db.query(_RIGHTS) == before
    assert source_db.query("select count(*) from pg_publication_rel") == [(2,)]
    assert removal(source_db, name).statements == ()
    assert cluster_roles.of(source_db) == [owner]


def test_a_role_that_is_there_keeps_its_password_unless_it_is_lost(
    cluster_roles: ClusterRoles, source_db: Database
) -> None:
    name = cluster_roles.name("mine")
    run(source_db, "create role {} password 'first'", name)
    planned = plan(source_db, MigrationRoleWishes(name))
    assert (planned.already_there, planned.password) == (True, None)
    assert [one.sql.split(" WITH ")[1] for one in planned.script.statements[:2]] == ["LOGIN", "REPLICATION"]
    assert apply(source_db, planned.script).refused == ()
    assert check(source_db, name, Secret("first"))["role_login"].verdict is Verdict.OK
    lost = plan(source_db, MigrationRoleWishes(name, hashes_password=False), Secret("it's \\ second"))
    assert [secret.reveal() for secret in lost.script.secrets.values()] == [" E'it''s \\\\ second'".strip()]
    assert apply(source_db, lost.script).refused == ()
    refused = check(source_db, name, Secret("first"))
    assert [one.verdict for one in refused.values()] == [Verdict.BLOCKS]
    assert check(source_db, name, Secret("it's \\ second"))["role_login"].verdict is Verdict.OK


def test_what_may_not_be_given_is_told_statement_by_statement_and_found_by_the_check(
    cluster_roles: ClusterRoles, source_db: Database
) -> None:
    name, owner, maker = (cluster_roles.name(base) for base in ("mine", "owner", "maker"))
    make_database(source_db, owner)
    run(source_db, "create role {} login createrole password 'pw'", maker)
    run(
        source_db,
        "grant connect on database {db} to {maker} with grant option",
        db=source_db.name,
        maker=maker,
    )
    run(source_db, "create table app.of_maker (id int); alter table app.of_maker owner to {}", maker)
    login = {"user": maker, "password": "pw"}
    planned = plan(source_db, MigrationRoleWishes(name), login=login)
    result = apply(source_db, planned.script, login)
    outcomes = {one.about: one.outcome for one in result.results}
    assert outcomes[f"role {name}: logs in for the migration"] is Outcome.APPLIED
    assert outcomes[f"role {name}: connects"] is Outcome.APPLIED
    assert outcomes[f"role {name}: reads the stream of changes"] is Outcome.REFUSED
    assert outcomes[f"role {name}: makes the publication"] is Outcome.REFUSED
    assert outcomes["table app.of_postgres: to read"] is Outcome.REFUSED
    assert all(one.said for one in result.refused)
    assert planned.password is not None
    findings = check(source_db, name, planned.password)
    assert {check: one.verdict for check, one in findings.items()} == {
        "role_login": Verdict.OK,
        "role_replication": Verdict.BLOCKS,
        "role_create": Verdict.BLOCKS,
        "role_select": Verdict.WARNING,
        "role_ownership": Verdict.WARNING,
        "role_row_security": Verdict.WARNING,
    }
    assert "and 8 more" in findings["role_select"].found
    # Whoever made it can take it away, although not a superuser.
    assert apply(source_db, removal(source_db, name, login), login).refused == ()
    assert cluster_roles.of(source_db) == sorted([owner, maker])


def test_a_superuser_and_a_providers_role_for_replication(
    cluster_roles: ClusterRoles, source_db: Database
) -> None:
    name, provider = cluster_roles.name("mine"), cluster_roles.name("rds_replication")
    source_db.execute("create table t (id int)")
    run(source_db, "create role {} replication", provider)
    given = plan(source_db, MigrationRoleWishes(name, replication_role=provider))
    assert f'GRANT "{provider}" TO "{name}"' in given.script.text()
    assert "REPLICATION;" not in given.script.text()
    absent = plan(source_db, MigrationRoleWishes(name, replication_role="rds_replication"))
    assert "WITH REPLICATION;" in absent.script.text()
    wishes = MigrationRoleWishes(name, superuser=True)
    planned = plan(source_db, wishes)
    assert [one.sql.rpartition(f'"{name}"')[2].strip() for one in planned.script.statements[1:3]] == [
        "WITH SUPERUSER",
        "WITH REPLICATION",
    ]
    assert apply(source_db, planned.script).refused == ()
    assert planned.password is not None
    assert {one.verdict for one in check(source_db, name, planned.password).values()} == {Verdict.OK}
    assert plan(source_db, wishes).script.statements == ()


@pytest.mark.parametrize("name", ["", "pg_mine"])
def test_a_name_that_postgresql_would_refuse_is_refused_before(name: str, source_db: Database) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        plan(source_db, MigrationRoleWishes(name))


def test_what_it_was_given_in_another_database_keeps_it_from_being_dropped(
    cluster_roles: ClusterRoles, source_db: Database
) -> None:
    name = cluster_roles.name("mine")
    other = f"other_{cluster_roles.token}"
    run(source_db, "create role {}", name)
    source_db.execute(sql.SQL("create database {}").format(sql.Identifier(other)))
    elsewhere = Database(source_db.server, other)
    try:
        run(elsewhere, "create table t (id int); grant select on t to {}", name)
        result = apply(source_db, removal(source_db, name))
        assert [one.about for one in result.refused] == [f"role {name}: the role itself"]
        assert other in result.refused[0].said
    finally:
        elsewhere.drop()
