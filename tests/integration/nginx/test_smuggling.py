"""
Ambiguous requests: which ones nginx refuses, and what a replica receives.
"""

import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from supervisor.nginx.host_limits import worker_user
from tests.support.client import connect
from tests.support.listening import Listener
from tests.support.nginxes import BOTH
from tests.support.rendered import command, running, version_of
from tests.support.waiting import eventually, free_port

#: A request in the body of another one; it must not be handled as a separate request.
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", end: bytes = b"\r\n") -> bytes:
    """
    Return a POST with these header lines.
    """
    return end.join([b"POST /case HTTP/1.1", b"Host: x", *lines, b"", b""]) + body


TE, CL5 = b"Transfer-Encoding: chunked", b"Content-Length: 5"
CASES = {
    "length": post(CL5, body=b"hello"),
    "chunks": post(TE, body=CHUNKS),
    "length and chunks": post(CL5, TE, body=CHUNKS + NEXT),
    "chunks and length": post(TE, b"Content-Length: 4", body=b"24\r\n" + NEXT + b"\r\n0\r\n\r\n"),
    "two equal lengths": post(CL5, CL5, body=b"hello"),
    "two lengths": post(b"Content-Length: 0", CL5, body=b"hello" + NEXT),
    **{
        f"length {value!r}": post(b"Content-Length: " + value, body=b"hello" + NEXT)
        for value in (
            b"5, 5",
            b"+5",
            b"-1",
            b"0x5",
            b"5 5",
            b"5;",
            b"",
            b"5\x0b",
            b"1e1",
            b"9" * 30,
        )
    },
    **{
        f"chunked as {value!r}": post(value, CL5, body=b"0\r\n\r\n" + NEXT)
        for value in (
            *(b"Transfer-Encoding: xchunked", b"Transfer-Encoding: identity"),
            *(b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked"),
            *(b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip, chunked"),
            *(
                b"Transfer-Encoding:chunked",
                b"Transfer-Encoding:\tchunked",
                b"tRANSFER-eNCODING: cHuNkEd",
            ),
            *(
                b"Transfer-Encoding : chunked",
                b"Transfer_Encoding: chunked",
                b" Transfer-Encoding: chunked",
            ),
            *(b"Transfer-Encoding:\r\n chunked", b"X: y\r\n Transfer-Encoding: chunked"),
            *(
                b"Transfer-Encoding: \x0bchunked",
                b'Transfer-Encoding: "chunked"',
                b"Transfer-Encoding: chunked\x00",
            ),
            *(
                b"X: y\nTransfer-Encoding: chunked",
                b"X: y\rTransfer-Encoding: chunked",
                b"\x00Transfer-Encoding: chunked",
            ),
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        )
    },
    "folded length": post(b"Content-Length:\r\n 5", body=b"hello" + NEXT),
    "folded header": post(b"X: a\r\n b", CL5, body=b"hello"),
    "bare line feeds": post(CL5, body=b"hello", end=b"\n"),
    "a blank before the colon": post(b"Content-Length : 5", body=b"hello" + NEXT),
    "a length with a tab": post(b"Content-Length:\t5", body=b"hello"),
    **{
        f"chunk {size!r}": post(TE, body=size + b"\r\nhello\r\n0\r\n\r\n")
        for size in (
            *(b"5;x=y", b"5 ", b" 5", b"0x5", b"+5", b"-5", b"5_", b"", b"05", b"5;\n", b"5;x\r"),
            b"f" * 17,
        )
    },
    "chunk without its end": post(TE, body=b"5\r\nhello0\r\n\r\n" + NEXT),
    "chunks with line feeds": post(TE, body=b"5\nhello\n0\n\n"),
    "trailers": post(TE, body=b"5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n"),
    "chunks of 1.0": b"POST /case HTTP/1.0\r\nHost: x\r\n" + TE + b"\r\n\r\n" + CHUNKS,
    "a body of GET": b"GET /case HTTP/1.1\r\nHost: x\r\n" + CL5 + b"\r\n\r\nhello",
    "two hosts": b"GET /case HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET /case HTTP/1.1\r\n\r\n",
    "an odd host": b"GET /case HTTP/1.1\r\nHost: x/../y@z\r\n\r\n",
    "another host in the line": b"GET http://y/case HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab in the line": b"GET\t/case HTTP/1.1\r\nHost: x\r\n\r\n",
    "two blanks in the line": b"GET  /case  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a small method": b"get /case HTTP/1.1\r\nHost: x\r\n\r\n",
    "a blank in the path": b"GET /case /x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version of three": b"GET /case HTTP/3.0\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a trace": b"TRACE /case HTTP/1.1\r\nHost: x\r\n\r\n",
    "dots": b"GET /a/../../case HTTP/1.1\r\nHost: x\r\n\r\n",
    "an encoded slash": b"GET /..%2fcase%00 HTTP/1.1\r\nHost: x\r\n\r\n",
}

IGNORED = "chunked as b'Transfer_Encoding: chunked'"

#: Headers that differ on purpose: those about the client, and the framing of the body.
CHANGED_HEADERS = frozenset(
    [
        *(b"host", b"connection", b"x-real-ip", b"x-request-id", b"x-forwarded-for"),
        *(b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"),
        *(b"content-length", b"transfer-encoding"),
    ]
)


class Strict:
    """
    A backend that parses each request strictly and records it with the name of its case.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes, bytes, frozenset[bytes]]] = []
        self.ambiguous: list[bytes] = []
        self.listener = Listener(("127.0.0.1", 0), self._serve)

    @property
    def endpoint(self) -> tuple[str, int]:
        """
        Address and port.
        """
        assert isinstance(self.listener.address, tuple)
        return self.listener.address

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while line := stream.readline():
                fields = b"".join(iter(stream.readline, b"\r\n"))
                lengths = re.findall(rb"(?im)^content-length: *([0-9]+)\r$", fields)
                chunked = re.findall(rb"(?im)^transfer-encoding: *(.*)\r$", fields)
                if len(lengths) + len(chunked) > 1 or chunked not in ([], [b"chunked"]):
                    self.ambiguous.append(fields)
                body = b""
                if chunked:
                    while size := int(stream.readline(), 16):
                        body += stream.read(size)
                        assert stream.readline() == b"\r\n"
                    assert stream.readline() == b"\r\n"
                elif lengths:
                    body = stream.read(int(lengths[0]))
                case = re.findall(rb"(?im)^x-case: (.*)\r$", fields)
                names = (
                    frozenset(re.findall(rb"(?m)^([^:\r\n]*):", fields.lower())) - CHANGED_HEADERS
                )
                self.seen.append((case[0].decode() if case else "", line.strip(), body, names))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextmanager
def plain(nginx: str, endpoint: tuple[str, int]) -> Iterator[int]:
    """
    Run the same nginx with a minimal handwritten configuration.
    """
    port = free_port()
    user = f"user {worker_user()};" if worker_user() else ""
    # We keep no idle connections with an older nginx: this configuration must not either.
    kept = "" if version_of(nginx) >= (1, 27, 4) else "keepalive_timeout 0;"
    text = f"""
        daemon off; {user} error_log stderr crit; pid nginx.pid;
        events {{ worker_connections 100; }}
        http {{
            access_log off; {kept} client_body_temp_path body; proxy_temp_path proxy;
            fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://{endpoint[0]}:{endpoint[1]};
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                }}
            }}
        }}
    """
    with tempfile.TemporaryDirectory(prefix="ax-") as name:
        config = Path(name) / "nginx.conf"
        config.parent.chmod(0o711)
        config.write_text(text)
        with subprocess.Popen(command(nginx, config)) as child:
            try:
                eventually(lambda: connect(port).close() or True)
                yield port
            finally:
                child.terminate()
                child.wait(10)


def statuses(port: int, request: bytes) -> list[bytes]:
    """
    Send a request and return the status of each response.
    """
    received = b""
    with connect(port, timeout=0.5) as client, suppress(OSError):
        client.sendall(request)
        while data := client.recv(65536):
            received += data
    return re.findall(rb"HTTP/1\.[01] ([0-9]{3})", received)


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize("size", ["0", "1m"])
def test_S11_ambiguous_requests_are_handled_as_by_a_plain_nginx(nginx: str, size: str) -> None:
    """
    Contradicting lengths, malformed chunks, folded lines, bare line feeds and the like get the same
    response as from a plain nginx of the same version.  The replica receives the same requests with
    the same bodies and headers, none with two lengths, and none hidden in the body of another.
    """
    proxied, direct = Strict(), Strict()
    requests = {
        name: request.replace(b"Host: x", b"Host: x\r\nX-Case: " + str(n).encode(), 1)
        for n, (name, request) in enumerate(CASES.items())
    }
    try:
        for each in (proxied, direct):
            each.listener.open()
        plan = Plan((Endpoint(*proxied.endpoint),), Mode.SERVE)
        with (
            running(nginx, plan, {"MAX_BODY_SIZE": size}) as port,
            plain(nginx, direct.endpoint) as plain_port,
            ThreadPoolExecutor(24) as pool,
        ):
            responses = list(pool.map(lambda request: statuses(port, request), requests.values()))
            plain_responses = list(
                pool.map(lambda request: statuses(plain_port, request), requests.values())
            )
    finally:
        for each in (proxied, direct):
            each.listener.close()

    results = dict(zip(CASES, responses, strict=True))
    assert dict(zip(CASES, plain_responses, strict=True)) == results
    assert sorted(direct.seen) == sorted(proxied.seen)
    assert [] == proxied.ambiguous == direct.ambiguous
    # One case is legitimate: a header that nginx ignores, a body of 5 bytes, and a second request.
    assert {each for each in proxied.seen if b"smuggled" in each[1]} <= {
        ("", b"GET /smuggled HTTP/1.1", b"", frozenset())
    }
    assert [b"200", b"200"] not in [found for name, found in results.items() if name != IGNORED]
    bodies = {case: body for case, _, body, _ in proxied.seen}
    names = {name: str(n) for n, name in enumerate(CASES)}
    assert b"hello" == bodies[names["length"]] == bodies[names["chunks"]]
    refused = [name for name, found in results.items() if found == [b"400"]]
    assert {"length and chunks", "two lengths", "two equal lengths", "no host"} <= {*refused}
