"""One page for people: what was reached, what the translations look like, what to doubt.

The page is a single file. Pictures are embedded, styles are inline, nothing is fetched (a content
security policy says so to the browser), and every text that comes from outside is escaped.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from keras_i2i.errors import InputError
from keras_i2i.files import write_text

MODELS = {
    "source_only": ("Source only", "trained on labelled {source} images alone"),
    "adapted": ("Adapted", "and on unlabelled {target} images"),
    "target_only": ("Ceiling", "trained on {target} labels, reporting only"),
}
READERS = {
    "source_only": "the source-only model",
    "target_only": "a model trained on real labels",
    "adapted": "the adapted model, which may share the translator's mistakes",
}


def write_report(results: Mapping[str, Any], out_dir: str | os.PathLike) -> Path:
    """Writes `out_dir/report.html`.

    Args:
        results: what `evaluate.combine` returned, or the metrics.json made from it.
        out_dir: the run's folder, where the figures' paths start.

    Returns:
        The path of the page.

    Raises:
        InputError: a figure that the results name is not there.
    """
    page = _Page(results, Path(out_dir))
    return write_text(Path(out_dir, "report.html"), page.html())


class _Page:
    def __init__(self, results: Mapping[str, Any], out_dir: Path):
        self.results = results
        self.out_dir = out_dir
        self.seeds = results["per_seed"]
        self.first = self.seeds[0]
        self.source, self.target = map(escape, self.first["domain_names"])
        self.models = list(self.first["models"])
        self.few_labels = results.get("target_labels_per_class", 0)

    def html(self) -> str:
        sections = (
            self.header(),
            self.warnings(),
            self.accuracies(),
            *(self.translation(direction) for direction in self.first.get("translations", ())),
            self.classes(),
            self.features(),
            self.training(),
            self.reproduce(),
        )
        title = "{method}: {source} → {target}".format_map(self.results)
        return PAGE.format(title=escape(title), style=STYLE, body="\n".join(filter(None, sections)))

    def header(self) -> str:
        seeds = self.results["seeds"]
        facts = [
            f"{self.results['source']} → {self.results['target']}",
            str(self.results["method"]),
            f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds",
            _duration(sum(self.results["seconds"])),
        ]
        facts = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
        return f"<header><ul class=facts>{facts}</ul><h1>{self.headline()}</h1></header>"

    def headline(self) -> str:
        def reached(name):
            return f"<b>{_percent(self.accuracy(name))}</b>"

        after, before, ceiling = (
            name if name in self.models else None
            for name in ("adapted", "source_only", "target_only")
        )
        asides = []
        if after:
            known = "it never saw labels for"
            if self.few_labels:
                known = f"after seeing labels of {self.few_labels} of each class"
            said = f"Reads {reached(after)} of {self.target} images {known}"
            if before:
                asides.append(f"without adaptation {reached(before)}")
        elif before:
            said = f"Without adaptation, reads {reached(before)} of {self.target} images"
        else:
            return f"{self.source} → {self.target}"
        if ceiling:
            asides.append(f"with labels {reached(ceiling)}")
        return said + (f"; {', '.join(asides)}." if asides else ".")

    def warnings(self) -> str:
        items = ""
        for result in self.seeds:
            where = f"Seed {result['seed']}: " if len(self.seeds) > 1 else ""
            items += "".join(f"<li>{where}{_text(warning)}</li>" for warning in result["warnings"])
        return f"<aside><h2>Before you trust this</h2><ul>{items}</ul></aside>" if items else ""

    def accuracies(self) -> str:
        rows = []
        for name in sorted(self.models, key=lambda name: _rank(name)):
            title, explained = MODELS.get(name, (name.replace("_", " ").capitalize(), ""))
            explained = explained.format(source=self.source, target=self.target)
            target = self.accuracy(name)
            share = 100 * (_mean(target) or 0.0)
            rows.append(
                f"<tr class='{'ours' if name == 'adapted' else ''}'>"
                f"<th scope=row>{escape(title)}<small>{explained}</small></th>"
                f"<td>{_with_deviation(target)}"
                f"<span class=bar><i style='width:{share:.1f}%'></i></span></td>"
                f"<td>{_with_deviation(self.accuracy(name, 'source'))}</td></tr>"
            )
        if not rows:
            return ""
        note = "Fractions of test images read correctly."
        if len(self.seeds) > 1:
            note += f" Mean ± standard deviation of {len(self.seeds)} seeds."
        known = f"Labels of {self.target} training images never reach the adapted model."
        if self.few_labels:
            known = (
                f"The adapted model saw the labels of {self.few_labels} {self.target} training "
                "images of each class, and no others."
            )
        return _section(
            "Accuracy",
            "<table class=scores><thead><tr><th></th>"
            f"<th scope=col>{self.target} test</th><th scope=col>{self.source} test</th></tr>"
            f"</thead><tbody>{''.join(rows)}</tbody></table><p class=note>{note} {known}</p>",
        )

    def translation(self, direction: str) -> str:
        origin, destination = self.source, self.target
        if direction == "target_to_source":
            origin, destination = destination, origin
        measured = [result["translations"][direction] for result in self.seeds]

        def values(key):
            return [one[key] for one in measured]

        facts = []
        reader = measured[0]["reader"]
        if reader:
            facts.append(
                ("read as their own class", _with_deviation(values("read_correctly")),
                 f"by {READERS[reader]}; of real {destination} images it reads "
                 f"{_with_deviation(values('read_correctly_real'))}")
            )  # fmt: skip
        facts += [
            ("regular lattice of spots", _with_deviation(values("checkerboard")),
             f"of the contrast; real {destination} images "
             f"{_with_deviation(values('checkerboard_real'))}"),
            ("diversity within a class", _number(values("diversity")),
             f"real {destination} images {_number(values('diversity_real'))}"),
        ]  # fmt: skip
        tiles = "".join(
            f"<div><dt>{name}</dt><dd>{value}<small>{remark}</small></dd></div>"
            for name, value, remark in facts
        )
        legend = f"From the top: {origin} test images, their translations"
        legend += " with what the reader takes them for" if reader else ""
        legend += (
            "; the same images encoded and decoded within their own domain; and the translations "
            "translated back."
        )
        return _section(
            f"{origin} → {destination}",
            f"<dl class=tiles>{tiles}</dl>"
            + self.figure(f"translation_{direction}", legend)
            + self.figure(
                f"neighbours_{direction}",
                f"Below each translation, the {destination} training images closest to it. A good "
                "translator makes images of the same kind; one that has learnt training images by "
                "heart makes the images themselves.",
            ),
        )

    def classes(self) -> str:
        names = self.first["class_names"]
        models = sorted(self.models, key=_rank)
        if not models:
            return ""
        heads = "".join(
            f"<th scope=col>{escape(MODELS.get(name, (name.replace('_', ' '),))[0])}</th>"
            for name in models
        )
        rows = "".join(
            f"<tr><th scope=row>{escape(label)}</th>"
            + "".join(
                "<td>"
                + _with_deviation(
                    [seed["models"][name]["target_test_per_class"][number] for seed in self.seeds]
                )
                + "</td>"
                for name in models
            )
            + "</tr>"
            for number, label in enumerate(names)
        )
        return _section(
            "Class by class",
            self.figure("per_class", f"How much of each class of {self.target} images is read.")
            + self.figure(
                "confusion",
                "Each row is a class and shows, in per cent, what its images are taken for. The "
                "diagonal is right.",
            )
            + "<details><summary>The numbers</summary><div class=scroll><table><thead><tr>"
            f"<th scope=col>class</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
            "</details>",
        )

    def features(self) -> str:
        figure = self.figure(
            "tsne",
            f"A t-SNE map of what the encoder makes of {self.source} images (circles) and "
            f"{self.target} images (crosses), coloured by class. Adaptation has worked where "
            "crosses lie among circles of their own colour. Distances between clusters mean "
            "nothing.",
        )
        return _section("Features", figure) if figure else ""

    def training(self) -> str:
        figure = self.figure(
            "training",
            "Means over each epoch, one panel a loss: their scales differ too much for one. "
            "Adversarial losses hover rather than fall while both sides hold the balance.",
        )
        return _section("Training", figure) if figure else ""

    def reproduce(self) -> str:
        text = (
            "<p>"
            + ", ".join(
                f"seed {seed} took {_duration(seconds)}"
                for seed, seconds in zip(
                    self.results["seeds"], self.results["seconds"], strict=True
                )
            ).capitalize()
            + "."
        )
        if len(self.seeds) > 1:
            text += f" Figures show seed {self.seeds[0]['seed']}, numbers all of them."
        text += "</p>"
        if self.results.get("command"):
            text += f"<pre>{escape(self.results['command'])}</pre>"
        if self.results.get("flags"):
            text += "<details><summary>All flags</summary>"
            text += f"<pre>{escape(self.results['flags'])}</pre></details>"
        return _section("To repeat this", text)

    def accuracy(self, name: str, domain: str = "target") -> list[float | None]:
        return [result["models"][name][f"{domain}_test_accuracy"] for result in self.seeds]

    def figure(self, name: str, caption: str) -> str:
        """The first seed's figure, embedded; nothing if there is none. The caption is HTML."""
        if name not in self.first["figures"]:
            return ""
        path = self.out_dir / self.first["figures"][name]
        try:
            data = base64.b64encode(path.read_bytes()).decode("ascii")
        except FileNotFoundError:
            raise InputError(
                f"The report needs the figure {path}, which is not there. Evaluate the run again."
            ) from None
        alt = escape(name.replace("_", " "))
        return (
            f"<figure><div class=scroll><img alt='{alt}' src='data:image/png;base64,{data}'></div>"
            f"<figcaption>{caption}</figcaption></figure>"
        )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _rank(name: str) -> int:
    """Source only first, then adapted and its relatives, the ceiling last."""
    return {"source_only": 0, "adapted": 1, "target_only": 3}.get(name, 2)


def _text(text: str) -> str:
    """Escaped, and without a line break between a number and its per cent sign."""
    return escape(text).replace(" %", "\u00a0%")


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return mean(known) if known else None


def _percent(values: Sequence[float | None]) -> str:
    value = _mean(values)
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def _with_deviation(values: Sequence[float | None]) -> str:
    known = _known(values)
    if len(known) < 2:
        return _percent(values)
    return f"{100 * mean(known):.1f}\u00a0±\u00a0{100 * stdev(known):.1f}\u00a0%"


def _number(values: Sequence[float | None]) -> str:
    value = _mean(values)
    return "–" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
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
<body>
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
@media print { section, figure, aside { break-inside: avoid; } main { padding-top: 0; } }
"""
