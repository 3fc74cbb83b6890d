"""What users give by mistake, and strangers on purpose: the message each gets.

Each row is a command line. It ends with an exit code that is not 0 and one line for each mistake,
no stack trace; no file appears, changes or vanishes.
"""

import hashlib
import io
import json
import shutil
import struct
import zipfile
import zlib

import keras
import numpy as np
import pytest
from PIL import Image
from serving.commands import run_in_process
from training.runs import write_images

from keras_i2i import data
from keras_i2i.data.domain import Domain
from keras_i2i.serving.main import export_main
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.main import evaluate_main, train_main
from keras_i2i.training.run_directory import RunDirectory

SMALL = {
    "image_size": 16,
    "channels": 3,
    "batch_size": 2,
    "steps": 2,
    "steps_per_epoch": 1,
    "classifier_steps": 1,
    "encoder_width": 0.1,
    "preset": "fcns_in_the_wild",
    "ceiling": False,
}
IMAGES = [(16, 16)] * 4


def png_of(width, height):
    """A PNG file that says it has so many pixels, and has none."""

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def write_segmentation(folder, mask=0, names=("road", "sky")):
    write_images(folder / "images", 2 * IMAGES)
    (folder / "masks").mkdir()
    for file in (folder / "images").iterdir():
        Image.new("L", (16, 16), mask).save(folder / "masks" / file.name)
    (folder / "classes.txt").write_text("\n".join(names) + "\n")


def write_data(here):
    """Folders of images, good ones and others."""
    for name in ("source", "target"):
        for number, label in enumerate("ab"):
            write_images(here / name / label, IMAGES, seed=number)
    write_images(here / "flat", IMAGES)
    write_images(here / "others" / "c", IMAGES)
    write_images(here / "others" / "d", IMAGES)
    write_images(here / "single" / "a", IMAGES)
    write_images(here / "lone" / "a", IMAGES)
    write_images(here / "lone" / "b", IMAGES[:1])
    write_images(here / "beside" / "a", IMAGES)
    write_images(here / "beside" / "b", IMAGES)
    write_images(here / "beside", IMAGES)
    write_images(here / "cases" / "cat", IMAGES)
    write_images(here / "cases" / "Cat", IMAGES)
    write_images(here / "lines" / "a\nb", IMAGES)
    write_images(here / "lines" / "c", IMAGES)
    for split in ("train", "test"):
        for label in "ab":
            write_images(here / "without_b" / split / label, 2 * IMAGES)
    shutil.rmtree(here / "without_b" / "train" / "b")
    (here / "without_b" / "train" / "b").mkdir()
    (here / "empty").mkdir()
    for label in "ab":
        write_images(here / "torn" / label, IMAGES)
        for file in (here / "torn" / label).iterdir():
            file.write_bytes(file.read_bytes()[:60] + bytes(file))  # no two alike
    write_segmentation(here / "streets")
    write_segmentation(here / "strange_masks", mask=7)
    write_segmentation(here / "lost_mask")
    (here / "lost_mask" / "masks" / "00.png").unlink()
    write_segmentation(here / "no_legend")
    (here / "no_legend" / "classes.txt").unlink()
    write_segmentation(here / "double_legend", names=("road", "road"))


def write_files(here):
    """Flagfiles and pictures that are none, and some that belong to others."""
    (here / "file").write_text("x")
    (here / "binary.cfg").write_bytes(bytes(range(256)))
    (here / "latin.cfg").write_bytes("--run_dir=año\n".encode("latin-1"))
    (here / "prose.cfg").write_text("steps = 5\n")
    (here / "unknown.cfg").write_text("--stepz=5\n")
    (here / "itself.cfg").write_text("--flagfile=itself.cfg\n")
    (here / "one.cfg").write_text("--flagfile=other.cfg\n")
    (here / "other.cfg").write_text("--flagfile=one.cfg\n")
    (here / "lost.cfg").write_text("--flagfile=gone.cfg\n")
    pictures = here / "pictures"
    write_images(pictures, IMAGES[:1])
    (pictures / "bomb.png").write_bytes(png_of(60_000, 60_000))
    (pictures / "text.png").write_text("no picture")
    (pictures / "half.png").write_bytes((pictures / "00.png").read_bytes()[:80])
    foreign = here / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")


