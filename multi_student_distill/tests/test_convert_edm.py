"""EDM checkpoints: the converted network computes what EDM's does, and an evil pickle runs nothing."""

import pickle
import sys
import types

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, group_norm, interpolate, linear, silu

from multi_student_distill import convert_edm_state_dict
from multi_student_distill.convert_edm import edm_denoiser, read_edm_pickle


def edm_state(channels=(64, 128), blocks=2, classes=5, side=16, generator=None):
    """Random weights under EDM's names, for an ADM network of two levels (of equal numbers of groups)."""
    embedding, state, skips = 4 * channels[0], {}, []

    def put(name, *shape):
        state[name] = torch.randn(*shape, generator=generator) / max(1, torch.tensor(shape[1:]).prod().item()) ** 0.5

    def layer(name, rows, columns, kernel=0):
        put(f"{name}.weight", rows, columns, *[kernel] * (2 * (kernel > 0)))
        put(f"{name}.bias", rows)

    def block(name, inputs, outputs, attention):
        for norm, width in (("norm0", inputs), ("norm1", outputs)):
            layer_norm(f"{name}.{norm}", width)
        layer(f"{name}.conv0", outputs, inputs, 3)
        layer(f"{name}.affine", 2 * outputs, embedding)
        layer(f"{name}.conv1", outputs, outputs, 3)
        if inputs != outputs:
            layer(f"{name}.skip", outputs, inputs, 1)
        if attention:
            layer_norm(f"{name}.norm2", outputs)
            layer(f"{name}.qkv", 3 * outputs, outputs, 1)
            layer(f"{name}.proj", outputs, outputs, 1)

    def layer_norm(name, width):
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)

    layer("map_layer0", embedding, channels[0])
    layer("map_layer1", embedding, embedding)
    put("map_label.weight", embedding, classes)
    put("map_augment.weight", channels[0], 9)
    width = channels[0]
    for level, own in enumerate(channels):
        here = side >> level
        if level == 0:
            layer(f"enc.{here}x{here}_conv", own, 3, 3)
        else:
            block(f"enc.{here}x{here}_down", width, width, False)
        skips.append(own if level == 0 else width)
        for i in range(blocks):
            block(f"enc.{here}x{here}_block{i}", width, own, level > 0)
            width = own
            skips.append(width)
    for level in reversed(range(len(channels))):
        here = side >> level
        if level == len(channels) - 1:
            block(f"dec.{here}x{here}_in0", width, width, True)
            block(f"dec.{here}x{here}_in1", width, width, False)
        else:
            block(f"dec.{here}x{here}_up", width, width, False)
        for i in range(blocks + 1):
            block(f"dec.{here}x{here}_block{i}", width + skips.pop(), channels[level], level > 0)
            width = channels[level]
    layer_norm("out_norm", width)
    layer("out_conv", 3, width, 3)
    return state


