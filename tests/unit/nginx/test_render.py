"""
The configuration rendered from a plan.
"""

import re
from dataclasses import replace

import pytest

from supervisor.core.config import load
from supervisor.core.model import Mode, Plan, ServerOptions
from supervisor.nginx.render import RenderContext, RenderedConfig, Renderer, digest_of
from supervisor.nginx.socket_names import generation_socket
from supervisor.nginx.templates import read_templates
from supervisor.nginx.upstream import rotated
from tests.support.policy_simulation import endpoints

OLD, NEW = (1, 22, 1), (1, 27, 4)
SERVING = Plan(endpoints(1, 2, 3), Mode.SERVE)
SUNSET = 1_800_000_000


def context(nginx: tuple[int, ...] = NEW, user: str = "", **environ: str) -> RenderContext:
    """Return a render context for this nginx and these settings."""
    chosen = load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)
    return RenderContext(
        chosen, nginx, "/run/x", 2, 1024, 512, ("0.0.0.0:80", "[::]:80 ipv6only=on"), user
    )


def render(
    custom: RenderContext, plan: Plan = SERVING, attempt: int = 1, rotation: int = 0
) -> RenderedConfig:
    """Render a plan."""
    return Renderer(custom, read_templates()).render(
        plan, attempt, rotation, {"conf.d/x.conf": b"# x\n"}
    )


def text(made: RenderedConfig, name: str = "upstream.conf") -> str:
    """Return one rendered file."""
    return made.files[name].decode()


def test_the_rendered_file_holds_its_generation() -> None:
    """
    It consists of the digest over every byte and the number of the attempt, which makes it unique.
    """
    first, again = render(context()), render(context(), attempt=2)

    assert first.digest == again.digest
    assert f"{first.digest}-1" == first.generation
    assert f'return 200 "{first.generation}";' in text(first)
    assert "pending" not in text(first)


def test_the_admin_port_has_a_separate_file() -> None:
    """
    With an admin port the file is included and has five exact paths; without one it is missing.
    """
    custom = replace(context(), admin_listen=("10.0.0.1:9000",), stub_status=True)
    admin = text(render(custom), "admin.conf")

    assert "include admin.conf;" in text(render(custom), "nginx.conf")
    assert "listen 10.0.0.1:9000 default_server;" in admin
    assert ["/", "/status", "/metrics", "/healthz", "/readyz"] == re.findall(
        "location = (.*) {", admin
    )
    assert "stub_status;" in text(render(custom))
    assert "admin.conf" not in render(context()).files
    assert not [
        name for name in render(context()).files if b"readers" in render(context()).files[name]
    ]


@pytest.mark.parametrize(
    "other",
    [
        render(context(), Plan(endpoints(1, 2), Mode.SERVE)),
        render(context(), Plan(endpoints(1, 2, 3), Mode.DRAINING)),
        render(context(), Plan(endpoints(1, 2, 3), Mode.SERVE, sunset=SUNSET)),
        render(
            context(), Plan(endpoints(1, 2, 3), Mode.SERVE, ((endpoints(1)[0], ServerOptions(2)),))
        ),
        render(context(), rotation=1),
        render(context(OLD)),
        render(context(READY_PATH="off")),
        Renderer(context(), read_templates()).render(SERVING, 1, 0, {"conf.d/x.conf": b"# y\n"}),
        Renderer(context(), read_templates()).render(SERVING, 1, 0, {"conf.d/y.conf": b"# x\n"}),
    ],
)
def test_every_difference_changes_the_digest(other: RenderedConfig) -> None:
    """
    The digest depends on endpoints, server options, mode, deadline, order, nginx's version,
    settings, and the operator's files and their names.
    """
    assert render(context()).digest != other.digest


def test_an_older_nginx_keeps_no_idle_connections() -> None:
    """
    Without keepalive_min_timeout (nginx 1.27.4) a reload would lose requests on idle connections.
    """
    assert "keepalive_min_timeout 1s;" in text(render(context(NEW)), "nginx.conf")
    assert "keepalive_timeout 0;" in text(render(context(OLD)), "nginx.conf")