def edited(path, change):
    """Rewrites a zip archive: `change(name, content)` gives the content, None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        files = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)


def with_lambda(path):
    images = keras.Input((16, 16, 3))
    keras.Model(images, keras.layers.Lambda(lambda x: 2 * x)(images)).save(path)


def of_module(path):
    evil = {"module": "os", "class_name": "system", "config": {"command": "touch pwned"}}
    evil["registered_name"] = None
    edited(path, lambda name, old: json.dumps(evil).encode() if name == "config.json" else old)


def as_bomb(path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(10**6))
    path.write_bytes(content.getvalue())


DAMAGED_MODELS = {
    "half": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "text": lambda path: path.write_text("no model"),
    "lambda": with_lambda,
    "of_module": of_module,
    "no_config": lambda path: edited(path, lambda n, old: None if n == "config.json" else old),
    "no_json": lambda path: edited(path, lambda n, old: b"{" if n == "config.json" else old),
    "no_weights": lambda path: edited(path, lambda n, old: b"x" if "weights" in n else old),
    "unknown_class": lambda path: edited(
        path, lambda n, old: old.replace(b"I2IAdapt", b"I2IAdopt")
    ),
    "bomb": as_bomb,
}


def write_runs(here):
    """A run that is trained, as far as anybody can tell, and others that something happened to."""
    experiment = Experiment(
        source=f"image_folder:{here / 'source'}",
        target=f"image_folder:{here / 'target'}",
        run_dir=str(here / "run"),
        **SMALL,
    )
    run = RunDirectory.create(experiment)
    experiment.build_model(0).save(run.model("adapted", 0))
    experiment.build_classifier("source").save(run.model("source_only", 0))
    run.history("adapted", 0).parent.mkdir()
    for step in ("source_only", "adapted"):
        run.history(step, 0).write_text('[{"seconds": 1}]')

    def copy(name):
        shutil.copytree(here / "run", here / name)
        return here / name

    for name, damage in DAMAGED_MODELS.items():
        damage(copy(f"run_{name}") / "model.keras")
    (copy("run_unfinished") / "model.keras").unlink()
    (copy("run_history") / "history" / "seed_0_adapted.json").write_text("[]")
    (copy("run_metrics") / "metrics.json").write_text('{"half')
    flagfile = copy("run_flags") / "flags.cfg"
    flagfile.write_text(flagfile.read_text() + "--stepz=5\n")
    (copy("run_binary") / "flags.cfg").write_bytes(bytes(range(256)))
    flagfile = copy("run_value") / "flags.cfg"
    flagfile.write_text(flagfile.read_text().replace("--steps=2", "--steps=many"))

    served = here / "served"
    (served / "1").mkdir(parents=True)
    (served / "1" / "saved_model.pb").write_bytes(b"")
    shutil.copy(here / "run" / "model.keras", here / "encoder.keras")
    with_lambda(here / "lambda.keras")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    here = tmp_path_factory.mktemp("bad_inputs")
    write_data(here)
    write_files(here)
    write_runs(here)
    return here


def content_of(folder):
    """Every file, by name, with a digest of what is in it; every folder. Not who held a lock."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        )
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


GOOD = {"source": "image_folder:source", "target": "image_folder:target", "run_dir": "new", **SMALL}
LONG = "x" * 300
BACKBONE = {
    "encoder": "resnet18",
    "encoder_width": 1,
    "image_size": 32,
    "encoder_weights": "encoder.keras",
}


def train(**flags):
    """A command line that would train, but for these flags; None leaves one out."""
    merged = {name: value for name, value in (GOOD | flags).items() if value is not None}
    return [train_main, *(f"--{name}={value}" for name, value in merged.items())]


def evaluate(*arguments):
    return [evaluate_main, *arguments]


