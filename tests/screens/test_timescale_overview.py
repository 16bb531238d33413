"""What there is of TimescaleDB is said in a sentence and as a text."""

from __future__ import annotations

from engine.timescaledb.overview import Making, OverviewLine, Part, TimescaleOverview
from engine.timescaledb.refill import RefillWay
from screens.timescale_overview import overview_line, overview_text
from tests.screens.fakes.timescaledb import NO_TIMESCALEDB

FOUND = TimescaleOverview(
    "TimescaleDB 2.16.1, full edition",
    "TimescaleDB 2.29.2, full edition",
    (
        OverviewLine(Part.HYPERTABLE, "app.metrics", '"time" by 1 day', Making.MADE),
        OverviewLine(Part.HYPERTABLE, "app.odd", "id by 5 days", Making.LEFT_OUT, "cannot cut by a UUID"),
        OverviewLine(
            Part.AGGREGATE, "app.daily", "of app.metrics", Making.THERE, "rows are gone", RefillWay.COPY
        ),
        OverviewLine(Part.POLICY, "retention policy of app.metrics", "every 1 day", Making.LATER),
    ),
)


def test_all_of_it_is_in_the_text() -> None:
    assert overview_text(FOUND).splitlines() == [
        "Source: TimescaleDB 2.16.1, full edition",
        "Target: TimescaleDB 2.29.2, full edition",
        "",
        "Hypertables: 1 will be made, 1 left out",
        "+ app.metrics (will be made)",
        '    "time" by 1 day',
        "✗ app.odd (left out)",
        "    id by 5 days",
        "    cannot cut by a UUID",
        "",
        "Continuous aggregates: 1 there",
        "✓ app.daily (there)",
        "    of app.metrics",
        "    its rows are copied: rows are gone",
        "",
        "Policies and jobs: 1 after the copy",
        "◌ retention policy of app.metrics (after the copy)",
        "    every 1 day",
    ]


def test_a_sentence_counts() -> None:
    assert overview_line(FOUND) == (
        "TimescaleDB 2.16.1, full edition: 2 hypertables, 1 continuous aggregates, 1 policies and jobs; "
        "1 left out"
    )


def test_a_source_without_it_has_no_sentence() -> None:
    assert overview_line(NO_TIMESCALEDB) == ""
    assert overview_text(NO_TIMESCALEDB) == "The source does not have TimescaleDB."
