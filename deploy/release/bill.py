"""Add to a bill of materials what lies inside the wheels: libraries in C, C++ and Rust that no package index lists.

`python bill.py FILE`, by the interpreter of the environment that the CycloneDX bill in FILE is of. What a wheel brings
a bill of its own for (PEP 770) is taken from there; what others are known to have inside is asked for its version, and
has none where it does not say. Standard library only.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

# aiohttp does not say which llhttp it was built with; this is that of vendor/llhttp in the source of the release.
_LLHTTP = {"3.14.5": "9.4.2"}


def _attribute(module: str, name: str) -> Callable[[Distribution], Any]:
    return lambda _: getattr(importlib.import_module(module), name)


def _called(module: str, name: str) -> Callable[[Distribution], Any]:
    return lambda _: getattr(importlib.import_module(module), name)()


def _unknown(_: Distribution) -> None:
    return None


# The wheel's name: what is inside, its licence, and its version.
INSIDE: dict[str, list[tuple[str, str, Callable[[Distribution], Any]]]] = {
    "aiohttp": [("llhttp", "MIT", lambda wheel: _LLHTTP.get(wheel.version))],
    "backports-zstd": [("zstd", "BSD-3-Clause", _attribute("backports.zstd", "zstd_version"))],
    "brotli": [("brotli", "MIT", _attribute("brotli", "version"))],
    "google-re2": [("re2", "BSD-3-Clause", _unknown), ("abseil-cpp", "Apache-2.0", _unknown)],
    "hiredis": [("hiredis", "BSD-3-Clause", _unknown)],
    "pyyaml": [("libyaml", "MIT", _called("yaml._yaml", "get_version_string"))],
    "uvloop": [("libuv", "MIT", lambda _: _libuv())],
}


def _libuv() -> str:
    number = importlib.import_module("uvloop.loop").libuv_get_version()
    return ".".join(str(number >> shift & 0xFF) for shift in (16, 8, 0))


def add(bill: dict[str, Any], wheels: Iterator[Distribution]) -> dict[str, Any]:
    """Put under each component of a bill what lies inside its wheel."""
    components = {_normal(component["name"]): component for component in bill["components"]}
    for wheel in wheels:
        component = components.get(_normal(wheel.name))
        found = [*_told(wheel), *_known(wheel)]
        if component is not None and found:
            component["components"] = found
    return bill


def _told(wheel: Distribution) -> Iterator[dict[str, Any]]:
    """Give what the bills in a wheel list."""
    for file in wheel.files or ():
        if "sboms" in file.parts and file.suffix == ".json":
            for component in json.loads(Path(str(file.locate())).read_text("utf-8")).get("components", ()):
                kept = ("type", "name", "version", "purl", "licenses", "hashes")
                yield {key: component[key] for key in kept if key in component}


def _known(wheel: Distribution) -> Iterator[dict[str, Any]]:
    for name, licence, version in INSIDE.get(_normal(wheel.name), ()):
        number = version(wheel)
        yield {
            "type": "library",
            "name": name,
            **({} if number is None else {"version": str(number)}),
            "licenses": [{"license": {"id": licence}}],
        }


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def main(file: Path) -> None:
    """Rewrite a bill."""
    bill = add(json.loads(file.read_text("utf-8")), iter(distributions()))
    file.write_text(json.dumps(bill, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