def export(*arguments):
    return [export_main, *arguments]


FLAGS = {
    "steps": (train(steps="many"), "--steps must be an integer. Received: 'many'"),
    "no number": (train(learning_rate="fast"), "--learning_rate must be a number. Received: 'fas"),
    "no bool": (train(ceiling="maybe"), "--ceiling must be true or false. Received: 'maybe'"),
    "method": (train(method="dann"), "--method must be one of i2i_adapt, cyclegan, dtn, lstnet, "),
    "unknown flag": (
        [*train(), "--lerning_rate=1"],
        "This command has no flag --lerning_rate. Did you mean --learning_rate?",
    ),
    "strange flag": ([*train(), "--qwxyz"], "This command has no flag --qwxyz. --help lists all."),
    "words": ([*train(), "mnist", "usps"], "Everything is given by flags. Received: mnist usps"),
    "twice": ([*train(), "--steps=4"], "--steps is given twice: '2' and '4'"),
    "twice in words": (
        [*train(steps=None), "--steps", "5", "--steps", "6"],
        "--steps is given twice: '5' and '6'",
    ),
    "twice in both ways": (
        [*train(), "--steps", "6"],
        "--steps is given twice: '2' and '6'",
    ),
    "with and without": (
        [*train(), "--warm_start", "--nowarm_start"],
        "--warm_start is given twice: 'true' and 'false'",
    ),
    "no value": ([*train(), "--seeds"], "Missing value for flag --seeds"),
    "value of no": ([*train(), "--nowarm_start=3"], "--nowarm_start=3 does not take an argument"),
    "nan": (train(learning_rate="nan"), "--learning_rate must be above 0. Received: nan"),
    "infinite": (train(levels="inf"), "--levels must be at most 2. Received: inf"),
    "beyond float32": (
        train(learning_rate="1e300"),
        "--learning_rate must be a number that float32 can hold. Received: 1e+300",
    ),
    "below float32": (
        train(learning_rate="1e-60"),
        "--learning_rate must be at least 1.2e-38, or float32 makes it 0. Received: 1e-60",
    ),
    "negative rate": (train(learning_rate=-1), "--learning_rate must be above 0. Received: -1.0"),
    "huge number": (train(keep_checkpoints=2**40), "--keep_checkpoints must be at most 2147483647"),
    "huge image": (train(image_size=10**6), "--image_size must be at most 8192. Received: 1000000"),
    "seeds": (train(seeds="a"), "--seeds must be numbers, like 0,1,2. Received: a"),
    "no seeds": (train(seeds=""), "--seeds must be different numbers ≥ 0. Received: []"),
    "equal seeds": (train(seeds="1,1"), "--seeds must be different numbers ≥ 0. Received: [1, 1]"),
    "huge seed": (train(seeds=2**32), "--seeds must be at most 4294967295. Received: [4294967296]"),
    "no weight": (
        train(loss_weights="task"),
        "--loss_weights must read like task=1,feature=0.2. Received: 'task'",
    ),
    "weight twice": (train(loss_weights="task=1,task=2"), "--loss_weights has task twice. Recei"),
    "infinite weight": (train(loss_weights="task=inf"), "--loss_weights must be numbers ≥ 0. Rece"),
    "unknown term": (train(loss_weights="tusk=1"), "--loss_weights: unknown terms tusk. Known are"),
    "many turns": (train(rotation=1000), "--rotation must be at most 180. Received: 1000.0"),
    "baseline's preset": (
        train(method="source_only", preset="x"),
        "--preset must be one of a method's, or empty. Received: 'x'",
    ),
    "baseline's weights": (
        train(method="source_only", preset="", loss_weights="x=1"),
        "--loss_weights: unknown terms x. Known are: task, feature, ",
    ),
    "unread": (
        train(pool_size=50),
        "--pool_size is read by --method=cyclegan. Received: --method=i2i_adapt",
    ),
    "baseline's copy": (
        train(method="source_only", translated_copy=True),
        "--translated_copy is read by --method=i2i_adapt, cyclegan, dtn, lstnet. Received: "
        "--method=source_only",
    ),
    "only": (
        train(only="adapt"),
        "--only must name steps of this run: source_only, adapted. Received: adapt",
    ),
    "verbosity": ([*train(), "--verbosity=loud"], "flag --verbosity=loud: invalid literal for int"),
}

