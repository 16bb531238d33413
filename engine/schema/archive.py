"""Takes a schema apart with ``pg_dump -Fc`` and ``pg_restore``: what copies need, what can wait, each object.

One pg_dump, so one snapshot of the source. Its archive has a table of contents whose entries carry an id,
the source's oid of the object and the ids that each depends on; ``pg_restore --section`` tells what belongs
before rows (pre-data: tables, types, functions, sequences, views) and after them (post-data: keys, indexes,
constraints, triggers, rules, policies). The statements of an entry are pg_dump's own, with what belongs to
them: ALTER TABLE … REPLICA IDENTITY USING INDEX, CLUSTER ON, ENABLE ALWAYS TRIGGER. Putting them together
from the source's catalogs would mean to know all of that for every version of PostgreSQL.

``pg_restore --verbose`` writes a header with id, oids and dependencies before each entry. The script is cut
at those headers, and the ids found are held against the table of contents: where a comment or a rule holds
text that looks like a header, they disagree, and the entries are asked for in ever smaller parts.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.connection.endpoint import Endpoint
from engine.errors import EngineError, Failure
from engine.schema.dump import for_any_target, output_flags, run_pg_dump
from engine.schema.inherited_not_null import for_older_servers
from engine.schema.programs import Program, find_program

_LISTED = re.compile(r"^(\d+); (\d+) (\d+) ", re.M)
"""A line of the table of contents: id, oid of the catalog, oid of the object; names follow."""

_HEADER = re.compile(
    r"^--\n"
    r"-- TOC entry (?P<id>\d+) \(class (?P<catalog>\d+) OID (?P<oid>\d+)\)\n"
    r"(?:-- Dependencies:(?P<dependencies>[ \d]+)\n)?"
    r"-- Name: (?P<name>.*); Type: (?P<kind>.*); Schema: .*; Owner: .*\n"
    r"(?:-- Data Pos: \d+\n)?"
    r"--\n\n",
    re.M,
)

_END = "\n-- Completed on "
"""How ``pg_restore --verbose`` begins what comes after the last entry."""

PG_CLASS = 1259
"""Oid of ``pg_class``, the catalog of tables and indexes."""


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One object, or what belongs to one: a comment, a default, an attached partition."""

    id: int
    """pg_dump's number of it, which says nothing about the order."""

    catalog_oid: int
    oid: int
    """The database's oid of the object in that catalog; 0 where it has none (COMMENT, INDEX ATTACH)."""

    kind: str
    """pg_dump's word: ``INDEX``, ``CONSTRAINT``, ``FK CONSTRAINT``, ``TRIGGER``, …"""

    name: str
    """For display, as pg_dump writes it: of a constraint with its table before it."""

    statement: str
    """One statement or more, all names with their schema."""

    dependencies: frozenset[int]
    """Ids of entries, those of pre-data included, that it depends on."""

    @property
    def has_oid(self) -> bool:
        """Whether it is an object of its own. ROW SECURITY has the table's oid, in no catalog."""
        return self.catalog_oid != 0 and self.oid != 0


@dataclass(frozen=True, slots=True)
class SortedEntries:
    """Entries of an archive, each group in its old order."""

    kept: tuple[ArchiveEntry, ...]
    left_out: tuple[ArchiveEntry, ...] = ()
    """What an extension makes itself."""

    later: tuple[ArchiveEntry, ...] = ()
    """What needs something that pg_dump has no words for, so that it has to wait for that."""


Sort = Callable[[Sequence[ArchiveEntry]], SortedEntries]
"""Tells which entries are restored; it is given all of them, each after what it needs."""


def keep_all(entries: Sequence[ArchiveEntry]) -> SortedEntries:
    """Leave nothing out."""
    return SortedEntries(tuple(entries))


@dataclass(frozen=True, slots=True)
class SchemaArchive:
    """A database's schema in two parts."""

    pre_data: str
    """A script for psql."""

    pre_entries: tuple[ArchiveEntry, ...]
    """The same, each object by itself, in an order that works."""

    post_data: tuple[ArchiveEntry, ...]
    """In an order that works."""

    relations: dict[int, int]
    """Of each table or view its entry's id and the database's oid."""

    pg_dump: str
    """Version line of the pg_dump that read it."""

    later: tuple[ArchiveEntry, ...] = ()
    """In neither part (:attr:`SortedEntries.later`), in an order that works."""


