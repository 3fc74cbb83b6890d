import base64
import html.parser
import json
import re

import pytest

from keras_i2i.data.geometry import Geometry
from keras_i2i.errors import InputError
from keras_i2i.evaluation import evaluate as module
from keras_i2i.evaluation.evaluate import combine, evaluate
from keras_i2i.evaluation.report import write_report
from keras_i2i.evaluation.segmentation import evaluate_segmentation

VOID = {"meta", "img", "br", "link", "input", "hr"}
NASTY = "<script>alert('&')</script>"


class Reader(html.parser.HTMLParser):
    """Collects tags and text, and insists that tags close in the order they opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all_text(self):
        return re.sub(r"\s+", " ", "".join(self.text))


@pytest.fixture(scope="module")
def results(models, domains, class_names, tmp_path_factory):
    """Results and folder of one full run."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POINTS_PER_DOMAIN", 20)
        result = evaluate(
            models, **domains, class_names=class_names, out_dir=folder, seed=0,
            history=[{"loss": 1.0}, {"loss": 0.5}], domain_names=("printed", "inverted"),
        )  # fmt: skip
    return result, folder


def report(results, **options):
    seeds, folder = results
    defaults = {"method": "i2i_adapt", "source": "a", "target": "b"}
    combined = combine(
        seeds if isinstance(seeds, list) else [seeds],
        **(defaults | options),
        seconds=[61.0] * (len(seeds) if isinstance(seeds, list) else 1),
    )
    return write_report(combined, folder).read_text(encoding="utf-8")


def altered(result, **accuracies):
    result = json.loads(json.dumps(result))
    for name, value in accuracies.items():
        result["models"][name]["target_test_accuracy"] = value
    return result


def test_the_page_is_self_contained(results):
    page = report(results, command="python train.py --seeds=0", flags="--method=i2i_adapt")
    reader = Reader(page)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object"}
    sources = [attributes["src"] for tag, attributes in reader.tags if "src" in attributes]
    assert len(sources) == len(results[0]["figures"]) == 9
    for source in sources:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert not re.search(r"https?:|url\(|@import", page)
    assert all(attributes["alt"] for tag, attributes in reader.tags if tag == "img")
    assert "python train.py --seeds=0" in reader.all_text()


def test_the_headline_says_what_was_reached(results):
    seed = altered(results[0], source_only=0.51, adapted=0.842, target_only=0.971)
    text = Reader(report((seed, results[1]))).all_text()
    assert (
        "Reads 84.2 % of inverted images it never saw labels for; "
        "without adaptation 51.0 %, with labels 97.1 %." in text
    )


def test_a_method_that_is_judged_by_its_translations_begins_with_them(results):
    shares = results[0]["translations"]["source_to_target"]
    text = Reader(report(results, judged_by="translations")).all_text()
    share = f"{100 * shares['read_correctly']:.1f} %"
    assert (
        f"Of a images translated to b {share} are read as what they were, by a model trained on "
        "real labels." in text.replace("printed", "a").replace("inverted", "b")
    )
    assert "Reads" not in text.partition("read as what they were")[0]


def test_labels_that_were_seen_are_owned_up_to(results):
    without = Reader(report(results)).all_text()
    few = Reader(report(results, target_labels_per_class=3)).all_text()
    assert "never saw labels" in without and "never reach the adapted model" in without
    assert "never saw labels" not in few and "never reach" not in few
    assert "after seeing labels of 3 of each class" in few


def test_several_seeds_have_mean_and_sample_deviation(results):
    seeds = [altered(results[0], adapted=value) for value in (0.80, 0.84, 0.88)]
    seeds[1]["seed"], seeds[2]["seed"] = 1, 2
    seeds[2]["warnings"] = ["Something is odd."]
    text = Reader(report((seeds, results[1]))).all_text()
    assert "84.0 ± 4.0 %" in text
    assert "Seed 2: Something is odd." in text


def test_all_text_is_escaped(results):
    seed = json.loads(json.dumps(results[0]).replace('"3"', json.dumps(NASTY)))
    seed["domain_names"] = [NASTY, "b"]
    seed["warnings"] = [NASTY]
    names = dict.fromkeys(("method", "source", "target", "command", "flags"), NASTY)
    page = report((seed, results[1]), **names)
    reader = Reader(page)
    assert "<script" not in page
    assert reader.all_text().count(NASTY) > 8