@pytest.mark.parametrize(
    "method, directive",
    [
        ("least_conn", "    least_conn;\n"),
        ("random", "    random two least_conn;\n"),
        ("ip_hash", "    ip_hash;\n"),
    ],
)
def test_each_method_is_a_directive(method: str, directive: str) -> None:
    """
    Round robin, nginx's default, has none.
    """
    assert directive in text(render(context(LB_METHOD=method)))
    assert directive not in text(render(context(LB_METHOD="round_robin")))


@pytest.mark.parametrize(
    "mode, seconds",
    [(Mode.STARTING, 1), (Mode.NO_ENDPOINTS, 5), (Mode.UNHEALTHY, 5), (Mode.DRAINING, 5)],
)
def test_a_plan_without_endpoints_is_a_503_with_json(mode: Mode, seconds: int) -> None:
    """
    It has no upstream and no proxy_pass, but the state, the deadline and Retry-After, which is
    shorter during the start.
    """
    made = text(render(context(), Plan((), mode)))

    assert "upstream service" not in made
    assert "proxy_pass" not in made
    assert f"add_header Retry-After {seconds} always;" in made
    assert f"""program '{{"state": "{mode}", "expires_at": null}}\\n';""" in made
    assert f'return 503 "{mode}\\n";' in made
    assert '"expires_at": "2027-01-15T08:00:00Z"' in text(
        render(context(), Plan((), mode, sunset=SUNSET))
    )


@pytest.mark.parametrize("plan", [SERVING, Plan((), Mode.STARTING)])
def test_every_response_has_the_sunset_header(plan: Plan) -> None:
    """
    If there is a deadline and SUNSET_HEADER is on; a replica's own header is then removed.
    """
    limited, disabled = replace(plan, sunset=SUNSET), context(SUNSET_HEADER="false")
    header = 'add_header Sunset "Fri, 15 Jan 2027 08:00:00 GMT" always;'

    assert header in text(render(context(), limited))
    assert "proxy_hide_header Sunset;" in text(render(context(), limited))
    for config in (render(context(), plan), render(disabled, limited)):
        assert "Sunset" not in text(config)


def test_a_draining_service_is_proxied_but_not_ready() -> None:
    """
    During the lame duck period requests are proxied as before; only the readiness path reports it.
    """
    made = text(render(context(), Plan(endpoints(1), Mode.DRAINING)))

    assert "proxy_pass http://service;" in made
    assert 'return 503 "draining\\n";' in made
    assert 'return 200 "ready\\n";' in text(render(context()))


def servers(*server_options: ServerOptions, method: str = "least_conn") -> list[str]:
    """Render endpoints with these options and return the parameters after each address."""
    served = endpoints(*range(1, len(server_options) + 1))
    plan = Plan(served, Mode.SERVE, tuple(zip(served, server_options, strict=True)))
    lines = text(render(context(LB_METHOD=method), plan)).splitlines()
    return [line.split(maxsplit=2)[2] for line in lines if line.startswith("    server 10.")]


