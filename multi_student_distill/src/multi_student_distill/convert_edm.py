"""EDM checkpoints as diffusers models: an unpickler that keeps tensors and runs nothing, and a map of names.

EDM pickles networks with their source code. Here every class and function of the file becomes an inert stand-in that
only keeps what it was given; tensors are rebuilt by torch's own restricted loader.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from .denoisers import DenoiserSpec
from .networks import ImageUNet, build_network

BLOCK_KEYS = {
    "norm0": "norm1",
    "conv0": "conv1",
    "affine": "time_emb_proj",
    "norm1": "norm2",
    "conv1": "conv2",
    "skip": "conv_shortcut",
}


class Inert:
    """Stands for an object of any class: keeps state and arguments, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.args, self.state = args, {}

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:  # subclasses of dict
        if isinstance(self.state, dict):
            self.state[key] = value

    def append(self, value: Any) -> None:  # subclasses of list
        return None

    extend = append


def _storage(content: bytes) -> Any:
    """The storage of a tensor that was pickled by itself, through torch's restricted loader."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


REBUILT = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
}


class TensorUnpickler(pickle.Unpickler):
    """Finds no class but those that rebuild tensors; all others are `Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        return REBUILT.get((module, name), Inert)

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a persistent id: this is a torch.save file, not an EDM pickle")


def read_edm_pickle(path: str | Path, key: str = "ema") -> dict[str, Tensor]:
    """The state dict of the network under `key` of an EDM pickle.

    Raises:
        FileNotFoundError: no such file. ValueError: not such a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; EDM publishes such checkpoints as edm-*.pkl")
    try:
        with path.open("rb") as file:
            content = TensorUnpickler(file).load()
    except Exception as error:  # a damaged pickle raises many kinds
        raise ValueError(f"{path}: not an EDM pickle ({type(error).__name__}: {error})") from error
    if not isinstance(content, Mapping) or key not in content:
        raise ValueError(f"{path}: expected a dictionary with a network {key!r}")
    state = module_state(content[key])
    if not state:
        raise ValueError(f"{path}: {key!r} holds no parameters")
    return state


def module_state(module: Any, prefix: str = "") -> dict[str, Tensor]:
    """Parameters and buffers below an inert module, named as torch names them."""
    fields = module.state if isinstance(module, Inert) else None
    if isinstance(module, Inert) and module.args and isinstance(module.args[0], Mapping):
        fields = module.args[0].get("state")  # how EDM's persistent classes are pickled
    if not isinstance(fields, Mapping):
        return {}
    found: dict[str, Tensor] = {}
    for kind in ("_parameters", "_buffers"):
        own = fields.get(kind)
        if isinstance(own, Mapping):
            found |= {prefix + name: t.detach() for name, t in own.items() if isinstance(t, Tensor)}
    children = fields.get("_modules")
    if isinstance(children, Mapping):
        for name, child in children.items():
            found |= module_state(child, f"{prefix}{name}.")
    return found


def edm_layout(state: Mapping[str, Tensor]) -> tuple[list[int], list[int], int]:
    """Resolutions from the largest, their channels, and blocks a level, of an ADM network's state dict.

    Raises:
        ValueError: not the state dict of one.
    """
    found = [re.match(r"enc\.(\d+)x\1_block(\d+)\.conv1\.weight", name) for name in state]
    blocks = [(int(m[1]), int(m[2])) for m in found if m]
    if not blocks or "map_layer0.weight" not in state or "out_conv.weight" not in state:
        raise ValueError("not the state dict of EDM's ADM network: enc.*_block*, map_layer0 or out_conv are missing")
    sides = sorted({side for side, _ in blocks}, reverse=True)
    channels = [len(state[f"enc.{s}x{s}_block0.conv1.weight"]) for s in sides]
    return sides, channels, 1 + max(number for _, number in blocks)


def convert_edm_state_dict(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The state dict of diffusers' UNet2DModel with EDM's weights, and the network's name here.

    Args:
        state: of the ADM network, or of its preconditioning wrapper (`model.*`). The augmentation branch is left out.
    Raises:
        ValueError: another network, one without labels, or one whose group norms diffusers cannot express.
    """
    state = {name.removeprefix("model."): value for name, value in state.items()}
    sides, channels, blocks = edm_layout(state)
    groups = {min(32, c // 4) for c in channels}
    if len(groups) > 1:
        raise ValueError(
            f"levels of {channels} channels have group norms of unlike numbers of groups: {sorted(groups)}"
        )
    if "map_label.weight" not in state:
        raise ValueError("a network without labels: there are no conditions to part")
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        target = renamed_top(name)
        if target is not None:
            renamed[target] = value.T.contiguous() if name == "map_label.weight" else value
        elif name.startswith(("enc.", "dec.")):
            renamed |= renamed_block(name, value, sides)
    return renamed, f"unet-{'-'.join(map(str, channels))}x{blocks}"


def renamed_top(name: str) -> str | None:
    """Names outside of the blocks."""
    module, _, kind = name.rpartition(".")
    named = {
        "map_layer0": "time_embedding.linear_1",
        "map_layer1": "time_embedding.linear_2",
        "map_label": "class_embedding",
        "out_norm": "conv_norm_out",
        "out_conv": "conv_out",
    }
    if re.fullmatch(r"enc\.(\d+)x\1_conv", module):
        return f"conv_in.{kind}"
    return f"{named[module]}.{kind}" if module in named else None


def renamed_block(name: str, value: Tensor, sides: list[int]) -> dict[str, Tensor]:
    """One tensor of a block: one name, or three for q, k and v."""
    found = re.fullmatch(r"(enc|dec)\.(\d+)x\2_(block|down|up|in)(\d*)\.(\w+)\.(weight|bias)", name)
    if not found:
        return {}  # filters of up- and downsampling, which are not learned
    half, side, role, number, layer, kind = found.groups()
    level = sides.index(int(side))
    resnet, attention = block_place(half, role, number, level, len(sides))
    if layer in BLOCK_KEYS:
        return {f"{resnet}.{BLOCK_KEYS[layer]}.{kind}": value}
    if layer == "norm2":
        return {f"{attention}.group_norm.{kind}": value}
    if layer == "proj":
        return {f"{attention}.to_out.0.{kind}": value.flatten(1) if kind == "weight" else value}
    if layer == "qkv":
        rows = value.reshape(len(value) // 3, 3, *value.shape[1:])  # q, k and v are the middle index
        parts = zip(("to_q", "to_k", "to_v"), rows.unbind(1), strict=True)
        return {f"{attention}.{n}.{kind}": (v.flatten(1) if kind == "weight" else v).contiguous() for n, v in parts}
    return {}


def block_place(half: str, role: str, number: str, level: int, levels: int) -> tuple[str, str]:
    """Where diffusers keeps a block, and its attention."""
    if role == "in":
        return f"mid_block.resnets.{number}", "mid_block.attentions.0"
    if role == "down":
        return f"down_blocks.{level - 1}.downsamplers.0", ""
    if role == "up":
        return f"up_blocks.{levels - 2 - level}.upsamplers.0", ""
    place = f"down_blocks.{level}" if half == "enc" else f"up_blocks.{levels - 1 - level}"
    return f"{place}.resnets.{number}", f"{place}.attentions.{number}"


def edm_denoiser(state: Mapping[str, Tensor], sigma_data: float = 0.5):
    """The denoiser of an EDM state dict, and its spec."""
    renamed, name = convert_edm_state_dict(state)
    plain = {n.removeprefix("model."): v for n, v in state.items()}
    side = edm_layout(plain)[0][0]
    shape = (len(plain["out_conv.bias"]), side, side)
    spec = DenoiserSpec(name, shape, len(renamed["class_embedding.weight"]), sigma_data)
    network = build_network(name, shape, spec.classes)
    if not isinstance(network, ImageUNet):
        raise ValueError(f"expected a U-Net, got {name}")
    missing, unexpected = network.unet.load_state_dict({n: v.float() for n, v in renamed.items()}, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"the converted weights do not fit a {name}: missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
    return spec.wrap(network).eval(), spec
