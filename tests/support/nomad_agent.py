"""
A real Nomad agent, on ports and in a folder of its own.

It is kept from everything else on the machine: it listens on loopback, asks no cloud who it is,
runs no driver but raw_exec and, where it is asked to, docker; it takes no one else's containers for
lost ones of its own, and deletes no image.
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

APART = """\
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
    Return why no agent can run here, empty when one can.
    """
    given = os.environ.get("NOMAD", "")
    if given:
        return "" if shutil.which(given) else f"NOMAD={given!r} is no program"
    return "" if shutil.which("nomad") else "no nomad on PATH; NOMAD=FILE picks one"


def binary() -> str:
    """
    Return the nomad that was picked, or the one on PATH.
    """
    found = shutil.which(os.environ.get("NOMAD") or "nomad")
    assert found, why_no_nomad()
    return found


def checked(*words: str) -> str:
    """
    Run a `nomad` command that needs no agent, and return what it printed.
    """
    done = subprocess.run(
        [binary(), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "NOMAD_ADDR": "http://127.0.0.1:1"},
    )
    assert done.returncode == 0, f"nomad {words}: {done.stdout}{done.stderr}"
    return done.stdout


def environ(home: Path) -> dict[str, str]:
    """
    Return all that agents, and so their tasks, are told: nothing of who runs the tests.
    """
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": f"{path}:/usr/sbin:/sbin", "HOME": str(home), "TMPDIR": str(home)}


class Agent:
    """
    One `nomad agent` process; it may be stopped and started again, with what it remembers.
    """

    def __init__(self, name: str, home: Path, *, dev: bool = False, acl: bool = False) -> None:
        self.name = name
        self.ports = {kind: free_port() for kind in ("http", "rpc", "serf")}
        self.log = home / f"{name}.log"
        self._home = home
        self._file = home / f"{name}.hcl"
        self._words = [binary(), "agent", *(["-dev"] if dev else []), "-config", str(self._file)]
        self._config = COMMON.format(name=name, acl=str(acl).lower(), **self.ports)
        if not dev:
            self._config += APART.format(data=home / name)
        self._process: subprocess.Popen[bytes] | None = None

    def as_server(self) -> Self:
        """
        Let it be the one server of its cluster.
        """
        self._config += SERVER
        return self

    def as_client(
        self, allocations: Path, server: "Agent | None" = None, *, docker: bool = False
    ) -> Self:
        """
        Let it run jobs; `allocations` is short, since each holds a unix socket.

        With docker its tasks have the bridge's address: the one at which containers, too, can reach
        what other containers publish.
        """
        self._config += CLIENT.format(
            allocations=allocations,
            servers=f'["{LOOPBACK}:{server.ports["rpc"]}"]' if server else "[]",
            interface=BRIDGE if docker else "lo",
            drivers="raw_exec,docker" if docker else "raw_exec",
        )
        return self

    @property
    def port(self) -> int:
        """
        Where its API listens, over TCP.
        """
        return self.ports["http"]

    def start(self) -> None:
        """
        Start the process; it takes a while until it answers.
        """
        self._file.write_text(self._config)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=environ(self._home),
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            )

    def stop(self, within: float = 15.0) -> None:
        """
        Ask it to end, then make it.
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
        Whether its process is there.
        """
        return self._process is not None and self._process.poll() is None

    @property
    def last_words(self) -> str:
        """
        The end of its log, for messages.
        """
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def command(self, *words: str, extra: Mapping[str, str], folder: Path) -> str:
        """
        Run a `nomad` command against it and return what it printed.
        """
        done = subprocess.run(
            [binary(), *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            cwd=folder,
            env={**environ(self._home), "NOMAD_ADDR": f"http://{LOOPBACK}:{self.port}", **extra},
        )
        assert done.returncode == 0, f"nomad {words}: {done.stdout}{done.stderr}"
        return done.stdout
