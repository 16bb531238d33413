-- Owners, grants along chains of grantors, columns, defaults, and what an extension and PostgreSQL came with.

revoke all on schema public from public;
grant usage on schema public to torture_reader;
grant usage on schema app, sales, types to public;
grant usage, create on schema "it's ""quoted"" `so`" to torture_reader with grant option;
grant usage on schema ext to torture_app;
grant create on schema app to "torture_SELECT";

alter schema types owner to torture_owner;
alter table app.customer owner to torture_owner;
alter table app.orders owner to torture_owner;
alter table app.order_line owner to "torture_63_bytes_äääääääääääääääääääääääz";
alter table sales.event owner to torture_owner;
alter table sales.event_2025 owner to torture_app;
alter view app.big_orders owner to "torture_SELECT";
alter materialized view app.totals owner to torture_owner;
alter materialized view app.by_key_stored owner to torture_owner;
alter sequence app.free_counter owner to torture_app;
alter type types.mood owner to torture_owner;
alter type types.pair owner to torture_owner;
alter type types.span owner to torture_app;
alter domain types.positive owner to "torture_SELECT";
alter function app.overloaded(int, types.mood) owner to torture_app;
alter procedure app.act(int) owner to torture_owner;
alter aggregate app.longest(text) owner to torture_app;
alter aggregate app.nth(order by int) owner to "torture_SELECT";
alter operator types.<# (types.pair, types.pair) owner to torture_owner;
alter operator class types.pair_ops using btree owner to torture_owner;
alter operator family types.pair_family using btree owner to torture_app;
alter collation app."Odd Coll.ation" owner to torture_owner;
alter conversion app.latin owner to torture_owner;
alter text search dictionary search.plain owner to torture_owner;
alter text search configuration search.english_too owner to torture_app;
alter statistics app.of_orders owner to torture_owner;
alter foreign data wrapper torture_wrapper owner to postgres;
alter server "Torture Server" owner to torture_owner;
alter table U&"esc\001B[31mred"."new
line\" owner to U&"torture \0022odd\0022 [b]it''s[/b]\000A\001B[31mred\001B[0m %s \202Etxt.exe";

grant select, update on app.orders to torture_reader with grant option;
grant delete on app.orders to U&"torture \0022odd\0022 [b]it''s[/b]\000A\001B[31mred\001B[0m %s \202Etxt.exe";
revoke truncate, references on app.orders from torture_owner;
grant select on app.customer to public;
grant select (id, name), insert (name, "E-Mail") on app.customer to torture_app;
grant update ("E-Mail") on app.customer to torture_app with grant option;
grant all on app.order_line to torture_app;
grant select on app.big_orders, app.by_key_stored, app.totals, sales.event, outside.far_orders to torture_reader;
grant usage on sequence app.free_counter to torture_reader with grant option;
grant select on sequence app.customer_id_seq to torture_app;
revoke execute on function app.overloaded(int, types.mood) from public;
grant execute on function app.overloaded(int, types.mood) to torture_reader;
revoke all on procedure app.act(int) from public;
revoke execute on function app.longest(text) from public;
revoke usage on type types.mood from public;
grant usage on type types.mood to torture_reader with grant option;
revoke usage on domain types.positive from public;
revoke usage on type types.span from public;
revoke usage on language plpgsql from public;
grant usage on language plpgsql to torture_owner, torture_app;
grant usage on foreign data wrapper torture_wrapper to torture_reader;
grant usage on foreign server "Torture Server" to torture_reader;
grant execute on function pg_catalog.pg_ls_waldir() to torture_reader;
revoke execute on function pg_catalog.pg_ls_logdir() from pg_monitor;
revoke execute on function ext.vector_dims(ext.vector) from public;
grant execute on function ext.vector_dims(ext.vector) to torture_app;
grant set on parameter log_min_duration_statement to torture_maker;

set role torture_reader;
grant select on app.orders to "torture_SELECT";
grant select, update on app.orders to torture_app with grant option;
grant usage on sequence app.free_counter to torture_app;
grant usage on schema "it's ""quoted"" `so`" to torture_app;
reset role;
set role torture_app;
grant update on app.orders to "torture_SELECT";
grant update ("E-Mail") on app.customer to "torture_SELECT";
reset role;

alter default privileges for role torture_owner grant select on tables to torture_reader;
alter default privileges for role torture_owner revoke execute on functions from public;
alter default privileges for role torture_owner in schema app
    grant all on sequences to torture_app with grant option;
alter default privileges for role U&"torture \0022odd\0022 [b]it''s[/b]\000A\001B[31mred\001B[0m %s \202Etxt.exe"
    in schema U&"esc\001B[31mred" grant execute on functions to public;
alter default privileges for role torture_app revoke usage on types from public;
alter default privileges for role torture_owner grant usage on schemas to torture_reader;

do $$
begin
    execute pg_catalog.format('grant connect, temporary on database %I to torture_reader with grant option',
                              pg_catalog.current_database());
    execute pg_catalog.format('revoke connect on database %I from public', pg_catalog.current_database());
    execute pg_catalog.format('alter database %I owner to torture_maker', pg_catalog.current_database());
end
$$;
