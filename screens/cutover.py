"""The step Cutover: over to the target, gate by gate, and the line after which there is no way back.

Above the line Back returns to live replication and nothing is lost. The gates after the writers' stop
run one after another by themselves, because every second of them is outage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
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
    FenceOutcome,
    ReadOnlyOffer,
    ReadOnlyRecord,
    SequenceOutcome,
    SourceSession,
    TableComparison,
    WriteActivity,
)
from engine.errors import Failure, Side
from screens.action_button import ActionButton
from screens.format import human_count, human_duration, human_whole_seconds, plain, plural, visible
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
from screens.migration import ComparedTable, CutoverRecord, Step
from screens.modals.choice import ChoiceModal
from screens.modals.confirm import ConfirmModal
from screens.modals.confirm_name import ConfirmNameModal
from screens.modals.text import TextModal
from screens.rehearsal import Rehearsal, outage_words, rehearsal_text, rehearse
from screens.services import MigrationServices
from screens.wizard import StepRequested, WizardScreen

Outcome = TypeVar("Outcome")

_HELP = """
Twelve gates, each with its evidence and how old that is; they are looked at all the time, and one that was
passed can close again. The first seven need nobody. Then stop everything that writes to the source, and say
so; from there the outage counts and the rest runs by itself: a message, the fence, is written on the source
and has to come out of the replication on the target; nothing may come after it; the sequences are carried
over and compared with their rows; every table is compared. If writing is seen after that, the gates close
again. A gate with ! is a warning: who crosses the line accepts it.

o makes the source read-only for new sessions, of the database or of single roles, and offers to end those
that are open. What was set before is written down first, and comes back with Back, or with o.

Rehearse does all of it but the stop: it sends a fence, reads the sequences, compares the tables, and tells
how long the outage would be. It changes nothing on the target.

