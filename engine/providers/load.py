"""Reads the providers' files and refuses what it does not know, so that a slip of the pen is an error.

A file says only what differs: a right that it does not name is given as plain PostgreSQL gives it
(``self_hosted.toml``). Its settings have a table ``any`` for all of them, over which a setting's own table is
laid key by key.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from string import Formatter
from types import MappingProxyType
from typing import Any

from engine.errors import Failure, Retry, UsageError
from engine.providers.provider import (
    NEEDS_RESTART,
    RIGHTS,
    SELF_HOSTED,
    Change,
    Duty,
    LeaveOut,
    MigrationRole,
    Pooler,
    Provider,
    Restart,
    Signs,
    Trap,
)

_COMMON_NAMES = frozenset({"role", "database", "instance"})
_KINDS = ("hosts", "settings", "roles", "schemas", "extensions", "functions", "words")


class ProviderFileError(ValueError):
    """A provider's file does not say what it should; names the file and the key."""


class _Table:
    """One table of a file; every key must be taken, each with the type it should have."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self._where = where
        self._values = dict(values)

    def wrong(self, what: str) -> ProviderFileError:
        return ProviderFileError(f"{self._where}: {what}")

    def _take(self, key: str, kind: type, default: Any) -> Any:
        value = self._values.pop(key, default)
        # A bool is an int to Python.
        if type(value) is not kind and value is not default:
            raise self.wrong(f"{key} must be of type {kind.__name__}")
        return value

    def text(self, key: str, default: str | None = "") -> str:
        value = self._take(key, str, default)
        if default is None and not value:
            raise self.wrong(f"{key} is missing")
        return str(value)

    def flag(self, key: str) -> bool:
        return bool(self._take(key, bool, False))

    def optional_flag(self, key: str) -> bool | None:
        value = self._take(key, bool, None)
        return None if value is None else bool(value)

    def texts(self, key: str) -> tuple[str, ...]:
        return self._list(key, str)

    def numbers(self, key: str) -> tuple[int, ...]:
        return self._list(key, int)

    def _list(self, key: str, kind: type) -> tuple[Any, ...]:
        values = self._take(key, list, [])
        if any(type(value) is not kind for value in values):
            raise self.wrong(f"{key} must hold only {kind.__name__}")
        return tuple(values)

    def table(self, key: str) -> _Table:
        return _Table(f"{self._where} [{key}]", self._take(key, dict, {}))

    def tables(self, key: str) -> tuple[_Table, ...]:
        values = self._list(key, dict)
        return tuple(
            _Table(f"{self._where} [[{key}]] {number}", value) for number, value in enumerate(values)
        )

    def has(self, key: str) -> bool:
        return key in self._values

    def names(self) -> tuple[str, ...]:
        return tuple(self._values)

    def laid_over(self, base: _Table) -> _Table:
        """This table with the keys of ``base`` that it lacks."""
        return _Table(self._where, {**base._values, **self._values})

    def end(self) -> None:
        if self._values:
            raise self.wrong(f"unknown key {', '.join(sorted(self._values))}")


def _check_braces(table: _Table, texts: Iterable[str], names: frozenset[str]) -> None:
    for text in texts:
        try:
            used = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
        except ValueError as error:
            raise table.wrong(f"{text!r}: {error}") from None
        if used - names:
            raise table.wrong(f"{text!r} holds unknown {', '.join(sorted(used - names))}")


def _change(table: _Table, names: frozenset[str]) -> Change:
    """A right's table, or what is left of a setting's."""
    change = Change(
        sql=table.texts("sql"),
        console=table.text("console"),
        cli=table.text("cli"),
        words=table.text("words"),
        impossible=table.text("impossible"),
    )
    table.end()
    texts = (*change.sql, change.console, change.cli, change.words, change.impossible)
    if not any(texts):
        raise table.wrong("says nothing")
    _check_braces(table, texts, names)
    return change


def _setting_change(table: _Table) -> Change:
    parameter = table.text("parameter", "{setting}")
    value = table.text("value", "{wanted}")
    restart = table.optional_flag("restart")
    _check_braces(table, (parameter,), frozenset({"setting"}))
    _check_braces(table, (value,), frozenset({"wanted"}))
    change = _change(table, _COMMON_NAMES | {"setting", "parameter", "value"})
    return replace(change, parameter=parameter, value=value, restart=restart)


def _settings(table: _Table) -> Mapping[str, Change]:
    if not table.has("any"):
        raise table.wrong("any is missing")
    own = {name: table.table(name) for name in table.names()}
    base = own.pop("any")
    if unknown := own.keys() - NEEDS_RESTART.keys():
        raise table.wrong(f"unknown setting {', '.join(sorted(unknown))}")
    changes = {}
    for name in NEEDS_RESTART:
        named = own.get(name, base)
        # What cannot be changed is not changed by the way that others are, nor the other way round.
        stands_alone = named is not base and (named.has("impossible") or base.has("impossible"))
        changes[name] = _setting_change(named if stands_alone else named.laid_over(base))
    return MappingProxyType(changes)


def _rights(table: _Table) -> dict[str, Change]:
    rights = {}
    for name in table.names():
        if name not in RIGHTS:
            raise table.wrong(f"unknown right {name}")
        rights[name] = _change(table.table(name), _COMMON_NAMES | RIGHTS[name])
    return rights


def _signs(table: _Table) -> Signs:
    signs = Signs(
        **{kind: table.texts(kind) for kind in _KINDS},
        all_of=table.texts("all_of"),
        over=table.texts("over"),
        gives_superuser=table.flag("gives_superuser"),
    )
    table.end()
    for kind in signs.all_of:
        if kind not in _KINDS or not getattr(signs, kind):
            raise table.wrong(f"all_of names {kind}, of which there is none")
    return signs


def _pooler(table: _Table) -> Pooler:
    pooler = Pooler(
        hosts=table.texts("hosts"),
        ports=table.numbers("ports"),
        direct=table.text("direct"),
        hides_process=table.flag("hides_process"),
    )
    table.end()
    return pooler


def _leave_out(table: _Table) -> LeaveOut:
    leave_out = LeaveOut(
        roles=table.texts("roles"), schemas=table.texts("schemas"), extensions=table.texts("extensions")
    )
    table.end()
    return leave_out


def _restart(table: _Table) -> Restart:
    restart = Restart(words=table.text("words", None), cli=table.text("cli"))
    table.end()
    _check_braces(table, (restart.words, restart.cli), frozenset({"instance"}))
    return restart


def _duty(table: _Table) -> Duty:
    traps = []
    for trap in table.tables("traps"):
        traps.append(Trap(trap.text("found", None), trap.text("why", None), trap.text("fix", None)))
        trap.end()
    duty = Duty(table.text("impossible"), table.text("instead"), tuple(traps))
    table.end()
    if bool(duty.impossible) != bool(duty.instead):
        raise table.wrong("impossible and instead go together")
    return duty


def _migration_role(table: _Table) -> MigrationRole:
    role = MigrationRole(
        replication_role=table.text("replication_role"),
        sees_password=table.flag("sees_password"),
        superuser_publishes_chunks=table.flag("superuser_publishes_chunks"),
        words=table.text("words"),
    )
    table.end()
    return role


def parse_provider(name: str, text: str, rights: Mapping[str, Change] = MappingProxyType({})) -> Provider:
    """Read one file.

    Args:
        name: Its name without the ending.
        text: What it holds.
        rights: How rights are given that it says nothing about.

    Raises:
        ProviderFileError: It is not TOML, lacks a key, or has one that is not known.
    """
    try:
        document = _Table(f"{name}.toml", tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ProviderFileError(f"{name}.toml: {error}") from None
    instance = document.table("instance")
    provider = Provider(
        name=name,
        title=document.text("title", None),
        summary=document.text("summary", None),
        admin_role=document.text("admin_role"),
        instance_pattern=instance.text("pattern"),
        instance_name=instance.text("name", "SERVER"),
        signs=_signs(document.table("signs")),
        pooler=_pooler(document.table("pooler")),
        leave_out=_leave_out(document.table("leave_out")),
        restart=_restart(document.table("restart")),
        storage=document.text("storage", None),
        source=_duty(document.table("source")),
        target=_duty(document.table("target")),
        migration_role=_migration_role(document.table("migration_role")),
        settings=_settings(document.table("settings")),
        rights=MappingProxyType({**rights, **_rights(document.table("rights"))}),
    )
    instance.end()
    document.end()
    if provider.instance_pattern and re.compile(provider.instance_pattern).groups != 1:
        raise instance.wrong("pattern must have one group")
    if missing := RIGHTS.keys() - provider.rights.keys():
        raise document.wrong(f"rights lacks {', '.join(sorted(missing))}")
    return provider


@cache
def load_providers() -> Mapping[str, Provider]:
    """All providers by name, plain PostgreSQL first.

    Raises:
        ProviderFileError: A file does not say what it should.
    """
    files = {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in resources.files("engine.providers").iterdir()
        if file.name.endswith(".toml")
    }
    plain = parse_provider(SELF_HOSTED, files.pop(SELF_HOSTED))
    others = (parse_provider(name, text, plain.rights) for name, text in sorted(files.items()))
    providers = {SELF_HOSTED: plain} | {provider.name: provider for provider in others}
    for provider in providers.values():
        if unknown := set(provider.signs.over) - providers.keys():
            raise ProviderFileError(f"{provider.name}.toml [signs]: over names unknown {', '.join(unknown)}")
    return MappingProxyType(providers)


def provider_named(name: str) -> Provider:
    """The provider that a person named.

    Raises:
        UsageError: There is none of that name; lists those there are.
    """
    providers = load_providers()
    if name in providers:
        return providers[name]
    raise UsageError(
        Failure(
            title=f"There is no provider {name!r}",
            hint=f"One of {', '.join(providers)}",
            retry=Retry.NEVER,
        )
    )


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name`` is meant by one of the glob patterns, such as those of :class:`LeaveOut`."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
