"""Chunks are shown under their hypertable."""

from __future__ import annotations

from engine.snapshot import TableProgress, TableState
from screens.chunk_groups import ChunkGroup, group_chunks


def progress(
    oid: int,
    source: str,
    target: str | None = None,
    state: TableState = TableState.READY,
    *,
    rows: int | None = 10,
    error: str | None = None,
) -> TableProgress:
    return TableProgress(
        source_oid=oid,
        source_name=source,
        target_name=target or source,
        state=state,
        rows_copied=5,
        bytes_copied=100,
        approximate_rows=rows,
        approximate_size_bytes=1000,
        changes_applied=2,
        activity="",
        last_error=error,
        state_since=None,
    )


CHUNKS = tuple(
    progress(number, f"_timescaledb_internal._hyper_1_{number}_chunk", "app.metrics") for number in (11, 12)
)


def test_chunks_are_under_what_they_go_into() -> None:
    orders, metrics = progress(1, "app.orders"), progress(2, "app.metrics", "app.metrics")
    other = progress(21, "_timescaledb_internal._hyper_2_21_chunk", "app.ticks")
    lines = group_chunks((*CHUNKS, other, metrics, orders))
    assert lines == (
        ChunkGroup("app.metrics", (*CHUNKS, metrics)),
        ChunkGroup("app.ticks", (other,)),
        orders,
    )


def test_a_chunk_of_another_name_is_known_by_its_oid() -> None:
    own = progress(31, "chunks_of_mine.part_9_31_chunk", "app.elsewhere")
    assert group_chunks((own,)) == (own,)
    assert group_chunks((own,), {31: "app.elsewhere"}) == (ChunkGroup("app.elsewhere", (own,)),)


def test_what_only_looks_like_a_chunk_stays() -> None:
    odd = (
        progress(1, 'public."_timescaledb_internal._hyper_1_1_chunk"'),
        progress(2, "_timescaledb_internal._hyper_1_1_chunk\n"),
        progress(3, "_timescaledb_internal.compress_hyper_2_5_chunk"),
    )
    assert group_chunks(odd) == odd


def test_a_group_says_what_its_chunks_say_together() -> None:
    copying = progress(
        13, "_timescaledb_internal._hyper_1_13_chunk", "app.metrics", TableState.DATASYNC, error="refused"
    )
    (group,) = group_chunks((*CHUNKS, copying))
    assert isinstance(group, ChunkGroup)
    assert group.state is TableState.DATASYNC
    assert (group.count(TableState.READY), group.copied_count) == (2, 2)
    assert (group.rows_copied, group.bytes_copied, group.changes_applied) == (15, 300, 6)
    assert (group.approximate_rows, group.approximate_size_bytes) == (30, 3000)
    assert group.set_aside == (copying,)
    unknown = progress(14, "_timescaledb_internal._hyper_1_14_chunk", "app.metrics", rows=None)
    (group,) = group_chunks((*CHUNKS, unknown))
    assert isinstance(group, ChunkGroup)
    assert group.approximate_rows is None
