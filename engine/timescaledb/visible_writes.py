"""Settings of the source under which all that is written to hypertables is seen in its WAL as rows.

Two ways of writing are not (facts, "Invisible deletes and direct-compress inserts"): a DELETE that covers
whole batches of compressed rows (since 2.17, on by default), and INSERT or COPY straight into the columnstore
(since 2.21, off by default). Both can be switched off for a database, from its next sessions on. Chunks that
are made meanwhile get into the publication by themselves since 2.25, when a setting says so.

A role's own setting goes before the database's, so it is changed too where it says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.timescaledb.temporary_change import TemporaryChange

WANTED = {
    "timescaledb.enable_compressed_direct_batch_delete": "off",
    "timescaledb.enable_direct_compress_copy": "off",
    "timescaledb.enable_direct_compress_insert": "off",
    "timescaledb.enable_direct_compress_on_cagg_refresh": "off",
    "timescaledb.enable_chunk_auto_publication": "on",
}
"""Boolean settings of releases from 2.17 on, and what they have to be."""

_FALSE = frozenset(("off", "false", "no", "0", "of", "f", "fa", "fal", "fals", "n"))

_NOW = """
select s.name::text, s.setting::text
  from pg_catalog.pg_settings s
 where s.name = any (%s)
"""

_STORED = """
select coalesce(pg_catalog.pg_get_userbyid(nullif(d.setrole, 0))::text, '') as role,
       d.setdatabase <> 0 as in_database,
       pg_catalog.lower(pg_catalog.split_part(one.text, '=', 1)) as setting,
       pg_catalog.substr(one.text, pg_catalog.strpos(one.text, '=') + 1) as value
  from pg_catalog.pg_db_role_setting d
 cross join pg_catalog.unnest(d.setconfig) as one(text)
 where d.setdatabase in (0, (select b.oid from pg_catalog.pg_database b
                              where b.datname = pg_catalog.current_database()))
   and pg_catalog.lower(pg_catalog.split_part(one.text, '=', 1)) = any (%s)
 order by 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class _Stored:
    role: str
    """Empty for all roles."""

    in_database: bool
    setting: str
    value: str


def plan_visible_writes(session: Session) -> tuple[TemporaryChange, ...]:
    """What makes all writes visible, and what takes it back.

    Args:
        session: On the source, as the role that will do it.

    Returns:
        Nothing where the release has none of the settings, or all are as they should be.

    Raises:
        EngineError: The source could not be read.
    """
    now, stored = _read(session)
    changes = []
    for name, wanted in WANTED.items():
        if name not in now:
            continue
        entries = [one for one in stored if one.setting == name]
        differing = [one for one in entries if not _is(one.value, wanted)]
        of_database = next((one for one in entries if not one.role and one.in_database), None)
        is_stored = of_database is not None and _is(of_database.value, wanted)
        if not is_stored and (differing or not _is(now[name], wanted)):
            changes.append(_change(session, name, wanted, of_database, "", in_database=True))
        changes += [
            _change(session, name, wanted, one, one.role, in_database=one.in_database)
            for one in differing
            if one.role
        ]
    return tuple(changes)


def find_visible_writes(session: Session) -> tuple[TemporaryChange, ...]:
    """What takes back the database's settings that are as wanted, when no record says whose doing it was.

    Args:
        session: On the source.

    Raises:
        EngineError: The source could not be read.
    """
    _, stored = _read(session)
    return tuple(
        _change(session, one.setting, WANTED[one.setting], None, "", in_database=True)
        for one in stored
        if not one.role and one.in_database and _is(one.value, WANTED[one.setting])
    )


def _read(session: Session) -> tuple[dict[str, str], list[_Stored]]:
    names = [list(WANTED)]
    try:
        now = {str(name): str(value) for name, value in session.execute(_NOW, names).fetchall()}
        with session.cursor(row_factory=class_row(_Stored)) as cursor:
            return now, cursor.execute(_STORED, names).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading settings of TimescaleDB") from None


def _is(value: str, wanted: str) -> bool:
    return (value.lower() in _FALSE) == (wanted in _FALSE)


def _change(
    session: Session, name: str, wanted: str, before: _Stored | None, role: str, *, in_database: bool
) -> TemporaryChange:
    database = sql.Identifier(session.info.dbname)
    if not role:
        who, what = sql.SQL("alter database {}").format(database), "the database"
    elif in_database:
        who = sql.SQL("alter role {} in database {}").format(sql.Identifier(role), database)
        what = f"role {role} in the database"
    else:
        who, what = sql.SQL("alter role {}").format(sql.Identifier(role)), f"role {role}"
    setting = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
    put = sql.SQL("{} set {} = {}")
    if before is None:
        restore = sql.SQL("{} reset {}").format(who, setting)
    else:
        restore = put.format(who, setting, sql.Literal(before.value))
    return TemporaryChange(
        about=f"{name} for {what}: {wanted}",
        statement=put.format(who, setting, sql.Literal(wanted)).as_string(session),
        restore=restore.as_string(session),
    )
