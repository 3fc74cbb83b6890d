"""Files of TensorFlow Serving's own messages, read back as it reads them."""

import sys

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from keras_i2i.errors import InputError
from keras_i2i.serving import requests
from keras_i2i.serving.main import label_main

from .commands import run_in_process

# An input of each kind that signatures have.
SIGNATURES = {
    name: {"inputs": {tensor: {"dtype": dtype, "shape": shape}}}
    for name, tensor, dtype, shape in (
        ("classify", "images", "uint8", [None, None, None, 1]),
        ("classify_float", "images", "float32", [None, 16, 16, 1]),
        ("translate_target_to_source", "images", "uint8", [None, None, None, 3]),
        ("translate_bytes", "image_bytes", "string", [None]),
    )
}


def read_requests(path):
    """The requests of a warm-up file as (signature, input → array)."""
    records = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    assert all(record.WhichOneof("log_type") == "predict_log" for record in records)
    found = [record.predict_log.request for record in records]
    assert {request.model_spec.name for request in found} == {"digits"}
    return [
        (
            request.model_spec.signature_name,
            {name: tf.make_ndarray(value) for name, value in request.inputs.items()},
        )
        for request in found
    ]


@pytest.fixture
def make_versions(tmp_path):
    """`make_versions(name, *versions)`: a folder with versions that look like SavedModels."""

    def make_versions(name, *versions):
        for version in versions:
            (tmp_path / name / version).mkdir(parents=True)
            (tmp_path / name / version / "saved_model.pb").touch()
        return tmp_path / name

    return make_versions


