"""Drops objects of the target that a person named one by one, and nothing beside them."""

from __future__ import annotations

from collections.abc import Collection

import psycopg
from psycopg import sql

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Failure, Side, UsageError
from engine.schema.apply import OnResult, apply_statements, open_schema_session
from engine.schema.compare import ComparedSchemas
from engine.schema.comparison import ApplyReport, ObjectKey, PlannedStatement
from engine.script.grammar import drops_of

_ADDRESS = """
select address.type, address.object_names, address.object_args, found.identity
  from pg_catalog.pg_identify_object(%(catalog)s::oid, %(oid)s::oid, 0) found
 cross join lateral pg_catalog.pg_identify_object_as_address(%(catalog)s::oid, %(oid)s::oid, 0) address
 where found.identity is not null
"""

_BY_IDENTITY = {
    **{
        kind: kind
        for kind in (
            "aggregate",
            "collation",
            "conversion",
            "event trigger",
            "extension",
            "foreign table",
            "foreign-data wrapper",
            "function",
            "index",
            "materialized view",
            "procedure",
            "schema",
            "sequence",
            "server",
            "table",
            "text search configuration",
            "text search dictionary",
            "text search parser",
            "text search template",
            "type",
            "view",
        )
    },
    "foreign-data wrapper": "foreign data wrapper",
    "statistics object": "statistics",
}
"""What PostgreSQL calls a type of object, and what DROP calls it."""

_ON_A_TABLE = ("trigger", "rule", "policy")


def drop_objects(
    target: Endpoint,
    compared: ComparedSchemas,
    keys: Collection[ObjectKey],
    *,
    all_or_nothing: bool = True,
    on_result: OnResult | None = None,
) -> ApplyReport:
    """Drop objects in the reverse of the order in which they were made; compare again afterwards.

    An object that another one needs is refused.

    Args:
        target: Where.
        compared: Both schemas.
        keys: What to drop, as the comparison names it.
        all_or_nothing: Undo everything when one is refused. Then all of them are locked at once, which a
            server may refuse for thousands.
        on_result: Told each result as it comes.

    Raises:
        UsageError: One of them is not on the target, or is nothing that can be dropped by itself.
        ConnectionFailedError: The target cannot be reached or went away.
        EngineError: It could not be read.
    """
    wanted = frozenset(keys)
    for key in keys:
        if key not in compared.target_objects:
            raise UsageError(
                Failure(f"The target has no {key} that could be dropped by itself", side=Side.TARGET)
            )
    with open_schema_session(target) as session:
        statements = [
            PlannedStatement(f"drop of {key}", _statement(session, key, *compared.target_objects[key]), key)
            for key in reversed(tuple(compared.target_objects))
            if key in wanted
        ]
        return apply_statements(
            session,
            statements,
            all_or_nothing=all_or_nothing,
            on_result=on_result,
            may_drop={
                name for one in statements if (drops := drops_of(one.sql)) is not None for name in drops.names
            },
        )


def _statement(session: Session, key: ObjectKey, catalog: int, oid: int) -> str:
    try:
        row = session.execute(_ADDRESS, {"catalog": catalog, "oid": oid}).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.TARGET, "looking for an object") from None
    if row is None:
        raise UsageError(Failure(f"The target has no {key} any more", side=Side.TARGET))
    kind, names, arguments, identity = row
    assert isinstance(names, list)
    assert isinstance(arguments, list)
    if kind in _BY_IDENTITY:
        # The identity is quoted by the server.
        return f"drop {_BY_IDENTITY[str(kind)]} {identity}"
    if kind == "domain constraint":
        constraint = sql.Identifier(str(arguments[0])).as_string(session)
        return f"alter domain {names[0]} drop constraint {constraint}"
    statement: sql.Composable
    if kind in _ON_A_TABLE:
        statement = sql.SQL("drop {} {} on {}").format(
            sql.SQL("rule" if kind == "rule" else "policy" if kind == "policy" else "trigger"),
            sql.Identifier(names[-1]),
            sql.Identifier(*names[:-1]),
        )
    elif kind == "table constraint":
        statement = sql.SQL("alter table {} drop constraint {}").format(
            sql.Identifier(*names[:-1]), sql.Identifier(names[-1])
        )
    elif kind == "default value":
        statement = sql.SQL("alter table {} alter column {} drop default").format(
            sql.Identifier(*names[:-1]), sql.Identifier(names[-1])
        )
    else:
        raise UsageError(
            Failure(f"How to drop {key} is not known here", hint="Drop it with psql, then compare again")
        )
    return statement.as_string(session)
