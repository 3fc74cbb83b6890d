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

# Ways of choosing an epoch.
PICKS = {
    "last": "what there is without choosing",
    "source_validation_accuracy": "most held-out source images read correctly",
    "target_entropy": "surest about target images",
    "information_maximization": "sure about target images, and all classes in use",
    "soft_neighbourhood_density": "target images read in the densest groups",
    "proxy_a_distance": "features of the two domains hardest to tell apart",
    "oracle": "<b>reads target labels; not available in practice</b>",
}


def write_report(results: Mapping[str, Any], out_dir: str | os.PathLike) -> Path:
    """Writes `out_dir/report.html`.

    Args:
        results: what `evaluate.combine` returned, or the metrics.json made from it; of either task.
        out_dir: the run's folder, where the figures' paths start.

    Returns:
        The path of the page.

    Raises:
        InputError: a figure that the results name is not there.
    """
    kind = _SegmentationReport if page.segments(results) else _Report
    report = kind(results, Path(out_dir))
    return write_text(Path(out_dir, "report.html"), report.html())


class _Report:
    """The page of a classification, and what that of a segmentation shares with it."""

    MEASURE = "accuracy"  # on the target's and the source's test images: what models are ranked by
    HEADING = "Accuracy"
    EXPLAINED = "Fractions of test images read correctly."
    LABELS = "labels"

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
        # What a ceiling learns is then what it is tested on.
        self.is_transductive = page.is_transductive(results)

    def html(self) -> str:
        sections = (
            self.header(),
            self.warnings(),
            self.scores(),
            self.panels(),
            *(self.translation(direction) for direction in self.first.get("translations", ())),
            self.classes(),
            self.features(),
            self.training(),
            self.selection(),
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
        read = self.results.get("translations_read_correctly", {}).get("source_to_target", [])
        if self.results.get("judged_by") == "translations" and page.known(read):
            reader = READERS[self.results["translations_read_by"]["source_to_target"]]
            return (
                f"Of {self.source} images translated to {self.target} <b>{page.percent(read)}</b> "
                f"are read as what they were, by {reader}."
            )
        after, before, ceiling = (
            name if name in self.models and page.known(self.reached(name)) else None
            for name in ("adapted", "source_only", "target_only")
        )
        asides = []
        if after:
            unseen = f"it never saw {self.LABELS} for"
            if self.few_labels:
                unseen = f"after seeing {self.LABELS} of {self.few_labels} of each class"
            said = self.says(after, unseen)
            if before:
                asides.append(f"without adaptation {self.bold(before)}")
        elif before:
            said = self.says(before)
            said = f"Without adaptation, {said[0].lower()}{said[1:]}"
        else:
            return f"{self.source} → {self.target}"
        if ceiling:
            of_which = " of these very images" if self.is_transductive else ""
            asides.append(f"with {self.LABELS}{of_which} {self.bold(ceiling)}")
        return said + (f"; {', '.join(asides)}." if asides else ".")

    def says(self, name: str, which: str = "") -> str:
        """What a model achieves on target images, which ones may be said too."""
        return f"Reads {self.bold(name)} of {self.target} images {which}".rstrip()

    def bold(self, name: str) -> str:
        return f"<b>{page.percent(self.reached(name))}</b>"

    def warnings(self) -> str:
        return page.warnings([*self.seen(), *page.warnings_of(self.seeds)])

    def seen(self) -> list[str]:
        """Which test images are no news to the models, as HTML."""
        found = self.results.get("test_images_seen", {})
        said = []
        for name, domain in (("target", self.target), ("source", self.source)):
            if name not in found:
                continue
            if found[name]["transductive"]:
                learnt = "with their" if name == "source" else "without"
                but = ""
                if name == "target" and "target_only" in self.models:
                    but = f", but by the ceiling with their {self.LABELS}"
                said.append(
                    f"Transductive: the {domain} test images are the training images, learnt "
                    f"{learnt} {self.LABELS}{but}."
                )
            if found[name].get("left_out"):
                said.append(
                    f"{found[name]['left_out']} {domain} images are left out of the test: the "
                    f"{self.few_labels} {self.LABELS} of each class that are learnt, of all seeds, "
                    "are theirs."
                )
            if found[name]["images"]:
                said.append(
                    f"{found[name]['images']} of {found[name]['of']} {domain} test images are "
                    "training or validation images too."
                )
        return said

    def scores(self) -> str:
        rows = []
        for name in self.models:
            title, explained = self.named(name)
            target = self.reached(name)
            bar = ""
            if page.known(target):
                share = f"{100 * page.mean_of(target):.1f}"
                bar = f"<span class=bar><i style='width:{share}%'></i></span>"
            rows.append(
                f"<tr class='{'ours' if name == 'adapted' else ''}'>"
                f"<th scope=row>{title}<small>{explained}</small></th>"
                f"<td>{page.with_deviation(target)}{bar}</td>"
                f"<td>{page.with_deviation(self.reached(name, 'source'))}</td></tr>"
            )
        if not rows:
            return ""
        note = self.EXPLAINED
        if len(self.seeds) > 1:
            note += f" Mean ± standard deviation of {len(self.seeds)} seeds."
        known = ""
        if "adapted" in self.models:
            labels = self.LABELS.capitalize()
            known = f"{labels} of {self.target} training images never reach the adapted model."
        if self.few_labels:
            known = (
                f"The adapted model saw the {self.LABELS} of {self.few_labels} {self.target} "
                "training images of each class, and no others."
            )
        return page.section(
            self.HEADING,
            "<table class=scores><thead><tr><th></th>"
            f"<th scope=col>{self.target} test</th><th scope=col>{self.source} test</th></tr>"
            f"</thead><tbody>{''.join(rows)}</tbody></table>"
            f"<p class=note>{note} {known}{self.verdict()}</p>",
        )

    def verdict(self) -> str:
        """A sentence on what adaptation was good for; nothing if the table says it all."""
        return ""

    def panels(self) -> str:
        """Images with what models make of their pixels."""
        return ""

    def translation(self, direction: str) -> str:
        origin, destination = self.source, self.target
        if direction == "target_to_source":
            origin, destination = destination, origin
        measured = [result["translations"][direction] for result in self.seeds]

        def values(key):
            return [one[key] for one in measured]

        facts = []
        reader, within_class = measured[0].get("reader"), measured[0].get("within_class", True)
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
        table = self.class_table("target_test_per_class")
        if not table:
            return ""
        return page.section(
            "Class by class",
            self.figure("per_class", f"How much of each class of {self.target} images is read.")
            + self.figure(
                "confusion",
                "Each row is a class and shows, in per cent, what its images are taken for. The "
                "diagonal is right.",
            )
            + f"<details><summary>The numbers</summary>{table}</details>",
        )

    def class_table(self, key: str) -> str:
        """A value for each class and model; nothing without any."""
        models = [name for name in self.models if page.known(self.reached(name))]
        if not models:
            return ""
        heads = "".join(f"<th scope=col>{self.named(name)[0]}</th>" for name in models)
        rows = "".join(
            f"<tr><th scope=row>{escape(label)}</th>"
            + "".join(
                "<td>"
                + page.with_deviation([seed["models"][name][key][number] for seed in self.seeds])
                + "</td>"
                for name in models
            )
            + "</tr>"
            for number, label in enumerate(self.first["class_names"])
        )
        return (
            "<div class=scroll><table><thead><tr>"
            f"<th scope=col>class</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
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
        if "target_entropy" in self.first.get("curves", ()):
            caption += (
                " Entropy, information, density and distance are the validators of <i>Which "
                "epoch</i>: no target label has a part in them."
            )
        figure = self.figure("training", caption)
        return page.section("Training", figure) if figure else ""

    def selection(self) -> str:
        """Which epochs could have been picked, and what each would have given."""
        chosen = self.results.get("selection", {})
        tables = "".join(
            (f"<h3>{escape(page.title_of(step))}</h3>" if len(chosen) > 2 else "")
            + self.picks(ways, chosen["by"])
            for step, ways in chosen.items()
            if step != "by"
        )
        if not tables:
            return ""
        return page.section(
            "Which epoch",
            tables + f"<p class=note>{self.target} test {self.HEADING.lower()} along the learning "
            "curve, which is of a part of the images. The highlighted row is this run's model. "
            "Validators read no target label; the oracle does, so it is no way to choose, only a "
            "measure of what choosing well could give.</p>",
        )

    def picks(self, ways: Mapping[str, Any], by: str) -> str:
        """One step's ways of choosing an epoch."""
        picked = by if by in ways else "last"
        rows = "".join(
            f"<tr class='{'ours' if name == picked else ''}'>"
            f"<th scope=row>{escape(name.replace('_', ' ').capitalize())}"
            f"<small>{PICKS.get(name, '')}</small></th>"
            f"<td>{', '.join(map(str, way['epoch']))}</td>"
            f"<td>{page.with_deviation(way[f'target_test_{self.MEASURE}'])}</td></tr>"
            for name, way in ways.items()
        )
        return (
            "<table class=scores><thead><tr><th></th><th scope=col>epoch</th>"
            f"<th scope=col>{self.target} test</th></tr></thead><tbody>{rows}</tbody></table>"
        )

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
        text += self.provenance()
        return page.section("To repeat this", text)

    def provenance(self) -> str:
        """What the run was made of; nothing if nobody wrote it down."""
        found = self.results.get("provenance")
        if not found:
            return ""
        last = found["starts"][-1]
        git, hardware = last["git"], last["hardware"]
        versions = (f"{name} {text}" for name, text in last["versions"].items() if text)
        machine = [
            hardware["processor"] or "unknown processor",
            f"{hardware['cores']} cores",
            f"{hardware['memory_gib']} GiB" if hardware["memory_gib"] else "",
            *hardware["gpus"],
            hardware["system"],
        ]
        rows = {
            "begun": found["starts"][0]["date"],
            "continued": ", ".join(start["date"] for start in found["starts"][1:]),
            "versions": ", ".join(versions),
            "git revision": git and git["revision"] + " with changes" * git["dirty"],
            "machine": ", ".join(filter(None, machine)),
        }
        for domain, splits in found["data"].items():
            for split, known in splits.items():
                if known["sha256"]:
                    rows[f"{domain} {split}"] = (
                        f"{known['images']} images, SHA-256 of {known['of']}: {known['sha256']}"
                    )
        table = "".join(
            f"<tr><th scope=row>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
            for name, value in rows.items()
            if value
        )
        return (
            "<details><summary>What it was made of</summary>"
            f"<table class=made><tbody>{table}</tbody></table></details>"
        )

    def reached(self, name: str, domain: str = "target") -> list[float | None]:
        return self.values(name, f"{domain}_test_{self.MEASURE}")

    def values(self, name: str, key: str) -> list[Any]:
        """Of a model, one per seed."""
        return [result["models"][name][key] for result in self.seeds]

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
        if name == "target_only" and self.is_transductive:
            explained += "; the test images' own among them"
        return escape(title), explained


class _SegmentationReport(_Report):
    """The page of a segmentation: IoU for accuracy, and pictures of the pixels' classes."""

    MEASURE = "miou"
    HEADING = "Mean intersection over union"
    EXPLAINED = (
        "mIoU: of each class the pixels that are rightly its own, as a share of all that a mask or "
        "the model says are, summed over all test images; then the mean over classes."
    )
    LABELS = "masks"

    def says(self, name: str, which: str = "") -> str:
        return f"Reaches {self.bold(name)} mIoU on {self.target} images {which}".rstrip()

    def verdict(self) -> str:
        before, after, ceiling = (
            page.mean_of(self.reached(name)) if name in self.models else None
            for name in ("source_only", "adapted", "target_only")
        )
        if before is None or after is None:
            return ""
        points = 100 * (after - before)
        said = f" Adaptation {'gained' if points >= 0 else 'lost'} {abs(points):.1f} points"
        if ceiling is not None and ceiling > before and points > 0:
            share = 100 * (after - before) / (ceiling - before)
            said += f", {share:.0f}\u00a0% of the way to the ceiling"
        return f"{said}."

    def panels(self) -> str:
        target = self.figure(
            "panels_target",
            f"{self.target} test images, drawn at random, with their masks if there are any, and "
            "what models make of them. Striped pixels have no class and do not count.",
        )
        source = self.figure(
            "panels_source", "Images of the domain whose masks the models learnt from."
        )
        if source:
            source = (
                f"<details><summary>The same of {self.source} images</summary>{source}</details>"
            )
        return page.section("Images and their classes", target + source) if target else ""

    def classes(self) -> str:
        table = self.class_table("target_test_per_class_iou")
        if not table:
            return ""
        models = [name for name in self.models if page.known(self.reached(name))]
        pixels = "target_test_pixel_accuracy"
        right = ", ".join(
            f"{self.named(name)[0].lower()} {page.with_deviation(self.values(name, pixels))}"
            for name in models
        )
        return page.section(
            "Class by class",
            self.figure("per_class_iou", f"Intersection over union on {self.target} images.")
            + table
            + "<p class=note>A dash: neither masks nor the model know the class, and the mean "
            f"leaves it out. Pixels predicted right, of all: {right}.</p>"
            + self.figure(
                "confusion",
                "Each row is a class and shows, in per cent, what its pixels are taken for. The "
                "diagonal is right.",
            ),
        )
