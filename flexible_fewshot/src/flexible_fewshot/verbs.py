"""The commands on one's own checkpoints, episodes and labels. Each returns an exit status."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Trainer

from . import episodic, learning
from .configured import one_thread, quiet
from .encoders import load_encoder, read_checkpoint
from .evaluation import EpisodeResult, Standardizer, rounded
from .evaluation import evaluate as judge
from .experiment import Experiment
from .features import FeatureCache
from .frozen import write_episodes
from .intervals import over_episodes, paired_difference
from .learning import Representation
from .readouts import READOUTS, LogisticReadout
from .results import read_json, whole, write_json
from .study import save_checkpoint
from .tables import markdown
from .toy import ToySettings, train_toy
from .transferability import transferability_score
from .weights import load_weights

LEARNERS = {
    name: kind
    for module in (learning, episodic)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, Representation)
}


def load_learner(path: str) -> Representation:
    """The module of a checkpoint of `fit` or `study`, head included.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the checkpoint cannot be read, or its learner is not one of this package.
    """
    content = read_checkpoint(path)
    hparams = {k: v for k, v in content["hyper_parameters"].items() if k not in ("pretrained", "_class_path")}
    name = str(content["hyper_parameters"].get("_class_path")).rpartition(".")[2]
    if name not in LEARNERS:
        raise ValueError(f"{path}: expected a learner of {', '.join(sorted(LEARNERS))}, got {name!r}")
    model = LEARNERS[name](**hparams)
    load_weights(model, content["state_dict"], path)
    return model.eval()


def finetune(
    ckpt_path: str, *, config: str = "demo", method: str = "UFTA", overrides: list[str] | None = None,
    out: str = "runs/flexible_fewshot-finetune.ckpt",
) -> int:  # fmt: skip
    """Finetune a pretrained encoder behind a head that is discarded (U-FT-A or U-FT-E).

    Args:
        ckpt_path: Checkpoint of `fit` or `study`; its encoder is the start.
        config: Config whose study has the method.
        method: UFTA or UFTE, or any other that takes `pretrained`.
        overrides: Settings over the config, such as trainer.max_steps=50.
        out: Checkpoint that is written.
    """
    experiment = _experiment(config, overrides)
    if method not in experiment.settings.methods:
        raise ValueError(f"unknown method {method!r}, choose from {', '.join(experiment.settings.methods)}")
    own = {k: v for k, v in experiment.settings.methods[method].items() if k not in ("after", "features")}
    encoder = read_checkpoint(ckpt_path)["hyper_parameters"]
    sizes = {f"model.init_args.{key}": encoder[key] for key in ("encoder", "width") if key in encoder}
    given = dict(o.removeprefix("--").partition("=")[::2] for o in overrides or [])
    cell = experiment.with_settings({**own, **sizes, "model.init_args.pretrained": ckpt_path, **given})
    cell.trainer().fit(cell.model, datamodule=cell.data)
    _save(cell.model, Path(out))
    print(f"{type(cell.model).__name__} from {ckpt_path}: {shlex.quote(out)}")
    return 0


def extract(
    ckpt_path: str, *, config: str = "demo", stage: str = "test", overrides: list[str] | None = None,
    out: str = "runs/flexible_fewshot-features.npz", cache: str = "runs/flexible_fewshot-cache",
) -> int:  # fmt: skip
    """Write h of all images of a pool, with their names: `features` (n, D) and `images` (n,) in one .npz.

    Args:
        ckpt_path: Checkpoint of `fit` or `study`.
        config: Config that says which data.
        stage: train, val or test.
        overrides: Settings over the config, such as data.init_args.data_dir=DIR.
        out: File that is written.
        cache: Folder that keeps features by the hash of the weights.
    """
    data = _experiment(config, overrides).data
    pool = data.pool(_stage(stage))
    features = FeatureCache(cache).extract(load_encoder(ckpt_path), pool.images)
    with whole(out) as temporary, temporary.open("wb") as stream:
        np.savez(stream, features=features.numpy(), images=np.array(pool.table.images))
    print(f"{len(features)} images, {features.shape[1]} features: {shlex.quote(out)}")
    return 0


def episodes(
    config: str = "demo", *, group: str = "test", stage: str = "test", overrides: list[str] | None = None,
    out: str = "runs/flexible_fewshot-episodes.json.gz",
) -> int:  # fmt: skip
    """Freeze episodes into a file, by the names of images, so that others compare on the same ones.

    Args:
        config: Config that says which data, shots, queries and number of episodes.
        group: Attributes that contexts are made of: train, val or test.
        stage: Pool of images: train, val or test.
        overrides: Settings over the config, such as data.init_args.shots=5.
        out: File that is written; gzipped if it ends in .gz.
    """
    data = _experiment(config, overrides).data
    sampler = data.sampler(_stage(stage), group)
    drawn = sampler.sample()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_episodes(out, drawn, data.table(stage))
    contexts = len(set(drawn.contexts))
    print(
        f"{len(drawn)} episodes of {drawn.shots} shots, {contexts} contexts; {sampler.rejected_share:.1%} of the drawn"
    )
    print(f"contexts had too few images and were drawn again: {shlex.quote(out)}")
    return 0


def evaluate(
    ckpt_path: str, *, config: str = "demo", group: str = "test", readout: str = "lr", lam: float = 1e-3,
    shots: int = 0, episodes: str | None = None, against: str | None = None, overrides: list[str] | None = None,
    out: str | None = None, cache: str = "runs/flexible_fewshot-cache",
) -> int:  # fmt: skip
    """Judge a checkpoint on the frozen episodes of the test pool; `attributes` for the oracle GT instead of a file.

    Args:
        ckpt_path: Checkpoint of `fit` or `study`, or the word attributes.
        config: Config that says which data.
        group: Attributes that contexts are made of: train, val or test.
        readout: lr, nc, nn, or own for the map of an episodic learner.
        lam: Penalty of lr; the paper has 1e-3 for features and 1e-2 for attributes.
        shots: Support images of each class, fewer than the episodes have; 0: all.
        episodes: File of frozen episodes; without it, those of the config.
        against: Result of another `evaluate --out`, to compare with, paired by episode.
        overrides: Settings over the config, such as data.init_args.data_dir=DIR.
        out: JSON file for the accuracy of every episode.
        cache: Folder that keeps features by the hash of the weights.
    """
    if readout not in (*READOUTS, "own"):
        raise ValueError(f"unknown readout {readout!r}, choose from {', '.join(READOUTS)}, own")
    data = _experiment(config, overrides).data
    if episodes:
        data.episodes_file = episodes
    frozen = data.episodes("test", group)
    frozen = frozen.with_shots(shots) if shots else frozen
    found = _judged(ckpt_path, data, group, frozen, readout, lam, cache)
    print(
        f"{found.mean:.2f} ± {found.ci95:.2f} % on {len(frozen)} episodes of {group} attributes, {frozen.shots} shots"
    )
    worst = sorted(found.by_context().items(), key=lambda item: item[1])
    print("hardest: " + ", ".join(f"{' and '.join(context)} {value:.0f}" for context, value in worst[:3]))
    if against:
        other = read_json(against)
        if [list(c) for c in frozen.contexts] != other["contexts"]:
            raise ValueError(f"{against}: was measured on other episodes, so that no paired comparison is possible")
        difference = paired_difference(found.per_episode, other["accuracies"])
        print(
            f"ahead of {other['checkpoint']} by {difference.mean:+.2f} "
            f"({difference.low:+.2f} to {difference.high:+.2f})"
        )
    if out:
        content = {"checkpoint": ckpt_path, "group": group, "shots": frozen.shots, "readout": readout, "lam": lam,
                   "mean": found.mean, "ci95": found.ci95, "accuracies": rounded(found.per_episode),
                   "contexts": [list(c) for c in frozen.contexts]}  # fmt: skip
        write_json(Path(out), content)
    return 0


def _judged(checkpoint, data, group, frozen, readout, lam, cache) -> EpisodeResult:
    if checkpoint == "attributes":
        features = torch.from_numpy(data.table("test").of(data.split.group(group))).float()
        return judge(features, frozen, LogisticReadout(lam))
    pool = data.pool("test")
    store = FeatureCache(cache)
    if readout == "own":
        learner = load_learner(checkpoint)
        if not isinstance(learner, episodic.EpisodicLearner):
            raise ValueError(f"{checkpoint}: a {type(learner).__name__} has no map of its own; use lr, nc or nn")
        return learner.judge(pool.images, frozen, store.extract(learner.encoder, pool.images))
    encoder = load_encoder(checkpoint)
    standard = Standardizer.of(store.extract(encoder, data.pool("train").images))
    kind = LogisticReadout(lam) if readout == "lr" else READOUTS[readout]()
    return judge(standard(store.extract(encoder, pool.images)), frozen, kind)


def transferability(config: str = "demo", *, group: str = "test", overrides: list[str] | None = None) -> int:
    """Print the T-score of every test attribute: labels alone, no image is read.

    Args:
        config: Config that says which data and split.
        group: Attributes to be told from the training ones: test or val.
        overrides: Settings over the config, such as data.init_args.data_dir=DIR.
    """
    data = _experiment(config, overrides).data
    scores = transferability_score(data.table("train"), data.table("test"), data.split, group)
    for name, score in sorted(scores.items(), key=lambda item: -item[1]):
        print(f"{score:.3f}  {name}")
    print(f"{np.mean(list(scores.values())):.3f}  mean of {len(scores)}")
    return 0


def toy(*, steps: int = 5000, shots: int = 20, density: float = 0.5, control: bool = False, seed: int = 0) -> int:
    """Train the linear ProtoNet of the toy problem and print what it keeps.

    Args:
        steps: Training episodes.
        shots: Images of each class in support and in query.
        density: Chance of an attribute.
        control: The usual few-shot problem instead: one-hot attributes, the classes themselves.
        seed: Of everything.
    """
    if steps < 1 or shots < 1 or not 0 < density < 1:
        raise ValueError(f"toy needs steps >= 1, shots >= 1 and density in (0, 1), got {steps}, {shots} and {density}")
    settings = ToySettings(steps=steps, shots=shots, density=density, flexible=not control, seed=seed)
    quiet()
    with one_thread():
        found = train_toy(settings, lambda n: Trainer(accelerator="cpu", barebones=True, max_steps=n, max_epochs=-1))
    print(f"train attributes {found.train:.1f} %, test attributes {found.test:.1f} %")
    print("column norms of W A: " + " ".join(f"{n:.2f}" for n in found.norms) + f"; train over test {found.ratio:.1f}")
    return 0


def study(
    config: str = "demo", *, overrides: list[str] | None = None, out: str = "runs/flexible_fewshot-study"
) -> int:  # fmt: skip
    """Train and judge all methods of a config; goes on where it was stopped.

    Args:
        config: Config with a study section; `celeba+paper_methods` is the first with the second over it.
        overrides: Settings over the config, such as data.init_args.data_dir=DIR.
        out: Folder for records and weights.
    """
    experiment = _experiment(config, overrides)
    records = experiment.finish_all(Path(out), config)
    for condition in experiment.settings.conditions:
        print(f"\n{condition}\n{markdown(records, condition)}")
    mean = over_episodes(records[0].accuracies)
    print(f"\n{len(records)} records of up to {len(records[0].accuracies)} episodes each (first: {mean.mean:.1f} %)")
    return 0


def _experiment(config: str, overrides: list[str] | None) -> Experiment:
    return Experiment([config], [f"--{override.removeprefix('--')}" for override in overrides or []])


def _stage(stage: str) -> str:
    if stage not in ("train", "val", "test"):
        raise ValueError(f"unknown stage {stage!r}, choose from train, val, test")
    return stage


def _save(model: Representation, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(model, path)
