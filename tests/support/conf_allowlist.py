"""
Every directive that a rendered configuration may contain, word for word.

The lint lists forbidden directives; this module lists the allowed ones, so that any injected text
is found.  Only the marked parts vary, each within a narrow pattern.
"""

import re
from collections.abc import Iterable

from supervisor.nginx.client_headers import CLAIMS, lookalikes
from tests.support.conf_lint import Directive, is_server

_MARKS = {
    "NUMBER": r"[0-9]+",
    "SPAN": r"[0-9]+ms",
    "USER": r"[a-z_-]+ [a-z_-]+",
    "LISTEN": r"(?:[0-9.]+|\[[0-9a-f:.]+\]):[0-9]+(?: ipv6only=on)?",
    "NETWORK": r"[0-9a-f:.]+/[0-9]+",
    "HEADER": r"[a-z0-9_]+",
    "KEY": r"(?:remote_addr|request_uri|http_[a-z0-9_]+|cookie_[A-Za-z0-9_]+)",
    "FORMAT": r"\{[^\n]*\}",
    "PATH": r"/[A-Za-z0-9._~/-]+",
    "DATE": r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
    "STATE": r"(?:starting|no_endpoints|unhealthy|draining)",
    "INSTANT": r'(?:null|"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")',
    "PAGE": r"<!doctype html>\n[^$\\]*</html>\n",
    "NAME": r"[0-9a-f]{12}-[0-9]+",
    "DEVICE": r"/dev/(?:\./){0,6}null",
}

#: The sockets of one run and attempt.
_SOCKET = re.compile(r"/(gen|cur)-[0-9a-z]{1,5}-[0-9a-z]+\.sock\Z")

