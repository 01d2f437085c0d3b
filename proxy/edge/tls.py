"""TLS contexts, made of the content of PEM files, and when a certificate ends.

Content and no paths: what was checked is what is used, whatever becomes of the files. No byte of a key is in an error.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime

from ..services.pem import PemFiles

# What the library says when certificate and key are good, each for itself; the second when they are of two kinds.
_NO_PAIR = frozenset({"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})


class PemError(ValueError):
    """What is wrong with certificates and keys, in words for the operator."""


def server_context(cert: bytes, key: bytes) -> ssl.SSLContext:
    """Build the TLS of listening sockets: 1.2 and up; raise PemError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, cert, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(ca: bytes | None, cert: bytes | None, key: bytes | None) -> ssl.SSLContext:
    """Build the TLS to a server: 1.2 and up, the system's authorities where no others are given; raise PemError."""
    try:
        if ca is None:
            context = ssl.create_default_context()
        else:
            with closing(PemFiles({"ca": ca})) as files:
                context = ssl.create_default_context(cafile=files.paths["ca"])
    except ssl.SSLError:
        raise PemError("there is no certificate of an authority in PEM form") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None and key is not None:
        _load(context, cert, key)
    return context


def certificate_end(pem: bytes) -> float | None:
    """Give when the first certificate ends, in seconds since the epoch; None when it cannot be read."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except ValueError:
        return None


def certificate_ends(contents: Mapping[str, bytes]) -> dict[str, float]:
    """Give when our certificates end, by the part of the settings that names each: `tls`, `upstream.tls`."""
    ends = {
        name.removesuffix(".cert"): certificate_end(pem) for name, pem in contents.items() if name.endswith(".cert")
    }
    return {part: end for part, end in ends.items() if end is not None}


def tell_time(end: float) -> str:
    """Write a time as the log does, to the second."""
    return datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _load(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    try:
        with closing(PemFiles({"cert": cert, "key": key})) as files:
            context.load_cert_chain(files.paths["cert"], files.paths["key"], _refuse_to_decrypt)
    except ssl.SSLError as error:
        if error.reason in _NO_PAIR:
            raise PemError("the key is not that of the certificate") from None
        if error.reason:
            raise PemError(f"TLS refuses them: {error.reason.lower().replace('_', ' ')}") from None
        what = "certificate" if certificate_end(cert) is None else "key"
        raise PemError(f"there is no whole {what} in PEM form") from None


def _refuse_to_decrypt() -> str:
    """Keep the library from asking at a terminal."""
    raise PemError("the key is encrypted, and nobody is there to ask for its passphrase")
