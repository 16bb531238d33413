"""Makes docs/providers.md of the providers' files.

Run ``python -m livesync_tui.provider_document > docs/providers.md`` after changing one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from engine.providers.load import load_providers
from engine.providers.provider import SELF_HOSTED, Change, Duty, LeaveOut, MigrationRole, Provider, Signs
from livesync_tui import output

_INTRODUCTION = """\
# Providers

<!-- Made by: python -m livesync_tui.provider_document > docs/providers.md -->

Whose server it is decides how a setting is changed and a right is given. `livesync-tui check` finds it out
and says by what; `--provider NAME` overrides it for the source. In the wizard, `p` at the step Checks does so
for either side. Each provider is one file of data, from which this page is made:
`engine/providers/NAME.toml`. They follow the providers' public documentation and are tested against recorded
settings, not against accounts; where a console has changed, its provider's own pages win.

In the commands below, capital words such as `GROUP` stand for names that only you know."""

_SETTINGS_TITLE = "How settings are changed"
_RIGHTS_TITLE = "How rights are given"

_RIGHT_TITLES = {
    "replication": "replicate",
    "ownership": "publish another role's tables",
    "read_tables": "read tables",
    "bypass_row_security": "see all rows in spite of row-level security",
    "create_in_database": "create schemas and publications",
    "replica_role": "set session_replication_role (target)",
    "see_sessions": "see other sessions",
    "extension": "get an extension (target)",
}

_SIGN_TITLES = {
    "hosts": "host name",
    "settings": "settings",
    "roles": "roles",
    "schemas": "schemas",
    "extensions": "extensions",
    "functions": "functions in pg_catalog",
    "words": "version() says",
}


def provider_document() -> str:
    """The page, as Markdown."""
    providers = load_providers()
    overview = ["| name for `--provider` | provider |", "|---|---|"]
    overview += [f"| `{provider.name}` | {provider.title} |" for provider in providers.values()]
    sections = ["\n".join(_section(provider)) for provider in providers.values()]
    return "\n\n".join([_INTRODUCTION, "\n".join(overview), *sections]) + "\n"


def _section(provider: Provider) -> Iterable[str]:
    yield f"## {provider.title}"
    yield ""
    yield provider.summary
    yield ""
    yield f"* **Known by** {_signs(provider.signs)}."
    if provider.admin_role:
        yield f"* **Administrators** are members of `{provider.admin_role}`."
    yield from _pooler(provider)
    yield from _duty("source", provider.source)
    yield from _duty("target", provider.target)
    yield from _migration_role(provider.migration_role)
    yield f"* **Restart**: {_plain(provider, provider.restart.words)}" + (
        f": `{_plain(provider, provider.restart.cli)}`." if provider.restart.cli else "."
    ).replace("..", ".")
    yield f"* **Free disk space**: {provider.storage}."
    yield from _left_out(provider.leave_out)
    yield ""
    yield f"### {_SETTINGS_TITLE}: {provider.title}"
    yield ""
    yield from _changes(provider, _settings(provider))
    yield ""
    yield f"### {_RIGHTS_TITLE}: {provider.title}"
    yield ""
    yield from _changes(provider, _rights(provider))


def _signs(signs: Signs) -> str:
    kinds = [
        f"{title} {_codes(getattr(signs, kind))}"
        for kind, title in _SIGN_TITLES.items()
        if getattr(signs, kind)
    ]
    return (" and " if signs.all_of else "; ").join(kinds)


def _codes(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _pooler(provider: Provider) -> Iterable[str]:
    pooler = provider.pooler
    addresses = [*pooler.hosts, *(f"port {port}" for port in pooler.ports)]
    if addresses:
        yield f"* **Poolers to avoid**: {_codes(addresses)}. {pooler.direct}."
    elif pooler.direct:
        yield f"* **Poolers to avoid**: {pooler.direct}."


def _duty(side: str, duty: Duty) -> Iterable[str]:
    if duty.impossible:
        yield f"* **Impossible as {side}**: {duty.impossible}. {duty.instead}".rstrip(".") + "."
    for trap in duty.traps:
        yield f"* **As {side}**: {trap.found}. {trap.why}. {trap.fix}."


def _migration_role(role: MigrationRole) -> Iterable[str]:
    said = []
    if role.replication_role:
        said.append(f"is given `{role.replication_role}` in place of REPLICATION")
    if role.sees_password:
        said.append("gets its password as it is, because a hashed one is refused")
    if role.superuser_publishes_chunks:
        said.append(
            "becomes a superuser where there is TimescaleDB, to publish chunks that are made on the fly"
        )
    if said:
        yield f"* **The migration's own role** (source) {'; '.join(said)}."
    if role.words:
        yield f"* **The migration's own role** (source): {role.words}."


def _left_out(leave_out: LeaveOut) -> Iterable[str]:
    kinds = {"roles": leave_out.roles, "schemas": leave_out.schemas, "extensions": leave_out.extensions}
    named = [f"{kind} {_codes(names)}" for kind, names in kinds.items() if names]
    if named:
        yield f"* **Left out of a migration**: {'; '.join(named)}."


def _settings(provider: Provider) -> dict[str, Change]:
    """Settings that are changed in the same way share an entry."""
    groups: dict[Change, list[str]] = {}
    for name, change in provider.settings.items():
        groups.setdefault(change, []).append(name)
    return {_codes(names): change for change, names in groups.items()}


def _rights(provider: Provider) -> dict[str, Change]:
    usual = load_providers()[SELF_HOSTED].rights
    return {
        f"To {_RIGHT_TITLES[name]}": change
        for name, change in provider.rights.items()
        if provider.name == SELF_HOSTED or change != usual[name]
    }


def _changes(provider: Provider, changes: dict[str, Change]) -> Iterable[str]:
    for title, change in changes.items():
        parts = [f"`{_plain(provider, statement, change)};`" for statement in change.sql]
        parts += [_plain(provider, change.console, change)] if change.console else []
        parts += [f"`{_plain(provider, change.cli, change)}`"] if change.cli else []
        yield f"* {title}: {' · '.join(parts)}".rstrip(": ") + (":" if not parts else "")
        for words in (change.impossible, change.words):
            if words:
                yield f"  {_plain(provider, words, change)}"
    if not changes:
        yield "As plain PostgreSQL does."


def _plain(provider: Provider, text: str, change: Change | None = None) -> str:
    """A text with words in capitals where a check fills in what it knows."""
    change = change or Change()
    names = ("setting", "role", "database", "owner", "schema", "extension")
    setting = "SETTING"
    return text.format(
        **{name: name.upper() for name in names},
        parameter=change.parameter.format(setting=setting),
        value=change.value.format(wanted="VALUE"),
        instance=provider.instance_name,
    )


if __name__ == "__main__":
    output.text(provider_document(), to=sys.stdout)
