"""A migration without servers: answers come from attributes, orders are written down, clocks stand still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Signal

from engine.catalog.table import ReplicaIdentity, SourceTable, TableKind, TableName
from engine.checks.finding import Finding, Verdict, by_hand, ok, trouble
from engine.checks.report import CheckReport, ServerReport, ServerStart
from engine.connection.fields import ConnectionFields
from engine.connection.stage import Stage, StageDone
from engine.connection.summary import EndpointSummary, ServerSummary
from engine.cutover.outcome import (
    ComparisonProgress,
    TableComparison,
)
from engine.errors import Failure, Side
from engine.providers.fix import Fix
from engine.script.planned import Outcome, StatementResult
from engine.snapshot import (
    CopyRate,
    CopyTotal,
    Event,
    Lag,
    Phase,
    Severity,
    Snapshot,
    TableProgress,
    TableState,
)
from screens.migration import ComparedTable, CutoverRecord, RehearsalRecord, SavedMigration, Step
from tests.screens.fakes.cleanup import FakeCleanup
from tests.screens.fakes.cutover import FakeCutover
from tests.screens.fakes.host import FakeHost
from tests.screens.fakes.identity import FakeIdentity
from tests.screens.fakes.postsync import FakePostsync
from tests.screens.fakes.publication import FakePublication
from tests.screens.fakes.rights import FakeRights
from tests.screens.fakes.roles import FakeRoles
from tests.screens.fakes.schema import FakeSchema
from tests.screens.fakes.scripts import FakeScripts
from tests.screens.fakes.tables import FakeTables
from tests.screens.fakes.timescaledb import FakeTimescale
from tests.screens.fakes.user import FakeUser

NOW = datetime(2026, 11, 21, 2, 30, 0, tzinfo=UTC)
MONOTONIC_SECONDS = 10_000.0
STARTED_AT = NOW - timedelta(days=40)
"""When both servers were started."""

PROVIDERS = {
    "self_hosted": "Self-hosted PostgreSQL",
    "aurora": "Amazon Aurora PostgreSQL",
    "neon": "Neon",
    "rds": "Amazon RDS for PostgreSQL",
    "tiger": "Tiger Cloud",
}

HOSTILE_NAMES = (
    "w[/]x",
    "a[b]c",
    "[red]loud",
    "quo\"ted's",
    "语言表格",
    "שולחן",
    "back\\slash",
    "emoji🐘",
    "x" * 63,
)
"""Names that markup, quoting or widths trip over; the ones with control characters are tested apart."""


def source_table(oid: int, name: TableName, **changes: object) -> SourceTable:
    """A plain table with a primary key."""
    table = SourceTable(
        oid=oid,
        name=name,
        kind=TableKind.TABLE,
        approximate_rows=1_000 * oid,
        size_bytes=8192 * oid * oid,
        replica_identity=ReplicaIdentity.DEFAULT,
        has_primary_key=True,
        usable_index=None,
        problem=None,
    )
    return replace(table, **changes)  # type: ignore[arg-type]


def shop_tables() -> tuple[SourceTable, ...]:
    """What a small shop's database holds."""
    return (
        source_table(101, TableName("public", "customers"), size_bytes=96 << 20, approximate_rows=812_000),
        source_table(102, TableName("public", "orders"), size_bytes=2300 << 20, approximate_rows=12_400_000),
        source_table(
            103, TableName("public", "order_lines"), size_bytes=7 << 30, approximate_rows=48_100_000
        ),
        source_table(
            104,
            TableName("public", "audit_log"),
            has_primary_key=False,
            size_bytes=310 << 20,
            approximate_rows=2_000_000,
        ),
        source_table(
            105, TableName("public", "sessions_cache"), problem="unlogged: its rows are not in the WAL"
        ),
        source_table(106, TableName("stock", "items"), size_bytes=12 << 20, approximate_rows=40_200),
        source_table(
            107,
            TableName("stock", "movements"),
            kind=TableKind.PARTITIONED,
            size_bytes=4 << 30,
            approximate_rows=31_000_000,
        ),
    )