PATHS = {
    "no run_dir": (train(run_dir=None), "--run_dir is missing: name a folder for the run"),
    "run_dir is a file": (train(run_dir="file"), "--run_dir must be a folder, but "),
    "run_dir in a file": (train(run_dir="file/run"), "/file is none. Received: file/run"),
    "run_dir of two lines": (
        train(run_dir="a\n--steps=3"),
        "--run_dir must be text that can be printed, in one line. Received: 'a\\n--steps=3'",
    ),
    "run_dir of no characters": (train(run_dir="a\udcff"), "--run_dir must be text that can be pr"),
    "run_dir with a space": (train(run_dir="a "), "--run_dir must not begin or end with a space."),
    "run_dir of nobody": (train(run_dir="~nobody_x/y"), "--run_dir begins with the home folder of"),
    "long run_dir": (train(run_dir=LONG), "--run_dir has a name that is too long for a folder. Re"),
    "data_dir is a file": (train(data_dir="file"), "--data_dir must be a folder, but "),
    "foreign run_dir": (train(run_dir="foreign"), "foreign exists and is no run of this program. "),
    "no encoder_file": (
        train(method="dtn", preset="", encoder_file="none.keras"),
        "--encoder_file must be a .keras file, as `model.save` writes it, and there is no such ",
    ),
    "encoder_file of code": (
        train(method="dtn", preset="", encoder_file="lambda.keras"),
        "lambda.keras is no model that Keras can read: It has Python code in it, as of a Lambda "
        "layer, and code of others is not run here.",
    ),
    "no encoder_weights": (
        train(encoder="resnet18", image_size=32, encoder_weights="imagnet"),
        "--encoder_weights must be imagenet, or a .keras or .weights.h5 file, and there is no such",
    ),
    "encoder_weights of another": (
        train(**BACKBONE, encoder_preprocessing="unit"),
        "encoder.keras holds weights of another backbone",
    ),
    "encoder_weights of any pixels": (
        train(**BACKBONE),
        "Give with encoder.keras a preprocessing: ",
    ),
}

FLAGFILES = {
    "no file": ([train_main, "--flagfile=quikstart.cfg"], "Did you mean quickstart.cfg"),
    "no name": ([train_main, "--flagfile"], "--flagfile with no argument"),
    "long name": ([train_main, f"--flagfile={LONG}"], "expected a file, or the name of a config"),
    "folder": ([train_main, "--flagfile=foreign"], "Got --flagfile=foreign; expected a file"),
    "binary": ([train_main, "--flagfile=binary.cfg"], "binary.cfg is no flagfile: it is not text"),
    "latin": ([train_main, "--flagfile=latin.cfg"], "latin.cfg is no flagfile: it is not text in "),
    "prose": ([*train(), "--flagfile=prose.cfg"], "Everything is given by flags. Received: steps"),
    "unknown": ([*train(), "--flagfile=unknown.cfg"], "no flag --stepz. Did you mean --steps?"),
    "itself": ([train_main, "--flagfile=itself.cfg"], "itself.cfg names itself, by way of itself."),
    "circle": (
        [train_main, "--flagfile=one.cfg"],
        "other.cfg names itself, by way of one.cfg, as ",
    ),
    "lost": ([train_main, "--flagfile=lost.cfg"], "lost.cfg names a --flagfile that is not there"),
}

