"""
Which of the group's ports is the public one, and whether clients can reach it.
"""

import pytest

from supervisor.core.config import load
from supervisor.core.config.listen_port import chosen_label, default_port, unpublished
from supervisor.core.config.paths import runtime_candidates


def job(*labels: str, **environ: str) -> dict[str, str]:
    """Return the environment of a task in a group with these ports: label=inner[:host]."""
    given = dict(environ)
    for each in labels:
        label, _, ports = each.partition("=")
        inner, _, host = ports.partition(":")
        given[f"NOMAD_PORT_{label}"] = inner
        given[f"NOMAD_HOST_PORT_{label}"] = host or inner
    return given


@pytest.mark.parametrize(
    "given, label, port",
    [
        (job(), "", "8080"),
        (job("http=21000"), "http", "21000"),
        (job("http=21000", "web=21001"), "http", "21000"),
        (job("web=21001"), "web", "21001"),
        (job("web=21001", "admin=21002"), "web", "21001"),
        (job("web=8080:21001"), "web", "8080"),
        (job("metrics=21002", ADMIN_PORT="21002"), "", "8080"),
        (job("web=21001", "metrics=21002", ADMIN_PORT="21002"), "web", "21001"),
        (job("web=21001", "model=21002"), "", "8080"),
        (job("admin=21002"), "", "8080"),
        (job("connect_proxy_web=21003"), "", "8080"),
        (job("web=21001", "connect_proxy_web=21003"), "web", "21001"),
        (job("web=-1"), "", "8080"),
        (job("web=0"), "", "8080"),
        (job("web=99999"), "", "8080"),
    ],
)
def test_http_or_the_only_label_is_the_default(
    given: dict[str, str], label: str, port: str
) -> None:
    """
    The same one for the settings, the folder that commands look in, and the own endpoints.
    """
    settings = load.read({"SERVICE_NAME": "web", **given}, lambda _: False, ["10.0.0.5"])

    assert (label, port) == (chosen_label(given), default_port(given))
    assert int(port) == settings.listen_port
    assert ("" if label == "http" else label) == settings.task_environment.port_label
    assert f"/run/autoexit-nginx/{port}" == runtime_candidates(given, 0)[0]
    assert ("10.0.0.5", int(port)) in settings.address_policy.own


def test_a_port_that_is_set_is_never_replaced() -> None:
    """
    The operator's port counts; no label is chosen.
    """
    given = {"SERVICE_NAME": "web", "LISTEN_PORT": "9000", **job("web=21001")}
    settings = load.read(given, lambda _: False)

    assert (9000, "") == (settings.listen_port, settings.task_environment.port_label)
    assert "public port 9000" in settings.task_environment.port_warning


@pytest.mark.parametrize(
    "given, port, label",
    [
        pytest.param(job("web=21001", "model=21002"), 8080, "model", id="two labels"),
        pytest.param(job("web=21001"), 8080, "web", id="set to the default by hand"),
        pytest.param(job("http=21000", "a=1"), 8080, "http", id="set, beside http"),
        pytest.param(
            job("web=8080:21001", NOMAD_ALLOC_ADDR_web="172.26.64.2:8080"),
            21001,
            "web",
            id="the host's port in a namespace",
        ),
    ],
)
def test_a_port_that_no_client_reaches_is_reported(
    given: dict[str, str], port: int, label: str
) -> None:
    """
    With the ports of the group and the line to add.
    """
    text = unpublished(given, port)

    assert f"public port {port} is none of the group's ports" in text
    assert f'LISTEN_PORT = "${{NOMAD_PORT_{label}}}"' in text
    assert f"`to = {port}`" in text


@pytest.mark.parametrize(
    "given, port",
    [
        pytest.param({}, 8080, id="no ports"),
        pytest.param(job("web=21001", "model=8080"), 8080, id="one of several"),
        pytest.param(job("web=8080:21001"), 8080, id="mapped by to"),
        pytest.param(job("web=8080:21001"), 21001, id="the host's port on the host's network"),
        pytest.param(job("web=21001", "admin=8080"), 8080, id="admin"),
        pytest.param(job("connect_proxy_web=21003"), 8080, id="behind Consul's sidecar"),
        pytest.param(job("web=1", LISTEN_ADDRESS="127.0.0.1, [::1]"), 8080, id="for another task"),
    ],
)
def test_a_port_that_clients_reach_is_not_reported(given: dict[str, str], port: int) -> None:
    """
    A warning that is wrong would be ignored when it is right.
    """
    assert "" == unpublished(given, port)


@pytest.mark.parametrize(
    "environ, is_reported",
    [
        ({"NOMAD_ALLOC_ID": "9f6d5ac4"}, True),
        ({"NOMAD_ALLOC_ID": "9f6d5ac4", "LISTEN_ADDRESS": "127.0.0.1"}, False),
        ({"NOMAD_ALLOC_ID": "9f6d5ac4", "NOMAD_PORT_connect_proxy_web": "21003"}, False),
        ({}, False),
    ],
)
def test_a_group_without_ports_is_reported(
    environ: dict[str, str],
    is_reported: bool,  # noqa: FBT001
) -> None:
    """
    The reason has the block to add; in a container only, as others listen on the host's addresses.
    """
    given = {"SERVICE_NAME": "web", **environ}
    inside, outside = (
        load.read(given, exists).task_environment.port_warning
        for exists in (lambda path: path == "/.dockerenv", lambda _: False)
    )

    assert "" == outside
    assert is_reported == ('add `network { port "http" {} }`' in inside)


def test_a_partly_private_address_is_reported() -> None:
    """
    One address other than loopback is for clients.
    """
    assert unpublished(job("web=1", LISTEN_ADDRESS="127.0.0.1,10.0.0.5"), 8080)
