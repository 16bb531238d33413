"""What a step with a generated script needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engine.errors import Failure, Side
from engine.script.planned import Script, ScriptResult
from screens.generated import GeneratedFile


class ScriptServices(Protocol):
    """Generated scripts, their files, and running them."""

    def generate(self, side: Side, script: Script, *, over_edited: bool = False) -> GeneratedFile | Failure:
        """Write a script into its file, unless that was edited, and say what is there now."""

    def read(self, name: str) -> GeneratedFile | Failure:
        """What is in a generated file now."""

    def run(self, name: str) -> ScriptResult | Failure:
        """Run a generated file, statement by statement, as it is now (blocking)."""

    def run_now(self, side: Side, script: Script) -> ScriptResult | Failure:
        """Run a script that has no file of its own, such as one that undoes a step (blocking)."""

    def editor(self) -> Sequence[str] | Failure:
        """The command of the person's editor."""

    def write_everything(self) -> Path | Failure:
        """Write all scripts of the steps into one file, in order, for a dry run."""

    @property
    def whole_script(self) -> Path | None:
        """The file that :meth:`write_everything` wrote in this run."""
