"""Reads owners and access control lists of all objects of a database, from the catalogs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.privileges.acl import Acl, Right

_LARGE_OBJECTS_AT_MOST = 1000

_OURS_TO_LOOK_AT = """(n.nspname <> '_ts_live_sync'
   and not pg_catalog.starts_with(n.nspname::text, 'pg_toast')
   and not pg_catalog.starts_with(n.nspname::text, 'pg_temp_')
   and not pg_catalog.starts_with(n.nspname::text, '_timescaledb')
   and not pg_catalog.starts_with(n.nspname::text, 'timescaledb_'))"""

_SINCE_15 = """
union all
-- Parameters belong to the bootstrap superuser.
select 'PARAMETER', '', null,
       (select pg_catalog.string_agg(pg_catalog.quote_ident(part.name), '.' order by part.number)
          from pg_catalog.unnest(pg_catalog.string_to_array(p.parname, '.'))
               with ordinality as part(name, number)), '',
       'pg_parameter_acl', p.oid, 0, 10, p.paracl, 'p', false, false
  from pg_catalog.pg_parameter_acl p
"""

# Identity of a routine or operator: with an empty search_path these casts write every name with its schema.
_OBJECTS = """
with object (kind, alter_kind, schema, identity, part, class, oid, subid, owner, acl, acl_type, is_movable,
             is_system)
