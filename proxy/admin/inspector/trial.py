"""A trial: rules on one exchange, in a process that has nothing else: no secret, no socket, little memory and time.

It is a process of its own because rules that somebody edits in a page may be hostile or endless, and because the admin
port must answer meanwhile. Secrets are texts of a test and key pairs that are made for it: what the rules do is shown
with all values, and none of them is worth anything.

Why a recorded exchange went as it did is worked out here, when somebody looks, and not by the worker that served it:
serving pays nothing for it, and a trace of the worker's would have secrets at places that only its expressions name.
What was replaced may decide otherwise here; where the end is another one, that is said.

Jobs come as lines on stdin, results go as lines to stdout; see trials.py for the other side.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from pydantic import ValidationError

from ...engine import returns
from ...engine.message import Limits
from ...engine.ruleset import Ruleset
from ...language.cases.model import Case, Given
from ...language.cases.playing import Stage
from ...language.cases.tokens import public_half, secrets_of
from ...language.compile import Draft, Options, build
from ...language.document import Source
from ...language.explain.explanation import trace_of
from ...language.explain.plan import Plan, plans_of
from ...language.explain.tracer import Tracer
from ...observe.board import RuleTexts
from ...observe.record import Record
from ...services.rehearsal import rehearse
from .casting import GENERATED, Cast, cast, signer_of
from .saving import Played, expectation, write_file

# What a trial may take: seconds of the processor for one job, bytes of memory for the process.
CPU_SECONDS = 3
MEMORY = 2 << 30
_TRIED = 5
# The secret that signs what no secret of the rules does.
_NOBODYS = "another"
_UNTOLD = "public RS256"


class RuleInputs(msgspec.Struct):
    """What rules are built from. `keys` has the algorithm of each secret that is a key, as `algorithm_of` gives it."""

    texts: RuleTexts
    public_origin: str | None = None
    allow_redirects: list[str] = []
    limits: tuple[int, int, int] | None = None
    keys: dict[str, str] = {}


class Job(msgspec.Struct):
    """What is to be done: explain a record or a case, or write a record as a test file.

    `case` is a request and the auth service's answer as a test file has them. `rules_at` is where the file says its
    rules are.
    """

    do: Literal["explain", "save"]
    rules: RuleInputs
    record: Record | None = None
    case: dict[str, Any] | None = None
    rules_at: list[str] = []


class Told(msgspec.Struct):
    """A problem of rules."""

    severity: str
    code: str
    text: str
    source: str
    line: int
    column: int
    suggestion: str | None = None


class Result(msgspec.Struct, omit_defaults=True):
    """What came of a job: a trace or the text of a test file, notes on what could not be told, and problems.

    `asked` are the names of the secrets that the rules asked for; `refused` says why there is no trace.
    """

    trace: Any = None
    yaml: str | None = None
    notes: list[str] = []
    problems: list[Told] = []
    asked: list[str] = []
    refused: str | None = None


class Refused(Exception):
    """A job that cannot be done, in words for who asked."""


@dataclass(slots=True)
class _Rules:
    ruleset: Ruleset
    plans: list[Plan]


def run(job: Job) -> Result:
    """Do a job."""
    asked: set[str] = set()
    result = Result()
    try:
        rules = _build(job.rules, asked, result)
        if rules is None:
            raise Refused("the rules have errors")
        if job.record is not None:
            _of_record(job, job.record, rules, sorted(asked), result)
        elif job.case is not None:
            played = _play(rules, {"name": "a try", **job.case}, {"now": _now()}, job)
            result.trace = played.trace
            result.notes += played.findings
    except Refused as refused:
        result.refused = str(refused)
    except ValidationError as error:
        result.refused = _first_of(error)
    result.asked = sorted(asked)
    return result


def _build(inputs: RuleInputs, asked: set[str], result: Result) -> _Rules | None:
    texts = inputs.texts
    secrets = _Secrets(inputs.keys, asked)
    packs = {name: Source(text.name, text.text) for name, text in texts.packs.items()}
    options = Options(
        secrets=secrets.get,
        packs=packs.get,
        public_origin=inputs.public_origin,
        allow_redirects=tuple(inputs.allow_redirects),
        limits=_limits(inputs),
    )
    drafts: list[Draft] = []
    built = build([Source(text.name, text.text) for text in texts.sources], options, keep=drafts)
    result.problems = [
        Told(one.severity, one.code, one.text, one.source, one.line, one.column, one.suggestion)
        for one in built.problems
    ]
    return _Rules(built.ruleset, plans_of(drafts)) if built.ruleset is not None else None


def _limits(inputs: RuleInputs) -> Limits:
    return Limits(*inputs.limits) if inputs.limits is not None else Limits()


class _Secrets:
    """Secrets of a test in the place of the operator's."""

    def __init__(self, keys: Mapping[str, str], asked: set[str]) -> None:
        self._keys = keys
        self._asked = asked

    def get(self, name: str) -> str:
        self._asked.add(name)
        return secrets_of(Given.model_validate({"secrets": self.given([name])}))[name]

    def given(self, names: list[str]) -> dict[str, Any]:
        """Give secrets as a test file has them."""
        return {name: self._given(name, self._keys.get(name)) for name in names}

    def _given(self, name: str, algorithm: str | None) -> Any:
        if algorithm in GENERATED:
            return {"generate": algorithm}
        if algorithm is None:
            return f"test-only-{name}-{'0' * 48}"
        return public_half(signer_of(name), algorithm.removeprefix("public "))


