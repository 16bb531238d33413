"""What each room loads, seen in a fresh interpreter: import-linter reads the static graph only."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_REPORT = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded_by(code: str) -> set[str]:
    """Top-level modules in ``sys.modules`` after running ``code`` in a new interpreter."""
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\n{_REPORT}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(finished.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import engine.replication.engine", {"textual", "rich", "screens", "livesync_tui"}),
        (
            "import engine.script.planned, engine.roles.planned, engine.roles.migration_role",
            {"psycopg", "textual", "pglast"},
        ),
        (
            "import engine.schema.comparison, engine.postsync.checklist",
            {"psycopg", "textual", "pglast"},
        ),
        ("import engine.snapshot, engine.feed, engine.view, engine.errors", {"psycopg", "textual"}),
        (
            "import screens.live, screens.cutover, screens.connect, screens.checks, screens.tables",
            {"psycopg", "livesync_tui"},
        ),
        ("import livesync_tui.cli; livesync_tui.cli.build_parser()", {"textual", "psycopg", "rich"}),
        ("import livesync_tui.run_command, livesync_tui.subscription_commands", {"textual"}),
        ("import livesync_tui.check_command, livesync_tui.provider_document", {"textual", "rich"}),
        ("import livesync_tui.verify_command", {"textual", "rich"}),
        ("import engine.verification.outcome", {"psycopg", "textual"}),
        (
            "import engine.catalog.planned, engine.catalog.schema_tables, engine.catalog.hypertable,"
            " engine.catalog.table_map_review, engine.catalog.table_map_edit, engine.catalog.table_list,"
            " engine.catalog.hypertable_choice, engine.catalog.publication_record",
            {"psycopg", "textual"},
        ),
        ("import engine.checks.finding, engine.providers.load", {"psycopg", "textual"}),
        ("import engine.connection.stage, engine.connection.fields", {"psycopg", "textual"}),
        (
            "import engine.timescaledb.catalog, engine.timescaledb.refill, engine.timescaledb.chunk",
            {"psycopg", "textual"},
        ),
    ],
)
def test_a_room_loads_only_what_it_may(code: str, forbidden: set[str]) -> None:
    assert loaded_by(code) & forbidden == set()


def test_the_report_can_fail() -> None:
    assert "textual" in loaded_by("import textual")
