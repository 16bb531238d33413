"""The scripts that the wizard generates, as files: what a person edits there is what is applied.

Each has the name the procedure gives it and lies in the migration's folder. Beside them ``.generated.json``
holds a digest of each as we wrote it, and nothing else: a file with another digest was edited, and is not
written over unless that is asked for. Passwords never get there; their placeholders are filled in when a
script is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.connection.secret import Secret
from engine.errors import Failure, Retry, Side, UsageError
from engine.script.grammar import split_script
from engine.script.masking import mask
from engine.script.planned import Script, ScriptStatement
from livesync_tui.paths import make_private_directory, write_private_file
from screens.generated import GeneratedFile

_DIGESTS = ".generated.json"


@dataclass(frozen=True, slots=True)
class _Known:
    side: Side
    secrets: Mapping[str, Secret]


class GeneratedFiles:
    """The generated files of one migration."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, _Known] = {}

    def write(self, side: Side, script: Script, *, over_edited: bool) -> GeneratedFile:
        """Write a script, unless its file was edited.

        Args:
            side: Where it is to be run.
            script: As it was planned now.
            over_edited: Whether an edited file is written over too.

        Returns:
            What is in the file now.

        Raises:
            UsageError: The edited file is not SQL.
            OSError: The disk is full or read-only.
        """
        self._known[script.file_name] = _Known(side, script.secrets)
        path = self._folder / script.file_name
        if self._is_edited(path) and not over_edited:
            return self.read(script.file_name)
        make_private_directory(self._folder.parent)
        make_private_directory(self._folder)
        text = script.text()
        write_private_file(path, text)
        write_private_file(
            self._folder / _DIGESTS,
            json.dumps({**self._digests(), script.file_name: _digest(text)}, indent=2) + "\n",
        )
        return GeneratedFile(path, text, script.to_run, is_edited=False)

    def read(self, name: str) -> GeneratedFile:
        """What is in a generated file now.

        Raises:
            UsageError: It is not SQL, or not there any more.
        """
        path = self._folder / name
        text = _text(path)
        masked, _ = mask(text)
        statements = []
        try:
            units = split_script(text)
        except UsageError as error:
            # A step may have several files.
            raise UsageError(replace(error.failure, title=f"{name}: {error.failure.title}")) from None
        for unit in units:
            shown, _ = mask(unit.sql)
            statements.append(ScriptStatement(unit.comment or " ".join(shown.split()), shown))
        return GeneratedFile(path, masked, tuple(statements), is_edited=self._is_edited(path))

    def to_run(self, name: str) -> tuple[Side, str, Mapping[str, Secret]]:
        """Where a file is run, its text with placeholders, and what they stand for.

        Raises:
            UsageError: It is not there any more.
        """
        known = self._known[name]
        return known.side, _text(self._folder / name), known.secrets

    @property
    def written(self) -> Mapping[str, Side]:
        """Where each file generated since the program was started is to be run, in that order."""
        return {name: known.side for name, known in self._known.items()}

    def text(self, name: str) -> str | None:
        """What is in a file of the migration's folder, or None when there is none.

        Raises:
            UsageError: It cannot be read.
        """
        path = self._folder / name
        return _text(path) if path.exists() else None

    def _is_edited(self, path: Path) -> bool:
        try:
            found = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return self._digests().get(path.name) != _digest(found)

    def _digests(self) -> dict[str, str]:
        try:
            digests = json.loads((self._folder / _DIGESTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return (
            {str(name): str(digest) for name, digest in digests.items()} if isinstance(digests, dict) else {}
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"byte {error.start + 1} is not UTF-8") from None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        Failure(
            f"{path.name} cannot be read: {why}",
            str(path),
            hint="Press d to have the script written anew",
            retry=Retry.NEVER,
        )
    )
