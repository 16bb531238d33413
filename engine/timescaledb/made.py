"""What TimescaleDB made by itself in a database, which pg_dump writes as if a person had made it.

Chunks and compressed rows are tables for pg_dump, a continuous aggregate is a view on a table with a number
in its name, and releases before 2.23 have triggers on hypertables. None of it may be restored: the target's
TimescaleDB makes its own, with numbers of its own. What stands on a continuous aggregate can be restored only
once that is there (facts: "every ordinary view over an aggregate is lost").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psycopg

from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side
from engine.schema.archive import PG_CLASS, ArchiveEntry, SortedEntries
from engine.script.planned import Script, ScriptStatement

DEPENDENTS_FILE = "views_later.sql"

_EXTENSION = "select exists (select from pg_catalog.pg_extension e where e.extname = 'timescaledb')"

_MADE = """
with recursive aggregate as (
    select pg_catalog.format('%I.%I', a.user_view_schema, a.user_view_name)::pg_catalog.regclass::oid as oid
      from _timescaledb_catalog.continuous_agg a
), hypertable as (
    select c.oid
      from _timescaledb_catalog.hypertable h
      join pg_catalog.pg_namespace n on n.nspname = h.schema_name
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = h.table_name
), own as (
    select c.oid
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where pg_catalog.starts_with(n.nspname::text, '_timescaledb')
       -- What the extension came with is on the target too, and users have views on it.
       and not exists (select from pg_catalog.pg_depend d
                        where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
                          and d.deptype = 'e')
     union
    -- Chunks, wherever they were told to be.
    select i.inhrelid from pg_catalog.pg_inherits i join hypertable h on h.oid = i.inhparent
     union
    select s.oid from ({compressed}) s
), stranded as (
    select r.ev_class as oid
      from pg_catalog.pg_depend d
      join pg_catalog.pg_rewrite r on r.oid = d.objid
      join own on own.oid = d.refobjid
     where d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
       and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
       and r.ev_class not in (select a.oid from aggregate a)
)
select array (select o.oid::int8 from own o union select s.oid::int8 from stranded s) as relations,
       array (select a.oid::int8 from aggregate a) as aggregates,
       array (select h.oid::int8 from hypertable h
               where not exists (select from own o where o.oid = h.oid)) as hypertables,
       array (select coalesce(k.oid, i.indexrelid)::int8
                from pg_catalog.pg_index i
                left join pg_catalog.pg_constraint k
                  on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
               where i.indrelid in (select h.oid from hypertable h) and (i.indisunique or k.oid is not null))
           as keys,
       array (select e.oid::int8 from pg_catalog.pg_extension e where e.extname = 'timescaledb') as extension,
       array (select t.oid::int8
                from pg_catalog.pg_trigger t
                join pg_catalog.pg_depend d
                  on d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = t.tgfoid
                 and d.deptype = 'e'
                join pg_catalog.pg_extension e
                  on d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and e.oid = d.refobjid
               where e.extname = 'timescaledb' and not t.tgisinternal) as triggers
"""

_HAS_COMPRESSED = """
select exists (select from pg_catalog.pg_attribute a
                where a.attrelid = pg_catalog.to_regclass('_timescaledb_catalog.compression_settings')
                  and a.attname = 'compress_relid' and not a.attisdropped)
"""
_COMPRESSED = "select k.compress_relid::oid as oid from _timescaledb_catalog.compression_settings k"
_NOT_RECORDED = "select null::oid as oid where false"

_PG_CONSTRAINT = 2606
_PG_TRIGGER = 2620
_PG_EXTENSION = 3079

_ONLY = re.compile(r"^ALTER TABLE ONLY ", re.M)


@dataclass(frozen=True, slots=True)
class TimescaleMade:
    """Oids of what is TimescaleDB's own, and of the views that are continuous aggregates."""

    relations: frozenset[int] = frozenset()
    """Chunks, compressed rows, rows of aggregates with their views, and views of users on these."""

    aggregates: frozenset[int] = frozenset()
    hypertables: frozenset[int] = frozenset()
    """Users' tables that TimescaleDB only cuts into chunks."""

    keys: frozenset[int] = frozenset()
    """Their primary keys, unique and exclusion constraints, and unique indexes without a constraint."""

    extension: frozenset[int] = frozenset()
    """The extension itself."""

    triggers: frozenset[int] = frozenset()


