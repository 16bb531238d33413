"""Compares a publication with the tables that were chosen, and makes it so.

A published table without a replica identity refuses UPDATE and DELETE to the application, so a plan is
refused while a chosen table has none (:mod:`engine.catalog.replica_identity` says how to give it one), unless
only inserts are published. The order keeps the application running too: a table is added under its new place
before it is taken from the old one; kinds of changes are added when the tables that were not chosen have
left, and taken away before others come.

FOR ALL TABLES is never made: it takes in tables that nobody chose, those of TimescaleDB's catalog among
them, whose rows would corrupt the target's (seed "4. Publication").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from engine.catalog.lock_holders import hint_about, lock_holders
from engine.catalog.planned import PlannedStatement, PublicationPlan
from engine.catalog.planned_identity import MissingRight
from engine.catalog.publication_facts import Member, Publication, read_publications
from engine.catalog.publication_limits import limit_note, require_limits_allow_updates, require_limits_kept
from engine.catalog.publication_offer import ALL_TABLES_COST
from engine.catalog.publication_rights import missing_rights
from engine.catalog.publication_schemas import tables_of_schemas
from engine.catalog.replica_identity import plan_for_trees
from engine.catalog.table import TableName, quote_identifier
from engine.catalog.tables import Relation, TableTree, read_table_trees, table_problem
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side, UsageError
from engine.timescaledb.published import has_timescaledb, read_parts

_EVERYTHING = "insert, update, delete, truncate"
_INSERTS = "insert, truncate"
"""What needs no replica identity."""

_LOCK_TIMEOUT = "set local lock_timeout = '3s'"
"""A statement that waits for its lock makes the application wait behind it; 3 s is noticed by few."""

_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class _Step:
    """One statement about the publication, before it is text."""

    statement: sql.Composed
    why: str
    locks: tuple[TableName, ...] = ()


def plan_publication(
    session: Session,
    publication: str,
    tables: Collection[TableName],
    *,
    schemas: Collection[str] = (),
    with_updates: bool = True,
    identities_come_first: bool = False,
) -> PublicationPlan:
    """Find what is missing before the source publishes exactly ``tables``.

    Column lists and row filters of tables that stay in the publication stay too; the plan's notes name them.

    Args:
        session: On the source.
        publication: Unquoted name.
        tables: What to publish; a partitioned table stands for all its partitions.
        schemas: Schemas to publish whole (FOR TABLES IN SCHEMA, PostgreSQL 15 and later): with all their
            tables, chosen or not, and those that will be made later. A schema that the publication has is
            kept without being named here, while all its tables are chosen.
        with_updates: Whether updates and deletes are published too; otherwise inserts and truncates only, for
            tables that nobody updates.
        identities_come_first: Whether to plan for tables without a replica identity too, because they get one
            before the plan is applied.

    Raises:
        UsageError: No table was chosen.
        BlockedError: A table or schema does not exist or cannot be published as it is, or the publication is
            FOR ALL TABLES, or a column list or row filter would be lost or would make updates fail, or
            nothing names the rows of a table whose updates are to be published.
        EngineError: The source could not be read.
    """
    in_schemas = tables_of_schemas(session, schemas)
    if not tables and not in_schemas:
        raise UsageError(Failure("No tables are chosen", hint="Choose at least one table", side=Side.SOURCE))
    trees = read_table_trees(session, frozenset((*tables, *in_schemas)))
    _require_all(tables, trees)
    _require_publishable(trees, session.info.server_version)
    existing = next(iter(read_publications(session, publication)), None)
    if existing is None:
        steps = [_create(publication, trees, schemas, with_updates=with_updates)]
        kept: tuple[Member, ...] = ()
    else:
        _require_choosable(existing)
        existing = _without_chunks(session, existing, trees)
        wanted = {tree.root.oid for tree in trees}
        kept = tuple(member for member in existing.members if member.oid in wanted)
        require_limits_kept(existing, kept, schemas)
        if with_updates:
            require_limits_allow_updates(session, publication, kept, trees)
        steps = _changes(existing, trees, schemas, with_updates=with_updates)
    if with_updates and not identities_come_first:
        _require_identities(session, trees)
    rights: tuple[MissingRight, ...] = ()
    if steps:
        rights = missing_rights(session, existing, _added(existing, trees, steps), schemas)
    return PublicationPlan(
        publication,
        tuple(PlannedStatement(step.statement.as_string(session), step.why, step.locks) for step in steps),
        (
            *(limit_note(member) for member in kept if member.is_limited),
            *_schema_notes(existing, trees, schemas),
        ),
        tuple(dict.fromkeys(rights)),
        is_new=existing is None,
    )


def apply_plan(session: Session, plan: PublicationPlan) -> None:
    """Run the statements of a plan one by one, each in a transaction of its own.

    What ran before a failure stays, and planning again leaves it out.

    Args:
        session: On the source, in autocommit mode.
        plan: As :func:`plan_publication` made it.

    Raises:
        EngineError: What PostgreSQL said about the first statement that failed, with the statement.
    """
    for statement in plan.statements:
        try:
            with session.transaction():
                session.execute(_LOCK_TIMEOUT)
                session.execute(statement.sql.encode())
        except psycopg.Error as error:
            explained = explain(error, Side.SOURCE, "changing what it publishes")
            failure = explained.failure
            hint, retry = failure.hint, failure.retry
            if isinstance(error, psycopg.errors.LockNotAvailable):
                hint = hint_about(lock_holders(session, statement.locks, is_exclusive=False))
                retry = Retry.MANUAL
            detail = f"{failure.detail}; the statement was: {statement.sql}"
            raise type(explained)(replace(failure, detail=detail, hint=hint, retry=retry)) from None


def _blocked(title: str, hint: str) -> BlockedError:
    return BlockedError(Failure(title, hint=hint, side=Side.SOURCE, retry=Retry.MANUAL))


def _require_choosable(existing: Publication) -> None:
    if existing.all_tables:
        raise BlockedError(
            Failure(
                f"The publication {quote_identifier(existing.name)} cannot be used. {ALL_TABLES_COST}",
                hint="Use another publication name; it is then made for the chosen tables",
                side=Side.SOURCE,
                retry=Retry.NEVER,
            )
        )


def _require_all(tables: Collection[TableName], trees: Sequence[TableTree]) -> None:
    missing = sorted(set(tables) - {tree.root.name for tree in trees})
    if not missing:
        return
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    raise BlockedError(
        Failure(
            f"The source has no table {missing[0]}{more}",
            hint="Read the table list again and choose from it",
            side=Side.SOURCE,
            retry=Retry.NEVER,
        )
    )


def _require_publishable(trees: Sequence[TableTree], version_number: int) -> None:
    """Refuse what would make the application's own statements fail, or lose changes without a word."""
    for tree in trees:
        problem = table_problem(tree, version_number)
        if problem is not None:
            raise BlockedError(
                Failure(
                    f"Table {tree.root.name} cannot be published: {problem}",
                    hint="Change that, or leave the table out",
                    side=Side.SOURCE,
                    retry=Retry.MANUAL,
                )
            )


