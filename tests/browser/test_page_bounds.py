"""
The status page with hostile text, wrong clocks, narrow screens, keyboards and screen readers.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.admin_subject import SCHEMA, AdminSubject, running_with_admin
from tests.support.client import get
from tests.support.replica import Replica
from tests.support.status_page import StatusPage, seconds
from tests.support.waiting import eventually, free_port

Show = Callable[..., StatusPage]

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'`${1}\u202e\x00\n</style>"


@pytest.fixture(scope="module")
def served() -> Iterator[AdminSubject]:
    """
    One program with two replicas, shared by tests that do not change it.
    """
    with running_with_admin("one", "two", TTL="5h") as subject:
        yield subject


def changed(subject: AdminSubject, **parts: Any) -> str:
    """
    Return the real status with some parts replaced; it must still match the schema.
    """
    found = {**subject.status(), **parts}
    Draft202012Validator(SCHEMA.schema).validate(found)
    return json.dumps(found)


def test_untrusted_text_is_only_text(show: Show, served: AdminSubject) -> None:
    """
    Markup in any field is shown as text, loads nothing, and does not break the layout.
    """
    found = served.status()
    texts = dict.fromkeys(("address", "job", "allocation", "node"), HOSTILE * 3)
    row = {**found["endpoints"]["rows"][0], **texts}
    source = {**found["sources"][0], "name": HOSTILE, "last_error": HOSTILE * 50}
    source["failing_since"] = found["started_at"]
    reload = {**found["reloads"]["last"][0], "why": HOSTILE, "reason": HOSTILE * 50}
    answer = changed(
        served,
        title=HOSTILE * 9,
        instance=dict.fromkeys(found["instance"], HOSTILE * 3),
        warnings=[{"kind": "endpoints_remark", "text": HOSTILE * 9}],
        endpoints={**found["endpoints"], "rows": [row]},
        sources=[source],
        reloads={**found["reloads"], "last": [reload]},
        nginx={**found["nginx"], "generation": HOSTILE},
        versions=dict.fromkeys(found["versions"], HOSTILE),
        deadline={**found["deadline"], "origin": HOSTILE},
    )
    window = show(served.admin_port, viewport={"width": 320, "height": 640})
    window.status(answer)
    requested: list[str] = []
    window.page.on("request", lambda request: requested.append(request.url))
    window.open()

    window["control"].locator("summary").click()
    for name in (
        "service",
        "from-outside",
        "notes",
        "rows",
        "sources",
        "reloads",
        "nginx",
        "versions",
    ):
        assert "<img src=x onerror=alert(1)>" in window.text(name)
        assert "\u202e" not in window.text(name)
    assert 0 == window.page.locator("img, main script, main style").count()
    assert {"/", "/status"} == {
        url.removeprefix(f"http://127.0.0.1:{served.admin_port}") for url in requested
    }
    assert window.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_browser_enforces_the_policy(show: Show, served: AdminSubject) -> None:
    """
    It refuses markup made from text, other scripts and other origins; nothing is stored.
    """
    window = show(served.admin_port).open()
    page = window.page
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'x'}))",
        f"fetch('http://127.0.0.1:{served.port}/')",
    ):
        refused = f"(async () => {{ try {{ await ({attempt}) }} catch {{ return true }} }})()"
        assert page.evaluate(refused), attempt
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert "rgb(255, 0, 0)" != page.evaluate("getComputedStyle(document.body).color")
    assert [] == window.context.cookies()
    assert 0 == page.evaluate("localStorage.length + sessionStorage.length")
    window.problems.clear()  # each refusal was logged


def test_the_response_has_security_headers(served: AdminSubject) -> None:
    """
    The policy has no exceptions, and the page may be neither cached nor framed.
    """
    headers = get(served.admin_port, "/").headers

    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert ("no-store", "nosniff", "DENY", None) == tuple(
        headers[name]
        for name in ("Cache-Control", "X-Content-Type-Options", "X-Frame-Options", "Set-Cookie")
    )


@pytest.mark.parametrize("hours", [-7, 7])
def test_only_the_clock_of_the_supervisor_counts(
    show: Show, served: AdminSubject, hours: int
) -> None:
    """
    A browser whose clock is hours off shows the same countdown and ages, and a notice.
    """
    off = f"{{ const now = Date.now; Date.now = () => now() + {hours * 3600 * 1000} }}"
    window = show(served.admin_port, script=off).open()

    hour = int(window.text("left").split(":")[0])
    assert hour == int(served.status()["deadline"]["remaining"] // 3600)
    assert " h" not in window["rows"].locator("small").first.inner_text()
    assert f"your clock is 7 h {'ahead' if hours > 0 else 'behind'}" in window.text("link")


def test_no_response_long_before_the_deadline_is_not_a_shutdown(
    show: Show, served: AdminSubject
) -> None:
    """
    After hours without a response the deadline may have been moved.
    """
    window = show(served.admin_port)
    window.page.clock.install()
    window.open()
    window.page.route("**/status", lambda route: route.abort())
    window.page.clock.fast_forward(10_000)
    window.wait_for_text("verdict", "No response")
    window.page.clock.fast_forward(6 * 3600 * 1000)

    assert "has passed since" in window.wait_for_text("traffic", "The admin port does not respond")
    assert "No response" == window.text("verdict")


def test_a_page_loaded_too_early_keeps_polling(show: Show, served: AdminSubject) -> None:
    """
    Loaded before the first status, it reports that, and shows the status once available.
    """
    window = show(served.admin_port)
    window.page.route("**/status", lambda route: route.fulfill(status=503, body="not yet"))
    window.page.goto(f"http://127.0.0.1:{served.admin_port}/")
    window.wait_for_text("verdict", "No response yet")
    assert window["columns"].is_hidden()
    window.page.unroute("**/status")
    window.wait_for_text("verdict", "Serving")


def test_the_deadline_is_shown_in_both_zones(show: Show, served: AdminSubject) -> None:
    """
    In UTC, as in the log, and in the browser's time zone.
    """
    window = show(served.admin_port, timezone_id="Asia/Kolkata").open()

    hour, minute = map(int, served.status()["deadline"]["at"][11:16].split(":"))
    local = (hour * 60 + minute + 330) % 1440
    assert f"{hour:02}:{minute:02}" in window.text("end")
    assert f"({local // 60:02}:{local % 60:02} here)" in window.text("end")


def test_screen_readers_announce_only_changes(show: Show, served: AdminSubject) -> None:
    """
    While only time passes nothing is announced; a failure is announced once.
    """
    window = show(served.admin_port).open()
    window.page.evaluate(
        "window.spoken = []; new MutationObserver(() => spoken.push(announced.textContent))"
        ".observe(announced, {childList: true, characterData: true, subtree: true})"
    )
    before = seconds(window.text("left"))
    eventually(lambda: before - seconds(window.text("left")) >= 4)
    assert [] == window.page.evaluate("spoken")

    warning = {"kind": "discovery_failing", "text": "nomad:web has been failing for 3s; keeping 2"}
    for age in (3, 5, 7):
        warning["text"] = warning["text"].replace("3s", f"{age}s")
        window.status(changed(served, warnings=[warning]))
        window.wait_for_text("notes", "nomad:web has been failing")
        eventually(lambda: window.page.evaluate("spoken.length"))
    assert 1 == window.page.evaluate("spoken.length")
    assert "off" == (window["left"].get_attribute("aria-live") or "off")


def test_it_can_be_used_by_keyboard(show: Show, served: AdminSubject) -> None:
    """
    The first key skips the header; every control can be reached and shows its focus.
    """
    window = show(served.admin_port)
    found = served.status()
    first, second = found["endpoints"]["rows"]
    health = {**found["endpoints"]["by_health"], "ready": 1, "failing": 1}
    endpoints = {**found["endpoints"], "by_health": health}
    endpoints["rows"] = [first, {**second, "health": "failing"}]
    window.status(changed(served, endpoints=endpoints))
    page = window.open().page

    page.keyboard.press("Tab")
    assert "To the endpoints" == page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    assert "endpoints" == page.evaluate("document.activeElement.id")
    for _ in range(3):
        page.keyboard.press("Tab")
    assert "Failing 1" == page.evaluate("document.activeElement.textContent")
    assert "none" != page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("Space")
    assert "true" == page.evaluate("document.activeElement.getAttribute('aria-pressed')")
    assert 1 == window["rows"].locator("tr").count()


def test_a_selection_survives_updates(show: Show, served: AdminSubject) -> None:
    """
    Selected text is still selected after the next responses.
    """
    window = show(served.admin_port).open()
    select = "getSelection().selectAllChildren(document.querySelector('#rows .mono'))"
    window.page.evaluate(select)
    chosen = window.page.evaluate("String(getSelection())")
    for _ in range(2):
        with window.page.expect_response("**/status"):
            pass

    assert chosen == window.page.evaluate("String(getSelection())") != ""


def test_reduced_motion_is_respected(show: Show) -> None:
    """
    A moved deadline is highlighted, but not with reduced motion.
    """
    with running_with_admin("one", TTL="1h") as subject:
        calm = show(subject.admin_port, reduced_motion="reduce").open()
        other = show(subject.admin_port, reduced_motion="no-preference").open()
        assert 0 == subject.run_command("extend", "1h").returncode
        for window in (calm, other):
            window.wait_for_text("moved", "1 h later")
            window.page.locator("#when.fresh").wait_for()
        name = "getComputedStyle(document.getElementById('when')).animationName"
        assert ["none", "fresh"] == [window.page.evaluate(name) for window in (calm, other)]


@pytest.mark.parametrize(
    "parts, verdict, tone",
    [
        ({"current": False, "healthy": False, "ready": False}, "The supervisor is stuck", "bad"),
        ({"healthy": False, "ready": False}, "nginx does not respond", "bad"),
        ({"lame_duck": True, "ready": False}, "Serving, not ready", "warn"),
        ({"mode": "starting", "ready": False}, "Starting", "warn"),
        ({"mode": "unhealthy", "ready": False}, "No endpoint is ready", "bad"),
        ({"phase": "asking", "ready": False}, "Shutting down: Nomad stops the job", "calm"),
        ({"phase": "draining", "ready": False}, "Shutting down", "calm"),
    ],
)
def test_the_verdict_is_the_worst_state_that_applies(
    show: Show, served: AdminSubject, parts: dict[str, Any], verdict: str, tone: str
) -> None:
    """
    One verdict and one colour for each state that an operator must distinguish.
    """
    if "phase" in parts:
        began = served.status()["now"]
        ending = {"reason": "the deadline is over", "began_at": began, "gone_within": 30.0}
        parts = {**parts, "ending": ending}
    window = show(served.admin_port)
    window.status(changed(served, **parts))
    window.open()

    assert verdict == window.text("verdict")
    assert tone == window.page.locator("body").get_attribute("data-tone")


@pytest.mark.parametrize(
    "counts, verdict, tone",
    [
        ({"ready": 60}, "Serving", "good"),
        ({"ready": 59, "failing": 1}, "Serving with 59 of 60", "warn"),
        ({"ready": 1, "failing": 59}, "Serving with 1 of 60", "warn"),
        ({"ready": 58, "slow": 2}, "Serving with 58 of 60", "warn"),
        ({"ready": 1, "starting": 59}, "Serving with 1 of 60", "warn"),
        ({"ready": 45, "starting": 15}, "Serving", "good"),
    ],
)
def test_the_colour_shows_how_many_are_ready(
    show: Show, served: AdminSubject, counts: dict[str, int], verdict: str, tone: str
) -> None:
    """
    1 of 60 looks different from 60 of 60; replicas that a service gains are no problem.
    """
    found = served.status()["endpoints"]
    by_health = {**dict.fromkeys(found["by_health"], 0), **counts}
    endpoints = {**found, "known": 60, "serving": counts["ready"], "by_health": by_health}
    window = show(served.admin_port)
    window.status(changed(served, endpoints=endpoints))
    window.open()

    assert verdict == window.text("verdict")
    assert tone == window.page.locator("body").get_attribute("data-tone")
    assert window.page.title().startswith(f"{verdict} \u00b7 ")


def test_an_endpoint_that_is_drained_does_not_count(show: Show, served: AdminSubject) -> None:
    """
    Whoever set lb.drain expects it to fail soon.
    """
    found = served.status()["endpoints"]
    first, second = found["rows"]
    by_health = {**found["by_health"], "ready": 1, "failing": 1}
    second = {**second, "health": "failing", "serving": False}
    window = show(served.admin_port)
    for drain, verdict in ((True, "Serving"), (False, "Serving with 1 of 2")):
        rows = [first, {**second, "drain": drain}]
        window.status(changed(served, endpoints={**found, "by_health": by_health, "rows": rows}))
        window.open()
        assert verdict == window.text("verdict")


def test_each_endpoint_shows_where_it_runs(show: Show, served: AdminSubject) -> None:
    """
    Job, allocation and node with the short IDs of Nomad's commands, the whole ones on request; the
    filter finds them.
    """
    window = show(served.admin_port).open()
    for row in served.status()["endpoints"]["rows"]:
        shown = window["rows"].locator("tr", has_text=row["address"]).locator(".origin span")
        expected = [row["job"], f"alloc {row['allocation'][:8]}", f"node {row['node'][:8]}"]
        assert expected == shown.all_inner_texts()
        assert row["allocation"] == shown.nth(1).get_attribute("title")

    found = served.status()["endpoints"]
    first = {**found["rows"][0], "job": None, "allocation": None, "node": None}
    rows = [first, *({**found["rows"][1], "address": f"10.0.0.{i}:1"} for i in range(30))]
    window.status(changed(served, endpoints={**found, "known": 31, "rows": rows}))
    eventually(window["filter"].is_visible)
    window["filter"].fill(found["rows"][1]["allocation"][:8])
    window.wait_for_text("shown", "25 of 30")
    window["filter"].fill(first["address"])
    eventually(lambda: 1 == window["rows"].locator("tr").count())
    assert 0 == window["rows"].locator(".origin span").count()


def test_the_commands_name_the_allocation_and_the_task(show: Show, served: AdminSubject) -> None:
    """
    Ready to be copied; the hint of the warning stays within MAX_TTL.
    """
    found = served.status()
    whole = "nomad alloc exec -task nginx 5ec6c5d6 autoexit-nginx"
    instance = {**found["instance"], "command": whole}
    near = [{"kind": "deadline_near", "text": "shutdown begins in less than 1h"}]
    window = show(served.admin_port)
    for bound, hint in (
        (None, f"to add an hour: {whole} extend 1h"),
        (found["deadline"]["at"], "it cannot be moved further (MAX_TTL)"),
    ):
        deadline = {**found["deadline"], "latest": bound}
        window.status(changed(served, instance=instance, warnings=near, deadline=deadline))
        window.open()
        window.wait_for_text("notes", hint)
    window["control"].locator("summary").click()
    assert f"{whole} extend 1h" == window.text("from-outside")
    assert "ALLOCATION" not in window.page.locator("main").inner_text()


def test_the_title_is_a_name(show: Show) -> None:
    """
    Not the list of addresses of ENDPOINTS.
    """
    with Replica("one") as one:
        listed = f"127.0.0.1:{one.port},127.0.0.1:{free_port()}"
        with running_with_admin(ENDPOINTS=listed) as subject:
            subject.wait_for_log("reload.applied", mode="serve")
            window = show(subject.admin_port).open()
            assert "2 listed endpoints" == window.text("service")
            assert str(one.port) not in window.page.title()


def test_a_defect_is_not_an_outage(show: Show, served: AdminSubject) -> None:
    """
    An answer of 500 is shown as what it is, before and after the first status.
    """
    window = show(served.admin_port)
    window.page.route("**/status", lambda route: route.fulfill(status=500, body="cannot answer"))
    window.page.goto(f"http://127.0.0.1:{served.admin_port}/")
    window.wait_for_text("traffic", "internal error: its log has the reason (admin.failed)")
    window.page.unroute("**/status")
    window.wait_for_text("verdict", "Serving")
    window.page.route("**/status", lambda route: route.fulfill(status=500, body="cannot answer"))
    window.wait_for_text("verdict", "No status")
    assert "warn" == window.page.locator("body").get_attribute("data-tone")


@pytest.mark.parametrize("mode", ["no_endpoints", "unhealthy", "starting"])
def test_no_name_of_a_state_is_in_a_sentence(show: Show, served: AdminSubject, mode: str) -> None:
    """
    The page has words for modes, for nginx and for the way of probing.
    """
    found = served.status()
    last = [{**found["reloads"]["last"][0], "mode": mode, "endpoints": 0}]
    window = show(served.admin_port)
    reloads, nginx = {**found["reloads"], "last": last}, {**found["nginx"], "health": "booting"}
    window.status(changed(served, mode=mode, ready=False, reloads=reloads, nginx=nginx))
    text = window.open().page.locator("main").inner_text()

    assert "no_endpoints" not in text
    assert "unhealthy" not in text
    assert ", starting, pid" in window.text("nginx-sum")
    assert "probed by TCP" in window.text("endpoints-sum")