@pytest.mark.usefixtures("undrawn")
def test_without_translation_nothing_speaks_of_it(results, models, domains, class_names, tmp_path):
    only = {"source_only": models["source_only"]}
    seed = evaluate(only, **domains, class_names=class_names, out_dir=tmp_path, seed=0)
    text = Reader(report((seed, tmp_path))).all_text()
    assert "Without adaptation, reads" in text
    assert "ranslat" not in text and "Adapted" not in text and "Training" not in text


def test_metrics_json_is_enough_to_write_the_page(results):
    seed, folder = results
    combined = combine([seed], method="m", source="a", target="b", seconds=[1.0])
    expected = write_report(combined, folder).read_text()
    again = write_report(json.loads(json.dumps(combined)), folder).read_text()
    assert again == expected


def test_a_missing_figure_is_named(results, tmp_path):
    with pytest.raises(InputError, match=r"figures/.*not there"):
        report((results[0], tmp_path))


@pytest.mark.usefixtures("undrawn")
def test_an_adapted_model_with_two_names_has_one_row(models, fake, domains, class_names, tmp_path):
    both = fake(can_translate=True)
    both.weight = 0.7
    two_step = {"on_translated_source": fake(), "reads_translated_target": fake(), "sum": both}
    seed = evaluate(
        {"source_only": models["source_only"], **two_step, "adapted": both},
        **domains, class_names=class_names, out_dir=tmp_path, seed=0,
    )  # fmt: skip
    text = Reader(report((seed, tmp_path))).all_text()
    # In the tables of accuracies and of classes.
    assert text.count("Adapted: weighted sum") == 2 and "Weighted sum" not in text
    assert text.count("Trained on translations") == 2 and text.count("Reads translations") == 2
    assert "70.0 % the one trained on translations" in text


@pytest.mark.usefixtures("undrawn")
def test_what_is_marked_in_the_curves_is_explained(models, domains, class_names, tmp_path):
    history = [{"d_source_accuracy": 0.7, "diversity": 0.8}] * 2
    texts = [
        Reader(report((seed, tmp_path))).all_text()
        for seed in (
            evaluate(
                {"source_only": models["source_only"]},
                **domains, class_names=class_names, out_dir=tmp_path, seed=0, history=given,
            )
            for given in (history, [{"loss": 1.0}] * 2)
        )
    ]  # fmt: skip
    assert "60–80 %" in texts[0] and "Diversity is" in texts[0]
    assert "60–80 %" not in texts[1] and "Diversity is" not in texts[1]


@pytest.mark.usefixtures("undrawn")
def test_one_direction_is_told_as_one(models, fake, domains, class_names, tmp_path):
    adapted = fake(can_translate=True, directions=("source_to_target",), rebuilds=False)
    seed = evaluate(
        models | {"adapted": adapted},
        **domains, class_names=class_names, out_dir=tmp_path, seed=0,
    )  # fmt: skip
    text = Reader(report((seed, tmp_path))).all_text()
    assert "source → target" in text and "target → source" not in text
    assert "translated back" not in text and "encoded and decoded" not in text


@pytest.fixture
def unlabelled(domains):
    return {name: examples.without_labels() for name, examples in domains.items()}


@pytest.mark.usefixtures("undrawn")
def test_a_translator_alone_has_its_page(fake, unlabelled, tmp_path):
    translator = fake(can_translate=True)
    translator.can_classify = False
    seed = evaluate(
        {"translator": translator}, **unlabelled, class_names=(), out_dir=tmp_path, seed=0,
        history=[{"loss": 1.0}, {"loss": 0.5}],
    )  # fmt: skip
    reader = Reader(report((seed, tmp_path), source="faces", target="emoji"))
    text = reader.all_text()
    assert "diversity of all images" in text and "within a class" not in text
    assert "Images" in text and "Training" in text
    for absent in ("Accuracy", "Reads", "Class by class", "Features", "Adapted", "classes"):
        assert absent not in text
    assert sum(tag == "img" for tag, _ in reader.tags) == 6


