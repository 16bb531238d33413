-- Settings of the database, of roles, and of roles in the database.

do $$
begin
    execute pg_catalog.format('alter database %I set search_path = "$user", public, %L, app',
                              pg_catalog.current_database(), e'it''s "odd", [b]\nline');
    execute pg_catalog.format('alter database %I set work_mem = ''64MB''', pg_catalog.current_database());
    execute pg_catalog.format('alter database %I set datestyle = ''SQL, DMY''', pg_catalog.current_database());
    execute pg_catalog.format('alter database %I set statement_timeout = ''61s''', pg_catalog.current_database());
    execute pg_catalog.format('alter database %I set default_transaction_isolation = ''serializable''',
                              pg_catalog.current_database());
    execute pg_catalog.format('alter database %I set timezone = ''Asia/Kathmandu''', pg_catalog.current_database());
    execute pg_catalog.format('alter database %I set bytea_output = ''escape''', pg_catalog.current_database());
    execute pg_catalog.format('alter database %I set quote_all_identifiers = on', pg_catalog.current_database());
    execute pg_catalog.format('alter database %I set torture."Motto" = %L', pg_catalog.current_database(),
                              e'a''b, "c" \\ = d\n\u001b[31m');
    execute pg_catalog.format('alter role torture_app in database %I set search_path = "Mixed", lower',
                              pg_catalog.current_database());
    execute pg_catalog.format('alter role torture_app in database %I set statement_timeout = ''7s''',
                              pg_catalog.current_database());
    execute pg_catalog.format('alter role torture_app in database %I set temp_tablespaces = ''''',
                              pg_catalog.current_database());
    execute pg_catalog.format('comment on database %I is %L', pg_catalog.current_database(),
                              e'it''s\n-- a \\ comment');
end
$$;
alter role torture_app set search_path = '';
alter role torture_app set timezone = 'Asia/Kathmandu';
alter role torture_reader set default_transaction_read_only = on;
alter role U&"torture \0022odd\0022 [b]it''s[/b]\000A\001B[31mred\001B[0m %s \202Etxt.exe"
    set application_name = e'[b]\u001b[31m \'quoted\'';
