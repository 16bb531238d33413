"""TLS as managed databases ask for it: with a private authority that the connection string names.

The wheel's servers speak none, so Debian's PostgreSQL stands in for both sides. It lets nobody in without
TLS: whatever gets through has used it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import conninfo as libpq_conninfo

from engine.connection.endpoint import Endpoint, parse_endpoint
from engine.connection.probe import probe_server
from engine.connection.session import open_session
from engine.connection.stage import STAGES, Stage, StageDone
from engine.errors import ConnectionFailedError, Failure, Side
from engine.schema.dump import dump_schema
from engine.schema.restore import apply_script
from livesync_tui.demo.servers import EmbeddedServer
from tests.conftest import Database
from tests.debian import give_to_server_account, installed_postgres
from tests.engine.replicating import Migration

_NAME = "db.example"
"""In the server's certificate; nobody looks it up, the address is given beside it."""


@dataclass(frozen=True)
class TlsServer:
    server: EmbeddedServer
    authority: Path
    """Certificate of the authority that signed the server's."""

    stranger: Path
    """Certificate of an authority that did not."""

    def conninfo(self, database: str, **keywords: str) -> str:
        """As the superuser, by the name in the certificate unless said otherwise."""
        by_name = {"host": _NAME, "hostaddr": "127.0.0.1", "sslmode": "verify-full"}
        return libpq_conninfo.make_conninfo(
            self.server.conninfo(database), **{**by_name, "sslrootcert": str(self.authority), **keywords}
        )


