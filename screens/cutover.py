"""Step 9: over to the target, gate by gate, and the line after which there is no way back.

Above the line Back returns to live replication and nothing is lost. The gates after the writers' stop
run one after another by themselves, because every second of them is outage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import ClassVar, TypeVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Static

from engine.cutover.outcome import (
    ComparisonProgress,
    DrainOutcome,
    SequenceOutcome,
    TableComparison,
    WriteActivity,
)
from engine.errors import Failure
from screens.action_button import ActionButton
from screens.format import human_count, human_duration, human_whole_seconds, plain, visible
from screens.gates import (
    CutoverEvidence,
    Gate,
    GateName,
    GateState,
    activity_words,
    gates,
    next_gate,
    problems_of,
    wrote_since,
)
from screens.migration import CutoverRecord, Step
from screens.modals.confirm import ConfirmModal
from screens.modals.confirm_name import ConfirmNameModal
from screens.modals.text import TextModal
from screens.services import MigrationServices
from screens.wizard import StepRequested, WizardScreen

Outcome = TypeVar("Outcome")

_HELP = """
Six gates, each with its evidence. The first two are read from the engine. Then stop everything that
writes to the source, and say so; from there the outage counts and the rest runs by itself: apply
everything up to the last position of the source, carry the sequences over, compare every table row by
row. If writing is seen after that, the gates close again.

Up to the line, Back returns to live replication: let the writers go on, nothing is lost. Crossing the
line stops the replication for good; from then on the target is the database, and what is written to the
source later is not carried over.
"""

_READ_WRITERS_EVERY_TICKS = 2

_LOOKS = {
    GateState.WAITING: ("○", "dim"),
    GateState.RUNNING: ("▸", "$text-accent"),
    GateState.PASSED: ("✓", "$text-success"),
    GateState.FAILED: ("✗", "bold $text-error"),
}

_LINE = "─── point of no return "


def gate_content(number: int, gate: Gate) -> Content:
    """Two lines: what has to hold, and the evidence."""
    glyph, style = _LOOKS[gate.state]
    who = "you" if gate.name is GateName.WRITERS else "auto"
    return Content.assemble(
        (f"{glyph} {number} {gate.name.value}", style),
        f"  [{who}] {gate.state.value}\n",
        (
            f"    {visible(gate.evidence)}",
            "dim" if gate.state is not GateState.FAILED else "$text-error",
        ),
    )


def sequence_line(outcome: SequenceOutcome) -> str:
    """One sequence and what became of it."""
    if outcome.problem is not None:
        return f"{outcome.source}: {outcome.problem}"
    note = f" ({outcome.note})" if outcome.note else ""
    return f"{outcome.target} = {outcome.value}{note}"


def comparison_lines(comparison: TableComparison) -> str:
    """One table's comparison, with the first rows that differ."""
    found = problems_of(comparison) or "no difference"
    rows = [f"\n    {row.words}" for row in comparison.differing]
    return f"{comparison.source}: {human_count(comparison.source_rows)} rows, {found}{''.join(rows)}"


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


