"""
The 503 page that browsers get while no endpoint serves.
"""

import re
from html.parser import HTMLParser

import pytest

from supervisor.core.config import load
from supervisor.core.model import Mode, Plan
from supervisor.nginx.render import RenderContext, Renderer
from supervisor.nginx.templates import read_templates

REFUSING = [Mode.STARTING, Mode.NO_ENDPOINTS, Mode.UNHEALTHY, Mode.DRAINING]
SUNSET = 1_800_000_000


class Page(HTMLParser):
    """The parsed contents of a page: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def renderer() -> Renderer:
    """Compile the templates once."""
    chosen = load.read({"SERVICE_NAME": "web"}, lambda _: False)
    context = RenderContext(chosen, (1, 31, 3), "/run/x", 2, 1024, 512, ("0.0.0.0:80",))
    return Renderer(context, read_templates())


RENDERER = renderer()


def page(mode: Mode, sunset: int | None = SUNSET) -> str:
    """Render the page of a state."""
    config = RENDERER.render(Plan((), mode, sunset=sunset), 1, 0, {})
    found = re.search(
        r"person '(<!doctype.*?)';\n\}", config.files["upstream.conf"].decode(), re.DOTALL
    )
    assert found
    return found[1]


@pytest.mark.parametrize("mode", REFUSING)
@pytest.mark.parametrize("sunset", [SUNSET, None])
def test_a_page_fits_into_one_nginx_parameter(mode: Mode, sunset: int | None) -> None:
    """
    A parameter has less than 4096 bytes, in which `$` starts a variable and a backslash an escape.
    """
    assert len(page(mode, sunset).encode()) < 3500
    assert not set(page(mode, sunset)) & {"$", "\\", "'"}


@pytest.mark.parametrize("mode", REFUSING)
def test_a_page_loads_no_resources(mode: Mode) -> None:
    """
    There are no files, fonts or scripts, because no endpoint could serve them.
    """
    parsed = Page(page(mode))
    attributes = [pair for _, given in parsed.elements for pair in given.items()]
    links = [value for name, value in attributes if name in {"src", "href"}]

    assert ["data:,"] == links
    assert not {"script", "img", "iframe"} & {tag for tag, _ in parsed.elements}
    assert "url(" not in page(mode)
    assert "@import" not in page(mode)


@pytest.mark.parametrize("mode", REFUSING)
def test_a_page_is_accessible(mode: Mode) -> None:
    """
    It has a language, a title, one heading and a mobile viewport, and it reloads itself.
    """
    parsed = Page(page(mode))
    tags = [tag for tag, _ in parsed.elements]

    assert ("html", {"lang": "en"}) in parsed.elements
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in (
        parsed.elements
    )
    assert ("meta", {"http-equiv": "refresh", "content": "5"}) in parsed.elements
    assert (1, 1, 1) == (tags.count("title"), tags.count("h1"), tags.count("main"))


def test_each_state_has_its_own_text() -> None:
    """
    Each of the four states has its own heading, and the page holds the state's name.
    """
    headings = {re.findall(r"<h1>(.*)</h1>", page(mode))[0] for mode in REFUSING}

    assert len(REFUSING) == len(headings)
    assert all(f"503 {mode}" in page(mode) for mode in REFUSING)


@pytest.mark.parametrize("mode", REFUSING)
def test_a_page_shows_the_deadline(mode: Mode) -> None:
    """
    The deadline is readable and machine-readable; without one it is omitted.
    """
    parsed = Page(page(mode))

    assert ("time", {"datetime": "2027-01-15T08:00:00Z"}) in parsed.elements
    assert "until 15 Jan 2027 08:00 UTC." in parsed.text
    assert "until" not in Page(page(mode, None)).text


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour as defined by WCAG 2."""
    digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_has_contrast_in_light_and_dark() -> None:
    """
    The contrast is at least 7, the strictest level of WCAG.
    """
    schemes = re.findall(r":root \{(.*?)\}", page(Mode.STARTING))

    assert 2 == len(schemes)
    for scheme in schemes:
        colours = {name: luminance(c) for name, c in re.findall(r"--(\w+): #([0-9a-f]+)", scheme)}
        for name in ("text", "quiet"):
            bright, dark = sorted((colours[name], colours["card"]), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 7
