"""What must hold before hypertables are migrated: where it does not, changes would be lost without a word.

TimescaleDB writes markers around changes that only move rows between a chunk's two forms (2.16). Two things
it does leave no trace in the stream at all: a DELETE that takes away whole batches of a columnstore, and rows
that are written straight into one. Settings switch both off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.catalog.table import TableName, quote_identifier
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side
from engine.timescaledb.published import has_timescaledb

_PUBLISHED_BEFORE_15 = """
with published as (
    select p.oid as publication, p.pubname::text, p.pubowner, g.relid
      from pg_catalog.pg_publication p,
           lateral pg_catalog.pg_get_publication_tables(p.pubname::text) as g(relid)
     where p.pubname = any (%s)
), limited (relid) as (select null::oid where false)
"""

_PUBLISHED_SINCE_15 = """
with published as (
    select p.oid as publication, p.pubname::text, p.pubowner, g.relid
      from pg_catalog.pg_publication p,
           lateral pg_catalog.pg_get_publication_tables(p.pubname::text) as g
     where p.pubname = any (%s)
), limited as (
    select m.prrelid as relid
      from pg_catalog.pg_publication_rel m
      join published p on p.publication = m.prpubid and p.relid = m.prrelid
     where m.prqual is not null or m.prattrs is not null
)
"""

_HYPERTABLES = """
, hypertable as (
    select c.oid, t.id, n.nspname, c.relname, (pg_catalog.to_jsonb(t) ->> 'status')::int4 as status,
           coalesce((pg_catalog.to_jsonb(t) ->> 'replication_factor')::int4, 0) > 0 as is_distributed
      from _timescaledb_catalog.hypertable t
      join pg_catalog.pg_namespace n on n.nspname = t.schema_name
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
     where exists (select from _timescaledb_catalog.dimension d where d.hypertable_id = t.id)
)
select n.nspname::text as schema, c.relname::text as table,
       h.oid is not null as is_hypertable,
       exists (select from _timescaledb_catalog.continuous_agg a
                where a.mat_hypertable_id = coalesce(h.id, up.id)) as is_aggregate,
       coalesce(h.is_distributed, false) as is_distributed,
       up.oid is not null as is_chunk,
       exists (select from published p where p.relid = up.oid) as is_with_hypertable,
       exists (select from limited l where l.relid = c.oid) as is_limited,
       coalesce((select v.compression_enabled from timescaledb_information.hypertables v
                  where v.hypertable_schema = n.nspname and v.hypertable_name = c.relname), false)
           as has_columnstore,
       -- Of a hypertable's status the bit 8, since 2.29.
       coalesce(h.status, 0) & 8 <> 0 and exists (
           select from pg_catalog.pg_extension e
            where e.extname = 'timescaledb'
              and pg_catalog.string_to_array(pg_catalog.split_part(e.extversion, '-', 1), '.')::int4[]
                  >= array[2, 29]) as compresses_directly,
       exists (select from pg_catalog.pg_inherits i join pg_catalog.pg_class part on part.oid = i.inhrelid
                where i.inhparent = h.oid and part.relkind = 'f') as has_tiered_chunks,
       pg_catalog.pg_has_role(c.relowner, 'usage')
           and not exists (select from published p
                            where p.relid = c.oid and not pg_catalog.pg_has_role(p.pubowner, 'usage'))
           as may_publish
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join hypertable h on h.oid = c.oid
  left join pg_catalog.pg_inherits i on i.inhrelid = c.oid
  left join hypertable up on up.oid = i.inhparent
 where c.oid in (select p.relid from published p)
   and (h.oid is not null or up.oid is not null or n.nspname like E'\\\\_timescaledb\\\\_%%')
 order by 1, 2
"""

_SETTINGS = """
select (select e.extversion from pg_catalog.pg_extension e where e.extname = 'timescaledb') as version,
       pg_catalog.current_setting('timescaledb.enable_compression_wal_markers', true) as markers,
       coalesce(pg_catalog.current_setting('timescaledb.enable_chunk_auto_publication', true), '')
           = 'on' as publishes_chunks,
       array (
           select name
             from (select name, pg_catalog.current_setting(name, true) as value
                     from pg_catalog.unnest(%(invisible)s::text[]) as name
                   union all
                   select pg_catalog.split_part(set.entry, '=', 1), pg_catalog.split_part(set.entry, '=', 2)
                     from pg_catalog.pg_db_role_setting s
                    cross join lateral pg_catalog.unnest(s.setconfig) as set(entry)
                    where s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d
                                                 where d.datname = pg_catalog.current_database()))
                      and s.setrole <> 0
                      and pg_catalog.split_part(set.entry, '=', 1) = any (%(invisible)s::text[])) found
            where pg_catalog.lower(value) in ('on', 'true', 'yes', '1', 't', 'y')
            group by name order by name) as invisible