as materialized (
select 'SCHEMA', 'SCHEMA', null, pg_catalog.format('%I', n.nspname), '', 'pg_namespace', n.oid, 0, n.nspowner,
       n.nspacl, 'n'::"char",
       -- Of public, initdb made the bootstrap superuser or pg_database_owner the owner.
       n.nspname <> 'public' or n.nspowner not in (
           select r.oid from pg_catalog.pg_roles r where r.oid = 10 or r.rolname = 'pg_database_owner'),
       n.nspname in ('pg_catalog', 'information_schema', 'public')
  from pg_catalog.pg_namespace n
 where {visible}
union all
select case when c.relkind = 'S' then 'SEQUENCE' else 'TABLE' end,
       case c.relkind when 'S' then 'SEQUENCE' when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW'
                      when 'f' then 'FOREIGN TABLE' else 'TABLE' end,
       n.nspname, pg_catalog.format('%I.%I', n.nspname, c.relname), '', 'pg_class', c.oid, 0, c.relowner,
       c.relacl,
       case when c.relkind = 'S' then 's'::"char" else 'r'::"char" end,
       -- A serial's or identity's sequence goes where its table goes.
       not exists (select from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
                      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0
                      and c.relkind = 'S' and d.deptype in ('a', 'i')),
       {in_system_schema}
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relpersistence <> 't' and {visible}
union all
select 'TABLE', '', n.nspname, pg_catalog.format('%I.%I', n.nspname, c.relname),
       pg_catalog.format('%I', a.attname),
       'pg_class', c.oid, a.attnum, c.relowner, a.attacl, 'c', false, {in_system_schema}
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where a.attacl is not null and not a.attisdropped and {visible}
union all
select 'ROUTINE', 'ROUTINE', n.nspname, p.oid::pg_catalog.regprocedure::text, '', 'pg_proc',
       p.oid, 0, p.proowner,
       p.proacl, 'f',
       -- Constructors of a range type are the bootstrap superuser's, whoever makes the type.
       not exists (select from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid
                      and d.deptype = 'i'), {in_system_schema}
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where {visible}
union all
select 'TYPE', case when t.typtype = 'd' then 'DOMAIN' else 'TYPE' end,
       n.nspname, pg_catalog.format('%I.%I', n.nspname, t.typname), '', 'pg_type', t.oid, 0, t.typowner,
       t.typacl, 'T', true, {in_system_schema}
  from pg_catalog.pg_type t
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  left join pg_catalog.pg_class c on c.oid = t.typrelid
 where {visible}
   -- Arrays, multiranges and the row types of tables have what the type or table has.
   and t.typtype in ('b', 'c', 'd', 'e', 'p', 'r') and coalesce(c.relkind, 'c') = 'c'
   and not exists (select from pg_catalog.pg_type element where element.typarray = t.oid)
union all
select 'LANGUAGE', 'LANGUAGE', null, pg_catalog.format('%I', l.lanname), '',
       'pg_language', l.oid, 0, l.lanowner,
       l.lanacl, 'l', true, l.oid < 16384
  from pg_catalog.pg_language l
union all
select 'FOREIGN DATA WRAPPER', 'FOREIGN DATA WRAPPER', null, pg_catalog.format('%I', w.fdwname), '',
       'pg_foreign_data_wrapper', w.oid, 0, w.fdwowner, w.fdwacl, 'F', true, false
  from pg_catalog.pg_foreign_data_wrapper w
union all
select 'FOREIGN SERVER', 'SERVER', null, pg_catalog.format('%I', s.srvname),
       '', 'pg_foreign_server', s.oid, 0,
       s.srvowner, s.srvacl, 'S', true, false
  from pg_catalog.pg_foreign_server s
union all
-- Both databases are "the" database, whatever they are called.
select 'DATABASE', 'DATABASE', null, '', '', 'pg_database', d.oid, 0, d.datdba, d.datacl, 'd', true, false
  from pg_catalog.pg_database d
 where d.datname = pg_catalog.current_database()
union all
select 'LARGE OBJECT', 'LARGE OBJECT', null, b.oid::text, '', 'pg_largeobject', b.oid, 0, b.lomowner,
       b.lomacl, 'L', true, false
  from pg_catalog.pg_largeobject_metadata b
 where (select pg_catalog.count(*) from pg_catalog.pg_largeobject_metadata) <= %(large_objects_at_most)s
union all
select '', k.alter_kind, n.nspname, k.identity, '', k.class,
       k.oid, 0, k.owner, null, '-', true, {in_system_schema}
  from (select 'OPERATOR' as alter_kind, o.oid::pg_catalog.regoperator::text as identity,
               'pg_operator' as class, o.oid, o.oprowner as owner, o.oprnamespace as namespace
          from pg_catalog.pg_operator o
        union all
        select 'OPERATOR CLASS', pg_catalog.format('%I.%I USING %I', n.nspname, o.opcname, m.amname),
               'pg_opclass', o.oid, o.opcowner, o.opcnamespace
          from pg_catalog.pg_opclass o
          join pg_catalog.pg_namespace n on n.oid = o.opcnamespace
          join pg_catalog.pg_am m on m.oid = o.opcmethod
        union all
        select 'OPERATOR FAMILY', pg_catalog.format('%I.%I USING %I', n.nspname, o.opfname, m.amname),
               'pg_opfamily', o.oid, o.opfowner, o.opfnamespace
          from pg_catalog.pg_opfamily o
          join pg_catalog.pg_namespace n on n.oid = o.opfnamespace
          join pg_catalog.pg_am m on m.oid = o.opfmethod
        union all
        select 'COLLATION', pg_catalog.format('%I.%I', n.nspname, o.collname), 'pg_collation', o.oid,
               o.collowner, o.collnamespace
          from pg_catalog.pg_collation o join pg_catalog.pg_namespace n on n.oid = o.collnamespace
        union all
        select 'CONVERSION', pg_catalog.format('%I.%I', n.nspname, o.conname), 'pg_conversion', o.oid,
               o.conowner, o.connamespace
          from pg_catalog.pg_conversion o join pg_catalog.pg_namespace n on n.oid = o.connamespace
        union all
        select 'TEXT SEARCH DICTIONARY', pg_catalog.format('%I.%I', n.nspname, o.dictname), 'pg_ts_dict',
               o.oid, o.dictowner, o.dictnamespace
          from pg_catalog.pg_ts_dict o join pg_catalog.pg_namespace n on n.oid = o.dictnamespace
        union all
        select 'TEXT SEARCH CONFIGURATION', pg_catalog.format('%I.%I', n.nspname, o.cfgname), 'pg_ts_config',
               o.oid, o.cfgowner, o.cfgnamespace
          from pg_catalog.pg_ts_config o join pg_catalog.pg_namespace n on n.oid = o.cfgnamespace
        union all
        select 'STATISTICS', pg_catalog.format('%I.%I', n.nspname, o.stxname), 'pg_statistic_ext', o.oid,
               o.stxowner, o.stxnamespace
          from pg_catalog.pg_statistic_ext o
          join pg_catalog.pg_namespace n on n.oid = o.stxnamespace) k
  join pg_catalog.pg_namespace n on n.oid = k.namespace
 where {visible} and not {in_system_schema}
union all
select '', 'EVENT TRIGGER', null, pg_catalog.format('%I', t.evtname), '', 'pg_event_trigger', t.oid, 0,
       t.evtowner, null, '-', true, false
  from pg_catalog.pg_event_trigger t
{since_15}),
described as (
select o.*,
       o.is_system or extension.objid is not null as is_foreign,
       extension.objid is not null as of_extension, initial.initprivs
  from object o
  left join pg_catalog.pg_depend extension
         on extension.classid = ('pg_catalog.' || o.class)::pg_catalog.regclass and extension.objid = o.oid
        and extension.deptype = 'e'
  left join pg_catalog.pg_init_privs initial
         on initial.classoid = ('pg_catalog.' || o.class)::pg_catalog.regclass and initial.objoid = o.oid
        and initial.objsubid = o.subid)
