"""
The log ids that are counted, each in one place for the code that logs it and for `stats`.
"""

RELOAD_APPLIED = "reload.applied"
RELOAD_FAILED = "reload.failed"
RELOAD_REVIVED = "reload.revived"
DISCOVERY_FAILED = "discovery.failed"
NGINX_DIED = "nginx.died"
WORKER_DIED = "nginx.worker_died"
GENERATION_ENDED = "generation.ended"
