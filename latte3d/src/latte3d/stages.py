"""Training: reconstruction (stage 0), volumes under a multi-view prior (1), surfaces under a depth prior (2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from .cameras import view_names
from .checkpoints import load_networks, text_encoder
from .data import step_generator
from .diffusion import Condition, TimeRange
from .finite import finite
from .library import ShapeBatch
from .marching_tetrahedra import grid_vertices
from .metrics import mask_iou, volume_iou
from .networks import Fields, Sizes, Text, anneal_clouds, annealed_chance, dummy_cloud
from .prior_files import read_prior
from .priors import crop, depth_map, pixel_places
from .rasterizer import get_rasterizer, pack
from .score_distillation import CleanDistillation
from .surface import extract, field_shade, render_surface
from .volsdf import Rendering, VolSDFRenderer, VolumeQuery, bake, eikonal


class Stage(LightningModule):
    """What the stages share: networks, text, evaluation on held-out shapes by text alone and with their own cloud.

    Args:
        words: the vocabulary of the word vectors. sizes: of the networks. rate: of Adam. size, samples, cells: of
            the renders, the samples on a ray and the grid that is rendered.
        start: checkpoint of an earlier stage. clip: a pipeline in the diffusers layout, whose frozen CLIP encoder then
            reads prompts instead of word vectors. seed: of weights and of steps.
    Raises:
        ValueError: `start` has networks of other sizes.
    """

    surface = False

    def __init__(
        self,
        words: Sequence[str],
        sizes: Sizes | None = None,
        rate: float = 1e-3,
        size: int = 32,
        samples: int = 32,
        cells: int = 24,
        start: str | None = None,
        clip: str | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.sizes = sizes or Sizes()
        self.rate, self.seed, self.cells = rate, seed, cells
        self.words, self.clip = list(words), clip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = self.sizes.networks(self.surface)
        if start is not None:
            earlier, _, sizes = load_networks(start)
            if sizes != self.sizes:
                raise ValueError(f"{start} has networks of other sizes: expected {self.sizes}, got {sizes}")
            self.start_from(earlier)
        self.text = text_encoder(self.words, self.sizes, clip)
        self.register_buffer("dummy", dummy_cloud(self.sizes.points), persistent=False)
        self.renderer = VolSDFRenderer(size, samples)
        names = ("iou_text", "iou_cloud", "mask_iou_text", "mask_iou_cloud")
        self.scores = nn.ModuleDict({name: MeanMetric() for name in names})

    def start_from(self, earlier: nn.Module) -> None:
        """Take over the networks' weights of an earlier stage."""
        self.networks.load_state_dict(earlier.state_dict())

    def progress(self) -> float:
        """Share of the steps that are done."""
        return min(self.global_step / max(self.trainer.max_steps, 1), 1.0)

    def generator(self) -> torch.Generator:
        """All randomness of this step in this process."""
        return step_generator(self.seed, self.global_step * self.trainer.world_size + self.trainer.global_rank)

    def volume_rendering(self, volume: Tensor, batch: ShapeBatch, beta: float, generator) -> Rendering:
        return self.renderer(VolumeQuery(volume), batch.cameras, beta, volume.new_ones(3), generator)

    def reference(self, batch: ShapeBatch, beta: float) -> Rendering:
        """The shapes by the same renderer, rays and β as the model: the density's halo is then no bias.

        Where a shape is no volume, its rasterised views.
        """
        if batch.volume.ndim == 2:
            return Rendering(batch.color, batch.mask, torch.zeros_like(batch.mask))
        with torch.no_grad():
            return self.volume_rendering(batch.volume, batch, beta, self.generator())

    def validation_step(self, batch: ShapeBatch, _) -> None:
        text = self.text(batch.prompts)
        dummies = self.dummy.expand(len(batch.prompts), -1, -1)
        for name, clouds in (("text", dummies), ("cloud", batch.clouds)):
            fields = self.networks(clouds, text)
            if batch.volume.ndim > 2:
                truth = batch.volume[:, 0].flatten(1)
                self.scores[f"iou_{name}"].update(volume_iou(self.corner_sdf(fields, batch), truth))
            rendering = self.volume_rendering(bake(fields, self.cells), batch, 0.01, None)
            self.scores[f"mask_iou_{name}"].update(mask_iou(rendering.opacity, batch.mask))
        for name, metric in self.scores.items():
            if metric.update_called:
                self.log(f"val/{name}", metric, batch_size=len(batch.prompts))

    test_step = validation_step

    def corner_sdf(self, fields: Fields, batch: ShapeBatch) -> Tensor:
        """At the corners of the shapes' volumes, (B, P)."""
        cells = batch.volume.shape[-1] - 1
        return fields.sdf(grid_vertices(cells, device=self.device).expand(len(batch.prompts), -1, -1))

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """The networks and what rebuilds them; priors and text encoders are frozen and made anew."""
        checkpoint["latte3d"] = {
            "words": self.words,
            "sizes": asdict(self.sizes),
            "surface": self.surface,
            "clip": self.clip,
        }
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name.startswith("networks.")}

    @property
    def strict_loading(self) -> bool:
        return False

    def configure_optimizers(self):
        return torch.optim.Adam([p for p in self.networks.parameters() if p.requires_grad], lr=self.rate)


