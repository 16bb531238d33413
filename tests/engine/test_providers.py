"""Each provider against a recording of one of its servers: how it is known, and what there is to do there.

A recording holds what the provider's public documentation and its customers show of such a server.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.connection.endpoint import parse_endpoint
from engine.connection.session import open_session
from engine.errors import Side, UsageError
from engine.providers.advice import Advisor
from engine.providers.detect import ServerTraits, detect_provider, read_traits
from engine.providers.load import ProviderFileError, load_providers, matches_any, parse_provider
from engine.providers.provider import NEEDS_RESTART, RIGHTS, SELF_HOSTED
from livesync_tui.provider_document import provider_document
from tests.conftest import Database

_RECORDINGS = sorted((Path(__file__).parent / "providers").glob("*.toml"))
_PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
_WANTED = {"wal_level": "logical"}


@dataclass(frozen=True, slots=True)
class Recording:
    """A server as it was seen, and what is expected of us about it."""

    traits: ServerTraits
    expected: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Recording:
        values = tomllib.loads(path.read_text())
        expected = values.pop("expected")
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(ServerTraits(**{"functions": (), **values, **lists}), expected)

    def advisor(self) -> Advisor:
        provider = detect_provider(self.traits).provider
        return Advisor(
            provider=provider,
            host=self.traits.host,
            role='"me"',
            database="shop",
            is_superuser=self.traits.is_superuser,
            is_admin=self.traits.is_superuser or provider.admin_role in self.traits.member_of,
        )


@pytest.fixture(params=_RECORDINGS, ids=lambda path: path.stem)
def recording(request: pytest.FixtureRequest) -> Recording:
    """Each recorded server."""
    return Recording.read(request.param)


def test_every_provider_is_recorded() -> None:
    recorded = {Recording.read(path).expected["provider"] for path in _RECORDINGS}
    assert recorded == set(load_providers())


def test_a_server_is_known_and_the_evidence_said(recording: Recording) -> None:
    detected = detect_provider(recording.traits)
    assert detected.provider.name == recording.expected["provider"]
    assert list(detected.evidence) == recording.expected["evidence"]
    assert not detected.is_override


def test_fixes_are_those_of_the_provider(recording: Recording) -> None:
    advisor = recording.advisor()
    compared = 0
    for name in (*NEEDS_RESTART, *RIGHTS):
        if name not in recording.expected:
            continue
        fix = advisor.setting(name, _WANTED.get(name, 20)) if name in NEEDS_RESTART else advisor.right(name)
        assert fix.text() == recording.expected[name].lstrip("\n")
        assert fix.applicable <= recording.expected.get("applicable", False)
        compared += 1
    if "applicable" in recording.expected:
        replication = advisor.right("replication")
        assert replication.applicable == (recording.expected["applicable"] and bool(replication.sql))
    if "impossible_source" in recording.expected:
        assert advisor.provider.source.impossible == recording.expected["impossible_source"]
    known = set(NEEDS_RESTART) | set(RIGHTS)
    assert compared == len(known & recording.expected.keys())


def test_nothing_is_left_to_fill_in(recording: Recording) -> None:
    advisor = recording.advisor()
    fixes = [advisor.setting(name, 7) for name in NEEDS_RESTART]
    for name, values in RIGHTS.items():
        fixes.append(advisor.right(name, **{value: f"the {value}" for value in values}))
    for fix in fixes:
        assert fix.text()
        assert "{" not in fix.text().replace('{"', "")
        assert not fix.applicable or fix.sql


def test_only_ones_own_server_takes_alter_system(recording: Recording) -> None:
    advisor = recording.advisor()
    changed_by_sql = [name for name in NEEDS_RESTART if advisor.setting(name, 7).sql]
    assert bool(changed_by_sql) == (advisor.provider.name == SELF_HOSTED)


def test_poolers_are_known_by_their_address(recording: Recording) -> None:
    pooler = detect_provider(recording.traits).provider.pooler
    assert not matches_any(recording.traits.host, pooler.hosts)
    if "pooler" in recording.expected:
        assert matches_any(recording.expected["pooler"], pooler.hosts)
    if "pooler_port" in recording.expected:
        assert recording.expected["pooler_port"] in pooler.ports
    assert 5432 not in pooler.ports


def test_a_providers_own_roles_are_left_out(recording: Recording) -> None:
    provider = detect_provider(recording.traits).provider
    if provider.name not in (SELF_HOSTED, "heroku"):
        whose = (provider, *(load_providers()[name] for name in provider.signs.over))
        patterns = [pattern for one in whose for pattern in one.signs.roles]
        signs = [role for role in recording.traits.roles if matches_any(role, patterns)]
        assert signs
        assert all(matches_any(role, provider.leave_out.roles) for role in signs)
    assert not matches_any("shop_owner", provider.leave_out.roles)
    assert not matches_any("public", provider.leave_out.schemas)


def test_a_person_knows_better(recording: Recording) -> None:
    detected = detect_provider(recording.traits, "azure")
    assert (detected.provider.name, detected.is_override) == ("azure", True)
    with pytest.raises(UsageError, match=r"no provider 'Azure'.*One of self_hosted, aiven"):
        detect_provider(recording.traits, "Azure")


def test_a_real_server_is_read(source_db: Database) -> None:
    source_db.execute("create schema heroku_ext")
    endpoint = parse_endpoint(Side.SOURCE, source_db.conninfo)
    with open_session(endpoint, "test") as session:
        traits = read_traits(session, endpoint)
    assert (traits.host, traits.role, traits.is_superuser) == ("127.0.0.1", "postgres", True)
    assert "heroku_ext" in traits.schemas
    assert "plpgsql" in traits.extensions
    assert {"wal_level", "max_connections"} <= set(traits.settings)
    assert "pg_monitor" in traits.member_of
    assert traits.functions == ()
    assert detect_provider(traits).provider.name == SELF_HOSTED


_GOOD_FILE = """
title = "T"
summary = "S"
storage = "D"
[restart]
words = "R"
[settings.any]
words = "{setting} = {value}"
"""


@pytest.mark.parametrize(
    ("slip", "named"),
    [
        ("", "rights lacks"),
        ("title = 1", "cannot overwrite|Cannot overwrite"),
        ("[settings.wal_lvel]\nwords = 'x'", "unknown setting wal_lvel"),
        ("[rights.replicate]\nsql = ['x']", "unknown right replicate"),
        ("[rights.replication]\nsql = 'x'", "sql must be of type list"),
        ("[rights.replication]\nsql = [1]", "sql must hold only str"),
        ("[rights.replication]\nsql = ['grant x to {rolle}']", "unknown rolle"),
        ("[rights.replication]\nsql = ['grant x to {role']", "expected '}'"),
        ("[rights.replication]\n", "says nothing"),
        ("[signs]\nhost = ['x']", "unknown key host"),
        ("[signs]\nall_of = ['hosts']", "all_of names hosts"),
        ("[pooler]\nports = ['6432']", "ports must hold only int"),
        ("[source]\nimpossible = 'x'", "impossible and instead"),
        ("[[source.traps]]\nfound = 'x'\nwhy = 'y'", "fix is missing"),
        ("[instance]\npattern = 'x'", "one group"),
    ],
)
def test_a_slip_in_a_file_is_an_error(slip: str, named: str) -> None:
    with pytest.raises(ProviderFileError, match=rf"odd\.toml.*({named})"):
        parse_provider("odd", f"{_GOOD_FILE}\n{slip}" if slip != "title = 1" else f"title = 1\n{_GOOD_FILE}")


def test_a_file_needs_its_words() -> None:
    with pytest.raises(ProviderFileError, match=r"odd\.toml: title is missing"):
        parse_provider("odd", _GOOD_FILE.replace('title = "T"', ""))
    rights = load_providers()[SELF_HOSTED].rights
    assert parse_provider("odd", _GOOD_FILE, rights).rights == rights


def test_the_page_of_all_providers_is_up_to_date() -> None:
    hint = "run: python -m livesync_tui.provider_document > docs/providers.md"
    page = provider_document()
    assert _PAGE.read_text(encoding="utf-8") == page, hint
    assert "{" not in page.replace('{"SETTING"', ""), "every name is filled in"
