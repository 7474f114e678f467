"""
The right that asking for checks needs, and what to do about it where it is missing.
"""

from supervisor.client import Unanswered
from supervisor.settings import Settings


def is_missing(trouble: Unanswered) -> bool:
    """
    Tell whether the token may not read jobs.
    """
    return trouble.status == 403


def hint(settings: Settings) -> str:
    """
    Return the policy to apply, and how.
    """
    namespace, job = settings.nomad_namespace, settings.nomad_job_id
    bound = f"-namespace {namespace} -job {job} " if job else ""
    return (
        f'put namespace "{namespace}" {{ capabilities = ["read-job"] }} into a file, then: '
        f"nomad acl policy apply {bound}NAME FILE"
    )
