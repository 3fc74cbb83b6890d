"""Validators: golden values, what each rewards, and independent derivations."""

import math

import numpy as np
import pytest

from keras_i2i.evaluation import validators
from keras_i2i.evaluation.validators import VALIDATORS, Reading, validate

LOG = math.log


def logits_of(probabilities):
    return np.log(np.array(probabilities, "float32"))


def random_logits(seed, shape=(20, 4), scale=2.0):
    return np.random.default_rng(seed).normal(0, scale, shape).astype("float32")


def test_source_validation_accuracy_is_the_share_read_correctly():
    logits = logits_of([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5001]])
    assert validators.source_validation_accuracy(logits, np.array([0, 1, 1, 1])) == 0.75


def test_target_entropy_in_nats():
    logits = logits_of([[0.5, 0.5], [0.25, 0.75]])
    second = -(0.25 * LOG(0.25) + 0.75 * LOG(0.75))
    assert validators.target_entropy(logits) == pytest.approx((LOG(2) + second) / 2)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_entropies_of_sure_predictions_are_zero_and_finite(scale):
    logits = scale * 100 * np.eye(5, dtype="float32")
    assert validators.target_entropy(logits) == pytest.approx(0, abs=1e-12)
    # Sure of each, and all classes in use: all there is to know.
    assert validators.information_maximization(logits) == pytest.approx(LOG(5))


class TestInformationMaximization:
    def test_is_the_mutual_information_of_image_and_prediction(self):
        # By its other definition: the mean divergence of predictions from their mean.
        logits = random_logits(0)
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        divergences = np.sum(p * np.log(p / p.mean(0)), axis=1)
        found = validators.information_maximization(logits)
        assert found == pytest.approx(divergences.mean(), rel=1e-5)

    def test_the_same_answer_to_all_images_says_nothing_however_sure(self):
        logits = np.tile(np.float32([9, 0, 0]), (7, 1))
        assert validators.information_maximization(logits) == pytest.approx(0, abs=1e-12)
        assert validators.target_entropy(logits) < 0.01

    def test_agrees_with_the_loss_of_that_name(self):
        from keras_i2i import losses

        logits = random_logits(1)
        loss = float(np.mean(np.asarray(losses.information_maximization(logits))))
        assert validators.information_maximization(logits) == pytest.approx(-loss, abs=1e-5)


def neighbourhood_density_by_loops(p, temperature):
    total = 0.0
    for i in range(len(p)):
        similar = [
            math.exp(
                float(p[i] @ p[j] / (np.linalg.norm(p[i]) * np.linalg.norm(p[j]))) / temperature
            )
            for j in range(len(p))
            if j != i
        ]
        shares = [s / sum(similar) for s in similar]
        total -= sum(s * math.log(s) for s in shares)
    return total / len(p)


class TestSoftNeighbourhoodDensity:
    def test_is_the_papers_by_loops(self):
        logits = random_logits(2, (9, 3))
        p = np.exp(logits.astype("float64"))
        p /= p.sum(1, keepdims=True)
        for temperature in (0.05, 0.5):
            found = validators.soft_neighbourhood_density(logits, temperature)
            assert found == pytest.approx(neighbourhood_density_by_loops(p, temperature))

    def test_golden_values(self):
        # All alike: each other image is as near, log(n - 1).
        alike = np.tile(np.float32([3, 1]), (6, 1))
        assert validators.soft_neighbourhood_density(alike) == pytest.approx(LOG(5))
        # Two groups that have nothing in common: each sees the others of its own only.
        groups = 100 * np.repeat(np.eye(2, dtype="float32"), 4, axis=0)
        assert validators.soft_neighbourhood_density(groups) == pytest.approx(LOG(3), abs=1e-5)

    def test_dense_groups_are_denser_than_scattered_predictions(self):
        groups = np.repeat(4 * np.eye(4, dtype="float32"), 10, axis=0)
        groups += random_logits(0, groups.shape, 0.05)
        assert validators.soft_neighbourhood_density(
            groups
        ) > validators.soft_neighbourhood_density(random_logits(3, groups.shape))


