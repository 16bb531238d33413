"""Turns what libpq and PostgreSQL say into a :class:`~engine.errors.Failure` with the next step."""

from __future__ import annotations

import re

import psycopg

from engine.errors import (
    BlockedError,
    ConnectionFailedError,
    EngineError,
    Failure,
    Retry,
    Side,
)

_BY_SQLSTATE: dict[str, tuple[str, str, Retry]] = {
    "28P01": ("The {side} refused the password", "Check user and password of the {side}", Retry.MANUAL),
    "28000": (
        "The {side} refused the login",
        "Check the user, and that pg_hba.conf (or the provider's allow list) lets this host in",
        Retry.MANUAL,
    ),
    "3D000": ("The database does not exist on the {side}", "Check the database name", Retry.MANUAL),
    "42501": (
        "The {side} refused for lack of a right",
        "Grant the right named above to the role",
        Retry.MANUAL,
    ),
    "53300": (
        "The {side} has no free connection",
        "Close idle sessions or raise max_connections (or max_wal_senders for replication)",
        Retry.TIMED,
    ),
    "57P01": ("The {side} ended our session", "Nothing to do if it was a restart", Retry.TIMED),
    "57P02": ("The {side} crashed and is recovering", "Nothing to do; it comes back by itself", Retry.TIMED),
    "57P03": ("The {side} is not accepting connections now", "Nothing to do while it starts up", Retry.TIMED),
    "53100": ("The disk of the {side} is full", "Free space on the {side}", Retry.TIMED),
    "53400": (
        "The {side} has reached a limit of its configuration",
        "Drop replication slots that nothing uses or raise the limit named above",
        Retry.TIMED,
    ),
    "25006": (
        "The {side} is read-only",
        "Check that it is the primary and that default_transaction_read_only is off",
        Retry.TIMED,
    ),
}

_PASSING = ("40", "53", "57", "58", "55P03", "55006")
"""SQLSTATEs that another try may not meet: deadlock, no memory, cancelled, I/O error, locked, in use."""

_UNKNOWN_HOST = (
    "The host name of the {side} is unknown",
    "Check the host part of the {side} connection string",
)
_MAY_NOT_REPLICATE = (
    "The role may not replicate from the {side}",
    "Give it the right: alter role … with replication",
)
_NO_ANSWER = ("The {side} does not answer", "Check host, port and firewall between here and there")

_NO_ROOM = _BY_SQLSTATE["53300"][:2]
_NO_TLS_NO_ENTRY = (
    "The {side} does not let this host in without TLS",
    "Use sslmode=require, or add this host to pg_hba.conf or to the provider's allow list",
)
_BAD_VALUE = (
    "The connection string of the {side} has a value that cannot be",
    "Correct the value that the message names",
)

