"""Roles, owners, privileges and settings, from one major version of PostgreSQL to another."""

from __future__ import annotations

import pytest

from engine.roles.planned import Standing
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles

# The same tests and fixtures over other servers: pytest collects what a test module imports.
from tests.engine.conftest import cluster_roles  # noqa: F401
from tests.engine.test_database_settings import (  # noqa: F401
    test_all_settings_read_the_same_afterwards,
    test_what_the_target_refuses_is_set_apart_with_its_reason,
)
from tests.engine.test_migration_user import (  # noqa: F401
    test_it_is_made_does_its_work_and_is_taken_away_again,
)
from tests.engine.test_privileges import (  # noqa: F401
    case,
    test_a_role_that_is_no_superuser_acts_for_the_owners_and_steps_back,
    test_all_rights_arrive_and_the_second_plan_is_empty,
    test_what_only_the_target_grants_is_taken_back_from_roles_of_the_source,
)
from tests.engine.test_roles import apply, endpoints, make_roles, only, plan

# Pairs of their own: 15, the oldest target, is one of them.
pytestmark = [
    pytest.mark.versions,
    pytest.mark.parametrize(
        "versions",
        [(13, 15), (14, 18), (16, 15), (18, 16), (18, 18)],
        ids=lambda pair: f"{pair[0]} to {pair[1]}",
        indirect=True,
        scope="session",
    ),
]


_ATTRIBUTES = """
select r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
       r.rolbypassrls, r.rolconnlimit, r.rolpassword, coalesce(r.rolvaliduntil, 'infinity')::text,
       shobj_description(r.oid, 'pg_authid'),
       (select array_agg(distinct m.roleid::regrole::text || m.admin_option) from pg_auth_members m
         where m.member = r.oid)
  from pg_authid r where strpos(r.rolname, %s) > 0 order by r.rolname collate "C"
"""


def test_all_roles_arrive_and_the_second_run_finds_nothing(
    cluster_roles: ClusterRoles,  # noqa: F811
    source_db: Database,
    target_db: Database,
) -> None:
    make_roles(source_db, cluster_roles)
    source, target = endpoints(source_db, target_db)
    chosen = only(cluster_roles, source_db)
    assert apply(target, plan(source, target, chosen)).refused == ()
    parameters = [cluster_roles.token]
    assert target_db.query(_ATTRIBUTES, parameters) == source_db.query(_ATTRIBUTES, parameters)
    second = plan(source, target, chosen)
    assert second.script.statements == ()
    assert {one.standing for one in second.roles} <= {Standing.SAME, Standing.LEFT_OUT}
