"""The services behind the screens, as far as they need no server."""

from __future__ import annotations

import operator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Failure, Side
from livesync_tui.services import LivesyncServices

_SOURCE = "postgresql://mover:hunter2@db1.internal:5433/shop?sslpassword=keysecret&sslmode=require"
_TARGET = "postgresql://admin:hunter3@tiger.example/tsdb"


def _services(folder: Path, **given: str) -> LivesyncServices:
    return LivesyncServices(folder=folder / "state", **given)


def _begun(folder: Path) -> LivesyncServices:
    services = _services(folder)
    services.begin()
    services.use_connection(Side.SOURCE, _SOURCE)
    services.use_connection(Side.TARGET, _TARGET)
    failure = services.record(
        replace(
            services.migration,
            source_conninfo=services.conninfo(Side.SOURCE),
            target_conninfo=services.conninfo(Side.TARGET),
        )
    )
    assert failure is None
    return services


def test_no_secret_is_written_down(tmp_path: Path) -> None:
    services = _begun(tmp_path)
    text = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "db1.internal" in text
    for secret in ("hunter2", "hunter3", "keysecret"):
        assert secret not in text
        assert secret not in repr(services.migration)
    assert services.redact("cannot log in with hunter2") == "cannot log in with …"


def test_nothing_is_written_before_there_are_connections(tmp_path: Path) -> None:
    services = _services(tmp_path)
    services.begin()
    assert services.record(services.migration) is None
    assert not list(tmp_path.rglob("*.json"))


def test_a_resumed_migration_takes_its_password_from_the_same_connection_string_only(tmp_path: Path) -> None:
    migration_id = _begun(tmp_path).migration.id
    resumed = _services(tmp_path, source=_SOURCE, target="postgresql://admin:hunter3@elsewhere/tsdb")
    assert resumed.resume(migration_id) is None
    source, target = resumed.endpoint(Side.SOURCE), resumed.endpoint(Side.TARGET)
    assert source is not None
    assert source.has_password
    assert target is not None
    assert not target.has_password
    assert target.host == "tiger.example"
    resumed.give_password(Side.TARGET, "hunter3")
    target = resumed.endpoint(Side.TARGET)
    assert target is not None
    assert target.has_password


def test_a_string_that_cannot_be_read_is_a_failure_that_does_not_repeat_it(tmp_path: Path) -> None:
    failure = _services(tmp_path).use_connection(Side.SOURCE, "postgresql://mover:hunter2@[db1/shop")
    assert isinstance(failure, Failure)
    assert "hunter2" not in failure.sentence()


@pytest.mark.parametrize(
    "method",
    [
        "tables.look",
        "schema.look",
        "run_checks",
        "identity.plan",
        "identity.plan_undo",
        "publication.offers",
        "publication.plan",
        "publication.plan_undo",
        "cleanup.plan",
        "cleanup.run",
        "postsync.plan",
    ],
)
def test_a_server_that_does_not_answer_is_a_failure(tmp_path: Path, method: str) -> None:
    services = _services(tmp_path)
    for side in Side:
        services.use_connection(side, "postgresql://mover:hunter2@127.0.0.1:9/shop?connect_timeout=2")
    outcome = operator.attrgetter(method)(services)()
    failures = [outcome] if isinstance(outcome, Failure) else [finding.found for finding in outcome]
    assert failures
    assert "hunter2" not in repr(outcome)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = _begun(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("livesync_tui.saved.write_private_file", full)
    failure = services.record(services.migration)
    assert failure is not None
    assert "No space left" in failure.sentence()
    assert isinstance(services.write_file("x.txt", "x"), Failure)
