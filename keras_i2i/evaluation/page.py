"""What the project's pages share: their frame and style, and how names and numbers read.

A page is a single file. Pictures are embedded, styles are inline, nothing is fetched: a content
security policy says so to the browser. Whoever fills a page escapes what comes from outside.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from keras_i2i.errors import InputError

# Classifiers in the order of the tables: name → (title, explanation).
MODELS = {
    "source_only": ("Source only", "trained on labelled {source} images alone"),
    "adapted": ("Adapted", "and on unlabelled {target} images"),
    "joint": ("Joint head", "learnt together with the translation"),
    "on_translated_source": (
        "Trained on translations", "learnt labelled {source} images translated to {target}",
    ),
    "reads_translated_target": (
        "Reads translations", "the source-only classifier, on {target} images translated to "
        "{source}",
    ),
    "sum": (
        "Weighted sum", "{weight} the one trained on translations, the rest the one that reads "
        "them; the weight is chosen without {target} labels",
    ),
    "target_only": ("Ceiling", "trained on {target} labels, reporting only"),
}  # fmt: skip


def html(title: str, body: str, kind: str = "report") -> str:
    """A whole page.

    Args:
        title: plain text.
        body: HTML.
        kind: the body's class: "report", or "comparison", which is wider.
    """
    return PAGE.format(title=escape(title), style=STYLE, body=body, kind=kind)


def section(title: str, body: str) -> str:
    """A part of a page under a heading; both are HTML."""
    return f"<section><h2>{title}</h2>{body}</section>"


def figure(path: Path, name: str, caption: str) -> str:
    """A PNG, embedded.

    Args:
        path: of the file.
        name: what the picture is, plain text.
        caption: HTML.

    Raises:
        InputError: the file is not there.
    """
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except FileNotFoundError:
        raise InputError(
            f"The page needs the figure {path}, which is not there. Evaluate the run again."
        ) from None
    alt = escape(name.replace("_", " "))
    return (
        f"<figure><div class=scroll><img alt='{alt}' src='data:image/png;base64,{data}'></div>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def warnings(items: Sequence[str]) -> str:
    """The box of what to doubt; each item is HTML. Nothing if there are none."""
    if not items:
        return ""
    listed = "".join(f"<li>{item}</li>" for item in items)
    return f"<aside><h2>Before you trust this</h2><ul>{listed}</ul></aside>"


def warnings_of(seeds: Sequence[Mapping[str, Any]]) -> list[str]:
    """The warnings of all seeds as HTML, each with its seed if there are several."""
    return [
        (f"Seed {seed['seed']}: " if len(seeds) > 1 else "") + text(warning)
        for seed in seeds
        for warning in seed["warnings"]
    ]


def segments(metrics: Mapping[str, Any]) -> bool:
    """Whether a metrics.json, or one seed's result, is of segmentation; else of classification."""
    return metrics.get("task") == "segmentation"


def is_transductive(metrics: Mapping[str, Any]) -> bool:
    """Whether a run's target was tested on its own training images."""
    seen = metrics.get("test_images_seen", {})
    return seen.get("target", {}).get("transductive", False)


def title_of(name: str) -> str:
    """A classifier's title; plain text."""
    return MODELS[name][0] if name in MODELS else name.replace("_", " ").capitalize()


def in_order(names: Sequence[str]) -> list[str]:
    """Classifiers in the order of `MODELS`; those it does not know stand before the ceiling."""
    known = list(MODELS)
    return sorted(names, key=lambda name: known.index(name if name in MODELS else "sum"))


def adapted_is(seeds: Sequence[Mapping[str, Any]]) -> str | None:
    """Which of a run's classifiers the adapted one is, if it is the same one for every seed."""
    names = {seed.get("adapted_is") for seed in seeds}
    return names.pop() if len(names) == 1 else None


def text(plain: str) -> str:
    """Escaped, and without a line break between a number and its per cent sign."""
    return escape(plain).replace(" %", "\u00a0%")


