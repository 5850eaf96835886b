"""Gradient caching is exact with all graphs; every encoder learns; a fit is repeatable."""

import pytest
import torch

from conftest import small_hub
from forecasting_model_search import FitSettings, SurrogateSettings, fit, make_surrogate
from forecasting_model_search.fitting import embeddings, scale_gradient
from forecasting_model_search.forecast import observe, points_of
from forecasting_model_search.rows import RowBuilder, scores_of


def problem(encoder="gmn", seed=0):
    hub = small_hub()
    history = observe(hub, range(6), [3] * 6)
    rows = history.rows()
    inputs = RowBuilder(points_of(hub), hub.epochs, hub.checkpoints).inputs(history, rows)
    gp = make_surrogate(
        SurrogateSettings(encoder, width=4), hub.space.width, list(hub.checkpoints.graphs.values()), seed
    )
    return gp, inputs, scores_of(rows)


def gradients(gp):
    return torch.cat([p.grad.flatten() for p in gp.parameters() if p.grad is not None])


def test_gradient_caching_with_all_graphs_is_the_exact_gradient():
    gp, inputs, scores = problem()
    gp.standardise(scores)
    gp.loss(inputs, scores).backward()
    exact = gradients(gp)
    gp.zero_grad()
    embedded, fresh = embeddings(gp, inputs, gp.embed(inputs.checkpoints), len(inputs), torch.Generator())
    gp.loss(inputs, scores, embedded).backward()
    scale_gradient(gp.encoder, len(inputs) / len(fresh))
    torch.testing.assert_close(gradients(gp), exact, atol=1e-6, rtol=1e-4)


def test_a_cached_gradient_is_right_on_average():
    """Over all minibatches of one graph, with a cache that is up to date, its mean is the exact gradient of the
    encoder."""
    gp, inputs, scores = problem()
    gp.standardise(scores)
    gp.loss(inputs, scores).backward()
    exact = torch.cat([p.grad.flatten() for p in gp.encoder.parameters() if p.grad is not None])
    cache, total = gp.embed(inputs.checkpoints), 0
    for k in range(len(inputs)):
        gp.zero_grad()
        embedded = cache.index_copy(0, torch.tensor([k]), gp.encoder([inputs.checkpoints[k]]))
        gp.loss(inputs, scores, embedded).backward()
        scale_gradient(gp.encoder, len(inputs))
        total = total + torch.cat([p.grad.flatten() for p in gp.encoder.parameters() if p.grad is not None])
    scale = float(exact.abs().max())
    torch.testing.assert_close(
        total / len(inputs) / scale, exact / scale, atol=1e-3, rtol=0
    )  # float32 terms that cancel in their sum


@pytest.mark.parametrize("encoder", ["none", "flat", "stat", "nfn", "gmn"])
@pytest.mark.parametrize(
    "settings", [FitSettings(30, 1e-2), FitSettings(30, 1e-2, rows=8), FitSettings(30, 1e-2, graphs=6)]
)
def test_the_likelihood_rises_and_the_weights_are_used(encoder, settings):
    gp, inputs, scores = problem(encoder)
    losses = fit(gp, inputs, scores, settings, torch.Generator().manual_seed(0))
    assert len(losses) == 30 and sum(losses[-5:]) < sum(losses[:5])
    mean, std = gp.posterior(inputs)
    assert bool(mean.isfinite().all()) and bool((std >= 0).all())
    if encoder != "none":
        gp.zero_grad()
        gp.loss(inputs, scores).backward()
        assert sum(float(p.grad.norm()) for p in gp.encoder.parameters() if p.grad is not None) > 0


def test_a_fit_is_the_same_again():
    found = []
    for _ in range(2):
        gp, inputs, scores = problem()
        fit(gp, inputs, scores, FitSettings(5, rows=8, graphs=4), torch.Generator().manual_seed(3))
        found.append(gp.posterior(inputs)[0])
    assert torch.equal(*found)


def test_a_process_that_knows_nothing_says_so():
    gp, inputs, _ = problem()
    with pytest.raises(ValueError, match="knows no rows yet"):
        gp.posterior(inputs)


def test_a_kernel_that_breaks_down_ends_the_fit_with_the_last_good_parameters(monkeypatch):
    gp, inputs, scores = problem("none")
    calls = []
    good = gp.loss

    def breaks(*args):
        calls.append(1)
        return good(args[0], args[1] * torch.nan if len(calls) == 3 else args[1], *args[2:])

    monkeypatch.setattr(gp, "loss", breaks)
    from forecasting_model_search.kernel import NotPositiveDefiniteError

    def refuses(*args):
        calls.append(1)
        if len(calls) == 3:
            raise NotPositiveDefiniteError("broken")
        return good(*args)

    monkeypatch.setattr(gp, "loss", refuses)
    assert len(fit(gp, inputs, scores, FitSettings(10), torch.Generator())) == 2
    assert bool(gp.posterior(inputs)[0].isfinite().all())


def test_encoders_without_checkpoints_and_nfn_on_two_architectures_are_refused():
    with pytest.raises(ValueError, match="needs checkpoints, and there are none"):
        make_surrogate(SurrogateSettings("stat"), 2, [], 0)
    from forecasting_model_search.digits import cnn, mlp
    from forecasting_model_search.parameter_graph import model_to_graph

    with pytest.raises(ValueError, match="NFN reads one architecture, got 2"):
        make_surrogate(SurrogateSettings("nfn"), 2, [model_to_graph(mlp()), model_to_graph(cnn())], 0)
