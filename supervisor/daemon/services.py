"""
The services that act for the loop, built and started together.
"""

import signal
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.admin import Admin, AdminContext
from supervisor.core import nginx_advice
from supervisor.core.commands import WriteJobVariable
from supervisor.core.config.settings import Settings
from supervisor.core.values import value_class
from supervisor.daemon import exit_report
from supervisor.daemon.file_writer import FileWriter
from supervisor.daemon.inbox import Inbox
from supervisor.discovery import Source
from supervisor.discovery.cache import EndpointCache
from supervisor.health import HealthChecker, prober
from supervisor.nginx import host_limits, public_port
from supervisor.nginx.config_store import ConfigStore
from supervisor.nginx.internal_socket import GenerationPoller, GenerationSockets, new_run
from supervisor.nginx.operator_files import read_operator_files
from supervisor.nginx.process import Nginx, find_binary
from supervisor.nginx.templates import build_renderer
from supervisor.nomad.find_services import ServiceFinder
from supervisor.nomad.stop_job import JobStopper
from supervisor.system import cgroup, process, signals
from supervisor.system.jitter import chance
from supervisor.system.log import Log
from supervisor.system.runtime_dir import RuntimeLock

if TYPE_CHECKING:
    from supervisor.nginx.access_log import AccessLog
    from supervisor.nginx.use_watcher import UseWatcher
    from supervisor.nomad.job_variable import JobVariable

#: From how many connections per worker on no warning is logged.
_FEW_CONNECTIONS = 1024


@value_class(frozen=True, slots=True)
class Services:
    """
    The services that the loop's commands use.
    """

    nginx: Nginx
    writer: FileWriter
    config_store: ConfigStore
    poller: GenerationPoller
    admin: Admin
    log: Log
    sources: tuple[Source, ...]
    health: HealthChecker
    job_stopper: JobStopper
    service_finder: ServiceFinder
    port: int
    worker_count: int
    access_log: "AccessLog | None" = None
    use_watcher: "UseWatcher | None" = None
    job_variable: "JobVariable | None" = None

    def write_job_variable(self, command: WriteJobVariable) -> None:
        """Write the job's variable; no other job writes one."""
        assert self.job_variable is not None
        self.job_variable.write(command)


def build_services(
    settings: Settings,
    lock: RuntimeLock,
    cache: EndpointCache,
    *,
    log: Log,
    inbox: Inbox,
    sources: tuple[Source, ...],
    children: process.Children,
) -> Services:
    """Build the services and start their threads."""
    folder = lock.folder
    binary = find_binary(settings.nginx_binary)
    log.emit(
        "nginx.found",
        path=binary.path,
        version=".".join(map(str, binary.version)),
        runtime=str(folder),
    )
    threading.excepthook = lambda error: exit_report.crash(log, error)
    process.close_inherited()
    process.become_subreaper()
    process.hide_environment()
    worker_count = _worker_count(log)
    _report_connections(worker_count, log)
    sockets = GenerationSockets(folder)
    renderer = build_renderer(settings, binary, folder, run=new_run(), workers=worker_count)
    config_store = ConfigStore(
        folder,
        renderer,
        partial(read_operator_files, Path(settings.operator_dir)),
        sockets,
    )
    config_store.clear()
    poller = GenerationPoller(
        sockets, inbox.post, partial(public_port.answers, renderer.public_listen)
    )
    health = prober(settings, inbox.post, log.redact)
    context = AdminContext(
        folder=folder,
        nginx=".".join(map(str, binary.version)),
        has_stub_status=binary.has_stub_status,
        admin_port=settings.admin_port,
        readers=host_limits.worker_user().rpartition(" ")[2],
        polls=lambda: poller.polls,
        sockets=sockets,
        probes=health.reports,
    )
    admin = Admin(context, inbox.post, log.emit)
    services = Services(
        nginx=Nginx(
            binary,
            folder,
            children,
            log.emit,
            inbox.post,
            listen=renderer.listen,
            repeats_post=settings.retry_post,
            start_timeout=settings.start_timeout,
            advise=lambda text: nginx_advice.next_step(text, settings),
        ),
        writer=FileWriter(
            config_store,
            cache,
            Path(settings.state_dir),
            inbox.post,
            limit=settings.start_timeout,
            restore=(lock.restore, admin.restore),
        ),
        config_store=config_store,
        poller=poller,
        admin=admin,
        log=log,
        sources=sources,
        health=health,
        job_stopper=JobStopper(settings, inbox.post, log.redact),
        service_finder=ServiceFinder(settings, inbox.post, log.redact),
        port=settings.listen_port,
        worker_count=worker_count,
        access_log=_access_log(settings, folder, log),
        use_watcher=_use_watcher(settings, folder, config_store, inbox),
        job_variable=_job_variable(settings, log, inbox),
    )
    for service in (
        services.nginx,
        services.writer,
        services.poller,
        services.admin,
        services.health,
        services.access_log,
        services.use_watcher,
        services.job_variable,
    ):
        if service is not None:
            service.start()

    def on_signal(signum: int) -> None:
        if signum == signal.SIGCHLD:
            for ended in children.reap():
                inbox.post(ended)
        else:
            inbox.post_signal(signum)

    signals.listen(on_signal)
    return services


def _worker_count(log: Log) -> int:
    """Return the number of nginx's workers: as many as the processors and the limits permit."""
    wanted, room = host_limits.worker_count(), cgroup.processes()
    fitting = host_limits.fitting_workers(wanted, room)
    if fitting < wanted:
        reason = f"only {room:.0f} more processes and threads can be started (pids limit)"
        log.emit("workers.reduced", "warning", workers=fitting, wanted=wanted, reason=reason)
    return fitting


def _report_connections(workers: int, log: Log) -> None:
    """Log that the limit of open files permits few connections."""
    files, connections = host_limits.open_files()
    if connections < _FEW_CONNECTIONS:
        log.emit(
            "connections.reduced",
            "warning",
            connections=workers * connections,
            reason=f"nginx may open only {files} files per worker (ulimit -n), two per request",
            hint="raise the limit of open files (Docker: --ulimit nofile=65536)",
        )


def _job_variable(settings: Settings, log: Log, inbox: Inbox) -> "JobVariable | None":
    """Build what follows and writes the job's deadline, if the job has a variable for it."""
    if not settings.job_variable:
        return None
    from supervisor.nomad.job_variable import JobVariable  # noqa: PLC0415 - as above

    return JobVariable(settings, inbox.post, log.redact, chance)


def _access_log(settings: Settings, folder: Path, log: Log) -> "AccessLog | None":
    """Build the reader of the access log if enabled; importing it costs memory."""
    if settings.access_log == "off":
        return None
    from supervisor.nginx.access_log import AccessLog  # noqa: PLC0415

    return AccessLog(folder, log.record, log.emit)


def _use_watcher(
    settings: Settings, folder: Path, config_store: ConfigStore, inbox: Inbox
) -> "UseWatcher | None":
    """Build the watcher of the idle clock if enabled; importing it costs memory."""
    if settings.idle_timeout is None:
        return None
    from supervisor.nginx.use_watcher import UseWatcher  # noqa: PLC0415

    return UseWatcher(folder, settings.listen_port, settings.idle_timeout, config_store, inbox.post)
