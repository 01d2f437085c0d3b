"""Customers as the Shop API writes them."""

from __future__ import annotations

import datetime
from typing import Any

from ..accounts import Account


def _stamp(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _profile(account: Account) -> dict[str, Any]:
    members = account.members
    profile: dict[str, Any] = {
        "creation_date": "2024-01-15T09:30:00.000Z",
        "customer_no": f"{account.id:08d}",
        "email": account.email,
        "enabled": True,
        "first_name": members.get("firstName", ""),
        "gender": 0,
        "last_modified": "2024-06-01T12:00:00.000Z",
        "last_name": members.get("lastName", ""),
        "login": account.email,
    }
    if notes := members.get("notes"):
        profile["note"] = " ".join(note["content"] for note in notes)
    if segments := members.get("segments"):
        profile["c_segments"] = [segment["code"] for segment in segments]
    if contacts := members.get("contacts"):
        profile["addresses"] = [
            {
                "_type": "customer_address",
                "address_id": contact["label"],
                "address1": contact["address"]["address1"],
                "city": contact["address"]["cityOrTown"],
                "country_code": contact["address"]["countryCode"].lower(),
                "first_name": contact["firstName"],
                "last_name": contact["lastNameOrSurname"],
                "postal_code": contact["address"]["postalOrZipCode"],
                "preferred": number == 0,
                "state_code": contact["address"]["stateOrProvince"],
            }
            for number, contact in enumerate(contacts)
        ]
    return profile


def write_customer(id: str, account: Account | None, *, version: str, visit: float | None) -> dict[str, Any]:
    """Write the Customer document; without an account it is a guest's. `visit` is when she logged in last."""
    body: dict[str, Any] = {
        "_v": version,
        "_type": "customer",
        "auth_type": "guest" if account is None else "registered",
        "customer_id": id,
        "preferred_locale": "en_US",
    }
    if account is not None:
        body |= _profile(account)
        if visit is not None:
            body |= {"last_login_time": _stamp(visit), "last_visit_time": _stamp(visit)}
    return body
