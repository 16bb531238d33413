"""Sets replica identities one by one, and puts them back.

They are put back only where nothing publishes the table's updates any more, or where the identity of before
names rows too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import psycopg
from psycopg.rows import class_row

from engine.catalog.lock_holders import hint_about, lock_holders
from engine.catalog.planned_identity import (
    IdentityOutcome,
    IdentityProposal,
    IdentityRecord,
    IdentityResult,
    IdentitySetting,
    IdentityUndo,
    LockHolder,
)
from engine.catalog.replica_identity import identity_statement, reachable
from engine.catalog.table import ReplicaIdentity, TableName, quote_identifier
from engine.catalog.user_schema import in_user_schemas
from engine.connection.explain import explain, is_connection_loss
from engine.connection.session import Session
from engine.errors import Failure, Retry, Side

LOCK_TIMEOUT_SECONDS = 3.0
"""A statement that waits for its lock makes the application wait behind it; 3 s is noticed by few."""

_SETTING = """
select n.nspname::text as schema_name, c.relname::text as table_name, c.relreplident::text as letter,
       (select x.relname::text from pg_catalog.pg_index i
          join pg_catalog.pg_class x on x.oid = i.indexrelid
         where i.indrelid = c.oid and i.indisreplident and i.indisvalid) as index,
       exists (
           select from pg_catalog.pg_index i
            where i.indrelid = c.oid and i.indisprimary and i.indimmediate and i.indisvalid) as has_key
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid = %s::int8::oid and c.relkind in ('r', 'p')
"""

_ALL_SETTINGS = in_user_schemas("""
select c.oid::int8, n.nspname::text as schema_name, c.relname::text as table_name,
       c.relreplident::text as letter,
       (select x.relname::text from pg_catalog.pg_index i
          join pg_catalog.pg_class x on x.oid = i.indexrelid
         where i.indrelid = c.oid and i.indisreplident and i.indisvalid) as index
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and c.relpersistence = 'p' and {user_schema}
""")

_PUBLISHES_UPDATES = """
with own as (
    select c.oid, c.relnamespace from pg_catalog.pg_class c where c.oid = %(oid)s::int8::oid
    union
    select c.oid, c.relnamespace
      from pg_catalog.pg_partition_ancestors(%(oid)s::int8::oid::regclass) as ancestor(relid)
      join pg_catalog.pg_class c on c.oid = ancestor.relid
)
select p.pubname::text
  from pg_catalog.pg_publication p
 where (p.pubupdate or p.pubdelete)
   and (p.puballtables
        or exists (select from pg_catalog.pg_publication_rel m
                     join own on own.oid = m.prrelid where m.prpubid = p.oid){in_schema})
 order by 1
"""

_IN_SCHEMA = """
        or exists (select from pg_catalog.pg_publication_namespace m
                     join own on own.relnamespace = m.pnnspid where m.pnpubid = p.oid)"""
"""Since PostgreSQL 15."""

_SET_LOCK_TIMEOUT = "select pg_catalog.set_config('lock_timeout', %s, true)"


@dataclass(frozen=True, slots=True)
class _Setting:
    schema_name: str
    table_name: str
    letter: str
    index: str | None
    has_key: bool

    @property
    def name(self) -> TableName:
        return TableName(self.schema_name, self.table_name)

    @property
    def setting(self) -> IdentitySetting:
        return IdentitySetting(ReplicaIdentity(self.letter), self.index)


def apply_identities(
    session: Session,
    proposals: Iterable[IdentityProposal],
    *,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    on_result: Callable[[IdentityResult], None] | None = None,
) -> tuple[IdentityResult, ...]:
    """Set the proposed identities, each in a transaction of its own: one that fails keeps no other back.

    Remember the proposals' records before (:func:`engine.catalog.planned_identity.remember`).

    Args:
        session: On the source, in autocommit mode.
        proposals: All of a plan, or those that a person chose.
        lock_timeout_seconds: How long each may wait for its lock, which makes the application wait behind it.
        on_result: Called after each.

    Raises:
        ConnectionFailedError: The session was lost; ``on_result`` was told what had been done.
    """
    results = []
    for proposal in proposals:
        record = proposal.record
        result = _change(
            session,
            record.oid,
            proposal.relation,
            proposal.sql,
            expected=record.before,
            wanted=record.after,
            lock_timeout_seconds=lock_timeout_seconds,
        )
        results.append(result)
        if on_result is not None:
            on_result(result)
    return tuple(results)


def read_identity_settings(session: Session) -> Mapping[int, tuple[TableName, IdentitySetting]]:
    """The replica identity of every table of the user's, by oid.

    Args:
        session: On the source.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        rows = session.execute(_ALL_SETTINGS.encode()).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading replica identities") from None
    return {
        int(str(oid)): (
            TableName(str(schema), str(table)),
            IdentitySetting(ReplicaIdentity(letter), None if index is None else str(index)),
        )
        for oid, schema, table, letter, index in rows
    }


