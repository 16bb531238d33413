-- One of every kind of object, in fifteen schemas. Everything is made by a superuser; privileges.sql gives it away.
-- Standard features of PostgreSQL 16, the extension vector, no file of the server.

set check_function_bodies = off;

-- Schemas ----------------------------------------------------------------------------------------------------

create schema app authorization torture_owner;
create schema sales authorization torture_owner;
create schema types;
create schema search;
create schema ext;
create schema outside;
create schema audit authorization torture_app;
create schema "empty";
create schema "select";
create schema "it's ""quoted"" `so`";
create schema "[bold]{0} %s %(a)s";
create schema U&"a\000Ab\0009c\000D";
create schema "äääääääääääääääääääääääääääääääz";
create schema U&"\05E9\05DC\05D5\05DD \202Etxt.exe";
create schema U&"esc\001B[31mred" authorization U&"torture \0022odd\0022 [b]it''s[/b]\000A\001B[31mred\001B[0m %s \202Etxt.exe";

comment on schema app is e'it''s\n--\n-- Name: x; Type: TABLE; Schema: y; Owner: z\n--\n\nselect ''; \\';
comment on schema "äääääääääääääääääääääääääääääääz" is '63 bytes';
comment on schema public is 'not what initdb wrote';

-- An extension, in a schema of its own -----------------------------------------------------------------------

create extension vector schema ext;
comment on extension vector is 'mine';

-- Types ------------------------------------------------------------------------------------------------------

create type types.mood as enum ('good', 'it''s "odd"', U&'[b]\001B[31m', 'bad');
alter type types.mood add value 'better' before 'good';
create type types.pair as (a int, "B c" text collate "C");
create type types.nested as (inner_pair types.pair, moods types.mood[]);
create function types.span_diff(a int, b int) returns float8 language sql immutable strict parallel safe
    as 'select (a - b)::float8';
create type types.span as range (subtype = int4, subtype_diff = types.span_diff, multirange_type_name = types.spans);
create type types.text_span as range (subtype = text, collation = "C");
create type types.shell_only;
create domain types.positive as int default 1 constraint "above 0" check (value > 0) not null;
create domain types.small as types.positive constraint below check (value < 1000);
create domain types.short_text as varchar(20) collate "C" check (value !~ '^\s*$');
create domain types.moods as types.mood[] check (cardinality(value) < 5);
alter domain types.positive add constraint later check (value < 1000000) not valid;
comment on type types.mood is 'how it is';
comment on column types.pair."B c" is 'second';
comment on domain types.positive is 'more than nothing';
comment on constraint "above 0" on domain types.positive is 'why';

-- A base type of its own, from PostgreSQL's own functions.
create type types.number;
create function types.number_in(cstring) returns types.number language internal immutable strict as 'int4in';
create function types.number_out(types.number) returns cstring language internal immutable strict as 'int4out';
create function types.number_recv(internal) returns types.number language internal immutable strict as 'int4recv';
create type types.number (input = types.number_in, output = types.number_out, receive = types.number_recv, like = int4);
create function types.number_lt(types.number, types.number) returns bool language internal immutable strict as 'int4lt';
create function types.number_le(types.number, types.number) returns bool language internal immutable strict as 'int4le';
create function types.number_eq(types.number, types.number) returns bool language internal immutable strict as 'int4eq';
create function types.number_ge(types.number, types.number) returns bool language internal immutable strict as 'int4ge';
create function types.number_gt(types.number, types.number) returns bool language internal immutable strict as 'int4gt';
create function types.number_cmp(types.number, types.number) returns int language internal immutable strict as 'btint4cmp';
create operator types.< (function = types.number_lt, leftarg = types.number, rightarg = types.number,
    commutator = operator(types.>), negator = operator(types.>=), restrict = scalarltsel, join = scalarltjoinsel);
create operator types.<= (function = types.number_le, leftarg = types.number, rightarg = types.number,
    commutator = operator(types.>=), negator = operator(types.>));
