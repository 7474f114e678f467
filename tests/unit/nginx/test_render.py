"""
From a plan to bytes.
"""

import re
from dataclasses import replace

import pytest

from supervisor.core.config import load
from supervisor.core.model import Mode, Plan, ServerOptions
from supervisor.nginx.render import RenderContext, RenderedConfig, Renderer, digest_of
from supervisor.nginx.templates import read_templates
from supervisor.nginx.upstream import rotated
from tests.support.play import endpoints

OLD, NEW = (1, 22, 1), (1, 27, 4)
SERVING = Plan(endpoints(1, 2, 3), Mode.SERVE)
SUNSET = 1_800_000_000


def frame(nginx: tuple[int, ...] = NEW, user: str = "", **environ: str) -> RenderContext:
    """Return a frame for this nginx and these settings."""
    chosen = load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)
    return RenderContext(
        chosen, nginx, "/run/x", 2, 1024, 512, ("0.0.0.0:80", "[::]:80 ipv6only=on"), user
    )


def bundle(
    given: RenderContext, plan: Plan = SERVING, attempt: int = 1, rotation: int = 0
) -> RenderedConfig:
    """Render a plan."""
    return Renderer(given, read_templates()).render(
        plan, attempt, rotation, {"conf.d/x.conf": b"# x\n"}
    )


def text(made: RenderedConfig, name: str = "upstream.conf") -> str:
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


def test_the_admin_port_is_a_file_of_its_own() -> None:
    """
    Included where there is one, with its five paths by name; else there is no trace of it.
    """
    given = replace(frame(), admin_listen=("10.0.0.1:9000",), stub_status=True)
    admin = text(bundle(given), "admin.conf")

    assert "include admin.conf;" in text(bundle(given), "nginx.conf")
    assert "listen 10.0.0.1:9000 default_server;" in admin
    assert ["/", "/status", "/metrics", "/healthz", "/readyz"] == re.findall(
        "location = (.*) {", admin
    )
    assert "stub_status;" in text(bundle(given))
    assert "admin.conf" not in bundle(frame()).files
    assert not [name for name in bundle(frame()).files if b"readers" in bundle(frame()).files[name]]


