"""Analyzing Monotonic Linear Interpolation in Neural Network Loss Landscapes (Lucas et al., ICML 2021).

The tools are here to import: `interpolate` for the loss between any two networks, Δ-monotonicity, Gauss length and
total turning of output paths, Theorem 1 as a check, planes through three networks, and hundreds of networks trained
as one stack. The experiments are the command `mli-landscapes`.
"""

from .batchnorm import batchnorm_statistics, recalibrate_batchnorm
from .callbacks import MLICallback, Snapshots
from .checkpoints import load_state
from .curves import OutputCurve, chord_deviation, sample_curve
from .distance import stacked_weight_distance, weight_distance
from .gauss import gauss_length, polygon_turning, total_turning
from .interpolation import (
    InterpolationResult,
    interpolate,
    interpolate_layers,
    interpolate_objective,
    interpolate_pairs,
)
from .losses import cross_entropy, error_rate, next_token_nll, reconstruction_error, squared_error
from .mlp import MLP, MLPAutoencoder
from .monotonicity import Bump, CurveShape, barrier, bumps, curve_shape, diverged, is_monotonic, min_delta
from .optim import Graft, PerNetworkRate
from .outward import outward_penalty
from .plane import Plane, filter_normalised, grid_around, loss_plane, plane
from .quadratic import QuadraticPath, quadratic_path
from .resnet import ResNet
from .stack import NetworkStack
from .stacked_trainer import StackedTrainer
from .states import matching_states, parameters_of, snapshot
from .theorem1 import Theorem1, theorem1

__version__ = "0.1.0"
__all__ = [
    "MLP",
    "Bump",
    "CurveShape",
    "Graft",
    "InterpolationResult",
    "MLICallback",
    "MLPAutoencoder",
    "NetworkStack",
    "OutputCurve",
    "PerNetworkRate",
    "Plane",
    "QuadraticPath",
    "ResNet",
    "Snapshots",
    "StackedTrainer",
    "Theorem1",
    "barrier",
    "batchnorm_statistics",
    "bumps",
    "chord_deviation",
    "cross_entropy",
    "curve_shape",
    "diverged",
    "error_rate",
    "filter_normalised",
    "gauss_length",
    "grid_around",
    "interpolate",
    "interpolate_layers",
    "interpolate_objective",
    "interpolate_pairs",
    "is_monotonic",
    "load_state",
    "loss_plane",
    "matching_states",
    "min_delta",
    "next_token_nll",
    "outward_penalty",
    "parameters_of",
    "plane",
    "polygon_turning",
    "quadratic_path",
    "recalibrate_batchnorm",
    "reconstruction_error",
    "sample_curve",
    "snapshot",
    "squared_error",
    "stacked_weight_distance",
    "theorem1",
    "total_turning",
    "weight_distance",
]