create operator types.= (function = types.number_eq, leftarg = types.number, rightarg = types.number,
    commutator = operator(types.=), restrict = eqsel, join = eqjoinsel, merges, hashes);
create operator types.>= (function = types.number_ge, leftarg = types.number, rightarg = types.number);
create operator types.> (function = types.number_gt, leftarg = types.number, rightarg = types.number);
create operator class types.number_ops default for type types.number using btree as
    operator 1 types.<, operator 2 types.<=, operator 3 types.=, operator 4 types.>=, operator 5 types.>,
    function 1 types.number_cmp(types.number, types.number);
create cast (types.number as int4) without function as implicit;
create cast (int4 as types.number) without function as assignment;
create cast (types.number as text) with inout;
create function types.to_pair(types.number) returns types.pair language sql immutable as 'select ($1::int4, ''x'')::types.pair';
create cast (types.number as types.pair) with function types.to_pair(types.number);
create transform for types.number language sql (
    from sql with function pg_catalog.prsd_lextype(internal), to sql with function types.number_recv(internal));
comment on cast (types.number as int4) is 'the same bits';
comment on operator types.= (types.number, types.number) is 'equal';
comment on transform for types.number language sql is 'never used';

create function types.pair_less(types.pair, types.pair) returns bool language sql immutable as 'select ($1).a < ($2).a';
create function types.pair_most(types.pair, types.pair) returns bool language sql immutable as 'select ($1).a <= ($2).a';
create function types.pair_same(types.pair, types.pair) returns bool language sql immutable as 'select ($1).a = ($2).a';
create function types.pair_least(types.pair, types.pair) returns bool language sql immutable as 'select ($1).a >= ($2).a';
create function types.pair_more(types.pair, types.pair) returns bool language sql immutable as 'select ($1).a > ($2).a';
create function types.pair_cmp(types.pair, types.pair) returns int language sql immutable as 'select ($1).a - ($2).a';
create function types.pair_neg(types.pair) returns types.pair language sql immutable as 'select (-($1).a, ($1)."B c")::types.pair';
create operator types.<# (function = types.pair_less, leftarg = types.pair, rightarg = types.pair);
create operator types.<=# (function = types.pair_most, leftarg = types.pair, rightarg = types.pair);
create operator types.=# (function = types.pair_same, leftarg = types.pair, rightarg = types.pair);
create operator types.>=# (function = types.pair_least, leftarg = types.pair, rightarg = types.pair);
create operator types.># (function = types.pair_more, leftarg = types.pair, rightarg = types.pair);
create operator types.!~~ (function = types.pair_neg, rightarg = types.pair);
create operator family types.pair_family using btree;
create operator class types.pair_ops for type types.pair using btree family types.pair_family as
    operator 1 types.<#, operator 2 types.<=#, operator 3 types.=#, operator 4 types.>=#, operator 5 types.>#,
    function 1 types.pair_cmp(types.pair, types.pair);
alter operator family types.pair_family using btree add
    operator 1 pg_catalog.< (int4, int8), function 1 (int4, int8) pg_catalog.btint48cmp(int4, int8);
comment on operator family types.pair_family using btree is 'loose members';
comment on operator class types.pair_ops using btree is 'by a';

-- Text search, collations, conversions, access methods --------------------------------------------------------

create text search parser search.words (start = pg_catalog.prsd_start, gettoken = pg_catalog.prsd_nexttoken,
    end = pg_catalog.prsd_end, lextypes = pg_catalog.prsd_lextype, headline = pg_catalog.prsd_headline);
create text search template search.simple (init = pg_catalog.dsimple_init, lexize = pg_catalog.dsimple_lexize);
create text search dictionary search.plain (template = search.simple);
create text search dictionary search."no stop" (template = pg_catalog.snowball, language = 'english', stopwords = 'english');
create text search configuration search.english_too (parser = search.words);
alter text search configuration search.english_too
    add mapping for asciiword, word with search."no stop", search.plain;
