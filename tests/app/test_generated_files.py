"""What a person edits is what runs; passwords are in no file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.connection.secret import Secret
from engine.errors import Side, UsageError
from engine.script.masking import reveal
from engine.script.planned import Script, ScriptStatement, apart, placeholder
from livesync_tui.generated_files import GeneratedFiles

_SECRET = "SCRAM-SHA-256$4096:hunter2"


def _script(*abouts: str) -> Script:
    return Script(
        "roles.sql",
        "Roles",
        (
            ScriptStatement("role app: made", f"CREATE ROLE app WITH PASSWORD '{placeholder(1)}'"),
            *(ScriptStatement(about, f"CREATE ROLE {about}") for about in abouts),
            *apart([ScriptStatement("role dba", "ALTER ROLE dba WITH SUPERUSER")], "refused"),
        ),
        secrets={placeholder(1): Secret(f"'{_SECRET}'")},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "migration"


@pytest.fixture
def files(folder: Path) -> GeneratedFiles:
    return GeneratedFiles(folder)


def _write(files: GeneratedFiles, script: Script, *, over_edited: bool = False) -> list[str]:
    file = files.write(Side.TARGET, script, over_edited=over_edited)
    return [f"edited: {file.is_edited}", *(one.about for one in file.statements)]


def test_a_file_is_private_and_holds_no_password(files: GeneratedFiles, folder: Path) -> None:
    before = os.umask(0)
    try:
        file = files.write(Side.TARGET, _script(), over_edited=False)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "roles.sql": 0o600,
        ".generated.json": 0o600,
    }
    assert "<hidden 1>" in file.text
    assert not any("hunter2" in path.read_text() for path in folder.iterdir())


def test_the_password_is_put_in_where_the_placeholder_still_stands(
    files: GeneratedFiles, folder: Path
) -> None:
    files.write(Side.SOURCE, _script(), over_edited=False)
    path = folder / "roles.sql"
    path.write_text(path.read_text().replace("CREATE ROLE app WITH", "CREATE ROLE app WITH CREATEDB"))
    side, text, secrets = files.to_run("roles.sql")
    assert side is Side.SOURCE
    assert f"CREATE ROLE app WITH CREATEDB PASSWORD '{_SECRET}'" in reveal(text, secrets)


def test_an_edited_file_is_kept_and_is_what_runs(files: GeneratedFiles, folder: Path) -> None:
    assert _write(files, _script("one")) == ["edited: False", "role app: made", "one"]
    path = folder / "roles.sql"
    path.write_text("-- by hand\ncreate role mine password 'hunter3';\n")
    # The plan has changed meanwhile; the edited file stands.
    assert _write(files, _script("one", "two")) == ["edited: True", "by hand"]
    shown = files.read("roles.sql")
    assert "hunter3" not in shown.text + repr(shown.statements)
    _, text, secrets = files.to_run("roles.sql")
    assert reveal(text, secrets) == "-- by hand\ncreate role mine password 'hunter3';\n"


def test_edits_are_dropped_when_that_is_asked_for(files: GeneratedFiles, folder: Path) -> None:
    _write(files, _script())
    (folder / "roles.sql").write_text("select 1;\n")
    assert _write(files, _script("one"), over_edited=True) == ["edited: False", "role app: made", "one"]
    assert _write(files, _script()) == ["edited: False", "role app: made"]


def test_a_file_that_was_put_back_as_it_was_is_not_edited(files: GeneratedFiles, folder: Path) -> None:
    _write(files, _script())
    path = folder / "roles.sql"
    original = path.read_text()
    path.write_text("select 1;\n")
    path.write_text(original)
    assert _write(files, _script("one")) == ["edited: False", "role app: made", "one"]


def test_another_run_of_the_program_knows_that_a_file_was_edited(files: GeneratedFiles, folder: Path) -> None:
    _write(files, _script())
    assert _write(GeneratedFiles(folder), _script("one")) == ["edited: False", "role app: made", "one"]
    (folder / "roles.sql").write_text("-- by hand\nselect 1;\n")
    assert _write(GeneratedFiles(folder), _script("one")) == ["edited: True", "by hand"]


@pytest.mark.parametrize("digests", [None, "", "[]", '{"roles.sql": 1}', "{"])
def test_without_its_digest_a_file_counts_as_edited(
    files: GeneratedFiles, folder: Path, digests: str | None
) -> None:
    _write(files, _script())
    known = folder / ".generated.json"
    known.unlink()
    if digests is not None:
        known.write_text(digests)
    assert _write(files, _script("one")) == ["edited: True", "role app: made"]
    assert _write(files, _script(), over_edited=True)[0] == "edited: False"
    assert json.loads(known.read_text()).keys() == {"roles.sql"}


def test_a_file_that_is_not_utf_8_is_refused_and_can_be_written_anew(
    files: GeneratedFiles, folder: Path
) -> None:
    _write(files, _script())
    (folder / "roles.sql").write_bytes(b"-- \xe9\nselect 1;\n")
    for call in (files.read, files.to_run, files.text):
        with pytest.raises(UsageError, match=r"byte 4 is not UTF-8"):
            call("roles.sql")  # type: ignore[operator]
    with pytest.raises(UsageError, match=r"not UTF-8"):
        files.write(Side.TARGET, _script(), over_edited=False)
    assert _write(files, _script(), over_edited=True) == ["edited: False", "role app: made"]


def test_a_file_that_was_deleted_does_not_run_and_is_written_again(
    files: GeneratedFiles, folder: Path
) -> None:
    _write(files, _script())
    (folder / "roles.sql").unlink()
    with pytest.raises(UsageError, match=r"No such file"):
        files.to_run("roles.sql")
    assert files.text("roles.sql") is None
    assert _write(files, _script()) == ["edited: False", "role app: made"]


def test_what_is_no_sql_is_refused_with_the_line(files: GeneratedFiles, folder: Path) -> None:
    _write(files, _script())
    (folder / "roles.sql").write_text("select 1;\ncreate rle x password 'hunter2';\n")
    with pytest.raises(UsageError) as raised:
        files.read("roles.sql")
    assert "line 2" in raised.value.failure.sentence().lower()
    assert "hunter2" not in raised.value.failure.sentence()
