"""Line plots as SVG text, small and alone: no library, no script, readable on a light page and on a dark one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

Lines = Mapping[str, Sequence[tuple[float, float]]]
WIDTH, HEIGHT = 640, 310
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 48, 44
_COLORS = ("#2f7ed8", "#d9822b", "#3d9970", "#b04a9a")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#777}.t{font-weight:600;font-size:13px}"
    ".g{stroke:#888;stroke-opacity:.25}.a{stroke:#888}.l{fill:none;stroke-width:2}"
)


class Scale:
    """From values to pixels, in equal steps or in powers of ten."""

    def __init__(self, least: float, most: float, begin: float, end: float, *, powers: bool) -> None:
        self._powers = powers
        self._begin, self._end = begin, end
        self._least, self._most = self._of(least), self._of(most)
        if self._least == self._most:
            self._most += 1

    def _of(self, value: float) -> float:
        return math.log10(value) if self._powers else value

    def __call__(self, value: float) -> float:
        share = (self._of(value) - self._least) / (self._most - self._least)
        return round(self._begin + share * (self._end - self._begin), 1)

    def ticks(self) -> Iterator[float]:
        if self._powers:
            for power in range(math.ceil(self._least - 1e-9), math.floor(self._most + 1e-9) + 1):
                yield 10.0**power
            return
        step = 10 ** math.floor(math.log10((self._most - self._least) / 3))
        step *= next(factor for factor in (1, 2, 5, 10) if (self._most - self._least) / (step * factor) <= 5)
        tick = math.ceil(self._least / step) * step
        while tick <= self._most:
            yield tick
            tick += step


def short(value: float) -> str:
    """Write a value as briefly as it can be read: 1500000 is 1.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def plot(title: str, across: str, up: str, lines: Lines, *, powers_up: bool = False) -> str:
    """Draw lines over a logarithmic axis; `up` names the other one, which has powers of ten or begins at zero."""
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("there is nothing to draw")
    most = max(y for _, y in points)
    least = min(y for _, y in points) if powers_up else 0.0
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    x = Scale(min(x for x, _ in points), max(x for x, _ in points), _LEFT, right, powers=True)
    y = Scale(
        _below(least) if powers_up else 0, _above(most) if powers_up else most * 1.1, bottom, _TOP, powers=powers_up
    )
    return "\n".join(_draw(title, across, up, lines, x, y, right, bottom)) + "\n"


def _below(value: float) -> float:
    return float(10 ** math.floor(math.log10(value)))


def _above(value: float) -> float:
    return float(10 ** math.ceil(math.log10(value)))


def _draw(
    title: str, across: str, up: str, lines: Lines, x: Scale, y: Scale, right: float, bottom: float
) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>'
    )
    yield f'<text class="t" x="{_LEFT}" y="18">{escape(title)}</text>'
    yield f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{escape(across)}</text>'
    yield f'<text x="{_LEFT}" y="{_TOP - 8}">{escape(up)}</text>'
    for tick in y.ticks():
        at = y(tick)
        yield f'<path class="g" d="M{_LEFT} {at}H{right}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">{short(tick)}</text>'
    # Where something was measured, and nowhere else.
    for tick in sorted({value for line in lines.values() for value, _ in line}):
        at = x(tick)
        yield f'<path class="a" d="M{at} {bottom}v5"/>'
        yield f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{short(tick)}</text>'
    yield f'<path class="a" d="M{_LEFT} {bottom}H{right}"/>'
    for (name, line), color in zip(lines.items(), _COLORS, strict=False):
        path = " ".join(f"{x(at)},{y(value)}" for at, value in line)
        yield f'<polyline class="l" stroke="{color}" points="{path}"/>'
        for at, value in line:
            yield f'<circle cx="{x(at)}" cy="{y(value)}" r="3" fill="{color}"/>'
        last = line[-1]
        yield f'<text x="{right + 8}" y="{y(last[1]) + 4}" style="fill:{color}">{escape(name)}</text>'
    yield "</svg>"
