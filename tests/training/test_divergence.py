"""Training that diverges: it stops by name and step, saves nothing of it, and goes on slower."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_i2i.errors import InputError, TrainingDiverged
from keras_i2i.training import divergence, flags
from keras_i2i.training.divergence import StopsDivergence
from keras_i2i.training.experiment import Experiment
from keras_i2i.training.run_directory import RunDirectory
from keras_i2i.training.train import train

from .conftest import TINY, small_data
from .runs import continue_quietly, history_of, learning_eagerly, nothing_drawn


@pytest.fixture(scope="module", autouse=True)
def few_images_eagerly():
    with small_data(), learning_eagerly():
        yield


@pytest.fixture
def model(make_experiment):
    fields = {"preset": "fcns_in_the_wild", "encoder_width": 0.05}
    return make_experiment(**fields).build_model(0)


@pytest.fixture
def stops(model):
    callback = StopsDivergence("adapted, seed 3", 10, lambda: "runs/a/checkpoints/ckpt-4")
    callback.set_model(model)
    callback.on_epoch_begin(4)
    return callback


class TestLosses:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_one_that_is_not_finite_stops_with_its_name_and_step(self, stops, value):
        good = {"loss": 1.0, "task": 0.5, "d_feature": 0.1}
        stops.on_train_batch_end(0, good)
        with pytest.raises(TrainingDiverged) as error:
            stops.on_train_batch_end(2, {**good, "loss": value, "d_feature": value})
        assert str(error.value) == (
            "adapted, seed 3: d_feature is not finite after step 43. Training has diverged and "
            "stops. runs/a/checkpoints/ckpt-4 is from before: the same command with "
            "--learning_rate_factor=0.3 continues from it at lower learning rates. In a run of its "
            "own also try --clip_norm=1, or a smaller weight for a term that grew; see "
            "docs/troubleshooting.md#losses-that-are-not-finite."
        )

    def test_several_are_all_named_and_the_total_only_if_it_is_alone(self, stops):
        with pytest.raises(TrainingDiverged, match="task, d_feature are not finite"):
            stops.on_train_batch_end(0, {"task": np.nan, "d_feature": np.inf, "loss": np.nan})
        with pytest.raises(TrainingDiverged, match="3: loss is not finite after step 41"):
            stops.on_train_batch_end(0, {"loss": np.inf, "task": 1e30})

    def test_without_a_checkpoint_it_says_so(self, stops):
        stops.last_checkpoint = lambda: None
        with pytest.raises(TrainingDiverged, match="There is no checkpoint yet: the same command"):
            stops.on_train_batch_end(0, {"loss": np.nan})


class TestWeights:
    def test_finite_ones_pass(self, stops, model):
        assert divergence.not_finite(model) == []
        stops.check_weights(50)

    @pytest.mark.parametrize("part", ["weight", "discriminator", "moving average", "moment"])
    def test_whatever_a_checkpoint_would_hold_is_looked_at(self, stops, model, part):
        variable = {
            "weight": model.trainable_variables[0],
            "discriminator": model.discriminator_variables[-1],
            "moving average": next(v for v in model.variables if "moving_variance" in v.path),
            "moment": model.discriminator_optimizer.variables[-1],
        }[part]
        value = variable.numpy().copy()
        value.flat[-1] = np.nan
        variable.assign(value)
        assert divergence.not_finite(model) == [variable.path]
        with pytest.raises(TrainingDiverged) as error:
            stops.check_weights(50)
        assert f"variable {variable.path} is not finite, though the losses are, after step 50" in (
            str(error.value)
        )

    def test_a_gradient_that_overflows_float16_stops_nothing(self, make_experiment):
        """The optimizer leaves the step out; losses and weights stay finite."""
        experiment = make_experiment(
            preset="fcns_in_the_wild", encoder_width=0.05, mixed_precision="float16"
        )
        model = experiment.build_model(0)
        model.run_eagerly = True
        model.optimizer.dynamic_scale.assign(1e38)
        images = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)).astype("float32")
        batches = tf.data.Dataset.from_tensors(
            ({"source": images, "target": -images}, np.arange(4))
        )
        before = [v.numpy() for v in model.trainable_variables]
        callback = StopsDivergence("adapted, seed 0", 1, lambda: None)
        model.fit(batches, verbose=0, callbacks=[callback])
        assert float(model.optimizer.dynamic_scale) < 1e38
        after = [v.numpy() for v in model.trainable_variables]
        assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


class TestRates:
    @pytest.mark.parametrize("mixed_precision", ["", "float16"])
    def test_constant_ones_are_those_of_the_experiment_whatever_was_restored(
        self, make_experiment, mixed_precision
    ):
        model = make_experiment(
            preset="fcns_in_the_wild",
            encoder_width=0.05,
            learning_rate=0.5,
            discriminator_learning_rate=0.25,
            learning_rate_factor=0.5,
            mixed_precision=mixed_precision,
        ).build_model(0)
        rates = divergence.constant_rates(model)
        assert rates == [0.25, 0.125]
        model.optimizer.learning_rate = 9.0
        model.discriminator_optimizer.learning_rate = 9.0
        divergence.set_constant_rates(model, rates)
        assert float(model.optimizer.learning_rate) == 0.25
        assert float(model.discriminator_optimizer.learning_rate) == 0.125

    def test_a_schedule_has_the_factor_and_is_left_alone(self, make_experiment):
        model = make_experiment(
            preset="fcns_in_the_wild",
            encoder_width=0.05,
            schedule="linear",
            learning_rate=0.5,
            learning_rate_factor=0.5,
        ).build_model(0)
        assert divergence.constant_rates(model) == [None, None]
        divergence.set_constant_rates(model, [None, None])
        assert float(model.optimizer.learning_rate) == 0.25

    def test_classifiers_have_it_too(self, make_experiment):
        fields = {"classifier_learning_rate": 0.5, "learning_rate_factor": 0.25}
        model = make_experiment(encoder_width=0.05, **fields).build_classifier("source")
        assert float(model.optimizer.learning_rate) == 0.125

    def test_it_must_be_above_0(self, make_experiment):
        with pytest.raises(InputError, match="--learning_rate_factor must be above 0"):
            make_experiment(learning_rate_factor=0.0)


class Explodes(keras.callbacks.Callback):
    """Puts an infinity into a weight at a step, as an update that overshot would."""

    def __init__(self, step):
        super().__init__()
        self.step, self.taken = step, 0

    def on_train_batch_end(self, batch, logs=None):
        self.taken += 1
        if self.taken == self.step:
            bias = self.model.head.trainable_variables[-1]
            bias.assign(np.full(bias.shape, np.inf, "float32"))


# One classifier, three epochs of two steps, at a constant rate.
FIELDS = {**TINY, "method": "source_only", "encoder_width": 0.05, "classifier_steps": 6}


class TestARun:
    @pytest.fixture
    def experiment(self, tmp_path):
        return Experiment(**{**FIELDS, "run_dir": str(tmp_path / "run")})

    def stopped(self, experiment, step, monkeypatch):
        """The message with which the run ends."""
        with monkeypatch.context() as patch, nothing_drawn():
            whole = divergence.StopsDivergence.__init__

            def with_explosion(callback, *args):
                whole(callback, *args)
                explodes = Explodes(step)
                end = callback.on_train_batch_end

                def on_train_batch_end(batch, logs=None):
                    end(batch, logs)
                    explodes.set_model(callback.model)
                    explodes.on_train_batch_end(batch, logs)

                callback.on_train_batch_end = on_train_batch_end

            patch.setattr(divergence.StopsDivergence, "__init__", with_explosion)
            with pytest.raises(TrainingDiverged) as error:
                train(experiment, lambda line: None)
        return str(error.value)

    def test_keeps_its_last_good_checkpoint_and_goes_on_from_it_with_lower_rates(
        self, experiment, monkeypatch
    ):
        # After the third step a weight is infinite, in the fourth the loss.
        message = self.stopped(experiment, 3, monkeypatch)
        run = RunDirectory(experiment.run_dir, experiment)
        (latest,) = run.checkpoints("source_only", 0).iterdir()
        assert latest.name == "step_0000002.npz"
        assert message.startswith("source_only, seed 0: task is not finite after step 4.")
        assert f"{latest} is from before" in message
        assert not run.model("source_only", 0).exists()
        with np.load(latest) as arrays:
            for name, value in arrays.items():
                assert value.dtype.kind != "f" or np.isfinite(value).all(), name

        slower = Experiment(
            **{**FIELDS, "run_dir": experiment.run_dir, "learning_rate_factor": 0.25}
        )
        lines = continue_quietly(slower)
        assert "source_only, seed 0: continuing from step 2." in lines
        assert "--learning_rate_factor=0.25 from here on, 1.0 until now." in lines
        entries = history_of(run, "source_only")
        assert [entry["step"] for entry in entries] == [2, 4, 6]
        rates = [entry["learning_rate"] for entry in entries]
        # From there on: what follows the first epoch's last step is done again.
        assert rates == pytest.approx(3 * [0.25e-3])
        assert all(np.isfinite(entry["loss"]) for entry in entries)
        # The run says from now on what it is continued with.
        assert flags.from_flagfile(run.flagfile) == slower

    def test_does_not_save_what_the_last_update_of_an_epoch_broke(self, experiment, monkeypatch):
        message = self.stopped(experiment, 4, monkeypatch)
        run = RunDirectory(experiment.run_dir, experiment)
        assert "is not finite, though the losses are, after step 4." in message
        assert [path.name for path in run.checkpoints("source_only", 0).iterdir()] == [
            "step_0000002.npz"
        ]
        assert [e["step"] for e in json.loads(run.history("source_only", 0).read_text())] == [2]

    def test_no_other_flag_may_differ(self, experiment):
        RunDirectory.create(experiment)
        other = Experiment(
            **{**FIELDS, "run_dir": experiment.run_dir, "learning_rate_factor": 0.5,
               "classifier_learning_rate": 0.5}
        )  # fmt: skip
        with pytest.raises(InputError) as error:
            RunDirectory.create(other)
        assert "--classifier_learning_rate=0.001 there, 0.5 given" in str(error.value)
        assert "learning_rate_factor" not in str(error.value)


def test_a_learning_rate_that_is_too_high_ends_with_the_terms_name(tmp_path):
    """Provoked on purpose: the adversarial game at a rate of 10."""
    experiment = Experiment(
        **{**TINY, "preset": "fcns_in_the_wild", "run_dir": str(tmp_path / "run"), "ceiling": False,
           "classifier_steps": 1, "steps": 40, "steps_per_epoch": 40, "learning_rate": 1e6}
    )  # fmt: skip
    with nothing_drawn(), pytest.raises(TrainingDiverged) as error:
        train(experiment, lambda line: None)
    message = str(error.value)
    assert message.startswith("adapted, seed 0: ")
    assert any(term in message for term in ("task", "feature"))
    assert "There is no checkpoint yet" in message
