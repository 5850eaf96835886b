"""Networks that the tests draw: one for each kind of module, and random ones."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from graph_metanetworks import EquivariantLinear, Triplane


class Residual(nn.Module):
    """Stem, one residual block with batch norm, pooled classifier."""

    def __init__(self, width=6, norm=True):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if norm else nn.Identity() for _ in range(2))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = self.norms[1](self.second(torch.relu(self.norms[0](self.first(x)))))
        return self.head(torch.relu(x + y).mean((2, 3)))


class BasicBlock(nn.Module):
    """The residual block whose counts are known: two 3x3 convolutions without bias, two batch norms."""

    def __init__(self, width=1):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + x)


class SkipAttention(nn.Module):
    """Attention on a skip stream of width d between two linear maps."""

    def __init__(self, width=4, heads=2, norm=False):
        super().__init__()
        self.inward, self.outward = nn.Linear(3, width), nn.Linear(width, 2)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, x):
        x = self.inward(x)
        y = self.norm(x)
        return self.outward((x + self.attention(y, y, y, need_weights=False)[0]).mean(1))


class WrittenAttention(nn.Module):
    """Attention with one linear map for q, k and v, chunked, by hand or by torch's function."""

    def __init__(self, width=4, heads=2, by_hand=False):
        super().__init__()
        self.heads, self.by_hand = heads, by_hand
        self.inward, self.qkv, self.out = nn.Linear(3, width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.outward = nn.Linear(width, 2)

    def forward(self, x):
        x = self.inward(x)
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
        k = k.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
        v = v.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
        if self.by_hand:
            weights = (q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)).softmax(-1)
            mixed = weights @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)
        return self.outward((x + self.out(mixed)).mean(1))


class TinyViT(nn.Module):
    """Patches by a strided convolution, class token, learned positions, encoder layers with the norm first."""

    def __init__(self, width=4, heads=2, norm_first=True, layers=1):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, stride=4)
        self.token = nn.Parameter(0.5 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.5 * torch.randn(1, 5, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, "gelu", norm_first=norm_first, batch_first=True)
            for _ in range(layers)
        )
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


class Gated(nn.Module):
    """a · sigmoid(b) with a and b the halves of one linear map."""

    def __init__(self, width=4):
        super().__init__()
        self.inward, self.outward = nn.Linear(3, 2 * width), nn.Linear(width, 2)

    def forward(self, x):
        a, b = self.inward(x).chunk(2, dim=-1)
        return self.outward(a * torch.sigmoid(b))


class TwoBranches(nn.Module):
    """Two alike branches with different activations on one input, concatenated."""

    def __init__(self, width=3, alike=False):
        super().__init__()
        self.inward = nn.Linear(2, width)
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width)
        self.outward = nn.Linear(2 * width, 2)
        self.alike = alike

    def forward(self, x):
        x = self.inward(x)
        a, b = self.left(torch.tanh(x)), self.right(torch.tanh(x) if self.alike else torch.sigmoid(x))
        return self.outward(torch.cat([a.relu(), b.relu()], -1))


class Tied(nn.Module):
    """One matrix used twice."""

    def __init__(self, width=4):
        super().__init__()
        self.inward, self.middle, self.outward = nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x):
        return self.outward(torch.tanh(self.middle(torch.tanh(self.middle(torch.tanh(self.inward(x)))))))


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(30 * x)


class DepthwiseSeparable(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.stem, self.depth = nn.Conv2d(1, width, 1), nn.Conv2d(width, width, 3, groups=width, padding=1)
        self.point, self.head = nn.Conv2d(width, width, 1), nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.point(self.depth(self.stem(x)).relu()).relu().mean((2, 3)))


class Language(nn.Module):
    def __init__(self, words=7, width=4):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 8, 0.0, batch_first=True)
        self.head = nn.Linear(width, words)

    def forward(self, x):
        return self.head(self.layer(self.words(x)))


