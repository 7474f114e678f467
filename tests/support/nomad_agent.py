"""
A real Nomad agent, with its own ports and folder.

It is isolated from the rest of the machine: it listens on loopback, queries no cloud metadata, runs
only the raw_exec driver and, on request, docker; it does not remove foreign containers as dangling
ones, and deletes no image.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.waiting import free_port

LOOPBACK = "127.0.0.1"
BRIDGE = "docker0"

COMMON = """\
name = "{name}"
bind_addr = "127.0.0.1"
ports {{
  http = {http}
  rpc  = {rpc}
  serf = {serf}
}}
acl {{ enabled = {acl} }}
disable_update_check = true
log_level = "INFO"
"""

SEPARATE = """\
data_dir = "{data}"
advertise {{
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}}
"""

SERVER = """\
server {
  enabled          = true
  bootstrap_expect = 1
}
"""

CLIENT = """\
client {{
  enabled           = true
  alloc_dir         = "{allocations}"
  network_interface = "{interface}"
  servers           = {servers}
  options {{
    "driver.allowlist"     = "{drivers}"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }}
}}
plugin "raw_exec" {{
  config {{ enabled = true }}
}}
plugin "docker" {{
  config {{
    gc {{
      image = false
      dangling_containers {{ enabled = false }}
    }}
  }}
}}
"""


def why_no_nomad() -> str:
    """
    Return why no agent can run here, empty if one can.
    """
    path = os.environ.get("NOMAD", "")
    if path:
        return "" if shutil.which(path) else f"NOMAD={path!r} is not a program"
    return "" if shutil.which("nomad") else "no nomad on PATH; set NOMAD=FILE"


def binary() -> str:
    """
    Return the path in NOMAD, or the nomad on PATH.
    """
    found = shutil.which(os.environ.get("NOMAD") or "nomad")
    assert found, why_no_nomad()
    return found


def run_nomad(*args: str) -> str:
    """
    Run a `nomad` command that needs no agent, and return its output.
    """
    done = subprocess.run(
        [binary(), *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "NOMAD_ADDR": "http://127.0.0.1:1"},
    )
    assert done.returncode == 0, f"nomad {args}: {done.stdout}{done.stderr}"
    return done.stdout


def environ(home: Path) -> dict[str, str]:
    """
    Return the environment of agents, and so of their tasks: nothing of the test run.
    """
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": f"{path}:/usr/sbin:/sbin", "HOME": str(home), "TMPDIR": str(home)}


class Agent:
    """
    One `nomad agent` process; it can be stopped and started again with its data.
    """

    def __init__(self, name: str, home: Path, *, dev: bool = False, acl: bool = False) -> None:
        self.name = name
        self.ports = {kind: free_port() for kind in ("http", "rpc", "serf")}
        self.log = home / f"{name}.log"
        self._home = home
        self._file = home / f"{name}.hcl"
        self._command = [binary(), "agent", *(["-dev"] if dev else []), "-config", str(self._file)]
        self._config = COMMON.format(name=name, acl=str(acl).lower(), **self.ports)
        if not dev:
            self._config += SEPARATE.format(data=home / name)
        self._process: subprocess.Popen[bytes] | None = None

    def as_server(self) -> Self:
        """
        Make it the only server of its cluster.
        """
        self._config += SERVER
        return self

    def as_client(
        self,
        allocations: Path,
        server: "Agent | None" = None,
        *,
        docker: bool = False,
        interface: str = "",
    ) -> Self:
        """
        Make it run jobs; `allocations` must be a short path, since each contains a unix socket.

        With docker its tasks have by default the bridge's address, at which containers can reach
        the published ports of other containers.
        """
        self._config += CLIENT.format(
            allocations=allocations,
            servers=f'["{LOOPBACK}:{server.ports["rpc"]}"]' if server else "[]",
            interface=interface or (BRIDGE if docker else "lo"),
            drivers="raw_exec,docker" if docker else "raw_exec",
        )
        return self

    @property
    def port(self) -> int:
        """
        The TCP port of its API.
        """
        return self.ports["http"]

    def start(self) -> None:
        """
        Start the process; its API responds only later.
        """
        self._file.write_text(self._config)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=environ(self._home),
                start_new_session=True,  # Ctrl-C interrupts the tests, which then stop it
            )

    def stop(self, within: float = 15.0) -> None:
        """
        Send SIGTERM, then SIGKILL after the timeout.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def running(self) -> bool:
        """
        Whether its process is running.
        """
        return self._process is not None and self._process.poll() is None

    @property
    def log_tail(self) -> str:
        """
        The end of its log, for messages.
        """
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def command(self, *args: str, extra: Mapping[str, str], folder: Path) -> str:
        """
        Run a `nomad` command against it and return its output.
        """
        done = subprocess.run(
            [binary(), *args],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            cwd=folder,
            env={**environ(self._home), "NOMAD_ADDR": f"http://{LOOPBACK}:{self.port}", **extra},
        )
        assert done.returncode == 0, f"nomad {args}: {done.stdout}{done.stderr}"
        return done.stdout