def _without_chunks(session: Session, existing: Publication, trees: Sequence[TableTree]) -> Publication:
    """The publication without the chunks of hypertables that are wanted: they come and go with these.

    Raises:
        EngineError: The source could not be read.
    """
    if not existing.members or not has_timescaledb(session, Side.SOURCE):
        return existing
    wanted = {tree.root.oid for tree in trees}
    try:
        parts = read_parts(session, [member.oid for member in existing.members])
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the chunks that are published") from None
    return replace(
        existing,
        members=tuple(
            member
            for member in existing.members
            if member.oid in wanted
            or member.oid not in parts
            or parts[member.oid].hypertable_oid not in wanted
        ),
    )


def _identifier(name: TableName) -> sql.Identifier:
    return sql.Identifier(name.schema, name.table)


def _table_list(relations: Iterable[tuple[TableName, bool]]) -> sql.Composed:
    """Tables for a publication statement; ``only`` keeps inheritance children out, which were not chosen."""
    return sql.SQL(", ").join(
        sql.SQL("only {}" if has_children else "{}").format(_identifier(name))
        for name, has_children in relations
    )


def _roots(trees: Iterable[TableTree]) -> sql.Composed:
    return _table_list((tree.root.name, tree.root.has_children) for tree in trees)


def _schema_list(schemas: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, schemas))


def _require_identities(session: Session, trees: Sequence[TableTree]) -> None:
    """Refuse tables whose updates and deletes would fail as soon as they are published."""
    proposals = plan_for_trees(session, trees).proposals
    if not proposals:
        return
    unnamed = list(dict.fromkeys(proposal.table for proposal in proposals))
    them = "it" if len(unnamed) == 1 else "them"
    raise _blocked(
        f"Nothing names the rows of {_named(unnamed)}: updates and deletes of {them} fail on the source as "
        "soon as they are published",
        f"Give {them} a replica identity first (step Identity), leave {them} out, or publish inserts only "
        f"when nobody updates {them}. The first statement: {proposals[0].sql}",
    )


def _schema_notes(
    existing: Publication | None, trees: Sequence[TableTree], schemas: Collection[str]
) -> tuple[str, ...]:
    wanted = {tree.root.oid for tree in trees}
    kept = {schema.name for schema in existing.schemas if not schema.others(wanted)} if existing else set()
    return tuple(
        f"Tables made later in the schema {quote_identifier(name)} are published too: updates of one without "
        "a replica identity fail from then on"
        for name in sorted({*schemas, *kept})
    )


