"""Settings of database and roles read the same on the other side, and the refused ones are set apart."""

from __future__ import annotations

import subprocess

import pytest

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.roles.planned import RoleFilter
from engine.schema.programs import find_program
from engine.script.planned import Script, ScriptResult
from engine.script.run import run_script
from engine.settings.database_settings import plan_settings
from engine.settings.list_value import elements
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run


def plan(source: Database, target: Database, chosen: RoleFilter, **login: str) -> Script:
    one = parse_endpoint(Side.SOURCE, source.conninfo)
    with open_session(one, "test") as reading, open_session(endpoint(target, **login), "test") as writing:
        return plan_settings(reading, writing, chosen)


def endpoint(target: Database, **login: str) -> Endpoint:
    return parse_endpoint(Side.TARGET, target.server.conninfo(target.name, **login))


def apply(target: Database, script: Script, **login: str) -> ScriptResult:
    with open_session(endpoint(target, **login), "test") as session:
        return run_script(session, script.text(), Side.TARGET)


def settings(database: Database, roles: ClusterRoles) -> list[tuple[object, ...]]:
    return database.query(
        "select r.rolname, s.setdatabase <> 0, s.setconfig from pg_db_role_setting s"
        " left join pg_roles r on r.oid = s.setrole"
        " where (s.setdatabase = 0 or s.setdatabase ="
        "        (select oid from pg_database where datname = current_database()))"
        "   and (r.oid is null or strpos(r.rolname, %s) > 0) order by 1 nulls first, 2",
        [roles.token],
    )


def only(roles: ClusterRoles, database: Database) -> RoleFilter:
    names = {name for (name,) in database.query("select rolname from pg_roles")}
    return RoleFilter(unwanted=frozenset(names - set(roles.of(database))))


def make(source: Database, target: Database, roles: ClusterRoles) -> str:
    odd = roles.name("O\"d'd\n[b]")
    for database in (source, target):
        run(database, "create role {}", odd)
    for statement in (
        """alter database {db} set search_path = "$user", public, "it's ""odd"", [b]
line", app""",
        "alter database {db} set work_mem = '64MB'",
        "alter database {db} set datestyle = 'SQL, DMY'",
        "alter database {db} set myapp.\"Motto\" = 'a''b, \"c\" \\ = d'",
        "alter database {db} set default_transaction_isolation = 'serializable'",
        "alter role {odd} set search_path = ''",
        "alter role {odd} set timezone = 'Asia/Kathmandu'",
        'alter role {odd} in database {db} set search_path = "Mixed", lower',
        "alter role {odd} in database {db} set statement_timeout = '7s'",
        "alter role {odd} in database {db} set temp_tablespaces = ''",
        "comment on database {db} is 'it''s\n-- a \\ comment'",
    ):
        run(source, statement, db=source.name, odd=odd)
    return odd


def test_all_settings_read_the_same_afterwards(
    cluster_roles: ClusterRoles,
    source_db: Database,
    target_db: Database,
) -> None:
    make(source_db, target_db, cluster_roles)
    run(target_db, "alter database {} set work_mem = '1MB'", target_db.name)
    chosen = only(cluster_roles, source_db)
    script = plan(source_db, target_db, chosen)
    assert script.set_apart == ()
    result = apply(target_db, script)
    assert result.refused == ()
    # The order within one list is the order of the statements, but for what was there.
    assert [(role, here, set(config)) for role, here, config in settings(target_db, cluster_roles)] == [
        (role, here, set(config)) for role, here, config in settings(source_db, cluster_roles)
    ]
    comment = (
        "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
    )
    assert target_db.query(comment) == source_db.query(comment)
    assert target_db.query("show search_path") == source_db.query("show search_path")
    again = plan(source_db, target_db, chosen)
    assert again.statements == ()
    assert len(again.already_there) == 10


def test_psql_runs_the_file_as_it_is(
    cluster_roles: ClusterRoles,
    source_db: Database,
    target_db: Database,
) -> None:
    make(source_db, target_db, cluster_roles)
    chosen = only(cluster_roles, source_db)
    psql = find_program("psql", 16)
    finished = subprocess.run(
        [psql.path, "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=-"],
        env=target_db.server.client_environment(target_db.name),
        input=plan(source_db, target_db, chosen).text(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert settings(target_db, cluster_roles) == settings(source_db, cluster_roles)
    assert plan(source_db, target_db, chosen).statements == ()


def test_what_the_target_refuses_is_set_apart_with_its_reason(
    cluster_roles: ClusterRoles,
    source_db: Database,
    target_db: Database,
) -> None:
    admin, lonely = cluster_roles.name("admin"), cluster_roles.name("lonely")
    for database in (source_db, target_db):
        run(database, "create role {} login password 'pw'", admin)
    run(target_db, "alter database {} owner to {}", target_db.name, admin)
    run(source_db, "create role {}", lonely)
    for statement in (
        "alter database {db} set work_mem = '64MB'",
        "alter database {db} set log_min_duration_statement = 0",
        "alter database {db} set session_preload_libraries = 'plpgsql'",
        "alter database {db} set timescaledb.restoring = 'on'",
        "alter role {lonely} set work_mem = '1MB'",
    ):
        run(source_db, statement, db=source_db.name, lonely=lonely)
    login = {"user": admin, "password": "pw"}
    script = plan(source_db, target_db, only(cluster_roles, source_db), **login)
    assert [one.sql.split(" SET ")[1] for one in script.to_run] == ["\"work_mem\" = '64MB'"]
    reasons = {one.about.rpartition(": ")[2]: one.set_apart for one in script.set_apart}
    assert 'permission denied to set parameter "log_min_duration_statement"' in reasons.values()
    assert reasons["work_mem"] == f'role "{lonely}" does not exist'
    assert "only while a database is being restored" in reasons["timescaledb.restoring"]
    assert "nobody could connect" in reasons["session_preload_libraries"]
    assert target_db.query(
        "select count(*) from pg_db_role_setting s join pg_database d on d.oid = setdatabase"
        " where d.datname = current_database()"
    ) == [(0,)]
    assert apply(target_db, script, **login).refused == ()
    again = plan(source_db, target_db, only(cluster_roles, source_db), **login)
    assert again.to_run == ()
    assert again.set_apart == script.set_apart


@pytest.mark.parametrize(
    ("setting", "value", "names"),
    [
        ("search_path", '"$user", public', ("$user", "public")),
        ("search_path", 'Foo ,"B""a,r"', ("foo", 'B"a,r')),
        ("Search_Path", '""', ("",)),
        ("search_path", "", ("",)),
        ("search_path", '"a" b', None),
        ("search_path", "a,", None),
        ("search_path", '"a', None),
        ("session_preload_libraries", "$libdir/Foo, bar", ("$libdir/Foo", "bar")),
    ],
)
def test_a_list_is_taken_apart(setting: str, value: str, names: tuple[str, ...] | None) -> None:
    assert elements(setting, value) == names
