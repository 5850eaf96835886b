"""The judge: attributes of captions, agreement of pictures with prompts, and its packaged weights."""

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer

from latte3d.judge import ATTRIBUTES, UNTOLD, AttributeJudge, agreement, attributes_of, judge_loss
from latte3d.judge_training import JudgeTraining, read_judge
from latte3d.prior_files import PACKAGED
from latte3d.prior_training import PriorData
from latte3d.scores import SIZE, VIEWS, held_out_prompts, hits
from latte3d.shapes import TRIPLES, draw_shapes, is_held_out, vocabulary

needs_judge = pytest.mark.skipif(not (PACKAGED / "judge.safetensors").exists(), reason="no packaged judge")


@pytest.mark.parametrize("synonyms", [(False,) * 3, (True,) * 3])
def test_captions_tell_their_attributes_whatever_the_synonyms(generator, synonyms):
    names = list(ATTRIBUTES.values())
    for shape in draw_shapes(TRIPLES, 2, generator):
        found = attributes_of(shape.caption(synonyms))
        told = [None if value == UNTOLD else names[i][value] for i, value in enumerate(found)]
        second = None if shape.attachment == "none" else shape.second
        assert told == [shape.body, shape.proportion, shape.attachment, shape.color, second, shape.pattern]


def certain(attributes, views):
    """What a judge that is never wrong would say."""
    return [
        (20 * F.one_hot(column.clamp(min=0), len(known)).float()).log_softmax(-1).repeat_interleave(views, 0)
        for column, known in zip(attributes.T, ATTRIBUTES.values(), strict=True)
    ]


def test_a_certain_judge_finds_every_prompt_and_a_blind_one_none():
    prompts = [shape.caption() for shape in held_out_prompts(8, 0)]
    attributes = torch.tensor([attributes_of(prompt) for prompt in prompts])
    assert len(set(prompts)) == 72

    similarity = agreement(certain(attributes, 4), attributes, 4)

    assert torch.equal(similarity.argmax(1), torch.arange(72))
    blind = [torch.zeros(4 * 72, len(known)).log_softmax(-1) for known in ATTRIBUTES.values()]
    assert float(agreement(blind, attributes, 4).std(1).max()) < 1e-5  # prompts that tell less are not preferred


def test_pictures_that_are_all_alike_retrieve_at_most_one_prompt():
    prompts = [shape.caption() for shape in held_out_prompts(2, 0)]
    assert float(hits(AttributeJudge().eval(), [torch.ones(4, SIZE, SIZE, 3)] * 18, prompts).sum()) <= 1


def test_prompts_of_the_judge_are_of_unseen_kinds():
    shapes = held_out_prompts(3, 4)
    assert len(shapes) == 27 and all(is_held_out(shape.triple) for shape in shapes)


def test_untold_attributes_are_not_learned():
    told = AttributeJudge()(torch.rand(2, 32, 32, 3))
    attributes = torch.tensor([attributes_of("a red ball"), attributes_of("a tall blue cube")])
    assert (attributes[:, 4] == UNTOLD).all()
    assert torch.isfinite(judge_loss(told, attributes))


def test_a_judge_is_trained_scored_and_written(tmp_path):
    data = PriorData(each=1, held_out_each=1, bodies=["cone"], size=16, sets=1, points=8, cells=4, batch_size=2)
    training = JudgeTraining(vocabulary(), out=str(tmp_path / "new" / "judge.safetensors"))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_steps=2, max_epochs=-1, limit_val_batches=2, enable_checkpointing=False, **quiet)
    trainer.fit(training, datamodule=data)
    assert {f"val/{name}" for name in ATTRIBUTES} >= set(trainer.callback_metrics) - {"train/loss"}
    again = read_judge(tmp_path / "new" / "judge.safetensors")
    torch.testing.assert_close(again.names.weight, training.judge.names.weight.detach(), atol=1e-3, rtol=1e-3)


def test_a_file_that_is_no_judge_is_named(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.safetensors is no judge of this project"):
        read_judge(tmp_path / "a.safetensors")


@needs_judge
def test_the_packaged_judge_knows_true_renders():
    shapes = held_out_prompts(2, 3)
    drawn = [shape.render(VIEWS, SIZE).color for shape in shapes]
    assert (PACKAGED / "judge.safetensors").stat().st_size < 4e6
    assert float(hits(read_judge(), drawn, [shape.caption() for shape in shapes]).mean()) > 0.8