Up to the line, Back returns to live replication: let the writers go on, nothing is lost. Crossing the
line stops the replication for good; from then on the target is the database, and what is written to the
source later is not carried over.
"""

_LOOK_EVERY_TICKS = 2
_LOOK_FOR_LEFTOVERS_EVERY_TICKS = 60

_LOOKS = {
    GateState.WAITING: ("○", "dim"),
    GateState.RUNNING: ("▸", "$text-accent"),
    GateState.PASSED: ("✓", "$text-success"),
    GateState.WARNING: ("!", "$text-warning"),
    GateState.FAILED: ("✗", "bold $text-error"),
}

_LINE = "─── point of no return "

_PROOF = (GateName.FENCE, GateName.SEQUENCES, GateName.COMPARED)
"""Gates that run by themselves once the writers are stopped."""


def short_age(seconds: float) -> str:
    """How old something is, in at most six characters.

    >>> short_age(2.9), short_age(75), short_age(7300)
    ('2 s', '1 min', '2 h')
    """
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h"


def gate_content(gate: Gate, now: datetime) -> Content:
    """One line: what has to hold, how old the evidence is, and the evidence."""
    glyph, style = _LOOKS[gate.state]
    if gate.name is GateName.WRITERS and gate.state is GateState.WAITING:
        age = "[you]"
    else:
        age = "" if gate.seen_at is None else short_age((now - gate.seen_at).total_seconds())
    quiet = gate.state in (GateState.PASSED, GateState.WAITING, GateState.RUNNING)
    return Content.assemble(
        (f"{glyph} {gate.name.number:>2} {gate.name.value:<27}", style),
        (f" {age:>6}  ", "dim"),
        (visible(gate.evidence), "dim" if quiet else style),
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


def read_only_text(offer: ReadOnlyOffer) -> str:
    """What can be set, and whom it does not reach."""
    roles = ", ".join(record.role for record in offer.roles) or "none"
    sessions = [f"  {session.words}" for session in offer.sessions] or ["  none"]
    return "\n".join(
        [
            "Sets default_transaction_read_only = on for sessions that begin from now on. What is set now is "
            "written down first; Back, and o, bring it back.",
            "",
            f"Whole database: {offer.database.database}, every role without a setting of its own",
            f"Single roles: {roles}",
            "",
            "Open sessions, which it does not reach; you are asked about them next:",
            *sessions,
        ]
    )


class CutoverScreen(WizardScreen):
    """The checklist."""

    STEP = Step.CUTOVER
    QUESTION = "Switch over?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "cutover.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", "Evidence", id="cutover.view", tooltip="All evidence in full."),
        Binding(
            "o", "read_only", "Read-only", id="cutover.read-only", tooltip="Keep the source from writing."
        ),
        Binding(
            "c",
            "connection",
            "Connection",
            id="cutover.connection",
            tooltip="Copy the target's connection string, without the password.",
        ),
        Binding("e", "error_details", "Error", id="cutover.error", show=False, tooltip="Error details."),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._evidence = CutoverEvidence(writers_stopped_at=services.migration.cutover.writers_stopped_at)
        self._progress: ComparisonProgress | None = None
        self._ticks = 0
        self._began = 0.0
        """When the gate that runs was begun, for the report."""

        self._baseline: WriteActivity | None = None
        """The first look at the writers after they were said to be stopped."""

        self._blind: Failure | None = None
        """Why the last look at the writers failed."""

        self._drawn: dict[str, Content] = {}
        self._crossing = False

    def compose_body(self) -> Iterable[Widget]:
        with VerticalScroll(id="gates", can_focus=False):
            for name in GateName:
                yield Static("", id=f"gate-{name.number}", classes="gate", markup=False)
            yield Static(_LINE + "─" * 200, id="line", markup=False)
            yield Static("", id="beyond", markup=False)
        with Horizontal(id="act-row", classes="row"):
            yield ActionButton("Waiting", id="act", classes="-act")
            yield ActionButton("Stop the writers", id="stop-writers", classes="-act")
            yield ActionButton("Rehearse", id="rehearse", classes="-act")
            yield Static("", id="clock", markup=False)

    def opened(self) -> None:
        self.query_one("#question").display = False
        self.query_one("#back", ActionButton).say("Abort")
        self.query_one("#stop-writers").display = False
        self.query_one("#rehearse").display = False
        self.query_one("#act").focus()
        self.poll()
        self._look()
        self._look_for_leftovers()

    def tick(self) -> None:
        self._ticks += 1
        self.poll()
        if self._ticks % _LOOK_EVERY_TICKS == 0:
            self._look()
        if self._ticks % _LOOK_FOR_LEFTOVERS_EVERY_TICKS == 0 and self._evidence.writers_stopped_at is None:
            self._look_for_leftovers()

    def poll(self) -> None:
        """Take the latest snapshot, go on where nothing is to be asked, and draw what is new."""
        engine = self.services.engine
        snapshot = engine.snapshot() if engine is not None else None
        taken_at = None
        if snapshot is not None:
            age = self.services.monotonic_seconds() - snapshot.taken_monotonic_seconds
            taken_at = self.services.now() - timedelta(seconds=max(0.0, age))
        self._evidence = replace(self._evidence.with_snapshot(snapshot, taken_at), progress=self._progress)
        waiting = self._waiting()
        if waiting is not None and waiting.state is GateState.WAITING:
            self._run_next()
        self._draw()

    def _gates(self) -> tuple[Gate, ...]:
        return gates(self._evidence, self.services.now())

    def _waiting(self) -> Gate | None:
        return next_gate(self._gates())

    # Drawing.

    def _update(self, name: str, content: Content) -> None:
        if self._drawn.get(name) != content:
            self._drawn[name] = content
            self.query_one(f"#{name}", Static).update(content)

    def _draw(self) -> None:
        listed = self._gates()
        now = self.services.now()
        for gate in listed:
            self._update(f"gate-{gate.name.number}", gate_content(gate, now))
        waiting = next_gate(listed)
        self._update("beyond", self._beyond(waiting))
        self._update("clock", self._clock())
        self._draw_buttons(waiting)
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
        if stopped_at is not None:
            seconds = (self.services.now() - stopped_at).total_seconds()
            return plain(f"Write outage {human_whole_seconds(seconds)}", "bold $text-warning")
        read_only = "Source read-only · " if self.services.migration.read_only else ""
        rehearsals = self.services.migration.rehearsals
        if rehearsals:
            return plain(f"{read_only}Rehearsed: {outage_words(rehearsals[-1])} outage", "dim")
        return plain(f"{read_only}No outage yet", "dim")

    def _draw_buttons(self, waiting: Gate | None) -> None:
        label, off = self._act_label(waiting)
        act = self.query_one("#act", ActionButton)
        act.say(label)
        act.turn_off(off)
        asks = waiting is not None and self._asks_for_writers(waiting) and not off
        for name, wanted in (
            ("stop-writers", asks and self.services.cutover.can_stop_writers),
            ("rehearse", asks and not self.services.dry_run),
        ):
            button = self.query_one(f"#{name}", Button)
            if button.display != wanted:
                button.display = wanted

    def _asks_for_writers(self, waiting: Gate) -> bool:
        return waiting.name is GateName.WRITERS and self._evidence.writers_stopped_at is None

    def _act_label(self, waiting: Gate | None) -> tuple[str, bool]:
        """What the button says, and whether it is off."""
        if self._crossing:
            return "Crossing", True
        if waiting is None:
            return "Cross the line", False
        if self._evidence.running is not None:
            return "Running", True
        if self._asks_for_writers(waiting):
            return "The writers are stopped", bool(self.jobs.running)
        if waiting.name.number <= GateName.WRITERS.number:
            return "Waiting", True
        if waiting.name in (GateName.FENCE, GateName.NOTHING_AFTER):
            return "Send the fence again", False
        return "Try again", False

    # Looking.

    def _look(self) -> None:
        if self._crossing:
            return
        cutover = self.services.cutover
        if not self.jobs.is_running("writers"):
            self.start_job(
                "writers", "looking for writers", cutover.write_activity, self._writers_read, quiet=True
            )
        if not self.jobs.is_running("target"):
            self.start_job(
                "target", "looking at the target", cutover.why_not_writable, self._target_read, quiet=True
            )

    def _look_for_leftovers(self) -> None:
        if not self.jobs.is_running("leftovers"):
            self.start_job(
                "leftovers",
                "looking at what is left to do",
                self.services.cutover.leftovers,
                self._leftovers_read,
                quiet=True,
            )

    def _target_read(self, said: str | Failure) -> None:
        self._evidence = replace(self._evidence, not_writable=said, writable_at=self.services.now())
        self.poll()

    def _leftovers_read(self, left: tuple[str, ...] | Failure) -> None:
        self._evidence = replace(self._evidence, leftovers=left, leftovers_at=self.services.now())
        self.poll()

    def _writers_read(self, activity: WriteActivity | Failure) -> None:
        # A job that changes the migration's record is let finish before the record is changed here.
        if self._crossing or self.jobs.is_running("read-only") or self.jobs.is_running("undo"):
            return
        earlier = self._evidence.activity
        before = earlier if isinstance(earlier, WriteActivity) else self._evidence.before
        self._evidence = replace(
            self._evidence, before=before, activity=activity, activity_at=self.services.now()
        )
        if isinstance(activity, Failure):
            self._blind = activity
            self.notice(activity)
        else:
            if self._notice is self._blind:
                self.notice(None)
            self._watch_writers(activity)
        self.poll()

    def _watch_writers(self, activity: WriteActivity) -> None:
        if self._evidence.writers_stopped_at is None:
            return
        if self._baseline is None:
            self._baseline = activity
        if wrote_since(self._baseline, activity):
            self._close_again(activity)

    def _close_again(self, activity: WriteActivity) -> None:
        """Writing went on: what was proven and compared is no longer all there is."""
        for job in _PROOF:
            self.jobs.drop(job.name)
        seen = activity_words(activity, self._baseline)
        self._evidence = replace(
            self._evidence.without_proof(), writers_stopped_at=None, writers_seen_again=seen
        )
        self._progress = None
        self.remember(cutover=CutoverRecord())

    def _attest(self, confirmed: bool | None) -> None:
        if confirmed:
            self._writers_are_stopped("confirmed by the person at the terminal")

    def _writers_are_stopped(self, attested: str) -> None:
        stopped_at = self.services.now()
        self._baseline = None
        self.notice(None)
        self._evidence = replace(
            self._evidence.without_proof(), writers_stopped_at=stopped_at, writers_seen_again=""
        )
        self.remember(cutover=CutoverRecord(writers_stopped_at=stopped_at, attested=attested))
        self.poll()

    @on(Button.Pressed, "#stop-writers")
    def _stop_writers(self) -> None:
        if not self.jobs.running:
            self.start_job("stop-writers", "stopping the writers", self._stop, self._writers_stopped)

    def _stop(self) -> bool | Failure:
        return self.services.cutover.stop_writers() or True

    def _writers_stopped(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        self.query_one("#act").focus()
        self._writers_are_stopped("stopped by livesync-tui")

    # The source read-only.

    def action_read_only(self) -> None:
        if self._crossing or self.jobs.running:
            return
        records = self.services.migration.read_only
        if not records:
            self.start_job(
                "offer", "looking who could write", self.services.cutover.offer_read_only, self._offer
            )
            return
        said = "\n".join(f"  {record.words}" for record in records)
        modal = ChoiceModal(
            "The source is read-only",
            f"default_transaction_read_only = on was set for\n{said}\n\nSessions that were open before can "
            "still write.",
            {"undo": "Let it write again", "sessions": "End open sessions"},
        )
        self.app.push_screen(modal, self._read_only_chosen)

    def _read_only_chosen(self, answer: str | None) -> None:
        if answer == "undo":
            self._undo_read_only(self._undone)
        elif answer == "sessions":
            self._ask_for_sessions()

    def _offer(self, offer: ReadOnlyOffer | Failure) -> None:
        if isinstance(offer, Failure):
            self.notice(offer)
            return
        choices = {"database": "Whole database"}
        if offer.roles:
            choices["roles"] = plural(len(offer.roles), "role")

        def chosen(answer: str | None) -> None:
            records = {"database": (offer.database,), "roles": offer.roles}.get(answer or "")
            if records:
                self._make_read_only(records)

        self.app.push_screen(
            ChoiceModal("Make the source read-only?", read_only_text(offer), choices), chosen
        )

    def _make_read_only(self, records: tuple[ReadOnlyRecord, ...]) -> None:
        def make() -> bool | Failure:
            return self.services.cutover.make_read_only(records) or True

        self.notice(None)
        self.start_job("read-only", "making the source read-only", make, self._made_read_only)

    def _made_read_only(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
        else:
            self.notify("New sessions on the source are read-only.", markup=False)
            self._ask_for_sessions()
        self.poll()

    def _ask_for_sessions(self) -> None:
        self.start_job(
            "offer", "looking whose sessions are open", self.services.cutover.offer_read_only, self._sessions
        )

    def _sessions(self, offer: ReadOnlyOffer | Failure) -> None:
        if isinstance(offer, Failure):
            self.notice(offer)
            return
        roles = {record.role for record in self.services.migration.read_only}
        sessions = tuple(each for each in offer.sessions if "" in roles or each.role in roles)
        if not sessions:
            self.notify("No session is open that could still write.", markup=False)
            return
        listed = "\n".join(f"  {session.words}" for session in sessions)
        modal = ChoiceModal(
            f"End {plural(len(sessions), 'open session')}?",
            "They began before the setting and can still write. What they have not committed is lost; a "
            f"program that connects again can only read.\n\n{listed}",
            {"end": "End them"},
        )
        self.app.push_screen(modal, partial(self._end_sessions, sessions))

    def _end_sessions(self, sessions: tuple[SourceSession, ...], answer: str | None) -> None:
        if answer == "end":
            self.start_job(
                "end-sessions",
                "ending sessions on the source",
                partial(self.services.cutover.end_sessions, sessions),
                self._ended_sessions,
            )

    def _ended_sessions(self, ended: int | Failure) -> None:
        if isinstance(ended, Failure):
            self.notice(ended)
        else:
            self.notify(f"{plural(ended, 'session')} told to end.", markup=False)

    def _undo_read_only(self, done: Callable[[bool | Failure], None]) -> None:
        def undo() -> bool | Failure:
            return self.services.cutover.undo_read_only() or True

        self.notice(None)
        self.start_job("undo", "letting the source write again", undo, done)

    def _undone(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
        else:
            self.notify("The source's settings are what they were.", markup=False)
        self.poll()

    # Rehearsing.

    @on(Button.Pressed, "#rehearse")
    def _rehearse(self) -> None:
        waiting = self._waiting()
        if waiting is None or not self._asks_for_writers(waiting) or self.jobs.running:
            return
        self.notice(None)
        self.query_one("#act").focus()
        self.start_job(
            "rehearse",
            "rehearsing: fence, sequences, comparison",
            partial(rehearse, self.services, self._keep_progress),
            self._rehearsed,
        )
        self._draw()

    def _rehearsed(self, rehearsal: Rehearsal | Failure) -> None:
        self._progress = None
        if isinstance(rehearsal, Failure):
            self.notice(rehearsal)
        else:
            self.remember(rehearsals=(*self.services.migration.rehearsals, rehearsal.record))
            text = rehearsal_text(rehearsal, self._gates())
            self.app.push_screen(TextModal("Rehearsal", text, "rehearsal.txt", self.copy, large=True))
        self.poll()

    # The gates that run by themselves.

    def _run_next(self) -> None:
        """Start the next gate that runs by itself, if it is its turn."""
        waiting = self._waiting()
        if waiting is None or self._evidence.running is not None or self._crossing:
            return
        cutover = self.services.cutover
        if waiting.name is GateName.FENCE:
            self._run(waiting.name, "passing the fence", cutover.pass_fence, self._fence_passed)
        elif waiting.name is GateName.SEQUENCES:
            self._run(waiting.name, "carrying the sequences over", cutover.copy_sequences, self._sequenced)
        elif waiting.name is GateName.COMPARED:
            self._progress = None
            self._run(waiting.name, "comparing row by row", self._compare, self._compared)

    def _run(
        self,
        gate: GateName,
        doing: str,
        call: Callable[[], Outcome | Failure],
        done: Callable[[Outcome | Failure], None],
    ) -> None:
        self._evidence = replace(self._evidence, running=gate)
        self._began = self.services.monotonic_seconds()
        self.start_job(gate.name, doing, call, done)

    def _took(self) -> float:
        """Seconds that the gate which has come back took."""
        return self.services.monotonic_seconds() - self._began

    def _compare(self) -> tuple[TableComparison, ...] | Failure:
        return self.services.compare_tables(self._keep_progress)

    def _keep_progress(self, progress: ComparisonProgress) -> None:
        """Called on the job's thread: one reference is replaced, the next tick draws it."""
        self._progress = progress

    def _fence_passed(self, fence: FenceOutcome | Failure) -> None:
        self._evidence = replace(self._evidence, running=None, fence=fence, fence_at=self.services.now())
        if isinstance(fence, Failure):
            self.notice(fence)
        elif fence.reached:
            record = self.services.migration.cutover
            self.remember(cutover=replace(record, fence_lsn=fence.fence_lsn, fence_seconds=fence.seconds))
        self.poll()

    def _sequenced(self, outcomes: tuple[SequenceOutcome, ...] | Failure) -> None:
        self._evidence = replace(
            self._evidence, running=None, sequences=outcomes, sequences_at=self.services.now()
        )
        if isinstance(outcomes, Failure):
            self.notice(outcomes)
        elif all(outcome.problem is None for outcome in outcomes):
            record = self.services.migration.cutover
            self.remember(
                cutover=replace(record, sequences_set=len(outcomes), sequences_seconds=self._took())
            )
        self.poll()

    def _compared(self, comparisons: tuple[TableComparison, ...] | Failure) -> None:
        self._evidence = replace(
            self._evidence, running=None, comparisons=comparisons, compared_at=self.services.now()
        )
        if isinstance(comparisons, Failure):
            self.notice(comparisons)
        else:
            tables = tuple(
                ComparedTable(comparison.source, comparison.source_rows, problems_of(comparison))
                for comparison in comparisons
            )
            record = replace(
                self.services.migration.cutover,
                tables_compared=len(tables),
                rows_compared=sum(table.rows for table in tables),
                differences=sum(1 for table in tables if table.found),
                compare_seconds=self._took(),
                tables=tables,
            )
            self.remember(cutover=record)
        self.poll()

    @on(Button.Pressed, "#act")
    def _act(self) -> None:
        waiting = self._waiting()
        if self._act_label(waiting)[1]:
            return
        if waiting is None:
            self._ask_to_cross()
        elif self._asks_for_writers(waiting):
            self._ask_about_writers()
        else:
            self.notice(None)
            if waiting.name in (GateName.FENCE, GateName.NOTHING_AFTER):
                self._evidence = self._evidence.without_proof()
            self._run_next()
            self._draw()

    def _ask_about_writers(self) -> None:
        seen = activity_words(self._evidence.activity, self._evidence.before)
        text = (
            "Have you stopped everything that writes to the source: applications, jobs, people? "
            f"From here on the outage counts.\n\nSeen on the source: {seen}."
        )
        modal = ConfirmModal("Are the writers stopped?", text, act="They are stopped", keep="Not yet")
        self.app.push_screen(modal, self._attest)

    # The line.

    def _warnings(self) -> tuple[str, ...]:
        return tuple(
            f"{gate.name.value}: {gate.evidence}" for gate in self._gates() if gate.state is GateState.WARNING
        )

    def _ask_to_cross(self) -> None:
        migration = self.services.migration
        text = (
            "The replication is stopped for good and its position recorded. From then on the target is the "
            "database; what is written to the source is not carried over.\n\n"
            f"Target: {visible(migration.target_name)}"
        )
        warnings = self._warnings()
        if warnings:
            text += "\n\nBy crossing you accept:\n" + _indented(warnings)
        modal = ConfirmNameModal(
            "Cross the line?", text, name=migration.target_database, act="Cross the line"
        )
        self.app.push_screen(modal, self._cross)

    def _cross(self, confirmed: bool | None) -> None:
        # A gate may have closed while the name was being typed.
        if not confirmed or self._waiting() is not None:
            return
        fence = self._evidence.fence
        assert isinstance(fence, FenceOutcome)
        self.remember(cutover=replace(self.services.migration.cutover, warnings=self._warnings()))
        self._crossing = True
        self._draw()
        self.start_job(
            "cross", "stopping the replication", partial(self._close_and_stop, fence), self._crossed
        )

    def _close_and_stop(self, fence: FenceOutcome) -> bool | Failure:
        """Prove once more that nothing came after the fence, and stop the engine; on the job's thread."""
        closing = self.services.cutover.pass_fence()
        if isinstance(closing, Failure):
            return closing
        if not closing.reached:
            return closing.failure or Failure(
                "The last fence did not come through in time", hint="Look at the gates, then cross again"
            )
        engine = self.services.engine
        snapshot = engine.snapshot() if engine is not None else None
        seen = snapshot.fence(fence.fence) if snapshot is not None else None
        if fence.comes_through_stream and (seen is None or seen.changes_after):
            return Failure(
                "Somebody wrote to the source after the fence",
                hint="Nothing was switched. Find the writer, then send the fence again",
                side=Side.SOURCE,
            )
        return self.services.stop_engine()

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
        parts = [
            f"{gate.name.number} {gate.name.value}: {gate.state.value}\n  {gate.evidence}"
            for gate in self._gates()
        ]
        activity = evidence.activity
        if isinstance(activity, WriteActivity):
            if activity.sessions:
                parts.append("Sessions that write\n" + _indented(activity.sessions))
            if activity.long_transactions:
                parts.append("Long transactions\n" + _indented(activity.long_transactions))
        if isinstance(evidence.leftovers, tuple) and evidence.leftovers:
            parts.append("Left to do\n" + _indented(evidence.leftovers))
        if isinstance(evidence.sequences, tuple):
            parts.append("Sequences\n" + _indented(map(sequence_line, evidence.sequences)))
        if isinstance(evidence.comparisons, tuple):
            parts.append("Tables\n" + _indented(map(comparison_lines, evidence.comparisons)))
        read_only = self.services.migration.read_only
        if read_only:
            parts.append("Read-only on the source\n" + _indented(record.words for record in read_only))
        if evidence.writers_stopped_at is not None:
            seconds = (self.services.now() - evidence.writers_stopped_at).total_seconds()
            parts.append(f"Write outage so far: {human_duration(seconds)}")
        parts.append(f"New connection, without the password\n  {self.services.conninfo(Side.TARGET)}")
        return "\n\n".join(parts)

    def action_view(self) -> None:
        self.app.push_screen(
            TextModal("Evidence", self._evidence_text(), "evidence.txt", self.copy, large=True)
        )

    def action_connection(self) -> None:
        self.copy("connection.txt", self.services.conninfo(Side.TARGET) + "\n")

    def copy_text(self) -> tuple[str, str] | None:
        return "evidence.txt", self._evidence_text()

    def back_step(self) -> Step | None:
        return None if self._crossing else Step.LIVE

    def action_back(self) -> None:
        if self._crossing or self.jobs.is_running("undo"):
            return
        if self.services.migration.read_only:
            self._undo_read_only(self._abort)
        else:
            self._abort(True)

    def _abort(self, undone: bool | Failure) -> None:
        if isinstance(undone, Failure):
            self.notice(undone)
            return
        if self._evidence.writers_stopped_at is not None:
            self.notify("Cutover aborted; let the writers go on.", markup=False)
        self.remember(cutover=CutoverRecord())
        super().action_back()

    def next_blocked(self) -> str | None:
        waiting = self._waiting()
        if waiting is not None:
            return f"gate {waiting.name.number} is {waiting.state.value}"
        return "the line has not been crossed"
