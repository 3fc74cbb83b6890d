"""The training steps of I2I-Adapt for digits and of CycleGAN in plain PyTorch.

What `peer_pytorch.py` measures this package against: the same networks, terms, order of updates and
optimizer as in `keras_i2i/models/i2i_adapt.py` and `cyclegan.py`, written as one would write them
for speed. `peer_pytorch.py --check` compares losses.

Images are (batch, C, H, W). Where a 3x3 convolution has stride 2, PyTorch pads all sides, Keras
those behind only; on mirrored images and kernels they are the same.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

EPSILON = 1e-3  # Keras's, in normalizations
SLOPE = 0.2


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization by the batch's moments; moving averages follow if they are asked to."""

    def forward(self, x, update=True):
        """(batch, C, H, W) → the same."""
        mean, variance = (self.running_mean, self.running_var) if update else (None, None)
        return F.batch_norm(
            x, mean, variance, self.weight, self.bias, True, self.momentum, self.eps
        )


class Network(nn.Sequential):
    """Layers one after another; `update=False` keeps batch norm's moving averages as they are."""

    def forward(self, x, update=True):
        """As `nn.Sequential`."""
        for layer in self:
            x = layer(x, update) if isinstance(layer, BatchNorm) else layer(x)
        return x


def on_both(network, first, second, *options):
    """One pass over two batches, split again."""
    joined = network(torch.cat([first, second]), *options)
    return joined[: len(first)], joined[len(first) :]


def filters(number, width):
    """Number of filters of a layer in a network of that width."""
    return max(1, round(number * width))


def instance_norm(channels, norm):
    """Instance normalization with a scale and a shift, by one of PyTorch's two ways to compute it.

    Args:
        channels: how many.
        norm: "instance", or "group" for groups of one channel, which knows channels last.
    """
    if norm == "group":
        return nn.GroupNorm(channels, channels, eps=EPSILON)
    return nn.InstanceNorm2d(channels, eps=EPSILON, affine=True)