def _openssl(*arguments: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed (Debian: apt install openssl)")
    finished = subprocess.run([openssl, *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


_NEW_KEY = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


def _authority(folder: Path, name: str) -> Path:
    """Make an authority; its certificate, with the key beside it."""
    certificate = folder / f"{name}.crt"
    key = str(certificate.with_suffix(".key"))
    _openssl(*_NEW_KEY, "-x509", "-keyout", key, "-out", str(certificate), "-subj", f"/CN={name}")
    return certificate


def _sign(folder: Path, authority: Path, host_name: str) -> None:
    """Make server.key and server.crt for a host name, signed by the authority."""
    request, names = folder / "server.csr", folder / "names"
    names.write_text(f"subjectAltName=DNS:{host_name}\n")
    key, certificate = str(folder / "server.key"), str(folder / "server.crt")
    _openssl(*_NEW_KEY, "-keyout", key, "-out", str(request), "-subj", f"/CN={host_name}")
    signer = ("-CA", str(authority), "-CAkey", str(authority.with_suffix(".key")), "-CAcreateserial")
    _openssl("x509", "-req", "-in", str(request), *signer, "-extfile", str(names), "-out", certificate)


@pytest.fixture(scope="module")
def tls(server_base: Path) -> Iterator[TlsServer]:
    """Debian's PostgreSQL with a certificate of a private authority."""
    major, programs = installed_postgres()
    folder = server_base / "certificates"
    folder.mkdir(mode=0o755)
    authority, stranger = _authority(folder, "authority"), _authority(folder, "stranger")
    _sign(folder, authority, _NAME)
    give_to_server_account(folder / "server.key")
    server = EmbeddedServer.create(
        major,
        server_base / "tls",
        bin_directory=programs,
        settings={
            "ssl": "on",
            "ssl_cert_file": str(folder / "server.crt"),
            "ssl_key_file": str(folder / "server.key"),
        },
    )
    (server.directory / "data" / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    server.start()
    yield TlsServer(server, authority, stranger)
    server.stop("immediate")


@pytest.fixture
def tls_databases(tls: TlsServer) -> Iterator[tuple[Database, Database]]:
    """Two databases of the server."""
    databases = Database(tls.server, "tls_from"), Database(tls.server, "tls_into")
    for database in databases:
        database.create()
    yield databases
    for database in databases:
        database.drop()


def source(conninfo: str) -> Endpoint:
    return parse_endpoint(Side.SOURCE, conninfo)


def refusal(conninfo: str) -> tuple[Failure, list[Stage]]:
    """What is said of a connection that fails, and the stages that were passed before."""
    passed: list[StageDone] = []
    with pytest.raises(ConnectionFailedError) as watched:
        probe_server(source(conninfo), passed.append)
    # A session says the same, whoever opens it.
    with pytest.raises(ConnectionFailedError) as opened:
        open_session(source(conninfo), "test")
    assert watched.value.failure.title == opened.value.failure.title
    return watched.value.failure, [done.stage for done in passed]


@pytest.mark.parametrize(
    ("sslmode", "verified"),
    [
        # libpq verifies with `require` too once it has been given an authority.
        ("require", "authority verified"),
        ("verify-ca", "authority verified"),
        ("verify-full", "name verified"),
    ],
)
def test_the_right_authority_is_accepted(tls: TlsServer, sslmode: str, verified: str) -> None:
    passed: list[StageDone] = []
    found = probe_server(source(tls.conninfo("postgres", sslmode=sslmode)), passed.append)
    assert found.uses_tls
    assert found.tls_version == "TLSv1.3"
    assert tuple(done.stage for done in passed) == STAGES
    said = {done.stage: done.found for done in passed}
    assert (said[Stage.DNS], said[Stage.TLS], said[Stage.LOGIN]) == (
        "127.0.0.1",
        verified,
        "password as given",
    )


@pytest.mark.parametrize("keywords", [{"sslmode": "require"}, {"sslmode": "prefer"}, {}])
def test_without_an_authority_nothing_is_verified_and_that_is_said(
    tls: TlsServer, keywords: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    passed: list[StageDone] = []
    address = libpq_conninfo.make_conninfo(tls.server.conninfo(), **keywords)
    assert probe_server(source(address), passed.append).uses_tls
    assert next(done.found for done in passed if done.stage is Stage.TLS) == "not verified"


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_a_wrong_authority_is_refused_before_the_password_is_sent(tls: TlsServer, sslmode: str) -> None:
    conninfo = tls.conninfo("postgres", sslmode=sslmode, sslrootcert=str(tls.stranger))
    failure, passed = refusal(conninfo)
    assert failure.title == "The certificate of the source cannot be verified"
    assert "certificate verify failed" in failure.detail
    assert "sslrootcert=FILE" in failure.hint
    assert passed == [Stage.DNS, Stage.TCP]
    assert libpq_conninfo.conninfo_to_dict(conninfo)["password"] not in failure.sentence()


def test_a_wrong_host_name_is_refused_only_where_it_is_verified(tls: TlsServer) -> None:
    failure, passed = refusal(tls.conninfo("postgres", host="elsewhere.example"))
    assert failure.title == "The certificate of the source is for another host name"
    assert f'server certificate for "{_NAME}" does not match host name "elsewhere.example"' in failure.detail
    assert "name that is in the certificate" in failure.hint
    assert passed == [Stage.DNS, Stage.TCP]
    probe_server(source(tls.conninfo("postgres", host="elsewhere.example", sslmode="verify-ca")))


def test_an_authority_s_file_that_is_missing_or_no_certificate_is_said(
    tls: TlsServer, tmp_path: Path
) -> None:
    failure, _ = refusal(tls.conninfo("postgres", sslrootcert=str(tmp_path / "missing.crt")))
    assert failure.title == "The certificate of the source's authority is not where it was said to be"
    assert "missing.crt" in failure.detail
    (tmp_path / "text.crt").write_text("no certificate")
    failure, _ = refusal(tls.conninfo("postgres", sslrootcert=str(tmp_path / "text.crt")))
    assert failure.title == "The certificate of the source's authority cannot be read"


def test_a_server_that_insists_on_tls_says_so_to_who_comes_without(tls: TlsServer) -> None:
    failure, passed = refusal(tls.conninfo("postgres", sslmode="disable"))
    assert failure.title == "The source does not let this host in without TLS"
    assert "no encryption" in failure.detail
    assert "sslmode=require" in failure.hint
    assert passed == [Stage.DNS, Stage.TCP, Stage.TLS]


@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
def test_a_server_without_tls_is_refused_where_it_is_asked_for(source_db: Database, sslmode: str) -> None:
    failure, passed = refusal(
        libpq_conninfo.make_conninfo(source_db.conninfo, sslmode=sslmode, sslrootcert="system")
        if sslmode == "verify-full"
        else libpq_conninfo.make_conninfo(source_db.conninfo, sslmode=sslmode)
    )
    assert failure.title == "The source does not speak TLS"
    assert passed == [Stage.DNS, Stage.TCP]


def test_schema_copy_and_replication_go_over_tls(
    tls: TlsServer, tls_databases: tuple[Database, Database]
) -> None:
    one, other = tls_databases
    one.execute("create table items (id int primary key, name text)")
    one.execute("insert into items select n, 'item ' || n from generate_series(1, 5000) n")
    one.execute("create publication pub for table items")
    from_conninfo, into_conninfo = tls.conninfo(one.name), tls.conninfo(other.name)
    from_endpoint = source(from_conninfo)
    into_endpoint = parse_endpoint(Side.TARGET, into_conninfo)
    script = dump_schema(from_endpoint, tls.server.major * 10000)
    assert apply_script(into_endpoint, script.text).applied
    migration = Migration(one, other, source_conninfo=from_conninfo, target_conninfo=into_conninfo)
    with migration:
        migration.wait_ready()
        one.execute("update items set name = repeat('x', 100000) where id <= 20")
        one.execute("delete from items where id > 4000")
        migration.wait_applied()
        sessions = one.query(
            "select distinct a.backend_type, s.ssl, s.version from pg_stat_activity a"
            " join pg_stat_ssl s using (pid) where a.application_name like 'livesync-tui%'"
        )
        migration.assert_equal("items")
    assert ("walsender", True, "TLSv1.3") in sessions
    assert ("client backend", True, "TLSv1.3") in sessions
    assert all(uses_tls for _, uses_tls, _ in sessions)
