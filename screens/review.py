"""Step 7: everything that will be written, before it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from engine.errors import Failure
from screens.action_button import ActionButton
from screens.format import plain, plural, visible
from screens.migration import SavedMigration, Step, subscription_name_problem
from screens.wizard import StepRequested, WizardScreen

_HELP = """
Lists what Start will write and where. Until it is pressed nothing has been copied, and the only changes
so far are the ones applied in the steps Schema and Publication.

The subscription's name identifies this migration on both servers. The number of workers is how many
tables are copied at the same time; each needs a connection and a replication slot on the source.

To undo after starting: `livesync-tui drop` removes slots and state; rows copied into the target stay there.
The cleanup at the end also takes back what was done to publications and replica identities.

In a dry run there is no Start: the script of all steps is written into one file, whose path is printed when
the wizard ends. Owners and privileges of objects that the target does not have yet are not in it: they are
compared once the schema is there.
"""

_MOST_WORKERS = 64

_WAL = (
    "From Start on the source keeps all WAL that is not applied yet, also while this program is not "
    "running, until the migration is dropped. Watch its disk."
)
_DRY_RUN = "This is a dry run: nothing of this is done, and nothing was changed on either server."


def worker_count_problem(text: str) -> str | None:
    """Why ``text`` is not a number of workers, or None."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_WORKERS:
        return None
    return f"Workers have to be a number from 1 to {_MOST_WORKERS}"


def review_lists(
    migration: SavedMigration, subscription: str, workers: str, folder: str
) -> list[tuple[str, list[str]]]:
    """The three lists: source, target, this machine."""
    tables = plural(len(migration.tables), "table")
    return [
        (
            f"On the source, {migration.source_name}",
            [
                f"slot live_sync_{subscription}, and up to {workers} more while tables are copied",
                f"reads publication {migration.publication}: {tables}, {workers} copied at a time",
                "no row of yours is changed",
            ],
        ),
        (
            f"On the target, {migration.target_name}",
            [
                f"rows of {tables}; they should be empty",
                "schema _ts_live_sync: state and position of the replication",
                "triggers and foreign keys do not fire for replicated rows",
            ],
        ),
        ("On this machine", [f"answers, scripts, log and report in {folder}; no password, no data"]),
    ]


class ReviewScreen(WizardScreen):
    """The last step before something is copied."""

    STEP = Step.REVIEW
    QUESTION = "Nothing has been copied so far. Start?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "review.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "e", "error_details", "Error", id="review.error", show=False, tooltip="Details of the error."
        ),
    ]

    def compose_body(self) -> Iterable[Widget]:
        migration = self.services.migration
        with Horizontal(classes="row"):
            yield Static("Subscription", classes="label", markup=False)
            name = Input(value=migration.subscription, id="subscription", compact=True)
            name.cursor_blink = False
            # What of the schema waits for rows is recorded under it.
            name.disabled = migration.builds_schema
            yield name
            yield Static("Workers", classes="label", id="workers-label", markup=False)
            workers = Input(value=str(migration.sync_workers), id="workers", compact=True)
            workers.cursor_blink = False
            yield workers
        with VerticalScroll(id="lists"):
            yield Static("", id="review", markup=False)
        yield Static(
            _DRY_RUN if self.services.dry_run else _WAL,
            id="wal",
            classes="warn",
            markup=False,
        )
        with Horizontal(id="start-row", classes="row"):
            if self.services.dry_run:
                yield ActionButton("Write the script", id="write", classes="-act")
            else:
                yield ActionButton("Start copying", id="start", classes="-act")

    def opened(self) -> None:
        self._show()
        self.query_one("#lists").focus()

    def _values(self) -> tuple[str, str]:
        return self.query_one("#subscription", Input).value.strip(), self.query_one(
            "#workers", Input
        ).value.strip()

    def _show(self) -> None:
        subscription, workers = self._values()
        log = self.services.log_path
        folder = str(log.parent) if log is not None else "its state folder"
        parts: list[Content | str] = []
        for heading, lines in review_lists(self.services.migration, subscription, workers, folder):
            parts.append(Content.styled(visible(heading), "bold"))
            parts.extend(visible(f"  • {line}") for line in lines)
        self.query_one("#review", Static).update(Content("\n").join(parts))
        if not self.services.dry_run:
            self.query_one("#start", ActionButton).turn_off(self._problem() is not None)
        self.redraw_frame()

    def _problem(self) -> str | None:
        subscription, workers = self._values()
        return subscription_name_problem(subscription) or worker_count_problem(workers)

    @on(Input.Changed)
    def _changed(self) -> None:
        self._show()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    def next_blocked(self) -> str | None:
        problem = self._problem()
        if self.services.dry_run:
            is_written = self.services.scripts.whole_script is not None
            said = "it ends here; q leaves" if is_written else "press Write the script"
            return problem or f"this is a dry run; {said}"
        return problem or "press Start copying when you agree"

    @on(Button.Pressed, "#write")
    def _write(self) -> None:
        written = self.services.scripts.write_everything()
        self.notice(written if isinstance(written, Failure) else None)
        if not isinstance(written, Failure):
            self.query_one("#wal", Static).update(plain(f"The script of all steps: {written}"))

    @on(Button.Pressed, "#start")
    def _start(self) -> None:
        if self._problem() is not None or self.jobs.running:
            return
        subscription, workers = self._values()
        self.notice(None)
        self.remember(subscription=subscription, sync_workers=int(workers))
        self.start_job("engine", "starting the engine", self._start_engine, self._started)

    def _start_engine(self) -> bool | Failure:
        return self.services.start_engine() or True

    def _started(self, outcome: bool | Failure) -> None:
        if isinstance(outcome, Failure):
            self.notice(outcome)
            return
        if self.services.migration.started_at is None:
            self.remember(started_at=self.services.now())
        self.post_message(StepRequested(Step.LIVE))

    def copy_text(self) -> tuple[str, str] | None:
        subscription, workers = self._values()
        lists = review_lists(self.services.migration, subscription, workers, "the state folder")
        return "review.txt", "\n".join(
            line for heading, lines in lists for line in (plain(heading).plain, *lines)
        )
