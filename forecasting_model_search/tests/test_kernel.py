"""The process is the textbook's, GPyTorch's and NumPy's; a factor that grew is the factor that was computed at once."""

import gpytorch
import numpy as np
import pytest
import torch

from forecasting_model_search.kernel import (
    JITTERS,
    NotPositiveDefiniteError,
    Posterior,
    RBFProcess,
    cholesky_with_jitter,
)


def process(lengthscale=0.8, signal=1.7, noise=0.3, mean=0.4):
    made = RBFProcess().double()
    made.covariance.base_kernel.lengthscale = lengthscale
    made.covariance.outputscale = signal
    made.likelihood.noise = noise
    made.mean.constant.data.fill_(mean)
    return made


def data(n=12, d=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64), torch.randn(n, generator=generator).double()


def dense_kernel(a, b, lengthscale=0.8, signal=1.7):
    square = ((a[:, None] - b[None]) ** 2).sum(-1)
    return signal * np.exp(-square / (2 * lengthscale**2))


def test_likelihood_and_posterior_are_those_of_dense_numpy():
    x, y = data()
    test, _ = data(5, seed=1)
    made = process()
    a, r = x.numpy(), y.numpy() - 0.4
    S = dense_kernel(a, a) + 0.3 * np.eye(len(a))
    expected = (r @ np.linalg.solve(S, r) / 2 + np.linalg.slogdet(S)[1] / 2 + len(r) / 2 * np.log(2 * np.pi)) / len(r)
    assert float(made.negative_log_likelihood(x, y).detach()) == pytest.approx(expected, abs=1e-6)
    k = dense_kernel(a, test.numpy())
    mean, variance = Posterior.of(made, x, y).predict(test)
    np.testing.assert_allclose(mean.detach(), 0.4 + k.T @ np.linalg.solve(S, r), atol=1e-6)
    np.testing.assert_allclose(variance, 1.7 - np.einsum("nm,nm->m", k, np.linalg.solve(S, k)), atol=1e-6)


def test_likelihood_and_posterior_are_gpytorchs():
    x, y = data()
    test, _ = data(5, seed=1)
    made = process()

    class Model(gpytorch.models.ExactGP):
        def __init__(self):
            super().__init__(x, y, made.likelihood)
            self.mean_module, self.covar_module = made.mean, made.covariance

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    model = Model().double()
    model.train()
    loss = -gpytorch.mlls.ExactMarginalLogLikelihood(made.likelihood, model)(model(x), y)
    assert float(made.negative_log_likelihood(x, y).detach()) == pytest.approx(float(loss.detach()), abs=1e-6)
    model.eval()
    with torch.no_grad():
        expected = model(test)
        mean, variance = Posterior.of(made, x, y).predict(test)
        torch.testing.assert_close(mean, expected.mean, atol=1e-6, rtol=0)
        torch.testing.assert_close(variance, expected.variance, atol=1e-6, rtol=0)


def test_one_observation_in_closed_form():
    x, test = torch.tensor([[0.0]]).double(), torch.tensor([[0.5]]).double()
    made, y = process(), torch.tensor([2.0])
    kappa = np.exp(-(0.5**2) / (2 * 0.8**2))
    mean, variance = Posterior.of(made, x, y).predict(test)
    assert float(mean) == pytest.approx(0.4 + 1.7 * kappa / (1.7 + 0.3) * (2 - 0.4), abs=1e-6)
    assert float(variance) == pytest.approx(1.7 - 1.7**2 * kappa**2 / (1.7 + 0.3), abs=1e-6)


def test_the_gradient_of_the_likelihood_is_right():
    made = process()
    x, y = data(6)
    assert torch.autograd.gradcheck(lambda x: made.negative_log_likelihood(x, y), x.requires_grad_())


@pytest.mark.parametrize("parts", [(12, 13), (5, 6, 7, 20), (1, 20)])
def test_a_factor_that_grew_is_the_factor_at_once(parts):
    x, y = data(20)
    made = process()
    grown = Posterior.of(made, x[: parts[0]], y[: parts[0]])
    for a, b in zip(parts, (*parts[1:], 20), strict=True):
        grown = grown.extend(x[a:b], y[a:b])
    whole = Posterior.of(made, x, y)
    torch.testing.assert_close(grown.factor, whole.factor, atol=1e-10, rtol=0)
    torch.testing.assert_close(grown.whitened, whole.whitened, atol=1e-10, rtol=0)


def test_noise_stays_above_its_floor():
    made = RBFProcess()
    made.likelihood.raw_noise.data.fill_(-100)
    assert float(made.noise.detach()) >= 1e-4 * (1 - 1e-6)  # rounded to float32


def test_repeated_rows_are_saved_by_jitter_and_nan_is_refused():
    x = torch.ones(30, 2).double()
    kernel = process().kernel(x, x).detach()
    assert bool(cholesky_with_jitter(kernel).isfinite().all()) and JITTERS[0] == 0
    with pytest.raises(NotPositiveDefiniteError, match="30 x 30 kernel matrix is not positive definite"):
        cholesky_with_jitter(kernel * torch.nan)
