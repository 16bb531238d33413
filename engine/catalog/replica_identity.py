"""Proposes a replica identity for each table that needs one, sets it, and puts it back.

An UPDATE or DELETE of a table that is published without a replica identity fails on the source (PostgreSQL
29.1.1). So identities are set before the publication is made, and are put back only when nothing publishes
the table's updates any more. Which index is best is decided in :mod:`engine.catalog.tables`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypedDict

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from engine.catalog.planned_identity import (
    IdentityPlan,
    IdentityProposal,
    IdentityRecord,
    IdentitySetting,
    MissingRight,
    TableIdentity,
)
from engine.catalog.table import ReplicaIdentity, TableName, quote_identifier
from engine.catalog.tables import IdentityChange, Relation, TableTree, read_table_trees, table_problem
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_FACTS = """
select c.oid::int8, pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
       pg_catalog.pg_has_role(c.relowner, 'usage') as is_owner, current_user::text as role,
       case when c.reltoastrelid = 0 then 0 else pg_catalog.pg_relation_size(c.reltoastrelid) end
           as toast_bytes,
       (select x.relname::text from pg_catalog.pg_index i
          join pg_catalog.pg_class x on x.oid = i.indexrelid
         where i.indrelid = c.oid and i.indisreplident and i.indisvalid) as identity_index,
       coalesce(pg_catalog.pg_stat_get_tuples_updated(c.oid), 0)
       + coalesce(pg_catalog.pg_stat_get_tuples_deleted(c.oid), 0) as changed_rows,
       exists (
           select from pg_catalog.pg_index i
            where i.indrelid = c.oid and i.indisprimary and not i.indimmediate) as has_deferrable_key,
       exists (
           select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary) as has_key,
       array (
           select a.attname::text || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
             from pg_catalog.pg_attribute a
             join pg_catalog.pg_type declared on declared.oid = a.atttypid
             join pg_catalog.pg_type t on t.oid = coalesce(nullif(declared.typbasetype, 0), declared.oid)
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
              and t.typtype = 'b' and t.typcategory <> 'A'
              and not exists (
                  select from pg_catalog.pg_operator o
                   where o.oprname = '=' and (o.oprcanmerge or o.oprcanhash)
                     and o.oprleft = o.oprright
                     and (o.oprleft = t.oid
                          or exists (select from pg_catalog.pg_cast k
                                      where k.castsource = t.oid and k.casttarget = o.oprleft
                                        and k.castmethod = 'b' and k.castcontext = 'i')))
            order by a.attnum) as incomparable,
       coalesce((
           select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                      'name', x.relname,
                      'is_invalid', not i.indisvalid,
                      'is_deferrable', not i.indimmediate,
                      'is_partial', i.indpred is not null,
                      'has_expression', i.indexprs is not null,
                      'nullable', array (
                          select a.attname::text
                            from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
                            join pg_catalog.pg_attribute a
                              on a.attrelid = i.indrelid and a.attnum = k.attnum
                           where k.position <= i.indnkeyatts and not a.attnotnull
                           order by k.position),
                      'generated', array (
                          select a.attname::text
                            from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
                            join pg_catalog.pg_attribute a
                              on a.attrelid = i.indrelid and a.attnum = k.attnum
                           where k.position <= i.indnkeyatts and a.attgenerated <> ''
                           order by k.position)) order by x.relname)
             from pg_catalog.pg_index i
             join pg_catalog.pg_class x on x.oid = i.indexrelid
            where i.indrelid = c.oid and i.indisunique), '[]') as unique_indexes
  from pg_catalog.pg_class c
 where c.oid = any (%s::oid[])
"""


class _UniqueIndexRow(TypedDict):
    name: str
    is_invalid: bool
    is_deferrable: bool
    is_partial: bool
    has_expression: bool
    nullable: list[str]
    generated: list[str]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is told about a relation that needs another identity."""

    oid: int
    owner: str
    is_owner: bool
    role: str
    toast_bytes: int
    identity_index: str | None
    changed_rows: int
    """Updates and deletes since the server's statistics were reset."""

    has_deferrable_key: bool
    has_key: bool
    incomparable: list[str]
    """Columns with their types, which have no equality that an index or a hash could use."""

    unique_indexes: list[_UniqueIndexRow]


