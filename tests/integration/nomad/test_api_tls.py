"""
Nomad over HTTPS: whom the program trusts, under which name, and who it says it is.
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
    A Nomad that speaks TLS as `context` says, for each connection anew.
    """

    nomad: FakeNomad
    authority: Authority
    context: ssl.SSLContext
    folder: Path

    def settings(self, *, client: Authority | None = None, **more: str) -> dict[str, str]:
        """
        Return what the program is told to reach it, with a certificate of a client's authority.
        """
        told = {
            "HEALTH_CHECK": "off",
            "NOMAD_ADDR": self.nomad.address,
            "NOMAD_CACERT": str(self.authority.file),
            "NOMAD_TLS_SERVER_NAME": NAME,
        }
        if client is not None:
            certificate, key = self.folder / "client.pem", self.folder / "client-key.pem"
            client.client(certificate, key)
            told |= {"NOMAD_CLIENT_CERT": str(certificate), "NOMAD_CLIENT_KEY": str(key)}
        return {name: value for name, value in {**told, **more}.items() if value}


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """
    A Nomad with a certificate for its server name only, as Nomad's own tool makes them.
    """
    authority = Authority(tmp_path / "nomad", "Nomad's")
    made = authority.server(NAME)
    with FakeNomad(tls=lambda: found.context) as nomad:
        nomad.set("web", [("127.0.0.1", 1)])
        found = Secured(nomad, authority, made, tmp_path)
        yield found


def asked(environ: dict[str, str], index: int = 0, wait: float = 30.0) -> ServiceList:
    """
    Ask once, as a source does.
    """
    client = client_of(environ)
    try:
        return client.list_instances("web", index, wait)
    finally:
        client.close()


def client_of(environ: dict[str, str]) -> ServiceQuery:
    """
    Return a client that is told this by its environment.
    """
    read = load.read({"SERVICE_NAME": "web", **environ}, lambda _: True)
    return ServiceQuery(read, lambda _: None)


def reason(environ: dict[str, str]) -> str:
    """
    Return why a question is not answered.
    """
    with pytest.raises(NomadError) as trouble:
        asked(environ)
    return trouble.value.reason


