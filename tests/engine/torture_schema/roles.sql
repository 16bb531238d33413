-- Roles belong to the whole server; each has "torture" in its name, by which the test finds and drops them.

create role torture_owner;
create role torture_app login password 'app''s pass\word' connection limit 5 valid until '2031-02-03 04:05:06+02';
create role torture_reader noinherit;
create role torture_maker createrole createdb;
create role torture_bypass bypassrls login;
create role torture_replication replication login;
create role U&"torture \0022odd\0022 [b]it''s[/b]\000A\001B[31mred\001B[0m %s \202Etxt.exe";
create role "torture_63_bytes_äääääääääääääääääääääääz";
create role "torture_SELECT";

comment on role torture_owner is e'it''s\n-- a \\ comment; drop role torture_owner;';
comment on role "torture_SELECT" is '[red]no markup[/red]';

grant torture_reader to torture_app;
grant torture_reader to torture_owner with admin option;
grant torture_owner to torture_maker with inherit false, set true;
grant torture_reader to "torture_SELECT" with inherit true, set false;
grant torture_reader to torture_bypass granted by torture_owner;
grant torture_owner to U&"torture \0022odd\0022 [b]it''s[/b]\000A\001B[31mred\001B[0m %s \202Etxt.exe" with admin option;
grant pg_read_all_stats to torture_reader;
