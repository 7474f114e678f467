"""
The operator's scripts, run before nginx as in the official image.
"""

import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.deadlines import on_time
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]

STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


def put(subject: Supervised, name: str, text: str, mode: int = 0o755) -> Path:
    """
    Write an operator's script.
    """
    folder = subject.home / "entrypoint"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


def test_scripts_run_in_order_before_nginx(prepare: Prepare, replicas: Replicas) -> None:
    """
    Scripts run one after another by number, with the environment except Nomad's token; nginx serves
    the files they write from its start.  Each run and each line of output is logged in one line.
    """
    subject = prepare(*replicas("one"), GREETING="hello", NOMAD_TOKEN="secret")
    config = subject.home / "operator" / "server.d" / "greeting.conf"
    put(
        subject,
        "9-early.sh",
        "#!/bin/sh\n"
        'echo "$GREETING to ${NOMAD_TOKEN-nobody}" >&2\n'
        f'echo "location /greet {{" >"{config}"\n',
    )
    put(subject, "10-late.sh", f'#!/bin/sh\necho "return 200 $GREETING; }}" >>"{config}"\n')
    subject.start().ready(status=200)

    subject.wait_for_log("nginx.ready")
    assert "hello" == subject.get("/greet").text
    events = [line["event"] for line in subject.logs]
    ran = [line["script"] for line in subject.log_lines("entrypoint.ran")]
    assert ["9-early.sh", "10-late.sh"] == ran
    assert events.index("nginx.started") > max(
        index for index, event in enumerate(events) if event == "entrypoint.ran"
    )
    (output,) = subject.log_lines("entrypoint.output", script="9-early.sh")
    assert "hello to nobody" == output["text"]
    assert "secret" not in subject.recent_output


def test_a_script_without_permission_is_skipped_and_logged(
    prepare: Prepare, replicas: Replicas
) -> None:
    """
    A file that is not executable, or that would set shell variables, is skipped with a log line.
    """
    subject = prepare(*replicas("one"))
    ran = subject.home / "ran"
    put(subject, "10-plain.sh", f'#!/bin/sh\ntouch "{ran}"\n', 0o644)
    put(subject, "20-variables.envsh", f'touch "{ran}"\n')
    put(subject, "README", "no script")
    subject.start().ready(status=200)
    subject.wait_for_log("nginx.ready")

    ignored = {line["script"]: line["reason"] for line in subject.log_lines("entrypoint.ignored")}
    assert {"10-plain.sh", "20-variables.envsh"} == ignored.keys()
    assert "not executable" in ignored["10-plain.sh"]
    assert not ran.exists()


def test_a_failing_script_stops_the_start(prepare: Prepare, replicas: Replicas) -> None:
    """
    A failing script leads to exit code 78 and one line that names it; the next script and nginx do
    not run.
    """
    subject = prepare(*replicas("one"))
    put(subject, "10-bad.sh", "#!/bin/sh\necho no certificate here\nexit 3\n")
    put(subject, "20-next.sh", "#!/bin/sh\n")
    subject.start()

    assert 78 == subject.wait()
    (line,) = subject.errors
    assert "10-bad.sh: it exited with code 3" in line
    assert subject.log_lines("entrypoint.output", text="no certificate here")
    assert ["10-bad.sh"] == [line["script"] for line in subject.log_lines("entrypoint.ran")]
    assert [] == subject.log_lines("nginx.started")
    assert subject.ended
    assert 78 == subject.ended["code"]


@pytest.mark.parametrize("text", ["exit 0\n", "#!/no/such/shell\n"], ids=["none", "nowhere"])
def test_a_script_that_cannot_be_executed_stops_the_start(
    prepare: Prepare, replicas: Replicas, text: str
) -> None:
    """
    A script without a `#!` line, or with a missing interpreter, leads to exit code 78 and one line
    that says so.
    """
    subject = prepare(*replicas("one"))
    put(subject, "10-what.sh", text)

    assert 78 == subject.start().wait()
    (line,) = subject.errors
    assert line.startswith("cannot execute")
    assert "10-what.sh" in line


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "plain"])
@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
def test_a_stop_signal_ends_a_script_that_hangs(
    prepare: Prepare, replicas: Replicas, number: int, *, pid1: bool
) -> None:
    """
    A stop signal while a script hangs leads to exit code 0 and ends the script and its children,
    even if it ignores TERM; nginx does not run.
    """
    subject = prepare(*replicas("one"), pid1=pid1)
    put(subject, "10-hangs.sh", "#!/bin/sh\ntrap '' TERM\necho here\nsleep 60\nsleep 60\n")
    subject.start().wait_for_log("entrypoint.output", text="here")
    at = time.monotonic()
    subject.signal(number)

    assert 0 == subject.wait(5)
    assert time.monotonic() - at < 2.0
    assert [] == subject.log_lines("nginx.started")
    assert subject.ended
    assert "stop signal" == subject.ended["reason"]
    assert subject.ended["during"].endswith("10-hangs.sh")
    eventually(lambda: [] == subject.processes(), 1)


def test_the_deadline_ends_a_script_that_hangs(prepare: Prepare, replicas: Replicas) -> None:
    """
    The deadline is kept while a script hangs: exit code 0.
    """
    subject = prepare(*replicas("one"), TTL="2s")
    put(subject, "10-hangs.sh", "#!/bin/sh\nexec sleep 60\n")
    subject.start()

    assert 0 == subject.wait(5)
    began, ended = (
        datetime.fromisoformat(subject.log_lines(event)[0]["time"])
        for event in ("supervisor.started", "ended")
    )
    assert on_time((ended - began).total_seconds(), 2)
    assert subject.ended
    assert ("deadline", 0) == (subject.ended["reason"], subject.ended["code"])


def test_a_script_must_end_within_start_timeout(prepare: Prepare, replicas: Replicas) -> None:
    """
    A script that takes longer than START_TIMEOUT is killed; exit code 78.
    """
    subject = prepare(*replicas("one"), START_TIMEOUT="500ms")
    put(subject, "10-hangs.sh", "#!/bin/sh\nexec sleep 60\n")
    subject.start()

    assert 78 == subject.wait(5)
    (line,) = subject.errors
    assert "START_TIMEOUT=0.5s" in line
    assert [] == subject.processes()


def test_a_background_process_of_a_script_does_no_harm(
    prepare: Prepare, replicas: Replicas
) -> None:
    """
    A process that a script leaves in the background does not delay the start; its output is logged,
    and it leaves no zombie.
    """
    subject = prepare(*replicas("one"))
    put(subject, "10-leaves.sh", "#!/bin/sh\n(sleep 1; echo later) &\n")
    subject.start().ready(status=200)
    subject.wait_for_log("entrypoint.output", text="later")

    eventually(lambda: [] == subject.zombies(), 2)
    assert 200 == subject.get().status


def test_the_job_is_stopped_while_a_script_hangs(prepare: Prepare, nomad: FakeNomad) -> None:
    """
    With AT_DEADLINE=stop-job a deadline during a script sends Nomad one stop request, as a start
    after the deadline does.
    """
    nomad.add("other", "10.0.0.1", 80, job="fit")
    subject = prepare(TTL="2s", AT_DEADLINE="stop-job", NOMAD_JOB_ID="fit", NOMAD_TOKEN=TOKEN)
    put(subject, "10-hangs.sh", "#!/bin/sh\nexec sleep 60\n")
    subject.start()

    assert 0 == subject.wait(6)
    assert ["DELETE"] == [request.method for request in nomad.requests if "/job/" in request.target]
    assert subject.log_lines("job.stop_accepted")
