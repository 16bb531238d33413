"""Tries whether the migration's role can do its work: by logging in as it and doing some of it."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.user_schema import in_user_schemas
from engine.checks.finding import Finding, Verdict
from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session, open_session
from engine.errors import EngineError, Side

_TABLES = in_user_schemas("""
select q.name, q.is_readable, q.is_owned, q.is_filtered
  from (select pg_catalog.format('%I.%I', n.nspname, c.relname) as name,
               pg_catalog.has_schema_privilege(n.oid, 'usage')
                   and pg_catalog.has_table_privilege(c.oid, 'select') as is_readable,
               c.relkind = 'S' or pg_catalog.pg_has_role(c.relowner, 'usage') as is_owned,
               -- Owners are exempt from their tables' policies only while these are not forced.
               c.relrowsecurity and not (select r.rolbypassrls or r.rolsuper from pg_catalog.pg_roles r
                                          where r.rolname = current_user)
                   and (c.relforcerowsecurity or not pg_catalog.pg_has_role(c.relowner, 'usage'))
                   as is_filtered
          from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p', 'S') and c.relpersistence = 'p' and {user_schema}) q
 where not q.is_readable or not q.is_owned or q.is_filtered
 order by q.name
""")

_MAY_CREATE = "select pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')"


@dataclass(frozen=True, slots=True)
class _Problem:
    name: str
    is_readable: bool
    is_owned: bool
    is_filtered: bool


def check_migration_user(endpoint: Endpoint) -> tuple[Finding, ...]:
    """Log in as the role, plain and for replication, and look at what it may do.

    Args:
        endpoint: The source, with the role's name and password.

    Returns:
        Findings in the order they are shown. When the login fails there is only that.

    Raises:
        EngineError: The source could not be read after the login.
    """
    try:
        session = open_session(endpoint, "check of the role")
    except EngineError as error:
        return (_finding("role_login", Verdict.BLOCKS, error.failure.sentence(), "Nothing works without"),)
    with session:
        return (
            _finding("role_login", Verdict.OK, f"logs in as {session.info.user}"),
            _replication(endpoint),
            *_rights(session),
        )


def _finding(check: str, verdict: Verdict, found: str, why: str = "", fix: str = "") -> Finding:
    return Finding(check, Side.SOURCE, verdict, found, why, fix)


def _replication(endpoint: Endpoint) -> Finding:
    try:
        session = open_session(endpoint, "check of replication", replication=True)
    except EngineError as error:
        return _finding(
            "role_replication",
            Verdict.BLOCKS,
            error.failure.sentence(),
            "Changes arrive over a replication connection",
            "Apply the script for the migration's role as a role that may give REPLICATION",
        )
    session.close()
    return _finding("role_replication", Verdict.OK, "opens a replication connection")


def _rights(session: Session) -> tuple[Finding, ...]:
    try:
        may_create = session.execute(_MAY_CREATE).fetchone()
        with session.cursor(row_factory=class_row(_Problem)) as cursor:
            problems = cursor.execute(_TABLES).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading what the role may do") from None
    return (
        _finding("role_create", Verdict.OK, "may make the publication")
        if may_create == (True,)
        else _finding(
            "role_create",
            Verdict.BLOCKS,
            "may not make the publication",
            "A publication belongs to the database, which asks for CREATE",
            "Apply the script for the migration's role",
        ),
        _about_tables(
            "role_select",
            [one.name for one in problems if not one.is_readable],
            "reads all tables and sequences",
            "not readable",
            "Their rows cannot be copied",
        ),
        _about_tables(
            "role_ownership",
            [one.name for one in problems if not one.is_owned],
            "may publish all tables",
            "owned by others",
            "Only a table's owner, or a member of that role, may put it into a publication",
        ),
        _about_tables(
            "role_row_security",
            [one.name for one in problems if one.is_filtered],
            "sees all rows",
            "with row-level security that hides rows",
            "Reading them fails instead of leaving rows out without a word",
        ),
    )


def _about_tables(check: str, names: list[str], good: str, bad: str, why: str) -> Finding:
    if not names:
        return _finding(check, Verdict.OK, good)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return _finding(
        check,
        # A table that is left out of the publication does no harm.
        Verdict.WARNING,
        f"{bad}: {names[0]}{more}",
        why,
        "Apply the script for the migration's role as the owner or a superuser, or leave these tables out",
    )
