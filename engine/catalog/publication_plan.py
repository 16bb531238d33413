"""Compares a publication with the tables that were chosen, and makes it so.

The order keeps the application running: a published table without a replica identity refuses UPDATE and
DELETE, so identities come before the publication; a table is added under its new place before it is taken
from the old one; and kinds of changes are added when the tables that were not chosen have left.

FOR ALL TABLES is never made: it takes in tables that nobody chose, those of TimescaleDB's catalog among
them, whose rows would corrupt the target's (seed "4. Publication").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.lock_holders import hint_about, lock_holders
from engine.catalog.planned import PlannedStatement, PublicationPlan
from engine.catalog.publication_facts import Member, Publication, read_publications
from engine.catalog.publication_limits import limit_note, require_limits_allow_updates, require_limits_kept
from engine.catalog.publication_offer import ALL_TABLES_COST
from engine.catalog.publication_rights import missing_rights
from engine.catalog.replica_identity import plan_for_trees
from engine.catalog.table import TableName, quote_identifier
from engine.catalog.tables import Relation, TableTree, read_table_trees, table_problem
from engine.catalog.user_schema import in_user_schemas
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import BlockedError, Failure, Retry, Side, UsageError

_SCHEMAS_PUBLISHED_SINCE = 150000

_LOCK_TIMEOUT = "set local lock_timeout = '3s'"
"""A statement that waits for its lock makes the application wait behind it; 3 s is noticed by few."""

_SHOWN_NAMES = 5

_SCHEMA_TABLES = """
select n.nspname::text as schema, c.relname::text as table,
       exists (
           select from pg_catalog.pg_depend d
            where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
              and d.deptype = 'e') as of_extension
  from pg_catalog.pg_namespace n
  left join pg_catalog.pg_class c
    on c.relnamespace = n.oid and c.relkind in ('r', 'p') and c.relpersistence = 'p'
   and not exists (
       select from pg_catalog.pg_partition_ancestors(c.oid) as ancestor(relid)
         join pg_catalog.pg_class above on above.oid = ancestor.relid
         join pg_catalog.pg_namespace of_above on of_above.oid = above.relnamespace
        where above.oid <> c.oid and of_above.nspname = any (%(schemas)s::text[]))
 where n.nspname = any (%(schemas)s::text[]) and {user_schema}
 order by n.nspname, c.relname
"""


@dataclass(frozen=True, slots=True)
class _SchemaTable:
    schema: str
    table: str | None
    of_extension: bool


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
) -> PublicationPlan:
    """Find what is missing before the source publishes exactly ``tables``, with all their changes.

    Column lists and row filters of tables that stay in the publication stay too; the plan's notes name them.

    Args:
        session: On the source.
        publication: Unquoted name.
        tables: What to publish; a partitioned table stands for all its partitions.
        schemas: Schemas to publish whole (FOR TABLES IN SCHEMA, PostgreSQL 15 and later): with all their
            tables, chosen or not, and those that will be made later. A schema that the publication has is
            kept without being named here, while all its tables are chosen.

    Raises:
        UsageError: No table was chosen.
        BlockedError: A table or schema does not exist or cannot be published as it is, or the publication is
            FOR ALL TABLES, or a column list or row filter would be lost or would make updates fail.
        EngineError: The source could not be read.
    """
    in_schemas = _tables_of_schemas(session, schemas)
    if not tables and not in_schemas:
        raise UsageError(Failure("No tables are chosen", hint="Choose at least one table", side=Side.SOURCE))
    trees = read_table_trees(session, frozenset((*tables, *in_schemas)))
    _require_all(tables, trees)
    _require_publishable(trees, session.info.server_version)
    existing = next(iter(read_publications(session, publication)), None)
    if existing is None:
        steps = [_create(publication, trees, schemas)]
        kept: tuple[Member, ...] = ()
    else:
        _require_choosable(existing)
        wanted = {tree.root.oid for tree in trees}
        kept = tuple(member for member in existing.members if member.oid in wanted)
        require_limits_kept(existing, kept, schemas)
        require_limits_allow_updates(session, publication, kept, trees)
        steps = _changes(existing, trees, schemas)
    identities = plan_for_trees(session, trees).proposals
    rights = [proposal.missing_right for proposal in identities if proposal.missing_right is not None]
    if steps:
        rights += missing_rights(session, existing, _added(existing, trees, steps), schemas)
    return PublicationPlan(
        publication,
        (
            *(
                PlannedStatement(proposal.sql, proposal.why, proposal.record, (proposal.relation,))
                for proposal in identities
            ),
            *(
                PlannedStatement(step.statement.as_string(session), step.why, None, step.locks)
                for step in steps
            ),
        ),
        tuple(limit_note(member) for member in kept if member.is_limited),
        tuple(dict.fromkeys(rights)),
    )


def apply_plan(session: Session, plan: PublicationPlan) -> None:
    """Run the statements of a plan one by one, each in a transaction of its own.

    What ran before a failure stays, and planning again leaves it out. Store ``plan.identities`` before, so
    that they can be undone.

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
                hint, retry = _lock_hint(session, statement), Retry.MANUAL
            detail = f"{failure.detail}; the statement was: {statement.sql}"
            raise type(explained)(replace(failure, detail=detail, hint=hint, retry=retry)) from None


