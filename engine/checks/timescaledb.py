"""What a source with TimescaleDB needs of both servers; nothing is said of one without."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from engine.catalog.table import quote_identifier
from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.server import Server
from engine.checks.tables import counted, named
from engine.connection.explain import explain
from engine.errors import Side
from engine.providers.fix import Fix
from engine.timescaledb.catalog import TimescaleCatalog
from engine.timescaledb.hypertable_scripts import plan_hypertables
from engine.timescaledb.installation import Installation
from engine.timescaledb.pause import CHANGES_CHUNKS
from engine.timescaledb.read_catalog import read_catalog, read_installation
from engine.timescaledb.read_refills import decide_refills
from engine.timescaledb.refill import RefillWay
from engine.timescaledb.visible_writes import plan_visible_writes

OLDEST_SOURCE = (2, 10)
OLDEST_TARGET = (2, 16)

_MARKERS_SINCE = (2, 16)
"""What is compressed and decompressed is told apart from what users write, in the WAL itself."""

_AUTO_PUBLICATION_SINCE = (2, 25)
_COMPARISON_SECONDS = 2.0
"""How long one aggregate's oldest bucket is computed here; the decision itself takes more time."""

_OFFERED = """
select exists (select from pg_catalog.pg_available_extensions x where x.name = 'timescaledb')
"""

# Rows of hypertables' catalog rows as JSON: not every release has each of these columns.
_STATE = """
select pg_catalog.current_setting('timescaledb.enable_compression_wal_markers', true) = 'off' as no_markers,
       (select pg_catalog.count(*)
          from _timescaledb_catalog.chunk k
         where coalesce((pg_catalog.to_jsonb(k) ->> 'osm_chunk')::bool, false)) as tiered,
       exists (select from _timescaledb_catalog.chunk k
                where k.status & 1 = 1
                  and not coalesce((pg_catalog.to_jsonb(k) ->> 'dropped')::bool, false)) as is_compressed,
       array (
           select pg_catalog.format('%I.%I', h.schema_name, h.table_name)
             from _timescaledb_catalog.hypertable h
            where coalesce((pg_catalog.to_jsonb(h) ->> 'status')::int, 0) & 8 = 8
            order by 1) as direct,
       pg_catalog.pg_has_role(d.datdba, 'usage') as owns_database,
       pg_catalog.pg_get_userbyid(d.datdba)::text as database_owner
  from pg_catalog.pg_database d
 where d.datname = pg_catalog.current_database()
"""

_FOREIGN = """
select pg_catalog.pg_get_userbyid(c.relowner)::text, pg_catalog.format('%I.%I', h.schema_name, h.table_name)
  from _timescaledb_catalog.hypertable h
  join pg_catalog.pg_namespace n on n.nspname = h.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = h.table_name
 where not pg_catalog.pg_has_role(c.relowner, 'usage')
   -- Rows of an aggregate belong to whom it belongs; compressed ones, up to 2.28, have no dimensions.
   and h.id not in (select a.mat_hypertable_id from _timescaledb_catalog.continuous_agg a)
   and exists (select from _timescaledb_catalog.dimension d where d.hypertable_id = h.id)
 order by 1, 2
"""


@dataclass(frozen=True, slots=True)
class _State:
    """Of the source, beside its catalog."""

    has_no_markers: bool
    tiered_chunks: int
    is_compressed: bool
    direct: tuple[str, ...]
    """Hypertables that are written straight into the columnstore."""

    owns_database: bool
    database_owner: str
    foreign: tuple[tuple[str, str], ...]
    """Owner and hypertable where the role is not a member of the owner."""


def check_timescaledb(source: Server, target: Server) -> tuple[Finding, ...]:
    """The checks of TimescaleDB on both sides, in the order they are shown.

    Raises:
        EngineError: A server could not be read.
    """
    installed = read_installation(source.session, Side.SOURCE)
    if installed is None:
        return ()
    if installed.version < OLDEST_SOURCE:
        return (_too_old_source(installed),)
    catalog = read_catalog(source.session, Side.SOURCE)
    assert catalog is not None  # It was there a moment ago.
    state = _read_state(source)
    return (
        ok("timescaledb", Side.SOURCE, f"{_said(installed)}: {_contents(catalog)}"),
        _markers(source, catalog, state),
        _hidden_writes(source, catalog, state),
        *_direct_tables(state),
        _new_chunks(source, catalog, state),
        *_tiered(state),
        _jobs(catalog),
        *_aggregates(source, catalog),
        *_target(target, catalog),
    )


