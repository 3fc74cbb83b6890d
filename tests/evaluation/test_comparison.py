import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_i2i.errors import InputError
from keras_i2i.evaluation.comparison import write_comparison
from keras_i2i.evaluation.evaluate import combine

BOTH = ("source_to_target", "target_to_source")
NASTY = "<script>alert('&')</script>"


@pytest.fixture
def run(tmp_path):
    """Makes a run's folder and metrics, of which only a comparison's part is filled."""

    def run(name, *, directions=BOTH, names=("mnist", "usps"), report=True, few=0, **accuracies):
        folder = tmp_path / "runs" / name
        (folder / "figures").mkdir(parents=True)
        if report:
            (folder / "report.html").write_text("the run's own")
        paths = {f"translation_{way}": f"figures/{way}.png" for way in directions}
        for path in paths.values():
            Image.fromarray(np.full((20, 40), 200, "uint8")).save(folder / path)
        count = len(next(iter(accuracies.values()), [0]))
        seeds = [
            {
                "seed": seed,
                "models": {
                    model: {"target_test_accuracy": values[seed], "source_test_accuracy": 1.0}
                    for model, values in accuracies.items()
                },
                "adapted_is": "sum" if "sum" in accuracies else None,
                "translations": {way: {"read_correctly": 0.75} for way in directions},
                "figures": paths,
                "warnings": [],
            }
            for seed in range(count)
        ]
        return folder, combine(
            seeds, method=f"{name}'s method", source=names[0], target=names[1],
            seconds=[90.0] * count, target_labels_per_class=few,
        )  # fmt: skip

    return run


def written(runs, folder):
    page = write_comparison(runs, folder / "comparison.html").read_text(encoding="utf-8")
    return page, re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<body")[1]))


def test_a_row_a_run(run, tmp_path):
    runs = [
        run("i2i", source_only=[0.5, 0.6], adapted=[0.90, 0.94], target_only=[0.97, 0.97]),
        run("basci", adapted=[0.95], sum=[0.95], on_translated_source=[0.93]),
        run("dtn", directions=BOTH[:1], adapted=[0.7], few=3),
    ]
    page, text = written(runs, tmp_path)
    heads = re.findall(r"<th scope=col>(.*?)</th>", page)
    assert [head.split("<")[0] for head in heads] == [
        "Run", "Method", "Seeds", "Source only", "Adapted", "Trained on translations",
        "Weighted sum", "Ceiling", "Read as own class", "Read as own class", "Minutes",
    ]  # fmt: skip
    assert "mnist → usps" in text and "usps → mnist" in text
    assert "92.0 ± 2.8 %" in text and "55.0 ± 7.1 %" in text and "75.0 %" in text
    assert "<b>95.0\u00a0%</b><small>weighted sum</small>" in page and "<b>92.0" not in page
    assert "saw 3 target labels a class" in text and "1.5" in text
    rows = re.findall(r"<tbody>(.*)</tbody>", page, re.S)[0].split("</tr>")[:3]
    assert "dtn" in rows[2] and rows[2].count("<td>–</td>") == 5
    assert page.count("<img") == 5


def test_a_ceiling_that_learnt_the_tests_labels_says_so(run, tmp_path):
    runs = [run("a", adapted=[0.8], target_only=[0.9]), run("b", adapted=[0.7])]
    told = "<small>saw the test's labels</small>"
    assert told not in written(runs, tmp_path)[0]
    for _, metrics in runs:
        metrics["test_images_seen"] = {"target": {"images": 0, "of": 9, "transductive": True}}
    assert written(runs, tmp_path)[0].count(told) == 1


def test_runs_are_grouped_by_pair_and_each_has_its_best(run, tmp_path):
    runs = [
        run("a", adapted=[0.8]),
        run("b", adapted=[0.3], names=("usps", "mnist")),
        run("c", adapted=[0.7]),
        run("d", adapted=[0.4], names=("usps", "mnist")),
    ]
    page, _ = written(runs, tmp_path)
    assert re.findall("<h2>(.*?)</h2>", page) == ["mnist → usps", "usps → mnist"]
    assert re.findall("<b>([^<]*)\u00a0%</b>", page) == ["80.0", "40.0"]


