"""Whether the target has what the source's extensions bring."""

from __future__ import annotations

import re

import psycopg

from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.checks.tables import counted, named
from engine.connection.explain import explain
from engine.errors import Side
from engine.providers.load import matches_any

_INSTALLED = """
select e.extname::text, e.extversion,
       exists (
           select from pg_catalog.pg_depend d
             join pg_catalog.pg_type t on t.oid = d.objid
             join pg_catalog.pg_attribute a on a.atttypid in (t.oid, t.typarray) and a.attnum > 0
             join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
            where d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.refobjid = e.oid
              and d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.deptype = 'e'
              and not a.attisdropped
              -- Its own tables do not count.
              and not exists (select from pg_catalog.pg_depend own
                               where own.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                                 and own.objid = c.oid and own.deptype = 'e')) as has_columns
  from pg_catalog.pg_extension e
 where e.extname <> 'plpgsql'
 order by e.extname
"""

_AVAILABLE = """
select x.name::text, coalesce(x.installed_version, x.default_version) as version
  from pg_catalog.pg_available_extensions x
 where x.name = any (%s)
"""


def check_extensions(source: Server, target: Server) -> tuple[Finding, Finding]:
    """The source's extensions against those the target offers, and their versions.

    Raises:
        EngineError: A server could not be read.
    """
    theirs = source.detected.provider.leave_out.extensions
    try:
        installed = [
            (str(name), str(version), bool(has_columns))
            for name, version, has_columns in source.session.execute(_INSTALLED).fetchall()
            if not matches_any(str(name), theirs) or has_columns
        ]
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading its extensions") from None
    try:
        names = [name for name, _, _ in installed]
        rows = target.session.execute(_AVAILABLE, [names]).fetchall()
        available = {str(name): str(version) for name, version in rows}
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "reading the extensions it offers") from None
    missing = {name: has_columns for name, _, has_columns in installed if name not in available}
    older = {
        name: (version, available[name])
        for name, version, _ in installed
        if name in available and _numbers(available[name]) < _numbers(version)
    }
    return _missing(target, missing, len(installed)), _versions(older)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _missing(target: Server, missing: dict[str, bool], installed: int) -> Finding:
    check = "extensions"
    if not missing:
        found = f"the target offers {'all ' if installed > 1 else 'the '}{counted(installed, 'extension')}"
        return ok(check, Side.TARGET, f"{found} of the source" if installed else "the source uses none")
    of_columns = [name for name, has_columns in missing.items() if has_columns]
    why = "What of the schema uses them cannot be restored"
    if of_columns:
        why += f"; columns have types of {named(of_columns)}, so their tables cannot be created"
    return trouble(
        check,
        Side.TARGET,
        Verdict.BLOCKS if of_columns else Verdict.WARNING,
        f"the target does not offer {named(missing)}",
        why,
        remedy=target.advisor.right("extension", extension=", ".join(missing)),
    )


def _versions(older: dict[str, tuple[str, str]]) -> Finding:
    check = "extension_versions"
    if not older:
        return ok(check, Side.TARGET, "none is older than on the source")
    listed = [f"{name} {source} → {target}" for name, (source, target) in older.items()]
    return trouble(
        check,
        Side.TARGET,
        Verdict.WARNING,
        named(listed),
        "An older version of an extension may lack functions, or read values in another way",
        remedy=by_hand(
            "Update them on the target, where a newer version is offered: alter extension … update"
        ),
    )