def hostile_tables(names: tuple[str, ...] = HOSTILE_NAMES) -> tuple[SourceTable, ...]:
    """Tables whose names are allowed and nasty."""
    return tuple(source_table(200 + number, TableName("public", name)) for number, name in enumerate(names))


def server_summary(side: Side) -> ServerSummary:
    """A server that is fine."""
    return ServerSummary(
        side=side,
        version="16.10" if side is Side.SOURCE else "18.1",
        version_number=160010 if side is Side.SOURCE else 180001,
        host="db1.internal" if side is Side.SOURCE else "tiger.example",
        database="shop" if side is Side.SOURCE else "tsdb",
        user="mover" if side is Side.SOURCE else "tsdbadmin",
        is_standby=False,
        is_superuser=side is Side.SOURCE,
        can_replicate=True,
        uses_tls=True,
        tls_version="TLSv1.3",
        wal_level="logical",
        database_size_bytes=14 << 30 if side is Side.SOURCE else 9 << 20,
        round_trip_seconds=0.0004 if side is Side.SOURCE else 0.0183,
        system_identifier=side.value,
        timescaledb_version=None if side is Side.SOURCE else "2.23.0",
    )


def passed_stages(side: Side) -> tuple[StageDone, ...]:
    """All stages, as fast as such servers are."""
    near = side is Side.SOURCE
    return (
        StageDone(Stage.DNS, 0.0021, "10.0.3.17" if near else "203.0.113.40"),
        StageDone(Stage.TCP, 0.0004 if near else 0.0181, "port 5432"),
        StageDone(Stage.TLS, 0.0032 if near else 0.0412, "not verified" if near else "name verified"),
        StageDone(Stage.LOGIN, 0.0087 if near else 0.0554, "password as given"),
        StageDone(Stage.VERSION, 0.0142 if near else 0.1623, "16.10" if near else "18.1"),
        StageDone(Stage.ROLE, 0.0013 if near else 0.0371, "superuser" if near else "may replicate"),
        StageDone(Stage.LATENCY, 0.0004 if near else 0.0183, "best of 3"),
    )


def good_findings() -> tuple[Finding, ...]:
    """Checks that pass, one with a warning."""
    return (
        trouble(
            "wal_sender_timeout",
            Side.SOURCE,
            Verdict.WARNING,
            "10 s",
            "A slow link may end the replication connection; it is opened again by itself",
            remedy=Fix(sql=("alter role mover set wal_sender_timeout = '60000'",), applicable=True),
        ),
        ok("provider", Side.SOURCE, "Amazon RDS for PostgreSQL: settings rds.extensions"),
        ok("wal_level", Side.SOURCE, "logical"),
        ok("max_replication_slots", Side.SOURCE, "30, 28 free"),
        ok("standby", Side.TARGET, "a primary"),
        ok("create_schema", Side.TARGET, "allowed"),
    )


WAL_LEVEL_BLOCKS = trouble(
    "wal_level",
    Side.SOURCE,
    Verdict.BLOCKS,
    "replica",
    "Without wal_level = logical the WAL lacks what is needed to replicate row changes",
    remedy=Fix(
        sql=("alter system set wal_level = 'logical'",),
        applicable=True,
        needs_restart=True,
        restart="Restart the server · systemctl restart postgresql",
    ),
)
"""What SQL can fix, and counts after a restart."""

PARAMETER_GROUP_BLOCKS = trouble(
    "max_replication_slots",
    Side.SOURCE,
    Verdict.BLOCKS,
    "10, 0 free",
    "Each table that is being copied needs a slot",
    remedy=Fix(
        console="RDS console › Parameter groups › your group › max_replication_slots = 20",
        cli="aws rds modify-db-parameter-group --db-parameter-group-name GROUP …",
        words="The default parameter group cannot be changed; make one of your own",
        needs_restart=True,
        restart="Reboot the instance · aws rds reboot-db-instance --db-instance-identifier shop",
    ),
)
"""What only the provider's console or command can fix."""

