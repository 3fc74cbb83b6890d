"""The alternation of discriminator and generator updates, written once for every method."""

import functools
import inspect
import types

import keras
import tensorflow as tf
from keras import ops

from keras_i2i.errors import InputError
from keras_i2i.models.image_model import ImageModel, unpacked
from keras_i2i.models.many_workers import TrainsOnManyWorkers
from keras_i2i.models.passes import state_kept
from keras_i2i.optimizers import LossScaleOptimizer

_KERAS_ARGUMENTS = ("run_eagerly", "jit_compile", "steps_per_execution")


class AdversarialModel(TrainsOnManyWorkers, ImageModel):
    """A model whose networks play against its discriminators.

    A method subclasses it and says what is computed; how updates alternate is decided here:

    1. one forward pass of the generators (everything that is not a discriminator);
    2. the discriminators' update, on that pass with its gradient stopped;
    3. the generators' update, through that same pass, against the updated discriminators.

    A subclass provides

    - `discriminators`: dict, name → `keras.Model`; complete when `compile` is called;
    - `loss_weights`: dict, generator term → weight; a term with weight 0 need not be computed;
    - `TERMS`: names of all that `loss_weights` may have. To add a term to a method, subclass it,
      list the term beside the method's own, and add its loss in `generator_losses`. Its weight is 0
      until `loss_weights` of the constructor says otherwise;
    - `forward(batch)`: dict of tensors, whatever both players' losses need;
    - `generator_losses(batch, outputs)`: dict, each of `terms` → losses (batch,), unweighted, one
      per image; `discriminator_losses(batch, outputs)`: the same for each of `discriminators`. The
      total, the gradients, the log and the metrics all come from iterating these dicts.

    - optionally `measures`, names of further values to log, which `generator_losses` and
      `discriminator_losses` hand over as they go by `self.measure(name, values)`, and `MEASURED`,
      what they mean, for the commands' log;
    - optionally `undecided`, dict, discriminator → what it loses while it knows nothing, of those
      whose losses have a floor of 0. By this a watcher of the training sees whether one has won.

    Losses are per image until this class divides by the *global* batch: gradients are summed over
    replicas, logged values are plain means over all images. Logged are `loss` (the generators'
    weighted total), each generator term by its name, and each discriminator's as `d_<name>`.

    Args:
        image_shape: (H, W, C) of source images.
        target_shape: that of target images; None: the same.
        seed: of `seed_generator`, for whatever is random in a step; None draws one.
        **kwargs: as in `keras.Model`.
    """

    TERMS = ()
    measures = ()
    MEASURED = ""
    undecided = types.MappingProxyType({})

    def __init__(self, image_shape, target_shape=None, seed=None, **kwargs):
        super().__init__(image_shape, target_shape, **kwargs)
        self._seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def compile(
        self,
        optimizer="adam",
        discriminator_optimizer="adam",
        discriminator_steps=1,
        generator_steps=1,
        **kwargs,
    ):
        """Gives the players their optimizers.

        Args:
            optimizer: the generators'. It is `model.optimizer`, so Keras's callbacks (learning rate
                schedules, `SwapEMAWeights`) act on it.
            discriminator_optimizer: the discriminators'.
            discriminator_steps: discriminator updates on each forward pass, ≥ 1.
            generator_steps: how often the whole alternation runs on each batch, ≥ 1.
            **kwargs: `run_eagerly`, `jit_compile`, `steps_per_execution`, as in Keras. XLA is off
                unless asked for: it made these steps slower on CPUs. Losses are the method's, and
                their weights the constructor's.

        Where the model's dtype policy is "mixed_float16", both optimizers are wrapped in an
        `optimizers.LossScaleOptimizer`, each with a scale of its own.

        Raises:
            InputError: an argument is none of these, a number of steps is below 1, one optimizer
                was given for both players, or one that accumulates gradients.
        """
        self._check_arguments(kwargs)
        for name, steps in (
            ("discriminator_steps", discriminator_steps),
            ("generator_steps", generator_steps),
        ):
            if steps < 1:
                raise InputError(f"{name} must be at least 1. Received: {steps}")
        if isinstance(optimizer, keras.Optimizer) and optimizer is discriminator_optimizer:
            raise InputError("Each player needs an optimizer of its own. Received: one for both.")
        kwargs.setdefault("jit_compile", False)
        super().compile(optimizer=self._usable(optimizer), auto_scale_loss=False, **kwargs)
        self.discriminator_optimizer = self._usable(discriminator_optimizer)
        self.discriminator_steps = discriminator_steps
        self.generator_steps = generator_steps
        # Built now, not at the first step: a checkpoint needs all variables to exist.
        self.optimizer.build(self.trainable_variables)
        if self.discriminators:
            self.discriminator_optimizer.build(self.discriminator_variables)
        names = [*self.terms, *(f"d_{name}" for name in self.discriminators), *self.measures]
        self._trackers = {name: keras.metrics.Mean(name) for name in names}

    def _check_arguments(self, given):
        own = [name for name in inspect.signature(self.compile).parameters if name != "kwargs"]
        common = [n for n in inspect.signature(AdversarialModel.compile).parameters if n != "self"]
        known = dict.fromkeys([*own, *common[:-1], *_KERAS_ARGUMENTS])
        if unknown := sorted(set(given) - set(known)):
            hint = ""
            if "loss_weights" in unknown:
                hint = " Give loss_weights to the constructor, which builds what they need."
            raise InputError(
                f"compile of {type(self).__name__} takes {', '.join(known)}.{hint} "
                f"Received: {', '.join(unknown)}"
            )

    def _usable(self, optimizer):
        optimizer = keras.optimizers.get(optimizer)
        scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if (optimizer.inner_optimizer if scales else optimizer).gradient_accumulation_steps:
            raise InputError(
                "gradient_accumulation_steps does not go with players that alternate: until the "
                "discriminators' sum is complete, the generators would learn from discriminators "
                "that have not seen the batch. Use a larger batch."
            )
        # Gradients below 6e-8 are zero in float16.
        wrap = self.dtype_policy.name == "mixed_float16" and not scales
        return LossScaleOptimizer(optimizer) if wrap else optimizer

    @property
    def terms(self):
        """Names of the generators' terms that have a weight, in the order of `loss_weights`."""
        return tuple(name for name, weight in self.loss_weights.items() if weight)

    @property
    def trainable_variables(self):
        """What `model.optimizer` trains, all trainable variables but the discriminators'.

        Keras hands this list to `model.optimizer` at the end of `fit` (to put averaged weights in
        place), so it must be the list that the optimizer was built with.
        """
        theirs = {id(variable) for variable in self.discriminator_variables}
        return [v for v in super().trainable_variables if id(v) not in theirs]

    @property
    def trainable_weights(self):
        """Same as `trainable_variables`."""
        return self.trainable_variables

    @property
    def discriminator_variables(self):
        """What `discriminator_optimizer` trains."""
        networks = self.discriminators.values()
        return [variable for network in networks for variable in network.trainable_variables]

    def forward(self, batch):
        """One training pass of the generators; see the class."""
        raise NotImplementedError

    def generator_losses(self, batch, outputs):
        """The generators' terms; see the class."""
        raise NotImplementedError

    def discriminator_losses(self, batch, outputs):
        """The discriminators' terms; see the class."""
        raise NotImplementedError

    def measure(self, name, values):
        """Logs the mean of values (batch,) under a name of `measures`; no loss, no gradient."""
        self._trackers[name].update_state(ops.stop_gradient(values))

    @functools.wraps(keras.Model.fit, assigned=())
    def fit(self, x=None, *args, **kwargs):
        """As in `keras.Model`, which shuffles arrays; a `tf.data.Dataset` keeps its order."""
        if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset)):
            # Keras never shuffles these, and warns of it unless it is told not to.
            kwargs.setdefault("shuffle", False)
        return super().fit(x, *args, **kwargs)

    def train_step(self, data):
        """One alternation on one batch; see the class."""
        batch = self._batch(data)
        for _ in range(self.generator_steps):
            self._alternate(batch)
        return self._logged()

    def test_step(self, data):
        """What `evaluate` measures, and `fit` on `validation_data`.

        Of a model with a head as `ImageModel` says, on (target images, labels). Of one without, on
        batches like those of `fit`, all that `fit` logs: losses as in training, by the moments of
        the batch, from which nothing is learnt.
        """
        if self.head is not None:
            return super().test_step(data)
        batch = self._batch(data)
        with state_kept(self):
            outputs = self.forward(batch)
            self._track_discriminators(self.discriminator_losses(batch, outputs))
            self._weighted(self.generator_losses(batch, outputs))
        return self._logged()

    @staticmethod
    def _batch(data):
        images, labels = unpacked(data)
        images = images if isinstance(images, dict) else {"source": images}
        return {**images, "source_labels": labels}

    def _logged(self):
        trackers = [self._loss_tracker, *self._trackers.values()]
        return self.logs({tracker.name: tracker.result() for tracker in trackers})

    def _alternate(self, batch):
        variables = self.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            outputs = self.forward(batch)
            if self.discriminators:
                with tape.stop_recording():
                    fixed = {name: ops.stop_gradient(value) for name, value in outputs.items()}
                    for _ in range(self.discriminator_steps):
                        self._update_discriminators(batch, fixed)
            total = self._weighted(self.generator_losses(batch, outputs))
            objective = self._over_global_batch(total, self.optimizer)
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        self.optimizer.apply(gradients, variables)

    def _weighted(self, losses):
        """The generators' total (batch,); logs it and its terms."""
        if {*self.terms} - {*losses} or {*losses} - {*self.loss_weights}:
            raise InputError(
                f"generator_losses of {type(self).__name__} must give each term that has a weight, "
                f"{', '.join(self.terms)}, and none that is not among TERMS. "
                f"Received: {', '.join(losses)}"
            )
        losses = {name: loss for name, loss in losses.items() if self.loss_weights[name]}
        total = sum(self.loss_weights[name] * loss for name, loss in losses.items())
        self._loss_tracker.update_state(ops.stop_gradient(total))
        self._track(losses)
        return total

    def _update_discriminators(self, batch, outputs):
        variables = self.discriminator_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            losses = self.discriminator_losses(batch, outputs)
            objective = self._over_global_batch(sum(losses.values()), self.discriminator_optimizer)
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        self.discriminator_optimizer.apply(gradients, variables)
        self._track_discriminators(losses)

    def _over_global_batch(self, losses, optimizer):
        # The optimizer sums gradients over replicas, so each divides by all replicas' images.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        images = ops.cast(ops.shape(losses)[0] * replicas, losses.dtype)
        return optimizer.scale_loss(ops.sum(losses) / images)

    def _track_discriminators(self, losses):
        self._track({f"d_{name}": loss for name, loss in losses.items()})

    def _track(self, losses):
        for name, loss in losses.items():
            self._trackers[name].update_state(ops.stop_gradient(loss))

    @property
    def metrics(self):
        """Running means of the losses, reset by Keras at each epoch's start."""
        if not self.compiled:
            return []
        return [self._loss_tracker, self._compile_metrics, *self._trackers.values()]

    def save_own_variables(self, store):
        """As in Keras, and where the random numbers have got to, the layers' too."""
        super().save_own_variables(store)
        for name, state in self._random_states().items():
            store[name] = state.numpy()

    def load_own_variables(self, store):
        """As in Keras, and where the random numbers have got to, the layers' too."""
        for name, state in self._random_states().items():
            if name in store:  # a file of an earlier version has the model's own only
                state.assign(store[name])

    def _random_states(self):
        """Name in a file → state of a random generator. Keras itself saves none of them."""
        own = self.seed_generator.state
        states = [v for v in self.variables if v.name == own.name and v is not own]
        numbered = {f"seed_generator_{n}": state for n, state in enumerate(states, start=1)}
        return {"seed_generator": own, **numbered}

    def get_compile_config(self):
        """Arguments of `compile`, so that a loaded model is compiled.

        A subclass whose `compile` takes more adds it.
        """
        if not self.compiled:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "discriminator_optimizer": serialize(self.discriminator_optimizer),
            "discriminator_steps": self.discriminator_steps,
            "generator_steps": self.generator_steps,
            "run_eagerly": self.run_eagerly,
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        """Compiles the model as `get_compile_config` says."""
        self.compile(**keras.saving.deserialize_keras_object(config))


def checked_weights(weights, terms, default):
    """Every term with its weight, in the order of `terms`.

    Args:
        weights: dict, term → weight ≥ 0; missing means 0; None stands for `default`.
        terms: names of all that the method knows.
        default: dict, the method's own weights.

    Raises:
        InputError: an unknown term, a negative weight, or none that is positive.
    """
    weights = default if weights is None else weights
    unknown = sorted(set(weights) - set(terms))
    if unknown:
        raise InputError(f"Unknown loss terms {unknown}. Known are: {', '.join(terms)}.")
    if any(not weight >= 0 for weight in weights.values()) or not any(weights.values()):
        raise InputError(
            f"Loss weights must be ≥ 0, and one of them positive. Received: {dict(weights)}"
        )
    return {term: float(weights.get(term, 0.0)) for term in terms}