def dump_archive(
    endpoint: Endpoint,
    source_version_number: int,
    sort: Sort = keep_all,
    left_out_schemas: Collection[str] = (),
) -> SchemaArchive:
    """Dump the schema of a whole database, taken apart.

    Args:
        endpoint: The database.
        source_version_number: Its ``server_version_num``; the programs have to be of that version or newer.
        sort: Which entries both parts have; by default all.
        left_out_schemas: Patterns of schemas that are not dumped, in lower case, with ``*`` and ``?``.

    Raises:
        BlockedError: No pg_dump or pg_restore is new enough.
        EngineError: One of them failed; the detail is what it said.
    """
    pg_dump = find_program("pg_dump", source_version_number // 10000)
    pg_restore = find_program("pg_restore", pg_dump.version[0])
    left_out = [f"--exclude-schema={pattern}" for pattern in left_out_schemas]
    archive = run_pg_dump(endpoint, pg_dump, "--format=custom", *left_out)
    with tempfile.TemporaryDirectory(prefix="livesync-tui-") as folder:
        path = Path(folder, "schema.dump")
        path.write_bytes(archive)
        reader = _Reader(pg_restore, path)
        listed = _LISTED.findall(reader.run("--list"))
        pre_ids = reader.ids("pre-data")
        entries = sort(tuple(_entries(reader, pre_ids) + _entries(reader, reader.ids("post-data"))))
        before = frozenset(pre_ids)
        pre_entries = [entry for entry in entries.kept if entry.id in before]
        pre_data = for_any_target(reader.script([entry.id for entry in pre_entries]), pg_restore)
        for position, entry in enumerate(pre_entries):
            statement = for_older_servers(entry.statement)
            if statement != entry.statement:
                pre_data = pre_data.replace(entry.statement, statement)
                pre_entries[position] = replace(entry, statement=statement)
        return SchemaArchive(
            pre_data=pre_data,
            pre_entries=tuple(pre_entries),
            post_data=tuple(entry for entry in entries.kept if entry.id not in before),
            later=entries.later,
            relations={int(entry): int(oid) for entry, catalog, oid in listed if int(catalog) == PG_CLASS},
            pg_dump=pg_dump.version_line,
        )


class _Reader:
    """pg_restore over one archive."""

    def __init__(self, program: Program, archive: Path) -> None:
        self._program = program
        self._archive = archive

    def run(self, *flags: str) -> str:
        """What pg_restore writes.

        Raises:
            EngineError: It failed.
        """
        try:
            finished = subprocess.run(
                [self._program.path, *output_flags(self._program), *flags, self._archive],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise EngineError(
                Failure(f"{self._program.path} could not be run", error.strerror or "")
            ) from None
        if finished.returncode != 0:
            raise EngineError(
                Failure(
                    "pg_restore could not read what pg_dump wrote",
                    detail=finished.stderr.decode("utf-8", "replace").strip(),
                    hint=f"It was {self._program.version_line}, {self._program.path}",
                )
            )
        # Not in subprocess's text mode, which would make line ends of carriage returns in names and bodies.
        return finished.stdout.decode("utf-8", "surrogateescape")

    def ids(self, section: str) -> list[int]:
        """The entries of a section, in their order."""
        return [int(entry) for entry, _, _ in _LISTED.findall(self.run("--list", f"--section={section}"))]

    def entries(self, ids: Sequence[int]) -> str:
        """The script of some entries, in that order, each with its header."""
        return self.script(ids, "--verbose")

    def script(self, ids: Sequence[int], *flags: str) -> str:
        """The script of some entries, in that order."""
        chosen = self._archive.with_name("chosen")
        # Only the number before the semicolon counts.
        chosen.write_text("".join(f"{entry};\n" for entry in ids))
        return self.run(f"--use-list={chosen}", "--file=-", *flags)


def _entries(reader: _Reader, ids: Sequence[int]) -> list[ArchiveEntry]:
    if not ids:
        return []
    script = reader.entries(ids)
    end = script.rfind(_END)
    headers = list(_HEADER.finditer(script))
    if len(ids) == 1:
        headers = headers[:1]
    if end < 0 or [int(header["id"]) for header in headers] != list(ids):
        if len(ids) == 1:
            raise EngineError(
                Failure(
                    "The output of pg_restore --verbose is not what it was in the versions known to us",
                    hint="Restore the schema by hand, then run without --schema",
                )
            )
        middle = len(ids) // 2
        return [*_entries(reader, ids[:middle]), *_entries(reader, ids[middle:])]
    ends = [*(header.start() for header in headers[1:]), end]
    return [
        ArchiveEntry(
            id=int(header["id"]),
            catalog_oid=int(header["catalog"]),
            oid=int(header["oid"]),
            kind=header["kind"],
            name=header["name"],
            statement=script[header.end() : until].strip(),
            dependencies=frozenset(map(int, (header["dependencies"] or "").split())),
        )
        for header, until in zip(headers, ends, strict=True)
    ]
