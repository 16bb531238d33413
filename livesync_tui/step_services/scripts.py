"""Generated scripts as files, and running them with a transcript."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from engine.connection.session import open_session
from engine.errors import BlockedError, Failure, Side
from engine.script.masking import reveal
from engine.script.planned import Script, ScriptResult
from engine.script.run import run_script
from livesync_tui.migration_context import MigrationContext
from livesync_tui.paths import write_private_file
from livesync_tui.service_failure import returns_failure
from livesync_tui.transcript import executed
from screens.generated import GeneratedFile

DRY_RUN_FILE = "dry_run.sql"

_EDITORS = ("sensible-editor", "nano", "vi")


class ScriptSteps:
    """Implements :class:`screens.step_services.scripts.ScriptServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context

    @returns_failure("writing a script")
    def generate(self, side: Side, script: Script, *, over_edited: bool = False) -> GeneratedFile:
        return self._context.files.write(side, script, over_edited=over_edited)

    @returns_failure("reading a script")
    def read(self, name: str) -> GeneratedFile:
        return self._context.files.read(name)

    @returns_failure("running a script")
    def run(self, name: str) -> ScriptResult:
        side, text, secrets = self._context.files.to_run(name)
        return self._run(side, reveal(text, secrets))

    @returns_failure("running a script")
    def run_now(self, side: Side, script: Script) -> ScriptResult:
        return self._run(side, reveal(script.text(), script.secrets))

    def _run(self, side: Side, text: str) -> ScriptResult:
        self._context.require_writing()
        endpoint = self._context.endpoint(side)
        with open_session(endpoint, "script") as session:
            result = run_script(session, text, side)
        self._context.transcribe(side, executed(result.results), endpoint)
        return result

    @returns_failure("looking for an editor")
    def editor(self) -> list[str]:
        wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if wanted:
            return shlex.split(wanted)
        found = next((path for path in map(shutil.which, _EDITORS) if path), None)
        if found is None:
            raise BlockedError(
                Failure("There is no editor", hint="Set EDITOR, or edit the file in another session")
            )
        return [found]

    @returns_failure("writing the whole script")
    def write_everything(self) -> Path:
        parts = []
        for side, path in self._context.files.written:
            parts.append(f"-- {path.name}, on the {side.value}\n\n{path.read_text(encoding='utf-8')}")
        path = self._context.folder / DRY_RUN_FILE
        write_private_file(path, "\n\n".join(parts))
        return path
