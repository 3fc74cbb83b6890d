"""Several runs on one page: their numbers in a table, their translations side by side."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import quote

from keras_i2i.errors import InputError
from keras_i2i.evaluation import page
from keras_i2i.files import write_text

# Classifiers that a table speaks of whether or not a run says it has them.
ALWAYS = ("source_only", "adapted", "target_only")
UNKNOWN = page.percent([])


def write_comparison(
    runs: Sequence[tuple[str | os.PathLike, Mapping[str, Any]]], path: str | os.PathLike
) -> Path:
    """Writes one HTML page that compares runs, those of one pair of domains in one table.

    Args:
        runs: at least two of (the run's folder, the content of its metrics.json). Figures are read
            from the folders; a run's own report is linked to if it is there.
        path: where the page goes.

    Returns:
        The path of the page.

    Raises:
        InputError: fewer than two runs, one run twice, runs of two tasks, metrics that are no
            run's, or a figure that they name is not there.
    """
    path = Path(path)
    compared = [_Run(Path(folder), metrics, path.parent) for folder, metrics in runs]
    _check(compared)
    pairs: dict[tuple[str, str], list[_Run]] = {}
    for run in compared:
        pairs.setdefault((run.metrics["source"], run.metrics["target"]), []).append(run)
    names = _names(compared)
    doubts = [
        f"{names[run.folder]}: {warning}"
        for run in compared
        for warning in page.warnings_of(run.seeds)
    ]
    title = f"{len(compared)} runs compared"
    parts = [f"<header><h1>{title}</h1></header>", page.warnings(doubts)]
    parts += [_pair(pair, runs, names) for pair, runs in pairs.items()]
    return write_text(path, page.html(title, "\n".join(filter(None, parts)), kind="comparison"))


@dataclass(frozen=True)
class _Run:
    folder: Path
    metrics: Mapping[str, Any]
    page_folder: Path

    @property
    def seeds(self) -> Sequence[Mapping[str, Any]]:
        return self.metrics["per_seed"]

    @property
    def classifiers(self) -> list[str]:
        return list(self.seeds[0]["models"])

    @property
    def segments(self) -> bool:
        return page.segments(self.metrics)

    def reached(self, name: str) -> list[float | None]:
        """Accuracy or mIoU on target test images, one per seed; empty without such a model."""
        measure = "target_test_miou" if self.segments else "target_test_accuracy"
        return self.metrics.get(name, {}).get(measure, [])

    def read_correctly(self, direction: str) -> list[float | None]:
        return self.metrics.get("translations_read_correctly", {}).get(direction, [])

    @property
    def minutes(self) -> str:
        return f"{mean(self.metrics['seconds']) / 60:.1f}"

    def linked(self, name: str) -> str:
        """The name, leading to the run's report if there is one; relative, so both can move."""
        report = self.folder / "report.html"
        if not report.is_file():
            return name
        way = Path(os.path.relpath(report.resolve(), self.page_folder.resolve())).as_posix()
        return f'<a href="{escape(quote(way))}">{name}</a>'


def _check(runs: Sequence[_Run]) -> None:
    if len(runs) < 2:
        raise InputError(f"Got {len(runs)} run(s) to compare; expected at least two.")
    seen = set()
    for run in runs:
        if run.folder.resolve() in seen:
            raise InputError(f"{run.folder} is given twice; name each run once.")
        seen.add(run.folder.resolve())
        if not run.metrics.get("per_seed"):
            raise InputError(
                f"The metrics of {run.folder} have no per_seed, so they are no finished run's. "
                "Give the content of a metrics.json."
            )
    segmenting = [str(run.folder) for run in runs if run.segments]
    if 0 < len(segmenting) < len(runs):
        raise InputError(
            f"Of these runs {', '.join(segmenting)} segment images, the others classify them: "
            "accuracy and mIoU cannot stand in one column. Compare runs of one task."
        )


def _names(runs: Sequence[_Run]) -> dict[Path, str]:
    """What the page calls each run, as HTML: its folder's name; if two share that, the path."""
    names = [run.folder.resolve().name for run in runs]
    return {
        run.folder: escape(name if names.count(name) == 1 else str(run.folder))
        for run, name in zip(runs, names, strict=True)
    }


def _pair(pair: tuple[str, str], runs: Sequence[_Run], names: Mapping[Path, str]) -> str:
    """One pair's table and translations."""
    source, target = map(escape, pair)
    ways = {
        "source_to_target": f"{source} → {target}",
        "target_to_source": f"{target} → {source}",
    }
    grids = ""
    for direction, way in ways.items():
        columns = "".join(_grid(run, names[run.folder], direction) for run in runs)
        if columns:
            grids += f"<h3>Translations {way}</h3><div class=side>{columns}</div>"
    return page.section(ways["source_to_target"], _table(runs, names, ways) + grids)


def _table(runs: Sequence[_Run], names: Mapping[Path, str], ways: Mapping[str, str]) -> str:
    present = {name for run in runs for name in run.classifiers}
    # Heading → one cell a run, all HTML.
    columns = {
        "Method": [_method(run) for run in runs],
        "Seeds": [str(len(run.seeds)) for run in runs],
    }
    for name in page.in_order([*ALWAYS, *(present - set(ALWAYS))]):
        cells = [page.with_deviation(run.reached(name)) for run in runs]
        if name == "target_only":
            cells = [cell + _ceiling(run) for run, cell in zip(runs, cells, strict=True)]
        head = escape(page.title_of(name)) + ("<small>mIoU</small>" if runs[0].segments else "")
        columns[head] = _adapted(runs, cells) if name == "adapted" else cells
    for direction, way in ways.items():
        columns[f"Read as own class<small>{way}</small>"] = [
            _read_correctly(run, direction) for run in runs
        ]
    columns["Minutes<small>per seed</small>"] = [run.minutes for run in runs]
    columns = {head: cells for head, cells in columns.items() if set(cells) != {UNKNOWN}}

    measured = "Fractions of the target's test images read correctly, and of translations"
    if runs[0].segments:
        measured = "Mean intersection over union on the target's test images"
    heads = "".join(f"<th scope=col>{head}</th>" for head in ("Run", *columns))
    rows = ""
    for number, run in enumerate(runs):
        cells = "".join(f"<td>{cells[number]}</td>" for cells in columns.values())
        rows += f"<tr><th scope=row>{run.linked(names[run.folder])}</th>{cells}</tr>"
    return (
        f"<div class=scroll><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"</div><p class=note>{measured}; mean ± standard deviation where there are several seeds. "
        "Bold: the best adapted model.</p>"
    )


def _read_correctly(run: _Run, direction: str) -> str:
    """The share of translations, and whose opinion that is."""
    share = page.with_deviation(run.read_correctly(direction))
    reader = run.metrics.get("translations_read_by", {}).get(direction)
    return f"{share}<small>by {page.title_of(reader)}</small>" if reader else share


def _method(run: _Run) -> str:
    few = run.metrics.get("target_labels_per_class", 0)
    seen = f"<small>saw {few} target labels a class</small>" if few else ""
    return escape(str(run.metrics["method"])) + seen


def _ceiling(run: _Run) -> str:
    """What to know of a ceiling."""
    saw = "target_only" in run.classifiers and page.is_transductive(run.metrics)
    return "<small>saw the test's labels</small>" if saw else ""


def _adapted(runs: Sequence[_Run], cells: Sequence[str]) -> list[str]:
    """The cells of the adapted models: the best in bold, each with what else it is called."""
    means = [page.mean_of(run.reached("adapted")) for run in runs]
    known = page.known(means)
    best = max(known) if len(known) > 1 else None
    marked = []
    for run, reached, cell in zip(runs, means, cells, strict=True):
        same = page.adapted_is(run.seeds)
        called = f"<small>{escape(page.title_of(same).lower())}</small>" if same else ""
        is_best = reached is not None and reached == best
        marked.append((f"<b>{cell}</b>" if is_best else cell) + called)
    return marked


def _grid(run: _Run, name: str, direction: str) -> str:
    """The first seed's translations in one direction; nothing if there are none."""
    figure = run.seeds[0]["figures"].get(f"translation_{direction}")
    if figure is None:
        return ""
    caption, read = f"<b>{name}</b>", run.read_correctly(direction)
    if page.known(read):
        caption += f": {page.with_deviation(read)} read as their own class"
    alt = f"translations of {run.folder.resolve().name}"
    return page.figure(run.folder / figure, alt, caption)
