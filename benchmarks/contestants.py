"""
Balancers to compare, all running at once in front of the same four servers: the generated
configuration, a minimal handwritten one, the same with the headers of the generated one, and
HAProxy.

Each has one worker on the measured processor; the servers are an nginx that responds from memory,
so that no balancer waits for them.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import scene
from benchmarks.processors import MEASURED, OTHERS, on
from tests.support.client import get
from tests.support.fake_nomad import FakeNomad
from tests.support.waiting import eventually, free_port

SMALL = 64
LARGE = 1_000_000

_SERVERS = 4


@dataclass(frozen=True, slots=True)
class Contestant:
    """
    A running balancer; `working` returns the processes that handle requests.
    """

    name: str
    port: int
    working: Callable[[], list[int]]


@contextlib.contextmanager
def generated(name: str, binary: str, servers: Sequence[int]) -> Iterator[Contestant]:
    """
    Start the supervisor with default settings; it starts one worker per available processor.
    """
    with FakeNomad() as nomad, contextlib.ExitStack() as stack:
        nomad.set(scene.SERVICE, [("127.0.0.1", port) for port in servers])
        with on(MEASURED):
            program = stack.enter_context(scene.ours(nomad, NGINX_BINARY=binary))
        program.ready(30, status=200, path="/small")
        yield Contestant(name, program.port, program.nginx_workers)


@contextlib.contextmanager
def by_hand(
    name: str, binary: str, servers: Sequence[int], *, same_headers: bool = False
) -> Iterator[Contestant]:
    """
    Start nginx with a minimal configuration that balances and keeps connections.

    With `same_headers` the servers and the clients receive the headers of the generated one.
    """
    port = free_port()
    lines = "\n".join(f"    server 127.0.0.1:{each};" for each in servers)
    headers = _SAME_HEADERS if same_headers else ""
    with _nginx(binary, _BY_HAND % (lines, port, headers), MEASURED) as workers:
        yield Contestant(name, port, workers)


@contextlib.contextmanager
def haproxy(name: str, servers: Sequence[int]) -> Iterator[Contestant]:
    """
    Start HAProxy with one thread.
    """
    port = free_port()
    lines = "\n".join(f"  server s{each} 127.0.0.1:{each}" for each in servers)
    with _folder() as folder:
        config = folder / "haproxy.cfg"
        config.write_text(_HAPROXY % (port, lines))
        with on(MEASURED):
            process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(config)])
        with _ended(process):
            eventually(lambda: get(port, "/small").status == 200)
            yield Contestant(name, port, lambda: [process.pid])


@contextlib.contextmanager
def servers(binary: str) -> Iterator[list[int]]:
    """
    Start the servers, in one worker: four ports, `/small`, `/large`, and `/take` for bodies.
    """
    ports = [free_port() for _ in range(_SERVERS)]
    with _folder() as folder:
        (folder / "large").write_bytes(os.urandom(LARGE))
        folder.chmod(0o755)
        listen = "\n".join(f"    listen 127.0.0.1:{port} backlog=4096;" for port in ports)
        with _nginx(binary, _SERVER % (listen, "x" * SMALL, folder, ports[0]), OTHERS):
            eventually(lambda: get(ports[0], "/large").body[LARGE - 1 :])
            yield ports


def haproxy_version() -> str:
    """
    Return HAProxy's name and version, or an empty string if it is missing.
    """
    if not shutil.which("haproxy"):
        return ""
    output = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=False).stdout
    return f"HAProxy {output.split()[2].partition('-')[0]}"


@contextlib.contextmanager
def _nginx(binary: str, config: str, processors: set[int]) -> Iterator[Callable[[], list[int]]]:
    with _folder() as folder:
        (folder / "nginx.conf").write_text(_EITHER.format(folder=folder) + config)
        with on(processors):
            process = subprocess.Popen(
                [binary, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
            )
        with _ended(process):
            master = psutil.Process(process.pid)
            eventually(master.children)
            yield lambda: [child.pid for child in master.children()]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ax-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.terminate()


_EITHER = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
"""

#: As in a tutorial, plus kept connections.  Bodies are buffered, as by default.
_BY_HAND = """\
http {
  access_log off;
  client_max_body_size 0;
  upstream service {
%s
    keepalive 32;
  }
  server {
    listen 127.0.0.1:%d;
    location / {
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
%s    }
  }
}
"""

#: What the replicas and the clients get from the generated configuration by default.
_SAME_HEADERS = """\
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Real-IP $remote_addr;
      server_tokens off;
      add_header Sunset "Fri, 15 Jan 2027 08:00:00 GMT" always;
"""

#: `/take` reads the whole body and sends a short response: `return` alone would not read it.
_SERVER = """\
http {
  access_log off;
  sendfile on;
  keepalive_requests 1000000;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  server {
%s
    location = /small { return 200 "%s"; }
    location = /large { root %s; }
    location = /take {
      proxy_pass http://127.0.0.1:%d/small;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
  }
}
"""

_HAPROXY = """\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 1h
  timeout server 1h
frontend public
  bind 127.0.0.1:%d
  default_backend service
backend service
  balance leastconn
%s
"""
