"""
The control: a well-configured nginx without the supervisor, reloaded by a plain SIGHUP.
"""

import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.client import get
from tests.support.waiting import eventually, free_port

_CONFIG = """\
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  log_format mix '$http_user_agent $status $upstream_addr';
  access_log {folder}/access.log mix;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  client_body_buffer_size 1m;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  include upstream.conf;
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_read_timeout 1h;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""


class ByHand:
    """
    A running nginx whose list of servers is rewritten, followed by SIGHUP.
    """

    def __init__(self, nginx: str, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, port=self.port))
        self._write([])
        self._process = subprocess.Popen(
            [nginx, "-e", "stderr", "-c", str(folder / "nginx.conf")],
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: get(self.port).status == 502)

    def offer(self, endpoints: Iterable[tuple[str, int]]) -> None:
        """
        Write these endpoints to the configuration and reload.
        """
        self._write(endpoints)
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """
        Stop it.
        """
        self._process.terminate()
        self._process.wait(10)

    def routes(self) -> dict[int, str]:
        """
        Return the upstreams of each request by its number.
        """
        found = {}
        for line in (self._folder / "access.log").read_text().splitlines():
            number, _, upstream = line.split(" ", 2)
            if number.isdecimal():
                found[int(number)] = upstream
        return found

    def _write(self, endpoints: Iterable[tuple[str, int]]) -> None:
        servers = [f"  server {address}:{port};" for address, port in endpoints]
        lines = ["upstream backend {", "  zone backend 256k;", "  least_conn;"]
        lines += [*(servers or ["  server 127.0.0.1:9 down;"]), "  keepalive 32;", "}", ""]
        temporary = self._folder / "upstream.new"
        temporary.write_text("\n".join(lines))
        temporary.replace(self._folder / "upstream.conf")


@contextmanager
def by_hand(nginx: str, folder: Path) -> Iterator[ByHand]:
    """
    Run the control until the end of the block.
    """
    folder.mkdir()
    folder.chmod(0o755)
    control = ByHand(nginx, folder)
    try:
        yield control
    finally:
        control.stop()
