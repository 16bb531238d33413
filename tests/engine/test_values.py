"""No value changes on its way: every type, by copy, insert, update, delete and as a key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalog.table import TableName
from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side
from engine.replication.bulk import BulkWriter
from engine.replication.copy import copy_rows
from engine.replication.copy_format import fits_binary
from engine.replication.publication import list_published_tables
from engine.replication.target_table import read_target_table
from tests.conftest import Database
from tests.engine.replicating import Migration
from tests.waiting import wait_until

Values = Mapping[str, Sequence[str]]
"""Type to values, each as the type's input function reads it."""

FIXED = (
    "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c extra_float_digits=1 "
    "-c bytea_output=hex -c lc_monetary=C -c search_path=public -c client_encoding=UTF8 "
    "-c quote_all_identifiers=off -c array_nulls=on -c standard_conforming_strings=on"
)
"""What makes two servers read and write the same text for a value, whatever their databases are set to."""


class Way:
    """How changes are written, and whether a batch had to be replayed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.replayed = 0


@pytest.fixture(params=["batched", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    """Both ways of writing a change; a replay would hide that the fast one does not know a type."""
    way = Way(str(request.param))
    monkeypatch.setattr("engine.replication.apply._SINGLE_CHANGES", 0 if way.name == "batched" else 10**6)
    roll_back = BulkWriter.roll_back

    def counted(writer: BulkWriter) -> None:
        way.replayed += 1
        roll_back(writer)

    monkeypatch.setattr(BulkWriter, "roll_back", counted)
    return way


NUMBERS: Values = {
    "int2": ["-32768", "0", "32767"],
    "int4": ["-2147483648", "0", "2147483647"],
    "int8": ["-9223372036854775808", "0", "9223372036854775807"],
    "float4": ["NaN", "Infinity", "-Infinity", "-0", "3.4028235e38", "1e-45", "0.1", "16777217"],
    "float8": ["NaN", "Infinity", "-Infinity", "-0", "1.7976931348623157e308", "5e-324", "0.1", "1e22"],
    "numeric": [
        "NaN",
        "Infinity",
        "-Infinity",
        "0.00",
        "1.0",
        "1.00",
        "-" + "9" * 500 + "." + "1" * 500,
        "1e131071",
        "0." + "0" * 16382 + "7",
    ],
    "numeric(12,3)": ["-123456789.125", "NaN", "0.001"],
    "money": ["-92233720368547758.08", "92233720368547758.07", "0.05", "-0.01", "1234567.89"],
    "bool": ["true", "false"],
    "oid": ["0", "4294967295"],
    "xid": ["3", "4294967295"],
    "cid": ["0", "4294967295"],
    "xid8": ["3", "18446744073709551615"],
    "tid": ["(0,1)", "(4294967295,65535)"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848"],
}

TIMES: Values = {
    "date": ["4713-01-01 BC", "0044-03-15 BC", "2024-02-29", "5874897-12-31", "infinity", "-infinity"],
    "time": ["00:00", "24:00", "23:59:59.999999", "12:34:56.7"],
    "time(2)": ["12:34:56.78", "24:00"],
    "timetz": ["24:00+15:59:59", "00:00-15:59:59", "12:34:56.789012+05:30", "24:00+00"],
    "timestamp": [
        "4714-11-24 00:00:00 BC",
        "294276-12-31 23:59:59.999999",
        "infinity",
        "-infinity",
        "2024-12-31 24:00:00",
        "1999-01-08 04:05:06.000001",
    ],
    "timestamptz": [
        "4714-11-24 00:00:00+00 BC",
        "294276-12-31 23:59:59.999999+00",
        "infinity",
        "-infinity",
        "2024-10-27 02:30:00+02",
        "2024-10-27 02:30:00+01",
        "0001-12-31 23:59:59+15:59 BC",
    ],
    "timestamptz(0)": ["2024-03-31 01:59:59+00", "infinity"],
    "interval": [
        "-1 mons +2 days -03:04:05.6",
        "178000000 years",
        "-178000000 years -11 mons -2147483648 days",
        "0",
        "1 year -1 mon",
        "-00:00:00.000001",
        "2562047788:00:54.775807",
    ],
    "interval day to second(1)": ["3 days 04:05:06.7"],
}

EVERY_CHARACTER = "".join(chr(code) for code in range(1, 128))
NASTY_TEXTS = [
    "",
    " ",
    "a\tb\nc\rd\bE\fF\vG",
    "\\",
    "\\.",
    "\\N",
    "\n\\.\n",
    "NULL",
    "null",
    "\\x41\\101\\t",
    "'quoted' \"twice\" $1 $$ %s %% {} {a,NULL}",
    EVERY_CHARACTER,
    "Zażółć 日本語 🐘👩‍👩‍👧 \U0010ffff \u200b\ufeff é é",
    "a" * 5000,
    "trailing space ",
]

TEXTS: Values = {
    "text": NASTY_TEXTS,
    "varchar": NASTY_TEXTS,
    "varchar(12)": ["", "🐘" * 12, "\\.", "ends here   "],
    "char(12)": ["", "x", "🐘" * 12, "\\N", " leading", "tab\there"],
    "bpchar": ["", "two spaces  ", "\\."],
    "name": ["", "\\.", "é" * 31, "x" * 63, 'say "hi"'],
    '"char"': ["", "a", "\\", "\t", "\\377", "\\200", "'"],
    "bytea": ["", "\\x", "\\x" + bytes(range(256)).hex(), "\\x00", "\\x5c2e", "\\x" + "ff" * 5000],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "json": [
        '{"b": 1, "a": [1.0, 1.00, null], "b": 2}',
        ' { "kept" :\t1 }\n',
        '"\\u0000 \\\\ \\ud83d\\udc18"',
        "null",
        "1e1000",
    ],
    "jsonb": [
        '{"b": 1, "a": [1.0, 1.00, null], "b": 2}',
        '"\\\\ \\t \\ud83d\\udc18 \\u0001"',
        "null",
        "-0.0",
        "[]",
        "{}",
        "1e100",
        '{"": {"": [[[]]]}}',
    ],
    "jsonpath": ["$", 'strict $."a b"[*] ? (@ > 1 && @.x like_regex "^\\\\d+$" flag "i")'],
    "tsvector": ["", "'a b':1A,2B 'it''s' 'back\\\\slash':16383", "🐘:3C"],
    "tsquery": ["", "'a b' & !('c':*AB | 'it''s') <3> 'back\\\\slash'"],
    "refcursor": ["", "some cursor"],
    "aclitem": ["postgres=arwdDxt/postgres", "=r/postgres"],
}

OTHERS: Values = {
    "bit": ["0", "1"],
    "bit(9)": ["000000000", "101010101"],
    "varbit": ["", "1", "10" * 2000],
    "varbit(5)": ["", "10101"],
    "inet": ["0.0.0.0/0", "192.168.1.5/24", "::1", "2001:db8::ff00:42:8329/64", "::ffff:1.2.3.4"],
    "cidr": ["0.0.0.0/0", "10.1.0.0/16", "2001:db8::/32", "::/0"],
    "macaddr": ["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"],
    "macaddr8": ["08:00:2b:01:02:03:04:05", "ff:ff:ff:ff:ff:ff:ff:ff"],
    "point": ["(0.1,-0)", "(NaN,Infinity)", "(1e-300,1.7976931348623157e308)"],
    "line": ["{1,-2,0.1}", "{0,-1,0}"],
    "lseg": ["[(0.1,0.2),(-3,4)]"],
    "box": ["(3,4),(0.1,0.2)"],
    "path": ["[(0,0),(1,0.1)]", "((0,0),(1,1),(2,0))"],
    "polygon": ["((0,0),(1,1),(2,0.1))"],
    "circle": ["<(0.1,0.2),3>", "<(0,0),0>"],
    "regclass": ["pg_catalog.pg_class", "information_schema.tables", "-", '"public"."Odd ""Name"', "99999"],
    "regtype": ["int4", "pg_catalog.varchar", "-", "timestamp with time zone", "int4[]"],
    "regproc": ["pg_catalog.now", "-"],
    "regprocedure": ["pg_catalog.substr(text,int4)", "-"],
    "regoper": ["pg_catalog.||/", "0"],
    "regoperator": ["+(int4,int4)", "-(NONE,int4)", "0"],
    "regrole": ["postgres", "-"],
    "regnamespace": ["pg_catalog", "public", "-"],
    "regconfig": ["pg_catalog.simple", "german"],
    "regdictionary": ["pg_catalog.simple"],
    "regcollation": ['"C"', "-"],
    "int2vector": ["", "1 2 -3"],
    "oidvector": ["", "1 2 4294967295"],
    "pg_snapshot": ["10:20:10,14,15", "1:1:"],
    "txid_snapshot": ["10:20:10,14,15"],
}

RANGES: Values = {
    "int4range": ["empty", "(,)", "[1,10)", "[-5,]", "[2147483646,2147483647)"],
    "int8range": ["empty", "(,9223372036854775807)", "[1,2)"],
    "numrange": ["empty", "(1.0,1.00]", "[NaN,NaN]", "[-Infinity,1.5)", "(,)"],
    "daterange": ["empty", "[4713-01-01 BC,infinity)", "(,2024-02-29)", "[-infinity,infinity]"],
    "tsrange": ["empty", '["2024-01-01 24:00",infinity]', '(,"0044-03-15 00:00:00 BC")'],
    "tstzrange": ["empty", '["2024-10-27 02:30:00+02","2024-10-27 02:30:00+01")', "(,infinity)"],
    "int4multirange": ["{}", "{[1,2),[5,)}", "{(,)}"],
    "int8multirange": ["{}", "{[1,2),[5,9000000000)}"],
    "nummultirange": ["{}", "{[1.0,1.00],(2.5,)}"],
    "datemultirange": ["{}", "{[2024-01-01,2024-02-01),[2025-01-01,infinity)}"],
    "tsmultirange": ["{}", '{["2024-01-01 00:00","2024-01-02 00:00")}'],
    "tstzmultirange": ["{}", '{(,"2024-01-02 00:00+05:30"),[infinity,)}'],
}

BUILT_IN: Values = {**NUMBERS, **TIMES, **TEXTS, **OTHERS, **RANGES}

NO_COLUMN_VALUES = {
    # Their input functions refuse everything.
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
    # These servers are built without libxml.
    "xml",
}

USER_TYPES_DDL = """
create schema app;
create type app.mood as enum ('', 'ok', 'very "happy", \\ so', '🐘', 'NULL');
create domain app.positive as numeric(10,2) not null check (value > 0);
create domain app.code as varchar(5) collate "C" check (value ~ '^[a-z]*$');
create domain app.tags as text[] check (cardinality(value) < 9);
create type app.pair as (n int, gone text, "Odd ""name" text);
alter type app.pair drop attribute gone;
create domain app.low_pair as app.pair check ((value).n < 100);
create type app.deep as (p app.pair, m app.mood, ps app.pair[], at timestamptz, f float8, b bytea);
create type app.deeper as (d app.deep, ds app.deep[], c app.code);
create type app.floats as range (subtype = float8);
create type app.moods as range (subtype = app.mood);
"""

USER_TYPES: Values = {
    "app.mood": ["", "ok", 'very "happy", \\ so', "🐘", "NULL"],
    "app.code": ["", "abc"],
    "app.tags": ["{}", '{a,NULL,"NULL","\\\\",""}'],
    "app.pair": ["(,)", '(1,"")', '(-1,"a,b)(""\\\\ \n")'],
    "app.low_pair": ["(99,x)"],
    "app.deep": [
        "(,,,,,)",
        '("(1,x)",ok,"{""(2,\\\\""a b\\\\"")"",NULL}","2024-10-27 02:30+02",-0,"\\\\x00ff")',
        "(,,{},infinity,NaN,)",
    ],
    "app.deeper": ['("(""(1,x)"",ok,{},infinity,NaN,)",{},abc)', '("(,,,,,)","{NULL,""(,,,,,)""}",)', "(,,)"],
    "app.floats": ["empty", "(,)", "[0.1,Infinity)", "[-0,NaN]"],
    "app.moods": ["empty", '["",ok]', '["very ""happy"", \\\\ so",🐘)'],
    "app.floats_multirange": ["{}", "{[0.1,0.2),(5,)}"],
}


def literal(value: str, type_name: str) -> str:
    """SQL for one value, written so that no setting of the session changes what it means."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'::{type_name}"


