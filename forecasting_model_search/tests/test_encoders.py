"""Embeddings of weights: true symmetries do not change GMN, STAT and NFN; they change FLAT; shuffles change the
function."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from conftest import checkpoint_of, random_state, small_mlp
from forecasting_model_search import FlatEncoder, GraphEncoder, NFNEncoder, NoEncoder, StatEncoder, model_to_graph
from forecasting_model_search.digits import DeepSet, cnn, mlp
from forecasting_model_search.graph_encoder import ScatterGraphEncoder
from forecasting_model_search.weights import fingerprint


def permuted(weights, seed=0):
    """The same function: hidden neurons of both layers in another order."""
    generator = torch.Generator().manual_seed(seed)
    w = dict(weights)
    for layer, above in (("0", "2"), ("2", "4")):
        order = torch.randperm(len(w[f"{layer}.bias"]), generator=generator)
        w[f"{layer}.weight"], w[f"{layer}.bias"] = w[f"{layer}.weight"][order], w[f"{layer}.bias"][order]
        w[f"{above}.weight"] = w[f"{above}.weight"][:, order]
    return w


def shuffled(weights, seed=0):
    """Each tensor's numbers in another order: no symmetry."""
    generator = torch.Generator().manual_seed(seed)
    return {k: v.flatten()[torch.randperm(v.numel(), generator=generator)].view_as(v) for k, v in weights.items()}


def encoders():
    torch.manual_seed(0)
    graph = model_to_graph(small_mlp())
    return {
        "gmn": GraphEncoder(),
        "stat": StatEncoder(6).eval(),
        "nfn": NFNEncoder(graph, channels=4, out=8),
        "flat": FlatEncoder(60, 8),
    }


@pytest.mark.parametrize(("name", "invariant"), [("gmn", True), ("stat", True), ("nfn", True), ("flat", False)])
def test_permutations_of_hidden_neurons_change_flat_alone(name, invariant):
    network = small_mlp()
    weights = random_state(network)
    x = torch.randn(5, 3)
    torch.testing.assert_close(
        functional_call(network, permuted(weights), (x,)), functional_call(network, weights, (x,)), atol=1e-5, rtol=0
    )
    one, other = encoders()[name]([checkpoint_of(network, weights), checkpoint_of(network, permuted(weights))])
    assert bool(((one - other).abs() < 1e-5).all()) is invariant


@pytest.mark.parametrize("name", ["gmn", "nfn", "flat"])
def test_a_shuffle_of_tensors_is_no_symmetry_and_is_seen(name):
    network = small_mlp()
    weights = random_state(network)
    x = torch.randn(5, 3)
    difference = functional_call(network, shuffled(weights), (x,)) - functional_call(network, weights, (x,))
    assert difference.abs().max() > 1e-2
    one, other = encoders()[name]([checkpoint_of(network, weights), checkpoint_of(network, shuffled(weights))])
    assert (one - other).abs().max() > 2e-5  # rounding changes 1e-6


def test_inputs_have_an_order_that_the_graph_keeps():
    network = nn.Sequential(nn.Linear(3, 2))
    weights = random_state(network)
    swapped = {"0.weight": weights["0.weight"][:, [1, 0, 2]], "0.bias": weights["0.bias"]}
    one, other = GraphEncoder()([checkpoint_of(network, weights), checkpoint_of(network, swapped)])
    assert (one - other).abs().max() > 1e-5


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.n, self.b, self.depth = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.n(self.a(x)).relu()
        return self.depth(x + self.b(x))


class Depthwise(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(4, 2))


def test_the_dense_path_is_the_scatter_path_over_mixed_architectures():
    torch.manual_seed(0)
    networks = [mlp(), cnn(), DeepSet(), mlp(), Norms(), Depthwise()]
    checkpoints = [checkpoint_of(n, random_state(n, k)) for k, n in enumerate(networks)]
    dense, scatter = GraphEncoder(width=5, blocks=3), ScatterGraphEncoder(width=5, blocks=3)
    scatter.load_state_dict(dense.state_dict())
    torch.testing.assert_close(dense(checkpoints), scatter(checkpoints), atol=1e-6, rtol=1e-5)
    gradients = []
    for encoder in (dense, scatter):
        encoder(checkpoints).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients, atol=1e-4 * float(gradients[0].abs().max()), rtol=1e-3)  # sums of 1e3 edges


def test_mixed_architectures_come_back_in_their_order():
    torch.manual_seed(0)
    networks = [mlp(), cnn(), mlp()]
    checkpoints = [checkpoint_of(n, random_state(n, k)) for k, n in enumerate(networks)]
    for encoder in (GraphEncoder(), StatEncoder(6).eval()):
        together = encoder(checkpoints)
        alone = torch.cat([encoder([c]) for c in checkpoints])
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_none_has_no_columns_and_a_missing_checkpoint_is_zeros():
    network = small_mlp()
    some = checkpoint_of(network, random_state(network))
    assert NoEncoder()([some, None]).shape == (2, 0)
    assert GraphEncoder(out=3)([None, some])[0].tolist() == [0, 0, 0]
    assert GraphEncoder(out=3)([None, None]).tolist() == [[0] * 3] * 2


def test_weights_that_are_not_finite_are_embedded_as_zeros():
    network = small_mlp()
    weights = {name: torch.full_like(w, torch.nan) for name, w in random_state(network).items()}
    assert bool(GraphEncoder()([checkpoint_of(network, weights)]).isfinite().all())


def test_the_readout_depends_on_the_weights_by_a_gradient():
    network = small_mlp()
    encoder = GraphEncoder()
    encoder([checkpoint_of(network, random_state(network))]).sum().backward()
    assert float(encoder.value_wave.weight.grad.norm()) > 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FlatEncoder(10)([checkpoint_of(small_mlp(), random_state(small_mlp()))]), "up to 10 parameters"),
        (lambda: StatEncoder(3)([checkpoint_of(small_mlp(), random_state(small_mlp()))]), "up to 3 tensors"),
        (lambda: NFNEncoder(model_to_graph(Norms())), "one chain of layers with biases"),
        (lambda: encoders()["nfn"]([checkpoint_of(mlp(), random_state(mlp()))]), "the one architecture"),
        (lambda: GraphEncoder(width=0), "must be positive"),
    ],
)
def test_what_an_encoder_cannot_read_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_fingerprints_tell_weights_apart():
    weights = random_state(small_mlp())
    assert fingerprint(weights) == fingerprint({k: v.clone() for k, v in reversed(weights.items())})
    assert fingerprint(weights) != fingerprint(weights | {"0.bias": weights["0.bias"] + 1e-6})
    assert fingerprint({"w": torch.ones(2, dtype=torch.bfloat16)})


def test_nfn_reads_convolutions_too():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(2, 2))
    encoder = NFNEncoder(model_to_graph(network), channels=3, out=5)
    assert encoder([checkpoint_of(network, random_state(network))]).shape == (1, 5)
