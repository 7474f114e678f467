"""
The programs under test: the supervisor, and the pattern being replaced.

Both get the same settings, so that a case can run against either; a case that the old pattern
also passes says so in its docstring.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.checkout import CHECKOUT
from tests.support.fake_nomad import Endpoint, FakeNomad

RUN = (sys.executable, "-m", "supervisor", "run")


@dataclass(frozen=True, slots=True)
class Launch:
    """
    How to start it: the command line, the whole environment, the working directory.

    If a container engine starts it, `find_pid` returns the program's own pid, 0 at first, and
    `unread_words` start it with an unread output.
    """

    words: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path
    find_pid: Callable[[], int] | None = None
    unread_words: tuple[str, ...] = ()


class Subject(Protocol):
    """
    A program that serves endpoints on a port until a deadline.
    """

    name: str

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Prepare its files and return how to start it.
        """
        ...

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        Change the service's endpoints; return whether PID 1 needs a SIGHUP now.
        """
        ...


def chosen() -> str:
    """
    Return the subject of the tests, from AUTOEXIT_SUBJECT.
    """
    name = os.environ.get("AUTOEXIT_SUBJECT", "ours")
    if name not in {"ours", "old", "image"}:
        msg = f"AUTOEXIT_SUBJECT={name!r}: expected ours, old or image"
        raise ValueError(msg)
    return name


class Ours:
    """
    The supervisor, configured by its environment.
    """

    name = "ours"

    def __init__(
        self,
        nomad: FakeNomad,
        service: str = "web",
        command: tuple[str, ...] = RUN,
    ) -> None:
        self._nomad = nomad
        self._service = service
        self._command = command

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Add defaults for discovery and folders, which can be overridden.
        """
        defaults = {
            "SERVICE_NAME": self._service,
            "NOMAD_ADDR": self._nomad.address,
            "LISTEN_ADDRESS": "127.0.0.1",
            "RUNTIME_DIR": str(home / "run"),
            "STATE_DIR": str(home / "state"),
            "OPERATOR_DIR": str(home / "operator"),
            "ENTRYPOINT_DIR": str(home / "entrypoint"),
            "LOG_FORMAT": "json",
        }
        if "ENDPOINTS" in settings or "ENDPOINTS_FILE" in settings:
            del defaults["SERVICE_NAME"]
        return Launch(self._command, {**defaults, **settings}, CHECKOUT)

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        Register them in Nomad, where the supervisor discovers them.
        """
        self._nomad.set(self._service, endpoints)
        return False


class Old:
    """
    Bash, nginx, sleep and kill; the test acts as Nomad's template: it rewrites a file and signals.
    """

    name = "old"

    def __init__(self) -> None:
        self._home: Path | None = None
        self._endpoints: list[Endpoint] = []

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Write the usual handwritten configuration, and the usual line of bash.
        """
        self._home = home
        self._write()
        config = home / "nginx.conf"
        config.write_text(
            CONFIG.format(
                pid=home / "nginx.pid",
                address=settings.get("LISTEN_ADDRESS", "127.0.0.1"),
                port=settings["LISTEN_PORT"],
            )
        )
        nginx = settings.get("NGINX_BINARY", "nginx")
        line = (
            f"{shlex.quote(nginx)} -c {shlex.quote(str(config))} -g 'daemon off;'"
            f" & sleep {_seconds(settings.get('TTL', '24h'))} && kill -9 0"
        )
        return Launch(("bash", "-c", line), settings, home)

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        Rewrite the file in place, as a template does.
        """
        self._endpoints = list(endpoints)
        self._write()
        return True

    def _write(self) -> None:
        if self._home is not None:
            servers = [f"  server {address}:{port};" for address, port in self._endpoints]
            lines = ["upstream backend {", *(servers or ["  server 127.0.0.1:65535;"]), "}", ""]
            (self._home / "upstream.conf").write_text("\n".join(lines))


CONFIG = """\
worker_processes 2;
pid {pid};
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  include upstream.conf;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen {address}:{port};
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""


def _seconds(ttl: str) -> str:
    """
    Convert a TTL for sleep(1), which accepts 90, 90s, 1.5h and 7d.
    """
    if ttl in {"0", "never", "none", "off"}:
        return "infinity"
    parts = re.findall(r"[\d.]+[smhd]?", ttl)
    return " ".join(parts)