def arrays(values: Values) -> dict[str, list[str]]:
    """Type to SQL expressions of arrays of its values."""
    made = {}
    for type_name, items in values.items():
        several = [literal(item, type_name) for item in items]
        first, last = several[0], several[-1]
        two_by_two = f"array[[{first}, null], [{last}, {first}]]::{type_name}[]"
        made[f"{type_name}[]"] = [
            f"array[{', '.join(several)}, null]::{type_name}[]",
            two_by_two,
            f"('[-1:0][5:6]=' || {two_by_two}::text)::{type_name}[]",
            f"array[[[{last}]], [[null]]]::{type_name}[]",
            f"'{{}}'::{type_name}[]",
            f"array[null]::{type_name}[]",
        ]
    return made


def expressions(values: Values) -> dict[str, list[str]]:
    """Type to SQL expressions of its values."""
    return {type_name: [literal(item, type_name) for item in items] for type_name, items in values.items()}


class Samples:
    """Two tables with a column for each type: ``sample`` has a key, ``image`` is found by whole rows."""

    def __init__(self, source: Database, target: Database, items: Mapping[str, Sequence[str]]) -> None:
        self.source = source
        self.target = target
        self.items = items
        self.columns = [re.sub(r"\W+", "_", f"{name}_{n}") for n, name in enumerate(items)]
        self.rows = max(map(len, items.values()))
        defined = ", ".join(f"{column} {name}" for column, name in zip(self.columns, self.items, strict=True))
        ddl = (
            f"create table sample (id int primary key, {defined}); create table image (id int, {defined});"
            "alter table image replica identity full"
        )
        for side in (source, target):
            with side.connect(options=FIXED) as connection:
                connection.execute(ddl)
        self.write("create publication pub for table sample, image")

    def write(self, statement: str) -> None:
        """Change the source."""
        with self.source.connect(options=FIXED) as connection:
            connection.execute(statement)

    def insert(self, table: str, first_id: int) -> None:
        """A row for each value; types with fewer of them have NULL in the other rows."""
        rows = []
        for number in range(self.rows):
            cells = [
                texts[number] if number < len(texts) else f"null::{name}"
                for name, texts in self.items.items()
            ]
            rows.append(f"({first_id + number}, {', '.join(cells)})")
        self.write(f"insert into {table} values " + ", ".join(rows))

    def move_values(self, statement: str) -> None:
        """Run an update whose ``{columns}`` are set from the row ``s``."""
        assignments = ", ".join(f"{column} = s.{column}" for column in self.columns)
        self.write(statement.format(columns=assignments))

    def assert_equal(self, expected_rows: int) -> None:
        """Every cell is the same on both sides; says which types are not."""
        for table in ("sample", "image"):
            before, after = (exact_rows(side, table) for side in (self.source, self.target))
            assert len(before) == len(after) == expected_rows, table
            names = ["id", *self.items]
            differing = {
                names[n]
                for left, right in zip(before, after, strict=True)
                for n, (a, b) in enumerate(zip(left, right, strict=True))
                if a != b
            }
            assert not differing, table


