"""Theoretical bounds on estimation error for meta-learning (Lucas, Ren, Kameni, Pitassi and Zemel, ICLR 2021).

The method is here to import: minimax lower bounds over packings, mutual information, the hierarchical Bayesian linear
model with its exact risks and upper bounds, and estimators to hold against them. The experiments are the command
`meta-bounds`.
"""

from .divergence import discrete_kl_bits, linear_kl_bits, mean_kl
from .environment import (
    PAPER_TAU,
    gaussian_designs,
    polynomial_designs,
    polynomial_features,
    sample_sinusoids,
    sample_targets,
    sample_tasks,
    sinusoid_features,
)
from .estimators import ESTIMATORS, AffineEstimator, Designs, gradient_steps
from .fano import (
    Bound,
    fano_error,
    iid_bound,
    information_bound,
    meta_bound,
    mixture_information,
    partial_bound,
    sharp_fano_error,
    unseen_information,
)
from .hierarchical import HBLR, Posterior, TrainingSummary, gram
from .information import Estimate, PackingInformation, packing_information
from .linear_regression import effective_samples, linear_regression_bound, packing_bound, printed_bound
from .packing import Packing, greedy_packing, hexagon, hypercube
from .planner import min_shots
from .upper_bounds import explicit_upper_bound, orthonormal_worst_case, theorem4_rate
from .variances import Variances, estimate_variances

__version__ = "0.1.0"
__all__ = [
    "ESTIMATORS",
    "HBLR",
    "PAPER_TAU",
    "AffineEstimator",
    "Bound",
    "Designs",
    "Estimate",
    "Packing",
    "PackingInformation",
    "Posterior",
    "TrainingSummary",
    "Variances",
    "discrete_kl_bits",
    "effective_samples",
    "estimate_variances",
    "explicit_upper_bound",
    "fano_error",
    "gaussian_designs",
    "gradient_steps",
    "gram",
    "greedy_packing",
    "hexagon",
    "hypercube",
    "iid_bound",
    "information_bound",
    "linear_kl_bits",
    "linear_regression_bound",
    "mean_kl",
    "meta_bound",
    "min_shots",
    "mixture_information",
    "orthonormal_worst_case",
    "packing_bound",
    "packing_information",
    "partial_bound",
    "polynomial_designs",
    "polynomial_features",
    "printed_bound",
    "sample_sinusoids",
    "sample_targets",
    "sample_tasks",
    "sharp_fano_error",
    "sinusoid_features",
    "theorem4_rate",
    "unseen_information",
]
