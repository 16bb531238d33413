"""Identities, publications and statistics are read and changed alike on every major version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import Session, open_session
from engine.errors import BlockedError, Side
from tests.conftest import Database

# The same tests over other servers: pytest collects what a test module imports.
from tests.engine.test_hypertable_suggestions import (  # noqa: F401
    test_a_table_cut_by_time_is_judged_by_its_partitions,
    test_made_up_moments_do_not_change_the_rate,
    test_what_stands_against_it_is_told,
)
from tests.engine.test_publication_offers import statements
from tests.engine.test_publication_plan import (  # noqa: F401
    test_leaves_in_the_publication_are_replaced_by_their_root,
    test_tables_are_added_and_dropped_as_chosen,
)
from tests.engine.test_replica_identity import (  # noqa: F401
    test_an_undo_is_shown_before_it_is_done,
    test_each_leaf_gets_its_own_index_under_its_own_name,
    test_of_a_table_changed_twice_the_first_state_is_put_back,
    test_who_blocks_is_named_and_the_others_are_set,
)
from tests.engine.test_schema_tables import test_foreign_keys_and_children_are_found  # noqa: F401

pytestmark = pytest.mark.versions


@pytest.fixture
def session(source_db: Database) -> Iterator[Session]:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as opened:
        yield opened


def test_whole_schemas_are_published_where_postgresql_can(source_db: Database, session: Session) -> None:
    source_db.execute("create schema s; create table s.t (i int primary key); create table t (i int)")
    if session.info.server_version < 150000:
        with pytest.raises(BlockedError, match="PostgreSQL 15"):
            statements(session, "t", schemas=("s",))
        return
    assert len(statements(session, "t", schemas=("s",))) == 2
