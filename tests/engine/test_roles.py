"""Roles go from one server to the other as pg_dumpall would carry them, less what the target refuses."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.roles.plan import plan_roles
from engine.roles.planned import RoleFilter, RolePlan, Standing
from engine.schema.programs import find_program
from engine.script.grammar import split_script
from engine.script.masking import reveal
from engine.script.planned import Outcome, ScriptResult
from engine.script.run import run_script
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run

ODD_NAMES = ('it\'s "quoted" `so`', "[bold]{0} %s", "a\nb\tc\r", "שלום\u202e", "x" * 63, "Mixed -- ; \\")


def endpoints(source: Database, target: Database) -> tuple[Endpoint, Endpoint]:
    return parse_endpoint(Side.SOURCE, source.conninfo), parse_endpoint(Side.TARGET, target.conninfo)


def plan(source: Endpoint, target: Endpoint, chosen: RoleFilter) -> RolePlan:
    with open_session(source, "test") as one, open_session(target, "test") as other:
        return plan_roles(one, other, chosen)


def apply(target: Endpoint, planned: RolePlan) -> ScriptResult:
    with open_session(target, "test") as session:
        return run_script(session, reveal(planned.script.text(), planned.script.secrets), Side.TARGET)


def apply_with_psql(target: Database, planned: RolePlan) -> None:
    psql = find_program("psql", 16)
    finished = subprocess.run(
        [psql.path, "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=-"],
        env=target.server.client_environment(target.name),
        input=reveal(planned.script.text(), planned.script.secrets),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    # A target of 18 warns of md5.
    assert (finished.returncode, "ERROR" in finished.stderr) == (0, False)


def only(roles: ClusterRoles, *databases: Database, but: tuple[str, ...] = ()) -> RoleFilter:
    """Other tests' roles, on a server that they share, are not ours."""
    names = {name for database in databases for (name,) in database.query("select rolname from pg_roles")}
    return RoleFilter(unwanted=frozenset(names - set(roles.of(databases[0])) | set(but)))


