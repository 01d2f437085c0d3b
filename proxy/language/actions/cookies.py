"""The action `cookies`: the request's Cookie header in `before`, the Set-Cookie lines of the response elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ...engine.cookies import SET_COOKIE, Attributes, SetCookie, fitting, name_of, prefix_of
from ...engine.errors import EvaluationError, Unreadable
from ...engine.exchange import Exchange
from ...engine.message import Headers
from ...engine.ruleset import Run
from ..action import Action, StepEnvironment, Value
from ..fields import Duration, Text, is_token
from ..names import compile_byte_globs, compile_globs, is_glob
from ..slots import constant

_NAMES = {
    "max_age": "Max-Age",
    "domain": "Domain",
    "path": "Path",
    "secure": "Secure",
    "http_only": "HttpOnly",
    "same_site": "SameSite",
}
_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}

# Reads the attributes of one cookie from an exchange; a constant map where nothing has to be read.
_Dress = Callable[[Exchange], Attributes]


def _cookie_name(value: str) -> str:
    if not is_token(value):
        raise ValueError("not a cookie name (RFC 6265bis section 4.1.1); names are never templates")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


CookieName = Annotated[Text, AfterValidator(_cookie_name)]


class CookieAttributes(BaseModel):
    """Attributes of a Set-Cookie line. What is not named stays; `null` and `false` drop an attribute."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)

    max_age: Duration | None = Field(
        None, description="How long the browser keeps it, such as `30m`; `0s` makes it forget."
    )
    domain: Text | None = Field(None, description="The domain that it is sent to; `null` binds it to the host alone.")
    path: Text | None = Field(None, description="The path that it is sent to.")
    secure: bool | None = Field(None, description="Whether it is sent over https alone.")
    http_only: bool | None = Field(None, description="Whether scripts are kept from it.")
    same_site: Annotated[Literal["strict", "lax", "none"] | None, BeforeValidator(_lower)] = Field(
        None, description="Whether it is sent from other sites: `strict`, `lax` or `none`, which needs `secure`."
    )


class CookieSetting(CookieAttributes):
    """A cookie that the client is to keep."""

    value: Text = Field(description="The cookie's value.")


_Setting = Annotated[
    Text | CookieSetting,
    Field(description="In `before` the value; elsewhere the value, or the value with its attributes."),
]


