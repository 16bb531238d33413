-- A few rows nearly everywhere.

insert into app.customer (name, "E-Mail", state, home, limits, tags, weight) select 'n' || n, case when n > 1 then n || '@x' end,
    'it''s "odd"', (n, 'ä')::types.pair, types.span(n, n + 1), array['a', null, e'\n'], ('[' || n || ',2,3]')::ext.vector from generate_series(1, 50) n;
insert into app.orders (customer, partner, total, made_at, note, during)
    select 1 + n % 50, case when n % 2 = 0 then 1 end, n, timestamptz '2025-01-01' + n * interval '1 hour', 'note ' || n,
    tstzrange('2025-01-01', '2025-01-02') from generate_series(1, 200) n;
insert into app.order_line ("order", what) select 100 + 5 * n, 'line ' || n from generate_series(0, 99) n;
insert into app.node values (0, null), (1, 0), (2, 1), (3, 1);
insert into app.no_key select n % 3, 'x', 'NaN' from generate_series(1, 10) n;
alter table app.no_key_nothing replica identity full;
insert into app.no_key_nothing values (1, 'a'), (2, null);
alter table app.no_key_nothing replica identity nothing;
insert into app.no_key_full values (1, 'a'), (1, 'a');
insert into app.other_identity values (1, 'a'), (2, 'b');
insert into app.unique_only values (1, 1), (2, 2);
insert into app.no_columns default values;
insert into app.of_type values (1, 'a');
insert into app.other_heap values (1, e'\\.');
insert into app.like_another (customer, total, made_at) values (1, 2, '2025-01-01');
insert into app.domains values (5, array['bad', 'good']::types.mood[], array[1, 2]);
insert into app.many_types values ('00000000-0000-0000-0000-000000000001', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03:04:05', '10101', '1', 12.5,
    '(1,2)', '((0,0),(1,1),(1,0))', 'a:1 b:2', 'a & b', '{[1,3),[5,7)}', 'ab', 'x', 'name', 42, 'pg_catalog.pg_class', '3 years',
    '01:02:03.04+05:30', '\x00ff', '{"a":  1}', '0/1', row(row(1, 'x')::types.pair, array['bad']::types.mood[])::types.nested, '{{a,b},{c,d}}',
    '$.a[*]', '4713-01-01 BC', '{1,2,3}');
insert into sales.base values (1, default, 'a');
insert into sales.derived (id, note, own, extra) values (2, 'b', 3, 4);
insert into sales.grandchild (id, note) values (3, 'c');
insert into sales.adopted values (4, 'x', 'd');
insert into sales.event (at, kind, amount) select date '2024-06-01' + n * 10, case when n % 2 = 0 then 'x' else 'y' || n end, n from generate_series(0, 99) n;
insert into sales.by_expression values ('b', 1), ('C', 2);
insert into sales.by_time default values;
insert into sales.of_event select 1, id, at, kind from sales.event limit 1;
insert into U&"esc\001B[31mred"."new
line\" values (1, 'x', 1, e'\u001b[31m', 2);
insert into U&"a\000Ab\0009c\000D".U&"a\000Ab\0009c\000D" values (1), (2);
insert into "äääääääääääääääääääääääääääääääz"."äääääääääääääääääääääääääääääääz" values (1), (2);
insert into "it's ""quoted"" `so`"."it's ""quoted"" `so`" values (1, 'a');
insert into "[bold]{0} %s %(a)s"."[bold]{0} %s %(a)s" values (1, '%s');
insert into U&"\05E9\05DC\05D5\05DD \202Etxt.exe".U&"\05E9\05DC\05D5\05DD" values (1, U&'\202E');
insert into "select"."from" values (1, 'a', ';', '--', '/*');
insert into "a b" values (1);
insert into a values (1);
insert into audit."LOG" (said) values ('one'), ('two');
select nextval('app.free_counter'), nextval('app.backwards'), nextval('app.backwards');
refresh materialized view app.totals;
refresh materialized view app.totals_of_totals;
refresh materialized view app.by_key_stored;
