"""
From a plan to bytes.
"""

import pytest

from supervisor import settings
from supervisor.launch import read_templates
from supervisor.model import Mode, Plan
from supervisor.render import Bundle, Frame, Renderer, digest_of, rotated
from tests.support.play import endpoints

OLD, NEW = (1, 22, 1), (1, 27, 4)
SERVING = Plan(endpoints(1, 2, 3), Mode.SERVE)


def frame(nginx: tuple[int, ...] = NEW, user: str = "", **environ: str) -> Frame:
    """Return a frame for this nginx and these settings."""
    chosen = settings.read({"SERVICE_NAME": "web", **environ}, lambda _: False)
    return Frame(chosen, nginx, "/run/x", 2, 1024, 512, ("0.0.0.0:80", "[::]:80 ipv6only=on"), user)


def bundle(given: Frame, plan: Plan = SERVING, attempt: int = 1, turn: int = 0) -> Bundle:
    """Render a plan."""
    return Renderer(given, read_templates()).bundle(
        plan, attempt, turn, {"conf.d/x.conf": b"# x\n"}
    )


def text(made: Bundle, name: str = "upstream.conf") -> str:
    """Return one rendered file."""
    return made.files[name].decode()


def test_the_generation_is_in_the_file_that_it_names() -> None:
    """
    The digest is over every byte; the number of the attempt makes it unique.
    """
    first, again = bundle(frame()), bundle(frame(), attempt=2)

    assert first.digest == again.digest
    assert f"{first.digest}-1" == first.generation
    assert f'return 200 "{first.generation}";' in text(first)
    assert "pending" not in text(first)


@pytest.mark.parametrize(
    "other",
    [
        bundle(frame(), Plan(endpoints(1, 2), Mode.SERVE)),
        bundle(frame(), turn=1),
        bundle(frame(OLD)),
        bundle(frame(READY_PATH="off")),
        Renderer(frame(), read_templates()).bundle(SERVING, 1, 0, {"conf.d/x.conf": b"# y\n"}),
        Renderer(frame(), read_templates()).bundle(SERVING, 1, 0, {"conf.d/y.conf": b"# x\n"}),
    ],
)
def test_whatever_differs_differs_in_the_digest(other: Bundle) -> None:
    """
    Endpoints, their order, nginx's version, settings, the operator's files and their names.
    """
    assert bundle(frame()).digest != other.digest


def test_an_older_nginx_keeps_no_idle_connections() -> None:
    """
    keepalive_min_timeout came with 1.27.4; without it a reload would lose requests on them.
    """
    assert "keepalive_min_timeout 1s;" in text(bundle(frame(NEW)), "nginx.conf")
    assert "keepalive_timeout 0;" in text(bundle(frame(OLD)), "nginx.conf")


@pytest.mark.parametrize(
    "method, directive",
    [
        ("least_conn", "    least_conn;\n"),
        ("random", "    random two least_conn;\n"),
        ("ip_hash", "    ip_hash;\n"),
    ],
)
def test_methods_are_directives(method: str, directive: str) -> None:
    """
    Round robin is what nginx does without one.
    """
    assert directive in text(bundle(frame(LB_METHOD=method)))
    assert directive not in text(bundle(frame(LB_METHOD="round_robin")))


def test_no_endpoint_is_a_503_that_a_program_can_read() -> None:
    """
    No upstream, no proxy: Retry-After and the state.
    """
    made = text(bundle(frame(), Plan((), Mode.NO_ENDPOINTS)))

    assert "upstream service" not in made
    assert "proxy_pass" not in made
    assert "add_header Retry-After 1 always;" in made
    assert """return 503 '{"state": "no_endpoints"}\\n';""" in made
    assert 'return 503 "no_endpoints\\n";' in made


def test_no_dead_endpoint_is_blacklisted() -> None:
    """
    One poison request must not take every replica out.
    """
    assert 3 == text(bundle(frame())).count(" max_fails=0;")


def test_the_order_of_servers_turns() -> None:
    """
    All are there in each turn.
    """
    assert endpoints(1, 2, 3)[1:] + endpoints(1) == rotated(endpoints(1, 2, 3), 4)
    assert () == rotated((), 4)


def test_the_zone_grows_with_the_endpoints() -> None:
    """
    2 KiB a server is twice what nginx needs; 256 KiB is the least.
    """
    assert "zone service 256k;" in text(bundle(frame()))
    assert "zone service 20000k;" in text(
        bundle(frame(), Plan(endpoints(*range(1, 10001)), Mode.SERVE))
    )


def test_bodies_are_streamed_unless_a_size_is_set() -> None:
    """
    A model's input may be larger than any buffer.
    """
    unlimited, limited = bundle(frame()), bundle(frame(MAX_BODY_SIZE="20m"))

    assert "client_max_body_size 0;" in text(unlimited, "nginx.conf")
    assert "proxy_request_buffering off;" in text(unlimited, "nginx.conf")
    assert "client_max_body_size 20971520;" in text(limited, "nginx.conf")
    assert "proxy_request_buffering on;" in text(limited, "nginx.conf")


def test_workers_have_a_user_of_their_own_under_root() -> None:
    """
    Elsewhere they run as we do.
    """
    assert "user www-data www-data;" in text(bundle(frame(user="www-data www-data")), "nginx.conf")
    assert "\nuser " not in text(bundle(frame()), "nginx.conf")


def test_the_ready_path_can_be_dropped() -> None:
    """
    READY_PATH=off leaves the whole public port to the replicas.
    """
    assert "location = /-/ready {" in text(bundle(frame()))
    assert "/-/ready" not in text(bundle(frame(READY_PATH="off")))


def test_braces_end_the_file() -> None:
    """
    A file that was cut off anywhere is a syntax error, and never a shorter list of servers.
    """
    made = text(bundle(frame()))

    assert made.rstrip().endswith("}")
    assert made.count("{") == made.count("}")


def test_names_cannot_imitate_contents() -> None:
    """
    The digest separates names from bytes.
    """
    assert digest_of({"ab": b"c"}) != digest_of({"a": b"bc"})
