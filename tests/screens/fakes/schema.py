"""Two schemas without servers: what is missing can be made, refused, put off, dropped and undone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event as Signal

from engine.catalog.table import TableName
from engine.errors import Failure, Side
from engine.schema.comparison import (
    Applied,
    AppliedStatement,
    ApplyReport,
    ComparedObject,
    ExtensionState,
    ObjectKey,
    PlannedExtension,
    PlannedStatement,
    Presence,
    SchemaComparison,
)
from engine.schema.script import WaitingObjects
from engine.script.planned import Script, ScriptStatement
from screens.generated import GeneratedFile
from screens.step_services.schema import OnResult, SchemaLook, ScriptToRun
from tests.screens.fakes.scripts import FOLDER

FILE_NAME = "schema_dump.sql"


def compared(
    kind: str, name: str, source: str = "", target: str = "", *, waits_for_rows: bool = False
) -> ComparedObject:
    """An object as its two statements have it."""
    if not source:
        presence = Presence.ONLY_ON_TARGET
    elif not target:
        presence = Presence.MISSING
    else:
        presence = Presence.IDENTICAL if source == target else Presence.DIFFERENT
    return ComparedObject(ObjectKey(kind, name), presence, source, target, waits_for_rows)


_CUSTOMERS = "CREATE TABLE public.customers (\n    id bigint NOT NULL,\n    name text NOT NULL\n);"
_ORDERS = "CREATE TABLE public.orders (\n    id bigint NOT NULL,\n    total numeric(12,2)\n);"


def shop_schema() -> tuple[ComparedObject, ...]:
    """A shop of which the target has a part."""
    return (
        compared("SCHEMA", "stock", "CREATE SCHEMA stock;", "CREATE SCHEMA stock;"),
        compared("TABLE", "public.customers", _CUSTOMERS),
        compared("TABLE", "public.orders", _ORDERS, _ORDERS.replace("(12,2)", "(10,2)")),
        compared(
            "VIEW", "public.sales", "CREATE VIEW public.sales AS\n SELECT sum(total) FROM public.orders;"
        ),
        compared(
            "CONSTRAINT",
            "customers_pkey on public.customers",
            "ALTER TABLE ONLY public.customers\n    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);",
            waits_for_rows=True,
        ),
        compared(
            "INDEX",
            "public.customers_name",
            "CREATE INDEX customers_name ON public.customers USING btree (name);",
            waits_for_rows=True,
        ),
        compared("TABLE", "public.notes", "", "CREATE TABLE public.notes (\n    note text\n);"),
    )


def identical(objects: Collection[ComparedObject]) -> tuple[ComparedObject, ...]:
    """The same objects once the target has them."""
    return tuple(
        replace(one, presence=Presence.IDENTICAL, target_statement=one.source_statement)
        for one in objects
        if one.source_statement
    )


def shop_extensions() -> tuple[PlannedExtension, ...]:
    """One there, one to be created, one not to be had."""
    return (
        PlannedExtension("plpgsql", "pg_catalog", "1.0", "1.0", ExtensionState.THERE, is_older=False),
        PlannedExtension(
            "citext",
            "public",
            "1.6",
            "1.8",
            ExtensionState.MISSING,
            is_older=False,
            statement='create extension if not exists "citext" with schema "public"',
        ),
        PlannedExtension("pg_cron", "cron", "1.6", "", ExtensionState.UNAVAILABLE, is_older=False),
    )


@dataclass
class FakeSchema:
    """SchemaServices for tests."""

    objects: tuple[ComparedObject, ...] = field(default_factory=lambda: identical(shop_schema()))
    extensions: tuple[PlannedExtension, ...] = ()
    missing: tuple[TableName, ...] = ()
    """Chosen tables that the target lacks until something is applied."""

    risks: tuple[str, ...] = ()
    problem: Failure | None = None
    failure: Failure | None = None
    """What looking comes to."""

    apply_failure: Failure | None = None
    refuses: dict[str, str] = field(default_factory=dict)
    """By what a statement is about, what PostgreSQL says to it."""

    edited: tuple[ScriptStatement, ...] | None = None
    """What a person made of the script."""

    unreadable: Failure | None = None
    """Why the edited file cannot be read, until it is written anew."""

    drops: tuple[str, ...] = ()
    waits_for: Signal | None = None
    """What holds a run, with its first statement done, until it is set."""

    calls: list[str] = field(default_factory=list)
    waiting: dict[ObjectKey, None] = field(default_factory=dict)
    made: list[ObjectKey] = field(default_factory=list)

    def look(self, *, over_edited: bool = False) -> SchemaLook | Failure:
        if self.failure is not None:
            return self.failure
        if over_edited:
            self.edited = self.unreadable = None
        waiting = WaitingObjects("shop", len(self.waiting)) if self.waiting else None
        if self.problem is not None:
            return SchemaLook(self.missing, waiting, self.risks, problem=self.problem)
        return SchemaLook(
            self.missing,
            waiting,
            self.risks,
            SchemaComparison(self.objects),
            self.extensions,
            frozenset(self.waiting),
            self._file() if self.unreadable is None else None,
            self.unreadable,
            "pg_dump (PostgreSQL) 18.1",
        )

    def _planned(self) -> list[PlannedStatement]:
        extensions = [
            PlannedStatement(f"extension {one.name}", one.statement)
            for one in self.extensions
            if one.statement
        ]
        return extensions + [
            PlannedStatement(str(one.key), one.source_statement, one.key)
            for one in self.objects
            if one.presence is Presence.MISSING and one.key not in self.waiting
        ]

    def _file(self) -> GeneratedFile:
        statements = tuple(ScriptStatement(one.about, one.sql.removesuffix(";")) for one in self._planned())
        script = Script(FILE_NAME, "What the target lacks", self.edited or statements)
        return GeneratedFile(
            FOLDER / FILE_NAME, script.text(), script.statements, is_edited=self.edited is not None
        )

    @property
    def script_path(self) -> Path | None:
        return FOLDER / FILE_NAME

    def read(self) -> ScriptToRun | Failure:
        if self.unreadable is not None:
            return self.unreadable
        return ScriptToRun(self._file(), self.drops)

    def apply(
        self, *, tables_first: bool, may_drop: Collection[str], on_result: OnResult
    ) -> ApplyReport | Failure:
        self.calls.append("tables first" if tables_first else "all at once")
        self.calls += [f"may drop {name}" for name in may_drop]
        put_off = {one.key: None for one in self.objects if one.waits_for_rows} if tables_first else {}
        planned = (
            self._planned()
            if self.edited is None
            else [PlannedStatement(one.about, one.sql) for one in self.edited]
        )
        results: list[AppliedStatement] = []
        for statement in planned:
            if statement.key in put_off:
                continue
            results.append(self._result(statement))
            on_result(results[-1])
            if self.waits_for is not None and len(results) == 1:
                self.waits_for.wait()
        if self.apply_failure is not None:
            return self.apply_failure
        done = {result.planned.key for result in results if result.outcome is Applied.DONE}
        self.made += [key for key in done if key is not None]
        self.waiting |= put_off
        self.objects = tuple(
            replace(one, presence=Presence.IDENTICAL, target_statement=one.source_statement)
            if one.key in done
            else one
            for one in self.objects
        )
        made = {result.planned.about for result in results if result.outcome is Applied.DONE}
        self.extensions = tuple(
            replace(one, state=ExtensionState.THERE, statement="") if f"extension {one.name}" in made else one
            for one in self.extensions
        )
        self.missing = ()
        return ApplyReport(tuple(results))

    def _result(self, statement: PlannedStatement) -> AppliedStatement:
        said = self.refuses.get(statement.about)
        if said is None:
            return AppliedStatement(statement, Applied.DONE, 0.0042)
        failure = Failure(f"{statement.about} was refused", said, "", "42704", Side.TARGET)
        return AppliedStatement(statement, Applied.REFUSED, 0.0007, failure)

    def drop(self, key: ObjectKey) -> ApplyReport | Failure:
        self.calls.append(f"drop {key}")
        planned = PlannedStatement(f"drop of {key}", f"drop {key}", key)
        result = self._result(planned)
        if result.outcome is Applied.DONE:
            self.objects = tuple(
                replace(one, presence=Presence.MISSING, target_statement="") if one.key == key else one
                for one in self.objects
                if one.key != key or one.source_statement
            )
        return ApplyReport((result,))

    @property
    def made_count(self) -> int:
        return len(self.made)

    def undo(self, on_result: OnResult) -> ApplyReport | Failure:
        self.calls.append("undo")
        made = set(self.made)
        self.made, self.waiting = [], {}
        self.objects = tuple(
            replace(one, presence=Presence.MISSING, target_statement="") if one.key in made else one
            for one in self.objects
        )
        return ApplyReport(())
