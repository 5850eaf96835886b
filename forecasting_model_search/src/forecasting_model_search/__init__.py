"""Forecasting Model Search (Mehta et al., 2024): hyperparameter optimisation that reads the checkpoints.

A searcher to ask and tell, surrogates with and without weights, hubs to replay on, and engines for Optuna, Ray Tune and
Lightning in `forecasting_model_search.engines`. The experiments are the command `forecasting-model-search`.
"""

from .acquisition import best_at, expected_improvement
from .checkpoints import CheckpointStore, FolderStore, Retention, weights_of
from .encoders import FlatEncoder, NFNEncoder, NoEncoder, StatEncoder, WeightEncoder
from .fitting import FitSettings, fit
from .graph_encoder import GraphEncoder
from .history import History
from .hub import ModelHub
from .kernel import Posterior, RBFProcess
from .methods import SurrogateSettings, make_surrogate
from .metrics import kendall_tau, regret
from .parameter_graph import ParameterGraph, model_to_graph
from .replay import replay
from .schedule import DyHPOSchedule, RefitSchedule
from .search import ForecastingModelSearch
from .space import Categorical, Float, Int, SearchSpace
from .suggestion import SearchSettings, Suggestion
from .surrogate import DeepKernel, DeepKernelGP
from .weights import Checkpoint

__version__ = "0.1.0"
__all__ = [
    "Categorical",
    "Checkpoint",
    "CheckpointStore",
    "DeepKernel",
    "DeepKernelGP",
    "DyHPOSchedule",
    "FitSettings",
    "FlatEncoder",
    "Float",
    "FolderStore",
    "ForecastingModelSearch",
    "GraphEncoder",
    "History",
    "Int",
    "ModelHub",
    "NFNEncoder",
    "NoEncoder",
    "ParameterGraph",
    "Posterior",
    "RBFProcess",
    "RefitSchedule",
    "Retention",
    "SearchSettings",
    "SearchSpace",
    "StatEncoder",
    "Suggestion",
    "SurrogateSettings",
    "WeightEncoder",
    "best_at",
    "expected_improvement",
    "fit",
    "kendall_tau",
    "make_surrogate",
    "model_to_graph",
    "regret",
    "replay",
    "weights_of",
]
