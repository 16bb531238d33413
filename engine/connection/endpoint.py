"""Connection strings: parsed by libpq, stored without their password, never echoed.

A password typed raw into a URI (``postgres://me:p@ss/word@host/db``) is taken as meant: when libpq
refuses the string, or ends the password too early, everything between the first colon of the user part
and the ``@`` before the host is escaped and the string is parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import quote, unquote

import psycopg
from psycopg import conninfo as libpq_conninfo
from psycopg import pq

from engine.connection.fields import FIELD_KEYWORDS, ConnectionFields
from engine.connection.secret import Secret
from engine.connection.summary import EndpointSummary
from engine.errors import Failure, Retry, Side, UsageError

_ASSIGNMENT = re.compile(
    r"^\s*(?:export\s+|set\s+)?[A-Za-z_][A-Za-z0-9_]*=(?=\s*['\"]?postgres(?:ql)?://)", re.I
)
_RAW_URI = re.compile(r"^(postgres(?:ql)?)://([^:/@]*):(.*?)@([^@/?]*(?:/[^@?]*)?(?:\?.*)?)$", re.I | re.S)

_OTHER_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

CONNECT_TIMEOUT_SECONDS = 10
"""Long enough for a slow TLS handshake across continents, short enough to be told soon."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one side is and how to log in; safe to print."""

    side: Side
    parameters: Mapping[str, str]
    """libpq keywords without the secret ones."""

    password: Secret | None
    other_secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Secret keywords beside the password, such as the passphrase of a client key."""

    def conninfo(self) -> str:
        """The keyword form without the password; may be stored, logged and shown."""
        return libpq_conninfo.make_conninfo("", **self.parameters)

    def keywords(self) -> dict[str, str]:
        """All libpq keywords including the secret ones, for connecting only."""
        keywords = dict(self.parameters)
        keywords.update({keyword: secret.reveal() for keyword, secret in self.other_secrets.items()})
        if self.password is not None:
            keywords["password"] = self.password.reveal()
        return keywords

    def environment(self) -> dict[str, str]:
        """What a client program (pg_dump, psql) needs beside :meth:`conninfo`: PGPASSWORD, when known."""
        return {} if self.password is None else {"PGPASSWORD": self.password.reveal()}

    def with_password(self, password: str) -> Endpoint:
        """The same endpoint with another password."""
        return replace(self, password=Secret(password))

    def summary(self) -> EndpointSummary:
        """What may be shown of it; unset parts are named as libpq would fill them.

        Parts that a service file may hold stay empty: the environment counts only where that is silent.
        """
        service = self.parameters.get("service", "")
        given = self.parameters if service else {**_defaults(), **self.parameters}
        get = given.get
        user = get("user", "")
        return EndpointSummary(
            side=self.side,
            host=get("host") or get("hostaddr") or ("" if service else "local socket"),
            port=get("port", ""),
            database=get("dbname") or ("" if service else user),
            user=user,
            sslmode=get("sslmode", ""),
            has_password=self.password is not None,
            service=get("service", ""),
        )


def _defaults() -> dict[str, str]:
    """What libpq takes where a string is silent: ``PGHOST`` and the like, ``PGSERVICE``, its own defaults."""
    return {
        option.keyword.decode(): option.val.decode("utf-8", "replace")
        for option in pq.Conninfo.get_defaults()
        if option.val
    }


def _clean(text: str) -> str:
    """Take a pasted line as it was meant: no shell assignment, quotes or line ends."""
    cleaned = _ASSIGNMENT.sub("", text.strip()).strip()
    if cleaned.startswith(("'", '"')) or "://" in cleaned:
        # Of keywords it may be the end of a password.
        cleaned = cleaned.rstrip(";").strip()
    if len(cleaned) >= 2 and cleaned[0] == cleaned[-1] and cleaned[0] in "'\"":
        cleaned = cleaned[1:-1]
    return cleaned.strip()


def _parse(text: str) -> dict[str, str] | None:
    """libpq's keywords, or None when libpq refuses the string."""
    try:
        parsed = libpq_conninfo.conninfo_to_dict(text)
    except psycopg.Error:
        return None
    return {key: str(value) for key, value in parsed.items() if value is not None}


def _parse_raw_password(text: str) -> dict[str, str] | None:
    """Parse a URI whose password holds characters that a URI would have escaped."""
    match = _RAW_URI.match(text)
    if match is None:
        return None
    scheme, user, password, rest = match.groups()
    return _parse(f"{scheme}://{user}:{quote(unquote(password), safe='')}@{rest}")


def _was_misread(parsed: Mapping[str, str]) -> bool:
    """Whether libpq ended the password of a URI too early, so that its rest is in parts that are shown.

    It ends at the first ``@``; with a ``/`` before that, user and password are taken for host and port.
    """
    return any("@" in parsed.get(part, "") for part in ("host", "dbname"))


def fields_of(side: Side, text: str) -> ConnectionFields:
    """A connection string as fields, the password among them; what has no field of its own is kept too.

    Raises:
        UsageError: The string is empty or cannot be parsed.
    """
    keywords = parse_endpoint(side, text).keywords()
    first = {keyword: keywords.pop(keyword, "") for keyword in FIELD_KEYWORDS}
    return ConnectionFields({**first, **keywords})


def parse_endpoint(side: Side, text: str) -> Endpoint:
    """Parse a connection URI or keyword string, as typed or pasted.

    Args:
        side: Which database it names.
        text: A libpq URI or ``key=value`` string (PostgreSQL 34.1.1), possibly with ``export NAME=`` or
            quotes around it.

    Raises:
        UsageError: The string is empty or cannot be parsed. The message never repeats it: a part that
            libpq could not place may be the password.
    """
    cleaned = _clean(text)
    if not cleaned:
        raise UsageError(
            Failure(
                title=f"No connection string for the {side.value}",
                hint=f"Give --{side.value} or set {side.name} in the environment, "
                "for example postgresql://user@host:5432/database",
                side=side,
                retry=Retry.NEVER,
            )
        )
    parsed = _parse(cleaned)
    if not parsed or _was_misread(parsed):
        parsed = _parse_raw_password(cleaned) or parsed
    if not parsed:
        raise UsageError(
            Failure(
                title=f"The {side.value} connection string cannot be read",
                hint="Write it as postgresql://user:password@host:port/database?sslmode=require "
                "or as host=… port=… dbname=… user=…; it is not repeated here because it may hold a password",
                side=side,
                retry=Retry.NEVER,
            )
        )
    password = parsed.pop("password", None)
    others = {keyword: Secret(parsed.pop(keyword)) for keyword in _OTHER_SECRETS if keyword in parsed}
    return Endpoint(
        side,
        MappingProxyType(parsed),
        Secret(password) if password else None,
        others,
    )
