import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.launch import read_templates
from supervisor.machine import worker_user
from supervisor.model import Endpoint, Mode, Plan
from supervisor.render import Bundle, Frame, Renderer
from supervisor.settings import read
from tests.support.conf_lint import FORBIDDEN, complaints, directives
from tests.support.nginxes import BOTH
from tests.support.waiting import free_port

SPANS = st.sampled_from(["1ms", "250ms", "2s", "90", "1.5h", "1h30m", "30d"])
SETTINGS = st.fixed_dictionaries(
    {"ENDPOINTS": st.just("10.0.0.1:1")},
    optional={
        "LB_METHOD": st.sampled_from(["round_robin", "least_conn", "random", "ip_hash"]),
        "MAX_BODY_SIZE": st.sampled_from(["0", "1", "512k", "20m", "2g"]),
        "CONNECT_TIMEOUT": SPANS,
        "REQUEST_TIMEOUT": SPANS,
        "READY_PATH": st.sampled_from(["off", "/-/ready", "/x/y", "/~a.b_c-d"]),
    },
)
PLANS = st.builds(
    lambda hosts: Plan(
        tuple(sorted(Endpoint(str(host), port) for host, port in hosts)),
        Mode.SERVE if hosts else Mode.NO_ENDPOINTS,
    ),
    st.sets(st.tuples(st.ip_addresses(), st.integers(1, 65535)), max_size=8),
)
VERSIONS = st.sampled_from([(1, 18, 0), (1, 22, 1), (1, 27, 4), (1, 31, 3)])


def rendered(
    environ: dict[str, str], version: tuple[int, ...], plan: Plan, folder: str, turn: int = 0
) -> Bundle:
    """
    Render a plan as a machine with these settings and this nginx would.
    """
    frame = Frame(
        settings=read(environ, lambda _: False),
        nginx=version,
        folder=folder,
        workers=2,
        open_files=1024,
        connections=512,
        listen=(f"127.0.0.1:{environ.get('LISTEN_PORT', '8080')}",),
        user=worker_user(),
    )
    return Renderer(frame, read_templates()).bundle(plan, 1, turn, {})


@hypothesis(max_examples=60, deadline=None)
@given(SETTINGS, VERSIONS, PLANS)
def test_F12_no_directive_is_used_that_must_not_be(
    environ: dict[str, str], version: tuple[int, ...], plan: Plan
) -> None:
    """
    Whatever the settings, the nginx and the endpoints: no directive that was the way into nginx,
    no regular expression, no retry of what is not safe to send twice, no file but the known ones.
    """
    with tempfile.TemporaryDirectory() as name:
        found = directives(rendered(environ, version, plan, "/run/ax").files, Path(name))
    assert [] == complaints(found)
    assert {"error", "timeout"} == {
        word for each in found if each.name == "proxy_next_upstream" for word in each.words
    }
    assert ("off",) in [each.words for each in found if each.name == "server_tokens"]


@hypothesis(max_examples=60, deadline=None)
@given(PLANS, st.integers(0, 20))
def test_F12_each_endpoint_is_one_server_line_and_nothing_else(plan: Plan, turn: int) -> None:
    """
    Read back, the upstream holds each endpoint once, in an order that only rotates, and no more.
    """
    with tempfile.TemporaryDirectory() as name:
        environ = {"ENDPOINTS": "10.0.0.1:1"}
        bundle = rendered(environ, (1, 31, 3), plan, "/run/ax", turn)
        found = directives(bundle.files, Path(name))
    inside = [each for each in found if each.around[-1:] == ("upstream service",)]
    served = [each.words for each in inside if each.name == "server"]
    start = turn % len(plan.endpoints) if plan.endpoints else 0
    expected = [*plan.endpoints[start:], *plan.endpoints[:start]]
    assert [(str(endpoint), "max_fails=0") for endpoint in expected] == served


@pytest.mark.parametrize(
    "bad",
    [
        *(f"{name} x;" for name in FORBIDDEN if not name.endswith("_") and name != "if"),
        "js_import x;",
        "listen 1 ssl;",
        "listen 1 reuseport;",
        "server a resolve;",
        "proxy_next_upstream error non_idempotent;",
        "location ~ ^/(.*)$ { }",
        "include /etc/passwd;",
        "map $a $b { ~x y; }",
        "return 200 $1;",
    ],
)
def test_F12_the_lint_sees_what_it_shall(bad: str, tmp_path: Path) -> None:
    """
    Each forbidden thing is found where it is: a lint that sees nothing would pass as well.
    """
    import crossplane  # noqa: PLC0415 - only here is a file read without its rules

    from tests.support.conf_lint import _walk  # noqa: PLC0415 - the same

    (tmp_path / "nginx.conf").write_text(f"http {{ {bad} }}")
    payload = crossplane.parse(
        str(tmp_path / "nginx.conf"), check_args=False, check_ctx=False, single=True
    )
    assert complaints(list(_walk(payload["config"][0]["parsed"], ())))


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize("method", ["round_robin", "least_conn", "random", "ip_hash"])
@pytest.mark.parametrize("endpoints", [0, 1, 300])
def test_F12_what_is_rendered_is_accepted(
    tmp_path: Path, nginx: str, method: str, endpoints: int
) -> None:
    """
    Real nginx, old and current, accepts what is rendered, without a warning.
    """
    served = tuple(Endpoint(f"10.0.{n // 250}.{n % 250 + 1}", 80) for n in range(endpoints))
    plan = Plan(served, Mode.SERVE if served else Mode.STARTING)
    version = (1, 22, 1) if nginx == "nginx" else (1, 31, 3)
    environ = {"ENDPOINTS": "10.0.0.1:1", "LB_METHOD": method, "LISTEN_PORT": str(free_port())}
    files = rendered(environ, version, plan, str(tmp_path)).files
    (tmp_path / "temp").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [nginx, "-p", f"{tmp_path}/", "-e", "stderr", "-c", f"{tmp_path}/nginx.conf", "-tq"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (0, "") == (done.returncode, done.stderr)
