"""
The deadline of the whole job: a Nomad variable that the balancer and commands under `exec` follow.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.durations import format_instant
from tests.support.certificates import Authority
from tests.support.exec_process import ExecProcess
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.nomad_faults import status
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port
from tools import onefile

PATH = "nomad/jobs/lb"
IN_NOMAD = {
    "NOMAD_JOB_ID": "lb",
    "NOMAD_TOKEN": TOKEN,
    "NOMAD_ALLOC_ID": "lb-1",
    "ALLOW_NETWORKS": "127.0.0.0/8",
}

Supervise = Callable[..., Supervised]
RunExec = Callable[..., ExecProcess]


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The one file.
    """
    return onefile.make(tmp_path_factory.mktemp("onefile") / "autoexit.pyz")


@pytest.fixture
def guarded() -> Iterator[FakeNomad]:
    """
    A fake Nomad with ACLs on; no policy permits to write.
    """
    with FakeNomad(acl=True) as server:
        yield server


@pytest.fixture
def run_exec(file: Path, nomad: FakeNomad) -> Iterator[RunExec]:
    """
    Start a command under the one file, in a job of the fake Nomad.
    """
    started: list[ExecProcess] = []

    def start(*command: str, **settings: str) -> ExecProcess:
        words = (sys.executable, "-I", str(file))
        access = {"NOMAD_ADDR": nomad.address, **IN_NOMAD, **settings}
        process = ExecProcess(*command, pid1=False, exec_words=words, **access)
        started.append(process)
        return process

    yield start
    for process in started:
        sys.stdout.write(f"{process.lines}\n{process.output}\n")
        process.close()


def at(seconds: float) -> str:
    """
    Return an instant this many seconds from now, in milliseconds.
    """
    moment = time.time() + seconds
    return f"{format_instant(moment)[:-1]}.{int(moment % 1 * 1000):03d}Z"


def serving(
    supervise: Supervise, replica: Replica, nomad: FakeNomad, **settings: str
) -> Supervised:
    """
    Start a balancer in the job, whose replica is in another allocation of it.
    """
    nomad.set("web", [replica.endpoint], job="lb")
    subject = supervise(nomad=nomad, pid1=False, LOG_LEVEL="debug", **{**IN_NOMAD, **settings})
    subject.ready(status=200)
    eventually(lambda: nomad.variables.blocked, what="the follower waits for a change")
    return subject


def server(port: int) -> tuple[str, ...]:
    """
    Return the command of a server.
    """
    return (sys.executable, "-I", "-m", "http.server", "--bind", "127.0.0.1", str(port))


def typed(subject: Supervised, *words: str) -> "subprocess.CompletedProcess[str]":
    """
    Run a command beside the balancer.
    """
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"RUNTIME_DIR": str(subject.find("supervisor.sock").parent), "PATH": "/usr/bin:/bin"},
        timeout=20,
    )


def remaining(subject: Supervised) -> float:
    """
    Return the seconds until the deadline, from the status.
    """
    left: float = json.loads(typed(subject, "status", "--json").stdout)["deadline"]["remaining"]
    return left


