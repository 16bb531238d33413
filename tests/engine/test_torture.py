"""Everything that PostgreSQL has goes through all steps; the second time there is nothing to do.

``torture_schema/`` holds the objects. From its own step on, the migration's role reads the source, as in the
wizard.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

from engine.catalog.identity_change import apply_identities, undo_identities
from engine.catalog.planned_identity import IdentityOutcome, IdentityRecord, remember
from engine.catalog.publication_plan import apply_plan, plan_publication
from engine.catalog.replica_identity import plan_identities
from engine.catalog.table import TableName
from engine.catalog.table_map import TableMap
from engine.catalog.tables import list_tables
from engine.checks.finding import Verdict
from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.session import open_session
from engine.cutover.sequences import copy_sequences
from engine.errors import Side
from engine.postsync.plan import plan_checklist
from engine.postsync.run import run_checklist
from engine.privileges.plan import plan_privileges
from engine.replication.deferred_state import DeferredStore, StepState
from engine.replication.drop import Dropped, drop_subscription
from engine.replication.missing_schema import PutOff, restore_missing
from engine.roles.migration_check import check_migration_user
from engine.roles.migration_role import MigrationRoleWishes
from engine.roles.migration_user import generate_password, logged_in_as, plan_migration_user, plan_removal
from engine.roles.plan import plan_roles
from engine.roles.planned import RoleFilter
from engine.schema.compare import compare_schemas
from engine.schema.comparison import Presence
from engine.schema.extensions import create_extensions, plan_extensions
from engine.schema.programs import find_program
from engine.script.grammar import split_script
from engine.script.masking import reveal
from engine.script.planned import Script
from engine.script.run import run_script
from engine.settings.database_settings import plan_settings
from tests.conftest import Database
from tests.engine.cluster_roles import ClusterRoles, run
from tests.engine.replicating import Migration, rows_of
from tests.engine.torture_differences import DIFFERENCES, explain
from tests.waiting import wait_until

_FOLDER = Path(__file__).parent / "torture_schema"
_DOCUMENT = Path(__file__).parents[2] / "docs" / "schema.md"
_ROLE = "torture_migrate"
_SUBSCRIPTION = "torture"
_PUBLICATION = 'Torture "pub" [b]'

_PSQL_COMMAND = re.compile(r"^\\(?:restrict|unrestrict|connect) .*\n", re.M)

_FILLED = "select oid::regclass::text from pg_class where relkind = 'm' and relispopulated order by 1"


@pytest.fixture
def torture_roles(cluster_roles: ClusterRoles) -> ClusterRoles:
    """The roles of ``roles.sql`` have their own token."""
    cluster_roles.token = "torture"
    return cluster_roles


def make(database: Database, *parts: str) -> None:
    for part in parts:
        database.execute((_FOLDER / f"{part}.sql").read_text(encoding="utf-8"))


def dumped(database: Database, name: str, *flags: str) -> Counter[str]:
    """What a program of PostgreSQL writes of a whole database or server, by statement."""
    program = find_program(name, 18)
    environment = database.server.client_environment(database.name)
    finished = subprocess.run(
        [program.path, *flags, "--no-password"],
        # The database of the test has it on, and the words that are quoted depend on the server's version.
        env={**environment, "PGOPTIONS": "-c quote_all_identifiers=off"},
        capture_output=True,
        check=True,
    )
    # A name may hold a carriage return, which subprocess's text mode would change.
    text = _PSQL_COMMAND.sub("", finished.stdout.decode().replace(database.name, "the_database"))
    return Counter(unit.sql for unit in split_script(text))


def schema_of(database: Database) -> Counter[str]:
    """With owners and privileges, the database's own and its settings too."""
    return dumped(database, "pg_dump", "--schema-only", "--create", "--exclude-schema=_ts_live_sync")


def roles_of(database: Database) -> Counter[str]:
    of_server = dumped(database, "pg_dumpall", "--roles-only")
    return Counter({text: number for text, number in of_server.items() if "torture" in text})


