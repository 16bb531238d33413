"""Whether a table's rows may travel as COPY BINARY (PostgreSQL, COPY, "Binary Format"), and its frame.

Binary values are what ``typsend`` wrote, for ``typreceive`` of the same type. That is safe for the built-in
types listed here when both columns have it: their binary form is the same in every version we read,
and their receive functions apply the column's length and precision as their input functions do. Text is
for everything else: other types on the two sides, types of users and extensions (arrays and composites of
them carry the source's oids), ``money`` (the locale's digits), ``reg*`` (oids of the source), ``xml``
(re-encoded). An enum's binary form is its label, so enums go to enums.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.replication.target_table import TargetColumn

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
"""Signature, flags and length of the extension; PostgreSQL sets no flag."""

TRAILER = b"\xff\xff"
"""Where the number of a row's columns would be."""

LAST_MESSAGES = (TRAILER, HEADER + TRAILER)
"""The message that ends COPY TO, with rows before it and without; none of them is a row."""

ANY_ENUM = 3500
"""pg_catalog.anyenum, which stands for every enum here."""

# oid of the type, oid of its array: pg_type.dat. These never change.
_SAFE = (
    (16, 1000),  # bool
    (17, 1001),  # bytea
    (18, 1002),  # "char"
    (19, 1003),  # name
    (20, 1016),  # int8
    (21, 1005),  # int2
    (23, 1007),  # int4
    (25, 1009),  # text
    (26, 1028),  # oid
    (114, 199),  # json
    (600, 1017),  # point
    (601, 1018),  # lseg
    (602, 1019),  # path
    (603, 1020),  # box
    (604, 1027),  # polygon
    (628, 629),  # line
    (650, 651),  # cidr
    (700, 1021),  # float4
    (701, 1022),  # float8
    (718, 719),  # circle
    (774, 775),  # macaddr8
    (829, 1040),  # macaddr
    (869, 1041),  # inet
    (1042, 1014),  # bpchar
    (1043, 1015),  # varchar
    (1082, 1182),  # date
    (1083, 1183),  # time
    (1114, 1115),  # timestamp
    (1184, 1185),  # timestamptz
    (1186, 1187),  # interval
    (1266, 1270),  # timetz
    (1560, 1561),  # bit
    (1562, 1563),  # varbit
    (1700, 1231),  # numeric
    (2950, 2951),  # uuid
    (3802, 3807),  # jsonb
)
_SAFE_OIDS = frozenset(oid for pair in _SAFE for oid in pair) | {ANY_ENUM}


def fits_binary(source_types: Sequence[int], columns: Sequence[TargetColumn]) -> bool:
    """Whether every value may be sent in binary.

    Args:
        source_types: Type oids of the columns that are read, :data:`ANY_ENUM` for an enum.
        columns: Where each of them is written.
    """
    return all(
        oid in _SAFE_OIDS and oid == (ANY_ENUM if column.is_enum else column.type_oid)
        for oid, column in zip(source_types, columns, strict=True)
    )
