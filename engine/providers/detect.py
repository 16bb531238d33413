"""Tells from a server's own words and its address whose it is, and says by what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from engine.connection.endpoint import Endpoint
from engine.connection.explain import explain
from engine.connection.session import Session
from engine.providers.load import load_providers, matches_any, provider_named
from engine.providers.provider import SELF_HOSTED, Provider

_TRAITS = """
select pg_catalog.version() as version,
       current_user::text as role,
       r.rolsuper as is_superuser,
       array(select s.name from pg_catalog.pg_settings s order by s.name) as settings,
       array(select o.rolname::text from pg_catalog.pg_roles o order by o.rolname) as roles,
       array(select n.nspname::text from pg_catalog.pg_namespace n order by n.nspname) as schemas,
       array(select e.extname::text from pg_catalog.pg_extension e order by e.extname) as extensions,
       array(select o.rolname::text
               from pg_catalog.pg_roles o
              where pg_catalog.pg_has_role(o.oid, 'member')
              order by o.rolname) as member_of,
       array(select distinct p.proname::text
               from pg_catalog.pg_proc p
              where p.proname = any (%(functions)s)
                and p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace) as functions
  from pg_catalog.pg_roles r
 where r.rolname = current_user
"""

_SHOWN_NAMES = 3
"""Of each kind of sign; RDS alone has twenty settings of its own."""

_NOUNS = {
    "settings": ("setting", "settings"),
    "roles": ("role", "roles"),
    "schemas": ("schema", "schemas"),
    "extensions": ("extension", "extensions"),
    "functions": ("function", "functions"),
}

_CAN_BE_RESTORED = ("roles", "schemas", "extensions")
"""What comes with a dump from one server to another, so that it proves less."""


@dataclass(frozen=True, slots=True)
class ServerTraits:
    """What can be seen of a server without any right."""

    host: str
    """Host name or address, as connected to."""

    version: str
    """What version() says."""

    role: str
    is_superuser: bool
    settings: tuple[str, ...]
    """Names only."""

    roles: tuple[str, ...]
    schemas: tuple[str, ...]
    extensions: tuple[str, ...]
    member_of: tuple[str, ...]
    """Roles whose rights the session's role may use; all of them for a superuser."""

    functions: tuple[str, ...]
    """Of those that are a sign of a provider, the ones in pg_catalog."""


@dataclass(frozen=True, slots=True)
class _TraitsRow:
    version: str
    role: str
    is_superuser: bool
    settings: list[str]
    roles: list[str]
    schemas: list[str]
    extensions: list[str]
    member_of: list[str]
    functions: list[str]


@dataclass(frozen=True, slots=True)
class DetectedProvider:
    """Whose server it is taken for."""

    provider: Provider
    evidence: tuple[str, ...]
    """A clause for each kind of sign; at least one."""

    is_override: bool
    """Whether a person named it."""


def read_traits(session: Session, endpoint: Endpoint) -> ServerTraits:
    """Read what providers are told apart by.

    Raises:
        EngineError: The server could not be read.
    """
    try:
        with session.cursor(row_factory=class_row(_TraitsRow)) as cursor:
            row = cursor.execute(_TRAITS, {"functions": _sign_functions()}).fetchone()
    except psycopg.Error as error:
        raise explain(error, endpoint.side, "looking for signs of a provider") from None
    assert row is not None  # Every session's role is in pg_roles.
    return ServerTraits(
        host=session.info.host,
        version=row.version,
        role=row.role,
        is_superuser=row.is_superuser,
        settings=tuple(row.settings),
        roles=tuple(row.roles),
        schemas=tuple(row.schemas),
        extensions=tuple(row.extensions),
        member_of=tuple(row.member_of),
        functions=tuple(row.functions),
    )


def _sign_functions() -> list[str]:
    return [name for provider in load_providers().values() for name in provider.signs.functions]


def detect_provider(traits: ServerTraits, override: str | None = None) -> DetectedProvider:
    """Decide whose server it is.

    Args:
        traits: What was read.
        override: A provider's name that a person gave, which is taken whatever the signs say.

    Raises:
        UsageError: There is no provider named ``override``.
    """
    if override is not None:
        return DetectedProvider(provider_named(override), ("named by you",), True)
    providers = load_providers()
    found = {name: signs for name, provider in providers.items() if (signs := _signs_of(provider, traits))}
    hidden = {below for name in found for below in _below(name)}
    candidates = [name for name in found if name not in hidden]
    if not candidates:
        return DetectedProvider(providers[SELF_HOSTED], _no_sign(traits), False)
    # The kinds of signs count, not their number: one more role proves little.
    best = max(candidates, key=lambda name: len(found[name]))
    return DetectedProvider(providers[best], tuple(found[best].values()), False)


def _below(name: str) -> Iterable[str]:
    """The providers whose signs the one named ``name`` carries as well, and theirs."""
    for below in load_providers()[name].signs.over:
        yield below
        yield from _below(below)


def _signs_of(provider: Provider, traits: ServerTraits) -> dict[str, str]:
    """What speaks for ``provider``, a clause for each kind."""
    if provider.name == SELF_HOSTED:
        return {}
    signs = provider.signs
    is_theirs = signs.gives_superuser or not traits.is_superuser
    found = {}
    if matches_any(traits.host.lower(), signs.hosts):
        found["hosts"] = f"host {traits.host}"
    for kind, (noun, nouns) in _NOUNS.items():
        if not is_theirs and kind in _CAN_BE_RESTORED:
            continue
        names = [name for name in getattr(traits, kind) if matches_any(name, getattr(signs, kind))]
        if names:
            more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
            found[kind] = f"{noun if len(names) == 1 else nouns} {', '.join(names[:_SHOWN_NAMES])}{more}"
    words = [word for word in signs.words if word in traits.version]
    if words:
        found["words"] = f"version() says {', '.join(words)}"
    if not found.keys() >= set(signs.all_of):
        return {}
    return found


def _no_sign(traits: ServerTraits) -> tuple[str, ...]:
    evidence = ["no sign of a provider"]
    if traits.is_superuser:
        evidence.append(f"role {traits.role} is a superuser")
    built = [word for word in load_providers()[SELF_HOSTED].signs.words if word in traits.version]
    if built:
        evidence.append(f"version() says {', '.join(built)}")
    return tuple(evidence)
