"""The role that the migration logs in as on the source (seed §1.2): what it lacks, and how it is removed.

What it is given, and why: LOGIN; REPLICATION, or the provider's role in its place; CREATE on the database,
for the publication; SELECT on tables and sequences of all user schemas, those to come too; and membership in
the roles that own tables, because PostgreSQL lets only a table's owner publish it. The seed gives SUPERUSER
in place of the last; that is for a caller who knows that the source needs it.

The seed's default privileges are those of the role that runs the statement. Tables are made by others, so
there is one statement for each role that owns something in a schema.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from types import MappingProxyType

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.table import quote_identifier
from engine.catalog.user_schema import in_user_schemas
from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.secret import Secret
from engine.connection.session import Session
from engine.errors import Failure, Retry, Side, UsageError
from engine.providers.provider import Provider
from engine.roles.migration_role import MigrationRoleWishes, MigrationUserPlan
from engine.script.masking import literal
from engine.script.planned import Script, ScriptStatement, placeholder

FILE_NAME = "migration_user.sql"

_PASSWORD_BYTES = 24

_MEMBERSHIP_OPTIONS_SINCE = 160000

_ROLE = """
select r.oid::int8, r.rolcanlogin as logs_in, r.rolsuper as superuser, r.rolreplication as replicates,
       r.rolbypassrls as bypasses_rls
  from pg_catalog.pg_roles r
 where r.rolname = %(name)s
"""

_DATABASE = in_user_schemas("""
select pg_catalog.current_database()::text as name,
       -- 0 is PUBLIC, whose rights a role has that is yet to be made.
       pg_catalog.has_database_privilege(%(role)s::int8::oid, d.oid, 'connect') as may_connect,
       pg_catalog.has_database_privilege(%(role)s::int8::oid, d.oid, 'create') as may_create,
       exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                where c.relrowsecurity and {user_schema}) as has_row_security,
       (select case when %(role)s = 0 then false
                    else pg_catalog.pg_has_role(%(role)s::int8::oid, r.oid, 'member') end
          from pg_catalog.pg_roles r
         where r.rolname = %(replication_role)s) as in_replication_role
  from pg_catalog.pg_database d
 where d.datname = pg_catalog.current_database()
""")

_SCHEMAS = in_user_schemas("""
select n.nspname::text as name,
       pg_catalog.has_schema_privilege(%(role)s::int8::oid, n.oid, 'usage') as has_usage
  from pg_catalog.pg_namespace n
 where {user_schema}
 order by n.nspname
""")

_RELATIONS = in_user_schemas("""
select n.nspname::text as schema, c.relname::text as name, c.relkind = 'S' as is_sequence,
       pg_catalog.has_table_privilege(%(role)s::int8::oid, c.oid, 'select') as is_readable,
       pg_catalog.pg_has_role(c.relowner, 'usage')
           or pg_catalog.has_table_privilege(c.oid, 'select with grant option') as is_ours
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relpersistence <> 't' and {user_schema}
 order by n.nspname, c.relname
""")

# Since 14 the owner of the schema public is a role nobody may change the defaults of.
_MAKERS = in_user_schemas("""
with made as (
    select c.relnamespace as schema, c.relowner as maker
      from pg_catalog.pg_class c where c.relkind in ('r', 'p', 'v', 'm', 'f')
    union
    select n.oid, n.nspowner from pg_catalog.pg_namespace n)
select n.nspname::text as schema, r.rolname::text as maker
  from made
  join pg_catalog.pg_namespace n on n.oid = made.schema
  join pg_catalog.pg_roles r on r.oid = made.maker
 where {user_schema} and r.rolname <> 'pg_database_owner' and r.oid <> %(role)s::int8::oid
   and not exists (
       select from pg_catalog.pg_default_acl a, pg_catalog.aclexplode(a.defaclacl) x
        where a.defaclrole = r.oid and a.defaclnamespace in (0, n.oid) and a.defaclobjtype = 'r'
          and x.grantee in (0, %(role)s::int8::oid) and x.privilege_type = 'SELECT')
 order by 1, 2
