"""
Nomad over HTTPS: the CA, the server name, and the client certificate.
"""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import ServiceList, ServiceQuery
from supervisor.nomad.errors import NomadError
from tests.support.certificates import Authority
from tests.support.fake_nomad import FakeNomad
from tests.support.listening import Listener
from tests.support.nomad_faults import body_drip, status
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

NAME = "server.global.nomad"


@dataclass
class Secured:
    """
    A Nomad with TLS; `context` is read for each connection.
    """

    nomad: FakeNomad
    authority: Authority
    context: ssl.SSLContext
    folder: Path

    def settings(self, *, client: Authority | None = None, **more: str) -> dict[str, str]:
        """
        Return the settings of the program, with a client certificate of the given authority.
        """
        settings = {
            "HEALTH_CHECK": "off",
            "NOMAD_ADDR": self.nomad.address,
            "NOMAD_CACERT": str(self.authority.file),
            "NOMAD_TLS_SERVER_NAME": NAME,
        }
        if client is not None:
            certificate, key = self.folder / "client.pem", self.folder / "client-key.pem"
            client.client(certificate, key)
            settings |= {"NOMAD_CLIENT_CERT": str(certificate), "NOMAD_CLIENT_KEY": str(key)}
        return {name: value for name, value in {**settings, **more}.items() if value}


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """
    A Nomad with a certificate for its server name only, like those of Nomad's own tool.
    """
    authority = Authority(tmp_path / "nomad", "Nomad's")
    made = authority.server(NAME)
    with FakeNomad(tls=lambda: found.context) as nomad:
        nomad.set("web", [("127.0.0.1", 1)])
        found = Secured(nomad, authority, made, tmp_path)
        yield found


def query_once(environ: dict[str, str], index: int = 0, wait: float = 30.0) -> ServiceList:
    """
    Query once, as a source does.
    """
    client = client_of(environ)
    try:
        return client.list_instances("web", index, wait)
    finally:
        client.close()


def client_of(environ: dict[str, str]) -> ServiceQuery:
    """
    Return a client with this environment.
    """
    settings = load.read({"SERVICE_NAME": "web", **environ}, lambda _: True)
    return ServiceQuery(settings, lambda _: None)


def failure_reason(environ: dict[str, str]) -> str:
    """
    Return the reason why a query fails.
    """
    with pytest.raises(NomadError) as error:
        query_once(environ)
    return error.value.reason


def test_endpoints_are_followed_over_mutual_tls(
    supervise: Supervise, secured: Secured, replicas: Replicas
) -> None:
    """
    With a CA, a server name and a client certificate the program follows a Nomad that requires one,
    at an address that the server's certificate does not contain; no query fails.
    """
    one, two = replicas("one", "two")
    clients = Authority(secured.folder / "clients", "Clients'")
    secured.context = secured.authority.server(NAME, clients=clients)
    subject = supervise(
        nomad=secured.nomad, pid1=False, LOG_LEVEL="debug", **secured.settings(client=clients)
    )
    subject.offer(one)
    assert "one" == subject.ready(status=200).text
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert [] == subject.log_lines("discovery.failed")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_missing_client_certificate_is_reported(
    secured: Secured, version: ssl.TLSVersion
) -> None:
    """
    If Nomad requires a certificate and gets none, the reason names both settings.
    """
    secured.context = secured.authority.server(NAME, clients=secured.authority)
    secured.context.minimum_version = secured.context.maximum_version = version
    for _ in range(10):  # the alert races with the end of the connection
        reason = failure_reason(secured.settings())
        assert "requires a client certificate" in reason
        assert "set NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY" in reason
    assert [] == secured.nomad.requests


def test_a_client_certificate_of_another_ca_is_reported(secured: Secured) -> None:
    """
    The reason names the setting of a certificate that Nomad rejected, or may have rejected if its
    alert was lost.
    """
    secured.context = secured.authority.server(NAME, clients=secured.authority)
    stranger = Authority(secured.folder / "stranger", "Stranger's")

    assert "rejected the certificate in NOMAD_CLIENT_CERT" in failure_reason(
        secured.settings(client=stranger)
    )


def test_an_unknown_ca_is_reported(secured: Secured) -> None:
    """
    No request, and so no token, is sent to a server whose certificate is not trusted.
    """
    stranger = Authority(secured.folder / "stranger", "Stranger's")
    for file in ("", str(stranger.file)):
        reason = failure_reason(secured.settings(NOMAD_CACERT=file, NOMAD_TOKEN="secret"))
        assert reason.startswith(
            "Nomad's certificate is signed by an unknown CA; set NOMAD_CACERT ("
        )
    assert [] == secured.nomad.requests


def test_a_certificate_for_another_name_is_reported(secured: Secured) -> None:
    """
    No request is sent to a server whose certificate is for another name.
    """
    for name, expected in (("", "127.0.0.1"), ("client.global.nomad", "client.global.nomad")):
        reason = failure_reason(secured.settings(NOMAD_TLS_SERVER_NAME=name))
        assert (
            f"Nomad's certificate is not valid for {expected}; set NOMAD_TLS_SERVER_NAME" in reason
        )
    assert [] == secured.nomad.requests


def test_the_server_name_is_sent(secured: Secured) -> None:
    """
    NOMAD_TLS_SERVER_NAME is sent as SNI, by which a proxy can select the server.
    """
    names: list[str | None] = []
    secured.context.sni_callback = lambda _connection, name, _context: names.append(name)

    query_once(secured.settings())

    assert [NAME] == names


def test_an_address_in_the_certificate_needs_no_name(secured: Secured) -> None:
    """
    If the certificate contains the address, only the CA has to be set.
    """
    secured.context = secured.authority.server("127.0.0.1")

    assert 1 == len(query_once(secured.settings(NOMAD_TLS_SERVER_NAME="")).rows)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to hash a folder with")