@pytest.fixture
def without_messages(monkeypatch):
    """As if tensorflow-serving-api were not installed."""
    for name in [name for name in sys.modules if name.startswith("tensorflow_serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)


def read_config(path):
    config = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    return {model.name: model for model in config.model_config_list.config}


class TestVersions:
    def test_whole_numbers_are_versions_in_rising_order(self, make_versions):
        base = make_versions("digits", "10", "9", "007", ".export-1", "x", "2.bak", "-3", "²")
        assert requests.versions_of(base) == {
            7: base / "007", 9: base / "9", 10: base / "10",
        }  # fmt: skip

    def test_numbers_beyond_64_bits_are_none(self, make_versions):
        base = make_versions("digits", str(2**63), str(2**63 - 1))
        assert list(requests.versions_of(base)) == [2**63 - 1]

    def test_a_folder_that_is_not_there_has_none(self, tmp_path):
        assert requests.versions_of(tmp_path / "none") == {}


class TestWarmup:
    @pytest.fixture
    def found(self, tmp_path):
        path = requests.write_warmup(tmp_path, SIGNATURES, (16, 20, 1), "digits")
        assert path == tmp_path / "assets.extra" / "tf_serving_warmup_requests"
        return read_requests(path)

    def test_each_signature_gets_one_image_and_eight(self, found):
        sizes = [(name, len(next(iter(inputs.values())))) for name, inputs in found]
        assert sizes == [(name, n) for name in sorted(SIGNATURES) for n in (1, 8)]

    def test_what_a_signature_leaves_open_has_the_networks_shape(self, found):
        for name, inputs in found:
            (tensor,) = SIGNATURES[name]["inputs"]
            assert list(inputs) == [tensor]
            images, spec = inputs[tensor], SIGNATURES[name]["inputs"][tensor]
            if spec["dtype"] == "string":
                continue
            assert images.dtype == spec["dtype"]
            filled = zip(images.shape[1:], spec["shape"][1:], (16, 20, 1), strict=True)
            assert all(side == (fixed or own) for side, fixed, own in filled)

    def test_values_are_such_as_models_take(self, found):
        for name, inputs in found:
            for images in inputs.values():
                if images.dtype == "float32":
                    assert -1 <= images.min() < -0.9
                    assert 0.9 < images.max() <= 1
                elif images.dtype == "uint8":
                    assert images.max() > 200
                else:
                    assert name == "translate_bytes"
                    assert all(tf.io.decode_image(data).shape == (16, 20, 1) for data in images)
                    kinds = {bytes(data[:3]) for data in images}
                    assert kinds <= {b"\x89PN", b"\xff\xd8\xff"}
                    assert len(kinds) == min(len(images), 2)

    def test_large_images_come_one_at_a_time(self, tmp_path):
        path = requests.write_warmup(tmp_path, SIGNATURES, (91, 91, 1), "digits")
        assert len(read_requests(path)) == len(SIGNATURES)

    def test_the_same_is_written_every_time(self, tmp_path):
        written = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            path = requests.write_warmup(tmp_path / name, SIGNATURES, (16, 16, 1))
            records = tf.data.TFRecordDataset(str(path))
            # Maps are in no order once they are bytes.
            logs = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in records]
            written.append(logs)
        assert written[0] == written[1]

    def test_without_the_messages_it_says_what_to_install(self, tmp_path, without_messages):
        with pytest.raises(InputError, match=r"pip install 'keras-i2i\[serving\]'"):
            requests.write_warmup(tmp_path, SIGNATURES, (16, 16, 1))
        assert list(tmp_path.iterdir()) == []


class TestModelConfig:
    def test_labelled_versions_are_served_under_their_labels(self, make_versions, tmp_path):
        base = make_versions("digits", "1", "2", "3")
        path = requests.write_model_config(base, labels={"stable": 1, "canary": 3, "old": 1})
        assert path == tmp_path / "models.config"
        model = read_config(path)["digits"]
        assert (model.base_path, model.model_platform) == (str(base), "tensorflow")
        assert model.model_version_policy.WhichOneof("policy_choice") == "specific"
        assert list(model.model_version_policy.specific.versions) == [1, 3]
        assert dict(model.version_labels) == {"stable": 1, "canary": 3, "old": 1}

    def test_a_label_moves_and_the_rest_stays(self, make_versions):
        base, other = make_versions("digits", "1", "2"), make_versions("streets", "5")
        requests.write_model_config(base, labels={"stable": 1}, base_path="/models/digits")
        requests.write_model_config(other, labels={"stable": 5})
        path = requests.write_model_config(base, labels={"canary": 2})
        models = read_config(path)
        assert list(models) == ["digits", "streets"]
        assert models["digits"].base_path == "/models/digits"
        assert dict(models["digits"].version_labels) == {"canary": 2}
        assert list(models["digits"].model_version_policy.specific.versions) == [2]
        assert models["streets"].base_path == str(other)

    def test_a_model_may_have_another_name_than_its_folder(self, make_versions):
        base = make_versions("digits", "1")
        assert list(read_config(requests.write_model_config(base, "d", {"a": 1}))) == ["d"]

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ({"stable": 4}, "has no version 4 to label. There are: 1, 2"),
            ({"stable": 1, "canary": 3}, "has no version 3 to label"),
            ({}, "such as stable:1. Received: none"),
            ({"": 1}, "such as stable:1"),
        ],
    )
    def test_labels_of_nothing_are_refused(self, make_versions, labels, message, tmp_path):
        base = make_versions("digits", "1", "2")
        (base / "3").mkdir()  # No SavedModel.
        with pytest.raises(InputError, match=message):
            requests.write_model_config(base, labels=labels)
        assert not (tmp_path / "models.config").exists()

    def test_a_file_that_is_something_else_stays(self, make_versions, tmp_path):
        base = make_versions("digits", "1")
        (tmp_path / "models.config").write_text("models: [digits]")
        with pytest.raises(InputError, match="is no ModelServerConfig in text format"):
            requests.write_model_config(base, labels={"stable": 1})
        assert (tmp_path / "models.config").read_text() == "models: [digits]"

    def test_without_the_messages_it_says_what_to_install(self, make_versions, without_messages):
        base = make_versions("digits", "1")
        with pytest.raises(InputError, match=r"pip install 'keras-i2i\[serving\]'"):
            requests.write_model_config(base, labels={"stable": 1})


class TestCommand:
    def test_it_writes_the_config(self, make_versions, tmp_path):
        base = make_versions("digits", "1", "2")
        code, out, err = run_in_process(
            label_main, f"--base={base}", "--label=stable:1", "--label=canary:2",
            "--base_path=/models/digits",
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert out == f"Model config: {tmp_path / 'models.config'}\n"
        model = read_config(tmp_path / "models.config")["digits"]
        assert dict(model.version_labels) == {"stable": 1, "canary": 2}
        assert model.base_path == "/models/digits"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "--base is missing"),
            (["--base=none", "--label=stable"], "--label must read like stable:1. Received: 'sta"),
            (["--base=none", "--label=:1"], "--label must read like stable:1. Received: ':1'"),
            (["--base=none", "--label=a:1", "--label=a:2"], "--label=a is given twice"),
            (["--base=none", "--label=a:1"], "none has no version 1 to label. There are: none"),
        ],
    )
    def test_a_mistake_ends_in_its_message(self, arguments, message):
        code, out, err = run_in_process(label_main, *arguments)
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1