class I2IAdapt(nn.Module):
    """I2I-Adapt with the LeNet encoder, for gray digits of 32x32 pixels.

    Args:
        width: factor on the decoders' and discriminators' numbers of filters.
        weights: term → weight, of task, feature, translation, identity and cycle.
        norm: see `instance_norm`.
        penalty_weight: of the gradient penalty.
    """

    GENERATORS = ("source_encoder", "decoder_trunk", "source_branch", "target_branch", "head")
    DISCRIMINATORS = ("feature", "source", "target")

    def __init__(self, width, weights, norm="instance", penalty_weight=10.0):
        super().__init__()
        self.weights, self.penalty_weight = weights, penalty_weight
        layers, channels = [], 1
        for wanted in (64, 64, 128, 128):
            layers += [
                nn.Conv2d(channels, wanted, 4, 2, 1, bias=False),
                BatchNorm(wanted, eps=EPSILON),
                nn.ReLU(),
            ]
            channels = wanted
        self.source_encoder = Network(*layers)
        first, second, third = (filters(number, width) for number in (512, 256, 128))
        self.decoder_trunk = Network(*self._up(128, first), *self._up(first, second))
        self.source_branch, self.target_branch = (
            Network(*self._up(second, third), nn.ConvTranspose2d(third, 1, 4, 2, 1), nn.Tanh())
            for _ in range(2)
        )
        self.head = Network(nn.Flatten(), nn.Linear(512, 10))
        units = filters(500, width)
        self.feature = Network(
            nn.Flatten(),
            nn.Linear(512, units),
            nn.LeakyReLU(SLOPE),
            nn.Linear(units, units),
            nn.LeakyReLU(SLOPE),
            nn.Linear(units, 1),
        )
        self.source, self.target = (self._image_discriminator(width, norm) for _ in range(2))

    @staticmethod
    def _up(before, after):
        return (
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
            BatchNorm(after, eps=EPSILON),
            nn.ReLU(),
        )

    @staticmethod
    def _image_discriminator(width, norm):
        layers, channels = [], 1
        for number in (64, 128, 256):
            wanted = filters(number, width)
            layers += [
                nn.Conv2d(channels, wanted, 4, 2, 1, bias=False),
                instance_norm(wanted, norm),
                nn.LeakyReLU(SLOPE),
            ]
            channels = wanted
        return Network(*layers, nn.Conv2d(channels, 1, 4, 2, 1))

    def outputs(self, x, y):
        """Features, reconstructions, translations and cycles, by name."""
        out = {}
        out["z_x"], out["z_y"] = on_both(self.source_encoder, x, y)
        trunk_x, trunk_y = on_both(self.decoder_trunk, out["z_x"], out["z_y"])
        out["identity_x"], out["fake_x"] = on_both(self.source_branch, trunk_x, trunk_y)
        out["identity_y"], out["fake_y"] = on_both(self.target_branch, trunk_y, trunk_x)
        z_x, z_y = on_both(self.source_encoder, out["fake_x"], out["fake_y"], False)
        trunk_x, trunk_y = on_both(self.decoder_trunk, z_x, z_y, False)
        out["cycle_x"] = self.source_branch(trunk_y, False)
        out["cycle_y"] = self.target_branch(trunk_x, False)
        return out

    def generator_terms(self, x, y, labels, out):
        """The generators' terms, unweighted."""
        return {
            "task": F.cross_entropy(self.head(out["z_x"]).float(), labels),
            "feature": least_squares(self.feature(out["z_y"]), 1),
            "translation": -self.target(out["fake_y"]).float().mean()
            - self.source(out["fake_x"]).float().mean(),
            "identity": l1(x, out["identity_x"]) + l1(y, out["identity_y"]),
            "cycle": l1(x, out["cycle_x"]) + l1(y, out["cycle_y"]),
        }

    def discriminator_terms(self, x, y, out):
        """The discriminators' terms without gradient penalties."""
        of_source, of_target = on_both(self.feature, out["z_x"], out["z_y"])
        terms = {"feature": least_squares(of_source, 1) + least_squares(of_target, 0)}
        for name, real, fake in (("source", x, out["fake_x"]), ("target", y, out["fake_y"])):
            real, fake = on_both(getattr(self, name), real, fake)
            terms[name] = fake.float().mean() - real.float().mean()
        return terms

    def penalties(self, x, y, out, mix=None):
        """Gradient penalties; `mix` are two batches' points between real and fake, or drawn."""
        mix = torch.rand(2, len(x)) if mix is None else mix
        pairs = (("source", x, out["fake_x"]), ("target", y, out["fake_y"]))
        return {
            name: self.penalty_weight
            * gradient_penalty(getattr(self, name), real, fake, share[:, None, None, None])
            for (name, real, fake), share in zip(pairs, mix, strict=True)
        }


class CycleGAN(nn.Module):
    """CycleGAN with Basci's U-Nets and PatchGANs, for color images of 32x32 pixels.

    Args:
        width: factor on all numbers of filters.
        weights: term → weight, of translation, cycle and identity.
        norm: see `instance_norm`.
    """

    GENERATORS = ("to_target", "to_source")
    DISCRIMINATORS = ("source", "target")

    def __init__(self, width, weights, norm="instance"):
        super().__init__()
        self.weights = weights
        self.to_target, self.to_source = UNet(width, norm), UNet(width, norm)
        self.source, self.target = (self._patch_discriminator(width, norm) for _ in range(2))

    @staticmethod
    def _patch_discriminator(width, norm):
        layers, channels = [], 3
        for number in (64, 128, 256):
            wanted = filters(number, width)
            layers += block(nn.Conv2d(channels, wanted, 3, 2, 1, bias=False), norm)
            channels = wanted
        return Network(*layers, nn.Conv2d(channels, 1, 2))

    def outputs(self, x, y):
        """Translations, identities and cycles, by name."""
        out = {}
        out["fake_y"], out["identity_y"] = on_both(self.to_target, x, y)
        out["fake_x"], out["identity_x"] = on_both(self.to_source, y, x)
        out["cycle_x"] = self.to_source(out["fake_y"])
        out["cycle_y"] = self.to_target(out["fake_x"])
        return out

    def generator_terms(self, x, y, labels, out):
        """The generators' terms, unweighted."""
        return {
            "translation": least_squares(self.target(out["fake_y"]), 1)
            + least_squares(self.source(out["fake_x"]), 1),
            "cycle": l1(x, out["cycle_x"]) + l1(y, out["cycle_y"]),
            "identity": l1(x, out["identity_x"]) + l1(y, out["identity_y"]),
        }

    def discriminator_terms(self, x, y, out):
        """Half of each discriminator's loss."""
        terms = {}
        for name, real, fake in (("source", x, out["fake_x"]), ("target", y, out["fake_y"])):
            real, fake = on_both(getattr(self, name), real, fake)
            terms[name] = 0.5 * (least_squares(real, 1) + least_squares(fake, 0))
        return terms

    def penalties(self, x, y, out, mix=None):
        """None."""
        return {}