DATA = {
    "no folder": (
        train(source="image_folder:none"),
        "--source: image_folder:none: there is no fol",
    ),
    "no path": (train(source="image_folder:"), "Got domain 'image_folder:' without a path."),
    "no domain": (train(source="mnits"), "--source: Got domain 'mnits'; expected one of "),
    "long path": (train(source=f"image_folder:{LONG}"), "--source: [Errno 36] File name too long"),
    "home of nobody": (
        train(target="image_folder:~nobody_x"),
        "--target: Could not determine home",
    ),
    "empty": (train(source="image_folder:empty"), "image_folder:empty: there are no images in"),
    "one class": (train(source="image_folder:single"), "a is the only class folder; expected at l"),
    "one image": (train(source="image_folder:lone"), "00.png is the only image in its folder;"),
    "images beside": (
        train(source="image_folder:beside"),
        "beside holds both class folders (a, b)",
    ),
    "cases": (
        train(source="image_folder:cases"),
        "Cat and cat differ in upper and lower case only",
    ),
    "class of two lines": (
        train(source="image_folder:lines"),
        "image_folder:lines: got the class name 'a\\nb'; expected text of one line",
    ),
    "no labels": (
        train(source="image_folder:flat", target="image_folder:flat"),
        "--method=i2i_adapt needs a --source with labels.",
    ),
    "other classes": (
        train(target="image_folder:others"),
        "image_folder:source and image_folder:others need the same classes in the same order, but ",
    ),
    "other classes for the baseline": (
        train(method="source_only", target="image_folder:others"),
        "image_folder:source and image_folder:others need the same classes in the same order, but ",
    ),
    "other classes for the ceiling": (
        train(method="target_only", target="image_folder:others"),
        "image_folder:source and image_folder:others need the same classes in the same order, but ",
    ),
    "class without images": (
        train(source="image_folder:without_b", batch_size=2),
        "image_folder:without_b, train split: no image of b, which nothing can be learned of.",
    ),
    "nothing to halve": (
        train(select="proxy_a_distance", source_validation_size=1),
        "--select=proxy_a_distance needs at least 2 source images, a half of them to be tested on. "
        "--source_validation_size keeps 1: give more, or 0 for training images.",
    ),
    "few images": (
        train(batch_size=64),
        "image_folder:source, train split: 5 images, fewer than --batch_size=64. Give a smaller",
        2,
    ),
    "torn": (
        train(source="image_folder:torn", max_unreadable=2),
        "images cannot be read, and --max_unreadable=2 allows no more:",
        5,
    ),
    "masks and classes": (
        train(source="segmentation_folder:streets"),
        "need labels of one kind, but only one of them has masks.",
    ),
    "strange masks": (
        train(
            source="segmentation_folder:strange_masks",
            target="segmentation_folder:streets",
            loss_weights="feature=0,task=1",
            max_unreadable=0,
        ),
        "index 7 in 256 pixels; expected 0 to 1, as classes.txt has 2 classes",
        3,
    ),
    "lost mask": (
        train(
            source="segmentation_folder:lost_mask",
            target="segmentation_folder:streets",
            loss_weights="feature=0,task=1",
        ),
        "images without a mask: 00.png. A mask has the name of its image",
    ),
    "no legend": (
        train(source="segmentation_folder:no_legend"),
        "there is no file no_legend/classes.txt",
    ),
    "double legend": (
        train(source="segmentation_folder:double_legend"),
        "classes.txt has 2 names, 1 of them different; expected 2 to 255, all different.",
    ),
}

