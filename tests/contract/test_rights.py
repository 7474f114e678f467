"""
Who may ask what: tokens that are none, identities without a policy, and Nomads without ACLs.
"""

import pytest

from tests.support.client import get
from tests.support.nomad_api import UNKNOWN, Api
from tests.support.nomads import guarded, unguarded

FORBIDDEN = (403, "Forbidden")
DENIED = (403, "Permission denied")
UNAUTHORIZED = (401, "Unauthorized")
NOT_AUTHENTIC = (500, "Server error authenticating request\n")


@guarded
class TestTaskApi:
    """
    What the socket says where ACLs are on.
    """

    @pytest.mark.parametrize(
        "token,said",
        [("", UNAUTHORIZED), (UNKNOWN, FORBIDDEN), ("junk", NOT_AUTHENTIC)],
    )
    @pytest.mark.parametrize("path", ["/v1/service/x", "/v1/allocation/x/checks", "/v1/nothing"])
    def test_tokens(self, api: Api, path: str, token: str, said: tuple[int, str]) -> None:
        """
        An empty token is a 401, an unknown UUID a 403, any other nonsense a 500, wherever it asks.
        """
        answer = api.call(path, token=token, on=api.socket)

        assert said == (answer.status, answer.text)

    def test_no_token(self, api: Api) -> None:
        """
        No token at all is a 401.
        """
        answer = get(api.socket, "/v1/service/x")

        assert UNAUTHORIZED == (answer.status, answer.text)

    def test_a_tampered_identity(self, api: Api) -> None:
        """
        A token whose signature is wrong, or that is cut short, is a 500 and not a 403.
        """
        for token in (api.token + "x", api.token[:40]):
            answer = api.call("/v1/service/x", token=token, on=api.socket)

            assert NOT_AUTHENTIC == (answer.status, answer.text)

    def test_its_identity_is_enough(self, api: Api) -> None:
        """
        A workload may read services by its identity alone, in either header, without a policy.
        """
        bearer = {"Authorization": f"Bearer {api.token}"}

        answers = [
            api.ask("x", on=api.socket),
            get(api.socket, "/v1/service/x", headers=bearer),
            api.ask("x"),
            get(api.port, "/v1/service/x", headers=bearer),
        ]

        assert [200] * 4 == [answer.status for answer in answers]

    def test_any_namespace_may_be_read(self, api: Api, web: str) -> None:
        """
        Its identity asks in a namespace of others, and even in one that nobody has.
        """
        assert 200 == api.ask(web, on=api.socket, namespace="nowhere").status

    def test_a_missing_right_is_no_wrong_token(self, api: Api, web: str) -> None:
        """
        What an identity may not do is a 403 in other words than those for an unknown token.
        """
        (row,) = api.offer(web)

        for answer in (
            api.checks(row["AllocID"], on=api.socket),
            api.stop(web, on=api.socket),
            api.stop("nobody", on=api.socket),
        ):
            assert DENIED == (answer.status, answer.text)


@guarded
class TestTcp:
    """
    What the port says where ACLs are on.
    """

    @pytest.mark.parametrize("token", ["", UNKNOWN, "junk"])
    def test_tokens(self, api: Api, token: str) -> None:
        """
        Every wrong token is the same 403, for services and for jobs.
        """
        for answer in (api.call("/v1/service/x", token=token), api.stop("x", token=token)):
            assert DENIED == (answer.status, answer.text)

    @pytest.mark.parametrize("token", ["", UNKNOWN])
    def test_tokens_for_checks(self, api: Api, web: str, token: str) -> None:
        """
        So it is for checks, with a token that is none or unknown.
        """
        (row,) = api.offer(web)

        answer = api.checks(row["AllocID"], token=token)

        assert DENIED == (answer.status, answer.text)

    def test_junk_for_checks(self, api: Api, web: str) -> None:
        """
        A token that cannot be verified is a 500 where the node itself is asked for checks.
        """
        (row,) = api.offer(web)

        answer = api.checks(row["AllocID"], token="junk")

        assert 500 == answer.status
        assert answer.text.startswith("rpc error: failed to parse signed token")

    def test_a_missing_right(self, api: Api, web: str) -> None:
        """
        An identity without a policy hears the same as a wrong token.
        """
        (row,) = api.offer(web)

        for answer in (api.checks(row["AllocID"]), api.stop(web)):
            assert DENIED == (answer.status, answer.text)


@unguarded
class TestWithoutAcls:
    """
    What changes where ACLs are off.
    """

    def test_task_api(self, api: Api) -> None:
        """
        The Task API wants a token all the same, and takes any.
        """
        statuses = [
            api.call("/v1/service/x", token=token, on=api.socket).status
            for token in ("", "anything", UNKNOWN)
        ]

        assert [401, 401, 200, 200] == [get(api.socket, "/v1/service/x").status, *statuses]

    def test_tcp(self, api: Api, web: str) -> None:
        """
        Nobody is asked for a token over TCP, whatever is wanted.
        """
        (row,) = api.offer(web)
        path = f"/v1/client/allocation/{row['AllocID']}/checks"

        answers = [
            get(api.port, f"/v1/service/{web}"),
            get(api.port, path),
            get(api.port, f"/v1/job/{web}", method="DELETE"),
        ]

        assert [200] * 3 == [answer.status for answer in answers]