def read_made(session: Session, side: Side) -> TimescaleMade:
    """What TimescaleDB made in a database; nothing without the extension.

    Args:
        session: On the database.
        side: Which one it is, for messages.

    Raises:
        EngineError: It could not be read.
    """
    try:
        if session.execute(_EXTENSION).fetchone() != (True,):
            return TimescaleMade()
        recorded = session.execute(_HAS_COMPRESSED).fetchone() == (True,)
        query = _MADE.replace("{compressed}", _COMPRESSED if recorded else _NOT_RECORDED)
        row = session.execute(query.encode()).fetchone()
    except psycopg.Error as error:
        raise explain(error, side, "reading what TimescaleDB made") from None
    assert row is not None  # A SELECT without FROM.
    return TimescaleMade(*(frozenset(oids) for oids in row if isinstance(oids, list)))


def sort_entries(entries: Sequence[ArchiveEntry], made: TimescaleMade) -> SortedEntries:
    """Tell which entries of an archive are restored, which are not, and which have to wait.

    An entry that needs one that is left out is left out as well: an index of a chunk, the comment on an
    aggregate. What needs an aggregate and is more than a word about it waits. The extension is left out: it
    can only be made by itself, before all else, and its comment belongs to whom the extension belongs.

    Args:
        entries: Of a whole database, each after what it needs.
        made: Read from that database.
    """
    extension: set[int] = set()
    left_out: set[int] = set()
    aggregates: set[int] = set()
    waiting: set[int] = set()
    kept: list[ArchiveEntry] = []
    out: list[ArchiveEntry] = []
    later: list[ArchiveEntry] = []
    for entry in entries:
        if entry.catalog_oid == _PG_EXTENSION and entry.oid in made.extension:
            extension.add(entry.id)
            out.append(entry)
        elif entry.dependencies and not entry.has_oid and entry.dependencies <= extension:
            out.append(entry)
        elif entry.catalog_oid == PG_CLASS and entry.oid in made.aggregates:
            aggregates.add(entry.id)
            out.append(entry)
        elif _is_own(entry, made) or not left_out.isdisjoint(entry.dependencies):
            left_out.add(entry.id)
            out.append(entry)
        elif not waiting.isdisjoint(entry.dependencies):
            waiting.add(entry.id)
            later.append(entry)
        elif not aggregates.isdisjoint(entry.dependencies):
            if entry.has_oid:
                waiting.add(entry.id)
                later.append(entry)
            else:
                out.append(entry)
        else:
            kept.append(entry)
    return SortedEntries(tuple(kept), tuple(out), tuple(later))


def _is_own(entry: ArchiveEntry, made: TimescaleMade) -> bool:
    if entry.catalog_oid == PG_CLASS:
        return entry.oid in made.relations
    return entry.catalog_oid == _PG_TRIGGER and entry.oid in made.triggers


@dataclass(frozen=True, slots=True)
class SplitPostData:
    """Post-data of an archive by when it can be made."""

    keys: tuple[ArchiveEntry, ...]
    """Keys of hypertables. They are made while these are still plain tables: ADD PRIMARY KEY is refused for a
    hypertable as pg_dump writes it (ALTER TABLE ONLY), and by older releases for one with a columnstore."""

    rest: tuple[ArchiveEntry, ...]
    """In words that hypertables take."""


def split_post_data(
    entries: Sequence[ArchiveEntry], relations: Mapping[int, int], made: TimescaleMade
) -> SplitPostData:
    """Tell what of the post-data has to be made before tables become hypertables.

    Args:
        entries: The post-data.
        relations: Of each table its entry's id and its oid.
        made: Read from the same database.
    """
    keys = []
    rest = []
    for entry in entries:
        if entry.oid in made.keys and entry.catalog_oid in (PG_CLASS, _PG_CONSTRAINT):
            keys.append(entry)
        elif any(relations.get(other) in made.hypertables for other in entry.dependencies):
            rest.append(replace(entry, statement=_ONLY.sub("ALTER TABLE ", entry.statement)))
        else:
            rest.append(entry)
    return SplitPostData(tuple(keys), tuple(rest))


def plan_dependents(missing: Sequence[ArchiveEntry], there: Sequence[str]) -> Script:
    """The script of what stands on continuous aggregates: ordinary views, and what stands on those.

    Args:
        missing: From :attr:`SortedEntries.later`, what the target lacks.
        there: What it has, in words.
    """
    return Script(
        DEPENDENTS_FILE,
        "Views on continuous aggregates, and what stands on them",
        tuple(
            ScriptStatement(f"{entry.kind.lower()} {entry.name}", entry.statement.rstrip().removesuffix(";"))
            for entry in missing
        ),
        tuple(there),
    )
