"""Step 2: the two databases, and whether they answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from engine.checks.finding import Finding
from engine.connection.fields import ConnectionFields
from engine.connection.stage import StageDone, with_stage
from engine.connection.summary import EndpointSummary, ServerSummary
from engine.errors import Failure, Retry, Side
from screens.action_button import ActionButton
from screens.connection_stages import ConnectionStages
from screens.format import human_bytes, human_milliseconds, plain, visible
from screens.migration import Step, subscription_name_for
from screens.modals.failure import failure_text
from screens.modals.text import TextModal
from screens.services import MigrationServices
from screens.wizard import WizardScreen

_HELP = """
Paste the connection string of each database: a URI (postgresql://user:password@host:5432/database) or
libpq keywords (host=… dbname=…). Quotes and `export SOURCE=` around it are taken off. The strings are
masked; what was understood is shown below each, without the password. Passwords stay in memory.

F2 opens the connection that has or had the focus field by field; after a test, the one that failed. There a
password is taken exactly as typed. service=NAME takes what is left out from ~/.pg_service.conf; ~/.pgpass,
PGPASSWORD and PGHOST count as with psql. $SOURCE and $TARGET are filled in when they are set.

"Test both" connects and looks who answers: name, network, TLS, login, version, role and the time of a round
trip, as they finish. A pooler, a load balancer, a standby, a target older than PostgreSQL 15 and one database
given twice are refused. Nothing is changed on either server. The next step looks closer: what is missing for
a migration, and how it is mended.
"""


_REFUSALS = {
    "direct_connection": "a pooler is in between",
    "one_server": "a load balancer spreads its sessions over servers",
    "standby": "it is a standby",
    "version": "its PostgreSQL is too old",
    "different_databases": "it is the same database as the source",
}
"""A check that refuses an address in a few words."""


@dataclass
class StagePassed(Message):
    """A stage of a side's connection was passed; posted by the thread that connects."""

    side: Side
    test_number: int
    done: StageDone


def endpoint_line(parsed: EndpointSummary | Failure) -> Content:
    """What was understood of a connection string; never the string itself."""
    if isinstance(parsed, Failure):
        return plain(f"{parsed.title}. {parsed.hint}", "$text-error")
    password = "set" if parsed.has_password else "not given"
    sslmode = f"sslmode {parsed.sslmode}" if parsed.sslmode else "sslmode of the service"
    return plain(f"password {password}, {sslmode}: {parsed}", "dim")


def server_line(summary: ServerSummary | Failure) -> Content:
    """What connecting found out, on one line."""
    if isinstance(summary, Failure):
        said = f": {summary.detail}" if summary.detail else ""
        return plain(f"✗ {summary.title}{said}", "$text-error")
    parts = [
        f"PostgreSQL {summary.version}",
        summary.role_words,
        "STANDBY" if summary.is_standby else "primary",
        (summary.tls_version or "TLS") if summary.uses_tls else "no TLS",
        human_milliseconds(summary.round_trip_seconds),
    ]
    if summary.timescaledb_version:
        parts.append(f"TimescaleDB {summary.timescaledb_version}")
    parts.append(human_bytes(summary.database_size_bytes))
    return Content.assemble(("✓ ", "$text-success"), visible(" · ".join(parts)))


def refusal(finding: Finding) -> Failure:
    """Why an address cannot be used, and what to do."""
    reason = _REFUSALS.get(finding.check, finding.found)
    return Failure(
        f"The {finding.side.value} cannot be used: {reason}",
        detail=finding.found,
        hint=f"{finding.why}.\n{finding.fix}",
        side=finding.side,
        retry=Retry.NEVER,
    )


class ConnectScreen(WizardScreen):
    """Asks for the two connections."""

    STEP = Step.CONNECT
    QUESTION = "Which database is moved, and where to?"
    HELP_TEXT = _HELP
    CSS_PATH: ClassVar[CSSPathType | None] = ["wizard.tcss", "connect.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "test", "Test", id="connect.test", tooltip="Connect to both and look."),
        Binding(
            "f2", "fields", "Fields", id="connect.fields", tooltip="The connection string field by field."
        ),
        Binding("r", "test", "Test again", id="connect.rerun", show=False, tooltip="Connect again."),
        Binding(
            "e", "error_details", "Error", id="connect.error", show=False, tooltip="Details of the error."
        ),
    ]

    def __init__(self, services: MigrationServices) -> None:
        super().__init__(services)
        self._servers: dict[Side, ServerSummary | Failure] = {}
        self._refusals: tuple[Failure, ...] = ()
        """Why servers that answer cannot be used."""

        self._tested: tuple[str, str] | None = None
        self._test_number = 0
        self._passed: dict[Side, tuple[StageDone, ...]] = {}
        self._side = Side.SOURCE
        """Whose connection string had the focus last, or failed since."""

    def compose_body(self) -> Iterable[Widget]:
        for side in Side:
            with Horizontal(classes="row"):
                yield Static(side.value.capitalize(), classes="side", markup=False)
                typed = Input(
                    value=self.services.prefilled(side),
                    password=True,
                    compact=True,
                    id=f"{side.value}-uri",
                    placeholder="postgresql://user:password@host:5432/database",
                )
                typed.cursor_blink = False
                yield typed
            yield Static("", id=f"{side.value}-parsed", classes="below", markup=False)
            yield ConnectionStages(id=f"{side.value}-stages", classes="stages")
            yield Static("", id=f"{side.value}-server", classes="below server", markup=False)
        with Horizontal(id="test-row", classes="row"):
            yield ActionButton("Test both", id="test", classes="-act")

    def opened(self) -> None:
        for side in Side:
            self._preview(side)
        first = self._input(Side.SOURCE)
        (self.query_one("#test", Button) if self._both_given() else first).focus()

    def _input(self, side: Side) -> Input:
        return self.query_one(f"#{side.value}-uri", Input)

    def _stages(self, side: Side) -> ConnectionStages:
        return self.query_one(f"#{side.value}-stages", ConnectionStages)

    def _both_given(self) -> bool:
        return all(self._input(side).value.strip() for side in Side)

    def _strings(self) -> tuple[str, str]:
        return self._input(Side.SOURCE).value, self._input(Side.TARGET).value

    def _preview(self, side: Side) -> None:
        text = self._input(side).value
        line = (
            plain("Paste a connection string, or press F2 to fill in its fields.", "dim")
            if not text.strip()
            else endpoint_line(self.services.preview_connection(side, text))
        )
        self.query_one(f"#{side.value}-parsed", Static).update(line)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for side in Side:
            if event.widget is self._input(side):
                self._side = side

    def action_fields(self) -> None:
        from screens.modals.connection_fields import ConnectionFieldsModal

        side = self._side
        fields = self.services.connection_fields(side, self._input(side).value)
        if isinstance(fields, Failure):
            # The modal begins empty; what was typed stays until its fields are used.
            fields = ConnectionFields()
        check = partial(self.services.preview_connection, side)
        self.app.push_screen(ConnectionFieldsModal(side, fields, check), partial(self._fields_used, side))

    def _fields_used(self, side: Side, text: str | None) -> None:
        if text is not None:
            self._input(side).value = text
            self._preview(side)
        self._input(side).focus()

    @on(Input.Blurred)
    def _left_input(self, event: Input.Blurred) -> None:
        self._preview(Side.SOURCE if event.input.id == "source-uri" else Side.TARGET)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._preview(Side.SOURCE if event.input.id == "source-uri" else Side.TARGET)
        (self._input(Side.TARGET) if event.input.id == "source-uri" else self.query_one("#test")).focus()

    @on(Input.Changed)
    def _changed(self) -> None:
        if self._tested is not None and self._tested != self._strings():
            self._forget_results()
        self.redraw_frame()

    def _forget_results(self) -> None:
        """What was found out no longer belongs to what is typed."""
        self._tested = None
        self._test_number += 1
        self._servers = {}
        self._refusals = ()
        self._passed = {}
        self.notice(None)
        for job in ("source", "target", "addresses"):
            self.jobs.drop(job)
        for side in Side:
            self.query_one(f"#{side.value}-server", Static).update("")
            self._stages(side).clear()

    # Testing.

    @on(Button.Pressed, "#test")
    def _test_pressed(self) -> None:
        self.action_test()

    def action_test(self) -> None:
        if self.jobs.running:
            return
        self._forget_results()
        understood = True
        for side in Side:
            parsed = self.services.use_connection(side, self._input(side).value)
            self.query_one(f"#{side.value}-parsed", Static).update(endpoint_line(parsed))
            understood = understood and not isinstance(parsed, Failure)
        if not understood:
            self.redraw_frame()
            return
        self._tested = self._strings()
        for side in Side:
            self._passed[side] = ()
            self._stages(side).draw(())
            self.start_job(
                side.value,
                f"connecting to the {side.value}",
                partial(self.services.probe, side, partial(self._tell_stage, side, self._test_number)),
                partial(self._probed, side),
            )

    def _tell_stage(self, side: Side, test_number: int, done: StageDone) -> None:
        """Called on the job's thread: posts one message, and touches no widget."""
        self.post_message(StagePassed(side, test_number, done))

    def on_stage_passed(self, passed: StagePassed) -> None:
        passed.stop()
        if passed.test_number == self._test_number and passed.side not in self._servers:
            self._passed[passed.side] = with_stage(self._passed[passed.side], passed.done)
            self._stages(passed.side).draw(self._passed[passed.side])

    def _probed(self, side: Side, summary: ServerSummary | Failure) -> None:
        if isinstance(summary, Failure) and summary.retry is Retry.TIMED:
            # Only the engine tries again by itself.
            summary = replace(summary, retry=Retry.MANUAL)
        self._servers[side] = summary
        self._stages(side).draw(self._passed[side], failed=isinstance(summary, Failure))
        self.query_one(f"#{side.value}-server", Static).update(server_line(summary))
        if len(self._servers) < len(Side):
            return
        failed = next((side for side in Side if isinstance(self._servers[side], Failure)), None)
        self._side = failed or self._side
        self.notice(next(iter(self._failures()), None))
        if failed is None:
            self.start_job(
                "addresses", "looking who answers", self.services.refused_addresses, self._looked_who_answers
            )
        else:
            # In an input the keys of what is said now, t and e, would be typed.
            self.query_one("#test").focus()

    def _looked_who_answers(self, found: tuple[Finding, ...] | Failure) -> None:
        self._refusals = (found,) if isinstance(found, Failure) else tuple(map(refusal, found))
        for failure in reversed(self._refusals):
            if failure.side is not None:
                self.query_one(f"#{failure.side.value}-server", Static).update(
                    plain(f"✗ {failure.title}", "$text-error")
                )
            self._side = failure.side or self._side
        self.notice(next(iter(self._refusals), None))
        self.query_one("#test" if self._refusals else "#next").focus()

    def _failures(self) -> list[Failure]:
        """Of connecting, the source's first, whichever answered first."""
        return [server for side in Side if isinstance(server := self._servers.get(side), Failure)]

    def action_error_details(self) -> None:
        failures = [*self._failures(), *self._refusals]
        if len(failures) > 1:
            text = "\n\n\n".join(failure_text(failure) for failure in failures)
            self.app.push_screen(TextModal("Errors", text, "error.txt", self.copy))
            return
        super().action_error_details()

    # The gate.

    def back_step(self) -> Step | None:
        return Step.START if self.services.saved_migrations() else None

    def next_blocked(self) -> str | None:
        if not self._both_given():
            return "give both connection strings"
        if self._tested is None:
            return None
        failed = [side.value for side in Side if isinstance(self._servers.get(side), Failure)]
        failed = failed or list(dict.fromkeys(each.side.value for each in self._refusals if each.side))
        if failed:
            return f"the {' and the '.join(failed)} cannot be used; correct it and press t"
        return None

    def next_hint(self) -> str:
        return "Next tests both connections first" if self._tested is None else super().next_hint()

    def advance(self) -> None:
        if self._tested is None:
            self.action_test()
            return
        migration = self.services.migration
        source, target = self._servers.get(Side.SOURCE), self._servers.get(Side.TARGET)
        if not isinstance(source, ServerSummary) or not isinstance(target, ServerSummary):
            return
        subscription = migration.subscription or subscription_name_for(source.database)
        same_source = self.services.conninfo(Side.SOURCE) == migration.source_conninfo
        same_target = self.services.conninfo(Side.TARGET) == migration.target_conninfo
        self.remember(
            name=migration.name or subscription,
            subscription=subscription,
            source_conninfo=self.services.conninfo(Side.SOURCE),
            target_conninfo=self.services.conninfo(Side.TARGET),
            source_name=f"{source.database} on {source.host}",
            target_name=f"{target.database} on {target.host}",
            target_database=target.database,
            # What a person said of another server does not count for this one.
            source_provider=migration.source_provider if same_source else "",
            target_provider=migration.target_provider if same_target else "",
            # Another connection than that of the migration's own role takes its place.
            migration_user=migration.migration_user if same_source else "",
            first_source_conninfo=migration.first_source_conninfo if same_source else "",
        )
        super().advance()
