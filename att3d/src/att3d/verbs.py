"""Verbs for one's own prompts: generate, interpolate, finetune, export-mesh, export-weights and evaluate."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from .cameras import ring
from .checkpoints import load_model, save_model, write_weights
from .mesh import HALF_OPAQUE, to_mesh
from .metrics import RPrecision, RProbability
from .pictures import save, save_contact_sheet, save_gif, tiles, to_image
from .prompts import read_prompts
from .results import whole, write_json
from .retrieval import CLIPRetrieval, ShapeRetrieval, train_retrieval
from .scenes import Scenes
from .shapes import parse_prompt, shape_prompts
from .study import StudySettings, scene_records
from .training import ATT3D
from .tuning import finetune as more_steps


def generate(
    prompt: str,
    *,
    ckpt_path: str | None = None,
    out: str = "runs/att3d-generate",
    resolution: int = 64,
    views: int = 24,
) -> int:
    """Scenes of a prompt, or of a whole prompt set, in one pass: turntable, contact sheet and views.

    Args:
        prompt: What to show; a packaged prompt set or a file of prompts (.yaml, .json, .txt) makes a sheet of all.
        ckpt_path: Checkpoint of `fit` or of the demo, or exported weights; left out: the packaged network of shapes27.
        out: Folder for turntable.gif, views.png and contact_sheet.html.
        resolution: Pixels along an edge.
        views: Of the turntable.
    """
    model = load_model(ckpt_path, ATT3D)
    prompts = prompts_of(prompt)
    scenes = model.generate(prompts)
    images = torch.cat([one_of(scenes, row).turntable(views, resolution) for row in range(len(prompts))])
    folder = Path(out)
    across = min(len(prompts), max(1, round(len(prompts) ** 0.5)))
    save_gif(folder / "turntable.gif", torch.stack([tiles(frame, across) for frame in images.transpose(0, 1)]))
    few = images[:, :: max(1, views // 4)]
    save(folder / "views.png", to_image(tiles(few.flatten(0, 1), few.shape[1])))
    save_contact_sheet(folder / "contact_sheet.html", prompts, few)
    print(f"{len(prompts)} prompts: {folder / 'turntable.gif'}, views.png, contact_sheet.html")
    return 0


def interpolate(
    prompt: str,
    other: str,
    *,
    ckpt_path: str | None = None,
    out: str = "runs/att3d-interpolate",
    steps: int = 8,
    resolution: int = 64,
) -> int:
    """Scenes on the way from one prompt to another, as a strip and an animation.

    Args:
        prompt: Where to begin.
        other: Where to end.
        ckpt_path: See generate.
        out: Folder for strip.png and morph.gif.
        steps: Scenes, both ends included.
        resolution: Pixels along an edge.
    """
    images = load_model(ckpt_path, ATT3D).interpolate(prompt, other, steps).images(ring(steps, 1), resolution).rgb[:, 0]
    folder = Path(out)
    save(folder / "strip.png", to_image(tiles(images, steps)))
    save_gif(folder / "morph.gif", torch.cat([images, images.flip(0)[1:-1]]), 150)
    print(f"{steps} scenes: {folder / 'strip.png'}, morph.gif")
    return 0


def finetune(
    prompt: str, *, ckpt_path: str | None = None, out: str = "runs/att3d-finetune", steps: int = 100, lr: float = 0.01
) -> int:
    """Go on with distillation for one prompt alone, from what the network makes of it.

    Args:
        prompt: The prompt, which the checkpoint's prior must know.
        ckpt_path: See generate.
        out: Folder for finetuned.ckpt, before.png and after.png.
        steps: Of Adam.
        lr: Its learning rate.
    """
    model = load_model(ckpt_path, ATT3D, guidance=True)
    before = model.generate(prompt).turntable(4)
    fine = more_steps(model, [prompt], steps, lr)
    folder = Path(out)
    save(folder / "before.png", to_image(tiles(before[0], 4)))
    save(folder / "after.png", to_image(tiles(fine.scenes([prompt]).turntable(4)[0], 4)))
    save_model(folder / "finetuned.ckpt", fine)
    moved = float((fine.w.detach() - model.generate(prompt).w).norm() / model.generate(prompt).w.norm())
    print(f"{steps} steps moved the modulations by {moved:.2g} of their norm: {folder}")
    return 0


def export_mesh(
    prompt: str,
    *,
    ckpt_path: str | None = None,
    out: str = "mesh.glb",
    resolution: int = 96,
    level: float = HALF_OPAQUE,
) -> int:
    """The surface of a prompt's scene with vertex colours, as GLB, OBJ or PLY.

    Args:
        prompt: What to build.
        ckpt_path: See generate.
        out: File to write; its ending says the format.
        resolution: Points along an edge of the box.
        level: Density at the surface.
    """
    path = Path(out)
    if path.suffix.lower() not in (".glb", ".obj", ".ply"):
        raise ValueError(f"{out}: expected a name that ends in .glb, .obj or .ply")
    mesh = to_mesh(load_model(ckpt_path, ATT3D).generate(prompt), resolution, level)
    with whole(path) as temporary:
        mesh.export(temporary, file_type=path.suffix[1:].lower())
    closed = "closed" if mesh.is_watertight else "not closed"
    print(f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles, {closed}, volume {mesh.volume:.3f}: {path}")
    return 0


def export_weights(ckpt_path: str, *, out: str = "weights.safetensors") -> int:
    """A checkpoint's network alone, as safetensors in half precision, which every verb takes as its --ckpt_path.

    Args:
        ckpt_path: Checkpoint of `fit` or of the demo.
        out: File to write.
    """
    if not out.endswith(".safetensors"):
        raise ValueError(f"{out}: expected a name that ends in .safetensors")
    path = write_weights(out, load_model(ckpt_path, ATT3D, guidance=True))
    print(f"{path.stat().st_size / 2**20:.2f} MiB: {path}")
    return 0


def evaluate(
    prompts: str = "shapes27",
    *,
    ckpt_path: str | None = None,
    out: str = "runs/att3d-evaluate",
    clip: str | None = None,
    retrieval_steps: int = 500,
    views: int = 6,
) -> int:
    """R-precision and R-probability among all prompts of a set; IoU and PSNR where the truth is known.

    Args:
        prompts: A packaged set or a file of prompts.
        ckpt_path: See generate.
        out: Folder for scores.json.
        clip: Folder or hub id of a CLIP model; without one the embedded shapes are judged by a network trained on them.
        retrieval_steps: Of that network.
        views: Of each scene.
    """
    model, library = load_model(ckpt_path, ATT3D), read_prompts(prompts)
    known = all(parse_prompt(prompt) for prompt in library.prompts)
    if clip:
        retrieval = CLIPRetrieval(clip, library.prompts)
    elif known:
        retrieval, accuracy = train_retrieval(
            3 if set(library.prompts) <= set(shape_prompts(3)) else 4, steps=retrieval_steps
        )
        print(f"the retrieval network names {accuracy:.1%} of true views that it never saw")
    else:
        raise ValueError("these prompts are no embedded shapes: name a CLIP model with --clip")
    settings = StudySettings(views=views)
    if known and isinstance(retrieval, ShapeRetrieval):
        records = scene_records(model.generate, library.prompts, retrieval, settings)
    else:
        records = retrieval_records(model, library.prompts, retrieval, views)
    for row in records:
        row["unseen"] = row["prompt"] in library.unseen
    names = [name for name in ("r_precision", "r_probability", "iou", "psnr") if name in records[0]]
    for title, unseen in (("trained", False), ("unseen", True)):
        if own := [row for row in records if row["unseen"] is unseen]:
            means = ", ".join(f"{name} {sum(row[name] for row in own) / len(own):.3f}" for name in names)
            print(f"{len(own)} {title} prompts: {means} (among {len(library.prompts)} candidates)")
    write_json(Path(out) / "scores.json", records, indent=1)
    return 0


@torch.no_grad()
def retrieval_records(model: ATT3D, prompts: tuple[str, ...], retrieval: CLIPRetrieval, views: int) -> list[dict]:
    """Retrieval alone, for prompts without a known truth."""
    records = []
    for number, prompt in enumerate(prompts):
        scores = retrieval(model.generate(prompt).turntable(views)[0])
        own = torch.full((views,), number)
        records.append(
            {
                "prompt": prompt,
                "r_precision": float(RPrecision.values(scores, own).mean()),
                "r_probability": float(RProbability.values(scores, own).mean()),
            }
        )
    return records


def prompts_of(text: str) -> list[str]:
    """The prompts of a packaged set or file, or the one prompt itself."""
    if re.fullmatch(r"\w+|\S+\.(ya?ml|json|txt)", text):
        try:
            return list(read_prompts(text).prompts)
        except FileNotFoundError:
            if text.endswith((".yaml", ".yml", ".json", ".txt")):
                raise
    return [text]


def one_of(scenes: Scenes, row: int) -> Scenes:
    """One of several scenes."""
    return Scenes(scenes.field, scenes.w[row : row + 1], scenes.background)
