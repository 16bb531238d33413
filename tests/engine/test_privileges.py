"""Owners and privileges of every kind of object are the source's afterwards, and a second plan is empty."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.privileges.plan import plan_privileges
from engine.privileges.stepping_back import plan_stepping_back
from engine.schema.dump import dump_schema
from engine.schema.programs import find_program
from engine.schema.restore import apply_script
from engine.script.planned import Script, ScriptResult
from engine.script.run import run_script
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database, new_database
from tests.engine.cluster_roles import ClusterRoles

_ALL_RIGHTS = """
with object (kind, name, owner, acl, acl_type) as (
select 'schema', n.oid::regnamespace::text, n.nspowner, n.nspacl, 'n'::"char" from pg_namespace n
 -- Whose public is, and with which rights, depends on the version of the server.
 where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public')
union all
select c.relkind::text, c.oid::regclass::text, c.relowner, c.relacl,
       case when c.relkind = 'S' then 's'::"char" else 'r'::"char" end
  from pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.oid > 16384
union all
select 'column', c.oid::regclass::text || '.' || a.attname, c.relowner, a.attacl, 'c'
  from pg_attribute a join pg_class c on c.oid = a.attrelid where a.attacl is not null and c.oid > 16384
union all
select 'routine', p.oid::regprocedure::text, p.proowner, p.proacl, 'f' from pg_proc p
 where p.oid > 16384 and p.proname <> 'span_multirange' or p.proname in ('pg_ls_waldir', 'pg_ls_logdir')
union all
select 'type', t.oid::regtype::text, t.typowner, t.typacl, 'T' from pg_type t
 where t.oid > 16384 and t.typelem = 0
   -- New in 14; since 17 it has its range's owner and privileges; before, nothing set them along.
   and t.typtype <> 'm'
   -- Before 14 sequences and TOAST tables have row types.
   and coalesce((select c.relkind from pg_class c where c.oid = t.typrelid), 'c') not in ('S', 't')
union all
select 'language', l.lanname, l.lanowner, l.lanacl, 'l' from pg_language l
union all
select 'wrapper', w.fdwname, w.fdwowner, w.fdwacl, 'F' from pg_foreign_data_wrapper w
union all
select 'server', s.srvname, s.srvowner, s.srvacl, 'S' from pg_foreign_server s
union all
select 'database', '', d.datdba, d.datacl, 'd' from pg_database d where d.datname = current_database()
union all
select 'large object', b.oid::text, b.lomowner, b.lomacl, 'L' from pg_largeobject_metadata b
union all
select 'operator', o.oid::regoperator::text, o.oprowner, null, null from pg_operator o where o.oid > 16384
union all
select 'operator family', o.opfname, o.opfowner, null, null from pg_opfamily o where o.oid > 16384
union all
select 'operator class', o.opcname, o.opcowner, null, null from pg_opclass o where o.oid > 16384
union all
select 'collation', o.collname, o.collowner, null, null from pg_collation o where o.oid > 16384
union all
select 'conversion', o.conname, o.conowner, null, null from pg_conversion o where o.oid > 16384
union all
select 'dictionary', o.dictname, o.dictowner, null, null from pg_ts_dict o where o.oid > 16384
union all
select 'configuration', o.cfgname, o.cfgowner, null, null from pg_ts_config o where o.oid > 16384
union all
select 'statistics', o.stxname, o.stxowner, null, null from pg_statistic_ext o
union all
select 'event trigger', o.evtname, o.evtowner, null, null from pg_event_trigger o
union all
select 'default ' || d.defaclobjtype::text || coalesce(d.defaclnamespace::regnamespace::text, ''),
       d.defaclrole::regrole::text, d.defaclrole, d.defaclacl, null from pg_default_acl d)
select o.kind, o.name, o.owner::regrole::text, a.grantor::regrole::text,
       case a.grantee when 0 then 'PUBLIC' else a.grantee::regrole::text end, a.privilege_type, a.is_grantable
  from object o
  left join lateral aclexplode(coalesce(
      o.acl, case when o.acl_type is not null then acldefault(o.acl_type, o.owner) end)) a
         on a.privilege_type <> 'MAINTAIN'
 order by 1, 2, 3, 4, 5, 6
