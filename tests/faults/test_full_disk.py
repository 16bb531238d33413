"""The target's disk is full and is freed later, under live writes: waited out with PostgreSQL's words.

The disk is a small file system in memory; without the right to mount one these tests are skipped.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.snapshot import Phase
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.faults.watched import SLOW, TABLES, Watched, Writes, pace
from tests.waiting import wait_until

_LEFT_BYTES = 4 * 1024 * 1024
"""Room that a full disk still has: enough to get into the middle, far less than item needs."""

_NO_SPACE = "No space left on device"
_PANIC = 'PANIC:  could not write to file "pg_wal/'


class Disk:
    """A file system of its own, which a ballast file fills up to a few megabytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    def fill(self) -> None:
        free_bytes = shutil.disk_usage(self.directory).free
        with self._ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free_bytes - _LEFT_BYTES)

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def mounted(base: Path, size: str) -> Iterator[Disk]:
    """A new disk of ``size`` under ``base``, gone when the block ends."""
    directory = base / f"disk-{secrets.token_hex(4)}"
    directory.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(directory)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no program mount, so no disk that can be filled")
    if done.returncode != 0:
        pytest.skip(f"no disk that can be filled, because mount is refused: {done.stderr.strip()}")
    try:
        yield Disk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def keep_bodies_as_they_are(target: Database) -> None:
    """Ten thousand equal letters take ten thousand bytes."""
    target.execute("alter table item alter body set storage external")


@pytest.fixture
def disk_of_item(target: Database, server_base: Path) -> Iterator[Disk]:
    """Only item is on the small disk, in a tablespace; WAL and all else have room."""
    keep_bodies_as_they_are(target)
    with mounted(server_base, "96m") as disk:
        space = disk.directory / "space"
        space.mkdir(mode=0o700)
        owner = target.server.directory.stat()
        os.chown(space, owner.st_uid, owner.st_gid)
        name = f"small_{secrets.token_hex(4)}"
        target.execute(f"create tablespace {name} location '{space}'")
        target.execute(f"alter table item set tablespace {name}")
        yield disk
        target.execute("alter table item set tablespace pg_default")
        target.execute(f"drop tablespace {name}")


@pytest.fixture(params=["everything", "WAL"])
def small_server(request: pytest.FixtureRequest, server_base: Path) -> Iterator[tuple[Disk, Database]]:
    """A target server that has everything, or only its WAL, on the small disk."""
    only_wal = request.param == "WAL"
    with mounted(server_base, "128m" if only_wal else "256m") as disk:
        place = server_base / f"small-{secrets.token_hex(4)}" if only_wal else disk.directory / "server"
        server = EmbeddedServer.create(
            18,
            place,
            settings={"min_wal_size": "32MB", "max_wal_size": "32MB", "shared_buffers": "16MB"},
        )
        if only_wal:
            wal = place / "data" / "pg_wal"
            shutil.move(wal, disk.directory / "pg_wal")
            owner = place.stat()
            for path in (disk.directory / "pg_wal", *(disk.directory / "pg_wal").rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)
            wal.symlink_to(disk.directory / "pg_wal")
        server.start()
        database = Database(server, "small")
        database.create()
        database.execute(TABLES)
        database.execute(SLOW)
        keep_bodies_as_they_are(database)
        yield disk, database
        server.stop("immediate")


def reports(migration: Watched, words: str) -> list[str]:
    """What was said with ``words`` and the promise of another try."""
    return [text for text in migration.said() if words in text and "Trying again in" in text]


def wait_waiting(migration: Watched) -> None:
    """Until the full disk was met twice, which takes a pause in between."""
    wait_until(
        lambda: len(reports(migration, _NO_SPACE)) >= 2,
        timeout_seconds=150,
        describe=lambda: (migration.snapshot, migration.said()),
    )
    assert any("The disk of the target is full" in text for text in reports(migration, _NO_SPACE))
    assert any("Free space on the target" in text for text in reports(migration, "53100"))
    assert migration.snapshot.phase is not Phase.FAILED
    assert not migration.snapshot.tables_set_aside
    # Each pause is longer than the one before it, from a second on.
    assert len(migration.said()) < 12, migration.said()


def test_a_disk_that_is_full_in_mid_copy_is_waited_out(
    source: Database, target: Database, disk_of_item: Disk
) -> None:
    pace(target, 0.0005)
    with Watched(source, target) as migration, Writes(source) as writes:
        migration.wait_mid_copy()
        disk_of_item.fill()
        pace(target, 0)
        wait_waiting(migration)
        assert target.query("select count(*) from item") == [(0,)]
        disk_of_item.free()
        migration.finish(writes)


@pytest.mark.slow
def test_a_disk_that_is_full_in_mid_apply_is_waited_out(
    source: Database, target: Database, disk_of_item: Disk
) -> None:
    with Watched(source, target) as migration, Writes(source) as writes:
        migration.wait_ready()
        disk_of_item.fill()
        source.execute("insert into item select n, repeat('y', 10000) from generate_series(5001, 6000) n")
        wait_waiting(migration)
        assert migration.snapshot.failure is not None
        assert migration.snapshot.failure.sqlstate == "53100"
        assert migration.snapshot.phase is Phase.RETRYING
        assert target.query("select count(*) from item where id between 5001 and 6000") == [(0,)]
        disk_of_item.free()
        migration.finish(writes)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["copy", "apply"])
def test_a_target_server_whose_disk_is_full_is_waited_out(
    moment: str, source: Database, small_server: tuple[Disk, Database]
) -> None:
    disk, target = small_server
    if moment == "copy":
        pace(target, 0.0005)
    with Watched(source, target) as migration, Writes(source) as writes:
        if moment == "copy":
            migration.wait_mid_copy()
            disk.fill()
            pace(target, 0)
        else:
            migration.wait_ready()
            disk.fill()
            source.execute("insert into item select n, repeat('y', 10000) from generate_series(5001, 9000) n")
        wait_until(lambda: len(reports(migration, "")) >= 2, timeout_seconds=150, describe=migration.said)
        # Without room for WAL the server ends with a PANIC, which not every client of it gets to read.
        wait_until(
            lambda: reports(migration, _NO_SPACE) or _PANIC in target.server.log_path.read_text(),
            describe=migration.said,
        )
        assert all("The disk of the target is full" in text for text in reports(migration, _NO_SPACE))
        assert not migration.snapshot.tables_set_aside
        assert len(migration.said()) < 20, migration.said()
        disk.free()
        if not target.server.running:
            target.server.stop("immediate")
            target.server.start()
        migration.finish(writes)
