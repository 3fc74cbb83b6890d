"""What a served model answers: TensorFlow functions with named tensors, and a SavedModel of them.

Everything between a request and the networks is inside: images are decoded, brought to the
networks' size and range as evaluation brings them, and checked. A request that is wrong fails with
a message; the next one is answered.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from keras_i2i.data.geometry import Geometry
from keras_i2i.data.preprocessing import preprocess, to_uint8
from keras_i2i.errors import InputError
from keras_i2i.evaluation.user_images import LARGEST as MOST_PIXELS
from keras_i2i.models.image_model import LARGEST
from keras_i2i.serving.decoding import decode, is_gray

LABELS = "labels.txt"
_AT_ONCE = 4  # files of a request that are in memory as images


def signatures(model, class_names: Sequence[str], geometry: Geometry | None = None) -> dict:
    """The functions that a model is served with; those of them that it has networks for.

    All take one tensor of n images, n ≥ 1, and give named tensors. (H, W, C) is the networks' own
    shape, K the number of classes. Images are taken for target images, but for translations from
    the source. DIRECTION is `source_to_target` or `target_to_source`.

    - `classify`: `images` uint8 (n, h, w, C) → `class_ids` int64 (n,), `class_names` string (n,),
      `probabilities` float32 (n, K)
    - `classify_float`: `images` float32 (n, H, W, C) in [-1, 1] → the same
    - `classify_bytes`: `image_bytes` string (n,) → the same
    - `embed`: `images` uint8 (n, h, w, C) → `embeddings` float32 (n, d)
    - `translate_DIRECTION`: `images` uint8 (n, h, w, C) → `images` uint8 (n, H', W', C')
    - `translate_DIRECTION_bytes`: `image_bytes` string (n,) → `image_bytes` string (n,), PNG
    - `translate_bytes`: the first of those
    - `segment`: `images` uint8 (n, h, w, C) → `class_ids` uint8 (n, h, w), `probabilities` float32
      (n, h, w, K); of at most four million pixels each
    - `segment_bytes`: `image_bytes` string (n,) → `image_bytes` string (n,), gray PNG of class ids,
      as large as the image; the network reads at most four million pixels, else a smaller image
    - `serving_default`: `classify`, else `segment`, else the first `translate_DIRECTION`

    h and w are any; `image_bytes` are JPEG or PNG files of any sizes, see `decoding.decode`. Files
    are read as a folder of such files is: those stored in gray as gray, others in color, and then
    brought to the model's channels.

    Args:
        model: an `ImageModel`, a `ReadsThroughTranslation` or a `WeightedSum`.
        class_names: one name per class; () for a model that only translates.
        geometry: how evaluation brings images to the networks' size; None: stretched to it.

    Returns:
        Name → `tf.function` of one input signature. In a graph a request that is wrong (an empty
        batch, values outside of [-1, 1], what is no image, too many pixels) raises
        `tf.errors.InvalidArgumentError`.

    Raises:
        InputError: the number of names is not that of classes, or the model can do nothing.
    """
    geometry = geometry or Geometry()
    functions = {}
    for name, (function, shape) in float_functions(model).items():
        function = _shared(function, tf.TensorSpec((None, *shape), tf.float32))
        if name == "segment":
            _check_names(model, class_names)
            functions |= _segmenting(model, geometry)
        elif name == "classify":
            _check_names(model, class_names)
            function = _with_classes(function, class_names)
            functions["classify"] = _of_arrays(function, shape, geometry)
            functions["classify_float"] = _of_floats(function, shape)
            functions["classify_bytes"] = _of_files(function, shape, geometry)
        elif name == "embed":
            functions["embed"] = _of_arrays(function, shape, geometry)
        else:
            functions[name] = _of_arrays(_stored(function), shape, geometry)
            functions[f"{name}_bytes"] = _of_files(_encoded(function), shape, geometry)
            functions.setdefault("translate_bytes", functions[f"{name}_bytes"])
    default = next((name for name in functions if name.startswith(("classify", "segment"))), None)
    default = default or next((name for name in functions if name.startswith("translate_")), None)
    if default is None:
        raise InputError("The model neither classifies nor translates; there is nothing to serve.")
    return {**functions, "serving_default": functions[default]}


def float_functions(model) -> dict[str, tuple[Callable, tuple[int, int, int]]]:
    """The same without what surrounds the networks: what converters to other formats take.

    Args:
        model: as for `signatures`.

    Returns:
        Name → (function, (H, W, C)). A function takes a float32 tensor (n, H, W, C) in [-1, 1] and
        gives a dict of float32 tensors: `classify` `probabilities` (n, K); `segment`
        `probabilities` (n, H, W, K); `embed` `embeddings` (n, d); `translate_source_to_target` and
        `translate_target_to_source` `images` (n, H', W', C') in [-1, 1].
    """
    functions = {}
    shape = tuple(model.image_shape_of("target"))
    if model.can_classify and model.has_masks:
        read_pixels = model.pixel_reader("target")
        functions["segment"] = _giving(
            "probabilities", lambda images: tf.nn.softmax(read_pixels(images, shape[:2]))
        )
    elif model.can_classify:
        read = model.reader("target")
        functions["classify"] = _giving(
            "probabilities", lambda images: tf.nn.softmax(tf.cast(read(images), tf.float32))
        )
    if model.can_embed:
        functions["embed"] = _giving("embeddings", model.features("target"))
    functions = {name: (function, shape) for name, function in functions.items()}
    for direction in model.directions:
        origin, destination = direction.split("_to_")
        function = _giving("images", model.mapping(origin, destination))
        functions[f"translate_{direction}"] = function, tuple(model.image_shape_of(origin))
    return functions


def save(
    model,
    path: str | os.PathLike,
    class_names: Sequence[str],
    geometry: Geometry | None = None,
) -> None:
    """Writes a SavedModel with the model's `signatures`.

    It loads where neither Keras nor this package is installed, and holds the variables that the
    signatures read, and no others. `assets/labels.txt` has one class name per line. Loaded in
    Python, each signature is also a function of the object, as in `loaded.classify(images)`;
    `classify` takes float32 images too, as `classify_float` does.

    Args:
        model: as for `signatures`.
        path: the folder to write.
        class_names: as for `signatures`.
        geometry: as for `signatures`.

    Raises:
        InputError: as for `signatures`.
    """
    functions = signatures(model, class_names, geometry)
    traced = {name: function.get_concrete_function() for name, function in functions.items()}
    module = tf.Module()
    variables = {id(v): v for function in traced.values() for v in function.variables}
    module.read = list(variables.values())
    for name in traced.keys() - {"serving_default"}:
        setattr(module, name, traced[name])
    if "classify" in traced:
        module.classify = _either(traced["classify"], traced["classify_float"])
    with tempfile.TemporaryDirectory() as folder:
        if class_names:
            labels = Path(folder, LABELS)
            labels.write_text("".join(f"{name}\n" for name in class_names), "utf-8")
            module.labels = tf.saved_model.Asset(str(labels))
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, os.fspath(path), signatures=traced, options=options)


def _check_names(model, class_names):
    if len(class_names) != model.num_classes:
        raise InputError(
            f"Got {len(class_names)} class names for a model of {model.num_classes} classes; "
            "expected one for each class, in order."
        )


# Around a network


def _shared(function, *takes):
    """A function with a graph of its own, which the functions that call it share."""
    return tf.function(function, input_signature=takes, autograph=False)


def _giving(name, function):
    return lambda images: {name: tf.cast(function(images), tf.float32)}


def _with_classes(function, class_names):
    def classify(images):
        probabilities = function(images)["probabilities"]
        class_ids = tf.argmax(probabilities, axis=-1)
        return {
            "class_ids": class_ids,
            "class_names": tf.gather(tf.constant(list(class_names)), class_ids),
            "probabilities": probabilities,
        }

    return classify


def _stored(function):
    return lambda images: {"images": to_uint8(function(images)["images"])}


def _encoded(function):
    def encode(images):
        images = to_uint8(function(images)["images"])
        return {"image_bytes": _mapped(tf.io.encode_png, images, tf.TensorSpec((), tf.string))}

    return encode


# Between a request and that


def _of_arrays(function, shape, geometry):
    """A served function of uint8 images of any size."""

    def answer(images):
        return function(_seen(_checked(images, (None, None, None, shape[-1])), shape, geometry))

    return _served(answer, images=tf.TensorSpec((None, None, None, shape[-1]), tf.uint8))


def _of_floats(function, shape):
    """A served function of float images of the networks' own shape."""

    def answer(images):
        images = _checked(images, (None, *shape))
        in_range = tf.reduce_all(tf.abs(images) <= LARGEST)  # NaN is not.
        message = "Expected images in [-1, 1], floats. Received, from and to:"
        values = [tf.reduce_min(images), tf.reduce_max(images)]
        with tf.control_dependencies([tf.debugging.Assert(in_range, [message, *values])]):
            return function(tf.identity(images))

    return _served(answer, images=tf.TensorSpec((None, *shape), tf.float32))


def _of_files(function, shape, geometry):
    """A served function of encoded images."""

    def see(encoded):
        return _read(encoded, shape[-1], lambda image: geometry.for_test(image, shape))

    def answer(image_bytes):
        image_bytes = _checked(image_bytes, (None,))
        return function(_mapped(see, image_bytes, tf.TensorSpec(shape, tf.float32)))

    return _served(answer, image_bytes=tf.TensorSpec((None,), tf.string))


def _either(of_arrays, of_floats):
    """One function of two traced ones: of uint8 as well as of float images."""

    @tf.function(autograph=False)
    def answer(images):
        return (of_floats if images.dtype.is_floating else of_arrays)(images)

    for traced in (of_arrays, of_floats):
        answer.get_concrete_function(*traced.structured_input_signature[0])
    return answer


def _segmenting(model, geometry):
    """The two served functions of a model that segments."""
    shape = tuple(model.image_shape_of("target"))
    channels = shape[-1]
    view = tf.TensorSpec((None, None, channels), tf.float32)
    read_pixels = _shared(
        model.pixel_reader("target"),
        tf.TensorSpec((None, *view.shape), tf.float32),
        tf.TensorSpec((2,), tf.int32),
    )

    def see(image):
        return geometry.whole(image, shape, at_most=MOST_PIXELS)

    def segment(images):
        images = _checked(images, (None, None, None, channels))
        size = tf.shape(images)[1:3]
        few = tf.reduce_prod(tf.cast(size, tf.int64)) <= MOST_PIXELS
        message = f"Expected images of at most {MOST_PIXELS} pixels; segment_bytes takes larger "
        message += "ones. Received height and width:"
        with tf.control_dependencies([tf.debugging.Assert(few, [message, size])]):
            views = _mapped(see, images, view)
        probabilities = tf.nn.softmax(read_pixels(views, size))
        class_ids = tf.cast(tf.argmax(probabilities, axis=-1), tf.uint8)
        return {"class_ids": class_ids, "probabilities": probabilities}

    def segment_file(encoded):
        view, size = _read(encoded, channels, lambda image: (see(image), tf.shape(image)[:2]))
        # The logits of larger ones would not fit into memory.
        pixels = tf.reduce_prod(tf.cast(size, tf.float64))
        scale = tf.minimum(tf.sqrt(MOST_PIXELS / pixels), 1)
        smaller = tf.maximum(tf.cast(tf.round(scale * tf.cast(size, tf.float64)), tf.int32), 1)
        logits = read_pixels(view[tf.newaxis], smaller)[0]
        class_ids = tf.cast(tf.argmax(logits, axis=-1), tf.uint8)[..., tf.newaxis]
        return tf.io.encode_png(tf.image.resize(class_ids, size, method="nearest"))

    def segment_files(image_bytes):
        image_bytes = _checked(image_bytes, (None,))
        return {"image_bytes": _mapped(segment_file, image_bytes, tf.TensorSpec((), tf.string))}

    return {
        "segment": _served(segment, images=tf.TensorSpec((None, None, None, channels), tf.uint8)),
        "segment_bytes": _served(segment_files, image_bytes=tf.TensorSpec((None,), tf.string)),
    }


def _served(answer, **takes):
    """Makes a `tf.function` of one input, which is named."""
    ((name, spec),) = takes.items()
    named = tf.TensorSpec(spec.shape, spec.dtype, name=name)
    return tf.function(answer, input_signature=[named], autograph=False)


def _checked(batch, shape):
    """The batch, of that shape and not empty: servers check neither."""
    some = tf.debugging.assert_positive(
        tf.size(batch, tf.int64), "Expected at least one image. Received an empty batch"
    )
    with tf.control_dependencies([some]):
        return tf.ensure_shape(batch, shape)


def _seen(images, shape, geometry):
    """What the networks see of uint8 images (n, h, w, C): float32 (n, *shape)."""
    if geometry == Geometry():
        return preprocess(images, shape)
    spec = tf.TensorSpec(shape, tf.float32)
    return _mapped(lambda image: geometry.for_test(image, shape), images, spec)


def _read(encoded, channels, see):
    """What `see` makes of an image file, as of one in a folder of such files."""
    image = decode(encoded, 3)
    if channels == 3:
        return see(image)
    return tf.cond(is_gray(encoded), lambda: see(image[..., :1]), lambda: see(image))


def _mapped(function, batch, spec):
    return tf.map_fn(function, batch, parallel_iterations=_AT_ONCE, fn_output_signature=spec)
