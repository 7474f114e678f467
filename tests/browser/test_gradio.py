"""
A Gradio application behind two replicas, as a person uses it: a browser on a real Gradio.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.gradio_apps import two_replicas
from tests.support.nginxes import CURRENT
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLICKS = 12
TABS = 4


@pytest.fixture(scope="module")
def applications() -> Iterator[str]:
    """
    Two replicas of a Gradio application, as a value of ENDPOINTS.
    """
    with two_replicas() as endpoints:
        yield endpoints


def click(page: "Page", times: int) -> list[str]:
    """
    Click the button of the application, each time after the answer to the last click; return the
    answers.
    """
    answers = [""]
    for _ in range(times):
        page.get_by_role("button", name="count").click()
        answers.append(
            eventually(
                lambda: (
                    text
                    if (text := page.get_by_role("textbox").input_value()) != answers[-1]
                    else ""
                ),
                10,
                0.05,
                f"an answer after {answers[-1]!r}",
            )
        )
    return answers[1:]


@pytest.mark.parametrize("nginx", [CURRENT])
def test_a_session_in_a_browser_stays_on_its_replica(
    browser: "Browser", applications: str, nginx: str
) -> None:
    """
    With STICKY=cookie twelve clicks get twelve answers that count up on one replica, in each of
    several browsers, and both replicas get some of them.
    """
    with Supervised(
        pid1=False, NGINX_BINARY=nginx, ENDPOINTS=applications, START_WAIT="5s", STICKY="cookie"
    ) as subject:
        subject.ready(status=200)
        names = set[str]()
        for _ in range(TABS):
            context = browser.new_context()  # as another person's browser: no cookies yet
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{subject.port}/")
            page.get_by_role("button", name="count").wait_for(timeout=30_000)
            answers = click(page, CLICKS)
            name = answers[0].split()[0]
            assert [f"{name} {number}" for number in range(1, CLICKS + 1)] == answers
            names.add(name)
            context.close()
        assert {"one", "two"} == names
