"""D: spellings of a path and of a method that a rule denies.

A path is decoded once; what two servers could read in two ways is refused, and what is forwarded is what was matched.
"""

from __future__ import annotations

from .cases import Case, Outcome, denied, forwarded, get, post, refused, request

RULES = """
- {name: deny-admin, match: {path: /admin/*}, before: [{deny: {}}]}
- {name: deny-delete, match: {method: DELETE}, before: [{deny: {}}]}
- {name: deny-list, match: {method: GET, path: /list}, before: [{deny: {}}]}
"""
# Where the upstream takes the method from a parameter, which is content like any other, a rule can read it too.
OVERRIDES = (
    RULES
    + """
- name: deny-override-in-query
  match: {method: POST}
  before: [{when: "'_method' in request.query", deny: {}}]
- name: deny-override-in-form
  match: {method: POST, headers: {content-type: {regex: "(?i)application/x-www-form-urlencoded.*"}}}
  before: [{when: has(request.body._method), deny: {}}]
"""
)
_CASE = "case is kept, and no upstream that we speak for may fold it; a rule can match with {regex: (?i)…}"
_ODD = "another name: forwarded with these very bytes, which none of the three readers takes for /admin"


def _at(number: str, target: str, outcome: Outcome, note: str = "") -> Case:
    return Case(number, target, get(target=target), outcome, rules=RULES, note=note)


D = (
    _at("D", "/admin", denied()),
    _at("D", "/admin/users", denied()),
    _at("D", "/public", forwarded(target="/public")),
    _at("D1", "//admin", refused(400)),
    _at("D2", "/./admin", denied()),
    _at("D3", "/x/../admin", denied()),
    _at("D4", "/%61dmin", denied()),
    _at("D5", "/%2561dmin", refused(400)),
    _at("D6", "/admin%2f", refused(400)),
    _at("D7", "/%2fadmin", refused(400)),
    _at("D8", "/x/%2e%2e/admin", denied()),
    _at("D9", "/x/..%2fadmin", refused(400)),
    _at("D10", "/x/..;/admin", refused(400)),
    _at("D11", "/admin;x=1", refused(400)),
    _at("D12", "/ADMIN", forwarded(target="/ADMIN"), _CASE),
    _at("D13", "/admin/", denied()),
    _at("D14", "/admin%00", refused(400)),
    _at("D15", "/admin%20", forwarded(target="/admin%20"), _ODD),
    _at("D16", "/admin.", forwarded(target="/admin."), _ODD),
    _at("D17", "/\\admin", refused(400)),
    _at("D18", "/%5cadmin", refused(400)),
    _at("D19", "/admin#x", refused(400)),
    _at("D20", "/public#/../admin", refused(400)),
    _at("D21", "/admin?", denied()),
    _at("D22", "/admin%3f", refused(400)),
    _at("D23", "/%c0%afadmin", refused(400)),
    _at("D24", "/%ef%bc%8fadmin", forwarded(target="/%EF%BC%8Fadmin"), _ODD),
    Case("D25", "DELETE", request("DELETE"), denied(), rules=RULES),
    *(
        Case("D25", name, post(f"{name}: DELETE"), forwarded("POST", fields={name: None}), rules=RULES)
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-override")
    ),
    Case("D25", "X_HTTP_Method_Override", post("X_HTTP_Method_Override: DELETE"), refused(400), rules=RULES),
    Case("D25", "_method in the query", post(target="/?_method=DELETE"), denied(), rules=OVERRIDES),
    Case("D25", "%5Fmethod in the query", post(target="/?%5Fmethod=DELETE"), denied(), rules=OVERRIDES),
    Case(
        "D25", "_method in a form", post("Content-Type: application/x-www-form-urlencoded", "Content-Length: 14",
                                         body=b"_method=DELETE"),
        denied(), rules=OVERRIDES,
    ),
    Case("D26", "HEAD of a GET that is denied", request("HEAD", target="/list"), denied(), rules=RULES),
)  # fmt: skip
