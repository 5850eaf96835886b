"""Training of the judge on true renders, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pytorch_lightning import LightningModule
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from .finite import finite
from .judge import ATTRIBUTES, UNTOLD, AttributeJudge, attributes_of, judge_loss
from .library import ShapeBatch
from .prior_files import PACKAGED
from .results import whole


class JudgeTraining(LightningModule):
    """Learns to name the attributes of rendered shapes.

    Args:
        words: the data's vocabulary, which it has no use for. rate: of Adam at first. out: file that the trained judge
            is written to, null: none. seed: of weights.
    """

    def __init__(self, words: Sequence[str], rate: float = 3e-3, out: str | None = None, seed: int = 0):
        super().__init__()
        self.rate, self.out = rate, out
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.judge = AttributeJudge()

    def training_step(self, batch: ShapeBatch, _) -> Tensor:
        loss = judge_loss(self.judge(batch.color), wanted(batch).to(self.device))
        self.log("train/loss", loss)
        return finite(loss, self.global_step, "model.init_args.rate")

    def validation_step(self, batch: ShapeBatch, _) -> None:
        """Share of single views whose attribute is named rightly."""
        attributes = wanted(batch).to(self.device)
        for name, part, own in zip(ATTRIBUTES, self.judge(batch.color), attributes.T, strict=True):
            told = own != UNTOLD
            if told.any():
                right = (part.argmax(-1) == own)[told].float().mean()
                self.log(f"val/{name}", right, batch_size=int(told.sum()))

    test_step = validation_step

    def on_fit_end(self) -> None:
        if self.out is not None and self.trainer.is_global_zero:
            write_judge(self.judge, self.out)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.rate)
        schedule = CosineAnnealingLR(optimizer, max(self.trainer.max_steps, 1))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def wanted(batch: ShapeBatch) -> Tensor:
    """Attributes of each view, (B * V, 6)."""
    views = len(batch.color) // len(batch.prompts)
    return torch.tensor([attributes_of(prompt) for prompt in batch.prompts]).repeat_interleave(views, 0)


def write_judge(judge: AttributeJudge, path: str | Path) -> Path:
    """Half-precision weights by way of a temporary name."""
    with whole(path) as temporary:
        save_file({name: value.half().contiguous() for name, value in judge.state_dict().items()}, temporary)
    return Path(path)


def read_judge(path: str | Path = PACKAGED / "judge.safetensors") -> AttributeJudge:
    """The packaged judge, or another that `write_judge` wrote.

    Raises:
        ValueError: it is missing or no judge of ours.
    """
    try:
        judge = AttributeJudge()
        judge.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except Exception as error:  # a foreign file may fail in any of these
        raise ValueError(f"{path} is no judge of this project: {type(error).__name__}: {error}") from error
    return judge.requires_grad_(False).eval()
