import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from regularized_lae.estimator import RegularizedPCA

DIGITS = load_digits().data


@pytest.fixture(scope="module")
def exact():
    return PCA(5).fit(DIGITS)


@pytest.mark.filterwarnings("ignore")  # of unconverged fits, and of what the checks themselves provoke
def test_it_is_a_scikit_learn_estimator():
    check_estimator(RegularizedPCA(max_iter=300))  # the checks are about the interface


@pytest.mark.parametrize("method, tolerance", [("rag_balanced", 1e-4), ("nested", 1e-3)])
def test_it_agrees_with_scikit_learn_on_digits_signs_and_all(exact, method, tolerance):
    learnt = RegularizedPCA(5, method, random_state=0).fit(DIGITS)
    assert np.allclose(learnt.components_, exact.components_, atol=tolerance)
    assert np.allclose(learnt.explained_variance_, exact.explained_variance_, rtol=tolerance)
    assert np.allclose(learnt.explained_variance_ratio_, exact.explained_variance_ratio_, rtol=tolerance)
    assert np.allclose(learnt.transform(DIGITS), exact.transform(DIGITS), atol=100 * tolerance)
    codes = exact.transform(DIGITS)
    assert np.allclose(learnt.inverse_transform(codes), exact.inverse_transform(codes), atol=100 * tolerance)


def test_plain_rag_shows_its_stall_and_uniform_l2_only_the_subspace(exact):
    stalled = RegularizedPCA(5, "rag", random_state=0).fit(DIGITS)
    assert stalled.imbalance_ > 0.1 and np.abs(stalled.components_ - exact.components_).max() > 0.05
    uniform = RegularizedPCA(5, "uniform", random_state=0).fit(DIGITS)
    overlap = np.linalg.svd(uniform.components_ @ exact.components_.T)[1]
    assert np.abs(uniform.components_ - exact.components_).max() > 0.1
    assert overlap[0] > 0.9


def test_wide_data_are_learnt_without_their_covariance():
    wide = DIGITS[:40].T[:, :30].T @ np.random.default_rng(0).normal(size=(64, 300))
    learnt = RegularizedPCA(3, random_state=0).fit(wide)
    assert np.allclose(learnt.components_, PCA(3).fit(wide).components_, atol=1e-3)


def test_a_stream_of_batches_smaller_than_k_finds_the_components():
    """IncrementalPCA refuses such a batch."""
    exact = PCA(10).fit(DIGITS)
    order = np.random.default_rng(0)
    learnt = RegularizedPCA(10, decay=0.003, random_state=0)
    for _ in range(4):
        for batch in np.array_split(order.permutation(DIGITS), len(DIGITS) // 4):
            learnt.partial_fit(batch)
    alignment = np.abs((learnt.components_ * exact.components_).sum(1))
    assert alignment[:4].min() > 0.9
    captured = np.linalg.norm(learnt.components_ @ exact.components_.T) ** 2 / 10
    assert captured > 0.9
    assert np.allclose(learnt.mean_, DIGITS.mean(0), atol=0.2)
    with pytest.raises(ValueError, match="less or equal to the batch number of samples"):
        IncrementalPCA(10).partial_fit(DIGITS[:4])


def test_one_row_is_a_batch_and_a_fit_goes_on_as_a_stream(exact):
    learnt = RegularizedPCA(5, random_state=0).fit(DIGITS)
    seen = learnt.n_samples_seen_
    learnt.partial_fit(DIGITS[:1])
    assert learnt.n_samples_seen_ == seen + 1
    assert np.allclose(learnt.components_, exact.components_, atol=0.05)
    RegularizedPCA(2).partial_fit(DIGITS[:1])


def test_a_pickled_stream_goes_on_to_the_same_result():
    whole, half = (RegularizedPCA(3, random_state=0) for _ in range(2))
    batches = np.array_split(DIGITS, 20)
    for batch in batches:
        whole.partial_fit(batch)
    for batch in batches[:9]:
        half.partial_fit(batch)
    half = pickle.loads(pickle.dumps(half))
    for batch in batches[9:]:
        half.partial_fit(batch)
    assert np.array_equal(whole.components_, half.components_)


@pytest.mark.parametrize(
    "options, samples, message",
    [
        ({}, np.full((4, 3), np.nan), "contains NaN"),
        ({}, DIGITS[:1], "minimum of 2 is required"),
        ({"n_components": 65}, DIGITS, "n_components=65 must be between 1 and 61"),
        ({"n_components": 2}, np.ones((5, 3)), "between 1 and 0, the directions with variance"),
        ({"n_components": 0}, DIGITS, "positive integer or None, got 0"),
        ({"n_components": 2.5}, DIGITS, "positive integer or None, got 2.5"),
        ({"n_components": 2, "method": "svd"}, DIGITS, "unknown method 'svd'"),
        ({"n_components": 2, "learning_rate": 0}, DIGITS, "learning_rate must be > 0"),
        ({"n_components": 2, "learning_rate": 9.0}, DIGITS, "learning_rate=9.0 is too large"),
        ({"n_components": 3, "method": "nonuniform", "penalty_low": 0.5}, DIGITS, "strictly increasing"),
    ],
)
def test_bad_input_is_one_clear_error(options, samples, message):
    with pytest.raises(ValueError, match=message):
        RegularizedPCA(**options).fit(samples)


def test_too_few_steps_are_not_silent():
    with pytest.warns(ConvergenceWarning, match="20 steps did not bring the gradient below tol"):
        RegularizedPCA(5, max_iter=20).fit(DIGITS)


def test_a_stream_refuses_more_components_than_features_and_transform_wants_a_fit():
    with pytest.raises(ValueError, match="n_components=65 must be between 1 and n_features=64"):
        RegularizedPCA(65).partial_fit(DIGITS)
    with pytest.raises(NotFittedError):
        RegularizedPCA(2).transform(DIGITS)