class Steps:
    """One migration. Each step plans, does what is planned, and returns the statements that it ran."""

    def __init__(self, source_db: Database, target_db: Database) -> None:
        self.source_db = source_db
        self.target_db = target_db
        self.admin = parse_endpoint(Side.SOURCE, source_db.conninfo)
        self.target = parse_endpoint(Side.TARGET, target_db.conninfo)
        self.password = generate_password()
        self.source = logged_in_as(self.admin, _ROLE, self.password)
        self.records: tuple[IdentityRecord, ...] = ()
        self.tables: tuple[TableName, ...] = ()
        self.left_out: set[str] = set()

    def migration(self) -> Migration:
        conninfo = self.source_db.server.conninfo(
            self.source_db.name, user=_ROLE, password=self.password.reveal()
        )
        return Migration(
            self.source_db,
            self.target_db,
            subscription=_SUBSCRIPTION,
            publications=(_PUBLICATION,),
            source_conninfo=conninfo,
        )

    def run(self, endpoint: Endpoint, script: Script) -> list[str]:
        assert script.set_apart == ()
        with open_session(endpoint, "test") as session:
            result = run_script(session, reveal(script.text(), script.secrets), endpoint.side)
        assert result.refused == ()
        return [statement.sql for statement in script.statements]

    def chosen_roles(self) -> RoleFilter:
        """Other tests' roles, on a server that they share, are not ours."""
        names = {name for (name,) in self.source_db.query("select rolname from pg_roles")}
        return RoleFilter(unwanted=frozenset({one for one in names if "torture" not in one} | {_ROLE}))

    def before_the_copy(self) -> dict[str, list[str]]:
        done = {"migration user": self.migration_user(), "roles": self.roles()}
        done |= {"extensions": self.extensions(), "schema": self.schema()}
        self.choose_tables()
        done |= {"identities": self.identities(), "publication": self.publication()}
        return {**done, "privileges": self.privileges(), "settings": self.settings()}

    def after_the_copy(self) -> dict[str, list[str]]:
        return {
            "privileges of what waited": self.privileges(),
            "post-sync": self.post_sync(),
            "sequences": self.sequences(),
        }

    def migration_user(self) -> list[str]:
        wishes = MigrationRoleWishes(_ROLE)
        with open_session(self.admin, "test") as session:
            is_there = plan_migration_user(session, wishes).already_there
            plan = plan_migration_user(session, wishes, None if is_there else self.password)
        done = self.run(self.admin, plan.script)
        assert {one.verdict for one in check_migration_user(self.source)} == {Verdict.OK}
        return done

    def roles(self) -> list[str]:
        with open_session(self.source, "test") as source, open_session(self.target, "test") as target:
            plan = plan_roles(source, target, self.chosen_roles())
        return self.run(self.target, plan.script)

    def extensions(self) -> list[str]:
        with open_session(self.source, "test") as source, open_session(self.target, "test") as target:
            report = create_extensions(self.target, plan_extensions(source, target))
        assert report.refused == ()
        return [result.planned.sql for result in report.results]

    def schema(self) -> list[str]:
        with open_session(self.source, "test") as source, open_session(self.target, "test") as target:
            compared = compare_schemas(self.source, source, self.target, target, own_identities=self.records)
            restored = restore_missing(
                self.target,
                compared,
                put_off=PutOff(_SUBSCRIPTION, source, target),
                all_or_nothing=True,
            )
        different = {
            str(one.key)
            for one in compared.comparison.objects
            if one.presence in (Presence.DIFFERENT, Presence.ONLY_ON_TARGET)
        }
        assert different == {"comment EXTENSION vector of vector"}
        assert restored.applied.refused == ()
        return [
            *(result.planned.sql for result in restored.applied.results),
            *("put off" for _ in range(restored.put_off)),
        ]

    def choose_tables(self) -> None:
        with open_session(self.source, "test") as source:
            tables = list_tables(source)
        self.tables = tuple(table.name for table in tables if table.problem is None)
        self.left_out = {str(table.name) for table in tables if table.problem is not None}

    def identities(self) -> list[str]:
        with open_session(self.source, "test") as source:
            proposals = plan_identities(source, self.tables).proposals
            self.records = remember(self.records, (one.record for one in proposals))
            results = apply_identities(source, proposals)
        assert {result.outcome for result in results} <= {IdentityOutcome.APPLIED}
        return [result.sql for result in results]

    def publication(self) -> list[str]:
        with open_session(self.source, "test") as source:
            plan = plan_publication(source, _PUBLICATION, self.tables)
            assert plan.missing_rights == ()
            apply_plan(source, plan)
        return [statement.sql for statement in plan.statements]

    def copy(self, *changes: str) -> None:
        """Run the engine until all is there: rows, changes, and what of the schema waited for rows."""
        with self.migration() as migration:
            migration.wait_ready()
            make(self.source_db, *changes)
            migration.wait_applied()
            with open_session(self.target, "test") as target:
                store = DeferredStore(target, _SUBSCRIPTION)
                wait_until(
                    lambda: not any(step.state is StepState.PENDING for step in store.unfinished()),
                    describe=store.unfinished,
                )
                assert store.unfinished() == ()

    def require_same_rows(self) -> None:
        """Once both databases have the same settings, which change how values are written."""
        for name in self.tables:
            raw = f"{name.schema}.{name.table}"
            assert rows_of(self.source_db, raw) == rows_of(self.target_db, raw), name

    def privileges(self) -> list[str]:
        with open_session(self.source, "test") as source, open_session(self.target, "test") as target:
            script = plan_privileges(source, target, not_told=[_ROLE])
            waits = bool(DeferredStore(target, _SUBSCRIPTION).unfinished())
        assert [note.partition(":")[0] for note in script.notes] == ["Not on the target"] * waits
        return self.run(self.target, script)

    def settings(self) -> list[str]:
        with open_session(self.source, "test") as source, open_session(self.target, "test") as target:
            script = plan_settings(source, target, self.chosen_roles())
        return self.run(self.target, script)

    def post_sync(self) -> list[str]:
        with open_session(self.source, "test") as source, open_session(self.target, "test") as target:
            planned = plan_checklist(source, target)
        done = run_checklist(
            self.target,
            planned,
            session_count=2,
            stop=threading.Event(),
            on_progress=lambda checklist: None,
        )
        assert [item for item in done.items if not item.is_settled] == []
        return [item.statement for item in planned.items if not item.is_settled]

    def sequences(self) -> list[str]:
        """Each is set anew every time; that it says so is no statement."""
        with open_session(self.source, "test") as source, open_session(self.target, "test") as target:
            outcomes = copy_sequences(source, target, TableMap())
        assert len(outcomes) > 8
        assert {outcome.problem for outcome in outcomes} == {None}
        return []

    def undo(self) -> tuple[set[IdentityOutcome], Dropped, list[str]]:
        with open_session(self.admin, "test") as admin:
            identities = {result.outcome for result in undo_identities(admin, self.records)}
            removal = plan_removal(admin, _ROLE)
        dropped = drop_subscription(self.admin, self.target, _SUBSCRIPTION)
        return identities, dropped, self.run(self.admin, removal)