"""

_INVISIBLE = (
    "timescaledb.enable_compressed_direct_batch_delete",
    "timescaledb.enable_direct_compress_copy",
    "timescaledb.enable_direct_compress_insert",
    "timescaledb.enable_direct_compress_on_cagg_refresh",
)

_MARKERS_SINCE = (2, 16)


@dataclass(frozen=True, slots=True)
class _Published:
    schema: str
    table: str
    is_hypertable: bool
    is_aggregate: bool
    is_distributed: bool
    is_chunk: bool
    is_with_hypertable: bool
    is_limited: bool
    has_columnstore: bool
    compresses_directly: bool
    has_tiered_chunks: bool
    may_publish: bool

    @property
    def name(self) -> TableName:
        return TableName(self.schema, self.table)


@dataclass(frozen=True, slots=True)
class _Settings:
    version: str
    markers: str | None
    publishes_chunks: bool
    invisible: list[str]


def require_hypertables_ready(session: Session, publications: Sequence[str], *, copy_data: bool) -> bool:
    """Refuse published hypertables of which rows or changes would be missed.

    Args:
        session: On the source.
        publications: Names of existing publications.
        copy_data: Whether rows are copied; chunks that are made later need that.

    Returns:
        Whether hypertables are published.

    Raises:
        BlockedError: Says which and why.
        EngineError: The source could not be read.
    """
    if not has_timescaledb(session, Side.SOURCE):
        return False
    head = _PUBLISHED_SINCE_15 if session.info.server_version >= 150000 else _PUBLISHED_BEFORE_15
    try:
        with session.cursor(row_factory=class_row(_Published)) as cursor:
            tables = cursor.execute((head + _HYPERTABLES).encode(), (list(publications),)).fetchall()
        hypertables = [table for table in tables if table.is_hypertable]
        with session.cursor(row_factory=class_row(_Settings)) as settings_cursor:
            settings = settings_cursor.execute(_SETTINGS.encode(), {"invisible": list(_INVISIBLE)}).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading its hypertables") from None
    assert settings is not None
    _require_own_tables(tables)
    for table in hypertables:
        _require_whole(table)
    if hypertables and not copy_data:
        raise _blocked(
            f"The hypertable {hypertables[0].name} is published, and a subscription that copies no rows "
            "would miss those of chunks that are made later",
            "Leave out --copy-data=false, or take hypertables out of the publication",
        )
    if not settings.publishes_chunks:
        for table in hypertables:
            _require_rights(session, table)
    for table in hypertables:
        if table.has_columnstore:
            _require_visible_changes(session, table, settings)
    return bool(hypertables)


def _require_own_tables(tables: Sequence[_Published]) -> None:
    for table in tables:
        if table.is_aggregate:
            raise _blocked(
                f"{table.name}, which keeps the rows of a continuous aggregate, is published; on the target "
                "an aggregate has another table",
                "Take it out of the publication; the aggregate is filled on the target from its hypertable",
            )
        if table.is_chunk and not table.is_with_hypertable:
            raise _blocked(
                f"The chunk {table.name} is published without its hypertable",
                "Publish the hypertable, or take the chunk out of the publication",
            )
        if not (table.is_chunk or table.is_hypertable):
            raise _blocked(
                f"{table.name} is TimescaleDB's own, and writing it on the target would corrupt that",
                "Take it out of the publication (publish tables or schemas of yours only)",
            )


def _require_whole(table: _Published) -> None:
    if table.is_distributed:
        raise _blocked(
            f"{table.name} is a distributed hypertable, whose rows are on other servers",
            "Make it an ordinary hypertable, or leave it out",
        )
    if table.is_limited:
        raise _blocked(
            f"The hypertable {table.name} is published with a column list or a row filter, which its new "
            "chunks would not have",
            "Publish it whole",
        )
    if table.has_tiered_chunks:
        raise _blocked(
            f"The hypertable {table.name} has tiered chunks, whose rows would not be copied",
            "Bring them back first: select untier_chunk(…)",
        )


def _require_rights(session: Session, table: _Published) -> None:
    if not table.may_publish:
        raise _blocked(
            f"The role {session.info.user} may not add new chunks of {table.name} to the publication, and "
            "their rows would be missed",
            "Connect as the owner of the publication and of the hypertable; or, since TimescaleDB 2.25, on "
            "the source: alter system set timescaledb.enable_chunk_auto_publication = on; "
            "select pg_reload_conf();",
        )


def _require_visible_changes(session: Session, table: _Published, settings: _Settings) -> None:
    numbers = tuple(int(part) for part in settings.version.split("-")[0].split(".")[:2])
    if numbers < _MARKERS_SINCE:
        raise _blocked(
            f"The hypertable {table.name} has compression, and TimescaleDB {settings.version} does not mark "
            "in its changes what only compresses and decompresses: rows would be doubled or lost",
            "Update the extension to 2.16 or newer: alter extension timescaledb update. Or decompress the "
            "hypertable's chunks and switch its compression off until the migration is over",
        )
    if settings.markers != "on":
        raise _blocked(
            "The source has timescaledb.enable_compression_wal_markers = "
            f"{settings.markers}, and compressing chunks of {table.name} would lose rows on the target",
            "On the source: alter system reset timescaledb.enable_compression_wal_markers; "
            "select pg_reload_conf();",
        )
    if table.compresses_directly:
        raise _blocked(
            f"The hypertable {table.name} has direct_compress: rows that are written straight into its "
            "columnstore are in no change that is sent",
            f"Until the migration is over, on the source: alter table {table.name} "
            "set (timescaledb.direct_compress = false)",
        )
    if settings.invisible:
        database = quote_identifier(session.info.dbname)
        orders = "; ".join(f"alter database {database} set {name} = off" for name in settings.invisible)
        raise _blocked(
            f"The source has {', '.join(settings.invisible)} = on, and what that changes in the columnstore "
            f"of {table.name} is in no change that is sent",
            f"Until the migration is over, on the source: {orders}; then have the application connect anew "
            "(roles that have their own setting: alter role … in database … reset …)",
        )


def _blocked(title: str, hint: str) -> BlockedError:
    return BlockedError(Failure(title, hint=hint, side=Side.SOURCE, retry=Retry.MANUAL))
