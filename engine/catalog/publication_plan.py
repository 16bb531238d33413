"""Compares a publication with the tables that were chosen, and makes it so.

The order keeps the application running: a published table without a replica identity refuses UPDATE and
DELETE, so identities come before the publication; and a table is added under its new place before it is
taken from the old one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.planned import PlannedStatement, PublicationPlan
from engine.catalog.table import ReplicaIdentity, TableName, quote_identifier
from engine.catalog.tables import IdentityChange, TableTree, read_table_trees, table_problem
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side, UsageError

_PUBLICATION = """
select p.oid::int8, p.puballtables as all_tables, p.pubviaroot as via_root,
       p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate as publishes_everything
  from pg_catalog.pg_publication p
 where p.pubname = %(name)s
"""

_MEMBERS = """
select n.nspname::text as schema, c.relname::text as table,
       c.relkind = 'r' and c.relhassubclass as has_children
  from pg_catalog.pg_publication_rel m
  join pg_catalog.pg_class c on c.oid = m.prrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where m.prpubid = %(publication)s
 order by n.nspname, c.relname
"""

# Since PostgreSQL 15.
_SCHEMAS = """
select n.nspname::text as name,
       exists (
           select from pg_catalog.pg_class c
            where c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relpersistence = 'p'
              and c.oid <> all (%(wanted)s::oid[])
              and not exists (
                  select from pg_catalog.pg_partition_ancestors(c.oid) as ancestor(relid)
                   where ancestor.relid = any (%(wanted)s::oid[]))) as has_others
  from pg_catalog.pg_publication_namespace m
  join pg_catalog.pg_namespace n on n.oid = m.pnnspid
 where m.pnpubid = %(publication)s
 order by n.nspname