def edm_forward(state, x, c_noise, labels, channels=(64, 128), blocks=2):
    """EDM's forward pass, straight from its description."""

    def conv(name, h):
        weight = state[f"{name}.weight"]
        return conv2d(h, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(name, h):
        return group_norm(h, min(32, h.shape[1] // 4), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def dense(name, h):
        return linear(h, state[f"{name}.weight"], state[f"{name}.bias"])

    def block(name, h, resample=lambda h: h):
        kept = resample(h)
        inner = conv(f"{name}.conv0", resample(silu(norm(f"{name}.norm0", h))))
        scale, shift = dense(f"{name}.affine", emb)[:, :, None, None].chunk(2, 1)
        inner = conv(f"{name}.conv1", silu(shift + norm(f"{name}.norm1", inner) * (scale + 1)))
        h = inner + (conv(f"{name}.skip", kept) if f"{name}.skip.weight" in state else kept)
        if f"{name}.qkv.weight" in state:
            n, c, *space = h.shape
            heads = c // 64
            q, k, v = conv(f"{name}.qkv", norm(f"{name}.norm2", h)).reshape(n * heads, 64, 3, -1).unbind(2)
            w = torch.einsum("ncq,nck->nqk", q, k / 8).softmax(2)
            h = h + conv(f"{name}.proj", torch.einsum("nqk,nck->ncq", w, v).reshape(n, c, *space))
        return h

    half = channels[0] // 2
    angle = c_noise[:, None] * (1 / 10000) ** (torch.arange(half) / half)
    emb = dense("map_layer1", silu(dense("map_layer0", torch.cat([angle.cos(), angle.sin()], 1))))
    emb = silu(emb + state["map_label.weight"].T[labels])
    side, skips, h = x.shape[-1], [], x
    for level in range(len(channels)):
        here = f"enc.{side >> level}x{side >> level}"
        h = conv(f"{here}_conv", h) if level == 0 else block(f"{here}_down", h, lambda h: avg_pool2d(h, 2))
        skips.append(h)
        for i in range(blocks):
            h = block(f"{here}_block{i}", h)
            skips.append(h)
    for level in reversed(range(len(channels))):
        here = f"dec.{side >> level}x{side >> level}"
        if level == len(channels) - 1:
            h = block(f"{here}_in1", block(f"{here}_in0", h))
        else:
            h = block(f"{here}_up", h, lambda h: interpolate(h, scale_factor=2, mode="nearest"))
        for i in range(blocks + 1):
            h = block(f"{here}_block{i}", torch.cat([h, skips.pop()], 1))
    return conv("out_conv", silu(norm("out_norm", h)))


WIDE = (128, 192)


@pytest.fixture(scope="module")
def state():
    return edm_state(WIDE, generator=torch.Generator().manual_seed(0))


def test_a_converted_network_computes_what_edms_does(state, generator):
    denoiser, spec = edm_denoiser({f"model.{name}": value for name, value in state.items()})
    assert (spec.network, spec.shape, spec.classes) == ("unet-128-192x2", (3, 16, 16), 5)
    x, labels = torch.randn(2, 3, 16, 16, generator=generator), torch.tensor([1, 4])
    c_noise = torch.tensor([-1.0, 0.7])
    with torch.no_grad():
        ours, theirs = denoiser.net(x, c_noise, labels), edm_forward(state, x, c_noise, labels, WIDE)
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


def test_the_augmentation_branch_is_left_out_and_qkv_is_parted(state):
    renamed, _ = convert_edm_state_dict(state)
    assert not any("augment" in name for name in renamed)
    qkv = state["enc.8x8_block0.qkv.weight"]
    assert torch.equal(renamed["down_blocks.1.attentions.0.to_k.weight"], qkv[1::3, :, 0, 0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {n: v for n, v in s.items() if not n.startswith("map_label")}, "without labels"),
        (lambda s: {n: v for n, v in s.items() if "block" not in n}, "not the state dict of EDM's ADM network"),
        (lambda s: {n: v for n, v in s.items() if n != "out_norm.weight"}, "do not fit a unet-128-192x2: missing"),
    ],
)
def test_other_networks_are_refused(state, change, said):
    with pytest.raises(ValueError, match=said):
        edm_denoiser(change(state))


def test_unlike_numbers_of_groups_are_refused(generator):
    with pytest.raises(ValueError, match=r"unlike numbers of groups: \[16, 32\]"):
        convert_edm_state_dict(edm_state((64, 128), 1, generator=generator))


def persistent_pickle(state):
    """A pickle as EDM writes it: modules through a function that would run their embedded source."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the embedded source was run")

    _reconstruct_persistent_obj.__module__, _reconstruct_persistent_obj.__qualname__ = (
        "torch_utils.persistence",
        "_reconstruct_persistent_obj",
    )
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj

    class Persistent:
        def __init__(self, fields):
            self.fields = fields

        def __reduce__(self):
            meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": "X"}
            return _reconstruct_persistent_obj, ({**meta, "state": self.fields},)

    def nested(names):
        own = {"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}}
        for name, value in names.items():
            head, _, rest = name.partition(".")
            if rest:
                own["_modules"].setdefault(head, {})[rest] = value
            else:
                own["_parameters"][head] = torch.nn.Parameter(value)
        own["_modules"] = {head: nested(rest) for head, rest in own["_modules"].items()}
        return Persistent(own)

    sys.modules |= {"torch_utils": package, "torch_utils.persistence": module}
    try:
        content = {"ema": nested({f"model.{n}": v for n, v in state.items()}), "augment_pipe": Persistent({})}
        return pickle.dumps(content)
    finally:
        del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


def test_an_edm_pickle_is_read_without_running_its_source(state, tmp_path):
    (tmp_path / "edm.pkl").write_bytes(persistent_pickle(state))
    found = read_edm_pickle(tmp_path / "edm.pkl")
    assert set(found) == {f"model.{name}" for name in state}
    assert all(torch.equal(found[f"model.{name}"], value) for name, value in state.items())


def test_an_evil_pickle_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "exploded"), "w")

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"ema": Bomb()}))
    with pytest.raises(ValueError, match="'ema' holds no parameters"):
        read_edm_pickle(tmp_path / "evil.pkl")
    assert not (tmp_path / "exploded").exists()


def test_files_that_are_no_edm_pickles_are_refused_by_name(tmp_path, state):
    with pytest.raises(FileNotFoundError, match=r"none\.pkl: no such file"):
        read_edm_pickle(tmp_path / "none.pkl")
    path = tmp_path / "a.pkl"
    for content, said in (
        (b"\x00\x01", "not an EDM pickle"),
        (b"", "not an EDM pickle"),
        (pickle.dumps([1]), "expected a dictionary with a network 'ema'"),
        (persistent_pickle(state)[:5000], "not an EDM pickle"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read_edm_pickle(path)
    torch.save({"ema": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="not an EDM pickle"):
        read_edm_pickle(path)