PICTURES = ["--run=run", "--out=read"]
RUNS = {
    "no run": (evaluate(), "--run is missing: give the --run_dir of a training."),
    "no such run": (evaluate("--run=foreign"), "foreign holds no run: "),
    "run twice": (evaluate("--run=run", "--run=run"), "--run must name each run once. Received: r"),
    "seed alone": (evaluate("--run=run", "--seed=1"), "--seed goes with --images. Received: --see"),
    "out alone": (evaluate("--run=run", "--out=x"), "--out goes with --images, or with several ru"),
    "images of two": (
        evaluate("--run=run", "--run=run_half", "--images=x"),
        "--images goes with one --run. Received: run, run_half",
    ),
    "seed": (
        evaluate(*PICTURES, "--images=flat", "--seed=7"),
        "--seed must be one of the run's: 0",
    ),
    "no seed": (evaluate("--run=run", "--images=flat", "--seed=x"), "--seed must be an integer."),
    "out is a file": (
        evaluate("--run=run", "--images=flat", "--out=file"),
        "--out must be a folder, with --images. Received: file, a file",
    ),
    "out of nobody": (
        evaluate("--run=run", "--images=flat", "--out=~nobody_x/read"),
        "--out begins with the home folder of nobody. Received: '~nobody_x/read'",
    ),
    "page is a folder": (
        evaluate("--run=run", "--run=run_half", "--out=flat"),
        "--out must be a file, like comparison.html. Received: flat, a folder",
    ),
    "not finished": (
        evaluate("--run=run", "--run=run_half"),
        "metrics.json is missing: the run is",
    ),
    "no pictures": (evaluate(*PICTURES, "--images=none*.png"), "No image files match 'none*.png'."),
    "empty folder": (evaluate(*PICTURES, "--images=empty"), "No image files match 'empty'."),
    "text": (
        evaluate(*PICTURES, "--images=pictures/text.png"),
        "text.png: not an image. Remove or",
    ),
    "half": (evaluate(*PICTURES, "--images=pictures/half.png"), "pictures/half.png: "),
    "bomb": (
        evaluate(*PICTURES, "--images=pictures/bomb.png"),
        "bomb.png: more than 67,108,864 pixels, perhaps a file made to fill the memory",
    ),
    "three of four": (
        evaluate(*PICTURES, "--images=pictures"),
        "Cannot read 3 of the 4 files of 'pictures': pictures/bomb.png: ",
    ),
    "no history": (
        evaluate("--run=run_history"),
        "seed_0_adapted.json is damaged (it has no epoch",
    ),
    "no model": (
        evaluate("--run=run_unfinished", "--images=flat", "--out=read"),
        "model.keras is missing: step adapted of the run is not finished. Continue it with ",
    ),
    "other flags": (
        train(run_dir="run", **{"learning_rate": 1}),
        "run holds a run with other fl",
        5,
    ),
    "metrics": (evaluate("--run=run_metrics", "--run=run"), "metrics.json is damaged (Untermi"),
    "unknown flag of a run": (
        evaluate("--run=run_flags"),
        "run_flags/flags.cfg: unknown flag --stepz; was it written by another version?",
    ),
    "bytes for flags": (
        evaluate("--run=run_binary"),
        "run_binary/flags.cfg is damaged (invalid st",
    ),
    "value in a run": (
        evaluate("--run=run_value"),
        "run_value/flags.cfg: --steps is a int. Receiv",
    ),
}

SAID = {
    "half": "It is no .keras file, or cut short.",
    "text": "It is no .keras file, or cut short.",
    "lambda": "It has Python code in it, as of a Lambda layer, and code of others is not run here.",
    "of_module": "Could not locate class 'system'.",
    "no_config": "It is a zip archive, but not of a model.",
    "no_json": "Expecting property name enclosed in double quotes",
    "no_weights": "Unable to synchronously open file",
    "unknown_class": "Could not ",
    "bomb": "It unpacks to 1,000,002 bytes, perhaps to fill the memory.",
}
MODELS = {
    name: (evaluate(f"--run=run_{name}", "--images=flat", "--out=read"), f"model.keras {said}")
    for name, said in (
        (name, f"is no model that Keras can read: {said}") for name, said in SAID.items()
    )
}