class Gains(nn.Module):
    """Learned gains and a fixed sinusoidal position, entry by entry."""

    def __init__(self, width=4, tokens=5):
        super().__init__()
        self.inward, self.outward = nn.Linear(3, width), nn.Linear(width, 2)
        self.gain, self.shift = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.register_buffer("position", torch.randn(1, tokens, width))

    def forward(self, x):
        x = torch.tanh(self.inward(x) + self.position)
        return self.outward((x - 0.5 * torch.tanh(x * self.gain + self.shift)).mean(1))


def image(*shape):
    return torch.randn(3, *shape)


def mlp(*sizes, activation=nn.ReLU):
    layers = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


def pooled(*layers, channels=6, outputs=3):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


f = math.factorial
EXACT = {  # name -> (network, input, order of its symmetry group or None)
    "mlp": (lambda: mlp(4, 8, 8, 3), (4,), f(8) ** 2),
    "siren": (lambda: nn.Sequential(nn.Linear(2, 5), Sine(), nn.Linear(5, 1)), (2,), f(5)),
    "cnn": (lambda: pooled(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()), (1, 8, 8), f(6) ** 2),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(2, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)),
        (2, 9), f(4),
    ),
    "conv3d": (
        lambda: nn.Sequential(nn.Conv3d(1, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2)),
        (1, 4, 4, 4), f(3),
    ),
    "residual": (lambda: Residual(6), (1, 6, 6), f(6) ** 2),
    "residual without norm": (lambda: Residual(6, norm=False), (1, 6, 6), f(6) ** 2),
    "group norm": (lambda: pooled(nn.Conv2d(1, 6, 3), nn.GroupNorm(2, 6), nn.ReLU()), (1, 6, 6), f(2) * f(3) ** 2),
    "instance norm": (
        lambda: pooled(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), channels=4), (1, 6, 6), f(4)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(2, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)), (2,), f(5)),
    "layer norm of maps": (
        lambda: pooled(nn.Conv2d(1, 4, 3), nn.LayerNorm([4, 4, 4]), nn.ReLU(), channels=4), (1, 6, 6), f(4)),
    "attention": (SkipAttention, (5, 3), f(4) * f(2) * (f(2) * f(2)) ** 2),
    "attention after a norm": (lambda: SkipAttention(norm=True), (5, 3), f(4) * f(2) * (f(2) * f(2)) ** 2),
    "attention of 3 heads": (lambda: SkipAttention(6, 3), (5, 3), f(6) * f(3) * (f(2) * f(2)) ** 3),
    "attention by torch's function": (WrittenAttention, (5, 3), f(4) * f(2) * (f(2) * f(2)) ** 2),
    "attention by hand": (lambda: WrittenAttention(by_hand=True), (5, 3), f(4) * f(2) * (f(2) * f(2)) ** 2),
    "vit": (TinyViT, (1, 8, 8), f(4) * f(2) * (f(2) * f(2)) ** 2 * f(8)),
    "vit with the norm last": (lambda: TinyViT(norm_first=False), (1, 8, 8), f(4) * f(2) * (f(2) * f(2)) ** 2 * f(8)),
    "deep sets": (
        lambda: nn.Sequential(EquivariantLinear(3, 4), nn.ReLU(), EquivariantLinear(4, 2)), (5, 3), f(4)),
    "triplane": (
        lambda: nn.Sequential(Triplane(4, 3), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1)), "points", f(4) * f(5)),
    "gated": (Gated, (3,), f(4)),
    "two branches": (TwoBranches, (2,), f(3) ** 3),
    "two branches alike": (lambda: TwoBranches(alike=True), (2,), 2 * f(3) ** 3),
    "grouped convolution": (
        lambda: pooled(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()),
        (1, 6, 6), 2 * (f(2) * f(3)) ** 2,
    ),
    "depthwise convolution": (DepthwiseSeparable, (1, 6, 6), f(4) ** 2),
    "transposed convolution": (
        lambda: pooled(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.ConvTranspose2d(4, 5, 3, stride=2), nn.ReLU(), channels=5),
        (1, 5, 5), f(4) * f(5),
    ),
    "flattened maps": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2)),
        (1, 6, 6), f(4),
    ),
    "tied": (Tied, (3,), f(4)),
    "language": (Language, "words", f(4) * f(2) * (f(2) * f(2)) ** 2 * f(8)),
    "gains": (Gains, (5, 3), f(4)),
    "prelu": (lambda: nn.Sequential(nn.Linear(2, 4), nn.PReLU(4), nn.Linear(4, 2)), (2,), f(4)),
    "one prelu": (lambda: nn.Sequential(nn.Linear(2, 4), nn.PReLU(), nn.Linear(4, 2)), (2,), f(4)),
}  # fmt: skip