create text search configuration search.copied (copy = pg_catalog.german);
alter text search configuration search.copied drop mapping for url;
comment on text search configuration search.english_too is 'with a dictionary of its own';
comment on text search dictionary search.plain is 'plain';
comment on text search parser search.words is 'words';
comment on text search template search.simple is 'simple';

create collation app."Odd Coll.ation" (provider = libc, locale = 'C');
create collation app.lc (lc_collate = 'C', lc_ctype = 'POSIX');
comment on collation app."Odd Coll.ation" is 'by bytes';
create conversion app.latin for 'LATIN1' to 'UTF8' from pg_catalog.iso8859_1_to_utf8;
comment on conversion app.latin is 'and back';
create access method torture_heap type table handler pg_catalog.heap_tableam_handler;
create access method torture_gin type index handler pg_catalog.ginhandler;
create operator class types.json_ops default for type jsonb using torture_gin as
    operator 7 pg_catalog.@>, storage text,
    function 1 pg_catalog.gin_compare_jsonb(text, text),
    function 2 pg_catalog.gin_extract_jsonb(jsonb, internal, internal),
    function 3 pg_catalog.gin_extract_jsonb_query(jsonb, internal, int2, internal, internal, internal, internal),
    function 4 pg_catalog.gin_consistent_jsonb(internal, int2, jsonb, int4, internal, internal, internal, internal);
comment on access method torture_heap is 'the heap by another name';

-- Functions of every kind --------------------------------------------------------------------------------------

create function app.overloaded(a int, b types.mood default 'good') returns int language sql stable as 'select a';
create function app.overloaded(a text, variadic rest int[]) returns int language sql
    as $body$ select cardinality(rest) -- ; drop table app.orders; $$ 'x
$body$;
create function app.anything(anyelement, anyarray, out one anyelement, out many anyarray) language sql
    immutable called on null input leakproof parallel restricted cost 17.5 as 'select $1, $2';
create function app.numbered(from_number int default 1, inout to_number int default 10, out doubled int)
    returns setof record language plpgsql rows 10 cost 5 as $$
begin
    for to_number in select pg_catalog.generate_series(from_number, to_number) loop doubled := to_number * 2; return next; end loop;
end $$;
create function app.listed(wanted text) returns table (id int, "Na me" text) language plpgsql security definer
    set search_path = pg_catalog, "it's ""quoted"" `so`", pg_temp set work_mem = '5MB' set datestyle = 'SQL, DMY'
    as 'begin return query select 1, wanted; end';
create function app.inlined(n int) returns int language sql immutable begin atomic select n + 1; end;
create function app.half(numeric) returns numeric language sql immutable strict return $1 / 2;
create procedure app.act(inout n int) language plpgsql as $$begin n := n + 1; commit; end$$;
create procedure app.act(in a text, out b text) language sql begin atomic select a; end;
create function app.place(int) returns bigint language internal window immutable as 'window_row_number';
create function app."Odd ""Func.tion"" [b]"("A b" int, "select" types.pair[]) returns types.pair[] language sql as 'select $2';
create function app.touch() returns trigger language plpgsql as $$begin new.changed := 'touched'; return new; end$$;
create function app.watch() returns trigger language plpgsql as $$begin return null; end$$;
create function app.ddl_seen() returns event_trigger language plpgsql as 'begin end';
create function app.longest_step(text, text) returns text language sql immutable
    as 'select case when pg_catalog.length($1) >= pg_catalog.length($2) then $1 else $2 end';
create aggregate app.longest(text) (sfunc = app.longest_step, stype = text, initcond = '', combinefunc = app.longest_step, parallel = safe);
create aggregate app.nth(order by int) (sfunc = pg_catalog.array_append, stype = int[], finalfunc_modify = shareable);
create aggregate app.total(numeric) (sfunc = pg_catalog.numeric_add, stype = numeric, initcond = '0', sortop = operator(pg_catalog.<),
    msfunc = pg_catalog.numeric_add, minvfunc = pg_catalog.numeric_sub, mstype = numeric, minitcond = '0');
