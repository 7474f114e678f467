"""
Tests of the test backend, the test clients and the fake nginx.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import get
from tests.support.fake_nginx import FakeNginx
from tests.support.held_connection import HeldConnection
from tests.support.replica import Replica
from tests.support.traffic import Traffic
from tests.support.waiting import eventually, free_port

CONFIG = """\
server {{ listen unix:{folder}/other.sock; location = /ready {{ return 200 "ready"; }} }}
server {{
  listen "unix:{folder}/internal.sock";
  location = /-/generation {{ default_type text/plain; return 200 "{name}"; }}
}}
"""


@pytest.fixture
def replica() -> Replica:
    """
    A replica that is not started.
    """
    return Replica("one")


class TestReplica:
    """
    The backend.
    """

    def test_it_responds_with_its_name_and_counts(self, replica: Replica) -> None:
        """
        GET responds with the name, POST with its body; executions are counted by body.
        """
        with replica:
            assert "one" == get(replica.port).text
            for _ in range(2):
                assert "job 7" == get(replica.port, "/", method="POST", body=b"job 7").text

        assert 2 == replica.executed[b"job 7"]
        assert {"GET /": 1, "POST /": 2} == replica.requests

    def test_a_stop_cuts_open_requests(self, replica: Replica) -> None:
        """
        An abrupt stop cuts open requests and refuses connections; a start opens the same port
        again.
        """
        with replica, HeldConnection.slow(replica.port, 30) as slow:
            eventually(lambda: replica.total)
            replica.stop()

            assert slow.wait(1) < 5
            assert slow.answer is None
            with pytest.raises(ConnectionRefusedError):
                get(replica.port)
            replica.start()
            assert "one" == get(replica.port).text

    def test_a_graceful_stop_completes_requests(self, replica: Replica) -> None:
        """
        A stop that is not abrupt refuses connections and completes open requests.
        """
        with replica, HeldConnection.slow(replica.port, 0.3) as slow:
            eventually(lambda: replica.total)
            replica.stop(abrupt=False)

            slow.wait(2)
            assert slow.answer is not None
            assert "one" == slow.answer.text

    def test_streams_and_tunnels_are_observed(self, replica: Replica) -> None:
        """
        An event stream completes or is cut, a websocket echoes and stays open, a silent connection
        stays open.
        """
        with (
            replica,
            HeldConnection.sse(replica.port, 0.3) as short,
            HeldConnection.sse(replica.port, 60) as long,
            HeldConnection.websocket(replica.port) as tunnel,
            HeldConnection.silent(replica.port) as silent,
        ):
            short.wait(2)
            eventually(lambda: tunnel.status == 101)
            tunnel.send(b"ping")
            eventually(lambda: tunnel.received.endswith(b"ping"))

            assert short.answer is not None
            assert b"data: one" in long.received
            assert (True, True, True) == (long.open, tunnel.open, silent.open)
            replica.stop()
            for hold in (long, tunnel, silent):
                hold.wait(2)
            assert long.answer is None


def test_traffic_records_every_request(replicas: Callable[..., list[Replica]]) -> None:
    """
    Responses are counted by replica, and a time without a server leads to failures.
    """
    (one,) = replicas("one")
    with Traffic(one.port, every=0.001) as traffic:
        eventually(lambda: traffic.answered["one"] > 10)
        assert [] == traffic.failures
        one.stop()
        eventually(lambda: traffic.failures)
        one.start()
        back = traffic.failures[-1].at
        eventually(lambda: traffic.first("one", since=back))

    assert len(traffic.outcomes) == sum(traffic.answered.values()) + len(traffic.failures)


def test_a_failed_wait_reports_the_last_value() -> None:
    """
    The message of a failed wait has its description and the last value or exception.
    """
    with pytest.raises(AssertionError, match=r"a condition, last \[\]"):
        eventually(list, within=0.02, what="a condition")
    port = free_port()
    with pytest.raises(AssertionError, match="ConnectionRefused"):
        eventually(lambda: get(port), within=0.02)


class TestFakeNginx:
    """
    The fake nginx.
    """

    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        """
        A configuration with a generation.
        """
        (tmp_path / "upstream.conf").write_text(CONFIG.format(folder=tmp_path, name="first"))
        (tmp_path / "nginx.conf").write_text("include upstream.conf;")
        return tmp_path / "nginx.conf"

    def run(self, fake: FakeNginx, *words: str | Path) -> subprocess.Popen[str]:
        """
        Run it as the supervisor does, with a minimal environment.
        """
        return subprocess.Popen(
            [str(fake), *map(str, words)],
            env={"PATH": os.environ["PATH"]},
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def generation(self, config: Path) -> str:
        """
        Return the running generation.
        """
        return get(config.parent / "internal.sock", "/-/generation", timeout=0.3).text

    def test_it_is_the_real_one_by_default(self, fake_nginx: FakeNginx) -> None:
        """
        By default it execs nginx; a configured version is printed to stderr.
        """
        with self.run(fake_nginx, "-v") as real:
            _, output = real.communicate(timeout=5)
        assert output.startswith("nginx version: nginx/1.")
        fake_nginx.set(version="1.27.4")
        with self.run(fake_nginx, "-V") as fake:
            assert "nginx version: nginx/1.27.4\n" == fake.communicate(timeout=5)[1]

    @pytest.mark.parametrize("check,code", [("pass", 0), ("fail", 1)])
    def test_the_check_has_the_configured_result(
        self, fake_nginx: FakeNginx, config: Path, check: str, code: int
    ) -> None:
        """
        The check passes or fails, whatever the files contain.
        """
        fake_nginx.set(check=check)

        with self.run(fake_nginx, "-t", "-c", config) as tested:
            assert code == tested.wait(5)

        assert 1 == len(fake_nginx.checks)
        assert [] == fake_nginx.runs

    def test_it_answers_its_generation_and_reloads(
        self, fake_nginx: FakeNginx, config: Path
    ) -> None:
        """
        It serves the generation of its file, reloads at SIGHUP, and exits at a stop signal.
        """
        fake_nginx.set(run="fake")
        with self.run(fake_nginx, "-c", config) as master:
            eventually(lambda: self.generation(config) == "first")
            (config.parent / "upstream.conf").write_text(
                CONFIG.format(folder=config.parent, name="second")
            )
            master.send_signal(signal.SIGHUP)
            eventually(lambda: self.generation(config) == "second")

            fake_nginx.set(answers=False)
            with pytest.raises(TimeoutError):
                self.generation(config)

            fake_nginx.set(obeys_stop=False)
            master.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                master.wait(0.2)
            fake_nginx.set(obeys_stop=True)
            master.send_signal(signal.SIGQUIT)
            assert 0 == master.wait(5)

    @pytest.mark.parametrize(
        "behaviour,code",
        [
            ({"code": 3}, 3),
            ({"code": 255}, 255),
            ({"signal": signal.SIGTERM}, -15),
            ({"signal": signal.SIGKILL}, -9),
            ({"signal": signal.SIGSEGV}, -11),
        ],
    )
    def test_it_exits_as_configured(
        self, fake_nginx: FakeNginx, config: Path, behaviour: dict[str, int], code: int
    ) -> None:
        """
        After its first response it exits with the code, or dies by the signal.
        """
        fake_nginx.set(run="fake", when="answered", **behaviour)
        with self.run(fake_nginx, "-c", config) as master:
            eventually(lambda: self.generation(config) == "first")
            assert code == master.wait(5)

    def test_it_records_how_it_was_run(self, fake_nginx: FakeNginx, config: Path) -> None:
        """
        Command line, environment, descriptors and signals are recorded as the kernel reports them.
        """
        fake_nginx.set(run="fake", when="started", code=1)

        with self.run(fake_nginx, "-c", config) as master:
            assert 1 == master.wait(5)

        (invocation,) = fake_nginx.runs
        assert master.pid == invocation.pid
        assert ("-c", str(config)) == invocation.words
        assert {"PATH"} == set(invocation.environ)
        assert "/dev/null" == invocation.descriptors[0]
        assert {0, 1, 2} == set(invocation.descriptors)
        assert 0 == invocation.blocked


def test_the_garbage_has_no_usable_row() -> None:
    """
    No bad body is a list with a usable row.
    """
    from tests.support.nomad_faults import GARBAGE  # noqa: PLC0415

    for name, body in GARBAGE.items():
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            continue
        rows = found if isinstance(found, list) else []
        good = [r for r in rows if isinstance(r, dict) and type(r.get("Port")) is int]
        assert [] == [r for r in good if isinstance(r.get("Address"), str)], name