class CutoverScreen(WizardScreen):
    """The checklist."""

    STEP = Step.CUTOVER
    QUESTION = "Switch over?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "cutover.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", "Evidence", id="cutover.view", tooltip="All evidence in full."),
        Binding("e", "error_details", "Error", id="cutover.error", tooltip="Details of the error."),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._evidence = CutoverEvidence()
        self._progress: ComparisonProgress | None = None
        self._ticks = 0
        self._baseline: WriteActivity | None = None
        """The first look at the writers after they were said to be stopped."""

        self._blind: Failure | None = None
        """Why the last look at the writers failed."""

        self._drawn: dict[str, Content] = {}
        self._crossing = False

    def compose_body(self) -> Iterable[Widget]:
        with VerticalScroll(id="gates", can_focus=False):
            for number in range(1, len(GateName) + 1):
                yield Static("", id=f"gate-{number}", classes="gate", markup=False)
            yield Static(_LINE + "─" * 200, id="line", markup=False)
            yield Static("", id="beyond", markup=False)
        with Horizontal(id="act-row", classes="row"):
            yield ActionButton("Waiting", id="act", classes="-act")
            yield ActionButton("Stop the writers", id="stop-writers", classes="-act")
            yield Static("", id="clock", markup=False)

    def opened(self) -> None:
        self.query_one("#question").display = False
        self.query_one("#back", ActionButton).say("Abort")
        self.query_one("#stop-writers").display = False
        self.query_one("#act").focus()
        self.poll()
        self._read_writers()

    def tick(self) -> None:
        self._ticks += 1
        self.poll()
        if self._ticks % _READ_WRITERS_EVERY_TICKS == 0:
            self._read_writers()

    def poll(self) -> None:
        """Take the latest snapshot and draw what is new."""
        engine = self.services.engine
        snapshot = engine.snapshot() if engine is not None else None
        self._evidence = replace(self._evidence, snapshot=snapshot, progress=self._progress)
        self._draw()

    # Drawing.

    def _update(self, name: str, content: Content) -> None:
        if self._drawn.get(name) != content:
            self._drawn[name] = content
            self.query_one(f"#{name}", Static).update(content)

    def _draw(self) -> None:
        listed = gates(self._evidence)
        for number, gate in enumerate(listed, 1):
            self._update(f"gate-{number}", gate_content(number, gate))
        self._update("beyond", self._beyond(next_gate(listed)))
        self._update("clock", self._clock())
        self._draw_buttons(next_gate(listed))
        self.redraw_frame()

    def _beyond(self, waiting: Gate | None) -> Content:
        name = visible(self.services.migration.target_name)
        if waiting is None:
            return Content.assemble(
                ("● ", "bold $accent"), f"Ready to switch to {name}. It asks for its name."
            )
        return plain(f"○ Switch to {name}: stops the replication for good", "dim")

    def _clock(self) -> Content:
        stopped_at = self._evidence.writers_stopped_at
        if stopped_at is None:
            return plain("No outage yet", "dim")
        seconds = (self.services.now() - stopped_at).total_seconds()
        return plain(f"Write outage {human_whole_seconds(seconds)}", "bold $text-warning")

    def _draw_buttons(self, waiting: Gate | None) -> None:
        label, off = self._act_label(waiting)
        act = self.query_one("#act", ActionButton)
        act.say(label)
        act.turn_off(off)
        stop = self.query_one("#stop-writers", Button)
        wanted = (
            self.services.can_stop_writers
            and waiting is not None
            and waiting.name is GateName.WRITERS
            and not off
        )
        if stop.display != wanted:
            stop.display = wanted

    def _act_label(self, waiting: Gate | None) -> tuple[str, bool]:
        """What the button says, and whether it is off."""
        if self._crossing:
            return "Crossing", True
        if waiting is None:
            return "Cross the line", False
        if self._evidence.running is not None:
            return "Running", True
        if waiting.name in (GateName.SYNCHRONIZED, GateName.LAG):
            return "Waiting", True
        if waiting.name is GateName.WRITERS:
            return "The writers are stopped", False
        return "Try again" if waiting.state is GateState.FAILED else "Go on", False

    # Writers.

    def _read_writers(self) -> None:
        if self._crossing or self.jobs.is_running("writers"):
            return
        self.start_job(
            "writers", "looking for writers", self.services.write_activity, self._writers_read, quiet=True
        )

    def _writers_read(self, activity: WriteActivity | Failure) -> None:
        if self._crossing:
            return
        if isinstance(activity, Failure):
            self._blind = activity
            self.notice(activity)
            return
        if self._notice is self._blind:
            self.notice(None)
        self._evidence = replace(self._evidence, before=self._evidence.activity, activity=activity)
        if self._evidence.writers_stopped_at is not None:
            baseline = self._baseline
            if baseline is None:
                self._baseline = activity
            if wrote_since(baseline or activity, activity):
                self._close_again(activity)
        self._draw()

    def _close_again(self, activity: WriteActivity) -> None:
        """Writing went on: what was drained and compared is no longer all there is."""
        for job in ("drain", "sequences", "compare"):
            self.jobs.drop(job)
        seen = activity_words(activity, self._baseline)
        self._evidence = CutoverEvidence(
            snapshot=self._evidence.snapshot, activity=activity, writers_seen_again=seen
        )
        self._progress = None
        self.remember(cutover=CutoverRecord())

    def _attest(self, confirmed: bool | None) -> None:
        if confirmed:
            self._writers_are_stopped("confirmed by the person at the terminal")

    def _writers_are_stopped(self, attested: str) -> None:
        earlier = self.services.migration.cutover.writers_stopped_at
        stopped_at = earlier or self.services.now()
        self._baseline = None
        self.notice(None)
        self._evidence = CutoverEvidence(
            snapshot=self._evidence.snapshot, activity=self._evidence.activity, writers_stopped_at=stopped_at
        )
        self.remember(cutover=CutoverRecord(writers_stopped_at=stopped_at, attested=attested))
        self._run_next()

    @on(Button.Pressed, "#stop-writers")
    def _stop_writers(self) -> None:
        if not self.jobs.running:
            self.start_job("stop-writers", "stopping the writers", self._stop, self._writers_stopped)

    def _stop(self) -> bool | Failure:
        return self.services.stop_writers() or True

    def _writers_stopped(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        self.query_one("#act").focus()
        self._writers_are_stopped("stopped by livesync-tui")

    # The gates that run by themselves.

    def _run_next(self) -> None:
        """Start the next gate that runs by itself, if it is its turn."""
        waiting = next_gate(gates(self._evidence))
        name = waiting.name if waiting is not None else None
        if name is GateName.DRAINED:
            self._run(name, "drain", "applying what was written", self.services.drain, self._drained)
        elif name is GateName.SEQUENCES:
            self._run(
                name,
                "sequences",
                "carrying the sequences over",
                self.services.copy_sequences,
                self._sequenced,
            )
        elif name is GateName.COMPARED:
            self._progress = None
            self._run(name, "compare", "comparing row by row", self._compare, self._compared)
        self._draw()

    def _run(
        self,
        gate: GateName,
        job: str,
        doing: str,
        call: Callable[[], Outcome | Failure],
        done: Callable[[Outcome | Failure], None],
    ) -> None:
        self._evidence = replace(self._evidence, running=gate)
        self.start_job(job, doing, call, done)

    def _compare(self) -> tuple[TableComparison, ...] | Failure:
        return self.services.compare_tables(self._keep_progress)

    def _keep_progress(self, progress: ComparisonProgress) -> None:
        """Called on the job's thread: one reference is replaced, the next tick draws it."""
        self._progress = progress

    def _drained(self, drain: DrainOutcome | Failure) -> None:
        self._evidence = replace(self._evidence, running=None, drain=drain)
        if isinstance(drain, Failure):
            self.notice(drain)
        elif drain.reached:
            self.remember(cutover=replace(self.services.migration.cutover, fence_lsn=drain.fence_lsn))
            self._run_next()
        self.poll()

    def _sequenced(self, outcomes: tuple[SequenceOutcome, ...] | Failure) -> None:
        self._evidence = replace(self._evidence, running=None, sequences=outcomes)
        if isinstance(outcomes, Failure):
            self.notice(outcomes)
        elif all(outcome.problem is None for outcome in outcomes):
            self.remember(cutover=replace(self.services.migration.cutover, sequences_set=len(outcomes)))
            self._run_next()
        self.poll()

    def _compared(self, comparisons: tuple[TableComparison, ...] | Failure) -> None:
        self._evidence = replace(self._evidence, running=None, comparisons=comparisons)
        if isinstance(comparisons, Failure):
            self.notice(comparisons)
        else:
            record = replace(
                self.services.migration.cutover,
                tables_compared=len(comparisons),
                rows_compared=sum(comparison.source_rows for comparison in comparisons),
                differences=sum(1 for comparison in comparisons if problems_of(comparison)),
            )
            self.remember(cutover=record)
        self.poll()

    @on(Button.Pressed, "#act")
    def _act(self) -> None:
        waiting = next_gate(gates(self._evidence))
        if self._act_label(waiting)[1]:
            return
        if waiting is None:
            self._ask_to_cross()
        elif waiting.name is GateName.WRITERS:
            self._ask_about_writers()
        else:
            self.notice(None)
            self._run_next()

    def _ask_about_writers(self) -> None:
        seen = activity_words(self._evidence.activity, self._evidence.before)
        text = (
            "Have you stopped everything that writes to the source: applications, jobs, people? "
            f"From here on the outage counts.\n\nSeen on the source: {seen}."
        )
        modal = ConfirmModal("Are the writers stopped?", text, act="They are stopped", keep="Not yet")
        self.app.push_screen(modal, self._attest)

    # The line.

    def _ask_to_cross(self) -> None:
        migration = self.services.migration
        text = (
            "The replication is stopped for good and its position recorded. From then on the target is the "
            "database; what is written to the source is not carried over.\n\n"
            f"Target: {visible(migration.target_name)}"
        )
        modal = ConfirmNameModal(
            "Cross the line?", text, name=migration.target_database, act="Cross the line"
        )
        self.app.push_screen(modal, self._cross)

    def _cross(self, confirmed: bool | None) -> None:
        # A gate may have closed while the name was being typed.
        if not confirmed or next_gate(gates(self._evidence)) is not None:
            return
        self._crossing = True
        self._draw()
        self.start_job("cross", "stopping the replication", self.services.stop_engine, self._crossed)

    def _crossed(self, stopped: bool | Failure) -> None:
        if stopped is not True:
            self._crossing = False
            self.notice(
                stopped
                if isinstance(stopped, Failure)
                else Failure(
                    "The engine has not stopped in time",
                    hint="Nothing was switched; wait a moment and cross again, or abort",
                )
            )
            self.poll()
            return
        record = replace(self.services.migration.cutover, done_at=self.services.now())
        self.remember(cutover=record)
        self.post_message(StepRequested(Step.DONE))

    # Reading, going back.

    def _evidence_text(self) -> str:
        evidence = self._evidence
        parts = [f"{gate.name.value}: {gate.state.value}\n  {gate.evidence}" for gate in gates(evidence)]
        if evidence.activity is not None and evidence.activity.sessions:
            parts.append("Sessions that write\n" + _indented(evidence.activity.sessions))
        if isinstance(evidence.sequences, tuple):
            parts.append("Sequences\n" + _indented(map(sequence_line, evidence.sequences)))
        if isinstance(evidence.comparisons, tuple):
            parts.append("Tables\n" + _indented(map(comparison_lines, evidence.comparisons)))
        if evidence.writers_stopped_at is not None:
            seconds = (self.services.now() - evidence.writers_stopped_at).total_seconds()
            parts.append(f"Write outage so far: {human_duration(seconds)}")
        return "\n\n".join(parts)

    def action_view(self) -> None:
        self.app.push_screen(
            TextModal("Evidence", self._evidence_text(), "evidence.txt", self.copy, large=True)
        )

    def copy_text(self) -> tuple[str, str] | None:
        return "evidence.txt", self._evidence_text()

    def back_step(self) -> Step | None:
        return None if self._crossing else Step.LIVE

    def action_back(self) -> None:
        if self._crossing:
            return
        if self._evidence.writers_stopped_at is not None:
            self.notify("Cutover aborted; let the writers go on.", markup=False)
        self.remember(cutover=CutoverRecord())
        super().action_back()

    def next_blocked(self) -> str | None:
        waiting = next_gate(gates(self._evidence))
        if waiting is not None:
            number = list(GateName).index(waiting.name) + 1
            return f"gate {number} is {waiting.state.value}"
        return "the line has not been crossed"