create aggregate app.rank_of(variadic "any" order by variadic "any") (sfunc = pg_catalog.ordered_set_transition_multi,
    stype = internal, finalfunc = pg_catalog.rank_final, finalfunc_extra, hypothetical);
comment on function app.overloaded(int, types.mood) is 'one of two';
comment on procedure app.act(int) is 'acts';
comment on aggregate app.nth(order by int) is 'ordered';

-- Sequences --------------------------------------------------------------------------------------------------

create sequence app.free_counter as smallint increment 3 minvalue -7 maxvalue 300 start 5 cache 4 cycle;
create sequence app.backwards increment -2 start -1;
create unlogged sequence app.forgetful;
comment on sequence app.backwards is 'down';

-- Tables -----------------------------------------------------------------------------------------------------

create table app.customer (
    id serial primary key,
    name types.short_text not null,
    "E-Mail" text collate app."Odd Coll.ation" unique nulls not distinct,
    to_go int,
    state types.mood default 'good',
    home types.pair default (1, 'one'),
    limits types.span,
    many types.spans default '{[1,2),[5,9)}',
    tags text[] default array['a', 'b;"'],
    weight ext.vector(3),
    lucky types.number default '7',
    changed text,
    born timestamptz(3) default current_timestamp,
    constraint "named %s" check (name <> 'nobody')
) with (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = off);
alter table app.customer drop column to_go;
alter table app.customer add column added_later interval day to second default '1 day';
alter table app.customer alter column changed set storage external, alter column name set statistics 500,
    alter column id set (n_distinct = -0.5), alter column tags set compression pglz;
alter table app.customer add constraint soon check (id < 1000000) not valid;
alter table app.customer add constraint "not mine" check (id > 0) no inherit;
comment on table app.customer is e'it''s \\ "x"\n\u001b[31mred';
comment on column app.customer."E-Mail" is '[b]';
comment on constraint "named %s" on app.customer is 'why';

create table app.orders (
    id bigint generated always as identity (start 100 increment 5 minvalue 10 maxvalue 100000 cache 3) primary key,
    customer int not null,
    partner int,
    total numeric(12, 2) not null default 0 check (total >= 0),
    gross numeric generated always as (total * 1.19) stored,
    made_at timestamptz not null default pg_catalog.now(),
    note text,
    during tstzrange,
    lines jsonb default '{"a": [1, 2]}',
    changed text,
    constraint of_customer foreign key (customer) references app.customer on delete cascade on update restrict deferrable initially deferred,
    constraint of_partner foreign key (partner) references app.customer (id) match full on delete set null (partner) not valid,
    constraint once unique (customer, made_at) include (total) deferrable
);
create table app.order_line (
    "order" bigint references app.orders on delete cascade, line int generated by default as identity, what text,
    primary key ("order", line), constraint apart exclude using btree (what with =) where (what is not null) deferrable initially deferred
);
create table app.node (id int primary key, parent int references app.node, constraint one_up check (parent < id));
create table app.no_key (a int, b text, "c [red]" float8 default 'NaN');
create table app.no_key_full (a int, b text);
alter table app.no_key_full replica identity full;
create table app.no_key_nothing (a int, b text);
alter table app.no_key_nothing replica identity nothing;
create table app.other_identity (a int not null, b text, constraint a_key unique (a));
alter table app.other_identity replica identity using index a_key;
create table app.unique_only (a int not null unique, b int not null, primary key (b) deferrable);
create table app.no_columns ();
create table app.of_type of types.pair (primary key (a));
create unlogged table app.passing (id int primary key);
create table app.other_heap (id int primary key, v text) using torture_heap;
create table app.like_another (like app.orders including all);
create table app.domains (id types.small primary key, m types.moods, p types.positive[]);
create table app.many_types (
    id uuid primary key, a inet, b cidr, c macaddr8, d bit(5), e bit varying(7), f money, g point, h polygon, i tsvector,
    j tsquery, k int4multirange, l char(3), m "char", n name, o oid, p regclass, q interval year to month,
    r time(2) with time zone, s bytea, t json, u pg_lsn, v types.nested, w text[][], x jsonpath, y date, z smallint[3]
);