#: By the enclosing blocks; FOLDER is the configuration's folder.
ALLOWED = {
    "": """
        daemon off|pid FOLDER/nginx.pid|error_log stderr warn|user USER|worker_processes NUMBER
        worker_rlimit_nofile NUMBER|worker_shutdown_timeout SPAN|events|http
    """,
    "events": "worker_connections NUMBER",
    "http": """
        default_type application/octet-stream|server_tokens off
        map $request $protocol_of_line|map $request_method $refused_protocol
        log_format autoexit_refused refused $refused_protocol $remote_addr
        access_log /proc/self/fd/2 autoexit_refused if=$refused_protocol
        log_format autoexit_json escape=json FORMAT
        access_log FOLDER/access.log autoexit_json buffer=32k flush=1s
        map $upstream_addr $is_not_ready_path|map $uri $used_path|map $status $used_without_host
        map $http_host $used_host|log_format autoexit_use |map $request_method $is_use
        access_log FOLDER/use.log autoexit_use buffer=4k flush=1s if=$is_use
        client_body_temp_path FOLDER/temp/body|proxy_temp_path FOLDER/temp/proxy
        fastcgi_temp_path FOLDER/temp/fastcgi|uwsgi_temp_path FOLDER/temp/uwsgi
        scgi_temp_path FOLDER/temp/scgi|client_header_timeout 10s|client_max_body_size NUMBER
        client_body_timeout SPAN|send_timeout SPAN
        reset_timedout_connection on|keepalive_min_timeout 1s|keepalive_timeout 0
        map $http_upgrade $proxied_upgrade|map $proxied_upgrade $proxied_connection
        map $host $proxied_host|map $request $line_host|map $http_host $header_host
        map $line_host $proxied_host|map $proxied_host $host_port|map $scheme$host_port $public_port
        map $scheme$request_port $public_port
        map $forwarded_proto $scheme_port|map $host_port $public_port|map $request_port $public_port
        map $trusted_x_forwarded_host $unnamed_port
        variables_hash_max_size 2048|variables_hash_bucket_size 128
        proxy_redirect off|proxy_headers_hash_max_size 2048|proxy_headers_hash_bucket_size 128
        proxy_http_version 1.1|proxy_set_header Host $proxied_host
        proxy_set_header Host $host$is_request_port$request_port
        proxy_set_header Upgrade $proxied_upgrade|proxy_set_header Connection $proxied_connection
        set_real_ip_from NETWORK|real_ip_header X-Forwarded-For|real_ip_recursive on
        geo $realip_remote_addr $is_trusted|map $is_trusted $trusted_HEADER
        map $trusted_x_forwarded_for $forwarded_for|map $trusted_x_forwarded_proto $forwarded_proto
        map $trusted_x_forwarded_host $forwarded_host|map $trusted_x_forwarded_port $forwarded_port
        map $trusted_x_request_id $proxied_request_id
        proxy_set_header X-Forwarded-For $forwarded_for
        proxy_set_header X-Forwarded-For $remote_addr
        proxy_set_header X-Forwarded-Proto $forwarded_proto
        proxy_set_header X-Forwarded-Proto $scheme
        proxy_set_header X-Forwarded-Host $forwarded_host
        proxy_set_header X-Forwarded-Host $proxied_host
        proxy_set_header X-Forwarded-Host $host$is_request_port$request_port
        proxy_set_header X-Forwarded-Port $forwarded_port
        proxy_set_header X-Forwarded-Port $public_port
        underscores_in_headers on
        proxy_set_header X-Request-ID $proxied_request_id
        proxy_set_header X-Request-ID $request_id|proxy_set_header X-Real-IP $remote_addr
        proxy_socket_keepalive on
        proxy_connect_timeout SPAN|proxy_read_timeout SPAN|proxy_send_timeout SPAN
        proxy_next_upstream error timeout|proxy_next_upstream error timeout non_idempotent
        proxy_next_upstream_timeout SPAN|client_body_buffer_size 256k|proxy_next_upstream_tries 2
        proxy_buffering off|proxy_buffer_size 72k|access_log DEVICE combined buffer=72k if=0
        large_client_header_buffers 4 33k|error_page 494 =431 @header_too_large
        proxy_buffers 4 64k|proxy_request_buffering on
        proxy_request_buffering off
        include conf.d/*.conf|include upstream.conf|include admin.conf
        limit_conn_zone $binary_remote_addr zone=autoexit_clients:256k
        limit_conn_zone $server_port zone=autoexit_all:32k
        limit_req_zone $binary_remote_addr zone=autoexit_rate:256k rate=20r/s
        upstream autoexit_readers
        upstream service|upstream current|server|map $http_accept $reader|map $reader $refusal_type
        map $reader $refusal|map $http_origin $refusal_credentials|map $http_origin $refusal_exposed
        map $request_method $requested_method|map $http_origin $preflight
    """,
    "http / map $http_upgrade $proxied_upgrade": "default |websocket websocket",
    "http / map $proxied_upgrade $proxied_connection": "default upgrade| ",
    "http / map $request $protocol_of_line": ("default |PRI * HTTP/2.0 HTTP/2|~^\\x16\\x03 TLS"),
    "http / map $request_method $refused_protocol": "default | $protocol_of_line",
    "http / map $upstream_addr $is_not_ready_path": "default 1| ",
    "http / map $uri $used_path": "default 1|PATH $is_not_ready_path",
    "http / map $status $used_without_host": "default $used_path|400 ",
    "http / map $http_host $used_host": "default $used_path| $used_without_host",
    "http / map $request_method $is_use": "default $used_host| ",
    "http / map $host $proxied_host": "default $host$is_request_port$request_port",
    "http / map $request $line_host": (
        "default |~^[A-Z_-]+ +[A-Za-z][A-Za-z0-9+.-]*://(?<host_of_line>[^/? ]+) $host_of_line"
    ),
    "http / map $http_host $header_host": "default $http_host| $host",
    "http / map $line_host $proxied_host": "default $line_host| $header_host",
    "http / map $proxied_host $host_port": "default |~:(?<port_of_host>[0-9]+)$ $port_of_host",
    "http / map $scheme$host_port $public_port": "default $host_port|http 80|https 443",
    "http / map $scheme$request_port $public_port": "default $request_port|http 80|https 443",
    "http / map $forwarded_proto $scheme_port": "default 80|https 443",
    "http / map $host_port $public_port": "default $host_port| $scheme_port",
    "http / map $request_port $public_port": "default $request_port| $scheme_port",
    "http / map $trusted_x_forwarded_host $unnamed_port": "default | $public_port",
    "http / geo $realip_remote_addr $is_trusted": "NETWORK 1",
    "http / map $is_trusted $trusted_HEADER": "default |1 $http_HEADER",
    "http / map $trusted_x_forwarded_for $forwarded_for": """
        default $trusted_x_forwarded_for, $realip_remote_addr| $remote_addr
    """,
    "http / map $trusted_x_forwarded_proto $forwarded_proto": """
        default $trusted_x_forwarded_proto| $scheme
    """,
    "http / map $trusted_x_forwarded_host $forwarded_host": """
        default $trusted_x_forwarded_host| $proxied_host| $host$is_request_port$request_port
    """,
    "http / map $trusted_x_forwarded_port $forwarded_port": """
        default $trusted_x_forwarded_port| $unnamed_port
    """,
    "http / map $trusted_x_request_id $proxied_request_id": """
        default $trusted_x_request_id| $request_id
    """,
    "http / map $http_accept $reader": "default program|~*text/html person",
    "http / map $reader $refusal_type": """
        program application/json|person text/html; charset=utf-8
    """,
    "http / map $http_origin $refusal_credentials": "default true| ",
    "http / map $http_origin $refusal_exposed": "default Retry-After, Sunset|default Retry-After| ",
    "http / map $request_method $requested_method": """
        default |OPTIONS $http_access_control_request_method
    """,
    "http / map $http_origin $preflight": "default $requested_method| ",
    "http / map $reader $refusal": """
        program {"state": "STATE", "expires_at": INSTANT}\\n|person PAGE
    """,
    "http / upstream service": """
        zone service NUMBERk|least_conn|random two least_conn|ip_hash|hash $KEY consistent
        sticky cookie autoexit path=/ httponly samesite=lax|keepalive 32|keepalive_timeout 1s
        keepalive 0
    """,
    "http / upstream current": "server unix:FOLDER/current.sock",
    "http / upstream autoexit_readers": "server unix:FOLDER/readers.sock",
    "http / server": """
        listen unix:FOLDER/cur-RUN.sock|set_real_ip_from unix:|real_ip_header X-Real-IP
        listen LISTEN default_server|client_header_timeout 5s|client_body_timeout 5s|send_timeout 5s
        keepalive_timeout 15s|keepalive_timeout 0|client_max_body_size 1k
        limit_conn autoexit_clients 16|limit_conn autoexit_all 64|limit_conn_status 429
        limit_req zone=autoexit_rate burst=40 nodelay|limit_req_status 429
        proxy_buffering on|proxy_buffers 16 64k|proxy_max_temp_file_size 0|proxy_connect_timeout 1s
        proxy_read_timeout 5s|proxy_send_timeout 5s|proxy_next_upstream off
        proxy_pass_request_headers off|proxy_pass_request_body off|proxy_set_header Host admin
        proxy_set_header Connection close|proxy_set_header Content-Length |location = /
        listen LISTEN default_server so_keepalive=60s:15s:4|access_log off
        listen unix:FOLDER/gen-RUN.sock|server_name _|add_header Sunset DATE always
        proxy_hide_header Sunset|location = PATH|location /|location @header_too_large
        include server.d/*.conf
    """,
    "http / server / location = PATH": """
        types|default_type text/plain|add_header Cache-Control no-store always
        add_header Sunset DATE always|return 200 ready\\n|return 503 STATE\\n|return 200 NAME
        keepalive_timeout 0
        stub_status|limit_except GET|proxy_pass http://autoexit_readersPATH
    """,
    "http / server / location = /": "limit_except GET|proxy_pass http://autoexit_readers/",
    "http / server / location = PATH / limit_except GET": "deny all",
    "http / server / location = / / limit_except GET": "deny all",
    "http / server / location /": """
        proxy_pass http://service|types|default_type |client_max_body_size 0|keepalive_timeout 0
        if -x FOLDER/over/NAME|sendfile on|sendfile_max_chunk 64k
        proxy_set_header Host $proxied_host
        proxy_set_header Upgrade $proxied_upgrade|proxy_set_header Connection $proxied_connection
        add_header Content-Type $refusal_type always|add_header Vary Accept, Origin always
        if $preflight|add_header Access-Control-Allow-Origin $http_origin always
        add_header Access-Control-Allow-Credentials $refusal_credentials always
        add_header Access-Control-Expose-Headers $refusal_exposed always
        add_header Retry-After NUMBER always|add_header Cache-Control no-store always
        add_header Sunset DATE always|return 503 $refusal|return 404
    """,
    "http / server / location / / if $preflight": """
        add_header Access-Control-Allow-Origin $http_origin|add_header Access-Control-Max-Age 0
        add_header Access-Control-Allow-Methods $http_access_control_request_method
        add_header Access-Control-Allow-Headers $http_access_control_request_headers
        add_header Cache-Control no-store|add_header Vary Origin|return 204
    """,
    "http / server / location @header_too_large": """
        default_type text/plain|return 431 header too large: 32 kB for each line, 128 kB in all\\n
    """,
    "http / server / location / / if -x FOLDER/over/NAME": "access_log off|proxy_pass http://current",
}


