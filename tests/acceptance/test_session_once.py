"""All pages of a storefront that ask at once for the token of one session get the same one."""

from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path

from tests.running import ROOT, running
from tests.storing import each_store, storing

from .clients import at_once, connected, logged, stop, workers

AUTH = "/s/RefArch/dw/shop/v23_2/customers/auth"
CLIENT = {"x-dw-client-id": "storefront"}


@each_store
def test_two_hundred_requests_for_the_token_of_a_session_make_one_upstream_call(kind: str, tmp_path: Path) -> None:
    rules = tmp_path / "session-once.yaml"
    # The rule as it ships, with time for two hundred to wait on a busy machine.
    shipped = (ROOT / "rules" / "sfcc" / "session-once.yaml").read_text()
    rules.write_text(shipped.replace("\n    match:", "\n    timeout: 60s\n    match:"))
    with (
        storing(kind, tmp_path) as flags,
        running("--upstream", "sandbox:sfcc", "--rules", rules, *flags) as proxy,
    ):
        first, *_, other = [*workers(proxy, kind)] * 2
        guest = proxy.call("POST", AUTH, {"type": "guest"}, CLIENT)
        bearer = {**CLIENT, "Authorization": guest.headers["Authorization"]}
        session = proxy.call("POST", AUTH.replace("customers/auth", "sessions"), {}, bearer)
        jar = SimpleCookie("; ".join(line.partition(";")[0] for line in session.cookies))
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
        assert "dwsid=" in cookies

        with connected(proxy, first, 100) as some, connected(proxy, other, 100) as more:
            alternating = [one for pair in zip(some, more, strict=True) for one in pair]
            headers = {**CLIENT, "Cookie": cookies}
            answers = at_once(alternating, "POST", AUTH, {"type": "session"}, headers)
        assert {answer.status for answer in answers} == {200}
        assert len({answer.headers["Authorization"] for answer in answers}) == 1
        assert len({answer.json["customer_id"] for answer in answers}) == 1
        said = stop(proxy)
        for secret in (*(morsel.value for morsel in jar.values()), answers[0].headers["Authorization"]):
            assert secret not in said
        asked = [event for event in logged(proxy, "exchange") if event["path"] == AUTH][1:]
        assert len(asked) == 200
        assert sum(event["upstream_ms"] is not None for event in asked) == 1