-- Inheritance
create table sales.base (id int primary key, kind text default 'base', note text not null, constraint long check (note <> '') );
create table sales.more (extra int);
create table sales.derived (id int not null, kind text default 'derived', own int, primary key (id)) inherits (sales.base, sales.more);
create table sales.grandchild () inherits (sales.derived);
alter table sales.grandchild alter column extra set default 5, alter column extra set not null;
create table sales.adopted (id int not null, kind text, note text not null, constraint long check (note <> ''), primary key (id));
alter table sales.adopted inherit sales.base;

-- Partitions
create table sales.event (
    id int generated always as identity, at date not null, kind text not null default 'x', amount numeric check (amount > -1),
    primary key (id, at, kind)
) partition by range (at);
create table sales.event_2025 partition of sales.event for values from ('2025-01-01') to ('2026-01-01');
create table sales.event_2026 partition of sales.event for values from ('2026-01-01') to ('2027-01-01') partition by list (kind);
create table sales.event_2026_x partition of sales.event_2026 (constraint never check (amount < 1e9)) for values in ('x', null, 'it''s');
create table sales.event_2026_rest partition of sales.event_2026 default partition by hash (id);
create table sales.event_2026_h0 partition of sales.event_2026_rest for values with (modulus 2, remainder 0);
create table "it's ""quoted"" `so`"."event h1" partition of sales.event_2026_rest for values with (modulus 2, remainder 1);
create table sales.event_else (kind text not null default 'other', amount numeric constraint event_amount_check check (amount > -1), gone int, id int not null, at date not null);
alter table sales.event_else drop column gone;
alter table sales.event attach partition sales.event_else default;
create table sales.by_expression (a text, b int) partition by range (pg_catalog.lower(a) collate "C", b);
create table sales.by_expression_1 partition of sales.by_expression for values from ('a', minvalue) to ('m', maxvalue);
create table sales.by_time (at timestamptz primary key default '2026-01-01 00:00+00', b bytea default '\x00ff', m money default 12.5)
    partition by range (at);
create table sales.by_time_1 partition of sales.by_time for values from ('2026-01-01 00:00+00') to ('2026-02-01 00:00+00');
create table sales.of_event (id int primary key, event int, at date, kind text,
    foreign key (event, at, kind) references sales.event (id, at, kind) on update cascade);
create index event_amount on sales.event (amount desc nulls last);
create index event_kind on only sales.event (kind);
create index event_2025_kind on sales.event_2025 (kind);
alter index sales.event_kind attach partition sales.event_2025_kind;
create unique index event_unattached on only sales.event (id, at, kind, amount);
comment on index sales.event_amount is 'on all partitions';

-- Odd names
create table U&"esc\001B[31mred"."new
line\" ("i d" int primary key, "c [red]" text default 'a;b', "%s %(a)s" int, "select" text, U&"\202Etxt" int);
create table U&"a\000Ab\0009c\000D".U&"a\000Ab\0009c\000D" (U&"a\000Ab\0009c\000D" int primary key, b serial);
create table "äääääääääääääääääääääääääääääääz"."äääääääääääääääääääääääääääääääz" (
    "äääääääääääääääääääääääääääääääz" int constraint "äääääääääääääääääääääääääääääää2" primary key,
    "äääääääääääääääääääääääääääääää1" bigserial not null);