"""
"""Not what the engine asks: kinds are told apart by hand, and defaults are put in by the server."""

_TORTURE = """
create schema {odd};
create schema app;
create table app.orders (id serial primary key, {odd} text, total numeric, hidden text);
create table {odd}.{odd} (id bigint generated always as identity, {odd} int);
create table app.parted (id int, at date) partition by range (at);
create table app.parted_1 partition of app.parted for values from ('2020-01-01') to ('2021-01-01');
create view app.report as select id, total from app.orders;
create materialized view app.daily as select 1 as one;
create sequence app.free;
create type app.mood as enum ('good', 'bad');
create type app.pair as (a int, b int);
create type app.span as range (subtype = int4);
create domain app.{odd} as text check (value <> '');
create function app.f(a int, b app.mood default 'good') returns int language sql as 'select 1';
create function app.f({odd} text, variadic rest int[]) returns int language sql as 'select 1';
create procedure app.p(inout a int) language sql as 'select 1';
create aggregate app.total(int) (sfunc = int4pl, stype = int, initcond = '0');
create aggregate app.nth(order by int) (sfunc = array_append, stype = int[]);
create function app.plus(a app.pair, b app.pair) returns app.pair language sql as 'select a';
create operator app.+ (function = app.plus, leftarg = app.pair, rightarg = app.pair);
create operator family app.{odd} using btree;
create function app.cmp(app.pair, app.pair) returns int immutable language sql as 'select 0';
create operator class app.{odd} for type app.pair using btree family app.{odd}
    as function 1 app.cmp(app.pair, app.pair);
