"""Printed digits, rendered here from the fonts that come with matplotlib.

Every image is one digit in one font, with its own stroke weight, brightness, slope, slant, size
and place: light on dark, antialiased.
"""

import functools
import pathlib

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_i2i.data.domain import DIGITS, Domain
from keras_i2i.data.examples import Examples

# Named one by one, so that a font added to matplotlib does not change the data set. Left out are
# fonts whose digits are not digits: LastResort draws boxes, cmex10 and cmsy10 hold symbols in the
# digits' places, cmmi10 has text figures, whose 0 and 1 look like o and a small capital I.
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmti10",
    "cmtt10",
)
SIDE = 32
TRAIN_SIZE, VALIDATION_SIZE, TEST_SIZE = 5000, 500, 1000

# Digits are drawn and moved on a canvas this many times larger, then shrunk.
_SUPERSAMPLING = 4


def render(count: int, size: int, seed: int) -> Examples:
    """Renders `count` digits.

    Args:
        count: number of images; each run of ten from the start holds every digit once.
        size: side of the images in pixels.
        seed: the same (count, size, seed) gives the same images, bit for bit, as long as
            matplotlib's fonts and Pillow's rasterizer stay the same.

    Returns:
        Examples with images of shape (count, size, size, 1) and labels 0 to 9.
    """
    random = np.random.default_rng(seed)
    tens = -(-count // 10)
    labels = random.permuted(np.tile(np.arange(10), (tens, 1)), axis=1).ravel()[:count]
    fonts = random.integers(len(FONTS), size=count)
    weights = random.integers(4, size=count)
    inks = random.uniform(0.7, 1.0, count)
    canvas = size * _SUPERSAMPLING
    placements = _inverse_affine(
        rotation=np.radians(random.uniform(-15, 15, count)),
        shear=random.uniform(-0.2, 0.2, count),
        scale=random.uniform(0.8, 1.2, (2, count)),
        shift=random.uniform(-0.08, 0.08, (2, count)) * canvas,
        center=canvas / 2,
    )
    draw_glyph = functools.cache(functools.partial(_draw_glyph, canvas=canvas))
    images = np.empty((count, size, size, 1), np.uint8)
    for i in range(count):
        glyph = draw_glyph(FONTS[fonts[i]], DIGITS[labels[i]], weights[i])
        placed = glyph.transform(
            glyph.size, Image.Transform.AFFINE, placements[i], Image.Resampling.BILINEAR
        )
        images[i, :, :, 0] = np.round(inks[i] * np.asarray(placed.reduce(_SUPERSAMPLING)))
    return Examples(images, labels.astype(np.int64))


def _draw_glyph(font_name: str, digit: str, weight: int, *, canvas: int) -> Image.Image:
    """Draws a digit in the middle of a square canvas, white on black.

    A font as high as the canvas has digits of about 0.7 of its height. `weight` thickens the
    stroke by so many times 1/128 of the canvas on either side.
    """
    path = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font_name}.ttf")
    font = ImageFont.truetype(path, canvas)
    image = Image.new("L", (canvas, canvas))
    left, top, right, bottom = font.getbbox(digit)
    ImageDraw.Draw(image).text(
        ((canvas - left - right) / 2, (canvas - top - bottom) / 2),
        digit,
        fill=255,
        font=font,
        stroke_width=round(weight * canvas / 128),
    )
    return image


def _inverse_affine(*, rotation, shear, scale, shift, center) -> np.ndarray:
    """Returns, per image, the six numbers with which Pillow finds an output pixel's origin.

    The digit is scaled, slanted and turned about the centre, then shifted; Pillow asks for the
    inverse: origin = M^-1 (pixel - center - shift) + center.
    """
    cos, sin = np.cos(rotation), np.sin(rotation)
    slant = np.array([[np.ones_like(shear), shear], [np.zeros_like(shear), np.ones_like(shear)]])
    turn = np.array([[cos, -sin], [sin, cos]])
    forward = np.einsum("ijn,jkn,kn->nik", turn, slant, scale)
    inverse = np.linalg.inv(forward)
    offset = center - np.einsum("nij,jn->ni", inverse, center + shift)
    return np.concatenate([inverse, offset[:, :, np.newaxis]], axis=2).reshape(-1, 6)


@functools.cache
def _read(split, data_dir) -> Examples:
    del data_dir  # Rendered, not read.
    if split == "train":
        examples = render(TRAIN_SIZE + VALIDATION_SIZE, SIDE, seed=0)
    else:
        examples = render(TEST_SIZE, SIDE, seed=1)
    # They are kept for the next call, which must get the same.
    examples.images.setflags(write=False)
    examples.labels.setflags(write=False)
    return examples


PRINTED_DIGITS = Domain(
    name="printed_digits",
    class_names=DIGITS,
    image_shape=(SIDE, SIDE, 1),
    read=_read,
    validation_size=VALIDATION_SIZE,
)