def dumped(database: Database, roles: ClusterRoles) -> list[str]:
    """What pg_dumpall says of this test's roles, statement by statement."""
    program = find_program("pg_dumpall", 18)
    finished = subprocess.run(
        [program.path, "--roles-only", "--no-password"],
        env=database.server.client_environment(database.name),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    text = "\n".join(line for line in finished.stdout.splitlines() if not line.startswith("\\"))
    return sorted(unit.sql for unit in split_script(text) if roles.token in unit.sql)


def make_roles(source: Database, roles: ClusterRoles) -> list[str]:
    """Every attribute, odd names, memberships with all options through several grantors."""
    names = [roles.name(base) for base in ODD_NAMES]
    for number, name in enumerate(names):
        run(source, "create role {} login password 'geheim'" if number % 2 else "create role {}", name)
    attributes = {
        "super": "superuser bypassrls replication",
        "maker": "createrole createdb noinherit",
        "until": "login connection limit 7 valid until '2031-02-03 04:05:06+02'",
        "forever": "login valid until 'infinity'",
        "md5": "login password 'md5d9b7a9c0f1ab7ab5ba5b5f5eac0bbba8'",
    }
    for base, words in attributes.items():
        run(source, f"create role {{}} {words}", roles.name(base))
        run(source, "comment on role {} is 'it''s -- a \\ comment'", roles.name(base))
    group, admin, member = names[0], names[1], names[2]
    run(source, "grant {} to {} with admin option", group, admin)
    if source.query("select current_setting('server_version_num')::int >= 160000") == [(True,)]:
        run(source, "grant {} to {} with inherit false, set false granted by {}", group, member, admin)
        run(source, "grant {} to {} with inherit false", group, member)
        run(source, "grant {} to {} with set false", member, names[3])
    else:
        run(source, "grant {} to {}", member, names[3])
    run(source, "grant {} to {}", names[3], roles.name("maker"))
    run(source, "grant pg_monitor to {} with admin option", names[4])
    return [*names, *(roles.name(base) for base in attributes)]


@pytest.mark.parametrize("with_psql", [False, True], ids=["one by one", "with psql"])
def test_all_roles_arrive_as_pg_dumpall_writes_them_and_the_second_run_finds_nothing(
    cluster_roles: ClusterRoles, source_db: Database, target_db: Database, with_psql: bool
) -> None:
    names = make_roles(source_db, cluster_roles)
    source, target = endpoints(source_db, target_db)
    chosen = only(cluster_roles, source_db)
    first = plan(source, target, chosen)
    assert {review.name for review in first.roles if review.standing is Standing.MISSING} == set(names)
    assert first.reads_passwords
    assert "SCRAM" not in first.script.text() + repr(first)
    assert "md5" not in first.script.text().replace("role md5", "").replace('"md5', "")
    if with_psql:
        apply_with_psql(target_db, first)
    else:
        assert apply(target, first).refused == ()
    assert dumped(target_db, cluster_roles) == dumped(source_db, cluster_roles)
    second = plan(source, target, chosen)
    assert second.script.statements == ()
    ours = [review for review in second.roles if review.name in names]
    assert {(review.standing, review.differences) for review in ours} == {(Standing.SAME, ())}
    again = apply(target, first)
    assert again.refused == ()
    assert dumped(target_db, cluster_roles) == dumped(source_db, cluster_roles)
    with psycopg.connect(target_db.server.conninfo(user=names[1], password="geheim")) as connection:
        assert connection.execute("select current_user").fetchone() == (names[1],)


def test_roles_that_are_there_are_compared_and_keep_their_password(
    cluster_roles: ClusterRoles, source_db: Database, target_db: Database
) -> None:
    name, group, extra = (cluster_roles.name(base) for base in ("app", "group", "extra"))
    for database in (source_db, target_db):
        for one in (name, group, extra):
            run(database, "create role {}", one)
    run(source_db, "alter role {} login createdb connection limit 3 password 'of the source'", name)
    run(target_db, "alter role {} createrole password 'of the target'", name)
    run(source_db, "grant {} to {} with admin option", group, name)
    run(target_db, "grant {} to {} with inherit false", group, name)
    run(target_db, "grant {} to {}", extra, name)
    source, target = endpoints(source_db, target_db)
    planned = plan(source, target, only(cluster_roles, source_db))
    review = next(review for review in planned.roles if review.name == name)
    assert review.standing is Standing.DIFFERS
    assert review.differences == (
        "to be NOCREATEROLE",
        "to be CREATEDB",
        "to be LOGIN",
        "to be CONNECTION LIMIT 3",
        "another password; the target's is kept",
        f"member of {group} with other options",
    )
    assert planned.script.notes == (f"{name} is a member of {extra} on the target only",)
    assert apply(target, planned).refused == ()
    after = plan(source, target, only(cluster_roles, source_db))
    assert after.script.statements == ()
    review = next(review for review in after.roles if review.name == name)
    assert review.differences == ("another password; the target's is kept",)
    with psycopg.connect(target_db.server.conninfo(user=name, password="of the target")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_target_that_refuses_attributes_gets_roles_without_them(
    cluster_roles: ClusterRoles, source_db: Database, target_db: Database
) -> None:
    names = make_roles(source_db, cluster_roles)
    admin = cluster_roles.name("tsdbadmin")
    run(target_db, "create role {} login createrole createdb password 'pw'", admin)
    source, target = endpoints(source_db, target_db)
    target = parse_endpoint(Side.TARGET, target_db.server.conninfo(target_db.name, user=admin, password="pw"))
    chosen = only(cluster_roles, source_db, but=(names[5],))
    first = plan(source, target, chosen)
    apart = {one.about: one.set_apart for one in first.script.set_apart}
    shown = f"role {cluster_roles.name('super')}"
    assert set(apart) == {f"{shown}: {word}" for word in ("SUPERUSER", "REPLICATION", "BYPASSRLS")}
    assert all("permission denied" in reason for reason in apart.values())
    result = apply(target, first)
    # What it may not give away: a membership in PostgreSQL's own role.
    assert ['permission denied to grant role "pg_monitor"' in one.said for one in result.refused] == [True]
    assert result.count(Outcome.APPLIED) == len(first.script.to_run) - 1
    second = plan(source, target, chosen)
    assert [one.about for one in second.script.to_run] == [result.refused[0].about]
    assert {one.about for one in second.script.set_apart} == set(apart)
    assert target_db.query("select count(*) from pg_roles where rolname ~ 'livesync_probe'") == [(0,)]
    assert names[5] not in cluster_roles.of(target_db)


def test_a_provider_that_hides_passwords_is_no_obstacle(
    cluster_roles: ClusterRoles, source_db: Database, target_db: Database
) -> None:
    reader, app = cluster_roles.name("reader"), cluster_roles.name("app")
    run(source_db, "create role {} login password 'pw'", reader)
    run(source_db, "create role {} login password 'pw'", app)
    _, target = endpoints(source_db, target_db)
    source = parse_endpoint(
        Side.SOURCE, source_db.server.conninfo(source_db.name, user=reader, password="pw")
    )
    chosen = only(cluster_roles, source_db, but=(reader,))
    planned = plan(source, target, chosen)
    review = next(review for review in planned.roles if review.name == app)
    assert (planned.reads_passwords, review.needs_password) == (False, True)
    assert "the source hides its password" in planned.script.text()
    assert apply(target, planned).refused == ()
    assert plan(source, target, chosen).script.statements == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pg_monitor", "a role of PostgreSQL itself"),
        ("pgbouncer", ""),
        ("postgres", "the owner of the cluster"),
        ("rds_superuser", "a role of the provider"),
        ("rdsx", ""),
        ("[a]", "a role of the provider"),
        ("mine", "not wanted"),
        ("app", ""),
    ],
)
def test_whose_a_role_is(name: str, reason: str) -> None:
    chosen = RoleFilter(("rds_*", "[[]a]"), frozenset(("mine",)))
    assert chosen.reason(name).startswith(reason)
    assert bool(chosen.reason(name)) == bool(reason)
