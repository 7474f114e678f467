"""
Static checks of the status page.
"""

import re
from base64 import b64encode
from hashlib import sha256

from supervisor.admin.page import page, policy

BODY = page().body.decode()
SCRIPT = re.findall(r"<script[^>]*>(.*?)</script>", BODY, re.DOTALL)
STYLE = re.findall(r"<style>(.*?)</style>", BODY, re.DOTALL)


def test_the_policy_allows_only_the_page_itself() -> None:
    """
    It contains the hashes of one style and one script; a changed byte changes the policy.
    """
    (script,), (style,) = SCRIPT, STYLE
    hashes = [b64encode(sha256(part.encode()).digest()).decode() for part in (script, style)]
    current = policy(BODY.encode())

    assert hashes == re.findall(r"'sha256-([^']+)'", current)
    assert "unsafe" not in current
    assert "require-trusted-types-for 'script'" in current
    assert current != policy(BODY.replace("// -- formatting", "// -- Formatting").encode())


def test_the_page_is_self_contained() -> None:
    """
    It loads no external resources, and no attribute contains script or style.
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
    The script uses no API that parses text as markup.
    """
    apis = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\("

    assert [] == re.findall(apis, SCRIPT[0])