""")

_OWNERS = in_user_schemas("""
select r.rolname::text as name, r.rolsuper as superuser, pg_catalog.count(*) as tables
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_roles r on r.oid = c.relowner
 where c.relkind in ('r', 'p') and c.relpersistence = 'p' and {user_schema}
   and r.oid <> %(role)s::int8::oid
   and case when %(role)s = 0 then true
            else not pg_catalog.pg_has_role(%(role)s::int8::oid, r.oid, 'usage') end
 group by 1, 2
 order by 1
""")

_HAS_TIMESCALEDB = "select exists (select from pg_catalog.pg_extension where extname = 'timescaledb')"

_TO_UNDO = """
select coalesce(pg_catalog.bool_or(d.deptype = 'o'), false) as owns,
       pg_catalog.pg_has_role(r.oid, 'usage') as is_ours
  from pg_catalog.pg_roles r
  left join pg_catalog.pg_shdepend d
         on d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.refobjid = r.oid
        and d.dbid in (0, (select b.oid from pg_catalog.pg_database b
                            where b.datname = pg_catalog.current_database()))
 where r.rolname = %(name)s
 group by r.oid
"""


@dataclass(frozen=True, slots=True)
class _Role:
    oid: int
    logs_in: bool
    superuser: bool
    replicates: bool
    bypasses_rls: bool


_NOBODY = _Role(0, logs_in=True, superuser=False, replicates=False, bypasses_rls=False)
"""What CREATE ROLE … LOGIN makes; its oid stands for PUBLIC."""


@dataclass(frozen=True, slots=True)
class _Database:
    name: str
    may_connect: bool
    may_create: bool
    has_row_security: bool
    in_replication_role: bool | None
    """None where the server has no such role."""


@dataclass(frozen=True, slots=True)
class _Relation:
    schema: str
    name: str
    is_sequence: bool
    is_readable: bool
    is_ours: bool
    """Whether the role that makes the plan may grant on it."""


def wishes_for(source: Session, provider: Provider, name: str) -> MigrationRoleWishes:
    """What the role has to be on a provider's server (seed §1.2).

    Args:
        source: On the source.
        provider: Whose server it is.
        name: The role's.

    Raises:
        EngineError: The source could not be read.
    """
    role = provider.migration_role
    may_give_it = source.info.parameter_status("is_superuser") == "on"
    try:
        found = source.execute(_HAS_TIMESCALEDB).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "looking for TimescaleDB") from None
    return MigrationRoleWishes(
        name,
        superuser=role.superuser_publishes_chunks and found == (True,) and may_give_it,
        replication_role=role.replication_role,
        hashes_password=not role.sees_password,
        words=role.words,
    )


def generate_password() -> Secret:
    """A password that nobody can guess, of characters that need no quoting anywhere."""
    return Secret(secrets.token_urlsafe(_PASSWORD_BYTES))


def plan_migration_user(
    source: Session, wishes: MigrationRoleWishes, password: Secret | None = None
) -> MigrationUserPlan:
    """Find what the role lacks.

    Args:
        source: On the source, as a role that may make roles.
        wishes: What it has to be.
        password: For a role that is there and whose password is lost: its new one. A role that is yet to be
            made gets this, or one that is generated.

    Raises:
        UsageError: The name is one that PostgreSQL keeps for itself.
        EngineError: The source could not be read.
    """
    if not wishes.name or wishes.name.startswith("pg_"):
        raise UsageError(
            Failure(
                f"A role cannot be called {quote_identifier(wishes.name)}",
                hint="Choose a name that is not empty and does not begin with pg_",
                side=Side.SOURCE,
                retry=Retry.NEVER,
            )
        )
    try:
        with source.cursor(row_factory=class_row(_Role)) as cursor:
            existing = cursor.execute(_ROLE, {"name": wishes.name}).fetchone()
        writer = _Writer(source, wishes, existing or _NOBODY)
        if existing is None:
            password = password or generate_password()
            writer.create(password)
        elif password is not None:
            writer.change_password(password)
        writer.attributes()
        if not (wishes.superuser or (existing is not None and existing.superuser)):
            writer.reading()
            writer.owning()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading what the migration's role may do") from None
    shown = quote_identifier(wishes.name)
    script = Script(
        FILE_NAME,
        f"The role {shown}, with which the migration reads this database",
        tuple(writer.statements),
        () if writer.statements else (f"role {shown}",),
        (wishes.words,) if wishes.words else (),
        secrets=writer.secrets,
    )
    return MigrationUserPlan(wishes.name, existing is not None, script, password)


class _Writer:
    """Collects the statements for one role."""

    def __init__(self, source: Session, wishes: MigrationRoleWishes, role: _Role) -> None:
        self._source = source
        self._wishes = wishes
        self._role = role
        self._name = sql.Identifier(wishes.name)
        self._shown = quote_identifier(wishes.name)
        self.statements: list[ScriptStatement] = []
        self.secrets: dict[str, Secret] = {}
        with source.cursor(row_factory=class_row(_Database)) as cursor:
            database = cursor.execute(
                _DATABASE, {"role": role.oid, "replication_role": wishes.replication_role}
            ).fetchone()
        assert database is not None  # It is the one we are connected to.
        self._database = database

    def _add(self, about: str, statement: str, *names: sql.Composable) -> None:
        composed = sql.SQL(statement).format(*names, role=self._name)
        self.statements.append(ScriptStatement(about, composed.as_string()))

    def _hidden(self, password: Secret) -> sql.SQL:
        value = password.reveal()
        if self._wishes.hashes_password:
            hashed = self._source.pgconn.encrypt_password(value.encode(), self._wishes.name.encode())
            value = hashed.decode()
        name = placeholder(len(self.secrets) + 1)
        self.secrets[name] = Secret(literal(value))
        return sql.SQL(literal(name))

    def create(self, password: Secret) -> None:
        self._add(
            f"role {self._shown}: logs in for the migration",
            "CREATE ROLE {role} WITH LOGIN PASSWORD {}",
            self._hidden(password),
        )

    def change_password(self, password: Secret) -> None:
        self._add(
            f"role {self._shown}: a new password",
            "ALTER ROLE {role} WITH PASSWORD {}",
            self._hidden(password),
        )

    def attributes(self) -> None:
        role, database = self._role, self._database
        if not role.logs_in:
            self._add(f"role {self._shown}: may log in", "ALTER ROLE {role} WITH LOGIN")
        if self._wishes.superuser and not role.superuser:
            self._add(
                f"role {self._shown}: publishes chunks that TimescaleDB makes while the migration runs",
                "ALTER ROLE {role} WITH SUPERUSER",
            )
        if database.in_replication_role is not None:
            if not database.in_replication_role:
                self._add(
                    f"role {self._shown}: reads the stream of changes",
                    "GRANT {} TO {role}",
                    sql.Identifier(self._wishes.replication_role),
                )
        elif not role.replicates:
            self._add(
                f"role {self._shown}: reads the stream of changes", "ALTER ROLE {role} WITH REPLICATION"
            )
        if database.has_row_security and not (role.bypasses_rls or role.superuser or self._wishes.superuser):
            self._add(
                f"role {self._shown}: copies all rows of tables that have row-level security",
                "ALTER ROLE {role} WITH BYPASSRLS",
            )
        name = sql.Identifier(database.name)
        if not database.may_connect:
            self._add(f"role {self._shown}: connects", "GRANT CONNECT ON DATABASE {} TO {role}", name)
        if not database.may_create:
            self._add(
                f"role {self._shown}: makes the publication", "GRANT CREATE ON DATABASE {} TO {role}", name
            )

    def reading(self) -> None:
        """USAGE and SELECT, on what is there and on what is to come."""
        parameters = {"role": self._role.oid}
        schemas = self._source.execute(_SCHEMAS, parameters).fetchall()
        with self._source.cursor(row_factory=class_row(_Relation)) as cursor:
            relations = cursor.execute(_RELATIONS, parameters).fetchall()
        makers = self._source.execute(_MAKERS, parameters).fetchall()
        for schema, has_usage in schemas:
            name, shown = sql.Identifier(str(schema)), quote_identifier(str(schema))
            if not has_usage:
                self._add(f"schema {shown}: may be looked into", "GRANT USAGE ON SCHEMA {} TO {role}", name)
            mine = [relation for relation in relations if relation.schema == schema]
            self._select(name, shown, [one for one in mine if not one.is_sequence], "TABLE")
            self._select(name, shown, [one for one in mine if one.is_sequence], "SEQUENCE")
            for other, maker in makers:
                if other == schema:
                    self._add(
                        f"schema {shown}: tables that {quote_identifier(str(maker))} makes later",
                        "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT SELECT ON TABLES TO {role}",
                        sql.Identifier(str(maker)),
                        name,
                    )

    def _select(self, schema: sql.Identifier, shown: str, relations: list[_Relation], kind: str) -> None:
        unreadable = [relation for relation in relations if not relation.is_readable]
        if not unreadable:
            return
        if all(relation.is_ours for relation in relations):
            self._add(
                f"schema {shown}: {_count(len(unreadable), kind)} to read",
                f"GRANT SELECT ON ALL {kind}S IN SCHEMA {{}} TO {{role}}",
                schema,
            )
            return
        # ON ALL TABLES is refused as a whole when a single one belongs to somebody else.
        for relation in unreadable:
            self._add(
                f"{kind.lower()} {shown}.{quote_identifier(relation.name)}: to read",
                f"GRANT SELECT ON {kind} {{}} TO {{role}}",
                sql.Identifier(relation.schema, relation.name),
            )

    def owning(self) -> None:
        options = ""
        if self._source.info.server_version >= _MEMBERSHIP_OPTIONS_SINCE:
            # The owner's rights on its tables, without becoming that role.
            options = " WITH INHERIT TRUE, SET FALSE"
        for owner, superuser, tables in self._source.execute(_OWNERS, {"role": self._role.oid}):
            about = f"role {quote_identifier(str(owner))}: only its members may publish its tables ({tables})"
            if superuser and not options:
                about += "; it is a superuser, and before PostgreSQL 16 its members can become it"
            self._add(about, f"GRANT {{}} TO {{role}}{options}", sql.Identifier(str(owner)))


def _count(number: int, kind: str) -> str:
    return f"{number} {kind.lower()}{'' if number == 1 else 's'}"


def logged_in_as(endpoint: Endpoint, name: str, password: Secret | None) -> Endpoint:
    """The same database as another role, for all that follows (seed §1.2, "switch to this user").

    Args:
        endpoint: The source.
        name: The role's.
        password: None for a role that logs in by libpq's password file or without being asked.
    """
    return replace(
        endpoint, parameters=MappingProxyType({**endpoint.parameters, "user": name}), password=password
    )


def plan_removal(source: Session, name: str) -> Script:
    """Write what takes the role away again: with it goes all it was granted in this database.

    What it owns, such as the publication, passes to the role that runs the script; nothing is dropped but the
    role. What it was granted in other databases of the server makes the last statement fail, with their
    names.

    Args:
        source: On the source.
        name: The role.

    Returns:
        A script without statements when there is no such role.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        found = source.execute(_TO_UNDO, {"name": name}).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading what the migration's role has") from None
    shown = quote_identifier(name)
    title = f"Takes the role {shown} away, with all that it was granted"
    if found is None:
        return Script(FILE_NAME, title, (), (f"role {shown}: there is none",))
    owns, is_ours = found
    statements: list[ScriptStatement] = []

    def add(about: str, statement: str) -> None:
        composed = sql.SQL(statement).format(role=sql.Identifier(name))
        statements.append(ScriptStatement(f"role {shown}: {about}", composed.as_string()))

    if not is_ours:
        add("its grants may be taken back by a member only", "GRANT {role} TO CURRENT_USER")
    if owns:
        add("what it owns passes to you", "REASSIGN OWNED BY {role} TO CURRENT_USER")
    add("its grants and default privileges", "DROP OWNED BY {role}")
    add("the role itself", "DROP ROLE {role}")
    return Script(FILE_NAME, title, tuple(statements))