def _lines(text: str) -> list[str]:
    lines = [line.removeprefix(" " * 8) for line in text.split("\n") if line.strip()]
    return [words for line in lines for words in line.split("|")]


def _pattern(words: str) -> str:
    pattern = re.escape(words)
    for mark, pattern_of_mark in _MARKS.items():
        pattern = pattern.replace(re.escape(mark), pattern_of_mark)
    return pattern


_PATTERNS = [
    (re.compile(_pattern(around)), re.compile("|".join(map(_pattern, _lines(text)))))
    for around, text in ALLOWED.items()
]
_WITH_FOLDER = [words for text in ALLOWED.values() for words in _lines(text) if "FOLDER" in words]
#: Headers about the client: a table, because patterns for hundreds of names take long.
_CLIENT_HEADERS = {
    *(f"proxy_set_header {name} " for name in (*CLAIMS, *lookalikes())),
    *(f"proxy_set_header {name} $trusted_{name.lower().replace('-', '_')}" for name in CLAIMS),
}


def unexpected_directives(found: Iterable[Directive], folder: str) -> list[str]:
    """
    Return the directives that are not listed here; `folder` is the configuration's folder.
    """
    # As it is parsed: escaped backslashes stay, and all line ends are equal.
    folder = folder.replace("\\", r"\\").replace("\r\n", "\n").replace("\r", "\n")
    with_folder = {words.replace("FOLDER", folder) for words in _WITH_FOLDER}
    return [
        f"{' / '.join(each.around)}: {text}"
        for each in found
        if (text := _SOCKET.sub(r"/\1-RUN.sock", " ".join([each.name, *each.words])))
        not in with_folder
        and not (each.around == ("http",) and text in _CLIENT_HEADERS)
        and not _is_allowed(each, text, folder)
    ]


def _is_allowed(each: Directive, text: str, folder: str) -> bool:
    if each.around == ("http", "upstream service") and each.name == "server":
        return is_server(" ".join(each.words))
    marked = f"{folder}/over/", "FOLDER/over/"  # the only path that is not a whole word
    text, around = text.replace(*marked), " / ".join(each.around).replace(*marked)
    return any(
        words.fullmatch(text) for block, words in _PATTERNS if block.fullmatch(around) is not None
    )