select d.kind, d.alter_kind, coalesce(pg_catalog.quote_ident(d.schema), '') as schema,
       d.identity, d.part, d.acl_type::text as acl_type,
       owner.rolname::text as owner,
       d.is_movable and not d.of_extension
           and (not d.is_system or (d.kind = 'SCHEMA' and d.identity = '"public"')) as is_movable,
       d.is_foreign as is_system, {acl} as acl, {initial} as initial
  from described d
  join pg_catalog.pg_roles owner on owner.oid = d.owner
 where not d.is_foreign
    or %(unchanged_too)s
    or d.acl is distinct from d.initprivs
    or (d.is_movable and d.kind = 'SCHEMA' and d.identity = '"public"')
 order by d.kind, d.identity, d.part
"""

_ACL = """
case when {column} is null then null else
(select coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
            coalesce(grantor.rolname::text, owner.rolname::text),
            coalesce(grantee.rolname::text, ''), a.privilege_type, a.is_grantable)), '[]')
   from pg_catalog.aclexplode({column}) a
   left join pg_catalog.pg_roles grantor on grantor.oid = a.grantor
   left join pg_catalog.pg_roles grantee on grantee.oid = a.grantee
  where a.grantee = 0 or grantee.oid is not null) end"""

_DEFAULTS = """
select t.acl_type::text, a.grantee = 0, a.privilege_type
  from pg_catalog.unnest(%(types)s::"char"[]) t(acl_type),
       pg_catalog.aclexplode(pg_catalog.acldefault(t.acl_type, 10)) a
"""

_DEFAULT_PRIVILEGES = """
select owner.rolname::text as role, coalesce(pg_catalog.quote_ident(n.nspname), '') as schema,
       d.defaclobjtype::text as object_type, {acl} as acl
  from pg_catalog.pg_default_acl d
  join pg_catalog.pg_roles owner on owner.oid = d.defaclrole
  left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
 where n.oid is null or {visible}
 order by 1, 2, 3
"""

_ACL_TYPES = ("n", "r", "s", "f", "T", "l", "F", "S", "d", "L")

_COLUMN_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
_PARAMETER_PRIVILEGES = ("SET", "ALTER SYSTEM")


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """By what an object is known on both sides."""

    kind: str
    """As GRANT … ON calls it; of what has no privileges, as ALTER … OWNER does. Views are tables."""

    identity: str
    """As SQL, with its schema; empty for the database."""

    part: str = ""
    """A column, as SQL."""


@dataclass(frozen=True, slots=True)
class ObjectRights:
    """Who may do what with one object."""

    alter_kind: str
    schema: str
    """As SQL; empty for what is in none."""

    acl_type: str
    """``acldefault``'s letter; ``-`` for what has no privileges."""

    owner: str
    is_movable: bool
    """Whether its owner is set on its own, and may be."""

    is_system: bool
    """Whether PostgreSQL or an extension made it: only what was changed since then is carried over."""

    acl: Acl | None
    """None where nothing was ever granted or revoked."""

    initial: Acl | None
    """What a system object began with."""


@dataclass(frozen=True, slots=True)
class DefaultKey:
    """Whose new objects, and where."""

    role: str
    schema: str
    """As SQL; empty for all schemas."""

    object_type: str
    """``pg_default_acl.defaclobjtype``."""


