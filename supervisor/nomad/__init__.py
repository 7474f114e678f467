"""
Client of Nomad's HTTP API.

Built on python-nomad's `Requester`, which offers neither services nor checks, no unix socket, no
TLS server name and no total deadline.  Every failure becomes one exception, whose reason is safe to
log: it holds no header, no token and no body.  Nothing here caches an answer or waits between two
requests; callers do.
"""
