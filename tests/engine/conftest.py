"""Fixtures for tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles


@pytest.fixture
def cluster_roles(source_server: EmbeddedServer, target_server: EmbeddedServer) -> Iterator[ClusterRoles]:
    """Has to be asked for before the databases, so that these are dropped first."""
    roles = ClusterRoles()
    yield roles
    for server in (source_server, target_server):
        server.start()
        postgres = Database(server, "postgres")
        names = roles.of(postgres)
        if names:
            every = sql.SQL(", ").join(map(sql.Identifier, names))
            with psycopg.connect(server.conninfo(), autocommit=True) as connection:
                connection.execute(sql.SQL("drop owned by {} cascade").format(every))
                connection.execute(sql.SQL("drop role {}").format(every))