@dataclass(frozen=True, slots=True)
class RightsCatalog:
    """All of one database."""

    roles: frozenset[str]
    """All of the server."""

    objects: Mapping[ObjectKey, ObjectRights]
    default_privileges: Mapping[DefaultKey, Acl]
    owner_defaults: Mapping[str, frozenset[str]]
    """By ``acldefault``'s letter, what an owner has of an object nobody granted anything of."""

    public_defaults: Mapping[str, frozenset[str]]
    """And what everybody has."""

    def known(self, acl_type: str) -> frozenset[str]:
        """All privileges that there are for a kind of object."""
        if acl_type == "c":
            return frozenset(_COLUMN_PRIVILEGES)
        if acl_type == "p":
            return frozenset(_PARAMETER_PRIVILEGES)
        return self.owner_defaults.get(acl_type, frozenset())

    def default(self, acl_type: str, owner: str) -> dict[Right, bool]:
        """The list of an object that nobody granted or revoked anything of."""
        of_owner = () if acl_type == "c" else self.known(acl_type)
        rights = {Right(owner, owner, one): False for one in of_owner}
        rights.update({Right(owner, "", one): False for one in self.public_defaults.get(acl_type, ())})
        return rights


@dataclass(frozen=True, slots=True)
class _ObjectRow:
    kind: str
    alter_kind: str
    schema: str
    identity: str
    part: str
    acl_type: str
    owner: str
    is_movable: bool
    is_system: bool
    acl: list[list[object]] | None
    initial: list[list[object]] | None


@dataclass(frozen=True, slots=True)
class _DefaultRow:
    role: str
    schema: str
    object_type: str
    acl: list[list[object]] | None


def read_rights(session: Session, side: Side, *, unchanged_too: bool) -> RightsCatalog:
    """Read owners and access control lists of a database.

    Args:
        session: On the database.
        side: Which one it is.
        unchanged_too: Also those of PostgreSQL's and extensions' objects that are as these made them.

    Raises:
        EngineError: They could not be read.
    """
    parts = {
        "{visible}": _OURS_TO_LOOK_AT,
        "{in_system_schema}": "(n.nspname in ('pg_catalog', 'information_schema'))",
        "{since_15}": _SINCE_15 if session.info.server_version >= 150000 else "",
        "{acl}": _ACL.replace("{column}", "d.acl"),
        "{initial}": _ACL.replace("{column}", "d.initprivs"),
    }
    defaults = _DEFAULT_PRIVILEGES.replace("{acl}", _ACL.replace("{column}", "d.defaclacl"))
    try:
        # Which words a server quotes depends on its version; names have to be the same text on both sides.
        session.execute("set quote_all_identifiers = on")
        with session.cursor(row_factory=class_row(_ObjectRow)) as cursor:
            objects = cursor.execute(
                _put(_OBJECTS.replace("%I", "%%I"), parts).encode(),
                {"unchanged_too": unchanged_too, "large_objects_at_most": _LARGE_OBJECTS_AT_MOST},
            ).fetchall()
        with session.cursor(row_factory=class_row(_DefaultRow)) as default_cursor:
            default_rows = default_cursor.execute(_put(defaults, parts).encode()).fetchall()
        roles = session.execute("select r.rolname::text from pg_catalog.pg_roles r").fetchall()
        templates = session.execute(_DEFAULTS, {"types": list(_ACL_TYPES)}).fetchall()
        session.execute("set quote_all_identifiers = off")
    except psycopg.Error as error:
        raise explain(error, side, "reading owners and privileges") from None
    return RightsCatalog(
        frozenset(str(name) for (name,) in roles),
        {
            ObjectKey(row.kind or row.alter_kind, row.identity, row.part): ObjectRights(
                row.alter_kind,
                row.schema,
                row.acl_type,
                row.owner,
                row.is_movable,
                row.is_system,
                _acl(row.acl),
                _acl(row.initial),
            )
            for row in objects
        },
        {DefaultKey(row.role, row.schema, row.object_type): _acl(row.acl) or {} for row in default_rows},
        _by_type(templates, for_public=False),
        _by_type(templates, for_public=True),
    )


def _put(query: str, parts: Mapping[str, str]) -> str:
    for mark, text in parts.items():
        query = query.replace(mark, text)
    return query


def _acl(rights: list[list[object]] | None) -> dict[Right, bool] | None:
    if rights is None:
        return None
    return {
        Right(str(grantor), str(grantee), str(privilege)): bool(grantable)
        for grantor, grantee, privilege, grantable in rights
    }


def _by_type(templates: list[tuple[object, ...]], *, for_public: bool) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for acl_type, is_public, privilege in templates:
        if is_public == for_public:
            found.setdefault(str(acl_type), set()).add(str(privilege))
    return {acl_type: frozenset(privileges) for acl_type, privileges in found.items()}