NO_ROOM_BLOCKS = trouble(
    "target_empty",
    Side.TARGET,
    Verdict.BLOCKS,
    "2 tables with rows: public.customers, public.orders",
    "Rows of the source would meet rows that are there already",
    remedy=by_hand("Empty these tables, or migrate into another database"),
)
"""What a person has to see to."""


def check_report(*findings: Finding, **changes: object) -> CheckReport:
    """A report on a server of RDS and one of Tiger Cloud; of two findings of a name the worse counts."""
    order = [Verdict.BLOCKS, Verdict.UNKNOWN, Verdict.WARNING, Verdict.OK]
    by_name: dict[tuple[Side, str], Finding] = {}
    for finding in sorted(findings, key=lambda finding: order.index(finding.verdict)):
        by_name.setdefault((finding.side, finding.check), finding)
    report = CheckReport(
        tuple(by_name.values()),
        ServerReport(
            Side.SOURCE,
            "Amazon RDS for PostgreSQL",
            ("host shop.c9akciq32.eu-west-1.rds.amazonaws.com", "settings rds.extensions and 19 more"),
            "",
            STARTED_AT,
        ),
        ServerReport(Side.TARGET, "Tiger Cloud", ("role tsdbadmin",), "", STARTED_AT),
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def progress(table: SourceTable, state: TableState, **changes: object) -> TableProgress:
    """One row of the Live step."""
    done = state not in (TableState.INIT, TableState.DATASYNC)
    share = 1.0 if done else (0.4 if state is TableState.DATASYNC else 0.0)
    row = TableProgress(
        source_oid=table.oid,
        source_name=str(table.name),
        target_name=str(table.name),
        state=state,
        rows_copied=int(table.approximate_rows * share),
        bytes_copied=int(table.size_bytes * share),
        approximate_rows=table.approximate_rows,
        approximate_size_bytes=table.size_bytes,
        changes_applied=1_234 if state is TableState.READY else 0,
        activity={
            TableState.INIT: "waiting for a free sync worker (2 of 2 busy)",
            TableState.DATASYNC: "copying",
            TableState.FINISHEDCOPY: "catching up",
            TableState.SYNCDONE: "synchronized",
            TableState.READY: "following the source",
        }[state],
        last_error=None,
        state_since=NOW - timedelta(minutes=3),
        copy_rate=CopyRate(rows_per_second=206_000.0, bytes_per_second=30_500_000.0, seconds_left=94.0)
        if state is TableState.DATASYNC
        else None,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def snapshot(tables: tuple[TableProgress, ...], **changes: object) -> Snapshot:
    """The engine while it copies."""
    value = Snapshot(
        seq=1,
        taken_monotonic_seconds=MONOTONIC_SECONDS - 0.4,
        taken_at=NOW,
        phase=Phase.COPYING,
        subscription="shop",
        tables=tables,
        source_flush_lsn="2A/5B0F1D20",
        applied_lsn="2A/5AF00000",
        lag=Lag(lag_bytes=1_290_000, lag_seconds=2.4, retained_wal_bytes=262_000_000),
        changes_per_second=1_830.0,
        copy_total=CopyTotal(
            rows=sum(table.rows_copied for table in tables),
            size_bytes=sum(table.bytes_copied for table in tables),
            percent=41,
            exceeds_estimate=False,
            rate=CopyRate(rows_per_second=412_000.0, bytes_per_second=61_000_000.0, seconds_left=131.0),
        ),
        transactions_applied=5_120,
        sync_workers_busy=2,
        sync_workers=2,
        failure=None,
        retry_at_monotonic_seconds=None,
    )
    return replace(value, **changes)  # type: ignore[arg-type]


def copying_snapshot() -> Snapshot:
    """One table in every state."""
    customers, orders, lines, audit, _, items, movements = shop_tables()
    return snapshot(
        (
            progress(audit, TableState.FINISHEDCOPY),
            progress(customers, TableState.READY),
            progress(items, TableState.SYNCDONE),
            progress(lines, TableState.DATASYNC),
            progress(movements, TableState.INIT),
            progress(orders, TableState.DATASYNC),
        )
    )


def ready_snapshot() -> Snapshot:
    """Everything follows the source."""
    tables = tuple(progress(table, TableState.READY) for table in shop_tables() if table.problem is None)
    return snapshot(
        tables,
        phase=Phase.REPLICATING,
        lag=Lag(lag_bytes=14_200, lag_seconds=0.2, retained_wal_bytes=17_000_000),
        copy_total=CopyTotal(
            rows=sum(table.rows_copied for table in tables),
            size_bytes=sum(table.bytes_copied for table in tables),
            percent=100,
            exceeds_estimate=False,
            rate=None,
        ),
        sync_workers_busy=0,
    )


@dataclass
class FakeEngine:
    """An EngineView whose snapshots the test puts in."""

    current: Snapshot | None = None
    happened: tuple[Event, ...] = (
        Event(
            1,
            NOW - timedelta(minutes=4),
            Severity.INFO,
            "Subscription shop started at 2A/10000000 with 6 tables",
        ),
        Event(2, NOW - timedelta(minutes=3), Severity.INFO, "public.customers is ready"),
        Event(
            3, NOW - timedelta(minutes=1), Severity.WARNING, "stock.movements waits for a free sync worker"
        ),
    )
    orders: list[str] = field(default_factory=list)

    def snapshot(self) -> Snapshot | None:
        return self.current

    def events(self, since: int) -> tuple[Event, ...]:
        return tuple(event for event in self.happened if event.number > since)

    def pause(self) -> None:
        self.orders.append("pause")

    def resume(self) -> None:
        self.orders.append("resume")

    def refresh_publication(self) -> None:
        self.orders.append("refresh")

    def retry(self, source_oid: int) -> None:
        self.orders.append(f"retry {source_oid}")

    def stop(self) -> None:
        self.orders.append("stop")


def empty_migration() -> SavedMigration:
    """A migration before its first answer."""
    return SavedMigration(
        id="20261121-023000-abcdef",
        name="",
        source_conninfo="",
        target_conninfo="",
        source_name="",
        target_name="",
        target_database="",
        step=Step.CONNECT,
        furthest_step=Step.CONNECT,
        subscription="",
        publication="",
        tables=(),
        sync_workers=2,
        created_at=NOW,
        updated_at=NOW,
    )


def shop_migration(step: Step, **changes: object) -> SavedMigration:
    """A migration that came as far as ``step``."""
    started = step.number >= Step.LIVE.number
    migration = replace(
        empty_migration(),
        name="shop",
        source_conninfo="host=db1.internal dbname=shop user=mover",
        target_conninfo="host=tiger.example dbname=tsdb user=tsdbadmin",
        source_name="shop on db1.internal",
        target_name="tsdb on tiger.example",
        target_database="tsdb",
        step=step,
        furthest_step=step,
        subscription="shop",
        publication="livesync_shop" if step.number > Step.PUBLICATION.number else "",
        tables=tuple(table.name for table in shop_tables() if table.problem is None)
        if step.number > Step.TABLES.number
        else (),
        started_at=NOW - timedelta(hours=1) if started else None,
    )
    return replace(migration, **changes)  # type: ignore[arg-type]


def finished_migration() -> SavedMigration:
    """A migration after the line."""
    record = CutoverRecord(
        writers_stopped_at=NOW - timedelta(seconds=47),
        attested="confirmed by the person at the terminal",
        fence_lsn="2A/5B0F1D20",
        fence_seconds=0.8,
        sequences_set=11,
        sequences_seconds=0.2,
        tables_compared=6,
        rows_compared=94_352_118,
        differences=0,
        compare_seconds=21.4,
        tables=tuple(
            ComparedTable(str(table.name), table.approximate_rows, "")
            for table in shop_tables()
            if table.problem is None
        ),
        warnings=("Post-sync, rights, settings: Post-sync: 1 not done (public.sales_by_day)",),
        done_at=NOW - timedelta(seconds=12),
    )
    rehearsal = RehearsalRecord(NOW - timedelta(minutes=9), 0.7, 0.2, 20.1)
    return shop_migration(
        Step.DONE,
        cutover=record,
        copy_finished_at=NOW - timedelta(minutes=22),
        rehearsals=(rehearsal,),
        steps_reached=tuple(
            (step, NOW - timedelta(minutes=75 - 5 * step.number)) for step in Step if step is not Step.START
        ),
    )


COMPARISONS = tuple(
    TableComparison(str(table.name), str(table.name), table.approximate_rows, table.approximate_rows, True)
    for table in shop_tables()
    if table.problem is None
)


@dataclass
class FakeServices:
    """MigrationServices for tests."""

    migration: SavedMigration = field(default_factory=empty_migration)
    saved: tuple[SavedMigration, ...] = ()
    unreadable: tuple[Failure, ...] = ()
    strings: dict[Side, str] = field(default_factory=dict)
    starts_new: bool = False
    dry_run: bool = False
    scripts: FakeScripts = field(default_factory=FakeScripts)
    user: FakeUser = field(default_factory=FakeUser)
    tables: FakeTables = field(default_factory=lambda: FakeTables(shop_tables()))
    roles: FakeRoles = field(default_factory=FakeRoles)
    schema: FakeSchema = field(default_factory=FakeSchema)
    identity: FakeIdentity = field(init=False)
    publication: FakePublication = field(init=False)
    cleanup: FakeCleanup = field(default_factory=FakeCleanup)
    rights: FakeRights = field(default_factory=FakeRights)
    host: FakeHost = field(default_factory=FakeHost)
    cutover: FakeCutover = field(default_factory=FakeCutover)
    postsync: FakePostsync = field(default_factory=FakePostsync)
    timescale: FakeTimescale = field(default_factory=FakeTimescale)
    probes: dict[Side, ServerSummary | Failure] = field(
        default_factory=lambda: {side: server_summary(side) for side in Side}
    )
    stages: dict[Side, tuple[StageDone, ...]] = field(
        default_factory=lambda: {side: passed_stages(side) for side in Side}
    )
    probes_wait_for: Signal | None = None
    """What holds the probes after their stages until it is set."""

    refused: tuple[Finding, ...] | Failure = ()
    fields: dict[str, str] = field(default_factory=dict)
    """What every connection string is made of."""

    report: CheckReport | Failure = field(default_factory=lambda: check_report(*good_findings()))
    checks_wait_for: Signal | None = None
    """What holds the checks until it is set."""

    after_fix: CheckReport | None = None
    """What the checks find once a fix was applied; None: the same as before."""

    refuses: str = ""
    """What the server says to every statement of a fix; empty: it runs them."""

    starts: list[ServerStart | Failure] = field(default_factory=list)
    engine: FakeEngine | None = None
    next_engine: FakeEngine = field(default_factory=lambda: FakeEngine(copying_snapshot()))
    start_failure: Failure | None = None
    comparisons: tuple[TableComparison, ...] | Failure = COMPARISONS
    engine_stops: bool = True
    calls: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    log_path: Path | None = Path("/home/me/.local/state/livesync-tui/livesync.log")
    clock: datetime = NOW

    def __post_init__(self) -> None:
        self.user.scripts = self.scripts
        self.roles.scripts = self.scripts
        self.identity = FakeIdentity(self.scripts)
        self.publication = FakePublication(self.scripts)
        self.cutover.services = self

    def now(self) -> datetime:
        return self.clock

    def monotonic_seconds(self) -> float:
        return MONOTONIC_SECONDS

    def saved_migrations(self) -> tuple[SavedMigration, ...]:
        return self.saved

    def unreadable_migrations(self) -> tuple[Failure, ...]:
        return self.unreadable

    def begin(self) -> None:
        self.calls.append("begin")
        self.migration = empty_migration()

    def resume(self, migration_id: str) -> Failure | None:
        self.calls.append(f"resume {migration_id}")
        self.migration = next(each for each in self.saved if each.id == migration_id)
        return None

    def forget(self, migration_id: str) -> Failure | None:
        self.calls.append(f"forget {migration_id}")
        self.saved = tuple(each for each in self.saved if each.id != migration_id)
        return None

    def record(self, migration: SavedMigration) -> Failure | None:
        self.migration = migration
        return None

    def write_file(self, name: str, text: str) -> Path | Failure:
        self.files[name] = text
        return Path("/home/me/.local/state/livesync-tui/shop") / name

    def redact(self, text: str) -> str:
        return text.replace("hunter2", "…")

    def prefilled(self, side: Side) -> str:
        return self.strings.get(side, "")

    def preview_connection(self, side: Side, text: str) -> EndpointSummary | Failure:
        if "postgres" not in text:
            return Failure(
                f"The {side.value} connection string cannot be read", hint="Write it as postgresql://…"
            )
        return EndpointSummary(
            side=side,
            host="db1.internal" if side is Side.SOURCE else "tiger.example",
            port="5432",
            database="shop" if side is Side.SOURCE else "tsdb",
            user="mover" if side is Side.SOURCE else "tsdbadmin",
            sslmode="require",
            has_password=True,
        )

    def use_connection(self, side: Side, text: str) -> EndpointSummary | Failure:
        self.strings[side] = text
        return self.preview_connection(side, text)

    def endpoint(self, side: Side) -> EndpointSummary | None:
        parsed = self.preview_connection(side, self.strings.get(side, "postgres"))
        return None if isinstance(parsed, Failure) else parsed

    def conninfo(self, side: Side) -> str:
        return f"host={side.value} dbname=shop"

    def give_password(self, side: Side, password: str) -> None:
        self.calls.append(f"password of the {side.value}")
        self.probes[side] = server_summary(side)

    def connection_fields(self, side: Side, text: str) -> ConnectionFields | Failure:
        return ConnectionFields(self.fields)

    def probe(
        self, side: Side, on_stage: Callable[[StageDone], None] | None = None
    ) -> ServerSummary | Failure:
        for done in self.stages.get(side, ()) if on_stage is not None else ():
            on_stage(done)
        if self.probes_wait_for is not None:
            self.probes_wait_for.wait()
        return self.probes[side]

    def refused_addresses(self) -> tuple[Finding, ...] | Failure:
        self.calls.append("look who answers")
        return self.refused

    def providers(self) -> Mapping[str, str]:
        return PROVIDERS

    def run_checks(self) -> CheckReport | Failure:
        self.calls.append("run checks")
        if self.checks_wait_for is not None:
            self.checks_wait_for.wait()
        return self.report

    def apply_fix(self, side: Side, statements: tuple[str, ...]) -> tuple[StatementResult, ...] | Failure:
        self.calls.append(f"fix the {side.value}: {'; '.join(statements)}")
        if self.refuses:
            return (StatementResult(statements[0], statements[0], Outcome.REFUSED, self.refuses, "42501"),)
        if self.after_fix is not None:
            self.report = self.after_fix
        return tuple(StatementResult(sql, sql, Outcome.APPLIED) for sql in statements)

    def look_for_restart(self, side: Side) -> ServerStart | Failure:
        self.calls.append(f"look for the restart of the {side.value}")
        return self.starts.pop(0) if self.starts else ServerStart(STARTED_AT, ())

    def start_engine(self) -> Failure | None:
        self.calls.append("start engine")
        if self.start_failure is None:
            self.engine = self.next_engine
        return self.start_failure

    def stop_engine(self) -> bool | Failure:
        self.calls.append("stop engine")
        return self.engine_stops

    def compare_tables(
        self, on_progress: Callable[[ComparisonProgress], None]
    ) -> tuple[TableComparison, ...] | Failure:
        self.calls.append("compare")
        on_progress(ComparisonProgress(3, 6, 40_000_000, "public.orders"))
        return self.comparisons

    def drop_command(self) -> str:
        return 'livesync-tui drop --subscription shop --source "$SOURCE" --target "$TARGET"'
