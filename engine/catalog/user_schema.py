"""Which schemas are the user's own: not PostgreSQL's, not an extension's, not ours."""

from __future__ import annotations

_MARK = "{user_schema}"

_USER_SCHEMA = """(n.nspname not in ('information_schema', '_ts_live_sync')
   and not pg_catalog.starts_with(n.nspname::text, 'pg_')
   and not pg_catalog.starts_with(n.nspname::text, '_timescaledb')
   and not pg_catalog.starts_with(n.nspname::text, 'timescaledb_')
   and not exists (
       select from pg_catalog.pg_depend of_extension
        where of_extension.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
          and of_extension.objid = n.oid and of_extension.deptype = 'e'))"""


def in_user_schemas(query: str) -> str:
    """``query`` with the condition on ``pg_namespace n`` in the place of ``{user_schema}``."""
    assert _MARK in query
    return query.replace(_MARK, _USER_SCHEMA)
