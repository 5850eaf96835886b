"""T-scores, splits, intervals: labels alone, and episodes as the unit of everything."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from conftest import random_table
from flexible_fewshot import (
    AttributeSplit,
    AttributeTable,
    Interval,
    episode_scores,
    over_episodes,
    over_seeds,
    paired_difference,
    transferability_score,
)
from flexible_fewshot.intervals import pooled
from flexible_fewshot.splits import FOLDER
from flexible_fewshot.transferability import auc, bin_of, equal_width_edges


def test_independent_labels_score_a_half_and_a_copied_attribute_scores_one():
    tables = []
    for seed in (0, 1):
        base = random_table(6000, ("a", "b", "c"), seed)
        values = np.column_stack([base.values, base.values[:, 0]]).astype(np.int8)
        tables.append(AttributeTable(base.images, ("a", "b", "independent", "copy"), values))
    scores = transferability_score(*tables, AttributeSplit(("a", "b"), ("independent",), ("independent", "copy")))
    assert scores["independent"] == pytest.approx(0.5, abs=0.02) and scores["copy"] == 1.0


def test_unknown_labels_are_left_out():
    values = np.random.default_rng(0).integers(0, 2, (2000, 2)).astype(np.int8)
    values[:, 1] = values[:, 0]
    values[::3, 1] = -1
    values[::5, 0] = -1
    table = AttributeTable(tuple(map(str, range(2000))), ("a", "b"), values)
    assert transferability_score(table, table, AttributeSplit(("a",), ("b",), ("b",)))["b"] > 0.85


def test_an_attribute_that_never_varies_has_no_score():
    table = AttributeTable(("x", "y"), ("a", "b"), np.array([[0, 1], [1, 1]], np.int8))
    with pytest.raises(ValueError, match="attribute b does not vary over the training images"):
        transferability_score(table, table, AttributeSplit(("a",), ("b",), ("b",)))


def test_the_auc_is_sklearns_with_ties_too():
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 300), random.integers(0, 8, 300).astype(float)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_an_episode_has_the_mean_score_of_its_context_and_bins_are_equally_wide():
    assert episode_scores({"a": 0.5, "b": 0.9}, [("a",), ("a", "b")]).tolist() == pytest.approx([0.5, 0.7])
    scores = np.array([0.0, 0.1, 0.5, 0.9, 0.6])
    edges = equal_width_edges(scores)
    assert edges.tolist() == pytest.approx([0, 0.3, 0.6, 0.9]) and bin_of(scores, edges).tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(("name", "train", "test"), [("celeba", 14, 13), ("zappos50k", 40, 39), ("imagenet", 11, 10)])
def test_the_papers_splits_have_the_papers_sizes_and_validate_on_test_attributes(name, train, test):
    split = AttributeSplit.load(name)
    assert len(split.train) == train and len(split.test) == test and not split.clean
    assert split.group("oracle") == (*split.train, *split.test)


def test_all_packaged_splits_are_disjoint():
    for path in FOLDER.glob("*.yaml"):
        split = AttributeSplit.load(path.stem)
        assert not set(split.train) & {*split.val, *split.test}


def test_a_random_split_is_a_function_of_its_seed():
    names = [f"a{i}" for i in range(12)]
    split = AttributeSplit.random(names, 5, seed=1, n_val=3)
    assert split == AttributeSplit.random(names, 5, seed=1, n_val=3) != AttributeSplit.random(names, 5, seed=2, n_val=3)
    assert sorted([*split.train, *split.val, *split.test]) == sorted(names) and split.clean
    assert AttributeSplit.random(names, 5, seed=1).val == AttributeSplit.random(names, 5, seed=1).test


def test_splits_that_leak_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train and test attributes must not overlap, both have b"):
        AttributeSplit(("a", "b"), ("c",), ("b", "c"))
    with pytest.raises(ValueError, match="the val attributes must be some different names"):
        AttributeSplit(("a",), (), ("b",))
    with pytest.raises(ValueError, match=r"no split 'celebb': .* packaged celeba, digits"):
        AttributeSplit.load("celebb")
    (tmp_path / "s.yaml").write_text("train: [a]\n")
    with pytest.raises(ValueError, match="expected lists under train, test"):
        AttributeSplit.load(str(tmp_path / "s.yaml"))
    with pytest.raises(ValueError, match="unknown group of attributes 'tests'"):
        AttributeSplit(("a",), ("b",), ("b",)).group("tests")
    with pytest.raises(ValueError, match="leave none to test"):
        AttributeSplit.random(["a", "b"], 2, seed=0)


def test_an_interval_is_over_episodes_and_covers_its_mean():
    """1.96 s / √E with E episodes: 80 images in each do not make it narrower."""
    values = np.random.default_rng(0).normal(70, 10, (400, 600))
    found = [over_episodes(row) for row in values]
    assert found[0].half_width == pytest.approx(1.96 * values[0].std(ddof=1) / np.sqrt(600))
    assert 0.92 < np.mean([f.low < 70 < f.high for f in found]) < 0.98
    with pytest.raises(ValueError, match="at least two episodes"):
        over_episodes([1.0])


def test_a_paired_interval_is_narrower_than_that_of_unpaired_episodes():
    random = np.random.default_rng(0)
    difficulty = random.normal(70, 10, 600)
    first, second = difficulty + 1 + random.normal(0, 2, 600), difficulty + random.normal(0, 2, 600)
    paired = paired_difference(first, second)
    assert paired.low > 0 and paired.half_width < 0.3 * over_episodes(first).half_width
    with pytest.raises(ValueError, match=r"the same episodes, got \(600,\) and \(3,\)"):
        paired_difference(first, [1, 2, 3])


def test_seeds_widen_an_interval_that_episodes_alone_make_too_narrow():
    random = np.random.default_rng(0)
    by_seed = [random.normal(70 + shift, 5, 600) for shift in (-2, 0, 2)]
    assert over_seeds(by_seed).half_width > 5 * pooled(by_seed).half_width
    assert over_seeds(by_seed[:1]) == over_episodes(by_seed[0])
    assert Interval(1.0, 0.5).low == 0.5 and Interval(1.0, 0.5).high == 1.5
