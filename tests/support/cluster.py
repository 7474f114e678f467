"""
A small Nomad cluster of real agents, and requests to it.

Either one agent with all roles (`nomad agent -dev`), or a separate server and client, as in
real clusters: then the server can be stopped while the client's tasks run.
"""

import json
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from tests.support.checkout import CHECKOUT
from tests.support.client import Answer, get
from tests.support.nomad_agent import Agent
from tests.support.waiting import eventually

Row = dict[str, Any]

_OVER = {"complete", "failed", "lost"}


class Cluster:
    """
    Real agents in a temporary folder; their processes are ended with them.
    """

    def __init__(
        self, *, split: bool, acl: bool = False, docker: bool = False, interface: str = ""
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ax-", dir="/tmp"))  # short, for unix sockets
        self.home.chmod(0o711)
        self.allocations_dir = self.home / "a"
        self.is_split = split
        self.token = str(uuid.uuid4()) if acl else ""
        if split:
            self.server = Agent("server", self.home, acl=acl).as_server()
            client = Agent("client", self.home, acl=acl)
            self.client = client.as_client(self.allocations_dir, self.server, docker=docker)
            self.agents = [self.server, self.client]
        else:
            self.server = Agent("dev", self.home, dev=True, acl=acl)
            self.client = self.server.as_client(
                self.allocations_dir, docker=docker, interface=interface
            )
            self.agents = [self.server]

    def __enter__(self) -> Self:
        try:
            for agent in self.agents:
                agent.start()
            self.await_server()
            self.await_client()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """
        Stop the jobs, then the agents, then remaining processes and mounts.
        """
        with suppress(AssertionError, OSError):
            self.stop_jobs()
        for agent in reversed(self.agents):
            agent.stop()
        self._sweep()

    def _sweep(self) -> None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TMPDIR") == str(self.home):
                    process.send_signal(signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in mounts:  # an agent run by root keeps secrets in memory
            if mount.startswith(f"{self.home}/"):
                subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    # -- its API -------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """
        Send a request to the server over TCP, with the operator's token.
        """
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"X-Nomad-Token": self.token} if self.token else {}
        if data:
            headers["Content-Length"] = str(len(data))
        return get(self.server.port, path, method=method, body=data, headers=headers, timeout=20)

    def read(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        """
        Return the JSON of a path, which must exist.
        """
        answer = self.call("GET", path)
        assert answer.status == 200, f"{path}: {answer.status} {answer.text}"
        return json.loads(answer.body)

    def nomad(self, *words: str) -> str:
        """
        Run a `nomad` command in the checkout.
        """
        extra = {"NOMAD_TOKEN": self.token} if self.token else {}
        return self.server.command(*words, extra=extra, folder=CHECKOUT)

    def instances(self, service: str) -> list[Row]:
        """
        Return the registry's rows of a service.
        """
        rows: list[Row] = self.read(f"/v1/service/{service}")
        return rows

    def allocations(self, job: str, group: str = "") -> list[Row]:
        """
        Return the allocations of a job, or of one of its groups.
        """
        rows = self.read(f"/v1/job/{job}/allocations")
        return [row for row in rows if group in {"", row["TaskGroup"]}]

    def stop_jobs(self) -> None:
        """
        Stop all jobs and wait until no allocation runs.

        Purge a job only afterwards: Nomad 2.0 does not list the allocations of a purged job, though
        they run, and containers of an agent that ends meanwhile stay.
        """
        for job in self.read("/v1/jobs"):
            self.call("DELETE", f"/v1/job/{job['ID']}")
        eventually(
            lambda: all(row["ClientStatus"] in _OVER for row in self.read("/v1/allocations")),
            30,
            0.1,
            "all allocations to end",
        )

    def await_server(self) -> None:
        """
        Wait for a leader, and with ACLs for the management token.
        """
        eventually(lambda: not self.server.running or self._is_led(), 40, 0.05, "a leader")
        assert self.server.running, self.server.log_tail

    def await_client(self) -> None:
        """
        Wait until a node is ready.
        """
        eventually(self._can_work, 40, 0.1, "a node that is ready")

    # -- its allocations' files ----------------------------------------------------------------

    def log_of(self, allocation: str, task: str) -> list[Row]:
        """
        Return the JSON lines that a task has written to stdout; other lines are skipped.
        """
        file = self.logs_of(allocation) / f"{task}.stdout.0"
        whole = file.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def logs_of(self, allocation: str) -> Path:
        """
        Return the folder of an allocation's logs; it contains pipes, too.
        """
        return self.allocations_dir / allocation / "alloc" / "logs"

    def task_api(self, allocation: str, task: str) -> tuple[Path, str]:
        """
        Return the Task API's socket of a task, and the token of its workload.
        """
        secrets = self.allocations_dir / allocation / task / "secrets"
        socket, token = secrets / "api.sock", secrets / "nomad_token"
        eventually(lambda: socket.exists() and token.exists(), what=f"both in {secrets}")
        return socket, token.read_text().strip()

    def _is_led(self) -> bool:
        if self.token:
            self.call("POST", "/v1/acl/bootstrap", {"BootstrapSecret": self.token})
        return bool(self.read("/v1/operator/raft/configuration")) and bool(
            self.read("/v1/status/leader")
        )

    def _can_work(self) -> bool:
        return any(node["Status"] == "ready" for node in self.read("/v1/nodes"))
