"""What stands behind the step Schema, on two real servers: made, put off, edited, refused, undone."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from engine.catalog.table import TableName
from engine.errors import Failure, Side
from engine.schema.comparison import Applied, AppliedStatement, ApplyReport, ObjectKey, Presence
from livesync_tui.services import LivesyncServices
from screens.step_services.schema import SchemaLook, ScriptToRun
from tests.conftest import Database

_SOURCE = """
create table customer (id int primary key, name text);
create table sale (id int primary key, customer int references customer, total numeric(12, 2));
create index sale_total on sale (total);
create view names as select name from customer;
"""


class Opened:
    """The wizard's services, connected."""

    def __init__(self, source: Database, target: Database, folder: Path, *, dry_run: bool = False) -> None:
        self.services = LivesyncServices(folder=folder, dry_run=dry_run)
        self.services.begin()
        self.services.use_connection(Side.SOURCE, source.conninfo)
        self.services.use_connection(Side.TARGET, target.conninfo)
        migration = replace(
            self.services.migration,
            source_conninfo=self.services.conninfo(Side.SOURCE),
            target_conninfo=self.services.conninfo(Side.TARGET),
            subscription="moving",
            tables=(TableName("public", "customer"), TableName("public", "sale")),
        )
        assert self.services.record(migration) is None
        self.steps = self.services.schema
        self.heard: list[AppliedStatement] = []

    def look(self, *, over_edited: bool = False) -> SchemaLook:
        look = self.steps.look(over_edited=over_edited)
        assert isinstance(look, SchemaLook), look
        assert look.problem is None
        return look

    def apply(self, *, tables_first: bool = False, may_drop: tuple[str, ...] = ()) -> dict[str, Applied]:
        report = self.steps.apply(tables_first=tables_first, may_drop=may_drop, on_result=self.heard.append)
        assert isinstance(report, ApplyReport), report
        return {result.planned.about: result.outcome for result in report.results}

    def path(self, name: str = "schema_dump.sql") -> Path:
        return next(iter(self.services._context.saved.directory.glob(f"*/{name}")))


@pytest.fixture
def opened(source_db: Database, target_db: Database, tmp_path: Path) -> Opened:
    return Opened(source_db, target_db, tmp_path / "state")


def _to_run(look: SchemaLook) -> list[str]:
    assert look.file is not None
    return [statement.about for statement in look.file.statements]


def _presence(look: SchemaLook) -> dict[str, Presence]:
    return {str(one.key): one.presence for one in look.comparison.objects}


def test_tables_come_first_then_nothing_is_left_and_all_of_it_can_be_undone(
    opened: Opened, source_db: Database, target_db: Database
) -> None:
    source_db.execute(_SOURCE)
    target_db.execute("create table mine (id int)")
    look = opened.look()
    assert look.missing == opened.services.migration.tables
    assert _to_run(look)[:3] == ["table public.customer", "view public.names", "table public.sale"]
    assert stat.S_IMODE(opened.path().stat().st_mode) == 0o600

    done = opened.apply(tables_first=True)
    assert set(done.values()) == {Applied.DONE}
    assert [result.planned.about for result in opened.heard] == list(done)
    assert not any("constraint" in about or "index" in about for about in done)
    transcript = opened.path("transcript.sql").read_text()
    assert "CREATE TABLE public.sale (" in transcript
    assert "sale_total" not in transcript

    left = opened.look()
    assert left.missing == ()
    assert _to_run(left) == []
    assert left.waiting is not None
    # The foreign key is added and validated.
    assert left.waiting.count == 5
    assert {str(key) for key in left.waiting_keys} == {
        "constraint customer_pkey on public.customer",
        "constraint sale_pkey on public.sale",
        "fk constraint sale_customer_fkey on public.sale",
        "index public.sale_total",
    }
    assert opened.apply(tables_first=False) == {}

    assert opened.steps.made_count == 3
    undone = opened.steps.undo(opened.heard.append)
    assert isinstance(undone, ApplyReport)
    assert not undone.refused
    assert opened.steps.made_count == 0
    after = opened.look()
    assert after.waiting is None
    assert _to_run(after) == _to_run(look)
    assert target_db.query("select to_regclass('mine')::text, to_regclass('sale')") == [("mine", None)]


def test_what_differs_is_left_and_what_is_refused_does_not_stop_the_others(
    opened: Opened, source_db: Database, target_db: Database
) -> None:
    source_db.execute(_SOURCE)
    target_db.execute("create table customer (id int primary key)")
    look = opened.look()
    assert _presence(look)["table public.customer"] is Presence.DIFFERENT
    assert look.risks == ("public.customer.name is not there",)
    done = opened.apply()
    assert done["view public.names"] is Applied.REFUSED
    assert done["fk constraint sale_customer_fkey on public.sale"] is Applied.DONE
    assert "table public.customer" not in done
    assert '-- column "name" does not exist' in opened.path("transcript.sql").read_text()
    left = opened.look()
    assert _to_run(left) == ["view public.names"]
    assert left.waiting is None

    target_db.execute("alter table sale drop constraint sale_customer_fkey")
    opened.look()
    dropped = opened.steps.drop(ObjectKey("TABLE", "public.customer"))
    assert isinstance(dropped, ApplyReport)
    assert not dropped.refused
    opened.look()
    opened.apply()
    assert set(_presence(opened.look()).values()) == {Presence.IDENTICAL}


