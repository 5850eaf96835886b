"""Public collections of networks, read from their own layouts on disk. Nothing is downloaded, nothing is unpickled."""

from .cnn_wild_park import PartialResidual, read_wild_park
from .dws_inrs import DWSNet, find_inrs, inr_network, read_inr, read_split
from .model_zoos import ZooEpoch, model_zoo_network, read_model_zoo
from .nfn_sirens import NFNSiren, find_sirens
from .small_cnn_zoo import SmallCNN, SmallCNNZoo, read_layout, small_cnn_state, split_rows
from .states import load_tensors

__all__ = [
    "DWSNet",
    "NFNSiren",
    "PartialResidual",
    "SmallCNN",
    "SmallCNNZoo",
    "ZooEpoch",
    "find_inrs",
    "find_sirens",
    "inr_network",
    "load_tensors",
    "model_zoo_network",
    "read_inr",
    "read_layout",
    "read_model_zoo",
    "read_split",
    "read_wild_park",
    "small_cnn_state",
    "split_rows",
]
