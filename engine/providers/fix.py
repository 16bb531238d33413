"""What to do about a finding, as a value. Imports only the standard library."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Fix:
    """A fix with its parts by themselves, each of which can be copied."""

    words: str = ""
    sql: tuple[str, ...] = ()
    """Statements without semicolon, in order, each run by itself (ALTER SYSTEM refuses a transaction)."""

    applicable: bool = False
    """Whether the session's own role may run ``sql``."""

    console: str = ""
    cli: str = ""
    needs_restart: bool = False
    restart: str = ""
    """How the server is restarted; only with ``needs_restart``."""

    def text(self) -> str:
        """All of it to read and to copy, a line each."""
        lines = [*(f"{statement};" for statement in self.sql), self.console, self.cli]
        if self.needs_restart:
            lines.append(f"It counts after a restart. {self.restart}")
        lines.append(self.words)
        return "\n".join(line for line in lines if line)

    def with_words(self, words: str) -> Fix:
        """The same with ``words`` said after the others."""
        return replace(self, words="\n".join(part for part in (self.words, words) if part))