@pytest.mark.usefixtures("undrawn")
def test_an_unlabelled_target_has_a_dash(models, domains, unlabelled, class_names, tmp_path):
    given = domains | {"target_test": unlabelled["target_test"]}
    seed = evaluate(
        {name: models[name] for name in ("source_only", "adapted")},
        **given, class_names=class_names, out_dir=tmp_path, seed=0,
    )  # fmt: skip
    page = report((seed, tmp_path))
    text = Reader(page).all_text()
    assert "<td>–</td>" in page and "Class by class" not in text
    assert "<h1>source → target</h1>" in page and "Without adaptation" not in text


@pytest.fixture
def segmented(scenes, tmp_path):
    def segmented(models, **options):
        tests = {name: domain.examples for name, domain in scenes.items()}
        return evaluate_segmentation(
            models, **(tests | options), geometry=Geometry(crop_size=16), palette=None,
            class_names=["dark", "gray", NASTY, "ghost"], out_dir=tmp_path, seed=0,
            domain_names=("gta5", "cityscapes"),
        )  # fmt: skip

    return segmented


@pytest.mark.usefixtures("undrawn")
def test_a_segmentation_has_its_page(segmented, segmenters, tmp_path):
    seed = segmented(segmenters)
    for name, value in {"source_only": 0.30, "adapted": 0.412, "target_only": 0.7}.items():
        seed["models"][name]["target_test_miou"] = value
    page = report((seed, tmp_path), source="gta5", target="cityscapes")
    text = Reader(page).all_text()
    assert (
        "Reaches 41.2 % mIoU on cityscapes images it never saw masks for; "
        "without adaptation 30.0 %, with masks 70.0 %." in text
    )
    assert "Adaptation gained 11.2 points, 28 % of the way to the ceiling." in text
    assert "Masks of cityscapes training images never reach" in text
    assert "Before you trust this" in text and "never predicts gray" in text
    assert page.count("<img") == len(seed["figures"]) == 6
    rows = [re.sub("<[^>]+>", "|", row) for row in page.split("<tbody>")[2].split("</tr>")]
    assert rows[3].startswith("||ghost||–||–||–|")
    assert "Pixels predicted right" in text and NASTY in text and "<script" not in page
    for absent in ("Accuracy", "t-SNE", "read as their own class", "resemble"):
        assert absent not in text


@pytest.mark.usefixtures("undrawn")
def test_a_segmentation_that_does_harm_is_told_so(segmented, segmenter, tmp_path):
    seed = segmented({"source_only": segmenter(), "adapted": segmenter(misses=1)})
    text = Reader(report((seed, tmp_path))).all_text()
    lost = 100 * (1 - seed["models"]["adapted"]["target_test_miou"])
    assert f"Adaptation lost {lost:.1f} points." in text and "did harm" in text


@pytest.mark.usefixtures("undrawn")
def test_a_segmentation_without_target_masks(segmented, segmenter, scenes, tmp_path):
    bare = scenes["target_test"].examples.without_labels()
    seed = segmented({"source_only": segmenter()}, target_test=bare)
    page = report((seed, tmp_path))
    text = Reader(page).all_text()
    assert "<h1>gta5 → cityscapes</h1>" in page and "<td>–</td><td>100.0" in page
    assert "Images and their classes" in text and "Class by class" not in text


# Ways of choosing an epoch, as metrics.json has them.
WAYS = {
    "last": {"epoch": [4], "step": [8], "target_test_accuracy": [0.8]},
    "target_entropy": {"epoch": [2], "step": [4], "target_test_accuracy": [0.7]},
    "oracle": {"epoch": [3], "step": [6], "target_test_accuracy": [0.9]},
}


