"""Generated scripts without files: what a step writes is kept, what it runs is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.errors import Failure, Side
from engine.script.planned import Outcome, Script, ScriptResult, ScriptStatement, StatementResult
from screens.generated import GeneratedFile

FOLDER = Path("/home/me/.local/state/livesync-tui/shop")


@dataclass
class FakeScripts:
    """ScriptServices for tests."""

    scripts: dict[str, Script] = field(default_factory=dict)
    edited: dict[str, tuple[ScriptStatement, ...]] = field(default_factory=dict)
    """By file name, what a person made of it."""

    refuses: dict[str, str] = field(default_factory=dict)
    """By what a statement is about, what the server says to it."""

    after_run: Callable[[], None] = lambda: None
    """Changes what the next plan finds."""

    failure: Failure | None = None
    """What running comes to."""

    whole_script: Path | None = None
    ran: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """File name, or side, and the statements."""

    def generate(self, side: Side, script: Script, *, over_edited: bool = False) -> GeneratedFile | Failure:
        self.scripts[script.file_name] = script
        if over_edited:
            self.edited.pop(script.file_name, None)
        return self.read(script.file_name)

    def read(self, name: str) -> GeneratedFile | Failure:
        script = self.scripts[name]
        if name in self.edited:
            edited = replace(script, statements=self.edited[name])
            return GeneratedFile(FOLDER / name, edited.text(), edited.to_run, is_edited=True)
        return GeneratedFile(FOLDER / name, script.text(), script.to_run, is_edited=False)

    def run(self, name: str) -> ScriptResult | Failure:
        file = self.read(name)
        assert isinstance(file, GeneratedFile)
        return self._run(name, file.statements)

    def run_now(self, side: Side, script: Script) -> ScriptResult | Failure:
        return self._run(side.value, script.to_run)

    def _run(self, name: str, statements: Sequence[ScriptStatement]) -> ScriptResult | Failure:
        if self.failure is not None:
            return self.failure
        self.ran.append((name, tuple(one.sql for one in statements)))
        self.after_run()
        return ScriptResult(tuple(self._result(one) for one in statements))

    def _result(self, statement: ScriptStatement) -> StatementResult:
        said = self.refuses.get(statement.about)
        if said is None:
            return StatementResult(statement.about, statement.sql, Outcome.APPLIED, seconds=0.002)
        return StatementResult(statement.about, statement.sql, Outcome.REFUSED, said, "42501", 0.0031)

    def editor(self) -> Sequence[str] | Failure:
        return ["true"]

    def write_everything(self) -> Path | Failure:
        self.whole_script = FOLDER / "dry_run.sql"
        return self.whole_script
