"""
The recipes of docs/recipes.md: each is read from the page and run.
"""

import base64
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.client import get, request_bytes
from tests.support.listening import listening
from tests.support.nginxes import BOTH
from tests.support.recipes import apply, headings, recipe
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.parametrize("nginx", BOTH)

PAGE = "recipes.md"
KEY = "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592"
PAGE_ORIGIN = "https://chat.example.org"

Cook = Callable[..., Supervised]


@pytest.fixture
def replica() -> Iterator[Replica]:
    """
    The replica of all recipes.
    """
    with Replica("one") as started:
        yield started


@pytest.fixture
def shared() -> Iterator[Path]:
    """
    A folder that nginx's workers, which run as another user, can read and write.
    """
    with tempfile.TemporaryDirectory(prefix="ax-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def cook(replica: Replica) -> Iterator[Cook]:
    """
    Start the program with recipes: `cook(nginx, "CORS", {"8080": "41234"})`, texts replaced.
    """
    with ExitStack() as stack:

        def start(
            nginx: str,
            *names: str,
            replaced: dict[str, str] | None = None,
            endpoint: str = f"127.0.0.1:{replica.port}",
        ) -> Supervised:
            subject = Supervised(
                pid1=False, NGINX_BINARY=nginx, ENDPOINTS=endpoint, START_WAIT="5s"
            )
            known = {"127.0.0.1:8080": f"127.0.0.1:{subject.port}", **(replaced or {})}
            for name in names:
                apply(recipe(PAGE, name), subject, known)
            stack.enter_context(subject)
            subject.ready(status=200, path="/-/ready")
            return subject

        yield start


def test_larger_headers(cook: Cook, nginx: str) -> None:
    """
    A line of a request and the head of a response may have 128 kB; without the recipe they fail.
    """
    request = request_bytes("/", headers={"X-Long": "x" * (128 * 1024 - 10)})
    cookies = b"".join(b"Set-Cookie: c%03d=%b\r\n" % (n, b"x" * 1005) for n in range(127))
    received = list[int]()

    def serve(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
            head += data
        received.append(len(head))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n%b\r\ndone" % cookies)

    with listening(serve) as (host, port):
        plain = cook(nginx, endpoint=f"{host}:{port}")
        recipe_applied = cook(nginx, "Larger headers", endpoint=f"{host}:{port}")
        assert 431 == exchanged(plain.port, request)[0]
        assert 502 == exchanged(plain.port, request_bytes("/"))[0]
        status, response = exchanged(recipe_applied.port, request)
        assert 200 == status
        assert cookies in response
        assert max(received) > len(request)


def test_underscores(cook: Cook, replica: Replica, nginx: str) -> None:
    """
    `api_key` reaches the replica.
    """
    subject = cook(nginx, "Underscores in header names")
    assert 200 == subject.get("/", headers={"api_key": "mine"}).status
    assert "mine" == replica.seen[-1].headers["api_key"]


def test_probes_with_a_host(cook: Cook, nginx: str) -> None:
    """
    A real gunicorn whose application allows one host refuses plain probes and is ready with the
    recipe.  Clients keep their Host, so the application refuses theirs as before.
    """
    heading = "Probes with a Host"
    allowed = recipe(PAGE, heading).settings["HEALTH_HOST"]
    with gunicorn("tests.support.hosted_wsgi") as port:
        endpoint = f"127.0.0.1:{port}"
        plain = {"ENDPOINTS": endpoint, "HEALTH_PATH": "/healthz", "NGINX_BINARY": nginx}
        with Supervised(pid1=False, **plain) as refused:
            eventually(lambda: "HTTP 400" == last_probe(refused))
            assert 503 == refused.ready(path="/-/ready").status
        subject = cook(nginx, heading, endpoint=endpoint)
        assert "model" == subject.get(headers={"Host": allowed}).text
        assert 400 == subject.get().status


def test_a_password(cook: Cook, replica: Replica, nginx: str, shared: Path) -> None:
    """
    Only the right password gets a response, READY_PATH needs none, and the replica sees none.
    """
    heading = "A password before an open model server"
    (command,) = recipe(PAGE, heading).commands
    users = shared / "users"
    users.write_bytes(subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout)
    subject = cook(nginx, heading, replaced={"/secrets/users": str(users)})
    before = replica.total
    assert 401 == subject.get().status
    assert 401 == subject.get(headers=basic("alice:wrong")).status
    assert before == replica.total
    assert "one" == subject.get(headers=basic("alice:s3cret")).text
    assert replica.seen[-1].headers["Authorization"] is None
    assert 200 == subject.get("/-/ready").status


def test_a_key(cook: Cook, replica: Replica, nginx: str) -> None:
    """
    Only the exact key gets a response, READY_PATH needs none, and the replica sees none.
    """
    subject = cook(nginx, "An API key before an open model server")
    before = replica.total
    for path, key in (
        ("/", ""),
        ("/", f"Bearer {KEY.upper()}"),
        ("/", f"Bearer {KEY}0"),
        ("/%20/-/ready", "Bearer x"),
        ("/x?/-/ready", "Bearer x"),
    ):
        refused = subject.get(path, headers={"Authorization": key})
        assert (401, "Bearer") == (refused.status, refused.headers["WWW-Authenticate"])
    assert before == replica.total
    allowed = subject.get(headers={"Authorization": f"Bearer {KEY}"})
    assert ("one", None) == (allowed.text, allowed.headers["WWW-Authenticate"])
    assert replica.seen[-1].headers["Authorization"] is None
    assert 200 == subject.get("/-/ready").status


def test_cors(cook: Cook, replica: Replica, nginx: str) -> None:
    """
    The named origin may send and read, no other may; with a key the preflight needs none.
    """
    subject = cook(nginx, "CORS", "An API key before an open model server")
    preflight = {"Access-Control-Request-Method": "POST", "Origin": PAGE_ORIGIN}
    before = replica.total
    answer = subject.get(method="OPTIONS", headers=preflight)
    assert (204, PAGE_ORIGIN) == (answer.status, answer.headers["Access-Control-Allow-Origin"])
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    other = subject.get(method="OPTIONS", headers={**preflight, "Origin": "https://other.org"})
    assert [] == [name for name in other.headers if name.startswith("Access-Control")]
    assert before == replica.total

    key = {"Authorization": f"Bearer {KEY}"}
    answer = subject.get(headers={"Origin": PAGE_ORIGIN, **key})
    assert ("one", PAGE_ORIGIN) == (answer.text, answer.headers["Access-Control-Allow-Origin"])
    refused = subject.get(headers={"Origin": PAGE_ORIGIN})
    assert (401, PAGE_ORIGIN) == (refused.status, refused.headers["Access-Control-Allow-Origin"])
    other = subject.get(headers={"Origin": "https://other.org", **key})
    assert ("one", None) == (other.text, other.headers["Access-Control-Allow-Origin"])


def test_an_access_log(cook: Cook, nginx: str, shared: Path) -> None:
    """
    The file has a line for each request; after a rename and SIGUSR1 a new one is opened.
    """
    log = shared / "access.log"
    subject = cook(nginx, "The access log in a file", replaced={"/alloc/logs": str(shared)})
    subject.get("/first")
    eventually(lambda: '"GET /first HTTP/1.1" 200 ' in log.read_text())
    log.rename(shared / "old.log")
    subject.signal(signal.SIGUSR1)
    eventually(log.exists)
    subject.get("/second")
    eventually(lambda: '"GET /second HTTP/1.1" 200 ' in log.read_text())


def test_an_old_server(cook: Cook, replica: Replica, nginx: str) -> None:
    """
    Every path of the old file responds as before, on both ports, and the client's address is kept.
    """
    second = free_port()
    listen = {"listen 8081": f"listen 127.0.0.1:{second}"}
    subject = cook(nginx, "A server of an old `conf.d`", replaced=listen)
    assert "one" == subject.get("/api/v2/models/").text
    assert "/v2/models/" == replica.seen[-1].path
    assert "User-agent: *\nDisallow: /\n" == subject.get("/robots.txt").text
    too_large = {"Content-Length": str(20 * 1024 * 1024 + 1)}
    assert 413 == subject.get("/", method="PUT", headers=too_large).status
    request = request_bytes("/models/", headers={"X-Forwarded-For": "203.0.113.9"})
    assert 200 == exchanged(second, request, source="127.0.0.2")[0]
    seen = replica.seen[-1]
    assert ("/v2/models/", "127.0.0.2") == (seen.path, seen.headers["X-Real-IP"])
    assert "127.0.0.2, 127.0.0.1" == seen.headers["X-Forwarded-For"]


def test_the_upstream_is_no_interface(nginx: str) -> None:
    """
    As the page says, a file that names the upstream ends a start without endpoints with 78.
    """
    subject = Supervised(pid1=False, NGINX_BINARY=nginx, ENDPOINTS=f"127.0.0.1:{free_port()}")
    subject.write_in("server.d", "own.conf", "location /v1/ { proxy_pass http://service; }\n")
    with subject:
        assert 78 == subject.wait()


def test_every_recipe_is_tested(nginx: str) -> None:
    """
    Each heading of the page is in this file.
    """
    del nginx
    source = Path(__file__).read_text()
    assert [] == [heading for heading in headings(PAGE) if f'"{heading}"' not in source]


@contextmanager
def gunicorn(application: str) -> Iterator[int]:
    """
    Run a real gunicorn, and yield its port once it accepts connections.
    """
    port = free_port()
    options = ["-b", f"127.0.0.1:{port}", "--log-level", "warning", "--no-control-socket"]
    command = [sys.executable, "-m", "gunicorn", *options, application]
    with subprocess.Popen(command, cwd=CHECKOUT) as child:
        try:
            eventually(lambda: 0 < get(port).status, 20)
            yield port
        finally:
            child.terminate()
            child.wait(10)


def last_probe(subject: Supervised) -> str:
    """
    Return the outcome of the last probe of the only endpoint.
    """
    status = json.loads(get(subject.find("supervisor.sock"), "/status").text)
    (row,) = status["endpoints"]["rows"]
    return str(row["last_probe"]["outcome"])


def basic(user: str) -> dict[str, str]:
    """
    Return the header of a user and password.
    """
    return {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


def exchanged(port: int, request: bytes, source: str = "127.0.0.1") -> tuple[int, bytes]:
    """
    Return the status of a response to a client with this address, and all its bytes.
    """
    received = b""
    address = ("127.0.0.1", port)
    with socket.create_connection(address, 5, source_address=(source, 0)) as client:
        client.sendall(request)
        while data := client.recv(65536):
            received += data
    return int(received.split()[1]), received
