"""Every kind of object from a server to another one of the same version, where less may differ."""

from __future__ import annotations

import pytest

# The same test and fixtures over other servers: pytest collects what a test module imports.
from tests.engine.conftest import cluster_roles  # noqa: F401
from tests.engine.test_torture import (  # noqa: F401
    test_every_kind_of_object_goes_through_all_steps_and_back,
    torture_roles,
)

pytestmark = [
    pytest.mark.versions,
    pytest.mark.parametrize(
        "versions", [(18, 18), (16, 16)], ids=["18 to 18", "16 to 16"], indirect=True, scope="session"
    ),
]
