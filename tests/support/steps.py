"""
Changes to a job under traffic, the same for this project and for the pattern being replaced.

Each step returns the results of the clients; `note` stores a line for the table in
docs/migrating.md, which `make steps` updates.
"""

import json
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread

import psutil

from tests.support import containers
from tests.support.client import Answer, get
from tests.support.demo_job import show
from tests.support.docker_job import DockerJob
from tests.support.keepalive_traffic import KeepaliveTraffic
from tests.support.waiting import eventually

#: Seconds until a change must reach the clients: three times the delay of Nomad's template.
MAX_WAIT = 15.0


@dataclass(frozen=True, slots=True)
class StepResult:
    """
    The traffic during a change, and the seconds until the change reached the clients; None: never.
    """

    load: KeepaliveTraffic
    after: float | None

    def __str__(self) -> str:
        duration = f"after {self.after:.1f} s" if self.after else "at once"
        if self.after is None:
            duration = "never"
        return f"{duration}; {self.load.summary}"


def note(step: str, subject: str, text: str) -> None:
    """
    Print the result of a step, and store it for `make steps`.
    """
    show(f"{subject}: {step}: {text}")
    file = os.environ.get("AUTOEXIT_STEPS")
    if file:
        path = Path(file)
        results = json.loads(path.read_text()) if path.exists() else {}
        results.setdefault(step, {})[subject] = text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1))


def job_traffic(job: DockerJob) -> KeepaliveTraffic:
    """
    Return clients that send 160 requests a second to the job's public port.
    """
    return KeepaliveTraffic(job.port, job.host)


def scaled(job: DockerJob, up: int, down: int) -> StepResult:
    """
    Scale up, wait until all respond, then scale down and wait until the stopped ones are gone.
    """
    with job_traffic(job) as load:
        eventually(lambda: len(load.sent) > 200)
        job.scale(up)
        job.await_running(up)
        after = _time_until_seen(load, {f"replica{number}" for number in range(up)})
        job.scale(down)
        job.await_running(down)
        _wait_for_requests(load, 300)
    return StepResult(load, after)


def replaced(job: DockerJob) -> StepResult:
    """
    Replace every replica by one on another port, one after the other.
    """
    with job_traffic(job) as load:
        eventually(lambda: len(load.sent) > 200)
        for allocation in job.running("replicas"):
            before = set(job.running("replicas"))
            job.cluster.nomad("alloc", "stop", "-detach", allocation)
            eventually(partial(_is_other, job, before), 30)
            job.await_running(len(before))
            _wait_for_requests(load, 600)
    good = [sent for sent in load.sent[-100:] if sent.status == 200]
    return StepResult(load, 0.0 if len(good) == 100 else None)


def agent_restarted(job: DockerJob) -> KeepaliveTraffic:
    """
    Stop the client's agent for a while and start it again.
    """
    client = job.cluster.client
    with job_traffic(job) as load:
        eventually(lambda: len(load.sent) > 200)
        client.stop()
        _wait_for_requests(load, 500)
        client.start()
        job.cluster.await_client()
        _wait_for_requests(load, 500)
    return load


def replica_killed(job: DockerJob) -> StepResult:
    """
    Kill the container of the first replica, and wait until it responds again.
    """
    (victim,) = containers.running(job.running("replicas")[0])
    with job_traffic(job) as load:
        eventually(lambda: len(load.sent) > 200)
        at = time.monotonic()
        containers.docker("kill", victim.id)
        _wait_for_requests(load, 1000)
        after = _time_until_seen(load, {"replica0", "replica1"}, since=at + 0.5)
    return StepResult(load, after)


def nginx_killed(job: DockerJob) -> StepResult:
    """
    Kill nginx's master inside the balancer, and wait for the next response.
    """
    (container,) = containers.running(job.balancer)
    (master,) = [pid for pid, _ in container.processes if _is_master(pid)]
    with job_traffic(job) as load:
        eventually(lambda: len(load.sent) > 200)
        # Its workers too: the old pattern must restart both.
        workers = psutil.Process(master).children()
        at = time.monotonic()
        for process in [psutil.Process(master), *workers]:
            process.kill()
        found = _until(lambda: any(s.at > at and s.status == 200 for s in list(load.sent)), 15.0)
        after = time.monotonic() - at if found else None
    return StepResult(load, after)


def slow_request(job: DockerJob, seconds: float) -> tuple[Thread, list[Answer | Exception]]:
    """
    Start a request of this duration; the list has its result when the thread ends.
    """
    found: list[Answer | Exception] = []

    def send() -> None:
        try:
            path = f"/slow?seconds={seconds}"
            found.append(get(job.port, path, host=job.host, timeout=seconds + 10))
        except Exception as error:  # noqa: BLE001 - any exception is a result
            found.append(error)

    thread = Thread(target=send, daemon=True)
    thread.start()
    return thread, found


def outcome(found: list[Answer | Exception]) -> str:
    """
    Return the result of a request as text.
    """
    (one,) = found
    return str(one.status) if isinstance(one, Answer) else f"cut ({type(one).__name__})"


def endings(job: DockerJob) -> str:
    """
    Return how the allocations of a job ended, as text.
    """
    return ", ".join(
        f"{number} x `{status}` with code {code}"
        for (status, code), number in sorted(job.endings.items())
    )


def _is_other(job: DockerJob, before: set[str]) -> bool:
    return bool(set(job.running("replicas")) - before)


def _wait_for_requests(load: KeepaliveTraffic, count: int) -> None:
    goal = len(load.sent) + count
    eventually(lambda: len(load.sent) >= goal, 60)


def _time_until_seen(load: KeepaliveTraffic, names: set[str], since: float = 0.0) -> float | None:
    began = time.monotonic()
    since = since or began

    def all_answer() -> bool:
        late = list(load.sent)[-4000:]
        return names <= {sent.text for sent in late if sent.at >= since and sent.status == 200}

    return time.monotonic() - began if _until(all_answer, MAX_WAIT) else None


def _until(fact: object, within: float) -> bool:
    assert callable(fact)
    try:
        eventually(fact, within, 0.02)
    except AssertionError:
        return False
    return True


def _is_master(pid: int) -> bool:
    try:
        return " ".join(psutil.Process(pid).cmdline()).startswith("nginx: master")
    except psutil.Error:
        return False
