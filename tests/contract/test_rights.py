"""
Authorization: invalid tokens, identities without a policy, and Nomad without ACLs.
"""

import pytest

from tests.support.client import get
from tests.support.nomad_api import UNKNOWN, Api
from tests.support.nomad_params import with_acl, without_acl

FORBIDDEN = (403, "Forbidden")
DENIED = (403, "Permission denied")
UNAUTHORIZED = (401, "Unauthorized")
NOT_AUTHENTIC = (500, "Server error authenticating request\n")


@with_acl
class TestTaskApi:
    """
    Responses of the socket with ACLs on.
    """

    @pytest.mark.parametrize(
        "token,expected",
        [("", UNAUTHORIZED), (UNKNOWN, FORBIDDEN), ("junk", NOT_AUTHENTIC)],
    )
    @pytest.mark.parametrize("path", ["/v1/service/x", "/v1/allocation/x/checks", "/v1/nothing"])
    def test_tokens(self, api: Api, path: str, token: str, expected: tuple[int, str]) -> None:
        """
        An empty token gets a 401, an unknown UUID a 403, any other token a 500, for every path.
        """
        answer = api.call(path, token=token, on=api.socket)

        assert expected == (answer.status, answer.text)

    def test_no_token(self, api: Api) -> None:
        """
        A request without a token gets a 401.
        """
        answer = get(api.socket, "/v1/service/x")

        assert UNAUTHORIZED == (answer.status, answer.text)

    def test_a_tampered_identity(self, api: Api) -> None:
        """
        A token with a wrong signature, or a truncated one, gets a 500 and not a 403.
        """
        for token in (api.token + "x", api.token[:40]):
            answer = api.call("/v1/service/x", token=token, on=api.socket)

            assert NOT_AUTHENTIC == (answer.status, answer.text)

    def test_its_identity_is_enough(self, api: Api) -> None:
        """
        A workload may read services with its identity, in either header, without a policy.
        """
        bearer = {"Authorization": f"Bearer {api.token}"}

        answers = [
            api.get_service("x", on=api.socket),
            get(api.socket, "/v1/service/x", headers=bearer),
            api.get_service("x"),
            get(api.port, "/v1/service/x", headers=bearer),
        ]

        assert [200] * 4 == [answer.status for answer in answers]

    def test_any_namespace_may_be_read(self, api: Api, web: str) -> None:
        """
        An identity may query other namespaces, even one that does not exist.
        """
        assert 200 == api.get_service(web, on=api.socket, namespace="nowhere").status

    def test_a_missing_capability_differs_from_a_wrong_token(self, api: Api, web: str) -> None:
        """
        A missing capability gets a 403 with another text than an unknown token.
        """
        (row,) = api.register(web)

        for answer in (
            api.checks(row["AllocID"], on=api.socket),
            api.stop(web, on=api.socket),
            api.stop("unknown", on=api.socket),
        ):
            assert DENIED == (answer.status, answer.text)


@with_acl
class TestTcp:
    """
    Responses of the TCP port with ACLs on.
    """

    @pytest.mark.parametrize("token", ["", UNKNOWN, "junk"])
    def test_tokens(self, api: Api, token: str) -> None:
        """
        Every wrong token gets the same 403, for services and for jobs.
        """
        for answer in (api.call("/v1/service/x", token=token), api.stop("x", token=token)):
            assert DENIED == (answer.status, answer.text)

    @pytest.mark.parametrize("token", ["", UNKNOWN])
    def test_tokens_for_checks(self, api: Api, web: str, token: str) -> None:
        """
        An empty or unknown token gets the same 403 for checks.
        """
        (row,) = api.register(web)

        answer = api.checks(row["AllocID"], token=token)

        assert DENIED == (answer.status, answer.text)

    def test_junk_for_checks(self, api: Api, web: str) -> None:
        """
        A malformed token gets a 500 for checks, because the client node parses it.
        """
        (row,) = api.register(web)

        answer = api.checks(row["AllocID"], token="junk")

        assert 500 == answer.status
        assert answer.text.startswith("rpc error: failed to parse signed token")

    def test_a_missing_capability(self, api: Api, web: str) -> None:
        """
        An identity without a policy gets the same response as a wrong token.
        """
        (row,) = api.register(web)

        for answer in (api.checks(row["AllocID"]), api.stop(web)):
            assert DENIED == (answer.status, answer.text)


@without_acl
class TestWithoutAcls:
    """
    Responses with ACLs off.
    """

    def test_task_api(self, api: Api) -> None:
        """
        The Task API still requires a token, and accepts any.
        """
        statuses = [
            api.call("/v1/service/x", token=token, on=api.socket).status
            for token in ("", "anything", UNKNOWN)
        ]

        assert [401, 401, 200, 200] == [get(api.socket, "/v1/service/x").status, *statuses]

    def test_tcp(self, api: Api, web: str) -> None:
        """
        No request over TCP needs a token.
        """
        (row,) = api.register(web)
        path = f"/v1/client/allocation/{row['AllocID']}/checks"

        answers = [
            get(api.port, f"/v1/service/{web}"),
            get(api.port, path),
            get(api.port, f"/v1/job/{web}", method="DELETE"),
        ]

        assert [200] * 3 == [answer.status for answer in answers]
