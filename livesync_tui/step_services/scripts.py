"""Generated scripts as files, and running them with a transcript."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from engine.connection.endpoint import Endpoint
from engine.connection.session import open_session
from engine.errors import BlockedError, Failure, Retry, Side, UsageError
from engine.script.masking import reveal
from engine.script.planned import Script, ScriptResult
from engine.script.run import run_script
from livesync_tui.migration_context import MigrationContext
from livesync_tui.service_failure import returns_failure
from livesync_tui.transcript import executed
from screens.generated import GeneratedFile

DRY_RUN_FILE = "dry_run.sql"

_FILES_OF_STEPS: Mapping[str, Side] = MappingProxyType(
    {
        "migration_user.sql": Side.SOURCE,
        "roles.sql": Side.TARGET,
        "schema_dump.sql": Side.TARGET,
        "replica_identity.sql": Side.SOURCE,
        "publication.sql": Side.SOURCE,
        "privileges.sql": Side.TARGET,
        "db_settings.sql": Side.TARGET,
    }
)
"""Files of the migration's folder in the order of the steps, and where each is run."""

_ABOUT_DRY_RUN = """\
-- What the wizard would run, in the order of its steps. Nothing of it was run.
-- '<hidden 1>' and its like stand for passwords, which are in no file. Put them in before you run a part.
"""

_EDITORS = ("sensible-editor", "nano", "vi")


def run_transcribed(context: MigrationContext, endpoint: Endpoint, text: str) -> ScriptResult:
    """Run a script, statement by statement, and keep what became of each.

    Args:
        context: The migration, to whose transcript it is added.
        endpoint: Where, and as whom.
        text: With its passwords.

    Raises:
        BlockedError: This is a dry run.
        EngineError: The server is not there, or it is not SQL.
        OSError: The transcript could not be written; the statements were run.
    """
    context.require_writing()
    with open_session(endpoint, "script") as session:
        result = run_script(session, text, endpoint.side)
    context.transcribe(endpoint.side, executed(result.results), endpoint)
    return result


class ScriptSteps:
    """Implements :class:`screens.step_services.scripts.ScriptServices`."""

    def __init__(self, context: MigrationContext) -> None:
        self._context = context
        self._whole_script: Path | None = None

    @returns_failure("writing a script")
    def generate(self, side: Side, script: Script, *, over_edited: bool = False) -> GeneratedFile:
        return self._context.files.write(side, script, over_edited=over_edited)

    @returns_failure("reading a script")
    def read(self, name: str) -> GeneratedFile:
        return self._context.files.read(name)

    @returns_failure("running a script")
    def run(self, name: str) -> ScriptResult:
        side, text, secrets = self._context.files.to_run(name)
        return run_transcribed(self._context, self._context.endpoint(side), reveal(text, secrets))

    @returns_failure("running a script")
    def run_now(self, side: Side, script: Script) -> ScriptResult:
        text = reveal(script.text(), script.secrets)
        return run_transcribed(self._context, self._context.endpoint(side), text)

    @returns_failure("looking for an editor")
    def editor(self) -> list[str]:
        name = "VISUAL" if os.environ.get("VISUAL") else "EDITOR"
        try:
            wanted = shlex.split(os.environ.get(name, ""))
        except ValueError as error:
            raise UsageError(
                Failure(f"{name} cannot be read: {error}", hint="Set it to a command", retry=Retry.NEVER)
            ) from None
        if wanted:
            return wanted
        found = next((path for path in map(shutil.which, _EDITORS) if path), None)
        if found is None:
            raise BlockedError(
                Failure("There is no editor", hint="Set EDITOR, or edit the file in another session")
            )
        return [found]

    @returns_failure("writing the whole script")
    def write_everything(self) -> Path:
        files = self._context.files
        parts = [_ABOUT_DRY_RUN]
        for name, side in {**_FILES_OF_STEPS, **files.written}.items():
            text = files.text(name)
            if text is not None:
                parts.append(f"-- On the {side.value}: {name}\n\n{text}")
        path = self._context.saved.write_file(self._context.migration.id, DRY_RUN_FILE, "\n\n".join(parts))
        self._whole_script = path
        return path

    @property
    def whole_script(self) -> Path | None:
        return self._whole_script