_BY_TEXT: dict[str, tuple[str, str]] = {
    # A server without room for its WAL ends with these words.
    "no space left on device": ("The disk of the {side} is full", "Free space on the {side}"),
    # Said at the login, which libpq tells without its SQLSTATE.
    'fatal: database "': (
        "The {side} has no such database, or lets nobody into it",
        "Check the database name",
    ),
    'fatal: role "': ("The {side} refused the login", "Check the user of the {side}"),
    "too many clients": _NO_ROOM,
    "too many connections": _NO_ROOM,
    "remaining connection slots": _NO_ROOM,
    "the database system is": (
        "The {side} is not accepting connections now",
        "Nothing to do while it starts up",
    ),
    "definition of service": (
        "The service of the {side} is not in the service file",
        "Check its name, and ~/.pg_service.conf or the file that PGSERVICEFILE names",
    ),
    "service file": (
        "The service file for the {side} cannot be read",
        "Check the file that PGSERVICEFILE names, or ~/.pg_service.conf",
    ),
    "invalid integer value": _BAD_VALUE,
    "invalid port number": _BAD_VALUE,
    "invalid sslmode value": _BAD_VALUE,
    # A server that takes logins over TLS only says so in its pg_hba.conf's terms.
    "no encryption": _NO_TLS_NO_ENTRY,
    # The same before version 14.
    "ssl off": _NO_TLS_NO_ENTRY,
    "no pg_hba.conf entry": (
        "The {side} does not let this host in",
        "Add this host to pg_hba.conf or to the provider's allow list",
    ),
    "could not translate host name": _UNKNOWN_HOST,
    "name or service not known": _UNKNOWN_HOST,
    "failed to resolve host": _UNKNOWN_HOST,
    "connection refused": (
        "Nothing answers at the address of the {side}",
        "Check host and port, and that the server runs and listens there",
    ),
    "timeout expired": _NO_ANSWER,
    "timed out": _NO_ANSWER,
    "no password supplied": (
        "The {side} asks for a password and none is known",
        "Put it into the connection string, PGPASSWORD or ~/.pgpass",
    ),
    "password authentication failed": (
        "The {side} refused the password",
        "Check user and password of the {side}",
    ),
    "permission denied to start wal sender": _MAY_NOT_REPLICATE,
    "must be superuser or replication role to start walsender": _MAY_NOT_REPLICATE,
    "does not support ssl": (
        "The {side} does not speak TLS",
        "Use sslmode=disable only where the network is trusted",
    ),
    "certificate verify failed": (
        "The certificate of the {side} cannot be verified",
        "Give sslrootcert=FILE with the certificate of the authority that signed the server's, or "
        "sslrootcert=system when that is a public one",
    ),
    # A system without a store of public authorities says it like this.
    "unable to get local issuer certificate": (
        "The certificate of the {side} cannot be verified",
        "Give sslrootcert=FILE with the certificate of the authority that signed the server's",
    ),
    "does not match host name": (
        "The certificate of the {side} is for another host name",
        "Connect with a name that is in the certificate; the message above has one",
    ),
    "could not read root certificate": (
        "The certificate of the {side}'s authority cannot be read",
        "sslrootcert=FILE must name a file with certificates in PEM",
    ),
    "root certificate file": (
        "The certificate of the {side}'s authority is not where it was said to be",
        "Correct sslrootcert=FILE, or use sslrootcert=system when the authority is a public one",
    ),
}
"""libpq's own errors carry no SQLSTATE; these fragments of its English messages tell them apart."""


_CONTEXT = re.compile(r"^CONTEXT:.*?(?=^server closed the connection|\Z)", re.M | re.S)
"""In libpq's own text, which repeats the last words of a server that crashed: in a COPY that is a row."""


def message_of(error: psycopg.Error) -> str:
    """PostgreSQL's or libpq's message verbatim, with DETAIL and without CONTEXT, on one line."""
    primary = error.diag.message_primary
    if primary:
        detail = error.diag.message_detail
        return f"{primary} ({detail})" if detail else primary
    return " ".join(_CONTEXT.sub("", str(error)).split())


def explain(error: psycopg.Error, side: Side, doing: str) -> EngineError:
    """Make the error to raise in place of ``error`` (raise it ``from None``).

    Args:
        error: What psycopg raised.
        side: Where it happened.
        doing: What was being done, as a noun phrase: ``reading the table list``.
    """
    detail = message_of(error)
    sqlstate = error.sqlstate
    where = side.value
    title, hint, retry = f"The {where} failed while {doing}", "", Retry.MANUAL
    if sqlstate in _BY_SQLSTATE:
        title, hint, retry = _BY_SQLSTATE[sqlstate]
    else:
        lowered = detail.lower()
        known = next((text for fragment, text in _BY_TEXT.items() if fragment in lowered), None)
        if known is not None:
            (title, hint), retry = known, Retry.TIMED
        elif is_connection_loss(error):
            title = f"The connection to the {where} was lost while {doing}"
            hint, retry = "Nothing to do if the server or the network comes back", Retry.TIMED
        elif (sqlstate or "").startswith(_PASSING):
            hint, retry = "Nothing to do if it does not come again", Retry.TIMED
    failure = Failure(title.format(side=where), detail, hint.format(side=where), sqlstate, side, retry)
    if (
        is_connection_loss(error)
        or (sqlstate or "").startswith(("08", "28", "57P", "533"))
        or sqlstate == "3D000"
    ):
        return ConnectionFailedError(failure)
    return EngineError(failure) if sqlstate != "42501" else BlockedError(failure)


def is_connection_loss(error: psycopg.Error) -> bool:
    """Whether the session is gone rather than a statement refused."""
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return True
    return (error.sqlstate or "").startswith(("08", "57P"))
