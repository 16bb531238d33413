"""Running generated files on a real server: what is in them, as whom, with a transcript."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.errors import Failure, Side
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement
from livesync_tui.migration_context import MigrationContext
from livesync_tui.saved import SavedMigrations
from livesync_tui.step_services.scripts import ScriptSteps
from screens.generated import GeneratedFile
from tests.conftest import Database

_SCRIPT = Script(
    "privileges.sql",
    "Owners and privileges",
    (
        ScriptStatement("table a", "CREATE TABLE public.a (id int)"),
        ScriptStatement("table b", "CREATE TABLE public.b (id nonsense)"),
        ScriptStatement("table c", "CREATE TABLE public.c (id int)", set_apart="not here"),
    ),
)


def _steps(target: Database, folder: Path, *, dry_run: bool = False) -> tuple[ScriptSteps, MigrationContext]:
    context = MigrationContext(SavedMigrations(folder), "test", dry_run=dry_run)
    context.endpoints[Side.TARGET] = parse_endpoint(Side.TARGET, target.conninfo)
    return ScriptSteps(context), context


def _tables(database: Database) -> list[str]:
    return [name for (name,) in database.query("select tablename from pg_tables where schemaname = 'public'")]


def test_what_is_refused_does_not_stop_the_others_and_all_is_kept(
    target_db: Database, tmp_path: Path
) -> None:
    steps, context = _steps(target_db, tmp_path)
    steps.generate(Side.TARGET, _SCRIPT)
    result = steps.run("privileges.sql")
    assert isinstance(result, ScriptResult)
    assert [(one.about, one.outcome) for one in result.results] == [
        ("table a", Outcome.APPLIED),
        ("table b", Outcome.REFUSED),
    ]
    assert _tables(target_db) == ["a"]
    transcript = (context.folder / "transcript.sql").read_text(encoding="utf-8")
    assert f"target {target_db.name} on 127.0.0.1:" in transcript
    assert "\nCREATE TABLE public.a (id int);\n" in transcript
    assert "\n-- CREATE TABLE public.b (id nonsense);\n" in transcript


def test_the_edited_file_runs_and_not_what_was_planned(target_db: Database, tmp_path: Path) -> None:
    steps, context = _steps(target_db, tmp_path)
    file = steps.generate(Side.TARGET, _SCRIPT)
    assert isinstance(file, GeneratedFile)
    file.path.write_text("create table public.by_hand (id int);\n")
    assert isinstance(steps.run("privileges.sql"), ScriptResult)
    assert _tables(target_db) == ["by_hand"]
    assert "CREATE TABLE public.a" not in (context.folder / "transcript.sql").read_text()


@pytest.mark.parametrize("text", [None, b"create tabel x;", b"\xff", b"commit;"])
def test_a_file_that_cannot_run_is_a_failure_and_nothing_ran(
    target_db: Database, tmp_path: Path, text: bytes | None
) -> None:
    steps, context = _steps(target_db, tmp_path)
    file = steps.generate(Side.TARGET, _SCRIPT)
    assert isinstance(file, GeneratedFile)
    if text is None:
        file.path.unlink()
    else:
        file.path.write_bytes(text)
    failure = steps.run("privileges.sql")
    assert isinstance(failure, Failure)
    assert failure.hint
    assert _tables(target_db) == []
    assert not (context.folder / "transcript.sql").exists()


def test_a_dry_run_writes_one_file_in_the_order_of_the_steps(target_db: Database, tmp_path: Path) -> None:
    steps, context = _steps(target_db, tmp_path, dry_run=True)
    assert steps.whole_script is None
    # As somebody does who goes back and forth.
    steps.generate(Side.TARGET, _SCRIPT)
    for name, side in (("new_step.sql", Side.SOURCE), ("roles.sql", Side.TARGET)):
        steps.generate(side, Script(name, name, (ScriptStatement(name, "select 1"),)))
    (context.folder / "roles.sql").write_text("-- by hand\nselect 2;\n")
    path = steps.write_everything()
    assert isinstance(path, Path)
    assert steps.whole_script == path
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("-- On the ")]
    assert headings == [
        "-- On the target: roles.sql",
        "-- On the target: privileges.sql",
        "-- On the source: new_step.sql",
    ]
    assert "-- by hand\nselect 2;" in text
    assert isinstance(steps.run("roles.sql"), Failure)
    assert _tables(target_db) == []


def test_an_editor_is_found_or_asked_for(
    target_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, _ = _steps(target_db, tmp_path)
    monkeypatch.setenv("EDITOR", "code --wait 'my editor'")
    monkeypatch.delenv("VISUAL", raising=False)
    assert steps.editor() == ["code", "--wait", "my editor"]
    monkeypatch.setenv("VISUAL", "vim")
    assert steps.editor() == ["vim"]
    monkeypatch.delenv("VISUAL")
    monkeypatch.setenv("EDITOR", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    failure = steps.editor()
    assert isinstance(failure, Failure)
    assert "EDITOR" in failure.hint
    monkeypatch.setenv("EDITOR", "an 'open quote")
    failure = steps.editor()
    assert isinstance(failure, Failure)
    assert failure.title == "EDITOR cannot be read: No closing quotation"