class UNet(nn.Module):
    """Three stages down, three up, each with what came from the way down."""

    def __init__(self, width, norm):
        super().__init__()
        down = [3, *(filters(number, width) for number in (64, 128, 256))]
        self.down = nn.ModuleList(
            nn.Sequential(
                *block(nn.Conv2d(before, after, 3, 2, 1, bias=False), norm),
                *block(nn.Conv2d(after, after, 3, 1, 1, bias=False), norm),
                *block(nn.Conv2d(after, after, 3, 1, 1, bias=False), norm),
            )
            for before, after in itertools.pairwise(down)
        )
        self.up, self.after_skip = nn.ModuleList(), nn.ModuleList()
        before = down[3]
        for stage in (2, 1, 0):
            after = down[max(stage, 1)]
            up = nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1, bias=False)
            self.up.append(nn.Sequential(*block(up, norm)))
            self.after_skip.append(
                nn.Sequential(
                    *block(nn.Conv2d(after + down[stage], after, 3, 1, 1, bias=False), norm),
                    *block(nn.Conv2d(after, after, 3, 1, 1, bias=False), norm),
                )
            )
            before = after
        self.out = nn.Conv2d(before, 3, 3, 1, 1)

    def forward(self, x):
        """(batch, 3, H, W) in [-1, 1] → the same."""
        skips = []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        for up, after_skip in zip(self.up, self.after_skip, strict=True):
            x = after_skip(torch.cat([up(x), skips.pop()], 1))
        return self.out(x).float().tanh()

    def parameters(self, recurse=True):
        """In the order in which images pass them."""
        for part in (
            *self.down,
            *(part for pair in zip(self.up, self.after_skip, strict=True) for part in pair),
            self.out,
        ):
            yield from part.parameters(recurse)


def block(convolution, norm):
    """A convolution, instance normalization, leaky ReLU."""
    return convolution, instance_norm(convolution.out_channels, norm), nn.LeakyReLU(SLOPE)


def l1(images, others):
    """Mean absolute error."""
    return (images - others.float()).abs().mean()


def least_squares(scores, wanted):
    """Mean squared distance of scores from a number."""
    return (scores.float() - wanted).square().mean()