def exact_rows(database: Database, table: str) -> list[tuple[str | None, ...]]:
    """The rows as their types' output functions write them, by id; settings of the database do not matter."""
    query = f"copy (select * from public.{table} order by id) to stdout"
    with (
        database.connect(options=FIXED) as connection,
        connection.cursor() as cursor,
        cursor.copy(query) as copy,
    ):
        return list(copy.rows())


def round_trip(samples: Samples, way: Way) -> None:
    """Move the values by copy, insert and update, then find each row by its whole image."""
    count = samples.rows
    for table in ("sample", "image"):
        samples.insert(table, 1)
        samples.write(f"insert into {table} (id) select 1000 + n from generate_series(1, {count}) n")
    with Migration(samples.source, samples.target) as migration:
        migration.wait_ready()
        samples.assert_equal(2 * count)
        for table in ("sample", "image"):
            samples.insert(table, 101)
            samples.move_values(
                f"update {table} t set {{columns}} from {table} s where t.id = s.id + 1000 and s.id < 100"
            )
            samples.move_values(
                f"update {table} t set {{columns}} from {table} s "
                f"where s.id < 100 and t.id = 101 + s.id % {count}"
            )
        samples.write("update image set id = id + 5000 where id < 100 or id > 1000")
        migration.wait_applied()
        samples.assert_equal(3 * count)
        samples.write("delete from image where id > 6000; delete from sample where id > 1000")
        migration.wait_applied()
        samples.assert_equal(2 * count)
    assert not way.replayed


