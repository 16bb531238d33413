"""``livesync-tui verify``: are both sides the same at one position?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from engine.connection.endpoint import parse_endpoint
from engine.cutover.outcome import ComparisonProgress, RowDifference, TableComparison
from engine.errors import Side
from engine.verification.outcome import Verification
from engine.verification.verify import verify as verify_subscription
from livesync_tui import output
from livesync_tui.cli import EXIT_BLOCKED, EXIT_DIFFERENT, EXIT_DONE

_PROGRESS_SECONDS = 2.0

_KINDS = {Side.SOURCE: "missing on target", Side.TARGET: "only on target", None: "differs"}


def verify(options: argparse.Namespace) -> int:
    """Compare every table; exit 4 when one differs, 3 when one could not be compared."""
    found = verify_subscription(
        parse_endpoint(Side.SOURCE, options.source or ""),
        parse_endpoint(Side.TARGET, options.target or ""),
        options.subscription,
        is_quick=options.quick,
        on_progress=(lambda progress: None) if options.json else _ProgressLines().show,
        on_wait=output.error if options.json else _line,
    )
    if options.json:
        _print_json(options.subscription, found)
    else:
        _print_text(found)
    if found.differing:
        return EXIT_DIFFERENT
    return EXIT_DONE if found.is_equal else EXIT_BLOCKED


def _line(text: str) -> None:
    output.line(output.one_line(text))


class _ProgressLines:
    """A line every two seconds."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._said_at = self._began_at

    def show(self, progress: ComparisonProgress) -> None:
        now = time.monotonic()
        if now - self._said_at < _PROGRESS_SECONDS:
            return
        self._said_at = now
        rate = progress.rows_compared / (now - self._began_at)
        of_about = f" of about {progress.rows_total:,}" if progress.rows_total else ""
        _line(
            f"{progress.tables_done} of {progress.tables_total} tables, "
            f"{progress.rows_compared:,}{of_about} rows, {rate:,.0f} rows/s, now {progress.current}"
        )


def _print_text(found: Verification) -> None:
    compared = "rows counted" if found.is_quick else "rows compared"
    stood = (
        "no engine runs"
        if found.standstill_seconds is None
        else f"replication stood still for {found.standstill_seconds:.1f} s"
    )
    _line(f"Both sides at {found.lsn} ({found.taken_at:%Y-%m-%d %H:%M:%S} UTC), {stood}")
    for table in found.comparisons:
        renamed = "" if table.source == table.target else f" -> {table.target}"
        _line(f"  {_result(table)}  {table.source}{renamed}  {_counts(table)}")
        if table.problem is not None:
            _line(f"      {table.problem}")
        if table.source_only_columns:
            _line(f"      columns that the target lacks: {', '.join(table.source_only_columns)}")
        for row in table.differing:
            _line(f"      {row.words}")
        if table.more_differ:
            _line("      and more")
    for left_out in found.not_compared:
        renamed = "" if left_out.target in (None, left_out.source) else f" -> {left_out.target}"
        _line(f"  not compared  {left_out.source}{renamed}  {left_out.reason}")
    unknown = len(found.unknown) + len(found.not_compared)
    parts = [
        f"{len(found.comparisons) - len(found.unknown)} tables, {found.rows:,} {compared}",
        f"{len(found.differing)} differ",
    ]
    if unknown:
        parts.append(f"{unknown} not compared")
    _line(f"{', '.join(parts)}, {found.seconds:.1f} s")


def _result(table: TableComparison) -> str:
    if table.problem is not None:
        return "not compared"
    return "equal" if table.equal else "DIFFERENT"


def _counts(table: TableComparison) -> str:
    if table.problem is not None:
        return ""
    if table.source_rows == table.target_rows:
        return _rows_words(table.source_rows)
    return f"{_rows_words(table.source_rows)} on the source, {table.target_rows:,} on the target"


def _rows_words(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _print_json(subscription: str, found: Verification) -> None:
    output.document(
        {
            "subscription": subscription,
            "lsn": found.lsn,
            "taken_at": found.taken_at,
            "quick": found.is_quick,
            "equal": found.is_equal,
            "rows": found.rows,
            "seconds": round(found.seconds, 3),
            "standstill_seconds": None
            if found.standstill_seconds is None
            else round(found.standstill_seconds, 3),
            "tables": [
                {
                    "source": table.source,
                    "target": table.target,
                    "equal": None if table.problem is not None else table.equal,
                    "source_rows": table.source_rows,
                    "target_rows": table.target_rows,
                    "columns_the_target_lacks": table.source_only_columns,
                    "columns_not_compared": table.target_only_columns,
                    "differing": _rows(table.differing),
                    "more_differ": table.more_differ,
                    "problem": table.problem,
                }
                for table in found.comparisons
            ],
            "not_compared": [
                {"source": table.source, "target": table.target, "reason": table.reason}
                for table in found.not_compared
            ],
        }
    )


def _rows(differing: Sequence[RowDifference]) -> list[dict[str, str]]:
    return [{"kind": _KINDS[row.side], "row": row.row} for row in differing]
