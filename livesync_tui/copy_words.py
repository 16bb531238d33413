"""How far copies are, without a screen: as a phrase for a person, as fields for a program."""

from __future__ import annotations

from engine.snapshot import CopyRate, CopyTotal, TableProgress


def table_words(table: TableProgress) -> str:
    """One table in a phrase; what is not known is left out."""
    rows, size_bytes = table.rows_copied, table.bytes_copied
    return _words(rows, size_bytes, table.copied_percent, table.exceeds_estimate, table.copy_rate)


def total_words(total: CopyTotal) -> str:
    """All tables in a phrase; what is not known is left out."""
    return _words(total.rows, total.size_bytes, total.percent, total.exceeds_estimate, total.rate)


def _words(rows: int, size_bytes: int, percent: int | None, exceeds: bool, rate: CopyRate | None) -> str:
    parts = [f"{rows:,} rows copied", f"{size_bytes:,} bytes"]
    if exceeds:
        parts.append("more than estimated")
    elif percent is not None and percent < 100:
        parts.append(f"about {percent} %")
    if rate is not None:
        parts += [f"{rate.rows_per_second:,.0f} rows/s", f"{rate.bytes_per_second:,.0f} bytes/s"]
        if rate.time_left is not None:
            parts.append(f"about {rate.time_left} left")
    return ", ".join(parts)


def table_fields(table: TableProgress) -> dict[str, object]:
    """One table for JSON; what is not known is null."""
    return {
        "rows_copied": table.rows_copied,
        "bytes_copied": table.bytes_copied,
        "approximate_rows": table.approximate_rows or None,
        "copied_percent": table.copied_percent,
        **_rate_fields(table.copy_rate),
    }


def total_fields(total: CopyTotal) -> dict[str, object]:
    """All tables for JSON; what is not known is null."""
    return {
        "rows_copied": total.rows,
        "bytes_copied": total.size_bytes,
        "copied_percent": total.percent,
        **_rate_fields(total.rate),
    }


def _rate_fields(rate: CopyRate | None) -> dict[str, object]:
    return {
        "copied_rows_per_second": None if rate is None else round(rate.rows_per_second, 1),
        "copied_bytes_per_second": None if rate is None else round(rate.bytes_per_second, 1),
        "copy_seconds_left": None if rate is None or rate.seconds_left is None else round(rate.seconds_left),
    }