def _lock_hint(session: Session, statement: PlannedStatement) -> str:
    is_exclusive = statement.identity is not None
    return hint_about(lock_holders(session, statement.locks, is_exclusive=is_exclusive))


def _tables_of_schemas(session: Session, schemas: Collection[str]) -> tuple[TableName, ...]:
    """What is published with whole schemas now; partitions that come with their root are not named.

    Raises:
        BlockedError: The server cannot publish schemas, one does not exist or is not the user's, or an
            extension has tables in it.
        EngineError: The source could not be read.
    """
    if not schemas:
        return ()
    if session.info.server_version < _SCHEMAS_PUBLISHED_SINCE:
        raise _blocked(
            "Whole schemas can be published since PostgreSQL 15, and the source is older",
            "Choose the tables of the schema instead",
        )
    try:
        with session.cursor(row_factory=class_row(_SchemaTable)) as cursor:
            query = in_user_schemas(_SCHEMA_TABLES).encode()
            rows = cursor.execute(query, {"schemas": list(schemas)}).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the schemas") from None
    missing = sorted(set(schemas) - {row.schema for row in rows})
    if missing:
        raise _blocked(
            f"The source has no schema {quote_identifier(missing[0])} of yours",
            "Read the table list again and choose from it",
        )
    extension = [
        TableName(row.schema, row.table) for row in rows if row.of_extension and row.table is not None
    ]
    if extension:
        raise _blocked(
            f"The schema {quote_identifier(extension[0].schema)} cannot be published whole: {extension[0]} "
            "is an extension's, and the target's own extension fills it",
            "Choose the tables of the schema instead",
        )
    return tuple(TableName(row.schema, row.table) for row in rows if row.table is not None)


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


def _create(publication: str, trees: Sequence[TableTree], schemas: Collection[str]) -> _Step:
    listed = [tree for tree in trees if tree.root.name.schema not in schemas]
    objects = []
    if schemas:
        objects.append(sql.SQL("tables in schema {}").format(_schema_list(sorted(schemas))))
    if listed:
        objects.append(sql.SQL("table {}").format(_roots(listed)))
    statement = sql.SQL("create publication {} for {} with (publish_via_partition_root = true)")
    return _Step(
        statement.format(sql.Identifier(publication), sql.SQL(", ").join(objects)),
        "The publication does not exist yet; partitions are published as their root, so that the target "
        "may be partitioned in another way",
        tuple(tree.root.name for tree in listed),
    )


def _changes(existing: Publication, trees: Sequence[TableTree], schemas: Collection[str]) -> list[_Step]:
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
    if existing.lacking_kinds:
        steps.append(
            _Step(
                sql.SQL("alter publication {} set (publish = 'insert, update, delete, truncate')").format(
                    name
                ),
                f"{shown} leaves out {', '.join(existing.lacking_kinds)}, which the target would then miss",
            )
        )
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