def changed_identities(
    session: Session,
    before: Mapping[int, tuple[TableName, IdentitySetting]],
    after: Mapping[int, tuple[TableName, IdentitySetting]],
) -> tuple[IdentityRecord, ...]:
    """What undoes the difference between two readings of :func:`read_identity_settings`."""
    return tuple(
        IdentityRecord(oid, name, before[oid][1], setting, identity_statement(session, name, before[oid][1]))
        for oid, (name, setting) in after.items()
        if oid in before and before[oid][1] != setting
    )


def undo_identities(
    session: Session,
    records: Iterable[IdentityRecord],
    *,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    on_result: Callable[[IdentityResult], None] | None = None,
) -> tuple[IdentityResult, ...]:
    """Put back what was there before, each in a transaction of its own.

    Left as they are: a relation that was dropped or changed by somebody else since, and one whose updates
    something still publishes and whose identity of before would make them fail. The publication goes first.

    Args:
        session: On the source, in autocommit mode.
        records: What was remembered; the last change is put back first, so that partitions come before
            their root.
        lock_timeout_seconds: How long each may wait for its lock, which makes the application wait behind it.
        on_result: Called after each.

    Raises:
        ConnectionFailedError: The session was lost; ``on_result`` was told what had been done.
    """
    results = []
    for record in reversed(tuple(records)):
        result = _undo(session, record, lock_timeout_seconds)
        results.append(result)
        if on_result is not None:
            on_result(result)
    return tuple(results)


def preview_undo(
    session: Session, records: Iterable[IdentityRecord], *, without: Collection[str] = ()
) -> tuple[IdentityUndo, ...]:
    """What :func:`undo_identities` would do now, in its order; changes nothing.

    Args:
        session: On the source.
        records: What was remembered.
        without: Publications that are gone by then, unquoted.

    Returns:
        Nothing about relations that are as they were, or are gone.

    Raises:
        EngineError: The source could not be read.
    """
    found = (_undo_of(session, record, without) for record in reversed(tuple(records)))
    return tuple(undo for undo in found if undo is not None)


def _undo_of(session: Session, record: IdentityRecord, without: Collection[str] = ()) -> IdentityUndo | None:
    """What has to be done; None when nothing."""
    try:
        found = _read_setting(session, record.oid)
        publications = [] if found is None else _publications_of_updates(session, record.oid)
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading replica identities") from None
    # Whoever dropped it took its identity along.
    if found is None or found.setting == reachable(record.before):
        return None
    undo = IdentityUndo(found.name, identity_statement(session, found.name, record.before))
    if found.setting != record.after:
        return replace(undo, left=_changed_by_others(found.name, found))
    publishing = [name for name in publications if name not in without]
    if publishing and not _names_rows(found, record.before):
        named = ", ".join(map(quote_identifier, publishing))
        failure = Failure(
            f"{found.name} is still published by {named}, and {record.before} would make its updates fail",
            hint="Drop the publication or take the table out of it, then undo again",
            side=Side.SOURCE,
        )
        return replace(undo, left=failure)
    return undo