class TestWhichEpoch:
    """The section on what could have been picked."""

    def read(self, results, selection):
        seed, folder = results
        metrics = combine([seed], method="i2i_adapt", source="a", target="b", seconds=[1.0])
        path = write_report({**metrics, "selection": selection}, folder)
        return path.read_text(encoding="utf-8")

    def test_has_a_row_for_each_way_and_marks_the_picked_one_and_the_oracle(self, results):
        text = self.read(results, {"by": "target_entropy", "adapted": WAYS})
        section = text[text.index("<h2>Which epoch</h2>") :]
        section = section[: section.index("</section>")]
        rows = re.findall(r"<tr class='(\w*)'>(.*?)</tr>", section)
        shown = [(kind, Reader(f"<tr>{row}</tr>").all_text()) for kind, row in rows]
        assert [kind for kind, _ in shown] == ["", "ours", ""]
        assert shown[0][1].startswith("Last") and "480.0" in shown[0][1]
        assert shown[1][1].startswith("Target entropy") and "270.0" in shown[1][1]
        assert shown[2][1].startswith("Oracle") and "390.0" in shown[2][1]
        assert "<b>reads target labels; not available in practice</b>" in rows[2][1]

    def test_by_default_the_last_is_marked_and_so_where_a_step_has_no_validators(self, results):
        for by in ("last", "proxy_a_distance"):
            text = self.read(results, {"by": by, "adapted": WAYS})
            assert "<tr class='ours'><th scope=row>Last<small>" in text

    def test_steps_are_told_apart_where_there_are_several(self, results):
        ways = {"by": "last", "translator": WAYS, "on_translated_source": WAYS}
        text = self.read(results, ways)
        assert "<h3>Translator</h3>" in text and "<h3>Trained on translations</h3>" in text
        assert "<h3>" not in self.read(results, {"by": "last", "adapted": WAYS})

    def test_an_older_run_has_no_such_section(self, results):
        assert "Which epoch" not in Reader(report(results)).all_text()


def seen(target=0, source=0, transductive=False, left_out=0):
    return {
        domain: {"images": count, "of": 2000, "transductive": transductive, **others}
        for domain, count, others in (
            ("source", source, {}),
            ("target", target, {"left_out": left_out}),
        )
    }


def test_test_images_that_were_seen_are_owned_up_to(results):
    quiet = Reader(report(results, seen=seen())).all_text()
    assert "validation images too" not in quiet and "Transductive" not in quiet
    few = Reader(report(results, seen=seen(target=2))).all_text()
    assert "2 of 2000 inverted test images are training or validation images too." in few
    assert "of 2000 printed" not in few
    meant = Reader(report(results, seen=seen(transductive=True))).all_text()
    assert (
        "Transductive: the inverted test images are the training images, learnt without labels, "
        "but by the ceiling with their labels." in meant
    )
    assert "printed test images are the training images, learnt with their labels." in meant


def test_a_ceiling_that_learnt_the_tests_labels_says_so_wherever_it_stands(results):
    usual = Reader(report(results, seen=seen())).all_text()
    meant = Reader(report(results, seen=seen(transductive=True))).all_text()
    beside = "trained on inverted labels, reporting only; the test images' own among them"
    assert beside in meant and beside.partition(";")[0] in usual and beside not in usual
    assert "with labels of these very images" in meant and "very images" not in usual
    seeds, folder = results
    without = {name: model for name, model in seeds["models"].items() if name != "target_only"}
    meant = report(({**seeds, "models": without}, folder), seen=seen(transductive=True))
    assert "learnt without labels." in Reader(meant).all_text()


def test_images_whose_labels_were_learnt_are_not_in_the_test_and_it_says_so(results):
    options = {"target_labels_per_class": 3}
    told = "93 inverted images are left out of the test: the 3 labels of each class that are learn"
    text = Reader(report(results, seen=seen(left_out=93, transductive=True), **options)).all_text()
    assert told in text
    assert "left out" not in Reader(report(results, seen=seen(), **options)).all_text()


MADE_OF = {
    "seeds": [0],
    "data": {
        "source": {"train": {"images": 7, "sha256": "ab12", "of": "pixels"}},
        "target": {"train": {"images": 7, "sha256": None, "of": "nothing"}},
    },
    "starts": [
        {
            "date": date,
            "versions": {"keras": NASTY, "cuda": None},
            "git": {"revision": "abc123", "dirty": True},
            "hardware": {
                "processor": None,
                "cores": 2,
                "memory_gib": None,
                "gpus": ["A Fast One"],
                "system": "Linux",
            },
        }
        for date in ("2026-11-27T10:00:00+00:00", "2026-11-28T10:00:00+00:00")
    ],
}


def test_what_a_run_was_made_of_is_shown(results):
    text = Reader(report(results, provenance=MADE_OF)).all_text()
    for part in (
        "begun2026-11-27T10:00:00+00:00",
        "continued2026-11-28T10:00:00+00:00",
        f"versionskeras {NASTY}git",
        "git revisionabc123 with changes",
        "machineunknown processor, 2 cores, A Fast One, Linux",
        "source train7 images, SHA-256 of pixels: ab12",
    ):
        assert part in text
    assert "target train" not in text
    assert "made of" not in Reader(report(results)).all_text()