@pytest.mark.parametrize(
    "group", [NUMBERS, TIMES, TEXTS, OTHERS, RANGES], ids=lambda group: next(iter(group))
)
def test_every_value_of_a_built_in_type_arrives(
    group: Values, way: Way, source_db: Database, target_db: Database
) -> None:
    for side in (source_db, target_db):
        side.execute('create table "Odd ""Name" ()')
    round_trip(Samples(source_db, target_db, expressions(group)), way)


def test_arrays_of_every_built_in_type_arrive(way: Way, source_db: Database, target_db: Database) -> None:
    for side in (source_db, target_db):
        side.execute('create table "Odd ""Name" ()')
    round_trip(Samples(source_db, target_db, arrays(BUILT_IN)), way)


def test_values_of_user_types_and_arrays_of_them_arrive(
    way: Way, source_db: Database, target_db: Database
) -> None:
    for side in (source_db, target_db):
        side.execute(USER_TYPES_DDL)
    round_trip(Samples(source_db, target_db, {**expressions(USER_TYPES), **arrays(USER_TYPES)}), way)


def test_domains_with_rules_arrive_as_values_and_as_keys(
    way: Way, source_db: Database, target_db: Database
) -> None:
    for side in (source_db, target_db):
        side.execute(USER_TYPES_DDL)
        side.execute(
            "create table price (code app.code, low app.low_pair, euro app.positive, primary key (code, low))"
        )
    source_db.execute("insert into price select 'a', row(n, '\\')::app.pair, n from generate_series(1, 9) n")
    source_db.execute("create publication pub for table price")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(
            "insert into price select 'b', row(n, null)::app.pair, n / 7.0 from generate_series(1, 9) n"
        )
        source_db.execute("update price set euro = euro + 0.01 where (low).n % 3 = 0")
        source_db.execute("update price set code = 'c' where (low).n % 3 = 1 and code = 'b'")
        source_db.execute("delete from price where (low).n % 3 = 2 and code = 'a'")
        migration.wait_applied()
        migration.assert_equal("price")
    assert not way.replayed


