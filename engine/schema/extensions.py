"""The source's extensions, made on the target before all else, those that others need first.

Each goes into the schema it has on the source: types are named with their schema in everything that uses
them. The version is the target's own: a managed server offers one, and an extension's dump names none.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import psycopg
from psycopg import sql

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.providers.load import matches_any
from engine.schema.apply import OnResult, apply_statements, open_schema_session
from engine.schema.comparison import ApplyReport, ExtensionState, PlannedExtension, PlannedStatement

_INSTALLED = """
with recursive needs (oid, needed) as (
    select d.objid, d.refobjid
      from pg_catalog.pg_depend d
     where d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass
       and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
    union
    select needs.oid, d.refobjid
      from needs
      join pg_catalog.pg_depend d on d.objid = needs.needed
       and d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass
       and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
)
select e.extname::text, n.nspname::text, e.extversion
  from pg_catalog.pg_extension e
  join pg_catalog.pg_namespace n on n.oid = e.extnamespace
 order by (select pg_catalog.count(*) from needs where needs.oid = e.oid), e.extname
"""
"""Whoever needs another needs all that the other needs and the other itself, so more than it."""

_OFFERED = """
select x.name::text, x.default_version, x.installed_version, n.nspname::text
  from pg_catalog.pg_available_extensions x
  left join pg_catalog.pg_extension e on e.extname = x.name
  left join pg_catalog.pg_namespace n on n.oid = e.extnamespace
 where x.name = any (%s)
"""

_BUILT_IN = "pg_catalog"


def plan_extensions(
    source: Session, target: Session, left_out: Collection[str] = ()
) -> tuple[PlannedExtension, ...]:
    """What the target needs, in the order in which it can be made.

    Args:
        source, target: Sessions there.
        left_out: Patterns of extensions that are a provider's own affair.

    Raises:
        EngineError: A server could not be read.
    """
    try:
        installed = [
            (str(name), str(schema), str(version))
            for name, schema, version in source.execute(_INSTALLED).fetchall()
            if not matches_any(str(name), left_out)
        ]
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading its extensions") from None
    try:
        rows = target.execute(_OFFERED, ([name for name, _, _ in installed],)).fetchall()
        offered = {str(row[0]): row[1:] for row in rows}
        return tuple(
            _plan(target, name, schema, version, offered.get(name)) for name, schema, version in installed
        )
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading the extensions it offers") from None


def _plan(
    target: Session, name: str, schema: str, version: str, offered: tuple[object, ...] | None
) -> PlannedExtension:
    if offered is None:
        return PlannedExtension(name, schema, version, "", ExtensionState.UNAVAILABLE, is_older=False)
    default_version, installed_version, installed_schema = offered
    statement = ""
    if installed_version is None:
        state = ExtensionState.MISSING
        statement = _create(target, name, schema)
    else:
        state = ExtensionState.THERE if installed_schema == schema else ExtensionState.OTHER_SCHEMA
    target_version = str(installed_version or default_version or "")
    return PlannedExtension(
        name,
        schema,
        version,
        target_version,
        state,
        is_older=_numbers(target_version) < _numbers(version),
        statement=statement,
    )


def _create(target: Session, name: str, schema: str) -> str:
    create = sql.SQL("create extension if not exists {} with schema {}").format(
        sql.Identifier(name), sql.Identifier(schema)
    )
    if schema != _BUILT_IN:
        # Named explicitly it has to be there, even where the extension would make it.
        create = sql.SQL("create schema if not exists {}; ").format(sql.Identifier(schema)) + create
    return create.as_string(target)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def create_extensions(
    target: Endpoint, planned: Collection[PlannedExtension], on_result: OnResult | None = None
) -> ApplyReport:
    """Create those that are to be created; one that is refused does not keep the others from being made.

    Raises:
        ConnectionFailedError: The target cannot be reached or went away.
    """
    with open_schema_session(target) as session:
        return apply_statements(
            session, extension_statements(planned), all_or_nothing=False, on_result=on_result
        )


def extension_statements(planned: Collection[PlannedExtension]) -> tuple[PlannedStatement, ...]:
    """What creates those that are to be created, in their order."""
    return tuple(
        PlannedStatement(f"extension {extension.name}", extension.statement)
        for extension in planned
        if extension.statement
    )