def test_every_kind_of_object_goes_through_all_steps_and_back(
    torture_roles: ClusterRoles, source_db: Database, target_db: Database
) -> None:
    make(source_db, "roles", "schema", "rows", "privileges", "settings")
    source_before, roles_before = schema_of(source_db), roles_of(source_db)
    steps = Steps(source_db, target_db)

    first = steps.before_the_copy()
    assert steps.left_out == {"app.passing"}
    steps.copy("changes")
    first |= steps.after_the_copy()
    assert {step for step, statements in first.items() if not statements} == {"sequences"}
    steps.require_same_rows()
    target_after = schema_of(target_db)

    second = steps.before_the_copy()
    steps.copy()
    second |= steps.after_the_copy()
    assert {step: statements for step, statements in second.items() if statements} == {}
    steps.require_same_rows()
    assert schema_of(target_db) == target_after

    run(source_db, "drop publication {}", _PUBLICATION)
    identities, dropped, removed = steps.undo()
    assert identities == {IdentityOutcome.APPLIED}
    assert dropped.had_state
    assert removed
    assert schema_of(source_db) == source_before
    assert roles_of(source_db) == roles_before
    identities, dropped, removed = steps.undo()
    assert (identities, dropped, removed) == ({IdentityOutcome.ALREADY_THERE}, Dropped((), False, ()), [])

    assert target_db.query("select from pg_namespace where nspname = '_ts_live_sync'") == []
    assert target_db.query(_FILLED) == source_db.query(_FILLED)
    assert schema_of(target_db) == target_after
    unexplained, reasons = explain(source_before + roles_of(source_db), target_after + roles_of(target_db))
    assert unexplained == []
    is_upgrade = source_db.server.major != target_db.server.major
    assert reasons == {one.title for one in DIFFERENCES if is_upgrade or not one.between_versions}
    document = _DOCUMENT.read_text(encoding="utf-8")
    assert [one.title for one in DIFFERENCES if f"**{one.title}**" not in document] == []