def plan_identities(session: Session, tables: Collection[TableName]) -> IdentityPlan:
    """Find what updates and deletes of ``tables`` need before they can be published.

    Args:
        session: On the source.
        tables: A partitioned table stands for all its partitions; what does not exist is left out.

    Raises:
        EngineError: The source could not be read.
    """
    return plan_for_trees(session, read_table_trees(session, frozenset(tables)))


def plan_for_trees(session: Session, trees: Sequence[TableTree]) -> IdentityPlan:
    """:func:`plan_identities` of tables that were read already."""
    problems = {tree.root.oid: table_problem(tree, session.info.server_version) for tree in trees}
    changes = {tree.root.oid: tree.identity_changes() for tree in trees if problems[tree.root.oid] is None}
    oids = [change.relation.oid for group in changes.values() for change in group]
    facts: dict[int, _Facts] = {}
    if oids:
        try:
            with session.cursor(row_factory=class_row(_Facts)) as cursor:
                facts = {row.oid: row for row in cursor.execute(_FACTS, (oids,)).fetchall()}
        except psycopg.Error as error:
            raise explain(error, Side.SOURCE, "reading replica identities") from None
    return IdentityPlan(
        tuple(
            TableIdentity(
                tree.root.name,
                _setting_of(tree.root),
                tuple(
                    _proposal(session, tree, change, facts[change.relation.oid])
                    for change in changes.get(tree.root.oid, ())
                    # One that was dropped in between needs nothing.
                    if change.relation.oid in facts
                ),
                problems[tree.root.oid] or "",
            )
            for tree in trees
        )
    )


def reachable(setting: IdentitySetting) -> IdentitySetting:
    """``setting``, or what does the same where no statement leads back: the index was dropped before."""
    if setting == IdentitySetting(ReplicaIdentity.INDEX):
        return IdentitySetting(ReplicaIdentity.NOTHING)
    return setting


def identity_statement(session: Session, relation: TableName, setting: IdentitySetting) -> str:
    """ALTER TABLE … REPLICA IDENTITY, without semicolon."""
    setting = reachable(setting)
    clause: sql.Composable
    if setting.identity is ReplicaIdentity.INDEX and setting.index is not None:
        clause = sql.SQL("using index {}").format(sql.Identifier(setting.index))
    elif setting.identity is ReplicaIdentity.FULL:
        clause = sql.SQL("full")
    elif setting.identity is ReplicaIdentity.NOTHING:
        clause = sql.SQL("nothing")
    else:
        clause = sql.SQL("default")
    statement = sql.SQL("alter table {} replica identity {}")
    return statement.format(sql.Identifier(relation.schema, relation.table), clause).as_string(session)


def _setting_of(relation: Relation) -> IdentitySetting:
    index = relation.identity_index if relation.replica_identity is ReplicaIdentity.INDEX else None
    return IdentitySetting(relation.replica_identity, None if index is None else index.name)


def _proposal(session: Session, tree: TableTree, change: IdentityChange, facts: _Facts) -> IdentityProposal:
    relation = change.relation
    index = facts.identity_index if relation.replica_identity is ReplicaIdentity.INDEX else None
    now, proposed = (
        IdentitySetting(relation.replica_identity, index),
        IdentitySetting(change.identity, change.index),
    )
    is_full = proposed.identity is ReplicaIdentity.FULL
    missing_right = None
    if not facts.is_owner:
        missing_right = owner_right(session, str(relation.name), facts.owner, facts.role)
    return IdentityProposal(
        table=tree.root.name,
        relation=relation.name,
        now=now,
        proposed=proposed,
        sql=identity_statement(session, relation.name, proposed),
        missing=_missing(tree, relation, now, facts),
        why=_why(tree, relation, proposed),
        costs=(*(_costs_of_full(tree, relation, facts) if is_full else ()), *_traps(tree, proposed)),
        alternatives=_alternatives(facts) if is_full and relation is tree.root else (),
        missing_right=missing_right,
        record=IdentityRecord(
            relation.oid, relation.name, now, proposed, identity_statement(session, relation.name, now)
        ),
    )


def owner_right(session: Session, what: str, owner: str, role: str) -> MissingRight:
    """What ``role`` needs before it may change ``what``, which is ``owner``'s."""
    # Since PostgreSQL 16 a membership counts only with the right to inherit, whatever the role's default is.
    suffix = sql.SQL(" with inherit true" if session.info.server_version >= 160000 else "")
    statement = sql.SQL("grant {} to {}{}").format(sql.Identifier(owner), sql.Identifier(role), suffix)
    return MissingRight(
        f"{what} belongs to {quote_identifier(owner)}, and only its owner may change it",
        statement.as_string(session),
    )


