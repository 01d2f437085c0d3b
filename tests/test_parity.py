"""The parity table of rules/README.md: nothing of the vendors' documents is left out, and each row names its proof."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from proxy.language.document import Source, load
from proxy.language.model import Rule
from proxy.language.problems import Problems

PROJECT = Path(__file__).parent.parent
PAGE = PROJECT / "rules" / "README.md"
_ROW = re.compile(r"\| `([^`]+)` \| (.+?) \| (.*?) ?\|")
_PROOF = re.compile(r"\[[^\]]+\]\(([^)]+)\) `([^`]+)`")

AUDIT = ["createBy", "createDate", "updateBy", "updateDate"]


def within(place: str, names: list[str]) -> list[str]:
    return [place, *(f"{place}.{name}" for name in names)]


# What the five documents name, by the heading that it stands under. Kept by hand, from the documents.
NAMES: dict[str, list[str]] = {
    "Kibo: actions": [
        "http.commerce.customer.authTickets.createUserAuthTicket.after",
        "POST api/commerce/customer/authtickets/?responseFields={responseFields}",
        "module.exports = function(context, callback)",
        "context",
        "callback()",
        "callback(error)",
        "Runs multiple custom functions",
        "contexts (per site)",
        "timeoutMilliseconds",
        "exceptionBehavior: fault",
        "exceptionBehavior: continue",
        "enabled: false",
        "logLevel",
    ],
    "Kibo: `context.request`": [
        *(
            f"request.{name}"
            for name in [
                "params",
                "headers",
                "method",
                "url",
                "path",
                "cookies",
                "query",
                "href",
                "secure",
                "ip",
                "ips",
                "body",
            ]
        ),
        "request.get(key)",
    ],
    "Kibo: `context.response`": [
        *(
            f"response.{name}"
            for name in ["header", "viewData", "viewName", "body", "status", "message", "length", "type"]
        ),
        "response.get(key)",
        "response.set(values)",
        "response.set(key, value)",
        "response.remove(header)",
        "response.redirect(url)",
        "response.end()",
    ],
    "Kibo: `context.get`, `context.items`, `context.configuration`": [
        "get.resource()",
        "get.resourceStatus()",
        "items.urlHelper.getUrl(type, object, config)",
        "configuration",
    ],
    "Kibo: `context.apiContext`": [
        f"apiContext.{name}"
        for name in [
            "baseUrl",
            "basePciUrl",
            "tenantPod",
            "appClaims",
            "appKey",
            "tenantId",
            "siteId",
            "masterCatalogId",
            "catalogId",
            "currencyCode",
            "previewDate",
            "localeCode",
            "correlationId",
            "isAuthorizedAsAdmin",
            "userClaims",
        ]
    ],
    "Kibo: operations of commerce/customer/authtickets": [
        "CreateAnonymousShopperAuthTicket",
        "CreateUserAuthTicket",
        "RefreshUserAuthTicket",
        "Authorization",
        "responseFields",
        "refreshToken (query)",
    ],
    "Kibo: the request of CreateUserAuthTicket": [
        "accountId",
        "authTicketTtlMinutes",
        "fingerprint",
        "password",
        "refreshTokenTtlMinutes",
        "region",
        "username",
    ],
    "Kibo: the ticket": [
        "accessToken",
        "accessTokenExpiration",
        "customerAccount",
        "jwtAccessToken",
        "refreshToken",
        "refreshTokenExpiration",
        "requires2FA",
        "userId",
    ],
    "Kibo: `customerAccount`": [
        "accountType",
        "attributes",
        *(f"attributes[*].{name}" for name in ["attributeDefinitionId", "fullyQualifiedName", "values"]),
        *within("attributes[*].auditInfo", AUDIT),
        *within("auditInfo", AUDIT),
        *within("commerceSummary", ["lastOrderDate", "orderCount", "visitsCount", "wishlistCount"]),
        *within("commerceSummary.totalOrderAmount", ["amount", "currencyCode"]),
        "companyOrOrganization",
        "contacts",
        *(
            f"contacts[*].{name}"
            for name in [
                "accountId",
                "companyOrOrganization",
                "email",
                "faxNumber",
                "firstName",
                "id",
                "label",
                "lastNameOrSurname",
                "middleNameOrInitial",
            ]
        ),
        *within(
            "contacts[*].address",
            [
                "address1",
                "address2",
                "address3",
                "address4",
                "addressType",
                "cityOrTown",
                "countryCode",
                "isValidated",
                "postalOrZipCode",
                "stateOrProvince",
            ],
        ),
        *within("contacts[*].auditInfo", AUDIT),
        *within("contacts[*].phoneNumbers", ["home", "mobile", "work"]),
        "contacts[*].types",
        "contacts[*].types[*].isPrimary",
        "contacts[*].types[*].name",
        "customerSet",
        "customerSinceDate",
        "externalId",
        "id",
        "migrationRequired",
        "notes",
        "notes[*].content",
        "notes[*].id",
        *within("notes[*].auditInfo", AUDIT),
        "segments",
        *(f"segments[*].{name}" for name in ["code", "description", "id", "name"]),
        *within("segments[*].auditInfo", AUDIT),
        "taxExempt",
        "taxId",
        "acceptsMarketing",
        "emailAddress",
        "firstName",
        "hasExternalPassword",
        "isActive",
        "isAnonymous",
        "isLocked",
        "last2FaDate",
        "lastName",
        "localeCode",
        "userId",
        "userName",
    ],
    "SFCC: `postCustomersAuth`": [
        "postCustomersAuth(body, authorization, options)",
        "body: AuthRequest",
        "authorization",
        "options",
        "Customer",
        "type guest",
        "type credentials",
        "type session",
        "type refresh",
        "AuthenticationFailedException",
        "profile attributes (last-visited)",
        "maximum number of failed login attempts",
        "dwsid",
        "dwsecuretoken",
        "an active session that was used over HTTPS before",
        "one call per session",
        "JWT header, payload, signature",
        "response header Authorization: Bearer",
        "follow-up requests with the token",
        "follow-up requests without a valid token",
        "a token nearing its expiration",
    ],
    "Auth0: `api` of post-challenge": [
        "api.access.deny(reason)",
        "api.access.deny reason",
        "api.authentication.challengeWith(factor, options)",
        "challengeWith factor",
        "challengeWith options.additionalFactors",
        "api.authentication.challengeWithAny(factors)",
        "challengeWithAny factors",
        "api.cache.delete(key)",
        "cache.delete key",
        "cache.delete CacheWriteResult",
        "api.cache.get(key)",
        "cache.get key",
        "cache.get value",
        "cache.get expires_at",
        "api.cache.set(key, value, options)",
        "cache.set key",
        "cache.set value",
        "cache.set options.expires_at",
        "cache.set options.ttl",
        "Actions Cache Limits",
        "api.redirect.encodeToken(options)",
        "encodeToken options.expiresInSeconds",
        "encodeToken options.payload",
        "encodeToken options.secret",
        "api.redirect.sendUserTo(url, options)",
        "sendUserTo url",
        "sendUserTo options.query",
        "api.redirect.validateToken(options)",
        "validateToken options.secret",
        "validateToken options.tokenParameterName",
        "/continue",
        "api.transaction.setResultUrl(url, options)",
        "setResultUrl url",
        "setResultUrl options.query",
    ],
}


@functools.cache
def table() -> dict[str, list[tuple[str, str, str]]]:
    """Read the table: under each heading its rows, as what it is there, what here, and the proofs."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    rows: list[tuple[str, str, str]] = []
    for line in PAGE.read_text(encoding="utf-8").partition("\n## Parity\n")[2].splitlines():
        if line.startswith("### "):
            rows = found.setdefault(line[4:], [])
        elif line.startswith("| `"):
            row = _ROW.fullmatch(line)
            assert row is not None, line
            rows.append((row[1], row[2], row[3]))
    return found