class ReconstructionStage(Stage):
    """Stage 0 (Eq. 1): encode a shape's cloud, decode it, and compare opacity and colour of renders; no text."""

    def __init__(
        self,
        words: Sequence[str],
        sizes: Sizes | None = None,
        rate: float = 2e-3,
        size: int = 32,
        samples: int = 32,
        cells: int = 24,
        beta: float = 0.05,
        eikonal_weight: float = 0.02,
        start: str | None = None,
        clip: str | None = None,
        seed: int = 0,
    ):
        super().__init__(words, sizes, rate, size, samples, cells, start, clip, seed)
        self.beta, self.eikonal_weight = beta, eikonal_weight

    def training_step(self, batch: ShapeBatch, _) -> Tensor:
        volume = bake(self.networks(batch.clouds), self.cells)
        rendering = self.volume_rendering(volume, batch, self.beta, self.generator())
        truth = self.reference(batch, self.beta)
        opacity = (rendering.opacity - truth.opacity).square().mean()
        color = (rendering.color - truth.color).square().mean()
        loss = opacity + color + self.eikonal_weight * eikonal(volume)
        self.log_dict({"train/opacity": opacity, "train/color": color, "train/loss": loss})
        return finite(loss, self.global_step, "model.init_args.rate")


class VolumetricStage(Stage):
    """Stage 1: (1 - α) L_SDS + α L_reg (Eq. 2-3), G and T together, four views under one time.

    Args:
        prior: a multi-view prior, or the name or path of a saved one; null where α is 1.
        alpha: weight of the shape's opacity against the prior.
        amortise_alpha: draw α for each item and tell it to the networks, so that a user may choose it later.
        guidance, rescale: of the distillation. least, largest: first and last bounds of its times, as shares of all.
        beta: first and last width of the density. eikonal_weight: of the term without which fog satisfies the masks.
        final_dummy: chance of the dummy cloud when it has stopped to grow.
    Raises:
        ValueError: α outside [0, 1], or a prior is missing where α, or a user, weighs it.
    """

    def __init__(
        self,
        words: Sequence[str],
        prior: nn.Module | str | None = None,
        sizes: Sizes | None = None,
        rate: float = 1e-3,
        size: int = 32,
        samples: int = 32,
        cells: int = 24,
        alpha: float = 0.5,
        amortise_alpha: bool = False,
        guidance: float = 3.0,
        rescale: float = 0.5,
        least: Sequence[float] = (0.98, 0.02),
        largest: Sequence[float] = (0.98, 0.5),
        beta: Sequence[float] = (0.07, 0.025),
        eikonal_weight: float = 0.02,
        final_dummy: float = 0.9,
        start: str | None = None,
        clip: str | None = None,
        seed: int = 0,
    ):
        super().__init__(words, sizes, rate, size, samples, cells, start, clip, seed)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha weighs two losses: expected 0 to 1, got {alpha}")
        if prior is None and (alpha < 1 or amortise_alpha):
            raise ValueError(f"alpha {alpha} needs a prior to weigh the shape against: give one, or set alpha to 1")
        self.prior = None if prior is None else _frozen(prior)
        self.alpha, self.amortise_alpha, self.final_dummy = alpha, amortise_alpha, final_dummy
        self.distil, self.times = CleanDistillation(guidance, rescale), TimeRange(tuple(least), tuple(largest))
        self.beta, self.eikonal_weight = beta, eikonal_weight

    def training_step(self, batch: ShapeBatch, _) -> Tensor:
        generator, progress = self.generator(), self.progress()
        objects = len(batch.prompts)
        clouds = anneal_clouds(batch.clouds, self.dummy, annealed_chance(progress, final=self.final_dummy), generator)
        text = self.text(batch.prompts)
        alpha = torch.full((objects,), self.alpha, device=self.device)
        if self.amortise_alpha:
            alpha = torch.rand(objects, generator=generator).to(self.device)
        volume = bake(self.networks(clouds, text, alpha if self.amortise_alpha else None), self.cells)
        beta = self.beta[0] + progress * (self.beta[1] - self.beta[0])
        rendering = self.volume_rendering(volume, batch, beta, self.generator())

        shape = (rendering.opacity - self.reference(batch, beta).opacity).square().view(objects, -1).mean(1)  # (B,)
        distilled = self.distilled(rendering.color, batch, generator, progress)
        fog = eikonal(volume)
        loss = ((1 - alpha) * distilled + alpha * shape).mean() + self.eikonal_weight * fog
        self.log_dict({"train/sds": distilled.mean(), "train/shape": shape.mean(), "train/eikonal": fog})
        return finite(loss, self.global_step, "model.init_args.rate")

    def distilled(self, color: Tensor, batch: ShapeBatch, generator: torch.Generator, progress: float) -> Tensor:
        """L_SDS of each object, (B,). The prior reads prompts with its own text encoder where it has one."""
        if self.prior is None:
            return color.new_zeros(len(batch.prompts))
        x = self.prior.encode(color)
        t = self.times.draw(len(batch.prompts), len(self.prior.alphas_cumprod), progress, generator).to(x.device)
        noise = torch.randn(x.shape, generator=generator).to(x)
        return self.distil(self.prior, x, t, noise, Condition(prior_text(self, batch.prompts), batch.cameras))


