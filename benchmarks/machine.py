"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import psycopg

from benchmarks.servers import MAJOR, SETTINGS

_CHECKOUT = Path(__file__).resolve().parents[1]


def machine_description() -> str:
    """Lines about machine, versions, commit and server settings."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    settings = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
    libpq = psycopg.pq.version()
    return "\n".join(
        [
            f"machine    {cores} cores, {_processor()}, {memory_gib:.0f} GiB memory, "
            f"{platform.system()} {platform.release()}; both servers and the tool on it",
            f"versions   PostgreSQL {MAJOR} on both sides, Python {platform.python_version()}, "
            f"psycopg {psycopg.__version__} with libpq {libpq // 10000}.{libpq % 10000}",
            f"commit     {_commit()}",
            f"servers    {settings}; the same on both",
        ]
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass  # Not Linux.
    return platform.processor() or platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown: no git"

    def ask(*arguments: str) -> str:
        return subprocess.run(
            [git, "-C", str(_CHECKOUT), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    commit = ask("rev-parse", "--short=12", "HEAD") or "unknown: not a checkout"
    return f"{commit} with local changes" if ask("status", "--porcelain", "-uno") else commit