@functools.cache
def cases_of(path: Path) -> frozenset[str]:
    """Name the cases of a file of cases, or the functions of a Python file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return frozenset(re.findall(r"(?m)^(?:async )?def (test_\w+)", text))
    document = load(Source(path.name, text), Problems())
    assert document is not None
    return frozenset(case["name"] for case in document.data["cases"])


def test_a_rule_that_does_not_say_has_five_seconds_and_faults() -> None:
    rule = Rule.model_validate({"name": "action"})
    assert (rule.timeout, rule.on_error, rule.mode) == (5.0, "fault", "enforce")


def test_the_table_has_the_headings_of_the_documents() -> None:
    assert list(table()) == list(NAMES)


@pytest.mark.parametrize("heading", NAMES)
def test_every_name_of_the_documents_has_one_row(heading: str) -> None:
    rows = [name for name, _, _ in table()[heading]]
    assert sorted(rows) == sorted(NAMES[heading])


@pytest.mark.parametrize("heading", NAMES)
def test_every_row_names_a_test_that_exists_or_says_why_it_has_no_meaning(heading: str) -> None:
    for name, here, proved in table()[heading]:
        proofs = _PROOF.findall(proved)
        assert "; ".join(f"[{Path(path).name.partition('.')[0]}]({path}) `{case}`" for path, case in proofs) == proved
        assert bool(proofs) != here.startswith("no meaning here: "), name
        for path, case in proofs:
            file = (PAGE.parent / path).resolve()
            assert file.is_relative_to(PROJECT), path
            assert case in cases_of(file), f"{name}: {path} has no case {case!r}"


def test_the_proof_of_a_field_names_the_field() -> None:
    """A case that reads many fields at once must not lose one of them unseen."""
    for heading in ("Kibo: the request of CreateUserAuthTicket", "Kibo: the ticket", "Kibo: `customerAccount`"):
        for name, here, proved in table()[heading]:
            path = _PROOF.findall(proved)[0][0]
            if here.startswith("`response."):
                assert here.strip("`") in (PAGE.parent / path).read_text(encoding="utf-8"), name
