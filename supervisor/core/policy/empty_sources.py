"""
Rules for sources that list no endpoints: the cause, in the log and in the status.

A group that restarts or is scaled up lists nothing for some seconds, so the cause is looked for
after 10 s.  It is logged once while it lasts.
"""

from dataclasses import replace

from supervisor.core import endpoint_set, missing_service
from supervisor.core.commands import Command, FindServices, note
from supervisor.core.events import ServicesListed
from supervisor.core.missing_service import Cause
from supervisor.core.state import Decision, State

#: The prefix of a service's source.
_SOURCE = "nomad:{}"


def perform_due(state: State, now: float) -> Decision:
    """
    Report the cause of sources that have been empty for too long, or ask Nomad for it.
    """
    commands: list[Command] = []
    for name, source in state.endpoint_set.sources.items():
        if now < source.cause_due_at:
            continue
        service = missing_service.service_of(name)
        if source.unselected.listed or not service:
            cause = missing_service.of_unselected(name, source.unselected, state.settings)
            state, line = _explain(state, name, cause)
            commands.append(line)
        else:
            after = endpoint_set.explained(state.endpoint_set, name)
            state = replace(state, endpoint_set=after)
            commands.append(FindServices(service))
    return state, commands


def on_services_listed(state: State, event: ServicesListed) -> Decision:
    """
    Report the cause of a service that is not registered, unless it is by now.
    """
    name = _SOURCE.format(event.service)
    source = state.endpoint_set.sources[name]
    if source.empty_since is None or not source.is_explained or source.unselected.listed:
        return state, []
    cause = missing_service.of_nothing(name, event, state.settings)
    state, line = _explain(state, name, cause)
    return state, [line]


def _explain(state: State, name: str, cause: Cause) -> tuple[State, Command]:
    after = endpoint_set.explained(state.endpoint_set, name, str(cause))
    service = missing_service.service_of(name)
    line = note(
        "discovery.no_endpoints",
        "warning",
        source=name,
        service=service or None,
        namespace=state.settings.nomad_namespace if service else None,
        reason=cause.reason,
        hint=cause.hint,
    )
    return replace(state, endpoint_set=after), line