create collation app.{odd} from "C";
create conversion app.{odd} for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8;
create text search dictionary app.{odd} (template = simple);
create text search configuration app.{odd} (parser = default);
create table app.merge_action (id int);
create statistics app.{odd} on id, total from app.orders;
create foreign data wrapper {odd};
create server {odd} foreign data wrapper {odd};
create foreign table app.far (id int) server {odd};
create function app.noticed() returns event_trigger language plpgsql as 'begin end';
create event trigger {odd} on ddl_command_end execute function app.noticed();
"""

_OWNERS = """
alter schema app owner to {owner};
alter table app.orders owner to {owner};
alter table app.parted owner to {owner};
alter table app.parted_1 owner to {other};
alter view app.report owner to {odd};
alter materialized view app.daily owner to {owner};
alter sequence app.free owner to {odd};
alter type app.mood owner to {owner};
alter type app.pair owner to {owner};
alter type app.span owner to {odd};
alter domain app.{odd} owner to {owner};
alter function app.f(int, app.mood) owner to {odd};
alter procedure app.p(int) owner to {owner};
alter aggregate app.total(int) owner to {odd};
alter aggregate app.nth(order by int) owner to {odd};
alter operator app.+ (app.pair, app.pair) owner to {owner};
alter operator family app.{odd} using btree owner to {owner};
alter operator class app.{odd} using btree owner to {odd};
alter collation app.{odd} owner to {owner};
alter conversion app.{odd} owner to {owner};
alter text search dictionary app.{odd} owner to {owner};
alter text search configuration app.{odd} owner to {owner};
alter statistics app.{odd} owner to {owner};
alter table app.merge_action owner to {owner};
alter server {odd} owner to {owner};
"""

_GRANTS = """
revoke all on schema public from public;
grant usage on schema public to {reader};
grant usage, create on schema {odd} to {reader} with grant option;
grant usage on schema app to {reader}, {odd}, {other};
grant select, update on app.orders to {reader} with grant option;
grant delete on app.orders to {odd};
revoke truncate, references on app.orders from {owner};
grant select on app.orders to public;
grant select ({odd}), insert ({odd}, total) on app.orders to {other};
grant update (hidden) on app.orders to {odd} with grant option;
grant all on {odd}.{odd} to {reader};
grant select on app.report, app.daily, app.parted, app.far to {reader};
grant usage on sequence app.free to {reader} with grant option;
grant update on sequence app.orders_id_seq to {odd};
revoke execute on function app.f(int, app.mood) from public;
grant execute on function app.f(int, app.mood) to {reader};
revoke all on procedure app.p(int) from public;
revoke execute on function app.total(int) from public;
revoke all on function app.nth(int) from public, {odd};
revoke usage on type app.mood from public;
grant usage on type app.mood to {reader} with grant option;
revoke usage on domain app.{odd} from public;
revoke usage on type app.span from public;
revoke usage on language plpgsql from public;
grant usage on language plpgsql to {owner};
grant usage on foreign data wrapper {odd} to {reader};
grant usage on foreign server {odd} to {reader};
grant execute on function pg_catalog.pg_ls_waldir() to {reader};
revoke execute on function pg_catalog.pg_ls_logdir() from pg_monitor;
grant connect, temporary on database {database} to {reader} with grant option;
revoke connect on database {database} from public;
alter default privileges for role {owner} grant select on tables to {reader};
alter default privileges for role {owner} revoke execute on functions from public;
alter default privileges for role {owner} in schema app grant all on sequences to {odd} with grant option;
alter default privileges for role {odd} in schema {odd} grant execute on functions to public;
alter default privileges for role {odd} revoke usage on types from public;
alter default privileges for role {owner} grant usage on schemas to {reader};
set role {reader};
grant select on app.orders to {other};
grant select, update on app.orders to {odd} with grant option;
grant usage on sequence app.free to {other};
grant usage on schema {odd} to {other};
grant usage on type app.mood to {other};
reset role;
set role {odd};
grant update on app.orders to {other};
grant update (hidden) on app.orders to {other};
reset role;
"""


class Case:
    """A source with everything in it, and a target that has the schema but nobody's rights."""

    def __init__(self, source: Database, target: Database, roles: ClusterRoles, admin: str = "") -> None:
        self.source, self.target = source, target
        self.admin = admin
        self.names = {
            base: roles.name(base if base != "odd" else "O\"d'd [b] -- ;\n\u202eשל ") for base in _ROLES
        }
        for database in {source.server: source, target.server: target}.values():
            for name in self.names.values():
                act = (
                    "set role {admin}; create role {name}"
                    if admin and database is target
                    else "create role {name}"
                )
                self.run(database, act, name=name, admin=admin or "postgres")

    def run(self, database: Database, statements: str, **names: str) -> None:
        known = {**self.names, "database": database.name, **names}
        composed = sql.SQL(statements).format(**{key: sql.Identifier(value) for key, value in known.items()})
        with database.connect() as connection:
            connection.execute(composed)

    @property
    def endpoints(self) -> tuple[Endpoint, Endpoint]:
        keywords = {"user": self.admin, "password": "pw"} if self.admin else {}
        return (
            parse_endpoint(Side.SOURCE, self.source.conninfo),
            parse_endpoint(Side.TARGET, self.target.server.conninfo(self.target.name, **keywords)),
        )

    def restore(self) -> None:
        source, target = self.endpoints
        outcome = apply_script(target, dump_schema(source, 180000).text)
        assert outcome.applied, outcome.error

    def plan(self, **stand_ins: str) -> Script:
        source, target = self.endpoints
        with open_session(source, "test") as one, open_session(target, "test") as other:
            return plan_privileges(one, other, stand_ins)

    def apply(self, script: Script) -> ScriptResult:
        with open_session(self.endpoints[1], "test") as session:
            return run_script(session, script.text(), Side.TARGET)


_ROLES = ("owner", "other", "reader", "odd")


@pytest.fixture
def case(cluster_roles: ClusterRoles, source_db: Database, target_db: Database) -> Case:
    return Case(source_db, target_db, cluster_roles)


