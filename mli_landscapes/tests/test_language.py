"""Language models read from left to right, start every window afresh, and can share their word vectors."""

import math

import pytest
import torch

from mli_landscapes.language import LSTMLanguageModel, TransformerLanguageModel, sinusoids
from mli_landscapes.losses import next_token_nll

MODELS = [LSTMLanguageModel, TransformerLanguageModel]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("model", MODELS)
def test_a_word_changes_its_own_and_later_logits_alone(model):
    network, words = model(11, width=8).eval(), torch.randint(11, (2, 9))
    changed = words.clone()
    changed[:, 5] = (words[:, 5] + 1) % 11
    before, after = network(words), network(changed)
    assert before.shape == (2, 9, 11)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert all((before[:, t] - after[:, t]).abs().max() > 1e-5 for t in range(5, 9))


@pytest.mark.parametrize("model", MODELS)
def test_windows_do_not_remember_each_other(model):
    network, words = model(11, width=8).eval(), torch.randint(11, (2, 9))
    alone = network(words[1:])
    network(words[:1])
    assert torch.allclose(network(words[1:]), alone)
    assert torch.allclose(network(words)[1:], alone, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_tied_weights_are_one_parameter(model):
    tied, free = model(11, width=8, tied=True), model(11, width=8)
    assert tied.to_logits.weight is tied.embedding.weight
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == 11 * 8


@pytest.mark.parametrize("model", MODELS)
def test_an_untrained_model_is_nearly_undecided_and_learns_a_repeated_sentence(model):
    network, words = model(11, width=16), torch.arange(11).repeat(4, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    losses = []
    for _ in range(40):
        losses.append(next_token_nll(network(words[:, :-1]), (words, words[:, 1:])).mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0].item() == pytest.approx(math.log(11), abs=0.2)
    assert losses[-1] < 0.3


@pytest.mark.parametrize("model", MODELS)
def test_dropout_acts_in_training_alone(model):
    network, words = model(11, width=8, layers=1, dropout=0.5), torch.randint(11, (2, 9))
    assert not torch.equal(network(words), network(words))
    network.eval()
    assert torch.equal(network(words), network(words))


def test_transformer_layers_start_differently():
    first, second = TransformerLanguageModel(11, width=8).encoder.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_nll_of_uniform_logits_is_log_v_and_of_certain_ones_zero():
    targets = torch.tensor([[0, 1, 2], [3, 3, 3]])
    assert torch.allclose(next_token_nll(torch.zeros(2, 3, 5), (None, targets)), torch.full((2,), math.log(5)))
    certain = 100 * torch.nn.functional.one_hot(targets, 5).float()
    certain[0, 0] = 0  # one word of three is unknown
    assert torch.allclose(next_token_nll(certain, (None, targets)), torch.tensor([math.log(5) / 3, 0.0]))


def test_the_scalar_product_of_two_positions_depends_on_their_distance_alone():
    positions = sinusoids(30, 8).double()
    products = positions @ positions.mT
    assert torch.allclose(products[:-7, :-7], products[7:, 7:], atol=1e-5)  # float32 angles up to 30


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: LSTMLanguageModel(0), "vocabulary, width and layers must be >= 1 .* got 0, 200, 2, 0.0"),
        (lambda: LSTMLanguageModel(5, dropout=1.0), r"dropout in \[0, 1\), got 5, 200, 2, 1.0"),
        (lambda: TransformerLanguageModel(5, layers=0), "got 5, 200, 0, 0.0"),
        (lambda: TransformerLanguageModel(5, width=8, heads=3), "a multiple of heads.* got 8, 3, 256"),
        (lambda: TransformerLanguageModel(5, width=3, heads=3), "width must be even .* got 3, 3, 256"),
        (lambda: TransformerLanguageModel(5, context=0), "got 200, 2, 0"),
        (
            lambda: TransformerLanguageModel(5, width=8, context=4)(torch.zeros(1, 5, dtype=torch.int64)),
            "a window of 5 words is longer than the context of 4",
        ),
    ],
)
def test_impossible_models_and_windows_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