def _read_state(source: Server) -> _State:
    try:
        row = source.session.execute(_STATE).fetchone()
        foreign = source.session.execute(_FOREIGN).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the state of its hypertables") from None
    assert row is not None  # Every session is in a database.
    no_markers, tiered, is_compressed, direct, owns_database, owner = row
    assert isinstance(direct, list)
    return _State(
        has_no_markers=no_markers is True,
        tiered_chunks=int(str(tiered)),
        is_compressed=is_compressed is True,
        direct=tuple(map(str, direct)),
        owns_database=owns_database is True,
        database_owner=str(owner),
        foreign=tuple((str(role), str(name)) for role, name in foreign),
    )


def _said(installation: Installation) -> str:
    return f"TimescaleDB {installation.version_text}, {installation.edition.value}"


def _contents(catalog: TimescaleCatalog) -> str:
    parts = [counted(len(catalog.hypertables), "hypertable")]
    if catalog.aggregates:
        parts.append(counted(len(catalog.aggregates), "continuous aggregate"))
    if catalog.jobs:
        parts.append(counted(len(catalog.jobs), "job"))
    return ", ".join(parts)


def _numbers(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _too_old_source(installed: Installation) -> Finding:
    return trouble(
        "timescaledb",
        Side.SOURCE,
        Verdict.BLOCKS,
        _said(installed),
        f"Hypertables can be read from TimescaleDB {_numbers(OLDEST_SOURCE)} on",
        remedy=by_hand(
            "Update it: alter extension timescaledb update, in a new session, as its first statement"
        ),
    )


def _has_columnstore(catalog: TimescaleCatalog, state: _State) -> bool:
    of_tables = any(table.columnstore is not None for table in catalog.hypertables)
    return (
        state.is_compressed or of_tables or any(view.columnstore is not None for view in catalog.aggregates)
    )


def _markers(source: Server, catalog: TimescaleCatalog, state: _State) -> Finding:
    check, version = "compression_markers", catalog.installation.version
    if not _has_columnstore(catalog, state):
        return ok(check, Side.SOURCE, "nothing is compressed")
    if version < _MARKERS_SINCE:
        return trouble(
            check,
            Side.SOURCE,
            Verdict.WARNING,
            f"compressed chunks on TimescaleDB {catalog.installation.version_text}",
            f"Before {_numbers(_MARKERS_SINCE)} the WAL does not tell rows that users write from rows that "
            "TimescaleDB moves while it compresses and decompresses: an update or delete in a compressed "
            "chunk "
            "sends the rows of its batch a second time",
            remedy=by_hand(
                f"Update the source to {_numbers(_MARKERS_SINCE)} or newer. Or do not update, delete, "
                "compress "
                "or decompress rows of compressed chunks until the cutover, and verify before it"
            ),
        )
    if not state.has_no_markers:
        return ok(check, Side.SOURCE, "written into the WAL")
    return trouble(
        check,
        Side.SOURCE,
        Verdict.BLOCKS,
        "timescaledb.enable_compression_wal_markers = off",
        "Rows that TimescaleDB moves while it compresses and decompresses would count as written by users",
        remedy=Fix(
            sql=(
                "alter system reset timescaledb.enable_compression_wal_markers",
                "select pg_catalog.pg_reload_conf()",
            ),
            applicable=source.advisor.is_superuser,
            words="It may also stand in the server's configuration file, or among the provider's parameters",
        ),
    )


def _hidden_writes(source: Server, catalog: TimescaleCatalog, state: _State) -> Finding:
    check = "hidden_writes"
    if not _has_columnstore(catalog, state):
        return ok(check, Side.SOURCE, "nothing is compressed")
    changes = plan_visible_writes(source.session)
    if not changes:
        return ok(check, Side.SOURCE, "every write is seen as rows")
    found = named(change.about for change in changes)
    why = (
        "A DELETE of whole batches of compressed rows, and rows written straight into the columnstore, are "
        "in no "
        "WAL record of a row: they would be missed"
    )
    reconnect = "Sessions that are open at that moment keep the old setting: have the application reconnect"
    if state.owns_database or source.advisor.is_superuser:
        words = f"run sets it when it starts, and drop puts it back. {reconnect}"
        return trouble(check, Side.SOURCE, Verdict.WARNING, f"to be set: {found}", why, remedy=by_hand(words))
    return trouble(
        check,
        Side.SOURCE,
        Verdict.WARNING,
        f"to be set by {quote_identifier(state.database_owner)}: {found}",
        why,
        remedy=Fix(
            sql=tuple(change.statement for change in changes),
            words=f"Run this as the database's owner. {reconnect}. To put it back after the cutover: "
            + "; ".join(change.restore for change in changes),
        ),
    )


def _direct_tables(state: _State) -> tuple[Finding, ...]:
    if not state.direct:
        return ()
    return (
        trouble(
            "direct_compress",
            Side.SOURCE,
            Verdict.BLOCKS,
            f"written straight into the columnstore: {named(state.direct)}",
            "Such rows are in no WAL record of a row, so none of them would be replicated",
            remedy=Fix(
                sql=tuple(
                    f"alter table {table} set (timescaledb.direct_compress = false)" for table in state.direct
                ),
                words="This also removes the compaction policies that came with it. "
                "After the cutover, set it on the target again",
            ),
        ),
    )


def _new_chunks(source: Server, catalog: TimescaleCatalog, state: _State) -> Finding:
    check = "new_chunks"
    if not state.foreign or source.advisor.is_superuser:
        if catalog.installation.version >= _AUTO_PUBLICATION_SINCE:
            return ok(check, Side.SOURCE, "get into the publication when they are made")
        return ok(check, Side.SOURCE, "are added to the publication, and copied, as they are found")
    owners = sorted({owner for owner, _ in state.foreign})
    rights = [
        source.advisor.right("ownership", owner=sql.Identifier(owner).as_string(source.session))
        for owner in owners
    ]
    return trouble(
        check,
        Side.SOURCE,
        Verdict.WARNING,
        f"{source.role} does not own {named(name for _, name in state.foreign)}",
        "Only a chunk's owner can add it to a publication: what is written into chunks that are made "
        "during the "
        "migration would be missed, and policies cannot be paused",
        remedy=replace(rights[0], sql=tuple(statement for right in rights for statement in right.sql)),
    )


def _tiered(state: _State) -> tuple[Finding, ...]:
    if not state.tiered_chunks:
        return ()
    return (
        trouble(
            "tiered_chunks",
            Side.SOURCE,
            Verdict.WARNING,
            f"{counted(state.tiered_chunks, 'chunk')} with rows in object storage",
            "Such rows are in a foreign table: they are not published, and the target gets them only by a "
            "query",
            remedy=by_hand(
                "Bring them back before the copy: call untier_chunk(…); or copy them once by hand, and tier "
                "them again on the target"
            ),
        ),
    )


def _jobs(catalog: TimescaleCatalog) -> Finding:
    check = "chunk_jobs"
    waiting = [job for job in catalog.jobs if job.is_scheduled and job.kind in CHANGES_CHUNKS]
    if not waiting:
        return ok(check, Side.SOURCE, "no job would compress or drop chunks meanwhile")
    return trouble(
        check,
        Side.SOURCE,
        Verdict.WARNING,
        f"{counted(len(waiting), 'policy').replace('policys', 'policies')} that change chunks: "
        f"{named(waiting)}",
        "A chunk that is compressed, recompressed or dropped while it is copied is copied wrongly, or again",
        remedy=by_hand(
            "run pauses them when it starts, and drop lets them go on, as they were. Until then chunks stay "
            "uncompressed and old ones stay: have room for it on the source's disk"
        ),
    )


def _aggregates(source: Server, catalog: TimescaleCatalog) -> tuple[Finding, ...]:
    if not catalog.aggregates:
        return ()
    check = "continuous_aggregates"
    refills = decide_refills(source.session, catalog, _COMPARISON_SECONDS)
    copied = [refill for refill in refills if refill.way is RefillWay.COPY]
    lost = [refill for refill in refills if refill.way is RefillWay.LOSE]
    parts = []
    if recomputed := len(refills) - len(copied) - len(lost):
        parts.append(f"{recomputed} computed again from their rows")
    if copied:
        reasons = named(f"{refill.aggregate} ({refill.reason})" for refill in copied)
        parts.append(f"{len(copied)} copied: {reasons}")
    if not lost:
        return (ok(check, Side.SOURCE, "; ".join(parts)),)
    parts.append(f"{len(lost)} lost in part: {named(refill.aggregate for refill in lost)}")
    return (
        trouble(
            check,
            Side.SOURCE,
            Verdict.WARNING,
            "; ".join(parts),
            "They are of the form before TimescaleDB 2.7, which keeps no results that could be copied, and "
            "rows "
            "they were made of are gone",
            remedy=by_hand("Convert them on the source first: call cagg_migrate(…)"),
        ),
    )


def _target(target: Server, catalog: TimescaleCatalog) -> tuple[Finding, ...]:
    found = read_catalog(target.session, Side.TARGET)
    if found is None:
        return (_no_extension(target, catalog),)
    installed = found.installation
    if installed.version < OLDEST_TARGET:
        why = f"Hypertables can be made from TimescaleDB {_numbers(OLDEST_TARGET)} on"
        words = (
            "Update it there: alter extension timescaledb update, in a new session, as its first statement"
        )
        too_old = trouble(
            "timescaledb", Side.TARGET, Verdict.BLOCKS, _said(installed), why, remedy=by_hand(words)
        )
        return (too_old,)
    return (_edition(catalog, installed), *_dimensions(catalog, found))


def _no_extension(target: Server, catalog: TimescaleCatalog) -> Finding:
    check = "timescaledb"
    try:
        is_offered = target.session.execute(_OFFERED).fetchone() == (True,)
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for TimescaleDB") from None
    if is_offered:
        return trouble(
            check,
            Side.TARGET,
            Verdict.BLOCKS,
            "the server offers TimescaleDB, the database does not have it",
            f"The source has {_contents(catalog)}",
            remedy=target.advisor.own_sql("create extension timescaledb schema public"),
        )
    return trouble(
        check,
        Side.TARGET,
        Verdict.WARNING,
        "the server does not offer TimescaleDB",
        f"Of {_contents(catalog)}, hypertables become plain tables, and all else is left out",
        remedy=target.advisor.right("extension", extension="timescaledb"),
    )


def _edition(catalog: TimescaleCatalog, installed: Installation) -> Finding:
    check = "timescaledb"
    stores = sum(table.columnstore is not None for table in catalog.hypertables)
    lacks = [
        counted(count, noun)
        for count, noun in (
            (stores, "columnstore"),
            (len(catalog.aggregates), "continuous aggregate"),
            (len(catalog.jobs), "job"),
        )
        if count
    ]
    if installed.is_full or not lacks:
        return ok(check, Side.TARGET, _said(installed))
    return trouble(
        check,
        Side.TARGET,
        Verdict.WARNING,
        f"{_said(installed)}; left out: {', '.join(lacks)}",
        "The Apache edition has hypertables and chunks only; all else goes on without",
        remedy=by_hand(
            "Where the server has the full edition: alter system set timescaledb.license = 'timescale', and "
            "restart. Or choose a target that has it"
        ),
    )


def _dimensions(catalog: TimescaleCatalog, found: TimescaleCatalog) -> tuple[Finding, ...]:
    reasons: dict[str, list[str]] = {}
    for script in plan_hypertables(catalog, found):
        for statement in script.set_apart:
            reasons.setdefault(statement.set_apart, []).append(statement.about)
    if not reasons:
        return ()
    return (
        trouble(
            "hypertables",
            Side.TARGET,
            Verdict.WARNING,
            "; ".join(f"{named(abouts)}: {reason}" for reason, abouts in reasons.items()),
            "These are not made as they are on the source; their rows go on into plain tables",
            remedy=by_hand("Choose a target with a newer TimescaleDB, or go on without"),
        ),
    )
