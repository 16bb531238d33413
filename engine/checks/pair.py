"""What only shows when both servers are looked at together; what there is to fix is on the target."""

from __future__ import annotations

import psycopg

from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.identity import DatabaseIdentity, read_identity
from engine.checks.server import Server
from engine.checks.tables import counted, named
from engine.connection.explain import explain
from engine.errors import Side

# The columns have changed their names between versions, so they are read by name from the row's JSON.
_DATABASE_COLLATION = """
select case coalesce(d.row ->> 'datlocprovider', 'c')
            when 'c' then 'libc' when 'i' then 'icu' else 'builtin' end,
       coalesce(d.row ->> 'datlocale', d.row ->> 'daticulocale', d.row ->> 'datcollate'),
       d.row ->> 'datctype'
  from (select pg_catalog.to_jsonb(x) as row
          from pg_catalog.pg_database x
         where x.datname = pg_catalog.current_database()) d
"""

_USED_COLLATIONS = """
select distinct l.collname::text
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_collation l on l.oid = a.attcollation
 where c.relkind in ('r', 'p', 'v', 'm', 'c', 'f') and a.attnum > 0 and not a.attisdropped
   and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
   -- Others are part of the schema and are made on the target.
   and l.collnamespace = 'pg_catalog'::pg_catalog.regnamespace
 order by 1
"""

_PRESENT_COLLATIONS = """
select l.collname::text
  from pg_catalog.pg_collation l
 where l.collnamespace = 'pg_catalog'::pg_catalog.regnamespace and l.collname = any (%s)
   and l.collencoding in (-1, (select d.encoding from pg_catalog.pg_database d
                                where d.datname = pg_catalog.current_database()))
"""


def check_pair(source: Server, target: Server) -> tuple[Finding, ...]:
    """The checks that compare the two servers, in the order they are shown.

    Raises:
        EngineError: A server could not be read.
    """
    source_identity = read_identity(source.session, Side.SOURCE)
    target_identity = read_identity(target.session, Side.TARGET)
    return (
        check_different(source_identity, target_identity),
        _major_versions(source.version_number, target.version_number),
        _encodings(source_identity, target_identity),
        _database_collation(source, target),
        _column_collations(source, target),
    )


def _warning(check: str, found: str, why: str, fix: str) -> Finding:
    return trouble(check, Side.TARGET, Verdict.WARNING, found, why, remedy=by_hand(fix))


def check_different(source: DatabaseIdentity, target: DatabaseIdentity) -> Finding:
    """Whether source and target are two databases."""
    check = "different_databases"
    if source.is_same_database(target):
        return trouble(
            check,
            Side.TARGET,
            Verdict.BLOCKS,
            f"source and target are the same database {target.database}",
            "Replicating a database into itself would copy every row onto itself without end",
            remedy=by_hand("Check the two connection strings"),
        )
    if target.is_copied_from(source):
        return _warning(
            check,
            "the target's server was made from a physical copy of the source's",
            "Its tables may already hold rows, which the copy would add again",
            "Empty the target's tables first, or check that this is another, empty database",
        )
    return ok(check, Side.TARGET, "two databases")


def _major_versions(source_version: int, target_version: int) -> Finding:
    source_major, target_major = source_version // 10000, target_version // 10000
    found = f"{source_major} → {target_major}"
    if target_major >= source_major:
        return ok("major_versions", Side.TARGET, found)
    return _warning(
        "major_versions",
        found,
        "The target is older than the source: parts of the schema may use what it does not know",
        f"Create the target with PostgreSQL {source_major} or newer, or expect to edit the schema",
    )


def _encodings(source: DatabaseIdentity, target: DatabaseIdentity) -> Finding:
    found = f"{source.encoding} → {target.encoding}"
    if source.encoding == target.encoding:
        return ok("encodings", Side.TARGET, found)
    return _warning(
        "encodings",
        found,
        "Text is converted on its way; a character that the target's encoding lacks, or bytes that are "
        "not text in the source's, stop their table",
        f"Create the target database with encoding {source.encoding}, or with UTF8 where all text is valid",
    )


def _database_collation(source: Server, target: Server) -> Finding:
    (source_provider, source_collation, source_ctype), (target_provider, target_collation, target_ctype) = (
        _collation_of(source),
        _collation_of(target),
    )
    found = f"{source_collation} ({source_provider}) → {target_collation} ({target_provider})"
    same = (source_provider, _spelled(source_collation)) == (target_provider, _spelled(target_collation))
    if same and _spelled(source_ctype) == _spelled(target_ctype):
        return ok("collation", Side.TARGET, found)
    return _warning(
        "collation",
        found if not same else f"{found}, ctype {source_ctype} → {target_ctype}",
        "Text sorts and compares in another order on the target: ORDER BY, ranges of text keys and of "
        "partitions, upper() and lower() may give other results. Rows themselves are not changed",
        f"Create the target database with the source's: locale_provider {source_provider}, "
        f"locale {source_collation}. Where there can be no other database, check what the application sorts",
    )


def _collation_of(server: Server) -> tuple[str, str, str]:
    try:
        row = server.session.execute(_DATABASE_COLLATION).fetchone()
    except psycopg.Error as error:
        raise explain(error, server.side, "reading its collation") from None
    assert row is not None  # Every session is in a database.
    provider, collation, ctype = row
    return str(provider), str(collation), str(ctype)


def _spelled(locale: str) -> str:
    """``en_US.UTF-8`` and ``en_US.utf8`` are one."""
    return locale.lower().replace("-", "")


def _column_collations(source: Server, target: Server) -> Finding:
    check = "column_collations"
    try:
        used = [str(name) for (name,) in source.session.execute(_USED_COLLATIONS).fetchall()]
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading its collations") from None
    try:
        present = {name for (name,) in target.session.execute(_PRESENT_COLLATIONS, [used]).fetchall()}
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading its collations") from None
    missing = [name for name in used if name not in present]
    if not missing:
        return ok(check, Side.TARGET, "all that columns use are there")
    return _warning(
        check,
        f"{counted(len(missing), 'collation')} of columns that the target lacks: {named(missing)}",
        "The tables that use them cannot be created as they are",
        "Install the operating system's locale on the target and: "
        "select pg_catalog.pg_import_system_collations('pg_catalog'); "
        "or create collation with that name there, or edit the schema",
    )
