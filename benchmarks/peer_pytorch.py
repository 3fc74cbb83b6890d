"""The training step of this package beside the same step in plain PyTorch, on CPUs.

    pip install -e '.[peers]'
    python benchmarks/peer_pytorch.py [--methods i2i_adapt cyclegan] [--widths 1 0.25] [--json=FILE]
    python benchmarks/peer_pytorch.py --check

I2I-Adapt on digits (32x32 gray, LeNet encoder, batch 64, Wasserstein image discriminators with
gradient penalty, least-squares feature discriminator; mnist_usps.cfg) and CycleGAN (32x32 color,
U-Nets, PatchGANs of 23x23, batch 32; cyclegan_mnist_mnist_m.cfg), at the paper's widths and with
decoders, generators and discriminators of other widths. `pytorch_steps.py` has them in PyTorch.

Either side has a process of its own, which imports one of the two libraries and runs blocks of
steps when it is told to. Ours is `fit`'s compiled step, without `fit`'s callbacks. Of PyTorch's
settings (memory format, which of two layers normalizes, `torch.compile` of all but the gradient
penalty, which does not pass compiled code) each case takes what is fastest in a short trial. Then
blocks alternate, so that whatever else the machine does meets both; each pair of neighbours gives a
ratio.

Measure on an idle machine: work beside it need not cost both sides alike.

--check copies our first weights to PyTorch and compares each loss on one batch, before and after an
update of both players by plain gradient descent, which tells whether gradients agree too.
"""

import argparse
import itertools
import math
import multiprocessing
import os
import sys
import time

import numpy as np
from measuring import (
    build_model,
    cores,
    in_own_process,
    made_up_batch,
    markdown,
    read_config,
    said,
    spread,
    write_json,
)

CONFIGS = {"i2i_adapt": "mnist_usps.cfg", "cyclegan": "cyclegan_mnist_mnist_m.cfg"}
WIDTHS = {
    "i2i_adapt": ("decoder_width", "discriminator_width"),
    "cyclegan": ("generator_width", "discriminator_width"),
}
# Instance normalization has no fast way through channels last, groups of one channel have.
SETTINGS = [
    {"layout": layout, "norm": norm, "compiled": compiled}
    for layout, norm in (("first", "instance"), ("first", "group"), ("last", "group"))
    for compiled in (False, True)
]
TOLERANCE = 1e-4
# A slope jumps where a leaky ReLU bends, so rounding moves penalties and updates more than losses:
PENALTY_TOLERANCE = 2e-3
UPDATE_TOLERANCE = 0.01  # of what an update changes
PENALIZED = ("d_source", "d_target")  # where there is a gradient penalty
CHECK_BATCH = 8
CHECK_RATE = 1e-3
REST = 0.3  # seconds after which the threads of the other side have stopped looking for work


def main(arguments=None):
    """Reads the arguments, measures or compares, and says what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--widths", nargs="+", type=float, default=[1.0, 0.25])
    parser.add_argument(
        "--precisions", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"]
    )
    parser.add_argument("--batch_size", type=int, default=0, help="0: the config's")
    parser.add_argument("--blocks", type=int, default=15, help="blocks of each side")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long a block takes")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--check", action="store_true", help="compare losses; measure nothing")
    options = parser.parse_args(arguments)
    # Where there is a GPU, TensorFlow would take it.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    cases = list(itertools.product(options.methods, options.widths))
    if options.check:
        results = [check(*case) for case in cases]
        print(check_table(results))
        write_json(options.json, "peer_pytorch_check", results)
        if not all(result["agree"] for result in results):
            sys.exit("They differ by more than allowed.")
        return
    results = [
        compare(method, width, precision, options.batch_size, options.blocks, options.seconds)
        for method, width in cases
        for precision in options.precisions
    ]
    print(table(results))
    write_json(options.json, "peer_pytorch", results)


def experiment_of(method, width, precision="float32", batch_size=0):
    """The experiment of a case."""
    changes = dict.fromkeys(WIDTHS[method], width)
    if precision != "float32":
        changes["mixed_precision"] = precision
    if batch_size:
        changes["batch_size"] = batch_size
    return read_config(CONFIGS[method], **changes)


def described(*case):
    """What a case's experiment comes to, for a process that cannot read it."""
    experiment = experiment_of(*case)
    return {
        "batch_size": experiment.batch_size,
        "channels": experiment.channels,
        "weights": {term: weight for term, weight in experiment.weights.items() if weight},
        "learning_rate": experiment.learning_rate,
        "beta_1": experiment.beta_1,
    }