def known(values: Sequence[float | None]) -> list[float]:
    """The values that there are."""
    return [value for value in values if value is not None]


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of the values that there are, if any."""
    there = known(values)
    return mean(there) if there else None


def percent(values: Sequence[float | None]) -> str:
    """The mean of fractions, in per cent; "–" if there is none."""
    value = mean_of(values)
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def with_deviation(values: Sequence[float | None]) -> str:
    """The mean of fractions, in per cent, with the sample's deviation if there are several."""
    there = known(values)
    if len(there) < 2:
        return percent(values)
    return f"{100 * mean(there):.1f}\u00a0±\u00a0{100 * stdev(there):.1f}\u00a0%"


def number(values: Sequence[float | None]) -> str:
    """The mean, to two digits; "–" if there is none."""
    value = mean_of(values)
    return "–" if value is None else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="{kind}">
<main>
{body}
</main>
</body>
</html>
"""

STYLE = """
:root {
  --paper: #fbfbfa; --card: #fff; --ink: #22262b; --soft: #626a73; --line: #e3e6e9;
  --accent: #2f6fb0; --before: #a9b4c0; --alert: #fff6e5; --alert-line: #e0a030;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --card: #1d2125; --ink: #e6e8ea; --soft: #9aa3ac; --line: #31373d;
    --accent: #6fa8dc; --before: #5c6670; --alert: #2d2617; --alert-line: #c08a2a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 3rem 1.25rem 5rem; }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.4rem); line-height: 1.25; font-weight: 400;
  letter-spacing: -0.01em; margin: 0.6rem 0 0; text-wrap: balance; }
h1 b { font-weight: 600; white-space: nowrap; }
h1 b:first-of-type { color: var(--accent); }
h2 { font-size: 1.2rem; margin: 0 0 1rem; }
section { margin-top: 3.5rem; }
.facts { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; margin: 0;
  padding: 0; color: var(--soft); font-size: 0.9rem; }
aside { margin-top: 2.5rem; padding: 1rem 1.25rem; background: var(--alert);
  border-left: 4px solid var(--alert-line); border-radius: 4px; }
aside h2 { font-size: 1rem; margin: 0 0 0.4rem; }
aside ul { margin: 0; padding-left: 1.1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.6rem 0.9rem 0.6rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-size: 0.85rem; font-weight: 400; }
tbody th { font-weight: 500; }
td { white-space: nowrap; }
.ours th, .ours td { font-weight: 700; }
.made td { white-space: normal; overflow-wrap: anywhere; }
.made th { white-space: nowrap; }
small { display: block; color: var(--soft); font-size: 0.85rem; font-weight: 400;
  white-space: normal; line-height: 1.4; }
.scores td:nth-child(2) { width: 40%; }
.bar { display: block; height: 6px; margin-top: 0.45rem; border-radius: 3px;
  background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--before); }
.ours .bar i { background: var(--accent); }
.note, figcaption { color: var(--soft); font-size: 0.9rem; max-width: 44rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr));
  gap: 1rem; margin: 0 0 1.5rem; }
.tiles dt { color: var(--soft); font-size: 0.85rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 2rem; }
.scroll { overflow-x: auto; }
figure .scroll { background: #fff; border: 1px solid var(--line); border-radius: 6px;
  padding: 0.75rem; }
figure img { display: block; width: 100%; min-width: 34rem; max-width: 100rem; height: auto; }
figcaption { margin-top: 0.6rem; }
summary { cursor: pointer; color: var(--accent); }
details[open] summary { margin-bottom: 0.75rem; }
pre { overflow-x: auto; padding: 0.9rem 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; font-size: 0.85rem; }
a { color: var(--accent); }
.comparison main { max-width: 84rem; }
.comparison th small, .comparison td small { white-space: nowrap; }
.comparison td b { color: var(--accent); }
h3 { font-size: 1rem; margin: 2rem 0 1rem; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr));
  gap: 0 1.5rem; }
.side figure { min-width: 0; }
.side img { min-width: 0; }
@media print { section, figure, aside { break-inside: avoid; } main { padding-top: 0; } }
"""
