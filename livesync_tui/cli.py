"""The command line: names and flags, exit codes, and one sentence on stderr for every failure.

Nothing but the standard library is imported before the arguments are known to be good, so ``--help`` is
instant and a command without a screen never loads Textual.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import threading
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from engine.errors import EngineError

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BLOCKED = 3
EXIT_DIFFERENT = 4

_MAX_WORKERS = 100

_MEMORY = re.compile(r"[1-9][0-9]*(?:kB|MB|GB)")
"""As PostgreSQL writes it."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        from livesync_tui import output

        output.error(f"{message}. See {self.prog} --help.")
        self.exit(EXIT_USAGE)


def _workers(text: str) -> int:
    try:
        workers = int(text)
    except ValueError:
        workers = 0
    if not 1 <= workers <= _MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MAX_WORKERS}")
    return workers


def _memory(text: str) -> str:
    if _MEMORY.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512MB")
    return text


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _add_databases(parser: argparse.ArgumentParser, *, source_is_optional: bool = False) -> None:
    optional = "; optional, adds the slots" if source_is_optional else ""
    parser.add_argument(
        "--source", metavar="DSN", default=os.environ.get("SOURCE"), help=f"default: $SOURCE{optional}"
    )
    parser.add_argument("--target", metavar="DSN", default=os.environ.get("TARGET"), help="default: $TARGET")


def _add_subscription(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--subscription", metavar="S", required=True, help="names the migration on both sides"
    )


def _add_table_map(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table-map",
        metavar="JSON",
        action="append",
        default=[],
        help='{"source": {"schema": …, "table": …}, "target": {…}}; may be repeated, the first match wins',
    )


def build_parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    parser = _Parser(
        prog="livesync-tui",
        description="Moves whole PostgreSQL databases with seconds of downtime. "
        "Without a command: the wizard.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {metadata.version('livesync-tui')}")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="the wizard changes nothing on either server and ends with the script of all its steps",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    demo = commands.add_parser("demo", help="two embedded servers, sample data under live writes")
    demo.add_argument(
        "--headless", action="store_true", help="no wizard: plain progress lines, then a summary"
    )
    demo.add_argument("--rows", type=_positive, default=1_000_000, metavar="N", help="rows to fill in")
    demo.add_argument("--seconds", type=_positive, default=5, metavar="N", help="live writes after the copy")
    demo.add_argument("--keep", action="store_true", help="leave servers and data behind, and say where")

    check = commands.add_parser("check", help="can this source be moved to this target?")
    _add_databases(check)
    check.add_argument(
        "--provider", metavar="NAME", help="whose server the source is, such as rds; default: found out"
    )
    check.add_argument("--json", action="store_true")

    run = commands.add_parser("run", help="copy and replicate until stopped")
    run.add_argument("--publication", metavar="P", action="append", required=True, help="may be repeated")
    _add_subscription(run)
    _add_databases(run)
    _add_table_map(run)
    run.add_argument("--table-sync-workers", type=_workers, default=4, metavar="N", help="default: 4")
    run.add_argument("--copy-data", type=_boolean, default=True, metavar="true|false", help="default: true")
    run.add_argument(
        "--schema", action="store_true", help="first restore the source's schema on the empty target"
    )
    run.add_argument(
        "--index-jobs",
        type=_workers,
        default=2,
        metavar="N",
        help="with --schema: indexes built at the same time; default: 2",
    )
    run.add_argument(
        "--maintenance-work-mem",
        type=_memory,
        metavar="SIZE",
        help="with --schema: memory of each index build, such as 512MB; default: the target's setting",
    )
    run.add_argument("--log-format", choices=("text", "json"), default="text")

    status = commands.add_parser("status", help="states, positions and errors of a subscription")
    _add_subscription(status)
    _add_databases(status, source_is_optional=True)
    status.add_argument("--json", action="store_true")
    status.add_argument("--watch", action="store_true", help="again every 2 seconds")

    refresh = commands.add_parser("refresh-publication", help="take up added and dropped tables")
    _add_subscription(refresh)
    _add_databases(refresh)
    _add_table_map(refresh)

    sequences = commands.add_parser("copy-sequences", help="set the target's sequences from the source's")
    _add_subscription(sequences)
    _add_databases(sequences)

    verify = commands.add_parser(
        "verify", help="compare every table on both sides at one position, while both are written to"
    )
    _add_subscription(verify)
    _add_databases(verify)
    verify.add_argument("--quick", action="store_true", help="numbers of rows only")
    verify.add_argument("--json", action="store_true")

    drop = commands.add_parser("drop", help="remove a subscription's slots and state; rows stay")
    _add_subscription(drop)
    _add_databases(drop)
    return parser


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 usage, 3 a check blocks, 4 different."""
    options = build_parser().parse_args(arguments)
    from engine.errors import EngineError
    from livesync_tui import output

    # Commands print what concerns the user themselves; nothing may reach stderr by logging's last resort.
    logging.getLogger("livesync").addHandler(logging.NullHandler())
    threading.excepthook = _keep_quiet

    try:
        return _dispatch(options)
    except EngineError as error:
        output.error(error.failure.sentence())
        return exit_code(error)
    except KeyboardInterrupt:
        output.error("Interrupted.")
        return EXIT_FAILED


def _keep_quiet(escaped: threading.ExceptHookArgs) -> None:
    """A thread's owner reports its failure; the traceback, with values in it, belongs nowhere else."""
    name = "a thread" if escaped.thread is None else escaped.thread.name
    logging.getLogger("livesync").error("%s ended by %s", name, escaped.exc_type.__name__)


def exit_code(error: EngineError) -> int:
    """The exit code that stands for ``error``."""
    from engine.errors import BlockedError, UsageError

    if isinstance(error, UsageError):
        return EXIT_USAGE
    return EXIT_BLOCKED if isinstance(error, BlockedError) else EXIT_FAILED


def _dispatch(options: argparse.Namespace) -> int:
    match options.command:
        case "run":
            from livesync_tui.run_command import run

            return run(options)
        case "check":
            from livesync_tui.check_command import check

            return check(options)
        case "verify":
            from livesync_tui.verify_command import verify

            return verify(options)
        case "demo":
            from livesync_tui.demo.command import demo

            return demo(options)
        case None:
            from livesync_tui.wizard_command import wizard

            return wizard(dry_run=options.dry_run)
        case _:
            from livesync_tui import subscription_commands

            commands = {
                "status": subscription_commands.status,
                "refresh-publication": subscription_commands.refresh,
                "copy-sequences": subscription_commands.copy_all_sequences,
                "drop": subscription_commands.drop,
            }
            return commands[options.command](options)
