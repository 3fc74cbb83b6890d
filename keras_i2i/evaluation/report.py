"""One page for people: what was reached, what the translations look like, what to doubt.

A single file that fetches nothing, see `page`; every text that comes from outside is escaped.
"""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from keras_i2i.evaluation import figures, page
from keras_i2i.evaluation.page import MODELS
from keras_i2i.files import write_text

READERS = {
    "source_only": "the source-only model",
    "target_only": "a model trained on real labels",
    "adapted": "the adapted model, which may share the translator's mistakes",
}
# The rows of a translation's figure that not every translator can fill.
ROWS = {
    "reconstructed": "the same images encoded and decoded within their own domain",
    "and back": "the translations translated back",
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
    report = _Report(results, Path(out_dir))
    return write_text(Path(out_dir, "report.html"), report.html())


class _Report:
    def __init__(self, results: Mapping[str, Any], out_dir: Path):
        self.results = results
        self.out_dir = out_dir
        self.seeds = results["per_seed"]
        self.first = self.seeds[0]
        self.source, self.target = map(escape, self.first["domain_names"])
        # A model that goes by two names is shown once, as the adapted one.
        self.adapted_is = page.adapted_is(self.seeds)
        self.models = page.in_order(
            [name for name in self.first["models"] if name != self.adapted_is]
        )
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
        return page.html(title, "\n".join(filter(None, sections)))

    def header(self) -> str:
        seeds = self.results["seeds"]
        facts = [
            f"{self.results['source']} → {self.results['target']}",
            str(self.results["method"]),
            f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds",
            page.duration(sum(self.results["seconds"])),
        ]
        facts = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
        return f"<header><ul class=facts>{facts}</ul><h1>{self.headline()}</h1></header>"

    def headline(self) -> str:
        def reached(name):
            return f"<b>{page.percent(self.accuracy(name))}</b>"

        after, before, ceiling = (
            name if name in self.models and page.known(self.accuracy(name)) else None
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
        return page.warnings(page.warnings_of(self.seeds))

    def accuracies(self) -> str:
        rows = []
        for name in self.models:
            title, explained = self.named(name)
            target = self.accuracy(name)
            bar = ""
            if page.known(target):
                share = f"{100 * page.mean_of(target):.1f}"
                bar = f"<span class=bar><i style='width:{share}%'></i></span>"
            rows.append(
                f"<tr class='{'ours' if name == 'adapted' else ''}'>"
                f"<th scope=row>{title}<small>{explained}</small></th>"
                f"<td>{page.with_deviation(target)}{bar}</td>"
                f"<td>{page.with_deviation(self.accuracy(name, 'source'))}</td></tr>"
            )
        if not rows:
            return ""
        note = "Fractions of test images read correctly."
        if len(self.seeds) > 1:
            note += f" Mean ± standard deviation of {len(self.seeds)} seeds."
        known = ""
        if "adapted" in self.models:
            known = f"Labels of {self.target} training images never reach the adapted model."
        if self.few_labels:
            known = (
                f"The adapted model saw the labels of {self.few_labels} {self.target} training "
                "images of each class, and no others."
            )
        return page.section(
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
        reader, within_class = measured[0]["reader"], measured[0].get("within_class", True)
        if reader:
            real = values("read_correctly_real")
            said = f"by {READERS[reader]}"
            if page.known(real):
                said += f"; of real {destination} images it reads {page.with_deviation(real)}"
            value = page.with_deviation(values("read_correctly"))
            facts.append(("read as their own class", value, said))
        facts += [
            ("regular lattice of spots", page.with_deviation(values("checkerboard")),
             f"of the contrast; real {destination} images "
             f"{page.with_deviation(values('checkerboard_real'))}"),
            (f"diversity {'within a class' if within_class else 'of all images'}",
             page.number(values("diversity")),
             f"real {destination} images {page.number(values('diversity_real'))}"),
        ]  # fmt: skip
        tiles = "".join(
            f"<div><dt>{name}</dt><dd>{value}<small>{remark}</small></dd></div>"
            for name, value, remark in facts
        )
        legend = f"From the top: {origin} test images, their translations"
        legend += " with what the reader takes them for" if reader else ""
        rows = measured[0].get("rows", ROWS)
        legend += "".join(f"; {meaning}" for row, meaning in ROWS.items() if row in rows) + "."
        return page.section(
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
        models = [name for name in self.models if page.known(self.accuracy(name))]
        if not models:
            return ""
        heads = "".join(f"<th scope=col>{self.named(name)[0]}</th>" for name in models)
        rows = "".join(
            f"<tr><th scope=row>{escape(label)}</th>"
            + "".join(
                "<td>"
                + page.with_deviation(
                    [seed["models"][name]["target_test_per_class"][number] for seed in self.seeds]
                )
                + "</td>"
                for name in models
            )
            + "</tr>"
            for number, label in enumerate(names)
        )
        return page.section(
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
        images = self.figure(
            "tsne_images",
            f"A t-SNE map of the images themselves, pixel by pixel. Left: {self.source} images "
            f"(circles) and {self.target} images (crosses) as they are. Right: the same "
            f"{self.source} images, translated. A good translation lies among the crosses.",
        )
        features = self.figure(
            "tsne",
            f"A t-SNE map of what the encoder makes of {self.source} images (circles) and "
            f"{self.target} images (crosses), coloured by class. Adaptation has worked where "
            "crosses lie among circles of their own colour. Distances between clusters mean "
            "nothing.",
        )
        kinds = [kind for kind, map_ in (("Images", images), ("Features", features)) if map_]
        return page.section(" and ".join(kinds).capitalize(), images + features) if kinds else ""

    def training(self) -> str:
        panels = {figures.panel_of(name) for name in self.first.get("curves", ())}
        caption = (
            "Means over each epoch, one panel a loss: their scales differ too much for one. "
            "Adversarial losses hover rather than fall while both sides hold the balance."
        )
        if figures.DISCRIMINATORS in panels:
            caption += (
                " So do the discriminators: while they tell real from translated in 60–80\u00a0% "
                "of cases, the shaded band, neither side has lost."
            )
        if figures.DIVERSITY in panels:
            caption += (
                " Diversity is how much translations differ from each other, as a share of how "
                "much real images do."
            )
        figure = self.figure("training", caption)
        return page.section("Training", figure) if figure else ""

    def reproduce(self) -> str:
        text = (
            "<p>"
            + ", ".join(
                f"seed {seed} took {page.duration(seconds)}"
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
        return page.section("To repeat this", text)

    def accuracy(self, name: str, domain: str = "target") -> list[float | None]:
        return [result["models"][name][f"{domain}_test_accuracy"] for result in self.seeds]

    def figure(self, name: str, caption: str) -> str:
        """The first seed's figure, embedded; nothing if there is none. The caption is HTML."""
        if name not in self.first["figures"]:
            return ""
        return page.figure(self.out_dir / self.first["figures"][name], name, caption)

    def named(self, name: str) -> tuple[str, str]:
        """A classifier's title and explanation, as HTML."""
        is_adapted = name == "adapted" and self.adapted_is is not None
        title = page.title_of(self.adapted_is if is_adapted else name)
        if is_adapted:
            title = f"Adapted: {title[0].lower()}{title[1:]}"
        explained = MODELS.get(self.adapted_is if is_adapted else name, ("", ""))[1].format(
            source=self.source,
            target=self.target,
            weight=page.with_deviation([seed["models"][name].get("weight") for seed in self.seeds]),
        )
        return escape(title), explained
