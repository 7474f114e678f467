"""
The status page and its Content-Security-Policy.

The page is one file, served unchanged.  The policy allows only the hashes of its style and its
script; with trusted types, no text can become markup by mistake.
"""

import re
from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus

from supervisor.admin.http import Response
from supervisor.nginx import templates

_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(rb'<script type="module">(.*?)</script>', re.DOTALL)


def page() -> Response:
    """
    Return the page; it is read at each request, because caching 50 KB for few requests is a waste.
    """
    body = (templates.data_dir() / "status.html").read_bytes()
    headers = (
        ("Content-Security-Policy", policy(body)),
        ("Referrer-Policy", "no-referrer"),
        ("X-Frame-Options", "DENY"),
    )
    return Response(HTTPStatus.OK, body, "text/html; charset=utf-8", headers)


def policy(body: bytes) -> str:
    """
    Return the policy: run only the page's own script and style, connect only to its origin.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(_SCRIPT, body)}",
            f"style-src {_hash(_STYLE, body)}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(part: re.Pattern[bytes], body: bytes) -> str:
    (content,) = part.findall(body)
    return f"'sha256-{b64encode(sha256(content).digest()).decode()}'"