def gradient_penalty(discriminator, real, fake, share):
    """How far the discriminator's slope between real and fake is from one."""
    between = (share * real + (1 - share) * fake.float()).requires_grad_()
    scores = discriminator(between).float().flatten(1).mean(1)
    (slopes,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    norms = (slopes.float().flatten(1).square().sum(1) + 1e-12).sqrt()
    return (norms - 1).square().mean()


MODELS = {"i2i_adapt": I2IAdapt, "cyclegan": CycleGAN}


class Step:
    """One alternation: an update of the discriminators, then one of the generators.

    Both look at one forward pass of the generators, as in this package.

    Args:
        model: an `I2IAdapt` or a `CycleGAN`.
        optimizer: from parameters to an optimizer.
        half: compute in bfloat16 where PyTorch's autocast does.
        compiled: compile the forward pass and both players' losses. The gradient penalty stays as
            it is: a gradient of a gradient does not pass compiled code.
    """

    def __init__(self, model, optimizer, half=False, compiled=False):
        self.model, self.half = model, half
        generators, self._discriminators = (
            [p for name in names for p in getattr(model, name).parameters()]
            for names in (model.GENERATORS, model.DISCRIMINATORS)
        )
        self._for_generators = optimizer(generators)
        self._for_discriminators = optimizer(self._discriminators)
        compile = torch.compile if compiled else lambda function: function
        self._outputs = compile(model.outputs)
        self._their_loss = compile(self._discriminators_loss)
        self._our_loss = compile(self._generators_loss)

    def _discriminators_loss(self, x, y, out):
        return sum(self.model.discriminator_terms(x, y, out).values())

    def _generators_loss(self, x, y, labels, out):
        terms = self.model.generator_terms(x, y, labels, out)
        return sum(weight * terms[name] for name, weight in self.model.weights.items())

    def __call__(self, x, y, labels, mix=None):
        """Trains on a batch; returns both players' losses."""
        discriminators = self._discriminators
        with self._autocast():
            out = self._outputs(x, y)
            fixed = {name: value.detach() for name, value in out.items()}
            theirs = self._their_loss(x, y, fixed)
            theirs = theirs + sum(self.model.penalties(x, y, fixed, mix).values())
        self._for_discriminators.zero_grad()
        theirs.backward(inputs=discriminators)
        self._for_discriminators.step()

        for parameter in discriminators:
            parameter.requires_grad_(False)
        with self._autocast():
            ours = self._our_loss(x, y, labels, out)
        self._for_generators.zero_grad()
        ours.backward()
        self._for_generators.step()
        for parameter in discriminators:
            parameter.requires_grad_(True)
        return ours.detach(), theirs.detach()

    def terms(self, x, y, labels, mix=None):
        """All terms of both players, as numbers, on a batch that nothing is trained on."""
        out = self.model.outputs(x, y)
        fixed = {name: value.detach() for name, value in out.items()}
        theirs = self.model.discriminator_terms(x, y, fixed)
        for name, penalty in self.model.penalties(x, y, fixed, mix).items():
            theirs[name] = theirs[name] + penalty
        terms = {f"d_{name}": term for name, term in theirs.items()}
        terms |= self.model.generator_terms(x, y, labels, out)
        return {name: term.item() for name, term in terms.items()}

    def _autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half)


def adam(learning_rate, beta_1):
    """Fused Adam with Keras's other defaults: a function from parameters to it."""
    return lambda parameters: torch.optim.Adam(
        parameters, learning_rate, (beta_1, 0.999), eps=1e-7, fused=True
    )


def copy_weights(network, arrays, mirrored):
    """Gives a network the weights of its Keras twin.

    Args:
        network: a network of this file.
        arrays: the twin's trainable weights, in its order.
        mirrored: mirror kernels in height and width.
    """
    parameters = list(network.parameters())
    after_flatten = any(isinstance(layer, nn.Flatten) for layer in network.children())
    for parameter, array in zip(parameters, arrays, strict=True):
        array = torch.from_numpy(array)
        if array.ndim == 4:
            array = array.permute(3, 2, 0, 1)
            array = array.flip(2, 3) if mirrored else array
        elif array.ndim == 2 and after_flatten:
            # Keras flattens features (2, 2, C), PyTorch (C, 2, 2).
            array = array.reshape(2, 2, -1, array.shape[-1]).permute(3, 2, 0, 1).flatten(1)
            after_flatten = False
        elif array.ndim == 2:
            array = array.T
        if parameter.shape != array.shape:
            raise ValueError(f"A weight is {tuple(parameter.shape)}, its twin {tuple(array.shape)}")
        with torch.no_grad():
            parameter.copy_(array)
