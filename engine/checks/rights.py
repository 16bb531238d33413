"""What the role must be allowed on the source: to replicate, to publish, to read every row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg

from engine.checks.finding import Finding, Verdict, ok, trouble
from engine.checks.server import Server
from engine.checks.source import SourceFacts
from engine.checks.tables import SourceTableFacts, counted, named
from engine.connection.explain import explain
from engine.errors import Side
from engine.providers.fix import Fix

_MAY_CREATE = "select pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')"


def check_rights(
    server: Server, facts: SourceFacts, tables: Sequence[SourceTableFacts]
) -> tuple[Finding, ...]:
    """The rights of the session's role on the source, in the order they are shown.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        may_create = server.session.execute(_MAY_CREATE).fetchone()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the role's rights") from None
    return (
        _replication(server, facts),
        _create_publication(server, may_create == (True,)),
        _ownership(server, [table for table in tables if not table.is_owner and not table.is_partition]),
        _reading(server, [table for table in tables if not table.is_readable]),
        _row_security(server, [table for table in tables if table.hides_rows]),
    )


def _replication(server: Server, facts: SourceFacts) -> Finding:
    if facts.can_replicate:
        return ok("replication_right", Side.SOURCE, f"role {facts.role} may replicate")
    return trouble(
        "replication_right",
        Side.SOURCE,
        Verdict.BLOCKS,
        f"role {facts.role} may not replicate",
        "Making a replication slot and reading from it needs the right to replicate",
        remedy=server.advisor.right("replication"),
    )


def _create_publication(server: Server, may_create: bool) -> Finding:
    if may_create:
        return ok("create_publication", Side.SOURCE, f"role {server.role} may create publications")
    return trouble(
        "create_publication",
        Side.SOURCE,
        Verdict.WARNING,
        f"role {server.role} may not create anything in the database",
        "A publication is made by a role that may create in the database and owns the tables; an existing "
        "publication can be used without",
        remedy=server.advisor.right("create_in_database"),
    )


def _ownership(server: Server, others: Sequence[SourceTableFacts]) -> Finding:
    if not others:
        return ok(
            "table_ownership", Side.SOURCE, f"role {server.role} owns every table or may act as its owner"
        )
    of_superusers = [table for table in others if table.owner_is_superuser]
    owners = dict.fromkeys(table.quoted_owner for table in others if not table.owner_is_superuser)
    remedy = _joined(server.advisor.right("ownership", owner=owner) for owner in owners)
    if of_superusers:
        # Membership in a superuser's role would make this one a superuser as well.
        remedy = remedy.with_words(
            f"The owner of {named(table.name for table in of_superusers)} is a superuser: "
            "let a superuser make the publication, or: alter table … owner to …"
        )
    return trouble(
        "table_ownership",
        Side.SOURCE,
        Verdict.WARNING,
        f"{counted(len(others), 'table')} of other owners: {named(table.name for table in others)}",
        "Only its owner may add a table to a publication or change its replica identity; an existing "
        "publication can be used without",
        remedy=remedy,
    )


def _reading(server: Server, unreadable: Sequence[SourceTableFacts]) -> Finding:
    if not unreadable:
        return ok("table_reading", Side.SOURCE, f"role {server.role} may read every table")
    schemas = dict.fromkeys(table.quoted_schema for table in unreadable)
    return trouble(
        "table_reading",
        Side.SOURCE,
        Verdict.WARNING,
        f"{counted(len(unreadable), 'table')} that role {server.role} may not read: "
        f"{named(table.name for table in unreadable)}",
        "A table is copied with SELECT; one that may not be read is set aside",
        remedy=_joined(server.advisor.right("read_tables", schema=schema) for schema in schemas),
    )


def _row_security(server: Server, hiding: Sequence[SourceTableFacts]) -> Finding:
    if not hiding:
        return ok("row_level_security", Side.SOURCE, f"no rows are hidden from role {server.role}")
    return trouble(
        "row_level_security",
        Side.SOURCE,
        Verdict.WARNING,
        f"{counted(len(hiding), 'table')} with policies that apply to role {server.role}: "
        f"{named(table.name for table in hiding)}",
        "A copy would hold only the rows that the policies show; such a table is set aside instead",
        remedy=server.advisor.right("bypass_row_security"),
    )


def _joined(fixes: Iterable[Fix]) -> Fix:
    """Several fixes of one kind as one: the statements of all, the words once."""
    listed = list(fixes)
    if not listed:
        return Fix()
    first = listed[0]
    return Fix(
        words=first.words,
        sql=tuple(statement for fix in listed for statement in fix.sql),
        applicable=all(fix.applicable for fix in listed),
        console=first.console,
        cli=first.cli,
    )
