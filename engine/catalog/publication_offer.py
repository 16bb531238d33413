"""Offers the publications that the source has, each against the tables that were chosen."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import psycopg

from engine.catalog.planned import PublicationOffer, PublicationOffers, PublishedMember
from engine.catalog.publication_facts import Publication, read_publications
from engine.catalog.table import TableName
from engine.catalog.tables import TableTree, read_table_trees
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.errors import Side

_OTHER_SLOTS = """
select s.slot_name::text
  from pg_catalog.pg_replication_slots s
 where s.database = current_database() and s.slot_type = 'logical'
   and not pg_catalog.starts_with(s.slot_name::text, 'live_sync_')
 order by 1
"""


ALL_TABLES_COST = (
    "It is FOR ALL TABLES: tables cannot be chosen in it, it takes in those that extensions make for "
    "themselves and those made later, and updates of each that has no replica identity fail"
)


def offer_publications(session: Session, tables: Collection[TableName]) -> PublicationOffers:
    """Compare every publication of the source with ``tables``.

    Args:
        session: On the source.
        tables: What was chosen; what does not exist is left out.

    Raises:
        EngineError: The source could not be read.
    """
    trees = read_table_trees(session, frozenset(tables))
    offers = [_offer(publication, trees) for publication in read_publications(session)]
    offers.sort(
        key=lambda offer: (
            bool(offer.refused),
            not offer.fits,
            len(offer.missing) + len(offer.extra),
            offer.name,
        )
    )
    return PublicationOffers(tuple(offers), read_other_slots(session))


def read_other_slots(session: Session) -> tuple[str, ...]:
    """Logical replication slots of the database that are not ours.

    Whoever uses one may read any publication, and gets what it is changed into.

    Raises:
        EngineError: The source could not be read.
    """
    try:
        slots = session.execute(_OTHER_SLOTS).fetchall()
    except psycopg.Error as error:
        raise explain(error, Side.SOURCE, "reading the replication slots") from None
    return tuple(str(name) for (name,) in slots)


def _offer(publication: Publication, trees: Sequence[TableTree]) -> PublicationOffer:
    wanted = {tree.root.oid for tree in trees}
    published = {member.oid for member in publication.members}
    published.update(table.oid for schema in publication.schemas for table in schema.tables)
    extra = {member.name for member in publication.members if member.oid not in wanted}
    extra.update(name for schema in publication.schemas for name in schema.others(wanted))
    missing = tuple(tree.root.name for tree in trees if tree.root.oid not in published)
    return PublicationOffer(
        name=publication.name,
        owner=publication.owner,
        is_owner=publication.is_owner,
        members=tuple(
            PublishedMember(
                member.name, None if member.columns is None else tuple(member.columns), member.row_filter
            )
            for member in publication.members
        ),
        schemas=tuple(schema.name for schema in publication.schemas),
        missing=() if publication.all_tables else missing,
        extra=tuple(sorted(extra)),
        lacking_kinds=publication.lacking_kinds,
        lacks_via_root=publication.lacks_via_root(trees),
        refused=ALL_TABLES_COST if publication.all_tables else "",
    )
