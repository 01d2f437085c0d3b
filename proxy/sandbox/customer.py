"""The customers of the sandbox as Kibo writes them: `customerAccount` with every field that its schema has."""

from __future__ import annotations

from typing import Any

_ADDRESS = {
    "address1": "",
    "address2": "",
    "address3": "",
    "address4": "",
    "addressType": "Residential",
    "cityOrTown": "",
    "countryCode": "US",
    "isValidated": False,
    "postalOrZipCode": "",
    "stateOrProvince": "",
}

# Who is in a sandbox: (e-mail, password, second factor, locked, members that differ from the default).
CUSTOMERS: list[tuple[str, str, bool, bool, dict[str, Any]]] = [
    (
        "jane@example.com",
        "correct-horse-1",
        False,
        False,
        {"firstName": "Jane", "lastName": "Doe", "notes": [{"id": 3, "content": "Met at the fair."}]},
    ),
    ("maria@example.com", "correct-horse-2", True, False, {"firstName": "Maria", "lastName": "Rossi"}),
    ("locked@example.com", "correct-horse-3", False, True, {"firstName": "Lou", "lastName": "Key"}),
    (
        "vip@example.com",
        "correct-horse-4",
        False,
        False,
        {
            "firstName": "Vivian",
            "lastName": "Pryce",
            "segments": [
                {"id": 7, "code": "VIP", "name": "Very important", "description": "Ships free"},
                {"id": 9, "code": "EARLY", "name": "Early access", "description": "Sees sales a day before"},
            ],
            "notes": [
                {"id": 1, "content": "Calls often. Prefers the blue box."},
                {"id": 2, "content": "Owed an apology."},
            ],
            "contacts": [
                {
                    "id": 31,
                    "email": "vip@example.com",
                    "firstName": "Vivian",
                    "lastNameOrSurname": "Pryce",
                    "label": "Home",
                    "address": {
                        **_ADDRESS,
                        "address1": "1 Example Street",
                        "cityOrTown": "Springfield",
                        "postalOrZipCode": "00000",
                        "stateOrProvince": "IL",
                        "isValidated": True,
                    },
                    "phoneNumbers": {"home": "555-0100", "mobile": "555-0101", "work": ""},
                    "types": [{"name": "Billing", "isPrimary": True}, {"name": "Shipping", "isPrimary": False}],
                }
            ],
        },
    ),
]


def _audit() -> dict[str, str]:
    return {
        "createBy": "sandbox",
        "createDate": "2024-01-15T09:30:00.000Z",
        "updateBy": "sandbox",
        "updateDate": "2024-06-01T12:00:00.000Z",
    }


def write_customer(id: int, email: str, user_id: str, *, locked: bool, members: dict[str, Any]) -> dict[str, Any]:
    """Write `customerAccount`; `members` are those that differ from the default."""
    found: dict[str, Any] = {
        "accountType": "B2C",
        "attributes": [
            {
                "attributeDefinitionId": 12,
                "auditInfo": _audit(),
                "fullyQualifiedName": "tenant~loyalty-tier",
                "values": ["silver"],
            }
        ],
        "auditInfo": _audit(),
        "commerceSummary": {
            "lastOrderDate": "2024-05-20T18:45:00.000Z",
            "orderCount": 3,
            "totalOrderAmount": {"amount": 149.90, "currencyCode": "USD"},
            "visitsCount": 12,
            "wishlistCount": 1,
        },
        "companyOrOrganization": "",
        "contacts": [],
        "customerSet": "default",
        "customerSinceDate": "2024-01-15T09:30:00.000Z",
        "externalId": "",
        "id": id,
        "migrationRequired": False,
        "notes": [],
        "segments": [],
        "taxExempt": False,
        "taxId": "",
        "acceptsMarketing": True,
        "emailAddress": email,
        "firstName": "",
        "hasExternalPassword": False,
        "isActive": True,
        "isAnonymous": False,
        "isLocked": locked,
        "last2FaDate": "2024-05-01T08:00:00.000Z",
        "lastName": "",
        "localeCode": "en-US",
        "userId": user_id,
        "userName": email,
        **members,
    }
    contacts = [
        {"accountId": id, "companyOrOrganization": "", "faxNumber": "", "middleNameOrInitial": "", **contact}
        for contact in found["contacts"]
    ]
    found["contacts"] = contacts
    for name in ("contacts", "notes", "segments"):
        found[name] = [{**part, "auditInfo": _audit()} for part in found[name]]
    return found


def write_anonymous(user_id: str) -> dict[str, Any]:
    """Write the account of a shopper who has not logged in: nothing is known of her."""
    return {
        **write_customer(0, "", user_id, locked=False, members={"isAnonymous": True, "acceptsMarketing": False}),
        "attributes": [],
    }