def compare(method, width, precision, batch_size=0, blocks=15, seconds=3.0, settings=SETTINGS):
    """Seconds of a step on either side, block by block, and PyTorch's best setting."""
    case = (method, width, precision, batch_size)
    facts = in_own_process(described, *case)
    trials = []
    for setting in settings:
        with Side(theirs, method, width, precision, facts, setting) as side:
            steps = side.steps_in(seconds / 2)
            # The least: a trial is short, and what else the machine does only adds.
            trials.append({**setting, "seconds": min(side.run(steps) for _ in range(3))})
        said(f"{method} {width:g} {precision}, PyTorch: {trials[-1]}")
    best = min(range(len(settings)), key=lambda number: trials[number]["seconds"])
    setting = settings[best]
    times = {"ours": [], "theirs": []}
    with Side(ours, *case) as us, Side(theirs, method, width, precision, facts, setting) as them:
        sides = (us, them)
        steps = [side.steps_in(seconds) for side in sides]
        for _ in range(blocks):
            for side, count, seconds_of in zip(sides, steps, times.values(), strict=True):
                seconds_of.append(side.run(count))
        first = [side.first for side in sides]
    result = {
        "method": method,
        "width": width,
        "precision": precision,
        "batch_size": facts["batch_size"],
        "setting": setting,
        "trials": trials,
        "steps_in_a_block": dict(zip(times, steps, strict=True)),
        "first_step_seconds": dict(zip(times, first, strict=True)),
        "step_seconds": times,
        "ratio": [float(ratio) for ratio in np.divide(times["theirs"], times["ours"])],
    }
    said(f"{method} {width:g} {precision}: PyTorch's time / ours {spread(result['ratio'], 2)}")
    return result


class Side:
    """A process of one side's, which runs blocks of steps when it is told to.

    Args:
        build: a function of this file that gives another, which runs so many steps.
        *arguments: its arguments.
    """

    def __init__(self, build, *arguments):
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=serve, args=(far_end, build, arguments), daemon=True)
        self._process.start()
        far_end.close()
        self.first = self._receive()

    def run(self, steps):
        """Seconds of one step, of so many together."""
        time.sleep(REST)
        self._pipe.send(steps)
        return self._receive() / steps

    def steps_in(self, seconds):
        """How many steps take about so long. Those that it takes to find out warm up."""
        self.run(2)
        return max(1, math.ceil(seconds / self.run(2)))

    def _receive(self):
        try:
            return self._pipe.recv()
        except EOFError:
            sys.exit("A side's process has ended; why is said above.")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join()


def serve(pipe, build, arguments):
    """In a side's process: a first step, then blocks of as many as the pipe says."""
    run = build(*arguments)
    steps = 1
    while True:
        before = time.perf_counter()
        run(steps)
        pipe.send(time.perf_counter() - before)
        try:
            steps = pipe.recv()
        except EOFError:
            return


def ours(*case):
    """The steps of this package."""
    import tensorflow as tf

    experiment = experiment_of(*case)
    model = build_model(experiment)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(made_up_batch(experiment)).repeat())

    def run(steps):
        for _ in range(steps):
            logs = model.train_function(batches)
        float(logs["loss"])

    return run


def theirs(method, width, precision, facts, setting):
    """PyTorch's steps."""
    import torch
    from pytorch_steps import MODELS, Step, adam

    torch.set_num_threads(cores())
    torch.set_flush_denormal(True)  # as TensorFlow does
    torch.manual_seed(0)
    layout = torch.channels_last if setting["layout"] == "last" else torch.contiguous_format
    model = MODELS[method](width, facts["weights"], setting["norm"])
    model = model.to(memory_format=layout)
    optimizer = adam(facts["learning_rate"], facts["beta_1"])
    step = Step(model, optimizer, precision == "bfloat16", setting["compiled"])
    shape = (facts["batch_size"], facts["channels"], 32, 32)
    x, y = ((2 * torch.rand(shape) - 1).to(memory_format=layout) for _ in range(2))
    labels = torch.randint(0, 10, shape[:1])

    def run(steps):
        for _ in range(steps):
            losses = step(x, y, labels)
        float(losses[0])

    return run


def check(method, width):
    """Both sides' losses from the same weights on the same batch, each in its own process."""
    facts = in_own_process(described, method, width)
    found = in_own_process(our_losses, method, width)
    others = in_own_process(
        their_losses, method, width, facts, found["weights"], found["batch"], found["mix"]
    )
    losses, agree = [], found["parameters"] == others["parameters"]
    first = found["losses"]["before"]
    for moment, terms in found["losses"].items():
        for name, one in terms.items():
            other = others["losses"][moment][name]
            penalized = len(found["mix"]) and name in PENALIZED
            allowed = (PENALTY_TOLERANCE if penalized else TOLERANCE) * max(1, abs(one))
            allowed += UPDATE_TOLERANCE * abs(one - first[name])
            agree &= abs(one - other) <= allowed
            losses.append((moment, name, one, other, allowed))
    return {
        "method": method,
        "width": width,
        "parameters": (found["parameters"], others["parameters"]),
        "losses": losses,
        "agree": agree,
    }