def test_endpoints_are_followed_over_mutual_tls(
    supervise: Supervise, secured: Secured, replicas: Replicas
) -> None:
    """
    With the authority, the server's name and a certificate of its own the program follows a Nomad
    that wants one, at an address that its certificate does not name; one connection is enough.
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
def test_a_missing_client_certificate_is_told(secured: Secured, version: ssl.TLSVersion) -> None:
    """
    A Nomad that wants a certificate and gets none leads to one line which names both settings.
    """
    secured.context = secured.authority.server(NAME, clients=secured.authority)
    secured.context.minimum_version = secured.context.maximum_version = version
    for _ in range(10):  # the alert races with the end of the connection
        told = reason(secured.settings())
        assert "wants a certificate" in told
        assert "set NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY" in told
    assert [] == secured.nomad.requests


def test_a_client_certificate_of_another_authority_is_told(secured: Secured) -> None:
    """
    A certificate that Nomad does not trust is named by its setting, for certain or, where what
    Nomad said was lost, as what may be wrong.
    """
    secured.context = secured.authority.server(NAME, clients=secured.authority)
    stranger = Authority(secured.folder / "stranger", "Stranger's")

    assert "refuses the certificate of NOMAD_CLIENT_CERT" in reason(
        secured.settings(client=stranger)
    )


def test_an_unknown_authority_is_told(secured: Secured) -> None:
    """
    A certificate of nobody that is trusted gets no question, least of all a token.
    """
    stranger = Authority(secured.folder / "stranger", "Stranger's")
    for file in ("", str(stranger.file)):
        told = reason(secured.settings(NOMAD_CACERT=file, NOMAD_TOKEN="secret"))
        assert told.startswith("Nomad's certificate is of no authority that we trust: NOMAD_CACERT")
    assert [] == secured.nomad.requests


def test_another_name_is_told(secured: Secured) -> None:
    """
    A certificate for another name than the one that is asked for gets no question.
    """
    for name, meant in (("", "127.0.0.1"), ("client.global.nomad", "client.global.nomad")):
        told = reason(secured.settings(NOMAD_TLS_SERVER_NAME=name))
        assert f"Nomad's certificate is not for {meant}: NOMAD_TLS_SERVER_NAME" in told
    assert [] == secured.nomad.requests


def test_the_server_name_is_sent(secured: Secured) -> None:
    """
    The name that is set goes out with the first words of TLS, where a proxy tells servers apart.
    """
    names: list[str | None] = []
    secured.context.sni_callback = lambda _line, name, _context: names.append(name)

    asked(secured.settings())

    assert [NAME] == names


def test_an_address_in_the_certificate_needs_no_name(secured: Secured) -> None:
    """
    Where the certificate names the address, nothing but the authority has to be set.
    """
    secured.context = secured.authority.server("127.0.0.1")

    assert 1 == len(asked(secured.settings(NOMAD_TLS_SERVER_NAME="")).rows)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to hash a folder with")
def test_a_hashed_folder_of_authorities_will_do(secured: Secured) -> None:
    """
    NOMAD_CAPATH names a folder as `openssl rehash` leaves it.
    """
    folder = secured.authority.file.parent
    subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)

    assert asked(secured.settings(NOMAD_CACERT="", NOMAD_CAPATH=str(folder))).rows


def test_verification_can_be_skipped(secured: Secured) -> None:
    """
    NOMAD_SKIP_VERIFY believes any certificate under any name.
    """
    skipping = secured.settings(NOMAD_CACERT="", NOMAD_TLS_SERVER_NAME="", NOMAD_SKIP_VERIFY="true")

    assert asked(skipping).rows


def test_the_wrong_scheme_is_told(secured: Secured, nomad: FakeNomad) -> None:
    """
    https:// to a Nomad without TLS, and http:// to one with it, name what to change.
    """
    plain = Listener(
        ("127.0.0.1", 0), lambda line: line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    )
    plain.open()
    told = reason(secured.settings(NOMAD_ADDR=at(plain)))
    plain.close()
    assert "Nomad does not speak TLS: NOMAD_ADDR has to be http://" == told

    nomad.fault(status(400, "Client sent an HTTP request to an HTTPS server.\n"))
    told = reason(secured.settings(NOMAD_ADDR=nomad.address))
    assert "Nomad speaks TLS (400): NOMAD_ADDR has to be https://" == told


@pytest.mark.parametrize("variable", ["NOMAD_CACERT", "NOMAD_CLIENT_CERT"])
def test_a_file_that_cannot_be_read_is_named(secured: Secured, variable: str) -> None:
    """
    A file that went, or holds no certificate, is told by its setting and path.
    """
    secured.context = secured.authority.server(NAME, clients=secured.authority)
    environ = secured.settings(client=secured.authority)
    path = Path(environ[variable])
    path.write_text("nonsense")
    assert f"cannot use {variable}" in reason(environ)
    path.unlink()
    told = reason(environ)
    assert f"cannot use {variable}" in told
    assert "No such file" in told


def test_renewed_certificates_are_used_by_the_next_connection(
    supervise: Supervise, secured: Secured, replicas: Replicas
) -> None:
    """
    When every certificate was replaced, on the server and in our files, the program follows again
    without a restart; until then the last endpoints serve on, and the reason is told.
    """
    one, two = replicas("one", "two")
    old = Authority(secured.folder / "old", "Old")
    secured.context = secured.authority.server(NAME, clients=old)
    told = secured.settings(client=old)
    subject = supervise(nomad=secured.nomad, pid1=False, LOG_LEVEL="debug", **told)
    subject.offer(one)
    assert "one" == subject.ready(status=200).text

    new = Authority(secured.folder / "new", "New")
    secured.context = new.server(NAME, clients=new)
    secured.nomad.stop()
    secured.nomad.start()
    subject.offer(two)
    eventually(lambda: "no authority" in subject.log_lines("discovery.failed")[-1]["reason"])
    secured.authority.file.write_bytes(new.file.read_bytes())
    eventually(lambda: "refuses" in subject.log_lines("discovery.failed")[-1]["reason"])
    assert "one" == subject.get().text
    new.client(Path(told["NOMAD_CLIENT_CERT"]), Path(told["NOMAD_CLIENT_KEY"]))
    eventually(lambda: "two" == subject.get().text, 6)


@pytest.fixture
def dripping() -> Iterator[Listener]:
    """
    A server whose greeting of TLS comes a byte at a time, and never whole.
    """
    done = threading.Event()

    def drip(line: socket.socket) -> None:
        line.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # 16 KiB to come
        while not done.wait(0.1):
            line.sendall(b"\x03")

    server = Listener(("127.0.0.1", 0), drip)
    server.open()
    yield server
    done.set()
    server.close()


def test_a_handshake_that_drips_has_an_end(secured: Secured, dripping: Listener) -> None:
    """
    However steadily the handshake makes progress, it is given up after 3 s.
    """
    began = time.monotonic()
    told = reason(secured.settings(NOMAD_ADDR=at(dripping)))

    assert "the TLS handshake was not over in time" == told
    assert 2.9 < time.monotonic() - began < 8


@pytest.mark.parametrize("when", ["handshake", "waiting", "body"])
def test_a_question_is_cut_at_any_moment(secured: Secured, dripping: Listener, when: str) -> None:
    """
    Whoever wants to ask anew ends the question under way within a moment: while hands are shaken,
    while it waits for a change, and while an answer drips.
    """
    environ, nomad = secured.settings(), secured.nomad
    if when == "handshake":
        environ["NOMAD_ADDR"] = at(dripping)
    if when == "body":
        nomad.fault(body_drip(0.05))
    troubles: list[str] = []
    client = client_of(environ)

    def ask() -> None:
        try:
            client.list_instances("web", nomad.index if when == "waiting" else 0, 30.0)
        except NomadError as trouble:
            troubles.append(trouble.reason)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    if when == "handshake":
        eventually(lambda: dripping.connections)
    else:
        eventually(lambda: nomad.blocked if when == "waiting" else nomad.requests)
    time.sleep(0.2)  # whatever it does, it is in the middle of it
    assert asking.is_alive()
    client.cancel()
    asking.join(1)
    assert 1 == len(troubles)
    client.close()


def at(server: Listener) -> str:
    """
    Return a server's address as a setting.
    """
    return f"https://127.0.0.1:{server.address[1]}"  # type: ignore[index]