EXTENSIONS: dict[str, Values] = {
    "hstore": {"hstore": ["", '"a b"=>NULL, "\\\\"=>"\\"NULL\\""']},
    "citext": {"citext": ["", "Mixed Case\\."]},
    "ltree": {"ltree": ["", "Top.Science"], "lquery": ["*.Sci*{1,}"]},
    "vector": {"vector": ["[1,-0,1e-30]", "[0.1]"], "halfvec": ["[0.5]"], "sparsevec": ["{1:1.5,3:-2}/5"]},
}


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_values_of_extension_types_arrive(
    extension: str, way: Way, source_db: Database, target_db: Database
) -> None:
    for side in (source_db, target_db):
        if not side.query("select from pg_available_extensions where name = %s", [extension]):
            pytest.skip(f"PostgreSQL {side.server.major} of the wheel comes without {extension}")
        # Outside search_path, as pg_dump may leave it.
        side.execute(f"create schema ext; create extension {extension} schema ext")
    values = {f"ext.{name}": items for name, items in EXTENSIONS[extension].items()}
    round_trip(Samples(source_db, target_db, {**expressions(values), **arrays(values)}), way)


def test_no_built_in_type_is_forgotten(source_db: Database, target_db: Database) -> None:
    tested = ['pg_catalog."char"' if name == '"char"' else name for name in BUILT_IN]
    for side in (source_db, target_db):
        untested = side.query(
            "select typname::text from pg_type where typnamespace = 'pg_catalog'::regnamespace "
            "and typtype in ('b', 'r', 'm') and (typcategory <> 'A' or typname ~ 'vector$') "
            "and typname !~ '^_' and oid <> all (select t::regtype from unnest(%s::text[]) t)",
            [tested],
        )
        assert {name for (name,) in untested} == NO_COLUMN_VALUES


KEYED: Values = {
    "int2": ["-32768", "7"],
    "int4": ["-2147483648", "7"],
    "int8": ["-9223372036854775808", "7"],
    "float4": ["NaN", "-0"],
    "float8": ["-Infinity", "0.1"],
    "numeric": ["NaN", "1.00"],
    "money": ["-0.01", "5"],
    "date": ["infinity", "0044-03-15 BC"],
    "time": ["24:00", "00:00"],
    "timetz": ["24:00-15:59", "12:34:56.789012+05:30"],
    "timestamp": ["-infinity", "4714-11-24 00:00:00 BC"],
    "timestamptz": ["infinity", "2024-10-27 02:30:00+02"],
    "interval": ["-1 mons +2 days -03:04:05.6", "1 mon"],
    "text": ["\\.", "\t\\N\n"],
    "varchar(9)": ["", "🐘"],
    "char(9)": ["", " x"],
    "name": ["\\N", "é"],
    '"char"': ["", "\\377"],
    "bytea": ["", "\\x00ff5c"],
    "bool": ["false", "true"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "jsonb": ["null", '{"a": [1.0, "\\\\"]}'],
    "bit(3)": ["000", "101"],
    "varbit": ["", "1"],
    "inet": ["::1", "192.168.1.5/24"],
    "macaddr": ["08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"],
    "xid8": ["3", "18446744073709551615"],
    "pg_lsn": ["0/0", "16/B374D848"],
    "tsvector": ["", "'a b':1A,2B"],
    "int4range": ["empty", "[1,)"],
    "text[]": ["{}", '[0:1]={NULL,"NULL"}'],
    "app.deep": ["(,,,,,)", '("(1,x)",ok,"{}",infinity,NaN,"\\\\x00ff")'],
}
"""As many columns as an index may have."""


def test_rows_are_found_by_keys_of_every_type(way: Way, source_db: Database, target_db: Database) -> None:
    names = [f"k{n}" for n in range(len(KEYED))]
    for side in (source_db, target_db):
        side.execute(USER_TYPES_DDL)
        defined = ", ".join(f"{name} {kind}" for name, kind in zip(names, KEYED, strict=True))
        side.execute(f"create table wide (id int, {defined}, primary key ({', '.join(names)}))")
    source_db.execute("create publication pub for table wide")

    def insert(numbers: Sequence[int]) -> None:
        # Row n differs from row 0 in its n-th column alone.
        rows = [
            f"({number}, "
            + ", ".join(
                literal(items[n + 1 == number], kind) for n, (kind, items) in enumerate(KEYED.items())
            )
            + ")"
            for number in numbers
        ]
        source_db.execute("insert into wide values " + ", ".join(rows))

    insert(range(0, 20))
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        insert(range(20, len(KEYED) + 1))
        source_db.execute("update wide set id = id + 100")
        source_db.execute("delete from wide where id = 100")
        migration.wait_applied()
        assert exact_rows(source_db, "wide") == exact_rows(target_db, "wide")
        others = ", ".join(
            f"{name} = case when {name} = {literal(items[0], kind)} then {literal(items[1], kind)} "
            f"else {literal(items[0], kind)} end"
            for name, (kind, items) in zip(names, KEYED.items(), strict=True)
        )
        source_db.execute(f"update wide set {others} where id % 2 = 0")
        source_db.execute("delete from wide where id % 3 = 0")
        migration.wait_applied()
        assert exact_rows(source_db, "wide") == exact_rows(target_db, "wide")
    assert not way.replayed


TEXT_SETTINGS = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-10",
    "TimeZone": "Asia/Kathmandu",
    "lc_monetary": "C.utf8",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "search_path": "app, public",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "default_text_search_config": "pg_catalog.german",
    "xmlbinary": "hex",
    "row_security": "on",
}


