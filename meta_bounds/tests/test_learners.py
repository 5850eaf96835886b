"""Meta-learners: the inner loop, stacks of runs, what each method may see, and the closed form among them."""

import math

import pytest
import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from meta_bounds.adaptation import adapt, cross_entropy, for_every_task, squared_error
from meta_bounds.data import SinusoidData, Tasks, Trial
from meta_bounds.gradient_map import GradientMAP, PolynomialHierarchy, closed_form
from meta_bounds.learners import (
    ANIL,
    LEARNERS,
    MAML,
    BasisMAP,
    FineTuned,
    Pooled,
    PrincipalMAP,
    SingleTask,
    draw_episode,
)
from meta_bounds.network import forward, initial_weights
from meta_bounds.study import Record, StudySettings, build, mean_over_seeds, train_and_judge


def shape_of(data):
    return {"inputs": data.inputs, "outputs": data.outputs, "loss": data.loss, "seeds": data.seeds}


def fitted(learner, data, steps):
    trainer = Trainer(accelerator="cpu", barebones=True, max_steps=steps)
    trainer.fit(learner, train_dataloaders=data.train_dataloader())
    return learner


def closed(learner, data):
    trainer = Trainer(accelerator="cpu", barebones=True, max_epochs=1)
    trainer.fit(learner, train_dataloaders=DataLoader([data.all_tasks()], batch_size=None))
    return learner


def test_the_inner_loop_is_gradient_descent_on_each_task_s_support():
    weights = for_every_task(initial_weights([1, 8, 1], [0, 1]))
    x, y = torch.randn(2, 3, 5, 1), torch.randn(2, 3, 5, 1)
    adapted = adapt(weights, x, y, squared_error, 2, 0.1, layers=2, differentiable=False)

    by_hand = [w[1, 0].clone().requires_grad_() for w in weights]  # run 1, task 2
    for _ in range(2):
        loss = squared_error(forward(by_hand, x[1, 2]), y[1, 2])
        gradients = torch.autograd.grad(loss, by_hand)
        by_hand = [(w - 0.1 * g).detach().requires_grad_() for w, g in zip(by_hand, gradients, strict=True)]
    assert all(torch.allclose(a[1, 2], b, atol=1e-6) for a, b in zip(adapted, by_hand, strict=True))


def test_the_meta_gradient_sees_through_the_inner_steps():
    """Against finite differences in float64; without the second derivatives it would be another."""
    start = [w.double() for w in initial_weights([1, 4, 1], [0])]
    x, y = torch.randn(1, 2, 5, 1).double(), torch.randn(1, 2, 5, 1).double()

    def outer(weights, differentiable=True):
        adapted = adapt(for_every_task(weights), x, y, squared_error, 3, 0.1, 2, differentiable)
        return squared_error(forward(adapted, x + 0.1), y).sum()

    weights = [w.clone().requires_grad_() for w in start]
    gradient = torch.autograd.grad(outer(weights), weights)[2][0, 1, 0]
    moved = []
    for sign in (1, -1):
        shifted = [w.clone() for w in start]
        shifted[2][0, 1, 0] += sign * 1e-6
        moved.append(outer(shifted, differentiable=False).detach())
    assert float(gradient) == pytest.approx(float((moved[0] - moved[1]) / 2e-6), rel=1e-5)


def test_anil_moves_the_last_layer_alone_and_maml_all_of_them():
    data = SinusoidData([4], novel_tasks=3)
    trial = data.trials()[0]
    for kind, moving in ((ANIL, 1), (MAML, 3)):
        learner = kind(**shape_of(data))
        adapted = learner.adapt(trial.support_x, trial.support_y)
        moved = [not torch.equal(a.expand_as(b), b) for a, b in zip(learner.shared_weights(), adapted, strict=True)]
        assert moved == [False] * (6 - 2 * moving) + [True] * (2 * moving)


