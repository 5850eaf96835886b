"""Averaged fits: moments of the mixture, one member is itself, members differ in their first weights alone."""

import pytest
import torch

from conftest import QUICK, small_hub
from forecasting_model_search import Ensemble, SurrogateSettings, fit, make_surrogate
from forecasting_model_search.evidence import columns, forecast_claims, transfer_claims
from forecasting_model_search.experiment import Experiment
from forecasting_model_search.forecast import observe, points_of
from forecasting_model_search.rows import RowBuilder, scores_of
from forecasting_model_search.tables import forecast_table


def fitted(seeds, encoder="stat"):
    hub = small_hub()
    history = observe(hub, range(6), [3] * 6)
    inputs = RowBuilder(points_of(hub), hub.epochs, hub.checkpoints).inputs(history, history.rows())
    members = []
    for seed in seeds:
        graphs = list(hub.checkpoints.graphs.values())
        gp = make_surrogate(SurrogateSettings(encoder, width=4), hub.space.width, graphs, seed)
        fit(gp, inputs, scores_of(history.rows()), QUICK, torch.Generator().manual_seed(seed))
        members.append(gp)
    return members, inputs


@pytest.mark.parametrize("noise", [False, True])
def test_mean_and_spread_are_those_of_the_equal_mixture(noise):
    members, inputs = fitted([0, 1, 2])
    means, deviations = zip(*(gp.posterior(inputs, noise=noise) for gp in members), strict=True)
    mean, std = Ensemble(members).posterior(inputs, noise=noise)
    torch.testing.assert_close(mean, sum(means) / 3)
    second_moment = sum(s**2 + m**2 for m, s in zip(means, deviations, strict=True)) / 3
    torch.testing.assert_close(std, (second_moment - mean**2).sqrt(), atol=1e-6, rtol=1e-5)


def test_one_member_is_itself():
    (gp,), inputs = fitted([0])
    for own, alone in zip(Ensemble([gp]).posterior(inputs), gp.posterior(inputs), strict=True):
        torch.testing.assert_close(own, alone)


def test_each_member_has_a_cache_of_its_own():
    members, inputs = fitted([0, 1], "gmn")
    ensemble = Ensemble(members)
    caches = ensemble.new_caches()
    first = ensemble.posterior(inputs, caches)[0]
    torch.testing.assert_close(ensemble.posterior(inputs, caches)[0], first)
    torch.testing.assert_close(ensemble.posterior(inputs)[0], first)
    assert caches[0].keys() == caches[1].keys() and caches[0]


def test_an_empty_ensemble_is_refused():
    with pytest.raises(ValueError, match="at least one surrogate, got none"):
        Ensemble([])


def test_members_of_a_study_see_the_same_rows_and_start_from_other_weights():
    experiment = Experiment(["demo", "fast"], ["--model.init_args.encoder=none"])
    first, again, other = experiment.fitted(), experiment.fitted(0), experiment.fitted(1)
    states = [model.gp.state_dict()["features.second.weight"] for model in (first, again, other)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    assert first.trainer.datamodule is other.trainer.datamodule


def records(method, taus):
    return [{"method": method, "seed": seed, "next/1": tau} for seed, tau in taus.items()]


def test_methods_are_paired_on_the_hubs_that_both_have():
    found = records("none", {0: 0.1, 1: 0.2, 2: 0.3}) + records("gmn shuffled", {2: 0.4, 0: 0.5})
    assert columns(found, "gmn shuffled", "none", "next/1") == ([0.5, 0.4], [0.1, 0.3])
    assert "(2 of the hubs)" in forecast_table(found)


def test_claims_are_made_of_what_was_measured_and_hold_where_the_interval_does():
    plain = {0: 0.1, 1: 0.2, 2: 0.3}
    found = records("none", plain) + records("gmn", {seed: tau + 0.06 + 0.001 * seed for seed, tau in plain.items()})
    claims = {claim.id: claim for claim in forecast_claims(found)}
    assert claims.keys() == {"forecast-gmn", "forecast-gmn-size"}
    assert all(claim.holds for claim in [*claims.values(), *transfer_claims(found)])
    worse = forecast_claims(records("none", plain) + records("gmn", {0: 0.4, 1: 0.2, 2: 0.1}))
    assert not any(claim.holds for claim in worse)
