"""
Client of Nomad's HTTP API.

Built on python-nomad's `Requester`, which supports neither services nor checks, no unix socket, no
TLS server name and no total deadline.  Every failure becomes one exception, whose reason is safe to
log: it contains no header, no token and no body.  This package caches no response and does not wait
between requests; callers do both.
"""
