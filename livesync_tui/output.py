"""The only place that prints: plain lines for people and logs, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO


def line(text: str) -> None:
    """One line on stdout, at once; when nobody reads any more, replication goes on without saying so."""
    try:
        print(text, flush=True)
    except OSError:
        # What is still in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(text: str) -> str:
    """Names on a server may hold anything; what would move a terminal's cursor is shown, not obeyed."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def error(text: str) -> None:
    """One line on stderr."""
    print(f"livesync-tui: {' '.join(text.split())}", file=sys.stderr, flush=True)


def text(lines: str, *, to: TextIO) -> None:
    """A text of several lines as it is."""
    to.write(lines)
    to.flush()


def document(value: object) -> None:
    """A JSON document on stdout."""
    line(json.dumps(value, indent=2, default=str))


class LogLines:
    """Progress of a long command as timestamped lines, text or JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def write(self, severity: str, text: str, fields: Mapping[str, object] | None = None) -> None:
        """One line: time, severity, text, and in JSON the fields as well."""
        now = datetime.now(UTC)
        if self._as_json:
            record = {"time": now.isoformat(timespec="milliseconds"), "level": severity, "message": text}
            line(json.dumps({**record, **(fields or {})}, default=str))
        else:
            mark = "" if severity == "info" else f"{severity.upper()}: "
            line(f"{now:%Y-%m-%d %H:%M:%S} {mark}{' '.join(text.split())}")
