import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from supervisor.system import runtime_dir
from tests.support.fake_nomad import FakeNomad
from tests.support.hanging_disk import HangingDisk, why_no_hanging_disk
from tests.support.killed_writes import configs
from tests.support.live_files import all_workers, live_files, live_folder
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def edited(conf: Path) -> None:
    path = conf / "upstream.conf"
    path.write_bytes(path.read_bytes().replace(b"127.0.0.1", b"127.0.0.2"))


def truncated(conf: Path) -> None:
    (conf / "nginx.conf").write_bytes((conf / "nginx.conf").read_bytes()[:200])


def one_deleted(conf: Path) -> None:
    (conf / "upstream.conf").unlink()


def all_deleted(conf: Path) -> None:
    shutil.rmtree(conf.resolve())


def link_deleted(conf: Path) -> None:
    conf.unlink()


def one_added(conf: Path) -> None:
    (conf / "server.d").mkdir()
    (conf / "server.d" / "mine.conf").write_text("# mine\n")


def link_redirected(conf: Path) -> None:
    conf.unlink()
    conf.symlink_to("/etc/nginx")


def link_replaced_by_folder(conf: Path) -> None:
    target = conf.resolve()
    conf.unlink()
    target.rename(conf)


DAMAGE = [
    edited,
    truncated,
    one_deleted,
    all_deleted,
    link_deleted,
    one_added,
    link_redirected,
    link_replaced_by_folder,
]


def test_F09_damaged_live_files_are_restored_at_sighup(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    After any damage to the live files SIGHUP restores every byte; nginx, which never read the
    damage, is not signalled.
    """
    (one,) = replicas("one")
    subject = supervise()
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    workers, conf = all_workers(subject), subject.home / "run" / "conf"
    before, applied = live_files(subject), len(subject.log_lines("reload.applied"))
    for times, damage in enumerate(DAMAGE, 1):
        damage(conf)
        subject.signal(signal.SIGHUP)
        eventually(
            lambda n=times: len(subject.log_lines("config.restored")) == n, what=damage.__name__
        )
        assert conf.is_symlink(), damage.__name__
        assert before == live_files(subject), damage.__name__
    assert workers == subject.nginx_workers()
    assert [] == subject.draining_workers()
    assert applied == len(subject.log_lines("reload.applied"))
    assert "one" == subject.get().text


@pytest.mark.parametrize(
    "damage", [truncated, all_deleted, link_redirected, link_replaced_by_folder]
)
def test_F09_a_change_of_endpoints_repairs_damaged_files(
    supervise: Supervise, replicas: Replicas, damage: Callable[[Path], None]
) -> None:
    """
    A change of endpoints is applied normally while the live files are damaged.
    """
    one, two = replicas("one", "two")
    subject = supervise()
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    damage(subject.home / "run" / "conf")
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)
    assert [] == subject.log_lines("reload.failed")
    assert b"127.0.0.1:%d max_fails" % two.port in live_files(subject)["upstream.conf"]


def test_F09_nginx_restarts_on_restored_files(supervise: Supervise, replicas: Replicas) -> None:
    """
    When nginx is killed while the live files are damaged, the new nginx reads the last good files.
    """
    (one,) = replicas("one")
    subject = supervise()
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    before, master = live_files(subject), subject.nginx_master()
    all_deleted(live_folder(subject))
    assert master
    subject.run_inside(f"kill -9 {next(p.inside for p in subject.processes() if p.pid == master)}")
    subject.wait_for_log("nginx.died")
    eventually(lambda: "one" == subject.get().text)
    assert before == live_files(subject)


def test_F10_a_link_planted_at_a_temporary_name_is_not_followed(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, tmp_path: Path
) -> None:
    """
    Links planted under every name that will be written, of a folder, a file, the new link or the
    pid, are replaced and never followed; their targets are unchanged.
    """
    victim, target = tmp_path / "victim", tmp_path / "target"
    victim.write_text("precious\n")
    target.mkdir()
    (target / "nginx.conf").write_text("precious\n")
    one, two, three = replicas("one", "two", "three")
    subject = Supervised(nomad)
    try:
        run, state = subject.home / "run", subject.home / "state"
        run.mkdir(mode=0o711)
        state.mkdir(mode=0o700)
        for planted in (
            *(run / name for name in (".conf-new", ".writable", "nginx.pid")),
            *(state / name for name in (".state.json-new", ".ended.json-new", "state.json")),
        ):
            planted.symlink_to(victim)
        for number in (1, 2):
            (run / f"conf-{number}").symlink_to(target)
        subject.offer(one)
        assert "one" == subject.start().ready(status=200).text
        subject.wait_for_log("reload.applied", mode="serve")
        for number in (2, 3):
            (run / f"conf-{number}").symlink_to(target)
        (run / ".conf-new").symlink_to(victim)
        subject.offer(two)
        eventually(lambda: "two" == subject.get().text)
        eventually(lambda: not (run / "conf-3").exists())
        (run / "conf-3").mkdir()  # another user's folder with a planted link
        (run / "conf-3" / "upstream.conf").symlink_to(victim)
        subject.offer(three)
        eventually(lambda: "three" == subject.get().text)
        subject.signal(signal.SIGTERM)
        assert 0 == subject.wait()
        assert subject.state
        assert not (state / "state.json").is_symlink()
    finally:
        subject.close()
    assert "precious\n" == victim.read_text()
    assert ["nginx.conf"] == [path.name for path in target.iterdir()]
    assert "precious\n" == (target / "nginx.conf").read_text()


def test_F10_a_planted_runtime_folder_is_not_used(tmp_path: Path) -> None:
    """
    A runtime folder that is a link is refused with a reason.
    """
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "run").symlink_to(target)
    folder, errors = runtime_dir._first_usable([str(tmp_path / "run")])
    assert folder is None
    assert [f"{tmp_path}/run: Operation not permitted"] == errors or "owned by" in errors[0]
    assert [] == list(target.iterdir())


def test_a_disk_that_fails_costs_no_kept_configuration(tmp_path: Path) -> None:
    """
    On a disk that fails every access, a configuration that nginx serves is kept, and another one
    discarded; what is left of them is removed once the disk works.
    """
    folder = tmp_path / "run"
    folder.mkdir()
    why_not = why_no_hanging_disk(tmp_path / "tried")
    if why_not:
        pytest.skip(why_not)
    store = configs(folder)
    for attempt in (1, 2, 3):
        store.stage(attempt, Plan((Endpoint("10.0.0.1", attempt),), Mode.SERVE), 0)
        if attempt == 1:
            store.keep(1)
    with HangingDisk(folder) as disk:
        disk.fail()
        store.keep(2)
        store.discard(3)
        with pytest.raises(OSError, match="not connected"):
            store.lost_sockets()
    store.stage(4, Plan((Endpoint("10.0.0.1", 4),), Mode.SERVE), 0)
    store.keep(4)

    assert ["conf-4"] == [path.name for path in folder.glob("conf-*")]