EXPORTS = {
    "no run": (export("--to=new"), "--run is missing: give the --run_dir of a training."),
    "no place": (export("--run=run"), "--to is missing: give a folder for the model's versions."),
    "no such run": (export("--run=foreign", "--to=new"), "foreign holds no run: "),
    "format": (
        export("--run=run", "--to=new", "--format=pt"),
        "--format must be one of saved_model, onnx, tflite. Received: 'pt'",
    ),
    "version 0": (export("--run=run", "--to=new", "--version=0"), "--version must be from 1 to "),
    "version": (
        export("--run=run", "--to=new", "--version=x"),
        "--version must be an integer. Rec",
    ),
    "to a file": (export("--run=run", "--to=file"), "--to must be a folder of this machine"),
    "elsewhere": (export("--run=run", "--to=s3://there"), "--to must be a folder of this machine"),
    "to a version": (
        export("--run=run", "--to=served/1"),
        "served/1 is a version itself. Give the",
    ),
    "taken": (
        export("--run=run", "--to=served", "--version=1"),
        "served/1 exists. Give another --v",
    ),
    "mixed": (
        export("--run=run", "--to=served", "--format=onnx"),
        "served/1 is not of --format=onnx, and versions of one model must be.",
    ),
    "unfinished": (
        export("--run=run_unfinished", "--to=new"),
        "model.keras is missing: step adapt",
    ),
    "code": (export("--run=run_lambda", "--to=new"), "code of others is not run here."),
    "seed": (
        export("--run=run", "--to=new", "--seed=9"),
        "--seed must be one of the run's: 0. Rec",
    ),
}

TABLE = {
    f"{kind}: {name}": row
    for kind, rows in {
        "flags": FLAGS, "paths": PATHS, "flagfiles": FLAGFILES, "data": DATA, "runs": RUNS,
        "models": MODELS, "exports": EXPORTS,
    }.items()
    for name, row in rows.items()
}  # fmt: skip


def refused(here, monkeypatch, command, *arguments):
    """The lines that a command says, of which nothing else remains."""
    monkeypatch.chdir(here)
    before = content_of(here)
    code, _, err = run_in_process(command, *arguments)
    assert code == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert content_of(here) == before
    return err.removeprefix("error: ").splitlines()


@pytest.mark.parametrize("name", TABLE)
def test_bad_input_gets_its_message_and_changes_nothing(name, here, monkeypatch):
    line, message, *count = TABLE[name]
    lines = refused(here, monkeypatch, *line)
    assert any(message in line for line in lines), lines
    assert len(lines) == (count[0] if count else 1), lines


def test_the_table_has_more_than_sixty_rows_and_none_twice():
    lines = {(command.__name__, *arguments) for (command, *arguments), *_ in TABLE.values()}
    assert len(lines) == len(TABLE) > 60


def test_all_mistakes_of_a_command_line_are_told_at_once(here, monkeypatch):
    arguments = train(
        steps="many", ceiling="maybe", seeds="a", loss_weights="x", batch_size=0, rotation="inf",
        source="mnits", run_dir="file", encoder_weights="none.keras", profile="9",
    )  # fmt: skip
    lines = refused(here, monkeypatch, *arguments, "--lerning_rate=1", "word")
    beginnings = [line.split()[0].rstrip(":,") for line in lines]
    assert sorted(beginnings) == sorted(
        [
            "--steps", "--ceiling", "--seeds", "--loss_weights", "--batch_size", "--rotation",
            "--source", "--run_dir", "--encoder_weights", "--encoder_weights", "--profile",
            "This", "Everything",
        ]
    )  # fmt: skip


# Domains that somebody has written.

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), "uint8")
LABELS = np.arange(8) % 2


def domain(images=PIXELS, labels=LABELS, read=None, **settings):
    settings = {"class_names": ("a", "b"), "image_shape": (16, 16, 3)} | settings
    read = read or (lambda split, data_dir: data.Examples(images, labels))
    return lambda: Domain(name="mine", read=read, validation_size=2, **settings)


