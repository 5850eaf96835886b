"""The grid encoder: trilinear, batched over prompts, differentiable twice."""

import pytest
import torch

from att3d.grid_encoder import PAPER_RESOLUTIONS, ModulatedGridEncoder


def test_the_paper_grid_has_a_million_modulations():
    assert ModulatedGridEncoder(PAPER_RESOLUTIONS, 4).size == 1_023_556


def test_a_trilinear_function_is_reproduced_exactly(generator):
    encoder = ModulatedGridEncoder([3, 5], 2)
    coefficients = torch.randn(4, 8, generator=generator, dtype=torch.float64)  # prompts × levels × features flat

    def function(c, x):
        x, y, z = x.unbind(-1)
        return c[0] + c[1] * x + c[2] * y + c[3] * z + c[4] * x * y + c[5] * y * z + c[6] * x * z + c[7] * x * y * z

    parts = []
    for level, r in enumerate(encoder.resolutions):
        axis = torch.linspace(-1, 1, r, dtype=torch.float64)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        at = torch.stack([x, y, z], -1)
        parts += [function(coefficients[2 * level + f], at).flatten() for f in range(2)]
    w = torch.cat(parts)[None]
    points = 2 * torch.rand(1, 50, 3, generator=generator, dtype=torch.float64) - 1
    found = encoder(w, points)[0]
    expected = torch.stack([function(c, points[0]) for c in coefficients], -1)
    assert torch.allclose(found, expected, atol=1e-12)


def test_a_batch_of_prompts_is_each_prompt_alone(generator):
    encoder = ModulatedGridEncoder([3, 4], 4)
    w, x = torch.randn(5, encoder.size, generator=generator), torch.rand(5, 20, 3, generator=generator) * 2 - 1
    alone = torch.cat([encoder(w[p : p + 1], x[p : p + 1]) for p in range(5)])
    assert torch.allclose(encoder(w, x), alone, atol=1e-6)


def test_second_derivatives_are_right(generator):
    encoder = ModulatedGridEncoder([3], 1)
    w = torch.randn(2, encoder.size, generator=generator, dtype=torch.float64, requires_grad=True)
    x = (1.6 * torch.rand(2, 3, 3, generator=generator, dtype=torch.float64) - 0.8 + 0.013).requires_grad_(True)
    assert torch.autograd.gradgradcheck(encoder, (w, x), atol=1e-5)


@pytest.mark.parametrize("arguments", [([], 4), ([1], 4), ([3], 0)])
def test_grids_that_hold_nothing_are_refused(arguments):
    with pytest.raises(ValueError, match="resolutions must name levels"):
        ModulatedGridEncoder(*arguments)


def test_modulations_of_another_grid_are_refused_by_shape():
    with pytest.raises(ValueError, match=r"w must be \(P, 108\) and x \(P, N, 3\), got \(1, 107\)"):
        ModulatedGridEncoder([3], 4)(torch.zeros(1, 107), torch.zeros(1, 5, 3))