def _of_record(job: Job, record: Record, rules: _Rules, asked: list[str], result: Result) -> None:
    if returns.is_reserved(record.request.target.partition("?")[0]):
        raise Refused("it comes back to an exchange that was suspended, which is not recorded")
    name = f"{record.request.method} {record.request.target.partition('?')[0]} as recorded"
    made = cast(record, name, job.rules.keys)
    standing = _Secrets(job.rules.keys, set()).given(asked)
    made.given["secrets"] = {**standing, **made.given.get("secrets", {})}
    if job.rules.public_origin is not None:
        made.given["public_origin"] = job.rules.public_origin
    if job.rules.allow_redirects:
        made.given["allow_redirects"] = job.rules.allow_redirects
    texts = [name for name, secret in standing.items() if isinstance(secret, str)]
    played = _find(rules, made, texts, record, job)
    result.notes += [*made.notes, *played.findings, *_doubts(record, played, rules.ruleset)]
    if job.do == "explain":
        result.trace = played.trace
        return
    if _UNTOLD in job.rules.keys.values():
        raise Refused("a public RSA key of the rules is made anew in each run, and can be in no test file")
    again = _play(rules, made.case, made.given, job)
    made.case["expect"] = expectation(played, again)
    if not made.given["secrets"]:
        del made.given["secrets"]
    result.yaml = write_file(job.rules_at, made, result.notes, record)


def _find(rules: _Rules, made: Cast, secrets: list[str], record: Record, job: Job) -> Played:
    """Play a case; of the secrets that may have signed its tokens, with the one that makes it end as it did."""
    if not made.hmacs:
        return _play(rules, made.case, made.given, job)
    made.given["secrets"][_NOBODYS] = f"test-only-{_NOBODYS}-{'0' * 48}"
    for name in [*secrets[:_TRIED], _NOBODYS]:
        made.sign_with(name)
        played = _play(rules, made.case, made.given, job)
        if played.trace.decision.status == record.status:
            break
    return played


def _play(rules: _Rules, case: dict[str, Any], given: dict[str, Any], job: Job) -> Played:
    case = {name: value for name, value in case.items() if name != "expect"}
    tracer = Tracer(rules.plans, rules.ruleset, (), show=True)
    stage = Stage(
        tracer.ruleset, Given.model_validate(given), Case.model_validate(case), rehearse, _limits(job.rules), tracer
    )
    played = stage.play()
    recording = tracer.recordings[0] if tracer.recordings else None
    exchange = recording.exchange if recording is not None else None
    if recording is None or exchange is None:
        raise Refused("; ".join(played.findings) or "there is no exchange in it")
    trace = trace_of(list(tracer.plans), recording)
    return Played(trace, played.findings, tuple(exchange.ran), exchange.correlation, stage.names.signed())


def _doubts(record: Record, played: Played, ruleset: Ruleset) -> list[str]:
    """Say in what it does not go as it went."""
    decision = played.trace.decision
    notes = []
    if record.rules != ruleset.revision:
        notes.append("the rules are not those that it was recorded with")
    unheard = record.status is None and record.forwarded is not None and not record.hung_up
    if unheard and decision.by == "upstream":
        notes.append(f"what it was answered was not told; here it is a {decision.status}")
    elif (decision.status, decision.by) != (record.status, record.verdict.by):
        was = f"{record.status or 'no answer'} ({record.verdict.rule or record.verdict.by or 'nobody'})"
        now = f"{decision.status or 'no answer'} ({decision.rule or decision.by})"
        notes.append(
            f"it does not end as it did: {was} then, {now} here; a value that is redacted, or the store, decides"
        )
    return notes


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> None:
    """Do the jobs that come, until there are no more."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, MEMORY),
    ):  # fmt: skip
        resource.setrlimit(kind, (most, most))
    decode: Callable[[bytes], Job] = msgspec.json.Decoder(Job).decode
    for line in sys.stdin.buffer:
        # Its end is that of the process: who asked is told, and the next job gets another one.
        most = math.ceil(time.process_time()) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
        try:
            result = run(decode(line))
        except (RecursionError, MemoryError) as error:
            result = Result(refused=f"it is too much: {type(error).__name__}")
        except Exception as error:
            # The words of an error may hold what was typed; whoever asks learns only of what kind it was.
            result = Result(refused=f"it could not be done: {type(error).__name__}")
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