class SurfaceStage(Stage):
    """Stage 2: G stays as it is to the bit; T learns from a depth-conditioned prior on rasterised isosurfaces.

    Args:
        prior: a depth-conditioned prior, or the name or path of a saved one. size: of the renders.
        window: of the crops that the prior sees, null: all.
        cells: of the isosurface's grid. guidance, rescale, least, largest: of the distillation and its times.
        dummy: chance of the dummy cloud. rasterizer: auto, torch or nvdiffrast.
        tell_views: add "front view", "side view" and the like to the prior's prompts, which then must know these words.
    """

    surface = True

    def __init__(
        self,
        words: Sequence[str],
        prior: nn.Module | str,
        sizes: Sizes | None = None,
        rate: float = 1e-3,
        size: int = 64,
        window: int | None = 32,
        cells: int = 32,
        guidance: float = 3.0,
        rescale: float = 0.5,
        least: float = 0.02,
        largest: float = 0.5,
        dummy: float = 0.9,
        rasterizer: str = "auto",
        tell_views: bool = False,
        start: str | None = None,
        clip: str | None = None,
        seed: int = 0,
    ):
        super().__init__(words, sizes, rate, 32, 32, cells, start, clip, seed)
        self.prior = _frozen(prior)
        self.picture, self.window, self.dummy_chance = size, window, dummy
        self.distil, self.times = CleanDistillation(guidance, rescale), TimeRange((least, least), (largest, largest))
        self.rasterizer, self.tell_views = get_rasterizer(rasterizer), tell_views

    def training_step(self, batch: ShapeBatch, _) -> Tensor:
        generator = self.generator()
        clouds = anneal_clouds(batch.clouds, self.dummy, self.dummy_chance, generator)
        fields = self.networks(clouds, self.text(batch.prompts))
        with torch.no_grad():
            meshes = extract(fields, self.cells)
        views = len(batch.cameras.fov) // len(meshes)
        white = self.dummy.new_ones(3)
        packed = pack(meshes, views)
        rendering = render_surface(
            packed, batch.cameras, self.picture, field_shade(fields, views), white, self.rasterizer
        )
        x = self.prior.encode(rendering.color)
        depth = depth_map(rendering.depth.detach(), rendering.seen)[:, None]
        place = pixel_places(len(x), self.picture).to(x)
        if self.window is not None:
            room = self.picture - self.window + 1
            corners = torch.randint(room, (len(x), 2), generator=generator).to(x.device)
            x, depth, place = (crop(part, self.window, corners) for part in (x, depth, place))
        t = self.times.draw(len(x), len(self.prior.alphas_cumprod), 1.0, generator).to(x.device)
        noise = torch.randn(x.shape, generator=generator).to(x)
        condition = Condition(prior_text(self, self.told(batch)), None, depth, place)
        loss = self.distil(self.prior, x, t, noise, condition).mean()
        self.log("train/sds", loss)
        return finite(loss, self.global_step, "model.init_args.rate")

    def told(self, batch: ShapeBatch) -> list[str]:
        """The prior's prompts: of objects, or of their views."""
        if not self.tell_views:
            return batch.prompts
        names, views = view_names(batch.cameras), len(batch.cameras.fov) // len(batch.prompts)
        return [f"{batch.prompts[i // views]}, {name}" for i, name in enumerate(names)]


def prior_text(stage: Stage, prompts: Sequence[str]) -> Text:
    """As the prior wants it: its own encoder's, or the word vectors that it was trained with."""
    own = getattr(stage.prior, "text", None)
    return stage.text(prompts) if own is None else own(prompts)


def _frozen(prior: nn.Module | str) -> nn.Module:
    """Without gradients, and with channels last, which convolutions are faster with."""
    prior = read_prior(prior) if isinstance(prior, str) else prior
    return prior.requires_grad_(False).eval().to(memory_format=torch.channels_last)
