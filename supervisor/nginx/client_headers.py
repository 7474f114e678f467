"""
The request headers that replicas take for facts about the client.

A client could claim anything in them, so nginx replaces or removes each one, unless the request is
from a trusted proxy.
"""

from itertools import product

#: Replaced with what nginx knows; a trusted proxy's value is kept, except of X-Real-IP.
REPLACED = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Request-ID",
)

#: Removed: names by which proxies, frameworks and servers know the client, its user, its
#: certificate, the original protocol or path.  `Proxy` becomes the variable HTTP_PROXY in CGI.
CLAIMS = (
    "CF-Connecting-IP",
    "CF-Connecting-IPv6",
    "Client-IP",
    "Fastly-Client-IP",
    "Forwarded",
    "Front-End-Https",
    "Proxy",
    "Remote-User",
    "True-Client-IP",
    "X-Auth-Request-Email",
    "X-Auth-Request-User",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forwarded",
    "X-Forwarded-By",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Method",
    "X-Forwarded-Path",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Prefix",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-Original-Forwarded-For",
    "X-Original-Host",
    "X-Original-URI",
    "X-Original-URL",
    "X-Remote-User",
    "X-Rewrite-URL",
    "X-Scheme",
    "X-Script-Name",
    "X-Url-Scheme",
)

#: Headers that nginx sets and a replica may confuse with their spelling with underscores.
_OTHERS = ("X-Real-IP", "Content-Length", "Transfer-Encoding")


def lookalikes() -> list[str]:
    """
    Return every spelling with underscores of the headers that a client must not set.
    """
    return [
        spelling
        for name in (*REPLACED, *CLAIMS, *_OTHERS)
        for spelling in _spellings(name)
        if spelling != name
    ]


def _spellings(name: str) -> list[str]:
    """Return a name with each of its dashes as a dash or an underscore."""
    first, *others = name.split("-")
    return [
        first + "".join(sign + part for sign, part in zip(signs, others, strict=True))
        for signs in product("-_", repeat=len(others))
    ]
