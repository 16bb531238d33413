"""Reads what TimescaleDB knows of a database, for every release from 2.10 on.

Views of ``timescaledb_information`` are taken where all releases have them, catalog tables where these say
more. A column that not every release has is taken out of the row as JSON; a table that moved is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.installation import Edition, Installation
from engine.timescaledb.read_aggregates import read_aggregates
from engine.timescaledb.read_columnstores import read_columnstores
from engine.timescaledb.read_hypertables import read_hypertables
from engine.timescaledb.read_jobs import read_jobs

_INSTALLATION = """
select e.extversion::text as version, n.nspname::text as schema,
       pg_catalog.current_setting('timescaledb.license', true) as license,
       current_user::text as role,
       (select pg_catalog.array_agg(r.rolname::text) from pg_catalog.pg_roles r) as roles,
       (select pg_catalog.jsonb_object_agg(f.name, f.arguments)
          from (select p.proname::text as name,
                       coalesce(pg_catalog.jsonb_agg(distinct a.name) filter (where a.name <> ''), '[]')
                           as arguments
                  from pg_catalog.pg_depend d
                  join pg_catalog.pg_proc p on p.oid = d.objid
                  left join lateral pg_catalog.unnest(p.proargnames) a(name) on true
                 where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.deptype = 'e'
                   and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.refobjid = e.oid
                   and p.pronamespace = n.oid
                 group by 1) f) as functions
  from pg_catalog.pg_extension e
  join pg_catalog.pg_namespace n on n.oid = e.extnamespace
 where e.extname = 'timescaledb'
"""

_FULL_LICENSE = "timescale"


@dataclass(frozen=True, slots=True)
class _InstallationRow:
    version: str
    schema: str
    license: str | None
    role: str
    roles: list[str]
    functions: dict[str, list[str]]


def read_installation(session: Session, side: Side) -> Installation | None:
    """Which TimescaleDB a database has; None without the extension.

    Args:
        session: On the database.
        side: Which one it is, for messages.

    Raises:
        EngineError: It could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_InstallationRow)) as cursor:
            row = cursor.execute(_INSTALLATION).fetchone()
    except psycopg.Error as error:
        raise explain(error, side, "reading what TimescaleDB it has") from None
    if row is None:
        return None
    return Installation(
        version_text=row.version,
        edition=Edition.FULL if row.license == _FULL_LICENSE else Edition.APACHE,
        schema=row.schema,
        arguments={name: frozenset(arguments) for name, arguments in row.functions.items()},
        role=row.role,
        roles=frozenset(row.roles),
    )


def read_catalog(session: Session, side: Side) -> TimescaleCatalog | None:
    """All hypertables, continuous aggregates and jobs of a database; None without the extension.

    Args:
        session: On the database.
        side: Which one it is, for messages.

    Raises:
        EngineError: It could not be read.
    """
    installation = read_installation(session, side)
    if installation is None:
        return None
    try:
        columnstores = read_columnstores(session, installation)
        return TimescaleCatalog(
            installation,
            read_hypertables(session, columnstores),
            read_aggregates(session, columnstores),
            read_jobs(session),
        )
    except psycopg.Error as error:
        raise explain(error, side, "reading TimescaleDB's catalog") from None