def networks_of(model):
    """The names in `pytorch_steps` of this package's networks → the networks."""
    names = {"i2i_adapt": "source_encoder decoder_trunk source_branch target_branch head"}
    names["cyclegan"] = "to_target to_source"
    method = "i2i_adapt" if hasattr(model, "decoder_trunk") else "cyclegan"
    generators = {name: getattr(model, name) for name in names[method].split()}
    return {**generators, **model.discriminators}


def our_losses(method, width):
    """Losses of this package, and with what weights, batch and random numbers they came about."""
    from unittest import mock

    import keras

    keras.utils.set_random_seed(0)
    experiment = experiment_of(method, width, batch_size=CHECK_BATCH)
    model = build_model(experiment)
    model.compile(keras.optimizers.SGD(CHECK_RATE), keras.optimizers.SGD(CHECK_RATE))
    images, labels = made_up_batch(experiment)
    batch = {**images, "source_labels": labels}
    networks, draw, drawn = networks_of(model), keras.random.uniform, []
    weights = {
        name: [variable.numpy() for variable in network.trainable_variables]
        for name, network in networks.items()
    }

    def recorded(*arguments, **options):
        drawn.append(draw(*arguments, **options))
        return drawn[-1]

    def losses():
        outputs = model.forward(batch)
        terms = model.discriminator_losses(batch, outputs)
        terms = {f"d_{name}": term for name, term in terms.items()}
        terms |= model.generator_losses(batch, outputs)
        return {name: float(keras.ops.mean(term)) for name, term in terms.items()}

    with mock.patch.object(keras.random, "uniform", recorded):
        found = {"before": losses()}
        model.train_step((images, labels))
        found["after an update"] = losses()
    return {
        "losses": found,
        "weights": weights,
        "parameters": sum(array.size for arrays in weights.values() for array in arrays),
        "batch": batch,
        # Those of a gradient penalty: for the source's discriminator, then for the target's.
        "mix": np.reshape([number.numpy() for number in drawn], (-1, 2, CHECK_BATCH)),
    }


def their_losses(method, width, facts, weights, batch, mix):
    """PyTorch's losses with those."""
    import torch
    from pytorch_steps import MODELS, Step, copy_weights

    model = MODELS[method](width, facts["weights"])
    # Only the U-Nets and PatchGANs have what pads differently.
    mirrored = method == "cyclegan"
    for name, arrays in weights.items():
        copy_weights(getattr(model, name), arrays, mirrored)
    x, y = (torch.from_numpy(batch[name]).permute(0, 3, 1, 2) for name in ("source", "target"))
    if mirrored:
        x, y = x.flip(2, 3), y.flip(2, 3)
    labels = torch.from_numpy(batch["source_labels"])
    mix = torch.from_numpy(mix) if len(mix) else [None] * 3
    step = Step(model, lambda parameters: torch.optim.SGD(parameters, CHECK_RATE))
    losses = {"before": step.terms(x, y, labels, mix[0])}
    step(x, y, labels, mix[1])
    losses["after an update"] = step.terms(x, y, labels, mix[2])
    return {"losses": losses, "parameters": sum(p.numel() for p in model.parameters())}


def table(results):
    """Times as Markdown."""
    header = [
        "step", "width", "precision", "ours, ms", "PyTorch, ms", "PyTorch's setting",
        "PyTorch's time / ours",
    ]  # fmt: skip
    rows = []
    for result in results:
        milliseconds = {
            side: spread([1e3 * second for second in seconds], 0)
            for side, seconds in result["step_seconds"].items()
        }
        setting = result["setting"]
        words = [f"channels {setting['layout']}", f"{setting['norm']} norm"]
        words += ["compiled"] if setting["compiled"] else []
        rows.append(
            [
                f"{result['method']}, batch {result['batch_size']}",
                f"{result['width']:g}",
                result["precision"],
                milliseconds["ours"],
                milliseconds["theirs"],
                ", ".join(words),
                spread(result["ratio"], 2),
            ]
        )
    return markdown(header, rows)


def check_table(results):
    """Losses as Markdown."""
    rows = []
    for result in results:
        case = f"{result['method']} {result['width']:g}"
        ours, theirs = result["parameters"]
        rows.append(
            [case, "", "parameters", f"{ours:,}", f"{theirs:,}", f"{abs(ours - theirs)}", "0"]
        )
        for moment, name, ours, theirs, allowed in result["losses"]:
            numbers = (f"{number:.6f}" for number in (ours, theirs))
            errors = (f"{number:.0e}" for number in (abs(ours - theirs), allowed))
            rows.append([case, moment, name, *numbers, *errors])
    header = ["step", "when", "loss", "ours", "PyTorch's", "difference", "allowed"]
    return markdown(header, rows)


if __name__ == "__main__":
    main()
