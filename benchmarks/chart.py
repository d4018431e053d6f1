"""The ratios of a run as a picture: an SVG, which any browser shows, written here line by line.

A drawing library would bring a dozen packages into the locks for some bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

_LABELS, _BARS, _WIDTH = 440, 400, 960
_ROW, _TOP = 22, 56
_STYLE = (
    "text{font:13px sans-serif;fill:#222}.group{font-weight:bold}.note{fill:#666}"
    ".bar{fill:#4c78a8}.spread{stroke:#222;stroke-width:1.5}.reach{stroke:#d62728;stroke-width:2;stroke-dasharray:3 2}"
)


def ratios_svg(found: Sequence[Mapping[str, Any]], title: str) -> str:
    """The ratios of `timing.plain`: a bar for the median, a line from the lowest round to the highest, a dashed mark
    where it is to reach.

    Each group and each peer in it has a scale of its own: ratios to a raw store are below 1, those to a stock stack far
    above.
    """
    rows = [*_rows([each for each in found if "over" in each])]
    height = _TOP + _ROW * len(rows) + 12
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="group" x="10" y="22">{escape(title)}</text>',
        '<text class="note" x="10" y="42">bar: median; line: lowest to highest round; dashed: to reach</text>',
        *[f'<g transform="translate(0 {_TOP + _ROW * at})">{row}</g>' for at, row in enumerate(rows)],
        "</svg>\n",
    ])  # fmt: skip


def _rows(figures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name, group in groupby(figures, lambda each: each["group"]):
        some = list(group)
        yield f'<text class="group" x="10" y="15">{escape(name)}</text>'
        for each in some:
            peers = [one for one in some if one["under"] == each["under"]]
            yield _row(each, max(max(one["high"], one["reach"] or 0) for one in peers))


def _row(figure: Mapping[str, Any], scale: float) -> str:
    median, low, high = (_BARS * figure[name] / scale for name in ("median", "low", "high"))
    parts = [
        f'<text x="24" y="15">{escape(figure["over"])} ÷ {escape(figure["under"])}</text>',
        f'<rect class="bar" x="{_LABELS}" y="4" width="{median:.1f}" height="13"/>',
        f'<line class="spread" x1="{_LABELS + low:.1f}" x2="{_LABELS + high:.1f}" y1="10.5" y2="10.5"/>',
    ]
    if figure["reach"] is not None:
        at = f"{_LABELS + _BARS * figure['reach'] / scale:.1f}"
        parts.append(f'<line class="reach" x1="{at}" x2="{at}" y1="1" y2="20"/>')
    return "".join([*parts, f'<text x="{_LABELS + _BARS + 12}" y="15">{figure["median"]:.2f}</text>'])