PAPER = ["mlp", "siren", "cnn", "conv1d", "conv3d", "residual", "group norm", "instance norm", "layer norm",
         "attention", "vit", "deep sets", "triplane", "tied", "language"]  # fmt: skip


def sample(name, seed=0):
    """A network in float64 with random weights and statistics, and a batch for it."""
    make, shape, _ = EXACT[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make().double().eval()
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.data = tensor.data + 0.3 * torch.randn_like(tensor)
        for key, buffer in model.named_buffers():
            if key.endswith("running_var"):
                buffer.data = 0.5 + buffer.data.abs()
        if shape == "words":
            return model, torch.randint(0, 7, (3, 5))
        if shape == "points":
            return model, 2 * torch.rand(3, 6, 3, dtype=torch.float64) - 1
        return model, torch.randn(3, *shape, dtype=torch.float64)


class Of(nn.Module):
    """A network from a function of its parts and its input."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def linears(**sizes):
    return {name: nn.Linear(*size) for name, size in sizes.items()}


def two_tokens(m, x):
    """Different maps of the first and of the second token."""
    y = m.i(x)
    return m.a(y[:, 0]) + m.b(y[:, 1])


def halves_of_places(m, x):
    first, second = m.i(x).chunk(2, 1)
    return (m.a(first).relu() + m.b(second).relu()).mean(1)


def inception(m, x):
    """Two alike branches, one of them after a pool."""
    return m.h(torch.cat([m.a(x).relu(), m.b(F.max_pool2d(x, 3, 1, 1)).relu()], 1).mean((2, 3)))


def squeeze_excite(m, x):
    x = m.c(x)
    gate = torch.sigmoid(m.b(torch.relu(m.a(x.mean((2, 3))))))
    return m.h((x * gate[:, :, None, None]).mean((2, 3)))


def functional(m, x):
    x = F.relu(F.conv2d(x, m.w, m.b, 1, 1)).mean((2, 3))
    return torch.tanh(x @ m.v.T + m.c)


def cross_attention(m, x):
    return m.o(m.a(m.i(x), m.j(x), m.j(x), need_weights=False)[0].mean(1))


def parameters(**shapes):
    return {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}


EXACT |= {
    "functional": (lambda: Of(functional, **parameters(w=(4, 1, 3, 3), b=(4,), v=(2, 4), c=(2,))), (1, 5, 5), f(4)),
    "encoder": (
        lambda: nn.Sequential(
            nn.Linear(3, 4),
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True, norm_first=True), 2, nn.LayerNorm(4), False),
            nn.Linear(4, 2),
        ), (5, 3), f(4) * (f(2) * (f(2) * f(2)) ** 2 * f(8)) ** 2,
    ),
    "stack": (
        lambda: Of(
            lambda m, x: m.c(torch.stack([m.a(x), m.b(x)], 1).flatten(1)), **linears(a=(3, 4), b=(3, 4), c=(8, 2))),
        (3,), f(4) ** 2 * 2,
    ),
    "upsampled": (
        lambda: pooled(nn.Conv2d(1, 4, 3), nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 3), nn.ReLU(), channels=3),
        (1, 5, 5), f(4) * f(3),
    ),
    "shuffled pixels": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.PixelShuffle(2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)),
        (1, 5, 5), f(4),
    ),
    "inception": (
        lambda: Of(inception, a=nn.Conv2d(2, 3, 1), b=nn.Conv2d(2, 3, 1), h=nn.Linear(6, 2)), (2, 5, 5), f(3) ** 2),
    "squeeze and excite": (
        lambda: Of(squeeze_excite, c=nn.Conv2d(1, 4, 3), **linears(a=(4, 2), b=(2, 4), h=(4, 2))),
        (1, 6, 6), f(4) * f(2)),
    "gated by silu": (
        lambda: Of(lambda m, x: m.c(F.silu(m.a(x)) * m.b(x)), **linears(a=(3, 4), b=(3, 4), c=(4, 2))), (3,), f(4)),
    "quotient": (
        lambda: Of(lambda m, x: m.c(m.a(x) / (1 + m.b(x) ** 2)), **linears(a=(3, 4), b=(3, 4), c=(4, 2))), (3,), f(4)),
    "two tokens": (lambda: Of(two_tokens, **linears(i=(3, 4), a=(4, 2), b=(4, 2))), (2, 3), f(4)),
    "halves of places": (lambda: Of(halves_of_places, **linears(i=(3, 4), a=(4, 3), b=(4, 3))), (4, 3), f(4)),
    "cross attention": (
        lambda: Of(
            cross_attention, a=nn.MultiheadAttention(4, 2, batch_first=True), **linears(i=(3, 4), j=(3, 4), o=(4, 2))),
        (5, 3), f(4) ** 3 * f(2) * (f(2) * f(2)) ** 2,
    ),
    "softmax": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1), nn.Linear(4, 2), nn.LogSoftmax(-1)), (3,), f(4)),
}  # fmt: skip


class RandomNet(nn.Module):
    """A random stack of random blocks on a stream of varying width, for tests of what holds for every network."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def draw(n):
            return int(torch.randint(n, (1,), generator=generator))

        self.kinds, self.blocks = [], nn.ModuleList()
        width = 2 + draw(3)
        self.inward = nn.Linear(3, width)
        for _ in range(2 + draw(4)):
            kind = ["linear", "residual", "norm", "gate", "concat", "attention", "product", "set", "pool"][draw(9)]
            if kind == "attention" and width % 2:
                kind = "residual"
            self.kinds.append(kind)
            if kind == "linear":
                new = 2 + draw(3)
                self.blocks.append(nn.ModuleList([nn.Linear(width, new, bias=bool(draw(2)))]))
                width = new
            elif kind == "gate":
                self.blocks.append(nn.ModuleList([nn.Linear(width, 2 * width)]))
            elif kind == "norm":
                self.blocks.append(nn.ModuleList([nn.LayerNorm(width)]))
            elif kind == "concat":
                new = 1 + draw(2)
                self.blocks.append(nn.ModuleList([nn.Linear(width, new)]))
                width += new
            elif kind == "attention":
                self.blocks.append(
                    nn.ModuleList([nn.MultiheadAttention(width, 2, batch_first=True), nn.LayerNorm(width)])
                )
            elif kind == "set":
                new = 2 + draw(3)
                self.blocks.append(nn.ModuleList([EquivariantLinear(width, new)]))
                width = new
            else:
                self.blocks.append(nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)]))
        self.outward = nn.Linear(width, 2)

    def forward(self, x):
        x = self.inward(x)
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            if kind in ("linear", "set", "norm"):
                x = torch.tanh(block[0](x))
            elif kind == "residual":
                x = x + block[1](torch.relu(block[0](x)))
            elif kind == "gate":
                a, b = block[0](x).chunk(2, -1)
                x = a * torch.sigmoid(b)
            elif kind == "concat":
                x = torch.cat([x, torch.sin(block[0](x))], -1)
            elif kind == "attention":
                y = block[1](x)
                x = x + block[0](y, y, y, need_weights=False)[0]
            elif kind == "pool":
                x = x - block[0](x).mean(1, keepdim=True) * 0.5 + block[1](x)
            else:
                x = block[0](x) * torch.sigmoid(block[1](x)) + x
        return self.outward(x.mean(1))
