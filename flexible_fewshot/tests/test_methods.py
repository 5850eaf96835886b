"""The episodic methods, the encoders and what is discarded."""

import pytest
import torch
from torch.nn import functional as F

from conftest import separable
from flexible_fewshot import (
    ANIL,
    TADAM,
    FinetuneAttributes,
    FinetuneEpisodes,
    MatchingNet,
    NearestCentroid,
    ProtoNet,
    ResNet12,
    ResNet50,
    SimCLR,
    SmallEncoder,
    SupervisedAttributes,
    TAFENet,
    build_encoder,
    cam,
    unstandardised,
)
from flexible_fewshot.anil import InnerLoopHead
from flexible_fewshot.film import modulate
from flexible_fewshot.learning import Representation, attribute_loss
from flexible_fewshot.matching_net import MatchingHead
from flexible_fewshot.proto_net import PrototypeHead
from flexible_fewshot.tafenet import TaskAwareHead


def images(*shape, seed=0):
    return torch.rand(*shape, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_the_backbone_has_the_papers_sizes():
    assert sum(p.numel() for p in ResNet12(64).parameters()) == 7_996_800
    assert sum(p.numel() for p in ResNet12(32).parameters()) == 2_001_600
    assert ResNet12(8).eval().maps(torch.rand(1, 3, 84, 84)).shape == (1, 64, 11, 11)
    assert ResNet50(64).features == 2048 and ResNet50(4).eval().maps(torch.rand(1, 3, 224, 224)).shape[2:] == (7, 7)
    assert sum(p.numel() for p in ResNet50(64).parameters()) == 23_508_032  # the usual one without its classifier


@pytest.mark.parametrize("name", ["small", "resnet12", "resnet50"])
def test_h_is_the_average_of_the_last_map_and_a_film_of_ones_and_zeros_changes_nothing(name):
    encoder = build_encoder(name, 4).eval()
    x = images(2)
    h = encoder(x)
    assert h.shape == (2, encoder.features) and torch.allclose(h, encoder.maps(x).mean((-2, -1)))
    identity = [(torch.ones(1, c), torch.zeros(1, c)) for c in encoder.channels]
    assert torch.allclose(encoder(x, identity), h)
    strong = [(2 * torch.ones(1, c), torch.ones(1, c)) for c in encoder.channels]
    assert not torch.allclose(encoder(x, strong), h)


def test_a_film_modulates_each_image_by_its_own():
    maps = torch.ones(2, 3, 4, 4)
    film = [(torch.tensor([[1.0] * 3, [2.0] * 3]), torch.tensor([[0.0] * 3, [5.0] * 3]))]
    assert modulate(maps, film, 0)[:, 0, 0, 0].tolist() == [1.0, 7.0]


def test_unknown_encoders_are_refused():
    with pytest.raises(ValueError, match="unknown encoder 'vgg', choose from small, resnet12, resnet50"):
        build_encoder("vgg", 8)
    with pytest.raises(ValueError, match="width must be >= 1"):
        build_encoder("small", 0)


def test_matching_is_softmax_attention():
    x, y = separable(dtype=torch.float32)
    query = torch.randn(3, 9, 6)
    attention = (10 * F.cosine_similarity(query[:, :, None], x[:, None], dim=-1)).softmax(-1)
    p = (attention * y[:, None]).sum(-1)
    assert torch.allclose(MatchingHead()(x, y, query).sigmoid(), p, atol=1e-5)


def test_prototypes_decide_as_the_nearest_centroid():
    x, y = separable()
    query = torch.randn(3, 9, 6, dtype=torch.float64)
    assert torch.allclose(10 * NearestCentroid().logits(x, y, query) / 6, PrototypeHead().double()(x, y, query))
    cosine = PrototypeHead("cosine").double()
    assert torch.allclose(cosine(x, y, query), cosine(x, y, 7 * query))
    with pytest.raises(ValueError, match="unknown distance 'l1'"):
        PrototypeHead("l1")


def test_anil_without_steps_is_its_start_and_with_steps_it_is_gradient_descent():
    x, y = separable()
    query = torch.randn(3, 4, 6, dtype=torch.float64)
    start = InnerLoopHead(6, steps=0).double()
    torch.nn.init.normal_(start.weight)
    assert torch.allclose(start(x, y, query), torch.einsum("eqd,d->eq", query, start.weight) + start.bias)

    head = InnerLoopHead(6, steps=2, lr=0.3).double()
    w, b = head.weight.detach().clone().requires_grad_(), head.bias.detach().clone().requires_grad_()
    for _ in range(2):
        loss = F.binary_cross_entropy_with_logits(x[1] @ w + b, y[1].double())
        by_w, by_b = torch.autograd.grad(loss, (w, b))
        w, b = (w - 0.3 * by_w).detach().requires_grad_(), (b - 0.3 * by_b).detach().requires_grad_()
    assert torch.allclose(head(x, y, query)[1], query[1] @ w + b)


def test_anil_differentiates_through_its_inner_loop():
    x, y = separable(episodes=2, n=3, width=3)
    query = torch.randn(2, 4, 3, dtype=torch.float64)
    head = InnerLoopHead(3, steps=3).double()

    def outer(support, weight, bias):
        return torch.func.functional_call(head, {"weight": weight, "bias": bias}, (support, y, query))

    arguments = (x.requires_grad_(), torch.randn(3, dtype=torch.float64, requires_grad=True),
                 torch.randn((), dtype=torch.float64, requires_grad=True))  # fmt: skip
    assert torch.autograd.gradcheck(outer, arguments)
    with pytest.raises(ValueError, match="needs steps >= 0 and lr > 0, got -1"):
        InnerLoopHead(3, steps=-1)


def test_tadam_without_modulation_is_protonet():
    """γ0 = β0 = 0, as at the start of training."""
    tadam, proto = TADAM(width=4).eval(), ProtoNet(width=4).eval()
    proto.encoder.load_state_dict(tadam.encoder.state_dict())
    support, query = images(2, 6), images(2, 5, seed=1)
    y = torch.tensor([[1, 1, 1, 0, 0, 0]] * 2)
    assert torch.allclose(tadam.episode_logits(support, y, query), proto.episode_logits(support, y, query), atol=1e-5)
    assert float(tadam.penalty()) == 0
    for parameter in tadam.head["task"].gamma0:
        torch.nn.init.ones_(parameter)
    assert not torch.allclose(tadam.episode_logits(support, y, query), proto.episode_logits(support, y, query))
    assert float(tadam.penalty()) > 0


def test_tadam_is_conditioned_on_the_positives_alone():
    tadam = TADAM(width=4).eval()
    for parameter in [*tadam.head["task"].gamma0, *tadam.head["task"].beta0]:
        torch.nn.init.normal_(parameter)
    h = torch.randn(1, 6, 32)
    films = []
    for change in (slice(3, 6), slice(0, 3)):  # negatives, positives
        other = h.clone()
        other[:, change] += 1
        films.append(tadam.head["task"](other[:, :3].mean(1))[0][0])
    original = tadam.head["task"](h[:, :3].mean(1))[0][0]
    assert torch.equal(films[0], original) and not torch.allclose(films[1], original)


def test_the_meta_network_emits_a_classifier_for_each_task():
    x, y = separable(dtype=torch.float32)
    head = TaskAwareHead(6)
    query = torch.randn(1, 9, 6).expand(3, -1, -1)
    logits = head(x, y, query)
    assert logits.shape == (3, 9) and not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("learner", [ProtoNet, MatchingNet, ANIL, TAFENet, TADAM])
def test_no_episodic_method_depends_on_the_order_of_the_support(learner):
    model = learner(width=4).eval()
    support, query, y = images(2, 6), images(2, 3, seed=1), torch.tensor([[1, 1, 1, 0, 0, 0]] * 2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    first, second = model.episode_logits(support, y, query), model.episode_logits(support[:, order], y[:, order], query)
    assert torch.allclose(first, second, atol=1e-4)


def test_unknown_labels_do_not_count():
    logits = torch.randn(4, 3)
    targets = torch.tensor([[1, 0, -1], [0, -1, 1], [-1, -1, -1], [1, 1, 0]])
    known = [(i, k) for i in range(4) for k in range(3) if targets[i, k] >= 0]
    expected = sum(F.binary_cross_entropy_with_logits(logits[i, k], targets[i, k].float()) for i, k in known) / len(
        known
    )
    assert float(attribute_loss(logits, targets)) == pytest.approx(float(expected))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_heads_have_the_depth_that_is_asked_for(layers):
    model = FinetuneAttributes(3, width=4, head_layers=layers, hidden=16, projection=8 if layers else 0)
    assert sum(isinstance(m, torch.nn.Linear) for m in model.discarded) == layers + (layers > 0)
    assert model.head(torch.rand(2, 32)).shape == (2, 3)


def test_modules_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="unknown variant 'both' of SimCLR, choose from cross, ntxent"):
        SimCLR(variant="both")
    with pytest.raises(NotImplementedError, match="Representation has no loss"):
        Representation().loss(images(1), torch.zeros(1))


def test_a_learner_without_a_head_says_so():
    from flexible_fewshot.episodic import EpisodicLearner

    with pytest.raises(NotImplementedError, match="EpisodicLearner has no head"):
        EpisodicLearner()


def test_every_setting_is_kept_for_checkpoints():
    model = FinetuneEpisodes(width=4, distance="cosine", seed=7)
    kept = dict(model.hparams)
    assert kept["encoder"] == "small" and kept["width"] == 4 and kept["distance"] == "cosine" and kept["seed"] == 7
    assert SupervisedAttributes(5, lr=0.1).hparams.labels == 5


def test_a_cam_averages_to_the_logit():
    encoder = SmallEncoder(4)
    x = images(5)
    weight, bias = torch.randn(32), torch.tensor(0.7)
    maps, logits = cam(encoder, weight, bias, x)
    assert maps.shape == (5, 2, 2)
    assert torch.allclose(maps.mean((-2, -1)) + bias, logits)
    assert torch.allclose(logits, encoder.eval()(x) @ weight + bias, atol=1e-5)
    with pytest.raises(ValueError, match=r"has 32 features, the weight is \(5,\)"):
        cam(encoder, torch.zeros(5), bias, x)


def test_a_rule_for_standardised_features_can_be_read_on_h_itself():
    h, mean, scale = torch.randn(9, 4), torch.randn(4), torch.rand(4) + 0.5
    weight, bias = torch.randn(4), torch.tensor(0.3)
    w, b = unstandardised(weight, bias, mean, scale)
    assert torch.allclose(h @ w + b, (h - mean) / scale @ weight + bias, atol=1e-5)
