"""Roles that were made on the target are dropped again; what they own keeps them there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.providers.load import load_providers
from engine.roles.migration_user import wishes_for
from engine.roles.planned import CreatedRole, RoleFilter
from engine.roles.removal import plan_role_removal, read_created
from engine.script.planned import Outcome, Script, ScriptResult
from engine.script.run import run_script
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run


def created(database: Database, *names: str) -> tuple[CreatedRole, ...]:
    with open_session(parse_endpoint(Side.TARGET, database.conninfo), "test") as session:
        return read_created(session, Side.TARGET, names)


def removal(database: Database, roles: Sequence[CreatedRole]) -> Script:
    with open_session(parse_endpoint(Side.TARGET, database.conninfo), "test") as session:
        return plan_role_removal(session, roles)


def apply(database: Database, script: Script) -> ScriptResult:
    with open_session(parse_endpoint(Side.TARGET, database.conninfo), "test") as session:
        return run_script(session, script.text(), Side.TARGET)


def test_members_and_grantors_of_each_other_are_dropped_in_an_order_that_works(
    cluster_roles: ClusterRoles, target_db: Database
) -> None:
    # In the order of their names the one that granted comes first, which PostgreSQL refuses.
    names = [cluster_roles.name(base) for base in ('a "grantor"\n[b]', "b_group", "c_member", "d_member")]
    grantor, group, first, second = names
    for name in names:
        run(target_db, "create role {}", name)
    run(
        target_db,
        "grant {group} to {grantor} with admin option; set role {grantor};grant {group} to {first}, {second}",
        group=group,
        grantor=grantor,
        first=first,
        second=second,
    )
    script = removal(target_db, created(target_db, *names))
    assert [one.outcome for one in apply(target_db, script).results] == [Outcome.APPLIED] * 4
    assert cluster_roles.of(target_db) == []
    again = removal(target_db, [CreatedRole(name, 1) for name in names])
    assert (again.statements, len(again.already_there)) == ((), 4)


def test_an_owner_stays_and_postgresql_says_of_what(cluster_roles: ClusterRoles, target_db: Database) -> None:
    owner, other = cluster_roles.name("owner"), cluster_roles.name("other")
    run(target_db, "create role {}; create role {}", owner, other)
    run(target_db, "create table kept (id int); alter table kept owner to {}", owner)
    result = apply(target_db, removal(target_db, created(target_db, owner, other)))
    assert [one.about for one in result.refused] == [f"role {owner}: dropped"]
    assert "owner of table public.kept" in result.refused[0].said
    assert cluster_roles.of(target_db) == [owner]


def test_a_role_that_somebody_made_anew_is_not_ours(cluster_roles: ClusterRoles, target_db: Database) -> None:
    name = cluster_roles.name("again")
    run(target_db, "create role {}", name)
    ours = created(target_db, name)
    run(target_db, "drop role {}", name)
    run(target_db, "create role {}", name)
    assert removal(target_db, ours).statements == ()


@pytest.mark.parametrize(
    ("provider", "replication_role", "hashes_password", "has_words"),
    [
        ("self_hosted", "", True, False),
        ("rds", "rds_replication", True, False),
        ("aurora", "rds_replication", True, False),
        ("neon", "", False, True),
        ("tiger", "", True, True),
        ("azure", "", True, True),
        ("supabase", "", True, False),
    ],
)
def test_a_provider_decides_what_the_migration_s_role_has_to_be(
    source_db: Database, provider: str, replication_role: str, hashes_password: bool, has_words: bool
) -> None:
    with open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as session:
        wishes = wishes_for(session, load_providers()[provider], "mover")
    assert (wishes.name, wishes.superuser) == ("mover", False)
    assert (wishes.replication_role, wishes.hashes_password) == (replication_role, hashes_password)
    assert bool(wishes.words) is has_words


def test_our_own_role_is_left_out_with_that_reason() -> None:
    chosen = RoleFilter(unwanted=frozenset({"dba"}), ours=frozenset({"mover"}))
    reasons = [chosen.reason(name) for name in ("mover", "dba", "app")]
    assert reasons == ["the migration's own role", "not wanted", ""]
