"""The queries that the Livesync procedure prints for its users run unchanged and say something sensible.

Source: the Livesync replication procedure, sections 6.2 Monitor, 8.1 Validate and 8.3 Reset sequences.
"""

from __future__ import annotations

from tests.conftest import Database
from tests.engine.replicating import Migration, rows_of
from tests.waiting import wait_until

TABLE_SYNC_STATUS = """
    SELECT state, last_error, count(*)
    FROM _ts_live_sync.subscription_rel
    GROUP BY 1, 2 ORDER BY 1, 2;
"""

COPY_PROGRESS = "SELECT * FROM pg_stat_progress_copy;"

LAG_ON_SOURCE = """
    SELECT slot_name,
           pg_size_pretty(pg_current_wal_flush_lsn() - confirmed_flush_lsn) AS lag
    FROM pg_replication_slots
    WHERE slot_name LIKE 'live_sync_%' AND slot_type = 'logical';
"""

LAG_ON_TARGET = """
    SELECT pg_size_pretty(source_flush_lsn - last_replicated_lsn) AS lag_bytes,
           (metrics_updated_at - last_replicated_txn_time) AS lag_duration,
           *
    FROM _ts_live_sync.subscription;
"""

RESET_SEQUENCES = """
DO $$
DECLARE
  rec RECORD;
BEGIN
  FOR rec IN (
    SELECT
      sr.target_schema AS table_schema,
      sr.target_table AS table_name,
      col.column_name,
      pg_get_serial_sequence(
        format('%I.%I', sr.target_schema, sr.target_table),
        col.column_name
      ) AS seqname
    FROM _ts_live_sync.subscription_rel AS sr
    JOIN information_schema.columns AS col
      ON col.table_schema = sr.target_schema AND col.table_name = sr.target_table
    WHERE col.column_default LIKE 'nextval(%'
  ) LOOP
    EXECUTE format(
      'SELECT setval(%L, COALESCE((SELECT MAX(%I) FROM %I.%I), 0) + 1, false);',
      rec.seqname, rec.column_name, rec.table_schema, rec.table_name
    );
  END LOOP;
END;
$$ LANGUAGE plpgsql;
"""

HOLD_COPY = 7411

SLOW_TABLE = f"""
create table wide (id int primary key, filler text);
create function hold() returns trigger language plpgsql as $$
begin perform pg_catalog.pg_advisory_xact_lock_shared({HOLD_COPY}); return new; end $$;
create trigger hold before insert on wide for each row execute function hold();
alter table wide enable always trigger hold;
"""


def test_queries_of_the_procedure(source_db: Database, target_db: Database) -> None:
    source_db.execute("create table wide (id int primary key, filler text)")
    target_db.execute(SLOW_TABLE)
    for database in (source_db, target_db):
        database.execute("create table ticket (id serial primary key, note text)")
    source_db.execute("insert into ticket (note) select 'n' from generate_series(1, 50)")
    source_db.execute("insert into wide select n, repeat('x', 2000) from generate_series(1, 15000) n")
    source_db.execute("create publication pub for table wide, ticket")
    with target_db.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", [HOLD_COPY])
        with Migration(source_db, target_db, sync_workers=2) as migration:
            copying = wait_until(
                lambda: [row for row in source_db.query(COPY_PROGRESS) if row[2] == source_db.name]
            )
            assert len(copying) == 1
            assert copying[0][4:6] == ("COPY TO", "PIPE")
            wait_until(lambda: ("r", None, 1) in target_db.query(TABLE_SYNC_STATUS))
            assert target_db.query(TABLE_SYNC_STATUS) == [("d", None, 1), ("r", None, 1)]
            wait_until(lambda: len(source_db.query(LAG_ON_SOURCE)) == 2)
            assert "live_sync_test" in {str(row[0]) for row in source_db.query(LAG_ON_SOURCE)}
            holder.execute("select pg_advisory_unlock(%s)", [HOLD_COPY])
            migration.wait_ready()
            assert target_db.query(TABLE_SYNC_STATUS) == [("r", None, 2)]
            copied = target_db.query(
                "select tablename, rows_copied, bytes_copied > 0, approximate_size > 0, target_schema,"
                " target_table from _ts_live_sync.subscription_rel order by tablename"
            )
            assert copied == [
                ("ticket", 50, True, True, "public", "ticket"),
                ("wide", 15000, True, True, "public", "wide"),
            ]
            source_db.execute("insert into ticket (note) values ('live')")
            migration.wait_applied()

            def lag_is_zero() -> bool:
                (row,) = target_db.query(LAG_ON_TARGET)
                return row[0] == "0 bytes" and row[1] is not None

            wait_until(lag_is_zero, describe=lambda: target_db.query(LAG_ON_TARGET))
            (row,) = target_db.query(
                "select metrics_updated_at - last_replicated_txn_time < '10 s',"
                " last_error, updated_at > now() - interval '10 s'"
                " from _ts_live_sync.subscription"
            )
            assert row == (True, None, True)
            wait_until(lambda: source_db.query(LAG_ON_SOURCE) == [("live_sync_test", "0 bytes")])
    target_db.execute(RESET_SEQUENCES)
    target_db.execute("insert into ticket (note) values ('after cutover')")
    assert '(52,"after cutover")' in rows_of(target_db, "ticket")
