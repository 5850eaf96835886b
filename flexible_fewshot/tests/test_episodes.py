"""Episodes: what is positive and negative, that nothing repeats, and that a seed decides all."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from conftest import EIGHT, random_table
from flexible_fewshot import AttributeEpisodeSampler, AttributeTable, Episodes


def sample(table, pool=("a", "b", "c"), n_shot=1, n_query=0, n=400, **options):
    return AttributeEpisodeSampler(table, pool, n_shot, n_query or (1, 0), n, **options).sample()


def test_all_episodes_of_eight_images_obey_their_context(eight):
    """All contexts with two positives occur, and each image has the label that the table implies."""
    episodes = sample(eight, n_query=1)
    assert Counter(map(len, episodes.contexts)).keys() == {1, 2}
    assert {c for c in episodes.contexts if len(c) == 2} == set(combinations("abc", 2))
    assert {c for c in episodes.contexts if len(c) == 1} == {("a",), ("b",), ("c",)}
    for episode in (episodes[i] for i in range(len(episodes))):
        columns = eight.columns(episode.context)
        for rows, labels in ((episode.support, episode.support_y), (episode.query, episode.query_y)):
            assert torch.equal(torch.from_numpy(EIGHT[rows][:, columns].all(1)).long(), labels)


def test_a_conjunction_of_eight_images_has_two_positives_and_six_negatives(eight):
    found = {(int(e.support[0]), int(e.support[1])) for e in AttributeEpisodeSampler(eight, ("a", "b"), 1, (1, 0), 3000)
             if len(e.context) == 2}  # fmt: skip
    assert found == {(p, n) for p in (6, 7) for n in range(6)}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_no_image_occurs_twice_and_supports_and_queries_are_balanced(shots, queries, seed):
    episodes = AttributeEpisodeSampler(random_table(120), ("a", "b", "c"), shots, queries, 10, seed=seed).sample()
    for i in range(len(episodes)):
        e = episodes[i]
        rows = torch.cat([e.support, e.query]).tolist()
        assert len(set(rows)) == len(rows) == 2 * (shots + queries)
        assert int(e.support_y.sum()) == shots and int(e.query_y.sum()) == queries


def test_one_image_gets_both_labels_across_episodes():
    """The trap of sampling two fixed classes: here similarity depends on the context."""
    seen = {}
    for e in AttributeEpisodeSampler(random_table(60), ("a", "b", "c"), 5, 5, 100):
        for row, label in zip(e.support.tolist(), e.support_y.tolist(), strict=True):
            seen.setdefault(row, set()).add(label)
    assert sum(labels == {0, 1} for labels in seen.values()) > 40


def test_negatives_are_uniform_over_all_that_lack_an_attribute():
    """(1, 0), (0, 1) and (0, 0) come in the shares of the complement; drawing only (0, 0) would be another problem."""
    table = random_table(4000, ("a", "b"), chance=0.6)
    counts = Counter()
    for e in AttributeEpisodeSampler(table, ("a", "b"), 10, 10, 600, seed=3):
        if len(e.context) == 2:
            counts.update(map(tuple, table.values[e.support[10:]].tolist()))
    values, expected = table.values, {}
    for kind in ((0, 0), (0, 1), (1, 0)):
        expected[kind] = (values == kind).all(1).sum()
    total, complement = sum(counts.values()), sum(expected.values())
    assert counts.keys() == expected.keys()
    observed = [counts[kind] for kind in expected]
    assert stats.chisquare(observed, [total * n / complement for n in expected.values()]).pvalue > 1e-3


def test_the_same_seed_gives_the_same_episodes_in_any_number_of_parts():
    sampler = AttributeEpisodeSampler(random_table(), ("a", "b", "c"), 5, 5, 12, seed=1)
    whole, again = sampler.sample(), AttributeEpisodeSampler(random_table(), ("a", "b", "c"), 5, 5, 12, seed=1).sample()
    parts = [sampler.sample(first, 4) for first in (8, 0, 4)]
    assert torch.equal(whole.support, again.support) and whole.contexts == again.contexts
    joined = torch.cat([parts[1].query, parts[2].query, parts[0].query])
    assert torch.equal(whole.query, joined)
    other = AttributeEpisodeSampler(random_table(), ("a", "b", "c"), 5, 5, 12, seed=2).sample()
    assert not torch.equal(whole.support, other.support)


def test_contexts_that_are_too_rare_are_drawn_again_and_counted():
    values = np.zeros((200, 2), np.int8)
    values[:100, 0] = 1
    values[:3, 1] = 1
    table = AttributeTable(tuple(map(str, range(200))), ("common", "rare"), values)
    sampler = AttributeEpisodeSampler(table, ("common", "rare"), 5, 5, 200)
    assert set(sampler.sample().contexts) == {("common",)}
    assert sampler.rejected_share == pytest.approx(0.75, abs=0.06)  # `rare` and the pair


def test_unknown_values_are_neither_positive_nor_negative():
    values = np.array([[1, 1], [1, -1], [-1, 0], [0, -1], [-1, -1], [1, 1], [0, 0]], np.int8)
    table = AttributeTable(tuple("stuvwxy"), ("a", "b"), values)
    positives, negatives = set(), set()
    for e in AttributeEpisodeSampler(table, ("a", "b"), 1, (1, 0), 500):
        if len(e.context) == 2:
            positives.add(int(e.support[0]))
            negatives.add(int(e.support[1]))
    assert positives == {0, 5} and negatives == {2, 3, 6}


def test_queries_can_have_a_pool_of_their_own_and_be_unbalanced():
    rows = np.arange(100)
    sampler = AttributeEpisodeSampler(random_table(300), ("a", "b"), 3, (2, 7), 50, query_rows=rows)
    episodes = sampler.sample()
    assert episodes.query.shape == (50, 9) and int(episodes.query_y[0].sum()) == 2
    assert int(episodes.query.max()) < 100 <= int(episodes.support.min())


def test_fewer_shots_keep_the_queries():
    episodes = AttributeEpisodeSampler(random_table(), ("a", "b"), 5, 4, 10).sample()
    two = episodes.with_shots(2)
    assert isinstance(two, Episodes) and two.shots == 2 and torch.equal(two.query, episodes.query)
    assert torch.equal(two.support, episodes.support[:, [0, 1, 5, 6]])
    assert two.support_y[0].tolist() == [1, 1, 0, 0]
    with pytest.raises(ValueError, match="have 5 shots, 6 were asked for"):
        episodes.with_shots(6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_shot": 0}, "must be >= 1 and n_query positive, got 0"),
        ({"n_query": (0, 0)}, "n_query positive"),
        ({"max_conjunction": 3}, "at most the 3 attributes of the pool, got 3"),
        ({"pool": ("a", "z")}, "unknown attribute 'z', choose from a, b, c"),
    ],
)
def test_impossible_samplers_are_refused(eight, change, said):
    settings_ = {"pool": ("a", "b", "c"), "n_shot": 1, "n_query": 1, "n_episodes": 5, **change}
    with pytest.raises(ValueError, match=said):
        AttributeEpisodeSampler(eight, **settings_)


def test_too_few_images_for_any_context_are_an_error_that_says_what_is_needed(eight):
    with pytest.raises(ValueError, match=r"no context with enough images .* 20 \+ 20 positives"):
        AttributeEpisodeSampler(eight, ("a", "b"), 20, 20, 1).sample()


@pytest.mark.parametrize(
    ("values", "images", "said"),
    [
        (np.zeros((2, 3), np.int8), ("x", "x"), "image 'x' occurs twice"),
        (np.zeros((2, 2), np.int8), ("x", "y"), r"must be \(images, attributes\) = \(2, 3\), got \(2, 2\)"),
        (np.full((2, 3), 2, np.int8), ("x", "y"), "got 2"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(values, images, said):
    with pytest.raises(ValueError, match=said):
        AttributeTable(images, ("a", "b", "c"), values)


def test_a_table_needs_as_many_identities_as_images(eight):
    with pytest.raises(ValueError, match="identities must be"):
        AttributeTable(eight.images, eight.attributes, eight.values, np.zeros(3))
