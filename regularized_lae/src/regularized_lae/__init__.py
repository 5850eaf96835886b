"""Regularized linear autoencoders recover the principal components, eventually (Bao et al., NeurIPS 2020).

The method is here to import: losses and their closed-form optima, exact curvature, the rotation augmented gradient as a
torch optimizer, and a scikit-learn estimator. The experiments are the command `regularized-lae`.
"""

from .autoencoder import LinearAutoencoder, TiedLinearAutoencoder
from .covariance import Covariance, DenseCovariance, RunningCovariance, SampleCovariance, running_covariance
from .eigengame import eigengame_direction, to_sphere
from .gha import gha_direction
from .hessian import (
    condition_number,
    hessian_spectrum_l2,
    hessian_spectrum_nd,
    l2_rotation_bound,
    nd_rotation_bound,
    rag_rates,
)
from .losses import (
    even_survival,
    geometric_survival,
    l2_nonuniform,
    l2_penalty,
    l2_uniform,
    nested_dropout,
    nested_dropout_expectation,
    reconstruction,
    sample_kept,
)
from .methods import METHODS, Method
from .metrics import (
    axis_alignment,
    haar_alignment,
    matched_alignment,
    ordered_alignment,
    subspace_distance,
    transpose_error,
)
from .optim import PerRunRate
from .optimum import Optimum, l2_optimum, nested_dropout_optimum, recovers_axes
from .penalties import check_penalties, collapsed_units, from_repo_list, relative_penalties
from .rag import RAG, LatentMoment, balance_penalty, cayley, imbalance, rag_gamma
from .toda import toda_flow
from .vae import VAEOptimum, negative_elbo, vae_optimum

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "RAG",
    "Covariance",
    "DenseCovariance",
    "LatentMoment",
    "LinearAutoencoder",
    "Method",
    "Optimum",
    "PerRunRate",
    "RunningCovariance",
    "SampleCovariance",
    "TiedLinearAutoencoder",
    "VAEOptimum",
    "axis_alignment",
    "balance_penalty",
    "cayley",
    "check_penalties",
    "collapsed_units",
    "condition_number",
    "eigengame_direction",
    "even_survival",
    "from_repo_list",
    "geometric_survival",
    "gha_direction",
    "haar_alignment",
    "hessian_spectrum_l2",
    "hessian_spectrum_nd",
    "imbalance",
    "l2_nonuniform",
    "l2_optimum",
    "l2_penalty",
    "l2_rotation_bound",
    "l2_uniform",
    "matched_alignment",
    "nd_rotation_bound",
    "negative_elbo",
    "nested_dropout",
    "nested_dropout_expectation",
    "nested_dropout_optimum",
    "ordered_alignment",
    "rag_gamma",
    "rag_rates",
    "reconstruction",
    "recovers_axes",
    "relative_penalties",
    "running_covariance",
    "sample_kept",
    "subspace_distance",
    "to_sphere",
    "toda_flow",
    "transpose_error",
    "vae_optimum",
]