"""

_LOCK_TIMEOUT = "set local lock_timeout = '3s'"
"""A statement that waits for its lock makes the application wait behind it; 3 s is noticed by few."""


@dataclass(frozen=True, slots=True)
class _Publication:
    oid: int
    all_tables: bool
    via_root: bool
    publishes_everything: bool


@dataclass(frozen=True, slots=True)
class _Member:
    schema: str
    table: str
    has_children: bool

    @property
    def name(self) -> TableName:
        return TableName(self.schema, self.table)


@dataclass(frozen=True, slots=True)
class _Schema:
    name: str
    has_others: bool
    """Whether it publishes tables that were not chosen."""


def plan_publication(session: Session, publication: str, tables: Collection[TableName]) -> PublicationPlan:
    """Find what is missing before the source publishes exactly ``tables``, with all their changes.

    Args:
        session: On the source.
        publication: Unquoted name.
        tables: What to publish; a partitioned table stands for all its partitions.

    Raises:
        UsageError: No table was chosen.
        BlockedError: A table does not exist or cannot be published as it is, or the publication is FOR ALL
            TABLES.
        EngineError: The source could not be read.
    """
    if not tables:
        raise UsageError(Failure("No tables are chosen", hint="Choose at least one table", side=Side.SOURCE))
    trees = read_table_trees(session, frozenset(tables))
    _require_all(tables, trees)
    _require_publishable(trees, session.info.server_version)
    identities = [
        _identity_statement(session, tree, change) for tree in trees for change in tree.identity_changes()
    ]
    try:
        with session.cursor(row_factory=class_row(_Publication)) as cursor:
            existing = cursor.execute(_PUBLICATION, {"name": publication}).fetchone()
        if existing is None:
            changes = [_create(session, publication, trees)]
        else:
            changes = _changes(session, publication, existing, trees)
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the publication") from None
    return PublicationPlan(publication, (*identities, *changes))


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
            hint = failure.hint
            if isinstance(error, psycopg.errors.LockNotAvailable):
                hint = "Another session uses the table; try again when its transaction has ended"
            detail = f"{failure.detail}; the statement was: {statement.sql}"
            raise type(explained)(replace(failure, detail=detail, hint=hint)) from None


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


def _identifier(name: TableName) -> sql.Identifier:
    return sql.Identifier(name.schema, name.table)


def _identity_statement(session: Session, tree: TableTree, change: IdentityChange) -> PlannedStatement:
    relation = change.relation
    if change.identity is ReplicaIdentity.INDEX and change.index is not None:
        identity: sql.Composable = sql.SQL("using index {}").format(sql.Identifier(change.index))
        effect = f"The unique index {quote_identifier(change.index)} can do that"
    elif change.identity is ReplicaIdentity.DEFAULT:
        identity = sql.SQL("default")
        effect = "Its primary key can do that"
    else:
        identity = sql.SQL("full")
        effect = "It has no key, so the whole old row goes into the WAL with each of them"
    if relation is not tree.root:
        effect += "; partitions made later need the same"
    statement = sql.SQL("alter table {} replica identity {}").format(_identifier(relation.name), identity)
    return PlannedStatement(
        statement.as_string(session),
        f"Once {relation.name} is published, its updates and deletes fail, or cannot be followed, "
        f"unless something names the row. {effect}",
    )


def _table_list(relations: Iterable[tuple[TableName, bool]]) -> sql.Composed:
    """Tables for a publication statement; ``only`` keeps inheritance children out, which were not chosen."""
    return sql.SQL(", ").join(
        sql.SQL("only {}" if has_children else "{}").format(_identifier(name))
        for name, has_children in relations
    )


def _roots(trees: Iterable[TableTree]) -> sql.Composed:
    return _table_list((tree.root.name, tree.root.has_children) for tree in trees)


def _create(session: Session, publication: str, trees: Sequence[TableTree]) -> PlannedStatement:
    statement = sql.SQL("create publication {} for table {} with (publish_via_partition_root = true)")
    return PlannedStatement(
        statement.format(sql.Identifier(publication), _roots(trees)).as_string(session),
        "The publication does not exist yet; partitions are published as their root, so that the target "
        "may be partitioned in another way",
    )


def _changes(
    session: Session, publication: str, existing: _Publication, trees: Sequence[TableTree]
) -> list[PlannedStatement]:
    """What turns the publication that exists into the one that is wanted."""
    shown = quote_identifier(publication)
    if existing.all_tables:
        raise BlockedError(
            Failure(
                f"The publication {shown} is FOR ALL TABLES, so tables cannot be chosen in it",
                hint="Use another publication name; it is then made for the chosen tables",
                side=Side.SOURCE,
                retry=Retry.NEVER,
            )
        )
    parameters = {"publication": existing.oid, "wanted": [tree.root.oid for tree in trees]}
    with session.cursor(row_factory=class_row(_Member)) as cursor:
        members = cursor.execute(_MEMBERS, parameters).fetchall()
    schemas: list[_Schema] = []
    if session.info.server_version >= 150000:
        with session.cursor(row_factory=class_row(_Schema)) as schema_cursor:
            schemas = schema_cursor.execute(_SCHEMAS, parameters).fetchall()

    wanted = {tree.root.name for tree in trees}
    kept_schemas = {schema.name for schema in schemas if not schema.has_others}
    present = {member.name for member in members}
    added = [
        tree for tree in trees if tree.root.name not in present and tree.root.name.schema not in kept_schemas
    ]
    dropped = [member for member in members if member.name not in wanted]

    name = sql.Identifier(publication)
    planned: list[tuple[sql.Composed, str]] = []
    if not existing.via_root and any(tree.root.is_partitioned for tree in trees):
        planned.append(
            (
                sql.SQL("alter publication {} set (publish_via_partition_root = true)").format(name),
                f"{shown} publishes each partition under its own name, which the target may not have",
            )
        )
    if not existing.publishes_everything:
        planned.append(
            (
                sql.SQL("alter publication {} set (publish = 'insert, update, delete, truncate')").format(
                    name
                ),
                f"{shown} leaves out some kinds of changes, which the target would then miss",
            )
        )
    if added:
        planned.append(
            (
                sql.SQL("alter publication {} add table {}").format(name, _roots(added)),
                f"{_count(len(added))} not in {shown} yet",
            )
        )
    for schema in schemas:
        if schema.has_others:
            planned.append(
                (
                    sql.SQL("alter publication {} drop tables in schema {}").format(
                        name, sql.Identifier(schema.name)
                    ),
                    f"{shown} publishes every table of the schema {quote_identifier(schema.name)}, "
                    "also those that were not chosen",
                )
            )
    if dropped:
        tables = _table_list((member.name, member.has_children) for member in dropped)
        planned.append(
            (
                sql.SQL("alter publication {} drop table {}").format(name, tables),
                f"{_count(len(dropped))} in {shown} but not chosen",
            )
        )
    return [PlannedStatement(statement.as_string(session), why) for statement, why in planned]


def _count(tables: int) -> str:
    return "1 table is" if tables == 1 else f"{tables} tables are"
