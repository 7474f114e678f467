"""
axe-core reports no violations on the status page.
"""

import json
from collections.abc import Callable

import pytest

from tests.support.admin_subject import AdminSubject, running_with_admin
from tests.support.selection import slow
from tests.support.status_page import StatusPage

Show = Callable[..., StatusPage]

pytestmark = pytest.mark.browser


def busy(subject: AdminSubject) -> str:
    """
    Return a status that fills the page: warnings, every health, reasons, draining workers.
    """
    found = subject.status()
    row = found["endpoints"]["rows"][0]
    healths = ["unknown", "starting", "ready", "slow", "failing"]
    found["endpoints"]["rows"] = [
        {**row, "address": f"10.0.0.{i}:{8000 + i}", "health": healths[i % 5]} for i in range(60)
    ]
    found["endpoints"].update(known=60, by_health=dict.fromkeys(healths, 12))
    found["deadline"].update(extended_to=found["deadline"]["at"])
    found["warnings"] = [
        {"kind": kind, "text": f"this is {kind}"}
        for kind in ("nginx_silent", "discovery_failing", "deadline_near")
    ]
    found["sources"][0].update(failing_since=found["now"], errors=3, last_error="refused")
    reload = found["reloads"]["last"][0]
    found["reloads"]["last"] = [
        {**reload, "result": result, "reason": f"because of {i}"}
        for i, result in enumerate(("applied", "refused", "rolled_back", "revived") * 3)
    ]
    found["nginx"]["draining"] = [{"workers": 2, "told": True}]
    return json.dumps(found)


@pytest.mark.parametrize("scheme, width", [("light", 1280), slow("dark", 360)])
def test_the_page_is_clean(show: Show, scheme: str, width: int) -> None:
    """
    In light and dark, wide and narrow: as loaded, with every element, and without responses.
    """
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with running_with_admin("one", "two", TTL="1h") as subject:
        window = show(subject.admin_port, **options).open()
        assert [] == window.accessibility_violations()

        window.status(busy(subject))
        window.wait_for_text("notes", "This is discovery_failing")
        window.page.locator("details").evaluate("details => { details.open = true }")
        assert [] == window.accessibility_violations()

        window.page.unroute("**/status")
        window.page.route("**/status", lambda route: route.abort())
        window.wait_for_text("verdict", "No response")
        assert [] == window.accessibility_violations()