class TestBalancer:
    """
    The balancer follows the variable.
    """

    def test_a_variable_that_is_typed_by_hand_moves_the_deadline(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        Within a second; it is then marked as one of this run, and other items stay.
        """
        (one,) = replicas("one")
        planned = at(3600)
        subject = serving(supervise, one, nomad, DEADLINE=planned)
        nomad.variables.put(PATH, {"deadline": at(7200), "theirs": "1"})
        line = subject.wait_for_log("deadline.moved", 1.0)
        items = eventually(lambda: "planned" in (found := nomad.variables.items(PATH)) and found)

        assert "hand" == line["moved_by"] == items["moved_by"]
        assert 7190 < remaining(subject) <= 7200
        assert planned[:19] == items["planned"][:19]
        assert "1" == items["theirs"]

    def test_it_ends_at_the_moved_deadline(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        Shortened: it drains and exits with 0; a later start asks Nomad, and exits with 0 again.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, nomad, DEADLINE=at(3600))
        end = time.time() + 1.5
        nomad.variables.put(PATH, {"deadline": at(1.5)})

        assert 0 == subject.wait(10)
        assert abs(time.time() - end) < 1
        assert subject.ended
        assert "deadline" == subject.ended["reason"]

    def test_removing_it_restores_the_planned_deadline(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        Once a second look confirms that it is gone.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, nomad, DEADLINE=at(3600))
        nomad.variables.put(PATH, {"deadline": at(7200)})
        subject.wait_for_log("deadline.moved", 1.0)
        nomad.variables.purge(PATH)
        line = subject.wait_for_log("deadline.moved", 5.0, moved_by="variable removed")

        assert 3500 < line["remaining"] <= 3600
        assert 3500 < remaining(subject) <= 3600

    @pytest.mark.parametrize(
        "deadline,settings,reason",
        [
            ("tomorrow", {}, "expected a time"),
            ("2020-01-01T00:00:00Z", {}, "was past when it was set"),
            ("2099-01-01T00:00:00Z", {"MAX_TTL": "2h"}, "the limit set by MAX_TTL"),
        ],
    )
    def test_a_value_that_cannot_be_meant_is_refused(
        self,
        *,
        supervise: Supervise,
        replicas: Callable[..., list[Replica]],
        nomad: FakeNomad,
        deadline: str,
        settings: dict[str, Any],
        reason: str,
    ) -> None:
        """
        It changes nothing; the log and the status have the reason.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, nomad, DEADLINE=at(3600), **settings)
        nomad.variables.put(PATH, {"deadline": deadline})
        line = subject.wait_for_log("deadline.not_moved", 2.0)

        assert reason in line["reason"]
        assert 3500 < remaining(subject) <= 3600

    def test_a_variable_of_an_earlier_run_is_ignored(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        It replaces another planned deadline, and was modified before this start.
        """
        (one,) = replicas("one")
        items = {"deadline": at(9000), "planned": at(-500), "moved_by": "extend"}
        nomad.variables.put(PATH, items, at=time.time() - 600)
        subject = serving(supervise, one, nomad, DEADLINE=at(3600))
        line = subject.wait_for_log("deadline.not_moved", 2.0)

        assert "of an earlier run" in line["reason"]
        assert 3500 < remaining(subject) <= 3600

    def test_a_later_start_takes_the_moved_deadline(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        A balancer that is placed after the planned deadline serves until the moved one.
        """
        (one,) = replicas("one")
        planned = at(-5)
        items = {"deadline": at(3600), "planned": planned, "moved_by": "extend"}
        nomad.variables.put(PATH, items, at=time.time() - 60)
        subject = serving(supervise, one, nomad, DEADLINE=planned)

        assert 3500 < remaining(subject) <= 3600

    def test_nomad_away_changes_nothing(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        The moved deadline stays; a move that was made meanwhile counts when Nomad is back.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, nomad, DEADLINE=at(3600))
        nomad.variables.put(PATH, {"deadline": at(7200)})
        subject.wait_for_log("deadline.moved", 1.0)
        nomad.stop()
        subject.wait_for_log("job_deadline.failed", 5.0)
        assert 7100 < remaining(subject) <= 7200
        nomad.variables.put(PATH, {"deadline": at(9000)})
        nomad.start()
        subject.wait_for_log("job_deadline.recovered", 6.0)

        eventually(lambda: 8900 < remaining(subject) <= 9000)


class TestRequests:
    """
    `extend` and `stop` write the variable.
    """

    def test_an_extension_moves_the_whole_job(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        The answer has the number of replicas; the variable names the planned deadline.
        """
        (one,) = replicas("one")
        planned = at(3600)
        subject = serving(supervise, one, nomad, DEADLINE=planned)
        done = typed(subject, "extend", "1h")
        items = nomad.variables.items(PATH)

        assert (0, "") == (done.returncode, done.stderr)
        assert done.stdout.startswith("balancer and 1 replica until 20")
        assert ("extend", planned[:19]) == (items["moved_by"], items["planned"][:19])
        assert 7100 < remaining(subject) <= 7200

    def test_two_extensions_add_up(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        Each counts from the deadline that the one before has set.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, nomad, DEADLINE=at(3600))

        assert [0, 0] == [typed(subject, "extend", "1h").returncode for _ in range(2)]
        assert 10700 < remaining(subject) <= 10800

    def test_without_the_right_nothing_moves(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], guarded: FakeNomad
    ) -> None:
        """
        The answer has the policy, the command to type, and --only-balancer, which moves it alone.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, guarded, DEADLINE=at(3600))
        done = typed(subject, "extend", "1h")

        assert (1, "") == (done.returncode, done.stdout)
        assert "only the balancer would move" in done.stderr
        assert "jobs/extend.policy.hcl" in done.stderr
        assert "nomad var put -force nomad/jobs/lb deadline=" in done.stderr
        assert 3500 < remaining(subject) <= 3600
        assert {} == guarded.variables.items(PATH)

        done = typed(subject, "extend", "1h", "--only-balancer")

        assert 0 == done.returncode
        assert "only the balancer's" in done.stdout
        assert 7100 < remaining(subject) <= 7200

    def test_with_the_right_it_moves(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], guarded: FakeNomad
    ) -> None:
        """
        The policy gives the right to write; it takes effect at once.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, guarded, DEADLINE=at(3600))
        guarded.rights.add("write")

        assert 0 == typed(subject, "extend", "1h").returncode
        assert "extend" == guarded.variables.items(PATH)["moved_by"]

    def test_a_balancer_of_another_jobs_replicas_moves_alone(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], guarded: FakeNomad
    ) -> None:
        """
        Without the right, too: no replica of its own job is left behind.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, guarded, DEADLINE=at(3600))
        guarded.set("web", [one.endpoint], job="other")
        eventually(lambda: subject.log_lines("endpoints.changed") or True)

        def moved() -> bool:
            return "only the balancer's" in typed(subject, "extend", "1h").stdout

        eventually(moved, 5)
        assert 7100 < remaining(subject) <= 7200

    def test_stop_ends_the_whole_job(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        The variable ends the other tasks, and the balancer shuts down.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, nomad, DEADLINE=at(3600))
        done = typed(subject, "stop")

        assert 0 == done.returncode
        assert "1 replica of this job end after that" in done.stdout
        assert 0 == subject.wait(10)
        assert subject.ended
        assert "stop requested" == subject.ended["reason"]
        assert "stop" == nomad.variables.items(PATH)["moved_by"]

    def test_without_an_answer_nothing_moves(
        self, supervise: Supervise, replicas: Callable[..., list[Replica]], nomad: FakeNomad
    ) -> None:
        """
        A server that fails is reported within the time that the command waits.
        """
        (one,) = replicas("one")
        subject = serving(supervise, one, nomad, DEADLINE=at(3600))
        nomad.fault(status(500))
        done = typed(subject, "extend", "1h")

        assert 1 == done.returncode
        assert "nothing has moved" in done.stderr
        assert 3500 < remaining(subject) <= 3600


