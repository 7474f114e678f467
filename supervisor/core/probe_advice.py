"""
The next step for an endpoint that is not ready, from the outcome of its last probe.

One rule for each cause that people meet: which setting, which line of the job or which command.
"""

from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_span
from supervisor.core.model import Endpoint
from supervisor.core.probe_outcome import Outcome, OutcomeKind

#: Statuses of an endpoint that requires credentials.
_CREDENTIALS = (401, 403, 407)

#: Statuses of an endpoint that does not accept the probe's Host.
_WRONG_HOST = (400, 421)


def next_step(outcome: Outcome | None, endpoint: Endpoint, settings: Settings) -> str:
    """
    Return what to do about an endpoint that is not ready; None: no probe of it has ended yet.
    """
    if outcome is None:
        return (
            "no probe of it has ended yet; the log names a lack of file descriptors or ports"
            " (local errors are not counted against an endpoint)"
        )
    match outcome.kind:
        case OutcomeKind.PASSED:
            return f"its probes pass; it is ready after HEALTH_RISE={settings.health_rise} of them"
        case OutcomeKind.STATUS:
            return _for_status(outcome.number, endpoint, settings)
        case OutcomeKind.REFUSED:
            return _for_refused(endpoint, settings)
        case OutcomeKind.CONNECT_TIMEOUT:
            return (
                f"{endpoint} cannot be reached from here or is too busy to accept: check firewalls"
                " and the network that the replica registers its address in"
            )
        case OutcomeKind.RESPONSE_TIMEOUT:
            limit = format_span(settings.health_timeout)
            return (
                f"it accepts and does not respond within HEALTH_TIMEOUT={limit}: if it is still"
                " loading, wait; else set HEALTH_PATH to a path that responds faster, or a longer"
                " HEALTH_TIMEOUT"
            )
        case OutcomeKind.CLOSED:
            return (
                "the connection is accepted and closed: Docker's port proxy does so while no"
                " process listens in the container (let the replica listen on 0.0.0.0, and on the"
                " port that its `to` maps), and so does a server that requires TLS (let it serve"
                " plain HTTP)"
            )
        case OutcomeKind.NOT_HTTP:
            return (
                "the server on this port does not use HTTP/1; for another protocol set"
                " HEALTH_CHECK=tcp"
            )
        case OutcomeKind.TLS:
            return (
                "nginx and the probes connect to replicas without TLS: let the replica serve plain"
                " HTTP on this port"
            )
        case OutcomeKind.FAILED:
            return (
                f"{endpoint} cannot be reached from here: let the replica register an address that"
                " the balancer's network has a route to"
            )
        case _:
            return _for_nomad(outcome)


def _for_status(status: int, endpoint: Endpoint, settings: Settings) -> str:
    path = settings.health_path or "/"
    ranges = ",".join(
        str(low) if low == high else f"{low}-{high}" for low, high in settings.health_status
    )
    accepted = f"or accept it with HEALTH_STATUS={ranges},{status}"
    if status in _WRONG_HOST:
        sent = f"HEALTH_HOST={settings.health_host}" if settings.health_host else str(endpoint)
        return (
            f"the probe's Host is {sent}: if the server allows only some hosts, set HEALTH_HOST to"
            " one of them"
        )
    if status in _CREDENTIALS:
        return (
            f"GET {path} needs credentials, or a Host that the server allows (HEALTH_HOST): set"
            f" HEALTH_PATH to a path without login, {accepted}"
        )
    if status == 404:
        source = "HEALTH_PATH" if settings.health_path else "the default of HEALTH_PATH"
        return (
            f"{path} ({source}) does not exist there: set HEALTH_PATH to a path that responds when"
            f" the replica is ready, {accepted}"
        )
    if status >= 500:
        return (
            f"the server itself responds so to GET {path}: it is still loading, or its own log has"
            " the reason"
        )
    return f"GET {path} returns it: set HEALTH_PATH to another path, {accepted}"


def _for_refused(endpoint: Endpoint, settings: Settings) -> str:
    is_loopback = endpoint.host == "::1" or endpoint.host.startswith("127.")
    if is_loopback and settings.task_environment.in_container:
        return (
            f"no process of this container listens on {endpoint}: {endpoint.host} is the container"
            " itself, not the host; let the replica register the host's address (`nomad agent -dev`"
            " uses 127.0.0.1: start it with -network-interface), or run the balancer with"
            ' network_mode = "host"'
        )
    return (
        f"no process listens on {endpoint}: the replica is still starting or has ended, or it"
        " listens on another port or only on 127.0.0.1; let it listen on 0.0.0.0 and the port that"
        " it registers"
    )


def _for_nomad(outcome: Outcome) -> str:
    if outcome.kind is OutcomeKind.CHECK_FAILED:
        return (
            "correct the replica, or the `check` block of its service; `nomad alloc checks ALLOC`"
            " shows the same result"
        )
    if outcome.kind is OutcomeKind.CHECK_PENDING:
        return "wait for the first check, or shorten the `interval` of the service's `check` block"
    return "Nomad must respond before its checks count; endpoints that were ready are probed by TCP"
