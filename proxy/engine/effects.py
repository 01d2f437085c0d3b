"""What a rule needs from outside, as plain data.

A step that needs one is a generator: it yields the effect and is resumed with the result, or with EffectFailed. Who
performs an effect is the shell's business; `safe` ones only read, so a rule in shadow may ask for them too.

Keys are what the rules mean; whoever performs an effect hides them, and the values, from those who can read the store.
Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effect:
    """The kind of all effects."""

    @property
    def safe(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class StoreGet(Effect):
    """Read a stored value; the result is bytes or None."""

    key: str

    @property
    def safe(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class StoreSet(Effect):
    """Store a value for `ttl` seconds."""

    key: str
    value: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class StoreAdd(Effect):
    """Store a value for `ttl` seconds if there is none; the result says whether it was stored."""

    key: str
    value: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class StoreTake(Effect):
    """Read a value and delete it, as one; of many that ask at once one gets the bytes, the others None."""

    key: str


@dataclass(frozen=True, slots=True)
class StoreIncrement(Effect):
    """Count one more; the result is the count since the first one, which is forgotten `ttl` seconds later."""

    key: str
    ttl: float


@dataclass(frozen=True, slots=True)
class Reserve(Effect):
    """Ask for one more try under a limit; the result is a Reserved.

    With `settles` the try is a reservation until Settle says how it ended: only failures count, and at `most` of them
    within `per` the key is refused for `block` (None: for `per`). Without it each try counts at once, and the one after
    `most` is refused, until the oldest is `per` old or, where it is given, for `block`.
    A rule in shadow counts under a key of its own, so this is safe.
    """

    key: str
    most: int
    per: float
    block: float | None
    settles: bool

    @property
    def safe(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Reserved:
    """The result of a Reserve: the ticket of the try, or None and when to try again."""

    ticket: str | None
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Settle(Effect):
    """End a reservation: as a failure that counts, or given back.

    `most`, `per` and `block` are those of its Reserve.
    """

    key: str
    ticket: str
    failed: bool
    most: int
    per: float
    block: float | None

    @property
    def safe(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Breaker:
    """When to stop calling: after more than `failures` of the last `window` calls failed, for `open` seconds.

    Then `probes` calls decide: more than `probe_failures` failed ones stop it again.
    """

    window: int = 100
    failures: int = 50
    open: float = 60.0
    probes: int = 10
    probe_failures: int = 5


@dataclass(frozen=True, slots=True)
class Lookup(Effect):
    """Call another service; the result is an Answer. A URL that begins with `/` is a path of the upstream itself.

    `cache` is for how long an answer may be used again, 0 for not at all; `timeout` is the call's own.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    timeout: float | None = None
    cache: float = 0.0
    breaker: Breaker | None = None

    @property
    def safe(self) -> bool:
        return self.method in ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a Lookup: names of headers in lower case, the body with its coding undone."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class FetchKeys(Effect):
    """Get the keys of a JWK Set (RFC 7517); the result is a tuple of its JWKs as dicts.

    `kid` is the key that is looked for: a set that does not have it is fetched again, not too often.
    """

    url: str
    kid: str | None = None

    @property
    def safe(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Share(Effect):
    """Ask for the one upstream call of a key: the result is a Lead, or the bytes that the one who leads published.

    It waits while another one leads. A lead that is neither published nor given up is lost after a while.
    """

    key: str


@dataclass(frozen=True, slots=True)
class Lead:
    """The result of a Share for the one that is to make the call."""

    ticket: str


@dataclass(frozen=True, slots=True)
class Publish(Effect):
    """End a lead: with what those who wait get, and those who come within `ttl` (0: no one else).

    None is a failure, which those who wait have as theirs: none of them calls again.
    """

    key: str
    ticket: str
    value: bytes | None
    ttl: float