@pytest.mark.parametrize("where", ["source", "target"])
def test_settings_that_change_text_do_not_change_a_value(
    where: str, way: Way, source_db: Database, target_db: Database
) -> None:
    for name, side in (("source", source_db), ("target", target_db)):
        side.execute('create table "Odd ""Name" ()')
        side.execute(USER_TYPES_DDL)
        if where == name:
            for setting, value in TEXT_SETTINGS.items():
                quoted = value if setting == "search_path" else f"'{value}'"
                side.execute(f"alter database {side.name} set {setting} = {quoted}")
                side.execute(f"alter role postgres in database {side.name} set {setting} = {quoted}")
    values = {**NUMBERS, **TIMES, **TEXTS, **OTHERS, **RANGES, **USER_TYPES}
    short = {
        name: values[name] for name in ("date", "timestamptz", "interval", "float8", "bytea", "app.deep")
    }
    round_trip(Samples(source_db, target_db, {**expressions(values), **arrays(short)}), way)


CONVERSIONS = {
    # source type, target type: value, what the target then holds
    ("int", "bigint"): ("-5", "-5"),
    ("int", "text"): ("42", "42"),
    ("int", "numeric(10,2)"): ("7", "7.00"),
    ("numeric", "text"): ("1.00", "1.00"),
    ("numeric", "float8"): ("0.10", "0.1"),
    ("float4", "float8"): ("0.1", "0.1"),
    ("varchar(9)", "text"): ("a\\.\t", "a\\.\t"),
    ("text", "varchar(20)"): ("äö  ", "äö  "),
    ("varchar", "char(5)"): ("ab", "ab   "),
    ("char(5)", "text"): ("ab", "ab   "),
    ("app.mood", "text"): ("🐘", "🐘"),
    ("text", "app.mood"): ("ok", "ok"),
    ("text", "app.code"): ("abc", "abc"),
    ("date", "timestamp"): ("2024-02-29", "2024-02-29 00:00:00"),
    ("timestamp", "timestamp(0)"): ("2024-01-01 00:00:00.6", "2024-01-01 00:00:01"),
    # Not the same value: what had no time zone is taken as UTC.
    ("timestamp", "timestamptz"): ("2024-07-01 12:00:00", "2024-07-01 12:00:00+00"),
    ("timestamptz", "timestamp"): ("2024-07-01 12:00:00+02", "2024-07-01 10:00:00"),
    ("timestamptz", "text"): ("2024-07-01 12:00:00+02", "2024-07-01 10:00:00+00"),
    ("interval", "interval(0)"): ("1.6 s", "00:00:02"),
    ("json", "jsonb"): ('{"a":1,"a":2}', '{"a": 2}'),
    ("jsonb", "text"): ('{"a":1}', '{"a": 1}'),
    ("bool", "text"): ("true", "t"),
    ("uuid", "text"): ("FFFFFFFF-ffff-ffff-ffff-ffffffffffff", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ("cidr", "inet"): ("10.0.0.0/8", "10.0.0.0/8"),
    ("int[]", "bigint[]"): ("{1,NULL}", "{1,NULL}"),
    ("numeric[]", "numeric(6,3)[]"): ("{1}", "{1.000}"),
}


@pytest.mark.parametrize("identity", ["key", "full"])
def test_a_value_is_read_by_the_type_it_has_on_the_target(
    identity: str, way: Way, source_db: Database, target_db: Database
) -> None:
    names = [f"c{n}" for n in range(len(CONVERSIONS))]
    for index, side in enumerate((source_db, target_db)):
        side.execute(USER_TYPES_DDL)
        defined = ", ".join(f"{name} {kinds[index]}" for name, kinds in zip(names, CONVERSIONS, strict=True))
        key = "primary key" if identity == "key" else ""
        side.execute(f"create table item (id int {key}, {defined})")
        if identity == "full":
            side.execute("alter table item replica identity full")
    cells = ", ".join(literal(value, source_type) for (source_type, _), (value, _) in CONVERSIONS.items())
    source_db.execute(f"insert into item values (1, {cells}), (2, {cells})")
    source_db.execute("create publication pub for table item")
    with Migration(source_db, target_db) as migration:
        migration.wait_ready()
        source_db.execute(f"insert into item values (3, {cells}), (4, {cells})")
        source_db.execute("insert into item (id) values (5), (6)")
        assignments = ", ".join(f"{name} = one.{name}" for name in names)
        source_db.execute(f"update item set {assignments} from item one where one.id = 1 and item.id = 5")
        source_db.execute("update item set id = id + 10; delete from item where id in (12, 14, 16)")
        migration.wait_applied()
        assert not migration.snapshot.tables_set_aside, migration.snapshot.tables_set_aside
        expected = [expected for _, expected in CONVERSIONS.values()]
        rows = exact_rows(target_db, "item")
        assert [row[0] for row in rows] == ["11", "13", "15"]
        for row in rows:
            got = dict(zip(CONVERSIONS, row[1:], strict=True))
            assert got == dict(zip(CONVERSIONS, expected, strict=True))
    assert not way.replayed


@pytest.mark.slow
def test_a_value_of_100_megabytes_arrives(way: Way, source_db: Database, target_db: Database) -> None:
    for side in (source_db, target_db):
        side.execute(
            "create table huge (id int primary key, line text, bytes bytea, n int);"
            "alter table huge alter line set storage external, alter bytes set storage external"
        )
    line = "repeat(E'a\\tb\\n\\\\.', 100 * 1024 * 1024 / 6)"
    source_db.execute(f"insert into huge values (1, {line}, null, 1)")
    source_db.execute("create publication pub for table huge")
    with Migration(source_db, target_db) as migration:
        wait_until(lambda: target_db.query("select n from huge") == [(1,)], 300)
        migration.wait_ready()
        source_db.execute(
            "insert into huge values (2, null, decode(repeat('00ff5c', 100 * 1024 * 1024 / 3), 'hex'), 1)"
        )
        source_db.execute("update huge set n = 2, line = line || '🐘' where id = 1")
        source_db.execute("update huge set n = 3 where id = 2")
        wait_until(lambda: target_db.query("select n from huge order by id") == [(2,), (3,)], 300)
        migration.wait_applied()
    summary = "select id, n, length(line), md5(line), length(bytes), md5(bytes) from huge order by id"
    rows = target_db.query(summary)
    assert rows == source_db.query(summary)
    assert [row[1] for row in rows] == [2, 3]


_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_YEARS = st.integers(-4712, 290_000)


def _date(year: int, month: int, day: int) -> str:
    return f"{abs(year) + (year <= 0):04}-{month:02}-{day:02}" + (" BC" if year <= 0 else "")


def _interval(months: int, days: int, microseconds: int) -> str:
    return f"{months} mons {days} days {microseconds} microseconds"


def _range(low: int | None, size: int | None, brackets: str) -> str:
    high = None if size is None else (low or 0) + size
    return f"{brackets[0]}{'' if low is None else low},{'' if high is None else high}{brackets[1]}"


_DATES = st.sampled_from(["infinity", "-infinity"]) | st.builds(
    _date, _YEARS, st.integers(1, 12), st.integers(1, 28)
)
_CLOCKS = st.builds(
    lambda n: f"{n // 10**6 // 3600:02}:{n // 10**6 // 60 % 60:02}:{n // 10**6 % 60:02}.{n % 10**6:06}",
    st.integers(0, 24 * 3600 * 10**6 - 1),
)
_STAMPS = st.builds(
    lambda year, month, day, clock: (
        _date(year, month, day).replace(" BC", "") + f" {clock}" + (" BC" if year <= 0 else "")
    ),
    _YEARS,
    st.integers(1, 12),
    st.integers(1, 28),
    _CLOCKS,
)
GENERATED = {
    "int8": st.integers(-(2**63), 2**63 - 1).map(str),
    "float8": st.floats().map(repr),
    "float4": st.floats(width=32).map(repr),
    "numeric": st.decimals(allow_infinity=False, allow_nan=False).map(lambda number: f"{number:f}"[:400])
    | st.just("NaN"),
    "text": _TEXT,
    "bytea": st.binary(max_size=60).map(lambda data: "\\x" + data.hex()),
    "date": _DATES,
    "timestamptz": _STAMPS,
    "interval": st.builds(
        _interval,
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**62), 2**62),
    ),
    "json": _JSON.map(json.dumps),
    "jsonb": _JSON.map(lambda value: json.dumps(value, ensure_ascii=False)),
    "text[]": st.lists(_TEXT | st.none(), max_size=5),
    "int4range": st.builds(
        _range,
        st.none() | st.integers(-(10**9), 10**9),
        st.none() | st.integers(0, 10**9),
        st.sampled_from(["[)", "()", "(]", "[]"]),
    ),
    "varbit": st.text("01", max_size=70),
    "inet": st.ip_addresses().map(str),
}
_ROWS = st.lists(st.tuples(*[st.none() | values for values in GENERATED.values()]), min_size=1, max_size=25)
_GENERATED_DDL = "create table generated (id int primary key, {})".format(
    ", ".join(f"c{n} {name}" for n, name in enumerate(GENERATED))
)
_GENERATED_INSERT = "insert into generated values (%s, {})".format(
    ", ".join(f"%s::{name}" for name in GENERATED)
)