class Cookies(Action):
    """Edit cookies: the Cookie header in `before`, the Set-Cookie lines of the response in `after` and `continue`.

    The order is `rename`, `remove`, `default`, `set`, `rewrite`, whatever the file's. Names are never templates, and
    what is not named keeps its bytes. A Cookie header that has the named cookie twice is a 400.
    """

    rename: dict[CookieName, CookieName] = Field(
        default_factory=dict,
        description="`{old: new}`; nothing happens when it is not there, a new name that is taken is an error.",
    )
    remove: list[CookieName] = Field(
        default_factory=list,
        description="Names or globs. In a response the cookie is not set; "
        "to make a browser forget one, `set` it with `max_age: 0s`.",
    )
    default: dict[CookieName, _Setting] = Field(
        default_factory=dict, description="`{name: value}`: set only what is not there."
    )
    set: dict[CookieName, _Setting] = Field(
        default_factory=dict, description="`{name: value}`: the value, and of the attributes those that are named."
    )
    rewrite: dict[CookieName, CookieAttributes] = Field(
        default_factory=dict,
        description="`{name or glob: attributes}`: other attributes for cookies of the response. "
        "An attribute that the prefix `__Host-` or `__Secure-` of a name does not allow is left as it is.",
    )

    def compile(self, env: StepEnvironment) -> Run:
        if not any((self.rename, self.remove, self.default, self.set, self.rewrite)):
            env.problem("bad-setting", "nothing to do: name one of rename, remove, default, set, rewrite")
        return self._of_request(env) if env.side == "request" else self._of_response(env)

    def _of_request(self, env: StepEnvironment) -> Run:
        if self.rewrite:
            env.problem(
                "bad-setting", "the Cookie header has no attributes: `rewrite` is for responses", "rewrite", key=True
            )
        defaults = _request_values(env, "default", self.default)
        sets = _request_values(env, "set", self.set)
        renames = tuple(self.rename.items())
        removes = tuple(name for name in self.remove if not is_glob(name))
        globs = [name for name in self.remove if is_glob(name)]
        matches = compile_globs(globs) if globs else None

        def edit(x: Exchange) -> None:
            given = [(name, value.read(x)) for name, value in defaults]
            wanted = [(name, value.read(x)) for name, value in sets]
            pairs = x.request.cookies.copy()
            pairs.edited = False
            for old, new in renames:
                pairs.rename(old, new)
            for name in removes:
                pairs.remove(name)
            if matches is not None:
                for name in filter(matches, pairs.names()):
                    pairs.remove(name)
            for name, text in given:
                if pairs.find(name) is None:
                    pairs.set(name, text)
            for name, text in wanted:
                pairs.set(name, text)
            if pairs.edited:
                x.request.set_cookies(pairs)

        return edit

    def _of_response(self, env: StepEnvironment) -> Run:
        defaults = tuple(_response_value(env, "default", name, setting) for name, setting in self.default.items())
        sets = tuple(_response_value(env, "set", name, setting) for name, setting in self.set.items())
        renames = tuple((old.encode(), new.encode()) for old, new in self.rename.items())
        matches = compile_byte_globs(self.remove) if self.remove else None
        rewrites = tuple(
            (compile_byte_globs([glob]), _rewriting(env, glob, attributes)) for glob, attributes in self.rewrite.items()
        )

        def edit(x: Exchange) -> None:
            given = [(name, value.read(x), dress(x)) for name, value, dress in defaults]
            wanted = [(name, value.read(x), dress(x)) for name, value, dress in sets]
            dressed = [(fits, dress(x)) for fits, dress in rewrites]
            headers = x.answer().headers
            for old, new in renames:
                _rename(headers, old, new)
            if matches is not None:
                kept = [line for line in headers.lines if line[0] != SET_COOKIE or not matches(name_of(line[2]))]
                if len(kept) != len(headers.lines):
                    headers.lines = kept
            for name, text, attributes in given:
                if _find(headers, name) is None:
                    _put(headers, name, text, attributes)
            for name, text, attributes in wanted:
                _put(headers, name, text, attributes)
            for fits, attributes in dressed:
                _rewrite(headers, fits, attributes)
            for _, new in renames:
                _prove(headers, new)

        return edit


def _request_values(env: StepEnvironment, key: str, settings: Mapping[str, Any]) -> tuple[tuple[str, Value[str]], ...]:
    found: list[tuple[str, Value[str]]] = []
    for name, setting in settings.items():
        if isinstance(setting, CookieSetting):
            env.problem("bad-setting", "the Cookie header has no attributes: give the value alone", key, name)
        else:
            found.append((name, env.text(setting, key, name, place="cookie", secrets=True)))
    return tuple(found)


def _response_value(
    env: StepEnvironment, key: str, name: str, setting: str | CookieSetting
) -> tuple[bytes, Value[str], _Dress]:
    if isinstance(setting, str):
        value = env.text(setting, key, name, place="cookie")
        dress: _Dress = _dressing(env, CookieAttributes(), key, name)
    else:
        value = env.text(setting.value, key, name, "value", place="cookie")
        dress = _dressing(env, setting, key, name)
    secure = isinstance(setting, CookieSetting) and setting.secure is True
    prefix = prefix_of(name)
    if prefix is not None and not secure:
        env.problem("bad-setting", f"a browser takes a {prefix} cookie only with `secure: true`", key, name)
    if prefix == "__Host-":
        if not isinstance(setting, CookieSetting) or setting.path != "/":
            env.problem("bad-setting", "a browser takes a __Host- cookie only with `path: /`", key, name)
        if isinstance(setting, CookieSetting) and setting.domain is not None:
            env.problem("bad-setting", "a browser takes no __Host- cookie with a domain", key, name, "domain", key=True)
    if isinstance(setting, CookieSetting) and setting.same_site == "none" and not secure:
        env.problem("bad-setting", "a browser takes `same_site: none` only with `secure: true`", key, name, "same_site")
    return name.encode(), value, dress