create table "it's ""quoted"" `so`"."it's ""quoted"" `so`" ("a""b" int primary key, "it's" text constraint "it's" check ("it's" <> ''''));
create table "[bold]{0} %s %(a)s"."[bold]{0} %s %(a)s" ("[bold]{0} %s %(a)s" int primary key, b text);
create table U&"\05E9\05DC\05D5\05DD \202Etxt.exe".U&"\05E9\05DC\05D5\05DD" (id int primary key, U&"\05E9" text);
create table "select"."from" ("where" int primary key, "order" text, ";" text, "--" text, "/*" text);
create table "a b" (id int constraint c unique);
create table a (id int constraint "b c" unique);
create table audit."LOG" (at timestamptz default pg_catalog.now(), said text);
comment on table "select"."from" is 'select * from "select"."from"';

-- Indexes and statistics -------------------------------------------------------------------------------------

create index orders_expression on app.orders (pg_catalog.lower(note) text_pattern_ops, (total + 1) desc) where note is not null;
create unique index orders_include on app.orders (id) include (note, total) with (fillfactor = 60);
create index orders_brin on app.orders using brin (made_at timestamptz_minmax_ops) with (pages_per_range = 7);
create index orders_gin on app.orders using gin (lines jsonb_path_ops) with (fastupdate = off);
create index orders_gist on app.orders using gist (during);
create index orders_hash on app.orders using hash (note);
create index orders_other_gin on app.orders using torture_gin (lines);
create index customer_near on app.customer using hnsw (weight ext.vector_l2_ops) with (m = 8);
create index customer_home on app.customer (home types.pair_ops);
create index customer_collated on app.customer ("E-Mail" collate "POSIX" nulls first);
alter index app.orders_expression alter column 2 set statistics 321;
alter table app.orders cluster on orders_include;
create statistics app.of_orders (ndistinct, mcv) on customer, total from app.orders;
create statistics app.expressions on (total * 2), pg_catalog.lower(note) from app.orders;
alter statistics app.of_orders set statistics 77;
comment on statistics app.of_orders is 'both';
comment on index app.orders_gin is 'paths';

-- Views ------------------------------------------------------------------------------------------------------

create view app.big_orders (id, "Cus tomer", total) with (security_barrier) as
    select o.id, c.name, o.total from app.orders o join app.customer c on c.id = o.customer where o.total > 100;
create view app.checked with (security_invoker = on) as select id, name from app.customer where id > 0 with local check option;
create view app.checked_too as select * from app.checked where name like 'a%' with cascaded check option;
create recursive view app.tree (id, depth) as
    select id, 1 from app.node where parent is null union all select n.id, t.depth + 1 from app.node n join tree t on t.id = n.parent;
-- Needs the primary key, so pg_dump makes it in two parts.
create view app.by_key as select c.id, c.name, c.born, count(*) as orders from app.customer c join app.orders o on o.customer = c.id group by c.id;
create view app.on_by_key as select name, orders from app.by_key where orders > 1;
create materialized view app.by_key_stored as select c.id, c.name, count(*) as orders from app.customer c left join app.orders o on o.customer = c.id group by c.id;
create materialized view app.totals as select customer, sum(total) as total, max(made_at) as last from app.orders group by customer;
create unique index totals_key on app.totals (customer);
create view app.on_totals as select customer from app.totals where total > 10;
create materialized view app.totals_of_totals as select count(*) as n from app.on_totals;
create materialized view app.never_filled as select * from app.totals with no data;
create view app.windows as select id, row_number() over w as n, extract(year from made_at) as year, made_at::date - date '2020-01-01' as days
    from app.orders window w as (partition by customer order by total desc rows between 1 preceding and current row);
create view app.odd_names as select "c [red]" as "a;b", "%s %(a)s" as "'", "i d" as U&"\001B" from U&"esc\001B[31mred"."new
line\";
create view app.functions as select n.*, app.half(n.doubled) as half, x.v from app.numbered(1, 3) as n, lateral (values (1), (2)) as x(v);
create view app.subqueries as with recent as materialized (select * from app.orders order by made_at desc limit 3)
    select r.*, (select count(*) from app.order_line l where l."order" = r.id) as lines_count, exists (select from app.customer where id = r.customer) as known from recent r;
comment on view app.big_orders is 'big';
comment on column app.big_orders."Cus tomer" is 'whose';
comment on materialized view app.totals is 'stored';
-- Bodies that need tables and views.
create function app.count_big() returns bigint language sql stable begin atomic select count(*) from app.big_orders; end;
create function app.row_of(app.customer) returns text language sql immutable return ($1).name;
create function app.by_key_of(int) returns setof app.by_key language sql stable begin atomic select * from app.by_key where id = $1; end;
alter table app.node add column label text default pg_catalog.concat('n', app.inlined(1));

-- Rules, triggers, policies ----------------------------------------------------------------------------------

create rule "keep it" as on delete to app.node where old.id = 0 do instead nothing;
create rule tell as on insert to app.no_columns do also notify torture, 'it''s';
create rule insert_checked as on insert to app.on_by_key do instead (insert into audit."LOG" (said) values (new.name); select 1);
create rule off as on update to audit."LOG" do instead nothing;
alter table audit."LOG" disable rule off;
comment on rule "keep it" on app.node is 'the root stays';

create trigger touch before insert or update of name, "E-Mail" on app.customer for each row when (new.id > 0) execute function app.touch('a', 'it''s', '');
create trigger "a ""Watch""" after delete or truncate on app.orders for each statement execute function app.watch();
create trigger seen after update on app.orders referencing old table as "Old" new table as new_rows for each statement execute function app.watch();
create constraint trigger in_time after insert on app.orders from app.customer deferrable initially deferred for each row execute function app.watch();
create trigger instead_of instead of insert on app.big_orders for each row execute function app.watch();
create trigger of_event after insert on sales.event for each row execute function app.watch();
create trigger never before insert on app.node for each row execute function app.watch();
create trigger on_replica before insert on app.no_key for each row execute function app.watch();
create trigger always before update on app.order_line for each row execute function app.watch();
alter table app.node disable trigger never;
alter table app.no_key enable replica trigger on_replica;
alter table app.order_line enable always trigger always;
alter table sales.event_2025 disable trigger of_event;
comment on trigger touch on app.customer is 'touches';

alter table app.customer enable row level security;
alter table app.orders enable row level security;
alter table app.orders force row level security;
alter table audit."LOG" enable row level security;
create policy "see all" on app.customer for select to torture_reader, public using (true);
create policy mine on app.orders as restrictive to torture_app, "torture_SELECT" using (note = current_user) with check (total < 1000);
create policy theirs on app.orders for insert with check (exists (select from app.customer c where c.id = customer));
comment on policy mine on app.orders is 'mine';

create event trigger torture_ddl on ddl_command_end when tag in ('CREATE TABLE', 'ALTER TABLE') execute function app.ddl_seen();
create event trigger "Torture [off]" on sql_drop execute function app.ddl_seen();
alter event trigger "Torture [off]" disable;
create event trigger torture_always on table_rewrite execute function app.ddl_seen();
alter event trigger torture_always enable always;
comment on event trigger torture_ddl is 'sees';

-- Foreign data -----------------------------------------------------------------------------------------------

create foreign data wrapper torture_wrapper options (debug 'it''s');
create server "Torture Server" type 'odd' version '1.0' foreign data wrapper torture_wrapper options (host 'h"o''st', "Port [b]" '1');
create user mapping for public server "Torture Server" options (user 'guest', password 'se''cret');
create user mapping for torture_app server "Torture Server" options ("user" 'app');
create foreign table outside.far_orders (id int options (column_name 'ID'), total numeric not null default 0,
    constraint plus check (total > 0)) server "Torture Server" options (table_name 'it''s');
comment on foreign data wrapper torture_wrapper is 'wraps';
comment on server "Torture Server" is 'far';
comment on foreign table outside.far_orders is 'far too';

-- Languages and publications ---------------------------------------------------------------------------------

create function types.call_handler() returns language_handler language c as '$libdir/plpgsql', 'plpgsql_call_handler';
create function types.inline_handler(internal) returns void strict language c as '$libdir/plpgsql', 'plpgsql_inline_handler';
create function types.validator(oid) returns void strict language c as '$libdir/plpgsql', 'plpgsql_validator';
create trusted language torture_sql handler types.call_handler inline types.inline_handler validator types.validator;
create function app.in_torture_sql() returns int language torture_sql as 'begin return 1; end';
comment on language torture_sql is 'another name for plpgsql';
create publication torture_theirs for table app.node;
comment on publication torture_theirs is 'of somebody else';
