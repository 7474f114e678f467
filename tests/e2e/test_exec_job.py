"""
`exec` in a real Nomad: as one file, fetched as an artifact, in front of replicas of a batch job.
"""

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.cluster import Cluster, Row
from tests.support.demo_job import show
from tests.support.nomad_agent import why_no_nomad
from tests.support.waiting import eventually
from tools import onefile

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

OVER = {"complete", "failed", "lost"}

JOB = """\
job "exec" {{
  type = "batch"

  group "ours" {{
    count = 2
    restart {{ attempts = 0 }}
    reschedule {{ attempts = 0 }}

    task "replica" {{
      driver = "raw_exec"
      artifact {{
        source      = "{source}"
        destination = "local/autoexit.pyz"
        mode        = "file"
        options {{
          checksum = "sha256:{checksum}"
        }}
      }}
      config {{
        command = "{python}"
        args    = ["-I", "local/autoexit.pyz", "sleep", "600"]
      }}
      env {{
        DEADLINE = "{deadline}"
      }}
      resources {{
        cpu    = 20
        memory = 32
      }}
    }}
  }}

  group "timeout" {{
    restart {{ attempts = 0 }}
    reschedule {{ attempts = 0 }}

    task "replica" {{
      driver = "raw_exec"
      config {{
        command = "timeout"
        args    = ["--preserve-status", "3", "sleep", "600"]
      }}
      resources {{
        cpu    = 20
        memory = 32
      }}
    }}
  }}
}}
"""


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """
    Serve a folder's files on loopback.
    """
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def submit(cluster: Cluster, folder: Path, lifetime: float) -> float:
    """
    Run the job with the file of this checkout, and return its deadline.
    """
    file = onefile.make(folder / "autoexit.pyz")
    deadline = time.time() + lifetime
    with file_server(folder) as address:
        text = JOB.format(
            source=f"{address}/autoexit.pyz",
            checksum=hashlib.sha256(file.read_bytes()).hexdigest(),
            python=sys.executable,
            deadline=f"{deadline:.3f}",
        )
        (folder / "exec.nomad.hcl").write_text(text)
        cluster.nomad("job", "run", "-detach", str(folder / "exec.nomad.hcl"))
        eventually(lambda: [2] == [len(running(cluster))], 30, 0.05, "both replicas")
    return deadline


def running(cluster: Cluster) -> list[Row]:
    """
    Return the running allocations of the group with `exec`.
    """
    rows = cluster.allocations("exec", "ours")
    return [row for row in rows if row["ClientStatus"] == "running"]


def state(row: Row) -> Row:
    """
    Return the state of an allocation's task.
    """
    found: Row = row["TaskStates"]["replica"]
    return found


def code(row: Row) -> int:
    """
    Return the exit code of its task.
    """
    ends = [event for event in state(row)["Events"] if event["Type"] == "Terminated"]
    return int(ends[-1]["Details"]["exit_code"])


def test_replicas_are_complete_at_the_deadline(tmp_path: Path) -> None:
    """
    Two replicas exit together at their deadline, and Nomad shows them as complete; the replica
    under `timeout --preserve-status` has failed, with 143.
    """
    with Cluster(split=False) as cluster:
        deadline = submit(cluster, tmp_path, 12)
        eventually(
            lambda: all(r["ClientStatus"] in OVER for r in cluster.allocations("exec")), 40, 0.1
        )
        ours = cluster.allocations("exec", "ours")
        (old,) = cluster.allocations("exec", "timeout")

    assert [("complete", 0)] * 2 == [(row["ClientStatus"], code(row)) for row in ours]
    assert ("failed", 143) == (old["ClientStatus"], code(old))
    ends = [state(row)["FinishedAt"] for row in ours]
    show(f"deadline {deadline:.3f}, ended at {ends}")


def test_a_stopped_replica_is_complete_with_0(tmp_path: Path) -> None:
    """
    `nomad job stop` ends it at once with 0, by raw_exec's INT.
    """
    with Cluster(split=False) as cluster:
        submit(cluster, tmp_path, 3600)
        began = time.monotonic()
        cluster.nomad("job", "stop", "-detach", "exec")
        eventually(lambda: not running(cluster), 20, 0.05, "both to end")
        took = time.monotonic() - began
        ours = cluster.allocations("exec", "ours")

    show(f"stop -> both ended: {took:.2f} s")
    assert [("complete", 0)] * 2 == [(row["ClientStatus"], code(row)) for row in ours]
    assert took < 4