@pytest.mark.parametrize("kind", [MAML, ANIL, FineTuned, Pooled])
def test_a_stack_of_runs_is_each_run_alone(kind):
    """Runs share no gradient, though Adam steps on their summed loss; episodes are drawn alike for the first run."""
    data, alone = SinusoidData([4], seeds=[3, 5], novel_tasks=3), SinusoidData([4], seeds=[3], novel_tasks=3)
    together = fitted(kind(**shape_of(data), episodes=2), data, 1)
    single = kind(**shape_of(alone), episodes=2)
    tasks = data.all_tasks()
    episode = draw_episode(tasks, 2, 5, 15, torch.Generator().manual_seed(0))
    loss = single.episode_loss(*(part[:1] for part in episode)).mean()
    optimizer = single.configure_optimizers()
    loss.backward()
    optimizer.step()
    assert all(torch.allclose(a[:1], b, atol=1e-6) for a, b in zip(together.weights, single.weights, strict=True))


def test_episodes_hold_disjoint_rows_of_the_run_s_own_tasks():
    rows = torch.arange(2 * 6 * 2 * 5).reshape(2, 6, 2, 5, 1).float()  # every row knows where it is from
    tasks = Tasks(rows, rows, torch.tensor([2, 6]))
    support, _, query, target = draw_episode(tasks, 50, 3, 9, torch.Generator().manual_seed(0))
    assert support.shape == (2, 50, 6, 1) and query.shape == (2, 50, 4, 1)
    assert torch.equal(query, target)
    both = torch.cat([support, query], 2)[..., 0]
    assert all(len(set(episode.tolist())) == 10 for run in both for episode in run)
    task = both // 10 % 6
    assert task[0].unique().tolist() == [0, 1] and task[1].unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert (task == task[..., :1]).all()
    with pytest.raises(ValueError, match="support must leave one of a task's 5 samples to query, got 5"):
        draw_episode(tasks, 2, 5, 1, torch.Generator())


def test_pooled_ignores_the_support_and_single_task_the_training_tasks():
    data = SinusoidData([4], novel_tasks=3)
    trial = data.trials()[0]
    pooled = Pooled(**shape_of(data))
    assert torch.equal(
        pooled.predict(trial.support_x, trial.support_y, trial.query_x),
        pooled.predict(trial.support_x, trial.support_y + 1, trial.query_x),
    )
    alone = SingleTask(**shape_of(data), alone_steps=2)
    before = [w.clone() for w in alone.weights]
    fitted(alone, data, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, alone.weights, strict=True))
    with pytest.raises(NotImplementedError, match="no episodes"):
        alone.episode_loss(None, None, None, None)


def test_a_single_task_learner_fits_what_it_sees():
    data = SinusoidData([1], shots=[100], novel_tasks=2)
    learner = SingleTask(**shape_of(data), alone_steps=500)
    assert float(learner.errors(data.trials()[0]).mean()) < 0.3


def test_maml_learns_to_adapt():
    data = SinusoidData([30], shots=[10], novel_tasks=50)
    learner = MAML(**shape_of(data), episodes=10)
    before = float(learner.errors(data.trials()[0]).mean())
    assert float(fitted(learner, data, 200).errors(data.trials()[0]).mean()) < before / 2


def test_the_closed_form_finds_that_sinusoids_are_two_dimensional():
    """Twenty bumps, 64 tasks: five clean shots determine a novel sinusoid, k noisy ones leave about σ² d/k, d = 2."""
    data = SinusoidData([64], shots=[5, 100], noises=[0.0, 1.0], novel_tasks=100)
    learner = closed(BasisMAP(**shape_of(data)), data)
    clean, _, _, noisy = (float(learner.errors(trial).mean()) for trial in data.trials())
    assert clean < 0.01
    assert 1 / 100 < noisy < 4 / 100
    smallest, *_, second, top = torch.linalg.eigvalsh(learner.task_cov[0]).tolist()
    assert second / top > 0.05 and smallest / top < 0.01


def test_the_closed_form_survives_a_checkpoint(tmp_path):
    data = SinusoidData([8], novel_tasks=4)
    learner = BasisMAP(**shape_of(data), bumps=10)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(learner, train_dataloaders=DataLoader([data.all_tasks()], batch_size=None))
    trainer.save_checkpoint(tmp_path / "map.ckpt")
    loaded = BasisMAP.load_from_checkpoint(tmp_path / "map.ckpt", weights_only=True)
    trial = data.trials()[0]
    arguments = (trial.support_x, trial.support_y, trial.query_x)
    assert torch.equal(learner.predict(*arguments), loaded.predict(*arguments))


