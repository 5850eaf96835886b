"""Flexible Few-Shot Learning with Contextual Similarity (Ren et al. 2020).

Episodes whose classes are conjunctions of attributes, the attribute splits of the paper, readouts batched over
episodes, the T-score, paired intervals, and every learner of the main table. The experiments are the command
`flexible-fewshot`.
"""

from .attributes import AttributeTable
from .augment import Augmentation
from .cam import cam, unstandardised
from .data import AttributeDataset, FacesData, FFSLDataModule
from .datasets import CelebAAttributes, DigitsData, FolderData, ImageNetAttributes, OmniglotData, Zappos50KAttributes
from .encoders import build_encoder, load_encoder
from .episodes import AttributeEpisodeSampler, Episode, Episodes
from .episodic import ANIL, TADAM, FinetuneEpisodes, MatchingNet, ProtoNet, TAFENet
from .evaluation import EpisodeResult, Standardizer, evaluate
from .faces import RenderedFaces
from .features import FeatureCache, extract, weights_hash
from .frozen import read_episodes, write_episodes
from .intervals import Interval, over_episodes, over_seeds, paired_difference
from .lars import LARS
from .learning import FinetuneAttributes, IdentityClassifier, SimCLR, SupervisedAttributes
from .losses import cross_view_loss, nt_xent_loss
from .readouts import LogisticReadout, NearestCentroid, NearestNeighbor
from .resnet12 import ResNet12
from .resnet50 import ResNet50, read_simclr_resnet50
from .small_encoder import SmallEncoder
from .sparse_logistic import LinearRule, SparseLogisticRegression
from .splits import AttributeSplit
from .transferability import episode_scores, transferability_score

__version__ = "0.1.0"
__all__ = [
    "ANIL",
    "LARS",
    "TADAM",
    "AttributeDataset",
    "AttributeEpisodeSampler",
    "AttributeSplit",
    "AttributeTable",
    "Augmentation",
    "CelebAAttributes",
    "DigitsData",
    "Episode",
    "EpisodeResult",
    "Episodes",
    "FFSLDataModule",
    "FacesData",
    "FeatureCache",
    "FinetuneAttributes",
    "FinetuneEpisodes",
    "FolderData",
    "IdentityClassifier",
    "ImageNetAttributes",
    "Interval",
    "LinearRule",
    "LogisticReadout",
    "MatchingNet",
    "NearestCentroid",
    "NearestNeighbor",
    "OmniglotData",
    "ProtoNet",
    "RenderedFaces",
    "ResNet12",
    "ResNet50",
    "SimCLR",
    "SmallEncoder",
    "SparseLogisticRegression",
    "Standardizer",
    "SupervisedAttributes",
    "TAFENet",
    "Zappos50KAttributes",
    "build_encoder",
    "cam",
    "cross_view_loss",
    "episode_scores",
    "evaluate",
    "extract",
    "load_encoder",
    "nt_xent_loss",
    "over_episodes",
    "over_seeds",
    "paired_difference",
    "read_episodes",
    "read_simclr_resnet50",
    "transferability_score",
    "unstandardised",
    "weights_hash",
    "write_episodes",
]