def _undo(session: Session, record: IdentityRecord, lock_timeout_seconds: float) -> IdentityResult:
    undo = _undo_of(session, record)
    if undo is None:
        return IdentityResult(record.relation, record.undo_sql, IdentityOutcome.ALREADY_THERE)
    if undo.left is not None:
        return IdentityResult(undo.relation, undo.sql, IdentityOutcome.LEFT, undo.left)
    return _change(
        session,
        record.oid,
        undo.relation,
        undo.sql,
        expected=record.after,
        wanted=reachable(record.before),
        lock_timeout_seconds=lock_timeout_seconds,
    )


def _names_rows(found: _Setting, setting: IdentitySetting) -> bool:
    """Whether updates can be published with ``setting``."""
    if setting.identity is ReplicaIdentity.DEFAULT:
        return found.has_key
    return setting.identity is ReplicaIdentity.FULL or (
        setting.identity is ReplicaIdentity.INDEX and setting.index is not None
    )


def _read_setting(session: Session, oid: int) -> _Setting | None:
    with session.cursor(row_factory=class_row(_Setting)) as cursor:
        return cursor.execute(_SETTING, (oid,)).fetchone()


def _publications_of_updates(session: Session, oid: int) -> list[str]:
    in_schema = _IN_SCHEMA if session.info.server_version >= 150000 else ""
    query = _PUBLISHES_UPDATES.replace("{in_schema}", in_schema)
    return [str(name) for (name,) in session.execute(query.encode(), {"oid": oid}).fetchall()]


def _change(
    session: Session,
    oid: int,
    relation: TableName,
    statement: str,
    *,
    expected: IdentitySetting,
    wanted: IdentitySetting,
    lock_timeout_seconds: float,
) -> IdentityResult:
    """Run one statement, unless it is done already or somebody else changed the identity.

    Raises:
        ConnectionFailedError: The session was lost.
    """
    started = time.monotonic()
    try:
        found = _read_setting(session, oid)
        if found is not None and found.setting == wanted:
            return IdentityResult(relation, statement, IdentityOutcome.ALREADY_THERE)
        if found is None or found.setting != expected or found.name != relation:
            return IdentityResult(
                relation, statement, IdentityOutcome.LEFT, _changed_by_others(relation, found)
            )
        with session.transaction():
            session.execute(_SET_LOCK_TIMEOUT, (f"{lock_timeout_seconds * 1000:.0f}ms",))
            session.execute(statement.encode())
    except psycopg.Error as error:
        explained = explain(error, Side.SOURCE, f"setting the replica identity of {relation}")
        if session.closed or is_connection_loss(error):
            raise explained from None
        failure = explained.failure
        holders: tuple[LockHolder, ...] = ()
        if isinstance(error, psycopg.errors.LockNotAvailable):
            holders = lock_holders(session, [relation], is_exclusive=True)
            failure = replace(failure, hint=hint_about(holders), retry=Retry.MANUAL)
        seconds = time.monotonic() - started
        return IdentityResult(relation, statement, IdentityOutcome.REFUSED, failure, holders, seconds)
    seconds = time.monotonic() - started
    return IdentityResult(relation, statement, IdentityOutcome.APPLIED, seconds=seconds)


def _changed_by_others(relation: TableName, found: _Setting | None) -> Failure:
    if found is None:
        title = f"{relation} does not exist any more"
    elif found.name != relation:
        title = f"{relation} is called {found.name} now"
    else:
        title = f"Somebody else has changed the replica identity of {relation}: it is {found.setting} now"
    return Failure(title, hint="Look again, and decide anew", side=Side.SOURCE)