def test_only_weights_other_than_one_are_rendered() -> None:
    """
    They are limited to numbers that nginx accepts.
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


@pytest.mark.parametrize("method, supported", [("round_robin", 1), ("ip_hash", 0), ("random", 0)])
def test_backups_are_marked_if_the_method_supports_them(method: str, supported: int) -> None:
    """
    Nginx rejects the parameter with the other methods.
    """
    assert [" backup;", ";"][not supported] == servers(
        ServerOptions(2), ServerOptions(backup=True), method=method
    )[1].removeprefix("max_fails=0")


def test_not_all_servers_are_backups() -> None:
    """
    Nginx rejects an upstream that has only backups.
    """
    assert ["max_fails=0;"] * 2 == servers(ServerOptions(backup=True), ServerOptions(backup=True))


def test_an_endpoint_without_options_is_an_ordinary_server() -> None:
    """
    It stands beside endpoints with options.
    """
    made = text(
        render(context(), Plan(endpoints(1, 2), Mode.SERVE, ((endpoints(2)[0], ServerOptions(9)),)))
    )

    assert "    server 10.0.0.1:1 max_fails=0;\n    server 10.0.0.1:2 weight=9 max_fails=0;" in made


def test_a_folder_is_escaped() -> None:
    """
    Quotes and backslashes are escaped, and bytes that are not UTF-8 are kept.
    """
    config = render(replace(context(), folder="/a'b\\c\udcff"))

    assert b"pid '/a\\'b\\\\c\xff/nginx.pid';" in config.files["nginx.conf"]
    assert b"listen 'unix:/a\\'b\\\\c\xff/gen-0-1.sock';" in config.files["upstream.conf"]


def test_no_failing_endpoint_is_blacklisted() -> None:
    """
    One request that crashes replicas must not disable all of them.
    """
    assert 3 == text(render(context())).count(" max_fails=0;")


def test_the_order_of_servers_rotates() -> None:
    """
    Every rotation holds all servers.
    """
    assert endpoints(1, 2, 3)[1:] + endpoints(1) == rotated(endpoints(1, 2, 3), 4)
    assert () == rotated((), 4)


def test_the_zone_grows_with_the_endpoints() -> None:
    """
    It has 2 KiB per server, twice nginx's need, and at least 256 KiB.
    """
    assert "zone service 256k;" in text(render(context()))
    assert "zone service 20000k;" in text(
        render(context(), Plan(endpoints(*range(1, 10001)), Mode.SERVE))
    )


def test_bodies_are_streamed_unless_a_size_is_set() -> None:
    """
    The input of a model may be larger than any buffer.
    """
    unlimited, limited = render(context()), render(context(MAX_BODY_SIZE="20m"))

    assert "client_max_body_size 0;" in text(unlimited, "nginx.conf")
    assert "proxy_request_buffering off;" in text(unlimited, "nginx.conf")
    assert "client_max_body_size 20971520;" in text(limited, "nginx.conf")
    assert "proxy_request_buffering on;" in text(limited, "nginx.conf")


@pytest.mark.parametrize("environ", [{"MAX_BODY_SIZE": "20m"}, {"RETRY_POST": "true"}, {}])
def test_buffered_bodies_are_sent_in_small_pieces(environ: dict[str, str]) -> None:
    """
    Between two pieces nginx sees a response that came early.  Streamed bodies have no file to send.
    """
    config = text(render(context(**environ)), "upstream.conf")
    proxying = config.count("proxy_pass http://service;")

    assert (proxying if environ else 0) == config.count(" sendfile on;")
    assert (proxying if environ else 0) == config.count(" sendfile_max_chunk 64k;")


def test_workers_have_a_separate_user_under_root() -> None:
    """
    Otherwise they keep the supervisor's user.
    """
    assert "user www-data www-data;" in text(
        render(context(user="www-data www-data")), "nginx.conf"
    )
    assert "\nuser " not in text(render(context()), "nginx.conf")


def test_the_ready_path_can_be_disabled() -> None:
    """
    With READY_PATH=off all paths of the public port are proxied.
    """
    assert "location = /-/ready {" in text(render(context()))
    assert "/-/ready" not in text(render(context(READY_PATH="off")))


def test_the_file_ends_with_a_brace() -> None:
    """
    A truncated file is a syntax error and never a shorter list of servers.
    """
    made = text(render(context()))

    assert made.rstrip().endswith("}")
    assert made.count("{") == made.count("}")


def test_the_digest_separates_names_from_contents() -> None:
    """
    Moving a byte from a file's content to its name changes the digest.
    """
    assert digest_of({"ab": b"c"}) != digest_of({"a": b"bc"})


def test_only_musl_gets_spare_buffers() -> None:
    """
    With musl each response would map and unmap its buffer, unless more than six of its size are
    allocated: then musl maps three at once.  Their number is no multiple of three, so that some of
    these stay free.
    """
    spare = [
        text(render(replace(context(), is_musl=is_musl)), "nginx.conf").count("buffer=72k if=0;")
        for is_musl in (False, True)
    ]

    assert [0, 7] == spare


def test_the_ports_of_a_configuration_are_known() -> None:
    """
    The start waits for all ports of nginx; only the public one decides whether clients are served.
    """
    renderer = Renderer(replace(context(), admin_listen=("127.0.0.1:81",)), read_templates())

    assert (*renderer.public_listen, "127.0.0.1:81") == renderer.listen


def test_socket_names_stay_short() -> None:
    """
    The path of a socket is at most 107 bytes long, and the folder's up to 85.
    """
    assert "gen-abcde-1.sock" == generation_socket("abcde", 1)
    assert 21 == len(generation_socket("abcde", 36**6 - 1))