class TestProxyADistance:
    @pytest.fixture
    def features(self):
        return np.random.default_rng(0).normal(size=(400, 6)).astype("float32")

    def test_of_one_distribution_is_about_zero(self, features):
        assert validators.proxy_a_distance(features[:200], features[200:]) < 0.4

    def test_of_domains_apart_is_two(self, features):
        shift = np.float32([20, 0, 0, 0, 0, 0])
        assert validators.proxy_a_distance(features, features + shift) == 2.0

    def test_between_it_is_what_the_best_linear_classifier_would_err(self):
        # N(0, 1) and N(2, 1): a threshold in the middle errs on 15.9 % of either.
        rng = np.random.default_rng(1)
        source, target = rng.normal(0, 1, (4000, 1)), rng.normal(2, 1, (2000, 1))
        expected = 2 * (1 - 2 * 0.1587)
        assert validators.proxy_a_distance(source, target) == pytest.approx(expected, abs=0.1)

    def test_is_measured_on_images_that_it_was_not_fitted_on(self):
        # More features than images: what is fitted is told without error.
        noise = np.random.default_rng(2).normal(size=(100, 300)).astype("float32")
        assert validators.proxy_a_distance(noise[:50], noise[50:]) < 0.8

    def test_features_that_are_all_the_same_do_not_differ(self):
        same = np.ones((20, 3), "float32")
        assert validators.proxy_a_distance(same, same) == 0

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("counts", [(1, 20), (20, 1), (0, 20), (1, 1)])
    def test_there_is_none_where_nothing_is_left_to_test_on(self, counts, features):
        source, target = (features[:count] for count in counts)
        assert math.isnan(validators.proxy_a_distance(source, target))


def test_a_single_image_has_no_neighbours():
    assert math.isnan(validators.soft_neighbourhood_density(random_logits(0, (1, 4))))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.0, 1.0, 50.0])
@pytest.mark.parametrize(("n", "classes"), [(2, 2), (12, 3), (5, 6)])
def test_values_stay_in_their_ranges_and_do_not_depend_on_the_order(n, classes, scale, seed):
    logits = random_logits(seed, (n, classes), scale)
    ranges = {
        validators.target_entropy: LOG(classes),
        validators.information_maximization: LOG(classes),
        validators.soft_neighbourhood_density: LOG(max(n - 1, 1)),
    }
    for validator, most in ranges.items():
        value = validator(logits)
        assert -1e-9 <= value <= most + 1e-6
        assert validator(logits[::-1]) == pytest.approx(value, abs=1e-9)


class TestValidate:
    @pytest.fixture
    def reading(self):
        rng = np.random.default_rng(0)
        return Reading(
            random_logits(0),
            rng.integers(0, 4, 20),
            rng.normal(size=(20, 5)),
            random_logits(1, (24, 4)),
            rng.normal(size=(24, 5)),
        )

    def test_gives_each_of_what_it_is_made_for(self, reading):
        assert validate(reading) == {
            "source_validation_accuracy": validators.source_validation_accuracy(
                reading.source_logits, reading.source_labels
            ),
            "target_entropy": validators.target_entropy(reading.target_logits),
            "information_maximization": validators.information_maximization(reading.target_logits),
            "soft_neighbourhood_density": validators.soft_neighbourhood_density(
                reading.target_logits
            ),
            "proxy_a_distance": validators.proxy_a_distance(
                reading.source_features, reading.target_features
            ),
        }
        assert list(validate(reading)) == list(VALIDATORS)

    def test_without_labels_or_features_the_others_remain(self, reading):
        without = reading._replace(source_labels=None)
        assert set(VALIDATORS) - set(validate(without)) == {"source_validation_accuracy"}
        without = reading._replace(source_features=None, target_features=None)
        assert set(VALIDATORS) - set(validate(without)) == {"proxy_a_distance"}

    def test_a_model_that_diverged_has_no_values(self, reading):
        logits = reading.target_logits.copy()
        logits[0, 0] = np.nan
        found = validate(reading._replace(target_logits=logits))
        assert set(found) == set(VALIDATORS)
        assert all(math.isnan(value) for value in found.values())

    def test_the_sign_says_which_way_is_better(self, reading):
        """By the two ends of each range."""
        good = np.repeat(100 * np.eye(4, dtype="float32"), 6, axis=0)
        bad = np.zeros((24, 4), "float32")
        features = reading.target_features
        ends = [
            Reading(good, np.repeat(np.arange(4), 6), features, good, features),
            Reading(
                bad, np.repeat([3, 1, 2], 8), features, random_logits(5, (24, 4)), features + 9
            ),
        ]
        better, worse = map(validate, ends)
        for name, validator in VALIDATORS.items():
            assert validator.sign * better[name] > validator.sign * worse[name], name
