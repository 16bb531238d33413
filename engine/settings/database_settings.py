"""Settings that are stored for the database, for roles, and for roles in the database (seed §7.3).

They are in ``pg_db_role_setting``; pg_dump leaves them out, and the database's comment too. The seed's query
writes lists as one name and breaks ``search_path``; here each element is a literal of its own.

Which of them a target refuses is found by trying each in a transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.table import quote_identifier
from engine.connection.explain import explain, is_connection_loss, message_of
from engine.connection.session import Session
from engine.errors import Side
from engine.roles.planned import RoleFilter
from engine.script.masking import literal
from engine.script.planned import Script, ScriptStatement
from engine.settings.list_value import elements, is_list

FILE_NAME = "db_settings.sql"

_SETTINGS = """
select coalesce(r.rolname::text, '') as role, s.setdatabase <> 0 as in_database,
       pg_catalog.split_part(one.text, '=', 1) as setting,
       pg_catalog.substr(one.text, pg_catalog.strpos(one.text, '=') + 1) as value
  from pg_catalog.pg_db_role_setting s
  left join pg_catalog.pg_roles r on r.oid = s.setrole
 cross join pg_catalog.unnest(s.setconfig) with ordinality as one(text, number)
 where s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d
                              where d.datname = pg_catalog.current_database()))
   and (s.setrole = 0 or r.oid is not null)
 order by s.setrole <> 0, r.rolname, s.setdatabase, one.number
"""

_DATABASE = """
select d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database')
  from pg_catalog.pg_database d
 where d.datname = pg_catalog.current_database()
"""

_LIBRARIES = "nobody could connect any more if the target lacks one of these libraries"

_NOT_CARRIED = {
    "session_preload_libraries": _LIBRARIES,
    "local_preload_libraries": _LIBRARIES,
    "timescaledb.restoring": "it is on only while a database is being restored",
}
"""What a target may well accept and should not have."""


@dataclass(frozen=True, slots=True)
class _Setting:
    role: str
    """Empty for all roles."""

    in_database: bool
    setting: str
    value: str

    @property
    def key(self) -> tuple[str, bool, str]:
        return self.role, self.in_database, self.setting.lower()

    def is_same(self, other: _Setting | None) -> bool:
        if other is None:
            return False
        if is_list(self.setting):
            return elements(self.setting, self.value) == elements(other.setting, other.value)
        return self.value == other.value


def plan_settings(source: Session, target: Session, chosen: RoleFilter) -> Script:
    """Find the settings and the comment that the target's database and roles lack.

    What only the target has stays as it is.

    Args:
        source: On the source.
        target: In autocommit mode, as the role that will run the script; roles have to be there already.
        chosen: Roles whose settings are not carried over.

    Raises:
        EngineError: One of them could not be read.
    """
    wanted, _, comment = _read(source, Side.SOURCE)
    found, database, found_comment = _read(target, Side.TARGET)
    existing = {setting.key: setting for setting in found}
    statements: list[ScriptStatement] = []
    same: list[str] = []
    for setting in wanted:
        if setting.role and chosen.reason(setting.role):
            continue
        about = f"{_shown(setting, database)}: {setting.setting}"
        if setting.is_same(existing.get(setting.key)):
            same.append(about)
        else:
            reason = _NOT_CARRIED.get(setting.setting.lower(), "")
            statements.append(ScriptStatement(about, _statement(setting, database), reason))
    if comment is not None and comment != found_comment:
        name = sql.Identifier(database).as_string()
        statements.append(
            ScriptStatement(
                f"database {quote_identifier(database)}: its comment",
                f"COMMENT ON DATABASE {name} IS {literal(comment)}",
            )
        )
    return Script(
        FILE_NAME,
        "Settings of the database and of roles that differ from the source",
        _tried(target, statements),
        tuple(same),
    )


def _read(session: Session, side: Side) -> tuple[list[_Setting], str, str | None]:
    """Settings, the database's name, its comment."""
    try:
        with session.cursor(row_factory=class_row(_Setting)) as cursor:
            settings = cursor.execute(_SETTINGS).fetchall()
        database = session.execute(_DATABASE).fetchone()
    except psycopg.Error as error:
        raise explain(error, side, "reading the settings of database and roles") from None
    assert database is not None  # It is the one we are connected to.
    return settings, str(database[0]), None if database[1] is None else str(database[1])


def _shown(setting: _Setting, database: str) -> str:
    here = f"database {quote_identifier(database)}"
    if setting.role:
        role = f"role {quote_identifier(setting.role)}"
        return f"{role} in {here}" if setting.in_database else role
    return here if setting.in_database else "all roles"


def _statement(setting: _Setting, database: str) -> str:
    name = sql.Identifier(database).as_string()
    if setting.role or not setting.in_database:
        where = f"ROLE {sql.Identifier(setting.role).as_string() if setting.role else 'ALL'}"
        if setting.in_database:
            where += f" IN DATABASE {name}"
    else:
        where = f"DATABASE {name}"
    values = elements(setting.setting, setting.value) if is_list(setting.setting) else None
    value = ", ".join(literal(one) for one in values or (setting.value,))
    parts = ".".join(sql.Identifier(part).as_string() for part in setting.setting.split("."))
    return f"ALTER {where} SET {parts} = {value}"


def _tried(target: Session, statements: Sequence[ScriptStatement]) -> tuple[ScriptStatement, ...]:
    """Run each statement for nothing, and set apart what is refused."""
    tried: list[ScriptStatement] = []
    try:
        target.execute("begin; savepoint attempt")
        for statement in statements:
            refused = ""
            if not statement.set_apart:
                try:
                    target.execute(statement.sql.encode())
                except psycopg.Error as error:
                    if target.closed or is_connection_loss(error):
                        raise
                    refused = message_of(error)
                target.execute("rollback to savepoint attempt")
            tried.append(replace(statement, set_apart=refused) if refused else statement)
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "trying settings") from None
    finally:
        if not target.closed:
            target.rollback()
    return tuple(tried)
