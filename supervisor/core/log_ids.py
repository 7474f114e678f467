"""
The ids of the log lines that `stats` counts, shared with the code that logs them.
"""

RELOAD_APPLIED = "reload.applied"
RELOAD_FAILED = "reload.failed"
RELOAD_REVIVED = "reload.revived"
DISCOVERY_FAILED = "discovery.failed"
NGINX_DIED = "nginx.died"
WORKER_DIED = "nginx.worker_died"
GENERATION_ENDED = "generation.ended"