def _rewriting(env: StepEnvironment, glob: str, attributes: CookieAttributes) -> _Dress:
    if not (named := attributes.model_fields_set):
        env.problem("bad-setting", "no attribute is named", "rewrite", glob)
    prefix = prefix_of(glob)
    if prefix is not None and attributes.secure is not True and "secure" in named:
        env.problem("bad-setting", f"a browser takes a {prefix} cookie only with Secure", "rewrite", glob, "secure")
    if prefix == "__Host-" and attributes.domain is not None:
        env.problem("bad-setting", "a browser takes no __Host- cookie with a domain", "rewrite", glob, "domain")
    if prefix == "__Host-" and "path" in named and attributes.path != "/":
        env.problem("bad-setting", "a browser takes a __Host- cookie only with the path `/`", "rewrite", glob, "path")
    if attributes.same_site == "none" and "secure" in named and not attributes.secure:
        env.problem("bad-setting", "a browser takes `same_site: none` only with Secure", "rewrite", glob, "same_site")
    return _dressing(env, attributes, "rewrite", glob)


def _dressing(env: StepEnvironment, attributes: CookieAttributes, *loc: str | int) -> _Dress:
    """Prepare the attributes that are named, so that only templates are left to be read."""
    known: dict[str, str | bool | None] = {}
    open_: dict[str, Callable[[Exchange], str]] = {}
    for field, attribute in _NAMES.items():
        if field not in attributes.model_fields_set:
            continue
        setting = getattr(attributes, field)
        if isinstance(setting, str) and field in ("domain", "path"):
            value = env.text(setting, *loc, field, place="cookie")
            if field == "path" and value.constant and not constant(value).startswith("/"):
                env.problem("bad-setting", "a browser takes a path only if it begins with `/`", *loc, field)
            if value.constant:
                known[attribute] = constant(value)
            else:
                known[attribute] = None
                open_[attribute] = value.read
        elif field == "same_site":
            known[attribute] = _SAME_SITE[setting] if setting is not None else None
        elif field == "max_age":
            known[attribute] = str(int(setting)) if setting is not None else None
        else:
            known[attribute] = setting
    if not open_:
        return lambda _: known
    return lambda x: {**known, **{attribute: read(x) for attribute, read in open_.items()}}


def _find(headers: Headers, name: bytes) -> int | None:
    """Return the position of the line that sets a cookie; one that is set twice is Unreadable."""
    found = [index for index, line in enumerate(headers.lines) if line[0] == SET_COOKIE and name_of(line[2]) == name]
    if len(found) > 1:
        raise Unreadable("response", f"the cookie {name.decode('latin-1')!r} is set more than once")
    return found[0] if found else None


def _write(headers: Headers, index: int, cookie: SetCookie) -> None:
    key, spelling, _ = headers.lines[index]
    headers.lines[index] = (key, spelling, cookie.dump())


def _put(headers: Headers, name: bytes, value: str, attributes: Attributes) -> None:
    index = _find(headers, name)
    cookie = SetCookie(name, b"") if index is None else SetCookie.parse(headers.lines[index][2])
    cookie.value = value.encode()
    cookie.update(attributes)
    if index is None:
        headers.add(b"Set-Cookie", cookie.dump())
    else:
        _write(headers, index, cookie)


def _rename(headers: Headers, old: bytes, new: bytes) -> None:
    index = _find(headers, old)
    if index is None or old == new:
        return
    if _find(headers, new) is not None:
        raise EvaluationError(f"the cookie {new.decode('latin-1')!r} is set already", "response")
    cookie = SetCookie.parse(headers.lines[index][2])
    cookie.name = new
    _write(headers, index, cookie)


def _rewrite(headers: Headers, fits: Callable[[bytes], bool], attributes: Attributes) -> None:
    for index, line in enumerate(headers.lines):
        if line[0] == SET_COOKIE and fits(name_of(line[2])):
            cookie = SetCookie.parse(line[2])
            cookie.update(fitting(cookie.name.decode("latin-1"), attributes))
            _write(headers, index, cookie)


def _prove(headers: Headers, name: bytes) -> None:
    """Refuse a cookie that a rename made one that no browser takes."""
    index = _find(headers, name)
    if index is not None and (fault := SetCookie.parse(headers.lines[index][2]).fault()) is not None:
        raise EvaluationError(fault, "response")
