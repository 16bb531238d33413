"""Kinds of changes, written by the source itself: each is one procedure call.

Each has a table of its own, shaped as ``pgbench_accounts``, so that none starts from what another left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.subscriber import PUBLICATION
from benchmarks.servers import Database

_HOT_ROWS = 100
"""Few rows, updated again and again."""

_SPREAD = 7919
"""Prime to every number of rows used here: multiples of it visit every row once, in no order of the index."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of changes."""

    title: str
    table: str
    changes_per_transaction: int
    body: str
    """PL/pgSQL that makes the changes ``a`` to ``z`` (numbered from 0) of one transaction."""


_PICKED = f"id = any (array(select 1 + k * {_SPREAD} % rows from generate_series(a, z) as k))"
"""Rows picked without repetition."""


def inserts(table: str) -> str:
    """Body of a workload that inserts into ``table``."""
    return f"insert into {table} select rows + 1 + k, k % 10, 0, filler from generate_series(a, z) as k;"


_HOT = f"""
for i in 1 .. (z - a + 1) / {_HOT_ROWS} loop
    update hot set abalance = abalance + 1 where id <= {_HOT_ROWS};
end loop;
"""


def _one_of_each(table: str) -> str:
    return f"""
for k in a .. z loop
    case k % 3
        when 0 then insert into {table} values (rows + 1 + k, k % 10, 0, filler);
        when 1 then update {table} set abalance = abalance + 1 where id = 1 + k::bigint * {_SPREAD} % rows;
        else delete from {table} where id = 1 + k::bigint * {_SPREAD} % rows;
    end case;
end loop;
"""


def _updates(table: str) -> str:
    return f"update {table} set abalance = abalance + 1 where {_PICKED};"


WORKLOADS = (
    Workload("inserts, 1,000/txn", "inserts_1000", 1000, inserts("inserts_1000")),
    Workload("inserts, 10/txn", "inserts_10", 10, inserts("inserts_10")),
    Workload("updates, 1,000/txn", "updates_1000", 1000, _updates("updates_1000")),
    Workload("updates, 3/txn", "updates_3", 3, _updates("updates_3")),
    Workload("same 100 rows, 1,000/txn", "hot", 1000, _HOT),
    Workload("deletes, 1,000/txn", "deletes_1000", 1000, f"delete from deletes_1000 where {_PICKED};"),
    Workload("mixed, 1,000/txn", "mixed_1000", 1000, _one_of_each("mixed_1000")),
    Workload("mixed, 3/txn", "mixed_3", 3, _one_of_each("mixed_3")),
)

_PROCEDURE = """
create procedure write_{table}(rows bigint, changes bigint, number integer) language plpgsql as $$
declare
    a bigint := 0;
    z bigint;
    filler text := repeat('livesync', 10);
begin
    while a < changes loop
        z := least(a + {changes_per_transaction}, changes) - 1;
        {body}
        commit;
        a := z + 1;
    end loop;
    insert into sentinel values (number);
    commit;
end
$$
"""


def create_tables(source: Database, rows: int, workloads: Sequence[Workload] = WORKLOADS) -> None:
    """Make the workloads' tables of ``rows`` rows, ``sentinel``, ``tick``, procedures and publication."""
    source.execute(
        "create table sentinel (number integer primary key)",
        "create table tick (at timestamptz default clock_timestamp(), id bigserial primary key)",
    )
    for workload in workloads:
        source.execute(
            f"create table {workload.table} (id integer, bid integer, abalance integer, filler text)",
            f"insert into {workload.table} select g, g % 10, 0, repeat('livesync', 10)"
            f" from generate_series(1, {rows}) as g",
            f"alter table {workload.table} add primary key (id)",
            _PROCEDURE.format(
                table=workload.table,
                changes_per_transaction=workload.changes_per_transaction,
                body=workload.body,
            ),
        )
    source.execute("vacuum analyze", f"create publication {PUBLICATION} for tables in schema public")


def write_backlog(source: Database, workload: Workload, rows: int, changes: int, number: int) -> None:
    """Commit ``changes`` row changes to a table that had ``rows`` rows, then ``number`` into ``sentinel``."""
    with source.connect() as connection:
        connection.execute("set synchronous_commit = off")
        # Plans for any parameters: made once, not thousands of times.
        connection.execute("set plan_cache_mode = force_generic_plan")
        connection.execute("set enable_seqscan = off")
        connection.execute(
            f"call write_{workload.table}({int(rows)}, {int(changes)}, {int(number)})".encode()
        )