class TestExec:
    """
    A command under the one file follows the variable.
    """

    def test_it_ends_at_the_moved_deadline(self, run_exec: RunExec, nomad: FakeNomad) -> None:
        """
        Prolonged and then shortened, each within a second; it exits with 0.
        """
        process = run_exec("sleep", "60", DEADLINE=at(2))
        process.wait_for_line("exec.started")
        eventually(lambda: nomad.variables.blocked)
        nomad.variables.put(PATH, {"deadline": at(60)})
        process.wait_for_line("deadline.moved", 1.0)
        time.sleep(2.5)
        assert process.run.exited_at is None
        nomad.variables.put(PATH, {"deadline": at(0.5)})

        assert 0 == process.wait(3)
        assert "deadline" == process.ended["reason"]

    def test_it_ends_at_a_stop_of_the_job(self, run_exec: RunExec, nomad: FakeNomad) -> None:
        """
        A value that a balancer has written counts although it is past.
        """
        process = run_exec("sleep", "60", DEADLINE=at(3600))
        process.wait_for_line("exec.started")
        eventually(lambda: nomad.variables.blocked)
        nomad.variables.put(PATH, {"deadline": at(-0.1), "moved_by": "stop"})

        assert 0 == process.wait(2)

    def test_a_later_start_takes_the_moved_deadline(
        self, run_exec: RunExec, nomad: FakeNomad
    ) -> None:
        """
        A replica that is placed after the planned deadline runs until the moved one; a restart
        within its allocation keeps it while Nomad is away.
        """
        planned = at(-5)
        items = {"deadline": at(60), "planned": planned, "moved_by": "extend"}
        nomad.variables.put(PATH, items, at=time.time() - 60)
        process = run_exec("sleep", "60", DEADLINE=planned)
        assert 50 < process.wait_for_line("exec.started")["remaining"] <= 60
        nomad.stop()
        started = len(process.lines)
        process.again()

        assert started
        assert 50 < process.wait_for_line("exec.started")["remaining"] <= 60

    def test_a_variable_of_an_earlier_run_changes_nothing(
        self, run_exec: RunExec, nomad: FakeNomad
    ) -> None:
        """
        It is past, and would end the command: it replaces another planned deadline.
        """
        items = {"deadline": at(-50), "planned": at(-99), "moved_by": "extend"}
        nomad.variables.put(PATH, items, at=time.time() - 90)
        process = run_exec("sleep", "60", DEADLINE=at(1.5))
        line = process.wait_for_line("deadline.not_moved")

        assert "of an earlier run" in line["reason"]
        assert 0 == process.wait(4)
        assert process.run_time() > 1.2

    def test_a_removed_variable_restores_the_planned_deadline(
        self, run_exec: RunExec, nomad: FakeNomad
    ) -> None:
        """
        Once a second look confirms that it is gone.
        """
        process = run_exec("sleep", "60", DEADLINE=at(5))
        process.wait_for_line("exec.started")
        eventually(lambda: nomad.variables.blocked)
        nomad.variables.put(PATH, {"deadline": at(60)})
        process.wait_for_line("deadline.moved", 1.0)
        nomad.variables.purge(PATH)

        assert 0 == process.wait(8)
        assert 4 < process.run_time() < 7

    def test_nomad_away_changes_nothing(self, run_exec: RunExec, nomad: FakeNomad) -> None:
        """
        It is logged once; a move that was made meanwhile counts when Nomad is back.
        """
        process = run_exec("sleep", "60", DEADLINE=at(3600))
        process.wait_for_line("exec.started")
        eventually(lambda: nomad.variables.blocked)
        nomad.stop()
        process.wait_for_line("deadline.not_followed")
        nomad.variables.put(PATH, {"deadline": at(0.2)})
        nomad.start()

        assert 0 == process.wait(8)

    def test_a_command_that_serves_lingers_from_the_moved_deadline(
        self, run_exec: RunExec, nomad: FakeNomad
    ) -> None:
        """
        The balancer drains first.  A move while it lingers counts, too.
        """
        process = run_exec(*server(free_port()), DEADLINE=at(3600), LINGER="20")
        process.wait_for_line("exec.started")
        eventually(lambda: nomad.variables.blocked)
        nomad.variables.put(PATH, {"deadline": at(0.3)})
        assert "2" == process.wait_for_line("lingering")["within"][:1]
        nomad.variables.put(PATH, {"deadline": at(60)})
        eventually(lambda: 2 == len([x for x in process.lines if x["event"] == "deadline.moved"]))

        assert process.run.exited_at is None

    def test_over_mutual_tls(self, run_exec: RunExec, tmp_path: Path) -> None:
        """
        With a CA, a server name and a client certificate, in Nomad's own variables.
        """
        authority, certificate = Authority(tmp_path / "ca", "Nomad's"), tmp_path / "client.pem"
        authority.client(certificate, tmp_path / "key.pem")
        context = authority.server("server.global.nomad", clients=authority)
        with FakeNomad(tls=lambda: context) as secured:
            secured.variables.put(PATH, {"deadline": at(1.5)}, at=time.time() + 1)
            process = run_exec(
                "sleep",
                "60",
                DEADLINE=at(3600),
                NOMAD_ADDR=secured.address,
                NOMAD_CACERT=str(authority.file),
                NOMAD_CLIENT_CERT=str(certificate),
                NOMAD_CLIENT_KEY=str(tmp_path / "key.pem"),
                NOMAD_TLS_SERVER_NAME="server.global.nomad",
            )

            assert 0 == process.wait(6)
            assert "deadline" == process.ended["reason"]

    @pytest.mark.slow
    def test_a_deadline_that_is_read_late_is_due_at_the_reading(
        self, run_exec: RunExec, nomad: FakeNomad
    ) -> None:
        """
        The command lingers longer then: the balancer may read it a few seconds later.
        """
        process = run_exec(*server(free_port()), DEADLINE=at(3600), LINGER="2")
        process.wait_for_line("exec.started")
        eventually(lambda: nomad.variables.blocked)
        nomad.stop()
        process.wait_for_line("deadline.not_followed")
        passes = time.time() + 0.2
        nomad.variables.put(PATH, {"deadline": at(0.2)})
        eventually(lambda: time.time() > passes + 1.5)
        nomad.start()

        assert 7.5 < float(process.wait_for_line("lingering")["within"].removesuffix("s")) <= 8

    def test_without_access_it_keeps_its_deadline(self, file: Path) -> None:
        """
        Without an address of Nomad nothing is asked, and nothing logged.
        """
        words = (sys.executable, "-I", str(file))
        process = ExecProcess("sleep", "0.1", pid1=False, exec_words=words, NOMAD_JOB_ID="lb")
        try:
            assert 0 == process.wait(5)
            assert ["exec.started", "ended"] == [line["event"] for line in process.lines]
        finally:
            process.close()