def test_classification_is_judged_by_the_share_of_wrong_classes():
    labels = torch.eye(3).repeat(4, 1)
    learner = PrincipalMAP(3, 3, "cross_entropy", [0], components=2)
    x = labels + 0.1 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    tasks = Tasks(
        x.reshape(4, 3, 3).mT[None].transpose(2, 3).repeat(1, 2, 1, 1, 1).reshape(1, 2, 4, 3, 3),
        labels.reshape(4, 3, 3)[None, None].repeat(1, 2, 1, 1, 1),
        torch.tensor([2]),
    )
    learner.look(tasks)
    learner.training_step(tasks, 0)
    right = Trial(4, 0.0, x[None, None], labels[None, None], x[None, None], labels[None, None])
    wrong = right._replace(query_y=labels.roll(1, 1)[None, None])
    assert learner.errors(right).tolist() == [[0.0]] and learner.errors(wrong).tolist() == [[1.0]]
    assert float(cross_entropy(torch.zeros(2, 3), torch.eye(3)[:2])) == pytest.approx(math.log(3))


def test_gradients_of_the_joint_posterior_reach_the_closed_form():
    data = PolynomialHierarchy()
    model = fitted(GradientMAP(data.dim, data.count), data, 1)
    assert float(model.distance(data.hierarchy).detach()) < 1e-8
    assert torch.allclose(model.predict_step(data.hierarchy, 0), closed_form(data.hierarchy), atol=1e-8)


def test_a_study_gives_one_record_for_every_run_and_trial():
    data = SinusoidData([2, 4], shots=[5, 8], noises=[0.0, 1.0], seeds=[0, 1], novel_tasks=5)
    template = MAML(**shape_of(data), episodes=2, units=8)
    settings = StudySettings(alone_tasks=2, alone_steps=2)

    def trainer(callbacks):
        return Trainer(accelerator="cpu", barebones=True, max_steps=2, callbacks=callbacks)

    for name in ("anil", "single_task", "basis_map"):
        records = train_and_judge(name, template, data, settings, trainer)
        assert len(records) == (1 if name == "single_task" else 2) * 2 * 4
        assert {r.learner for r in records} == {name} and all(math.isfinite(r.error) for r in records)
    assert build("anil", template, data, data.seeds, settings).hparams.units == 8
    with pytest.raises(ValueError, match="unknown learner 'nope', choose from maml, anil"):
        train_and_judge("nope", template, data, settings, trainer)


def test_means_over_seeds_have_their_error_and_one_seed_has_that_over_tasks():
    records = [Record("maml", 4, 20, seed, 5, 0.0, error, 0.5) for seed, error in ((0, 1.0), (1, 3.0))]
    assert mean_over_seeds(records, tasks=4) == (2.0, 1.0)
    assert mean_over_seeds(records, seed=1) == (3.0, 0.5)
    with pytest.raises(ValueError, match="no record with"):
        mean_over_seeds(records, tasks=8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: MAML(1, 1, "hinge", [0]), "unknown loss 'hinge', choose from squared_error, cross_entropy"),
        (lambda: MAML(1, 1, "squared_error", [0], units=0), "units, layers, inner_steps"),
        (lambda: MAML(1, 1, "squared_error", [0], inner_rate=0), "rates positive"),
        (lambda: BasisMAP(2, 1, "squared_error", [0]), "got 2 inputs and 20 bumps"),
        (lambda: PrincipalMAP(4, 1, "squared_error", [0], components=5), "from 1 to the 4 inputs, got 5"),
        (lambda: GradientMAP(2, 3, iterations=0), "iterations must be at least 1"),
        (lambda: PolynomialHierarchy(degree_count=8), "degree_count must be from 1 to 7"),
    ],
)
def test_bad_settings_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_every_learner_has_its_name():
    assert set(LEARNERS) == {"maml", "anil", "fine_tuned", "pooled", "single_task", "basis_map", "principal_map"}


@pytest.mark.parametrize("kind", ["maml", "gradients"])
def test_a_loss_that_is_no_number_ends_the_run(kind):
    if kind == "maml":
        data = SinusoidData([2], seeds=[0], novel_tasks=1)
        learner = MAML(**shape_of(data), units=4, layers=2)
        learner.weights[0].data.fill_(torch.nan)
    else:
        data = PolynomialHierarchy()
        learner = GradientMAP(data.dim, data.count)
        learner.thetas.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"step 0: the training loss is nan, a finite one expected; lower"):
        fitted(learner, data, 1)
