"""``python -m benchmarks [copy] [apply] [latency] [memory] [growth] [--quick] [--rounds N]``."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.errors import BenchmarkError
from benchmarks.machine import machine_description
from benchmarks.plan import Plan
from engine.errors import EngineError
from livesync_tui import output

_BENCHMARKS = ("copy", "apply", "latency", "memory", "growth")


def main(arguments: Sequence[str]) -> int:
    """Run the named benchmarks, all by default; 0, or 1 when one failed. A missed target is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(_BENCHMARKS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="everything small: a smoke test")
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="turns of every peer; default: 3, memory 1, growth 2, quick 1",
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(_BENCHMARKS))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds is a number above 0")
    plan = Plan(asked_rounds=options.rounds, quick=options.quick)
    # Otherwise the servers, which end with this process in order, would outlive it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    output.line(machine_description())
    if plan.quick:
        output.line("quick      everything small: these numbers only show that the benchmarks work")
    failed = False
    for name in options.names or _BENCHMARKS:
        run: Callable[[Plan], None] = importlib.import_module(f"benchmarks.{name}").run
        started = time.monotonic()
        try:
            run(plan)
        except (BenchmarkError, EngineError) as error:
            output.error(f"benchmark {name} failed: {error}")
            failed = True
        output.line(f"({name}: {time.monotonic() - started:.0f} s in all)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