def _missing(tree: TableTree, relation: Relation, now: IdentitySetting, facts: _Facts) -> str:
    if now.identity is ReplicaIdentity.NOTHING:
        return "Its replica identity was set to NOTHING"
    if now.identity is ReplicaIdentity.INDEX and now.index is None:
        return "The index that was its replica identity was dropped"
    if now.identity is ReplicaIdentity.INDEX and relation.identity_index is None:
        return "A generated column is part of its replica identity, and is not published"
    if now.identity is ReplicaIdentity.DEFAULT and relation.primary_key is None:
        if facts.has_deferrable_key:
            return "Its primary key is deferrable, which PostgreSQL does not take as replica identity"
        if facts.has_key:
            return "A generated column is part of its primary key, and is not published"
        return "It has no primary key"
    return f"It names rows by less than its root {tree.root.name} promises"


def _why(tree: TableTree, relation: Relation, proposed: IdentitySetting) -> str:
    if proposed.identity is ReplicaIdentity.INDEX and proposed.index is not None:
        effect = f"The unique index {quote_identifier(proposed.index)} can do that"
    elif proposed.identity is ReplicaIdentity.DEFAULT:
        effect = "Its primary key can do that"
    else:
        effect = "It has no key, so the whole old row goes into the WAL with each of them"
    if relation is not tree.root:
        effect += "; partitions made later need the same"
    return (
        f"Once {relation.name} is published, its updates and deletes fail, or cannot be followed, "
        f"unless something names the row. {effect}"
    )


def _costs_of_full(tree: TableTree, relation: Relation, facts: _Facts) -> tuple[str, ...]:
    costs = []
    changes = f"{facts.changed_rows:,} since the server's statistics were reset"
    if relation.is_partitioned:
        changes = "its partitions count them"
    if facts.toast_bytes:
        costs.append(
            f"Each update and delete writes the whole old row into the WAL, with its share of "
            f"{facts.toast_bytes:,} bytes of values that are stored out of line (TOAST), changed or not"
        )
    else:
        costs.append("Each update and delete writes the whole old row into the WAL")
    size_bytes = sum(member.size_bytes for member in (tree.root, *tree.leaves))
    costs.append(
        "No index on the target finds such a row: each update and delete searches the table there, "
        f"{size_bytes:,} bytes as it is now. Updates and deletes so far: {changes}"
    )
    if relation.has_generated_columns:
        costs.append(
            "It has generated columns: after an upgrade of the source to PostgreSQL 18 its updates and "
            "deletes would fail while it is published"
        )
    if facts.incomparable:
        costs.append(
            f"No equality for {', '.join(facts.incomparable)}: livesync-tui compares what is stored and "
            "finds the row, a subscription of PostgreSQL itself would fail on it"
        )
    return tuple(costs)


def _traps(tree: TableTree, proposed: IdentitySetting) -> tuple[str, ...]:
    traps = []
    if proposed.identity is ReplicaIdentity.INDEX:
        traps.append("While it is published, updates and deletes fail as soon as that index is dropped")
    if tree.root.is_partitioned and proposed.identity is not ReplicaIdentity.DEFAULT:
        traps.append("A partition that is made or attached later needs it set once more")
    return tuple(traps)


def _alternatives(facts: _Facts) -> tuple[str, ...]:
    """What keeps each unique index from being the identity."""
    found = []
    for index in facts.unique_indexes:
        reasons = []
        if index["is_invalid"]:
            reasons.append("were valid (reindex index)")
        if index["is_deferrable"]:
            reasons.append("were not deferrable")
        if index["is_partial"]:
            reasons.append("held all rows (no WHERE)")
        if index["has_expression"]:
            reasons.append("held columns only, no expression")
        if index["nullable"]:
            reasons.append(f"had NOT NULL on {_columns(index['nullable'])}")
        if index["generated"]:
            reasons.append(f"did without the generated {_columns(index['generated'])}")
        if reasons:
            found.append(
                f"The unique index {quote_identifier(index['name'])} would do if it {' and '.join(reasons)}"
            )
    return tuple(found) or ("A primary key, or a unique index over NOT NULL columns, would cost less",)


def _columns(names: Sequence[str]) -> str:
    return ", ".join(map(quote_identifier, names))
