"""
Finding servers of the operator on a port of ours.
"""

import pytest

from supervisor.nginx.operator_servers import listening_ports, on_our_ports, replaced_logs

ALL = ("0.0.0.0:8080", "[::]:8080 ipv6only=on")


def found(text: str, listen: tuple[str, ...] = ALL, name: str = "conf.d/mine.conf") -> list[str]:
    """
    Return what is found in one file.
    """
    return on_our_ports({name: text.encode(), "nginx.conf": b"server { listen 8080; }"}, listen)


@pytest.mark.parametrize(
    "argument",
    ["8080", "*:8080", "127.0.0.1:8080", "[::1]:8080", "[::]:8080", "localhost:8080", "8000-8100"],
)
def test_a_server_on_our_port_is_found(argument: str) -> None:
    """
    Whatever form the argument has; the sentence has the file, the line and the names.
    """
    text = f"# mine\nserver {{\n  server_name a.example b.example;\n  listen {argument} ssl;\n}}"

    (line,) = found(text)
    assert line == (
        f"conf.d/mine.conf:4: `listen {argument}` is on our port 8080: requests that match that"
        " server (server_name a.example b.example) do not reach the endpoints"
    )


@pytest.mark.parametrize(
    "text",
    [
        "server { listen 8081; }",
        "server { listen 80; server_name web; }",
        "server { listen 127.0.0.1; }",
        "server { listen [::1]; }",
        "server { listen unix:/run/8080.sock; }",
        "server { listen 10.0.0.1:x; }",
        "# server { listen 8080; }",
        "map $uri $x { default 'server { listen 8080; }'; }",
        "upstream listen { server 10.0.0.1:8080; }",
        "server { location / { listen 8080; } listen; }",
        "server { set $x ${y}; listen 8081; } } listen 8080;",
        '{ "',
    ],
)
def test_other_files_are_not_found(text: str) -> None:
    """
    Another port, a comment, a string, another directive, and text that nginx refuses.
    """
    assert [] == found(text)


def test_a_file_of_server_d_adds_to_our_own_server() -> None:
    """
    It is part of that server, so its `listen` takes nothing.
    """
    assert [] == found("server { listen 8080; }", name="server.d/mine.conf")


def test_another_address_of_the_same_port_is_not_ours() -> None:
    """
    With LISTEN_ADDRESS only that address is ours, and a wildcard includes it.
    """
    ours = ("10.0.0.1:8080", "10.0.0.1:9090")

    assert [] == found("server { listen 10.0.0.2:8080; listen [::]:8080; }", ours)
    (line,) = found("server {\nlisten 9090; }", ours)
    assert line.startswith("conf.d/mine.conf:2: `listen 9090` is on our port 9090: ")
    assert "that match that server (no server_name) do not" in line


def test_each_server_of_a_file_has_its_own_names() -> None:
    """
    A quoted name, an escaped one and one with a variable are one word each.
    """
    text = (
        'server { listen 8080; server_name "one"; }\n'
        r"server { listen 8080; server_name ~^a\;b$ x${y}z; }"
    )

    assert ["one", r"~^a\;b$ x${y}z"] == [
        line.partition("(server_name ")[2].partition(") do")[0] for line in found(text)
    ]


@pytest.mark.parametrize(
    "argument, ports",
    [
        ("8443 ssl", {8443}),
        ("[::]:8081", {8081}),
        ("127.0.0.1", {80}),
        ("[::1]", {80}),
        ("9000-9002", {9000, 9001, 9002}),
        ("unix:/run/x.sock", set[int]()),
        ("10.0.0.1:x", set[int]()),
    ],
)
def test_the_ports_of_the_operators_servers(argument: str, ports: set[int]) -> None:
    """
    Clients may connect there too, so an open connection there is use.
    """
    text = f"server {{ listen {argument}; }}".encode()

    assert ports == listening_ports({"conf.d/mine.conf": text, "server.d/mine.conf": text})


@pytest.mark.parametrize(
    "name, text, places",
    [
        ("conf.d/a.conf", "access_log /x;", []),
        ("conf.d/a.conf", "server {\n access_log off;\n}\naccess_log /x;", ["conf.d/a.conf:2"]),
        ("server.d/a.conf", "access_log /x;", ["server.d/a.conf:1"]),
        ("server.d/a.conf", "location / {\n access_log off; }", ["server.d/a.conf:2"]),
        ("server.d/a.conf", "# access_log off;\nset $x 'access_log off;';", []),
        ("upstream.conf", "server { access_log off; }", []),
    ],
)
def test_an_access_log_that_replaces_the_generated_ones(
    name: str, text: str, places: list[str]
) -> None:
    """
    At http level it is added to them; in a server or a location it replaces them.
    """
    assert places == replaced_logs({name: text.encode()})