def test_what_is_in_the_edited_file_is_run_and_drops_only_what_was_named(
    opened: Opened, source_db: Database, target_db: Database
) -> None:
    source_db.execute(_SOURCE)
    target_db.execute("create table notes (id int)")
    opened.look()
    text = opened.path().read_text()
    edited = text.replace("numeric(12,2)", "numeric").replace("CREATE INDEX sale_total", "CREATE INDEX mine")
    assert edited.count("numeric") == 1
    opened.path().write_text(f"{edited}\nDROP TABLE public.notes;\n")
    script = opened.steps.read()
    assert isinstance(script, ScriptToRun)
    assert script.file.is_edited
    assert script.drops == ("public.notes",)

    refused = opened.steps.apply(tables_first=True, may_drop=(), on_result=opened.heard.append)
    assert isinstance(refused, Failure)
    assert "public.notes" in refused.title
    assert target_db.query("select to_regclass('customer')") == [(None,)]

    done = opened.apply(tables_first=True, may_drop=("public.notes",))
    assert set(done.values()) == {Applied.DONE}
    # The edited table and index are told by their comments; unedited keys wait.
    assert done.keys() >= {"table public.sale", "index public.sale_total", "table public.customer"}
    assert "constraint sale_pkey on public.sale" not in done
    assert target_db.query("select to_regclass('notes'), to_regclass('mine')::text") == [(None, "mine")]
    look = opened.look()
    assert look.waiting is not None
    assert look.waiting.count == 4
    assert look.file is not None
    assert look.file.is_edited
    # The second time all of it is there.
    again = opened.apply(tables_first=True, may_drop=("public.notes",))
    assert again.pop("DROP TABLE public.notes") is Applied.REFUSED
    assert set(again.values()) == {Applied.IDENTICAL}, again
    assert opened.look().waiting == look.waiting

    opened.path().write_text("create table broken (")
    broken = opened.steps.read()
    assert isinstance(broken, Failure)
    assert "Line 1" in broken.title
    unreadable = opened.look()
    assert unreadable.file is None
    assert unreadable.unreadable == broken
    anew = opened.look(over_edited=True)
    assert anew.file is not None
    assert not anew.file.is_edited


def test_passwords_are_never_shown_and_still_carried_over(
    opened: Opened, source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        "create foreign data wrapper w; create server one foreign data wrapper w;"
        "create user mapping for postgres server one options (user 'a', password 'hunter2');"
        "create server two foreign data wrapper w;"
        "create user mapping for postgres server two options (password 'hunter3')"
    )
    look = opened.look()
    assert "hunter" not in repr(look)
    opened.path().write_text(opened.path().read_text() + "\n-- mine\ncreate table public.extra (id int);\n")
    script = opened.steps.read()
    assert "hunter" not in repr(script)
    assert set(opened.apply().values()) == {Applied.DONE}, opened.heard
    stored = target_db.query("select umoptions from pg_user_mapping order by umserver")
    assert "password=hunter2" in str(stored)
    assert "password=hunter3" in str(stored)
    assert "hunter" not in repr(opened.heard[-1].failure)
    assert "hunter" not in opened.path("transcript.sql").read_text()


def test_a_dry_run_writes_the_script_and_nothing_else(
    source_db: Database, target_db: Database, tmp_path: Path
) -> None:
    source_db.execute(_SOURCE)
    opened = Opened(source_db, target_db, tmp_path / "state", dry_run=True)
    before = target_db.query("select count(*) from pg_class")
    assert len(_to_run(opened.look())) > 3
    refusals = (
        opened.steps.apply(tables_first=True, may_drop=(), on_result=opened.heard.append),
        opened.steps.drop(ObjectKey("TABLE", "public.customer")),
        opened.steps.undo(opened.heard.append),
    )
    assert all(isinstance(one, Failure) and "dry run" in one.title for one in refusals)
    assert target_db.query("select count(*) from pg_class") == before
    assert "CREATE TABLE public.sale" in opened.path().read_text()


def test_an_extension_comes_before_what_uses_it(
    opened: Opened, source_db: Database, target_db: Database
) -> None:
    source_db.execute("create extension vector; create table item (id int primary key, v vector(3))")
    look = opened.look()
    assert _to_run(look)[0] == "extension vector"
    assert not any("extension" in one.key.kind.lower() for one in look.comparison.objects)
    done = opened.apply()
    assert done["extension vector"] is done["table public.item"] is Applied.DONE
    assert _to_run(opened.look()) == []


def test_without_pg_dump_the_tables_are_looked_for_all_the_same(
    opened: Opened, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.errors import BlockedError

    def none(*_: object) -> None:
        raise BlockedError(Failure("No pg_dump here is new enough"))

    monkeypatch.setattr("engine.schema.archive.find_program", none)
    target_db.execute("create table customer (id int)")
    look = opened.steps.look()
    assert isinstance(look, SchemaLook)
    assert look.missing == (TableName("public", "sale"),)
    assert look.problem is not None
    assert look.file is None
