"""
The status page, as far as it can be judged without looking at it.
"""

import re
from base64 import b64encode
from hashlib import sha256

from supervisor.admin.page import page, policy

BODY = page().body.decode()
SCRIPT = re.findall(r"<script[^>]*>(.*?)</script>", BODY, re.DOTALL)
STYLE = re.findall(r"<style>(.*?)</style>", BODY, re.DOTALL)


def test_the_policy_names_what_is_in_the_page_and_nothing_else() -> None:
    """
    One style and one script run, by the hash of their bytes; a byte more and they would not.
    """
    (script,), (style,) = SCRIPT, STYLE
    named = [b64encode(sha256(part.encode()).digest()).decode() for part in (script, style)]
    found = policy(BODY.encode())

    assert named == re.findall(r"'sha256-([^']+)'", found)
    assert "unsafe" not in found
    assert "require-trusted-types-for 'script'" in found
    assert found != policy(BODY.replace("// -- words", "// -- Words").encode())


def test_the_page_brings_all_it_needs() -> None:
    """
    Nothing is loaded from elsewhere, and no attribute is a script or a style.
    """
    tags = re.findall(
        r"<[a-z][^<>]*>", re.sub(r"<(script|style).*?</\1>", "", BODY, flags=re.DOTALL)
    )
    links = re.findall(r' (?:href|src|action)="([^"]*)"', " ".join(tags))

    assert [] == [link for link in links if not re.match(r"(/[a-z]|#|data:,$)", link)]
    assert [] == [tag for tag in tags if re.search(r' (on[a-z]+|style)="', tag)]
    assert [] == re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s`\"]+", BODY)


def test_no_text_is_ever_read_as_markup() -> None:
    """
    None of the ways to make a document of text is used.
    """
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\("

    assert [] == re.findall(ways, SCRIPT[0])
