"""What the OAuth example rules keep in a store, on each kind of store, shared by workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.running import ROOT, Answer, Proxy, running
from tests.storing import each_store, storing

OAUTH = ("--upstream", "sandbox:oauth", "--rules", ROOT / "rules" / "oauth")
CLIENT = {"client_id": "shop", "client_secret": "sandbox"}
JANE = {"grant_type": "password", "username": "jane@example.com", "password": "correct-horse-1"}


def ask(proxy: Proxy, **parameters: str) -> Answer:
    return proxy.call("POST", "/oauth/token", {**CLIENT, **parameters})


@each_store
def test_five_wrong_passwords_lock_a_user_name_on_all_workers(kind: str, tmp_path: Path) -> None:
    with storing(kind, tmp_path) as flags, running(*OAUTH, *flags) as proxy:
        wrong = {**JANE, "username": "vip@example.com", "password": "test-only-wrong"}
        right = {**wrong, "password": "correct-horse-4"}
        # A right one between them, after which the sandbox itself would count from the beginning.
        tries = [ask(proxy, **one) for one in (wrong, wrong, wrong, wrong, right, wrong)]
        assert [answer.status for answer in tries] == [400, 400, 400, 400, 200, 400]
        for _ in range(6):
            refused = ask(proxy, **right)
            assert (refused.status, refused.json["error"]) == (429, "too_many_attempts")
            assert 800 < int(refused.headers["Retry-After"]) <= 900
        assert ask(proxy, **JANE).status == 200


@each_store
def test_two_hundred_tabs_that_refresh_at_once_all_go_on(kind: str, tmp_path: Path) -> None:
    with storing(kind, tmp_path) as flags, running(*OAUTH, *flags) as proxy, ThreadPoolExecutor(40) as threads:
        login = ask(proxy, **JANE, scope="openid offline_access")
        headers = {"Cookie": login.headers["Set-Cookie"].partition(";")[0]}
        body = {**CLIENT, "grant_type": "refresh_token"}
        answers = list(threads.map(lambda _: proxy.call("POST", "/oauth/token", body, headers), range(200)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.json["access_token"] for answer in answers}) == 1
        # A second call of the sandbox with the old token would have ended the session.
        (cookie,) = {answer.headers["Set-Cookie"] for answer in answers}
        again = proxy.call("POST", "/oauth/token", body, {"Cookie": cookie.partition(";")[0]})
        assert again.status == 200