def test_a_hashed_folder_of_cas_is_supported(secured: Secured) -> None:
    """
    NOMAD_CAPATH is a folder prepared by `openssl rehash`.
    """
    folder = secured.authority.file.parent
    subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)

    assert query_once(secured.settings(NOMAD_CACERT="", NOMAD_CAPATH=str(folder))).rows


def test_verification_can_be_skipped(secured: Secured) -> None:
    """
    NOMAD_SKIP_VERIFY accepts any certificate for any name.
    """
    settings = secured.settings(NOMAD_CACERT="", NOMAD_TLS_SERVER_NAME="", NOMAD_SKIP_VERIFY="true")

    assert query_once(settings).rows


def test_the_wrong_scheme_is_reported(secured: Secured, nomad: FakeNomad) -> None:
    """
    For https:// without TLS, and http:// with TLS, the reason names the setting to change.
    """
    plain = Listener(
        ("127.0.0.1", 0), lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    )
    plain.open()
    reason = failure_reason(secured.settings(NOMAD_ADDR=address_of(plain)))
    plain.close()
    assert "Nomad does not use TLS: set NOMAD_ADDR to an http:// address" == reason

    nomad.fault(status(400, "Client sent an HTTP request to an HTTPS server.\n"))
    reason = failure_reason(secured.settings(NOMAD_ADDR=nomad.address))
    assert "Nomad requires TLS (400): set NOMAD_ADDR to an https:// address" == reason


@pytest.mark.parametrize("variable", ["NOMAD_CACERT", "NOMAD_CLIENT_CERT"])
def test_a_file_that_cannot_be_read_is_named(secured: Secured, variable: str) -> None:
    """
    For a missing file, or one without a certificate, the reason names the setting and the path.
    """
    secured.context = secured.authority.server(NAME, clients=secured.authority)
    environ = secured.settings(client=secured.authority)
    path = Path(environ[variable])
    path.write_text("nonsense")
    assert f"cannot use {variable}" in failure_reason(environ)
    path.unlink()
    reason = failure_reason(environ)
    assert f"cannot use {variable}" in reason
    assert "No such file" in reason


def test_renewed_certificates_are_used_by_the_next_connection(
    supervise: Supervise, secured: Secured, replicas: Replicas
) -> None:
    """
    After every certificate was replaced, on the server and in the program's files, queries succeed
    again without a restart; until then the last endpoints serve, and the reason is logged.
    """
    one, two = replicas("one", "two")
    old = Authority(secured.folder / "old", "Old")
    secured.context = secured.authority.server(NAME, clients=old)
    settings = secured.settings(client=old)
    subject = supervise(nomad=secured.nomad, pid1=False, LOG_LEVEL="debug", **settings)
    subject.offer(one)
    assert "one" == subject.ready(status=200).text

    new = Authority(secured.folder / "new", "New")
    secured.context = new.server(NAME, clients=new)
    secured.nomad.stop()
    secured.nomad.start()
    subject.offer(two)
    eventually(lambda: "unknown CA" in subject.log_lines("discovery.failed")[-1]["reason"])
    secured.authority.file.write_bytes(new.file.read_bytes())
    eventually(lambda: "rejected" in subject.log_lines("discovery.failed")[-1]["reason"])
    assert "one" == subject.get().text
    new.client(Path(settings["NOMAD_CLIENT_CERT"]), Path(settings["NOMAD_CLIENT_KEY"]))
    eventually(lambda: "two" == subject.get().text, 6)


@pytest.fixture
def dripping() -> Iterator[Listener]:
    """
    A server that sends its TLS handshake a byte at a time and never completes it.
    """
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # 16 KiB to come
        while not done.wait(0.1):
            connection.sendall(b"\x03")

    server = Listener(("127.0.0.1", 0), drip)
    server.open()
    yield server
    done.set()
    server.close()


def test_a_slow_handshake_times_out(secured: Secured, dripping: Listener) -> None:
    """
    The handshake is aborted after 3 s, even while it makes progress.
    """
    started_at = time.monotonic()
    reason = failure_reason(secured.settings(NOMAD_ADDR=address_of(dripping)))

    assert "the TLS handshake timed out" == reason
    assert 2.9 < time.monotonic() - started_at < 8


@pytest.mark.parametrize("when", ["handshake", "waiting", "body"])
def test_a_query_can_be_cancelled_at_any_time(
    secured: Secured, dripping: Listener, when: str
) -> None:
    """
    A cancelled query ends at once: during the handshake, while it is blocked, and during a slow
    response.
    """
    environ, nomad = secured.settings(), secured.nomad
    if when == "handshake":
        environ["NOMAD_ADDR"] = address_of(dripping)
    if when == "body":
        nomad.fault(body_drip(0.05))
    reasons: list[str] = []
    client = client_of(environ)

    def query() -> None:
        try:
            client.list_instances("web", nomad.index if when == "waiting" else 0, 30.0)
        except NomadError as error:
            reasons.append(error.reason)

    thread = threading.Thread(target=query, daemon=True)
    thread.start()
    if when == "handshake":
        eventually(lambda: dripping.connections)
    else:
        eventually(lambda: nomad.blocked if when == "waiting" else nomad.requests)
    time.sleep(0.2)  # until it is in the middle of it
    assert thread.is_alive()
    client.cancel()
    thread.join(1)
    assert 1 == len(reasons)
    client.close()


def address_of(server: Listener) -> str:
    """
    Return a server's address for NOMAD_ADDR.
    """
    return f"https://127.0.0.1:{server.address[1]}"  # type: ignore[index]