MASKS = np.zeros((8, 16, 16), "uint8")
OWN = {
    "floats": (domain(PIXELS / 255), "type float64; expected uint8", "by np.round(255 * images)"),
    "one image": (domain(PIXELS[0]), "Got images of shape (16, 16, 3) and type uint8; expected"),
    "list": (domain(PIXELS.tolist()), "Got images as list; expected a NumPy array. Use np.asarray"),
    "four channels": (
        domain(np.zeros((8, 16, 16, 4), "uint8"), image_shape=None),
        "Got images of 4 channels; expected 1 (gray) or 3 (RGB).",
    ),
    "other shape": (domain(PIXELS[:, :8]), "Got images of shape (8, 16, 3); expected (16, 16, 3)"),
    "none": (domain(PIXELS[:0], LABELS[:0]), "Got no images; expected at least one."),
    "no pixels": (
        domain(PIXELS[:, :0], image_shape=None),
        "Got images of shape (8, 0, 16, 3); expected some pixels.",
    ),
    "all the same": (domain(np.zeros_like(PIXELS)), "Got 8 images that are all the same;"),
    "few labels": (domain(labels=LABELS[:7]), "expected one label per image"),
    "negative": (domain(labels=LABELS - 1), "Got labels from -1 to 0; expected 0 to 1"),
    "from one": (domain(labels=LABELS + 1), "Got labels from 1 to 2; expected 0 to 1"),
    "label floats": (domain(labels=LABELS + 0.5), "Got labels of type float64; expected whole nu"),
    "nan": (domain(labels=LABELS * np.nan), "Got labels of type float64; expected whole numbers"),
    "text": (domain(labels=np.array(list("abababab"))), "Got labels of type <U1; expected whole n"),
    "no labels": (domain(labels=None), "Got no labels, but the domain has 2 class names."),
    "no names": (domain(class_names=()), "Got labels, but the domain has no class names."),
    "masks": (domain(labels=MASKS), "Got masks, but the domain's has_masks is False"),
    "no masks": (domain(has_masks=True), "Got one label per image, but the domain's has_masks is"),
    "class of no mask": (
        domain(labels=MASKS + np.uint8(2), has_masks=True),
        "Got masks with the values 2; expected 0 to 1, positions in class_names, or 255",
    ),
    "nothing": (domain(read=lambda *_: None), "Got NoneType from its `read`; expected Examples"),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_domain_of_ones_own_is_named_with_its_split(name, split):
    make, *messages = OWN[name]
    with pytest.raises(data.domain.InputError) as error:
        make().load(split)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"mine, {split} split: ")
    assert all(message in line for message in messages), line


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a"), "mine: got the class name 'a' twice. Rename one."),
        (("a", ""), "mine: got the class name ''; expected text of one line"),
        (("a", 3), "mine: got the class name 3; expected text"),
        (("a", "\udcff"), r"mine: got the class name '\udcff'; expected text"),
    ],
)
def test_class_names_are_different_lines_of_text(names, message):
    with pytest.raises(data.domain.InputError) as error:
        domain(class_names=names)()
    assert str(error.value).startswith(message)


def test_a_training_on_a_bad_domain_writes_nothing(here, monkeypatch):
    monkeypatch.setitem(data.DOMAINS, "mine", domain(labels=LABELS + 1)())
    monkeypatch.setitem(data.DOMAINS, "good", domain()())
    (line,) = refused(here, monkeypatch, *train(source="good", target="mine"))
    assert line.startswith("mine, train split: Got labels from 1 to 2; ")


def test_labels_of_any_whole_numbers_become_int64():
    for kind in ("uint8", "int32", "uint64"):
        labels = domain(labels=LABELS.astype(kind))().load("test").labels
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, LABELS)


def test_stored_images_are_looked_at_when_they_are_read():
    def stored(image, mask=None):
        reader = data.examples.Reader(
            image=lambda position: image,
            channels=3,
            unreadable=data.examples.Unreadable(10, "mine"),
            labels=None if mask is not None else LABELS,
            image_and_mask=None if mask is None else (lambda position: (image, mask)),
        )
        return data.StoredExamples(reader, np.arange(8))

    good = PIXELS[0]
    assert stored(good).read(0)[0] is good
    for image in (good / 255, good[..., :1], good[:0], good.tolist(), None):
        with pytest.raises(
            data.domain.InputError, match=r"mine: got an image of shape .*at positio"
        ):
            stored(image).read(0)
    with pytest.raises(data.domain.InputError, match=r"mine: got a mask of shape \(8, 16\)"):
        stored(good, MASKS[0, :8]).read(0)