@pytest.mark.parametrize(
    "other",
    [
        bundle(frame(), Plan(endpoints(1, 2), Mode.SERVE)),
        bundle(frame(), Plan(endpoints(1, 2, 3), Mode.DRAINING)),
        bundle(frame(), Plan(endpoints(1, 2, 3), Mode.SERVE, sunset=SUNSET)),
        bundle(
            frame(), Plan(endpoints(1, 2, 3), Mode.SERVE, ((endpoints(1)[0], ServerOptions(2)),))
        ),
        bundle(frame(), rotation=1),
        bundle(frame(OLD)),
        bundle(frame(READY_PATH="off")),
        Renderer(frame(), read_templates()).render(SERVING, 1, 0, {"conf.d/x.conf": b"# y\n"}),
        Renderer(frame(), read_templates()).render(SERVING, 1, 0, {"conf.d/y.conf": b"# x\n"}),
    ],
)
def test_whatever_differs_differs_in_the_digest(other: RenderedConfig) -> None:
    """
    Endpoints, shares, mode and deadline, the order, nginx's version, settings, the operator's files
    and their names.
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


@pytest.mark.parametrize(
    "mode, seconds",
    [(Mode.STARTING, 1), (Mode.NO_ENDPOINTS, 5), (Mode.UNHEALTHY, 5), (Mode.DRAINING, 5)],
)
def test_no_endpoint_is_a_503_that_a_program_can_read(mode: Mode, seconds: int) -> None:
    """
    No upstream, no proxy: the state, until when, and when to ask again; what starts is worth asking
    soon.
    """
    made = text(bundle(frame(), Plan((), mode)))

    assert "upstream service" not in made
    assert "proxy_pass" not in made
    assert f"add_header Retry-After {seconds} always;" in made
    assert f"""program '{{"state": "{mode}", "expires_at": null}}\\n';""" in made
    assert f'return 503 "{mode}\\n";' in made
    assert '"expires_at": "2027-01-15T08:00:00Z"' in text(
        bundle(frame(), Plan((), mode, sunset=SUNSET))
    )


@pytest.mark.parametrize("plan", [SERVING, Plan((), Mode.STARTING)])
def test_the_deadline_stands_in_every_answer(plan: Plan) -> None:
    """
    Where there is one and it is to be told; then a replica's own word on it is dropped.
    """
    told, untold = replace(plan, sunset=SUNSET), frame(SUNSET_HEADER="false")
    header = 'add_header Sunset "Fri, 15 Jan 2027 08:00:00 GMT" always;'

    assert header in text(bundle(frame(), told))
    assert "proxy_hide_header Sunset;" in text(bundle(frame(), told))
    for silent in (bundle(frame(), plan), bundle(untold, told)):
        assert "Sunset" not in text(silent)


def test_what_is_about_to_end_still_serves_and_is_not_ready() -> None:
    """
    During a lame duck requests are proxied as before; only the readiness says so.
    """
    made = text(bundle(frame(), Plan(endpoints(1), Mode.DRAINING)))

    assert "proxy_pass http://service;" in made
    assert 'return 503 "draining\\n";' in made
    assert 'return 200 "ready\\n";' in text(bundle(frame()))


def servers(*server_options: ServerOptions, method: str = "least_conn") -> list[str]:
    """Render endpoints with these shares, and return what follows each address."""
    served = endpoints(*range(1, len(server_options) + 1))
    plan = Plan(served, Mode.SERVE, tuple(zip(served, server_options, strict=True)))
    lines = text(bundle(frame(LB_METHOD=method), plan)).splitlines()
    return [line.split(maxsplit=2)[2] for line in lines if line.startswith("    server 10.")]


def test_weights_stand_where_they_are_not_one() -> None:
    """
    In numbers that nginx takes, whatever was asked for.
    """
    assert [
        "weight=3 max_fails=0;",
        "max_fails=0;",
        "max_fails=0;",
        "weight=65535 max_fails=0;",
    ] == (
        servers(
            ServerOptions(3), ServerOptions(1, drain=True), ServerOptions(-1), ServerOptions(2**40)
        )
    )


@pytest.mark.parametrize("method, known", [("round_robin", 1), ("ip_hash", 0), ("random", 0)])
def test_backups_are_named_where_the_method_knows_any(method: str, known: int) -> None:
    """
    With the others the word is refused by nginx.
    """
    assert [" backup;", ";"][not known] == servers(
        ServerOptions(2), ServerOptions(backup=True), method=method
    )[1].removeprefix("max_fails=0")


def test_not_all_servers_are_backups() -> None:
    """
    An upstream of nothing but backups is refused by nginx.
    """
    assert ["max_fails=0;"] * 2 == servers(ServerOptions(backup=True), ServerOptions(backup=True))


def test_who_asks_for_nothing_is_an_ordinary_server() -> None:
    """
    Beside those who ask for something.
    """
    made = text(
        bundle(frame(), Plan(endpoints(1, 2), Mode.SERVE, ((endpoints(2)[0], ServerOptions(9)),)))
    )

    assert "    server 10.0.0.1:1 max_fails=0;\n    server 10.0.0.1:2 weight=9 max_fails=0;" in made


def test_a_folder_is_written_so_that_nginx_reads_it_as_it_is() -> None:
    """
    Quotes and backslashes are escaped, and bytes that are no text are kept.
    """
    odd = bundle(replace(frame(), folder="/a'b\\c\udcff"))

    assert b"pid '/a\\'b\\\\c\xff/nginx.pid';" in odd.files["nginx.conf"]
    assert b"listen 'unix:/a\\'b\\\\c\xff/generation.sock';" in odd.files["upstream.conf"]


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
