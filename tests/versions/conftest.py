"""The same fixtures as everywhere, over pairs of server versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from livesync_tui.demo.servers import EmbeddedServer
from tests.versions.installations import programs_of

_PAIRS = [(13, 18), (14, 16), (15, 17), (17, 18), (18, 18), (18, 16), (16, 18)]

_IN_THE_WHEEL = (16, 18)


@pytest.fixture(scope="session", params=_PAIRS, ids=lambda pair: f"{pair[0]} to {pair[1]}")
def versions(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Major versions of source and target."""
    source, target = request.param
    return source, target


@pytest.fixture(scope="session")
def server_of(server_base: Path) -> Iterator[Callable[[int, str], EmbeddedServer]]:
    """Makes and starts a server of a version for one side, once."""
    servers: dict[tuple[int, str], EmbeddedServer] = {}

    def start(major: int, side: str) -> EmbeddedServer:
        if (major, side) not in servers:
            programs = None if major in _IN_THE_WHEEL else programs_of(major, server_base)
            directory = server_base / f"{side}-{major}"
            servers[major, side] = EmbeddedServer.create(major, directory, bin_directory=programs)
            servers[major, side].start()
        return servers[major, side]

    yield start
    for server in servers.values():
        server.stop("immediate")


@pytest.fixture(scope="session")
def source_server(
    versions: tuple[int, int], server_of: Callable[[int, str], EmbeddedServer]
) -> EmbeddedServer:
    """The source's version."""
    return server_of(versions[0], "from")


@pytest.fixture(scope="session")
def target_server(
    versions: tuple[int, int], server_of: Callable[[int, str], EmbeddedServer]
) -> EmbeddedServer:
    """The target's version."""
    return server_of(versions[1], "into")