def test_generated_values_round_trip_through_apply(
    way: Way, source_db: Database, target_db: Database
) -> None:
    for side in (source_db, target_db):
        side.execute(_GENERATED_DDL)
    source_db.execute("create publication pub for table generated")
    with Migration(source_db, target_db) as migration, source_db.connect() as source:

        @settings(deadline=None, max_examples=12, database=None)
        @given(first=_ROWS, second=_ROWS)
        def round_trips(first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]) -> None:
            with source.transaction(), source.cursor() as cursor:
                cursor.execute("delete from generated")
                cursor.executemany(_GENERATED_INSERT, [(n, *row) for n, row in enumerate(first)])
            with source.transaction(), source.cursor() as cursor:
                columns = ", ".join(f"c{n} = %s::{name}" for n, name in enumerate(GENERATED))
                cursor.executemany(
                    f"update generated set {columns} where id = %s",
                    [(*row, n * 2) for n, row in enumerate(second)],
                )
            migration.wait_applied()
            rows = exact_rows(target_db, "generated")
            assert len(rows) == len(first)
            assert rows == exact_rows(source_db, "generated")

        migration.wait_ready()
        round_trips()
    assert not way.replayed


@pytest.mark.parametrize("copy_format", ["text", "binary"])
def test_generated_values_round_trip_through_copy(
    copy_format: str, source_db: Database, target_db: Database
) -> None:
    for side in (source_db, target_db):
        side.execute(_GENERATED_DDL)
        if copy_format == "binary":
            side.execute("alter table generated drop c{}".format(list(GENERATED).index("int4range")))
    source_db.execute("create publication pub for table generated")
    name = TableName("public", "generated")
    with (
        open_session(parse_endpoint(Side.SOURCE, source_db.conninfo), "test") as source,
        open_session(parse_endpoint(Side.TARGET, target_db.conninfo), "test") as target,
        source_db.connect() as writer,
    ):
        (table,) = list_published_tables(source, ["pub"])
        target_table = read_target_table(target, name, name)
        assert fits_binary(
            table.column_types, [target_table.columns[column] for column in table.columns]
        ) is (copy_format == "binary")
        insert = "insert into generated ({}) select {} from (values (%s, {})) v (id, {})".format(
            ", ".join(table.columns),
            ", ".join(table.columns),
            ", ".join(f"%s::{name}" for name in GENERATED),
            ", ".join(f"c{n}" for n in range(len(GENERATED))),
        )

        @settings(deadline=None, max_examples=30, database=None)
        @given(rows=_ROWS)
        def round_trips(rows: list[tuple[Any, ...]]) -> None:
            with writer.transaction(), writer.cursor() as cursor:
                cursor.execute("truncate generated")
                cursor.executemany(insert, [(n, *row) for n, row in enumerate(rows)])
            target.execute("truncate public.generated")
            with target.transaction():
                copied = copy_rows(
                    source,
                    target,
                    table,
                    target_table,
                    on_progress=lambda rows, size_bytes: None,
                    should_stop=lambda: False,
                )
            assert copied.rows == len(rows)
            assert exact_rows(source_db, "generated") == exact_rows(target_db, "generated")

        round_trips()
