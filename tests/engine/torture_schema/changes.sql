-- What the application does while the copies are followed.

insert into app.customer (name, "E-Mail", weight) values ('later', 'later@x', '[9,9,9]');
update app.customer set "E-Mail" = 'new''"@x', many = '{[1,9)}' where id = 2;
delete from app.customer where id = 7;
update app.orders set note = null, total = total + 1 where id < 150;
delete from app.order_line where line % 5 = 0;
update app.no_key set b = 'y' where a = 1;
delete from app.no_key_full where ctid = (select min(ctid) from app.no_key_full);
update app.other_identity set b = 'c' where a = 1;
update app.unique_only set b = 5 where a = 1;
update app.domains set id = 6;
update app.many_types set d = '01010', v = null;
update sales.base set note = note || '!';
update sales.event set at = at + 365 where id < 10;
delete from sales.event where kind = 'x' and id % 4 = 0;
update sales.by_expression set a = upper(a);
update U&"esc\001B[31mred"."new
line\" set "c [red]" = e'\u001b[0m';
update U&"a\000Ab\0009c\000D".U&"a\000Ab\0009c\000D" set b = 9 where b = 1;
update "äääääääääääääääääääääääääääääääz"."äääääääääääääääääääääääääääääääz" set "äääääääääääääääääääääääääääääää1" = 77;
update "select"."from" set "--" = '/* */';
insert into app.like_another (customer, total, made_at) values (2, 3, '2025-01-02');