@pytest.fixture
def second_target_db(target_server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Another database on the target's server."""
    yield from new_database(target_server, "other", request.node.name)


def rights(database: Database) -> list[tuple[object, ...]]:
    with database.connect() as connection:
        # A word that only one of the servers knows (merge_action) is quoted by both.
        connection.execute("set quote_all_identifiers = on")
        return connection.execute(_ALL_RIGHTS).fetchall()


def dumped(database: Database) -> str:
    """All of the schema, owners and privileges as pg_dump writes them."""
    program = find_program("pg_dump", 18)
    finished = subprocess.run(
        [program.path, "--schema-only", "--no-password"],
        env=database.server.client_environment(database.name),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return "\n".join(line for line in finished.stdout.splitlines() if "restrict " not in line)


def test_all_rights_arrive_and_the_second_plan_is_empty(case: Case) -> None:
    case.run(case.source, _TORTURE)
    case.run(case.source, _OWNERS)
    case.run(case.source, _GRANTS)
    case.restore()
    assert rights(case.target) != rights(case.source)
    script = case.plan()
    assert script.set_apart == ()
    # GRANT ALL of 17 and later is more than older servers know.
    assert [note for note in script.notes if "MAINTAIN" not in note] == []
    result = case.apply(script)
    assert result.refused == ()
    assert rights(case.target) == rights(case.source)
    in_public = (
        "select has_schema_privilege(%s, 'public', 'usage'), has_schema_privilege(%s, 'public', 'usage')"
    )
    assert case.target.query(in_public, [case.names["reader"], case.names["other"]]) == [(True, False)]
    again = case.plan()
    assert again.statements == ()
    assert case.apply(script).refused == ()
    assert rights(case.target) == rights(case.source)


def test_psql_runs_the_file_as_it_is_and_pg_dump_sees_no_difference(
    cluster_roles: ClusterRoles,
    target_db: Database,
    second_target_db: Database,
) -> None:
    case = Case(target_db, second_target_db, cluster_roles)
    case.run(case.source, _TORTURE)
    case.run(case.source, _OWNERS)
    case.run(case.source, _GRANTS)
    case.run(case.source, "grant maintain on app.orders to {reader}")
    case.restore()
    psql = find_program("psql", 16)
    finished = subprocess.run(
        [psql.path, "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=-"],
        env=case.target.server.client_environment(case.target.name),
        input=case.plan().text(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    # In which order the grants of one object come is nobody's business.
    assert sorted(dumped(case.target).splitlines()) == sorted(dumped(case.source).splitlines())
    assert rights(case.target) == rights(case.source)
    assert case.plan().statements == ()


_ONLY_A_SUPERUSER_MAKES = ("foreign data wrapper", "server {odd}", "app.far", "app.noticed", "event trigger")
_ONLY_A_SUPERUSER_SETS = (
    "language",
    "foreign",
    "server",
    "pg_ls_",
    "operator class",
    "operator family",
    "app.far",
)


def without(statements: str, *words: str) -> str:
    """``statements`` less those with one of the words; each is on one line, or its last line has them."""
    kept = [line for line in statements.split(";\n") if not any(word in line for word in words)]
    return ";\n".join(kept)


def test_a_role_that_is_no_superuser_acts_for_the_owners_and_steps_back(
    cluster_roles: ClusterRoles,
    source_db: Database,
    target_db: Database,
) -> None:
    admin = cluster_roles.name("admin")
    for database in (source_db, target_db):
        database.execute(
            sql.SQL("create role {} login createrole password 'pw'").format(sql.Identifier(admin))
        )
    target_db.execute(
        sql.SQL("alter database {} owner to {}").format(sql.Identifier(target_db.name), sql.Identifier(admin))
    )
    case = Case(source_db, target_db, cluster_roles, admin)
    torture = without(_TORTURE, *_ONLY_A_SUPERUSER_MAKES, "operator class", "operator family")
    case.run(source_db, torture)
    case.run(source_db, without(_OWNERS, *_ONLY_A_SUPERUSER_SETS))
    case.run(source_db, without(_GRANTS, *_ONLY_A_SUPERUSER_SETS, "app.daily, app.parted"))
    case.restore()
    script = case.plan()
    assert [note for note in script.notes if "MAINTAIN" not in note] == []
    assert script.set_apart == ()
    result = case.apply(script)
    assert [(one.about, one.said) for one in result.refused] == []

    # What the superuser owns on the source is the target's own role's.
    def with_admin(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
        named = [tuple(f'"{admin}"' if field == '"postgres"' else field for field in row) for row in rows]
        return sorted(named, key=repr)

    assert with_admin(rights(target_db)) == with_admin(rights(source_db))
    memberships = (
        "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.grantor where r.rolname = %s"
    )
    assert target_db.query(memberships, [admin])[0][0] > 2
    assert case.plan().statements == ()
    # Rows, indexes, statistics and positions of sequences come as the same role.
    work = (
        b"insert into app.orders (total) values (1)",
        b"create index on app.orders (total)",
        b"analyze app.orders",
        b"select pg_catalog.setval('app.free', 7)",
    )
    source, target = case.endpoints
    with open_session(source, "test") as one, open_session(target, "test") as other:
        for statement in work:
            other.execute(statement)
        stepping_back = plan_stepping_back(one, other)
    assert case.apply(stepping_back).refused == ()
    assert target_db.query(memberships, [admin]) == [(0,)]
    with open_session(source, "test") as one, open_session(target, "test") as other:
        assert plan_stepping_back(one, other).statements == ()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute(work[0])


def test_what_cannot_be_carried_over_is_told(case: Case) -> None:
    lonely, stranger = f"{case.names['other']}x", f"{case.names['reader']}y"
    both = "create table public.a (id int); create table public.c (id int)"
    case.run(
        case.source,
        f"{both}; create table public.b (id int); create role {{lonely}};"
        "alter table public.a owner to {lonely}; grant select on public.c to {lonely};"
        "select lo_create(4711)",
        lonely=lonely,
    )
    case.run(
        case.target,
        f"{both}; create role {{stranger}}; grant all on public.a to {{stranger}}",
        stranger=stranger,
    )
    script = case.plan()
    assert script.to_run == ()
    assert script.notes == (
        f"2 owners or grants are of {lonely}, a role that the target does not have",
        "1 large objects: replication leaves them out; plan again once they are copied",
        "Not on the target: table public.b",
    )
    source, target = case.endpoints
    with open_session(source, "test") as one, open_session(target, "test") as other:
        assert plan_privileges(one, other, not_told=[lonely]).notes == script.notes[1:]
    stand_ins = {lonely: case.names["owner"]}
    stood_in = case.plan(**stand_ins)
    assert [one.sql for one in stood_in.to_run] == [
        f'ALTER TABLE "public"."a" OWNER TO "{case.names["owner"]}"',
        f'GRANT SELECT ON TABLE "public"."c" TO "{case.names["owner"]}"',
    ]
    assert case.apply(stood_in).refused == ()
    assert case.plan(**stand_ins).to_run == ()
    of_stranger = "select has_table_privilege(%s, 'public.a', 'delete')"
    assert case.target.query(of_stranger, [stranger]) == [(True,)]
    # Large objects that were copied get what they had.
    case.run(case.source, "grant select on large object 4711 to {reader}")
    case.run(case.target, "select lo_create(4711)")
    assert case.apply(case.plan(**stand_ins)).refused == ()
    lists = "select lomacl::text from pg_largeobject_metadata"
    assert case.names["reader"] in str(case.target.query(lists))
    assert case.target.query(lists) == case.source.query(lists)


def test_a_grantor_that_has_the_owners_rights_by_now_grants_as_the_owner(case: Case) -> None:
    for database in (case.source, case.target):
        case.run(database, "create table public.a (id int); alter table public.a owner to {owner}")
    case.run(
        case.source,
        "grant select on public.a to {reader} with grant option; grant select on public.a to {other};"
        "set role {reader}; grant select on public.a to {other}; grant select on public.a to {odd};"
        "reset role",
    )
    for database in (case.source, case.target):
        case.run(database, "grant {owner} to {reader}")
    assert case.apply(case.plan()).refused == ()
    assert case.plan().statements == ()
    given = "select has_table_privilege(%s, 'public.a', 'select')"
    assert [case.target.query(given, [case.names[base]]) for base in ("other", "odd")] == [[(True,)]] * 2


def test_what_only_the_target_grants_is_taken_back_from_roles_of_the_source(case: Case) -> None:
    for database in (case.source, case.target):
        case.run(
            database,
            "create table public.a (id int, x int); create function public.f() returns int language sql"
            " as 'select 1'; alter table public.a owner to {owner}",
        )
    case.run(
        case.target,
        """grant select, update on public.a to {reader} with grant option;
        grant insert (x) on public.a to {odd};
        set role {reader}; grant select on public.a to {odd}; grant update on public.a to {odd}; reset role;
        revoke execute on function public.f() from public;
        alter default privileges for role {owner} grant select on tables to public""",
    )
    case.run(case.source, "grant update on public.a to {reader}")
    script = case.plan()
    assert case.apply(script).refused == ()
    assert rights(case.target) == rights(case.source)
    assert case.plan().statements == ()