def test_links_are_relative_and_only_to_what_is_there(run, tmp_path):
    runs = [run("a: #1?", adapted=[0.8]), run("b", adapted=[0.7], report=False)]
    page, _ = written(runs, tmp_path / "elsewhere")
    assert re.findall('href="(.*?)"', page) == ["../runs/a%3A%20%231%3F/report.html"]
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    assert "content=\"default-src 'none'" in page


def test_warnings_keep_their_run(run, tmp_path):
    runs = [run("a", adapted=[0.8, 0.7]), run("b", adapted=[0.7])]
    runs[0][1]["per_seed"][1]["warnings"] = ["Something is odd."]
    assert "a: Seed 1: Something is odd." in written(runs, tmp_path)[1]


def test_everything_is_escaped(run, tmp_path):
    nasty = NASTY.replace("/", "")
    runs = [run(nasty, adapted=[0.8], names=(NASTY, "b"), **{nasty: [0.1]})]
    runs.append(run("b", adapted=[0.7], names=(NASTY, "b")))
    runs[0][1]["per_seed"][0]["warnings"] = [NASTY]
    page, _ = written(runs, tmp_path)
    assert "<script" not in page.lower() and "%3Cscript" in page


def test_folders_of_one_name_are_told_apart(run, tmp_path):
    runs = [run("one/quick", adapted=[0.8]), run("two/quick", adapted=[0.7])]
    text = written(runs, tmp_path)[1]
    assert "one/quick" in text and "two/quick" in text


def test_nothing_is_known_of_unlabelled_runs_but_their_images(run, tmp_path):
    runs = [run("a"), run("b")]
    for _, metrics in runs:
        metrics["translations_read_correctly"] = {}
    page, text = written(runs, tmp_path)
    assert "Adapted" not in text and "Ceiling" not in text and page.count("<img") == 4


def segmenting(run, name, **mious):
    """A run of segmentation."""
    folder, metrics = run(name, **mious)
    for seed in metrics["per_seed"]:
        seed["task"] = "segmentation"
        for model in seed["models"].values():
            model["target_test_miou"] = model.pop("target_test_accuracy")
        for measured in seed["translations"].values():
            del measured["read_correctly"]
    again = {key: metrics[key] for key in ("method", "source", "target", "seconds")}
    return folder, combine(metrics["per_seed"], **again)


def test_segmentations_are_compared_by_miou(run, tmp_path):
    runs = [
        segmenting(run, "a", source_only=[0.3], adapted=[0.4]),
        segmenting(run, "b", adapted=[0.5]),
    ]
    page, text = written(runs, tmp_path)
    assert re.findall(r"<th scope=col>(.*?)</th>", page) == [
        "Run", "Method", "Seeds", "Source only<small>mIoU</small>", "Adapted<small>mIoU</small>",
        "Minutes<small>per seed</small>",
    ]  # fmt: skip
    assert "<b>50.0\u00a0%</b>" in page and "Mean intersection over union" in text
    assert page.count("<img") == 4 and "read as their own" not in text


def test_tasks_are_not_mixed(run, tmp_path):
    runs = [segmenting(run, "a", adapted=[0.4]), run("b", adapted=[0.9])]
    with pytest.raises(InputError, match="/a segment images, the others classify"):
        write_comparison(runs, tmp_path / "comparison.html")


def test_metrics_json_is_enough(run, tmp_path):
    runs = [run("a", adapted=[0.8]), run("b", adapted=[0.7])]
    read = [(str(folder), json.loads(json.dumps(metrics))) for folder, metrics in runs]
    assert written(runs, tmp_path)[0] == written(read, tmp_path)[0]


def test_runs_that_cannot_be_compared(run, tmp_path):
    one, other = run("a", adapted=[0.8]), run("b", adapted=[0.7])
    page = tmp_path / "comparison.html"
    with pytest.raises(InputError, match="at least two"):
        write_comparison([one], page)
    with pytest.raises(InputError, match="given twice"):
        write_comparison([one, other, (one[0] / ".." / "a", one[1])], page)
    with pytest.raises(InputError, match="no per_seed"):
        write_comparison([one, (other[0], {"method": "m"})], page)
    (other[0] / "figures" / "source_to_target.png").unlink()
    with pytest.raises(InputError, match="not there"):
        write_comparison([one, other], page)
    assert not page.exists()