def _create(
    publication: str, trees: Sequence[TableTree], schemas: Collection[str], *, with_updates: bool
) -> _Step:
    listed = [tree for tree in trees if tree.root.name.schema not in schemas]
    objects = []
    if schemas:
        objects.append(sql.SQL("tables in schema {}").format(_schema_list(sorted(schemas))))
    if listed:
        objects.append(sql.SQL("table {}").format(_roots(listed)))
    kinds = "" if with_updates else f"publish = '{_INSERTS}', "
    statement = f"create publication {{}} for {{}} with ({kinds}publish_via_partition_root = true)"
    return _Step(
        sql.SQL(statement).format(sql.Identifier(publication), sql.SQL(", ").join(objects)),
        "The publication does not exist yet; partitions are published as their root, so that the target "
        "may be partitioned in another way",
        tuple(tree.root.name for tree in listed),
    )


def _changes(
    existing: Publication, trees: Sequence[TableTree], schemas: Collection[str], *, with_updates: bool
) -> list[_Step]:
    """What turns the publication that exists into the one that is wanted."""
    shown = quote_identifier(existing.name)
    name = sql.Identifier(existing.name)
    wanted = {tree.root.oid for tree in trees}
    given_up = [schema for schema in existing.schemas if schema.others(wanted)]
    there = {schema.name for schema in existing.schemas}
    whole = (there - {schema.name for schema in given_up}) | set(schemas)
    present = {member.oid for member in existing.members}
    added = [tree for tree in trees if tree.root.oid not in present and tree.root.name.schema not in whole]
    dropped = [member for member in existing.members if member.oid not in wanted]
    new_schemas = sorted(set(schemas) - there)
    steps: list[_Step] = []
    wanted_kinds = _EVERYTHING if with_updates else _INSERTS
    kinds = _Step(
        sql.SQL("alter publication {} set (publish = {})").format(name, sql.Literal(wanted_kinds)),
        f"{shown} leaves out {', '.join(existing.lacking_kinds)}, which the target would then miss"
        if with_updates
        else f"{shown} is to publish {wanted_kinds.replace(', ', ' and ')} only",
    )
    has_kinds = {*_EVERYTHING.split(", ")} - {*existing.lacking_kinds} == {*wanted_kinds.split(", ")}
    if not has_kinds and not with_updates:
        steps.append(kinds)
    if existing.lacks_via_root(trees):
        steps.append(
            _Step(
                sql.SQL("alter publication {} set (publish_via_partition_root = true)").format(name),
                f"{shown} publishes each partition under its own name, which the target may not have",
            )
        )
    if added:
        steps.append(
            _Step(
                sql.SQL("alter publication {} add table {}").format(name, _roots(added)),
                f"{_count(len(added))} not in {shown} yet",
                tuple(tree.root.name for tree in added),
            )
        )
    if new_schemas:
        steps.append(
            _Step(
                sql.SQL("alter publication {} add tables in schema {}").format(
                    name, _schema_list(new_schemas)
                ),
                f"{shown} is to publish every table of it, also those made later",
            )
        )
    steps += [
        _Step(
            sql.SQL("alter publication {} drop tables in schema {}").format(
                name, sql.Identifier(schema.name)
            ),
            f"{shown} publishes every table of the schema {quote_identifier(schema.name)}, "
            f"also those that were not chosen: {_named(schema.others(wanted))}",
        )
        for schema in given_up
    ]
    if dropped:
        lists = [member.name for member in dropped if member.is_limited]
        lost = f"; the column list or row filter goes with it: {_named(lists)}" if lists else ""
        steps.append(
            _Step(
                sql.SQL("alter publication {} drop table {}").format(
                    name, _table_list((member.name, member.has_children) for member in dropped)
                ),
                f"{_count(len(dropped))} in {shown} but not chosen{lost}",
                tuple(member.name for member in dropped),
            )
        )
    if not has_kinds and with_updates:
        steps.append(kinds)
    return steps


def _added(
    existing: Publication | None, trees: Sequence[TableTree], steps: Sequence[_Step]
) -> tuple[Relation, ...]:
    """Tables that come into the publication by name."""
    locked = {name for step in steps for name in step.locks}
    there = set() if existing is None else {member.oid for member in existing.members}
    return tuple(tree.root for tree in trees if tree.root.name in locked and tree.root.oid not in there)


def _named(names: Sequence[TableName]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"{', '.join(map(str, names[:_SHOWN_NAMES]))}{more}"


def _count(tables: int) -> str:
    return "1 table is" if tables == 1 else f"{tables} tables are"
