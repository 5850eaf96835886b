"""Prompt files: factors with held-out rules, libraries, lines; embeddings and their cache; order of training."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from att3d.data import PromptDataModule, PromptOrder
from att3d.embeddings import EmbeddingCache, read_embedding
from att3d.prompts import read_prompts
from att3d.text import HashTokenEncoder, TextEncoder

FACTORS = "template: a {colour} {body}\nfactors:\n  colour: [red, blue, green]\n  body: [cube, ball, cone]\n"


def written(path, text):
    path.write_text(text)
    return str(path)


def test_the_default_holds_out_a_latin_square_that_leaves_every_pair_of_values():
    library = read_prompts("shapes27")
    assert len(library.train) == 18 and len(library.unseen) == 9 and len(library.prompts) == 27
    words = [set(prompt.split()) for prompt in library.train]
    for prompt in library.unseen:
        for left_out in prompt.split():
            assert any(set(prompt.split()) - {left_out} <= have for have in words)


def test_pigs_hold_out_the_diagonal_and_animals_seven_eighths():
    pigs, animals = read_prompts("pig64"), read_prompts("animals")
    assert len(pigs.train) == 56 and len(pigs.unseen) == 8
    assert "a pig riding a motorcycle wearing a leather jacket" in pigs.unseen
    assert len(animals.train) == 300 and len(animals.prompts) == 2400


@pytest.mark.parametrize(
    ("rule", "train"),
    [("", 9), ("holdout: {rule: diagonal}", 6), ("holdout: {rule: latin}", 6), ("holdout: {rule: none}", 9),
     ("holdout: {rule: fraction, train: 0.34, seed: 1}", 3),
     ("holdout: {rule: explicit, prompts: [a red cube, a blue ball]}", 7)],
)  # fmt: skip
def test_held_out_rules(tmp_path, rule, train):
    library = read_prompts(written(tmp_path / "set.yaml", FACTORS + rule))
    assert len(library.train) == train and not set(library.train) & set(library.unseen)
    assert len(library.prompts) == 9


def test_smaller_parts_of_one_seed_are_within_larger_ones():
    sizes = [set(read_prompts("shapes64", share, 5).train) for share in (0.125, 0.25, 0.5, 1.0)]
    assert [len(s) for s in sizes] == [8, 16, 32, 64] and sizes[0] < sizes[1] < sizes[2] < sizes[3]
    assert set(read_prompts("shapes64", 0.5, 6).train) != sizes[2]


def test_a_library_of_json_is_read_and_overlap_is_said(tmp_path):
    content = {"train": ["a", "b"], "val": ["b"], "test": ["b", "c"]}
    with pytest.warns(UserWarning, match="1 held-out prompts are also trained on"):
        library = read_prompts(written(tmp_path / "library.json", json.dumps(content)))
    assert library.train == ("a", "b") and library.unseen == ("c",)
    with pytest.warns(UserWarning, match="repeats 1 prompts"):
        assert read_prompts(written(tmp_path / "one.json", '{"mine": ["x", "y", "x"]}')).train == ("x", "y")
    assert read_prompts(written(tmp_path / "lines.txt", "a cat\n\n a dog \n")).train == ("a cat", "a dog")


def test_a_real_library_is_read(papers_data):
    (path,) = sorted((papers_data / "prompts").glob("*.json"))
    with pytest.warns(UserWarning, match="held-out prompts are also trained on"):
        library = read_prompts(str(path))
    assert len(library.train) == 15 and not library.unseen


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "[1]", "expected an object such as"),
        ("a.json", "{", "not JSON"),
        ("a.json", '{"train": ["a"], "extra": []}', "unknown key 'extra'"),
        ("a.json", '{"one": ["a"], "two": ["b"]}', "expected train, val and test, or a single list, got one, two"),
        ("a.json", '{"train": "a"}', "train must be a list of prompts, got str"),
        ("a.json", '{"train": ["a", 3]}', r"train\[1\] must be a prompt, got 3"),
        ("a.json", '{"train": [" "]}', r"train\[0\] must be a prompt, got ' '"),
        ("a.json", '{"train": []}', "train holds no prompt"),
        ("a.txt", "\n", "lines holds no prompt"),
        ("a.csv", "x", r"expected .yaml \(factors\), .json"),
        ("a.yaml", "template: [", "not YAML"),
        ("a.yaml", "template: a {b}", "expected template, factors"),
        ("a.yaml", "template: a {b}\nfactors: {c: [x]}", "template has the fields b, factors give c"),
        ("a.yaml", "template: [a]\nfactors: {b: [x]}", "expected text under template"),
        ("a.yaml", "template: a {b\nfactors: {b: [x]}", "'a {b' is no template"),
        ("a.yaml", "template: 'a {b:d}'\nfactors: {b: [x]}", "cannot be filled with the factors"),
        ("a.yaml", FACTORS + "holdout: {rule: latin, modulus: 0}", "the holdout rule latin cannot take"),
        ("a.yaml", FACTORS + "holdout: odd", "unknown holdout rule 'odd'"),
        ("a.yaml", FACTORS + "holdout: {rule: odd}", "unknown holdout rule 'odd', choose from none, latin"),
        ("a.yaml", FACTORS + "holdout: {rule: fraction, train: 2}", r"must be in \(0, 1\], got 2"),
        ("a.yaml", FACTORS + "holdout: {rule: explicit, prompts: [a cow]}", "'a cow' is none of the 9"),
        ("a.yaml", "template: a {b}\nfactors: {b: [x]}\nholdout: {rule: diagonal}", "leaves no prompt to train on"),
    ],
)
def test_malformed_files_are_refused_by_name(tmp_path, name, text, said):
    with pytest.raises(ValueError, match=rf"{name}.*{said}"):
        read_prompts(written(tmp_path / name, text))


def test_a_missing_file_lists_the_packaged_sets():
    with pytest.raises(FileNotFoundError, match="none of the packaged sets animals, pig64, shapes27, shapes64"):
        read_prompts("nothing")


# embeddings


class Counting(TextEncoder):
    def __init__(self):
        self.inner, self.calls = HashTokenEncoder(4, 8), []
        self.name, self.num_tokens, self.embed_dim = "counting", 4, 8

    def encode(self, prompts):
        self.calls += prompts
        return self.inner.encode(prompts)


def test_every_prompt_is_encoded_once_and_files_outlive_the_process(tmp_path):
    cache = EmbeddingCache(Counting(), str(tmp_path))
    first = cache(["a cat", "a dog", "a cat"])
    assert torch.equal(first[0], first[2]) and cache.encoder.calls == ["a cat", "a dog"]
    again = EmbeddingCache(Counting(), str(tmp_path))
    assert torch.equal(again(["a dog"])[0], first[1]) and again.encoder.calls == []
    assert torch.equal(load_file(cache.path("a cat"))["embedding"], first[0])


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"other": torch.ones(3, 4)}, "not the embedding of a prompt"),
        (
            {"embedding": torch.full((3, 4), torch.nan)},
            r"expected a finite embedding \(T, D\), got \(3, 4\)",
        ),
    ],
)
def test_kept_embeddings_that_are_none_are_refused(tmp_path, tensors, said):
    save_file(tensors, tmp_path / "e.safetensors")
    with pytest.raises(ValueError, match=rf"e.safetensors: {said}"):
        read_embedding(tmp_path / "e.safetensors")


def test_encoder_prompt_and_suffix_make_the_key():
    cache, other = EmbeddingCache(HashTokenEncoder(4, 8)), EmbeddingCache(HashTokenEncoder(5, 8))
    keys = {cache.key("a cat"), cache.key("a cat", ", front view"), cache.key("a dog"), other.key("a cat")}
    assert len(keys) == 4
    assert not torch.equal(cache(["a cat"], [" big"]), cache(["a cat"]))


# order


def test_all_prompts_come_equally_often_and_the_order_is_that_of_seed_and_step():
    order = PromptOrder(6, 4, 9, seed=3)
    batches = list(order)
    counts = torch.bincount(torch.tensor(batches).flatten(), minlength=6)
    assert counts.tolist() == [6] * 6 and len(order) == 9
    assert list(order) == batches and list(PromptOrder(6, 4, 9, seed=4)) != batches
    assert list(PromptOrder(6, 4, 5, seed=3, step=lambda: 4)) == batches[4:]


def test_processes_share_one_order_out_among_them():
    ranks = [list(PromptOrder(6, 4, 6, seed=3, rank=rank, world=2)) for rank in range(2)]
    together = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert together == list(PromptOrder(6, 4, 12, seed=3))
    assert torch.bincount(torch.tensor(together).flatten()).tolist() == [8] * 6
    assert list(PromptOrder(6, 4, 2, seed=3, step=lambda: 4, rank=1, world=2)) == ranks[1][4:]


def test_the_data_asks_the_trainer_which_process_it_serves():
    seen = []
    for rank in range(2):
        data = PromptDataModule("shapes27", prompts_per_step=9, steps_per_epoch=1)
        data.trainer = SimpleNamespace(global_step=0, global_rank=rank, world_size=2)
        seen += [prompt for batch in data.train_dataloader() for prompt in batch.prompts]
    assert sorted(seen) == sorted(data.library.train)


def test_held_out_prompts_never_enter_a_training_batch():
    data = PromptDataModule("shapes27", prompts_per_step=4)
    seen = {prompt for batch in data.train_dataloader() for prompt in [*batch.prompts, *batch.partners]}
    assert seen == set(data.library.train) and not seen & set(data.library.unseen)
    judged = [prompt for batch in data.test_dataloader() for prompt in batch.prompts]
    assert judged == list(data.library.prompts)


def test_pairs_are_each_others_partners():
    data = PromptDataModule("shapes27", 4, pairs=["a cat | a dog", "a cow | a hen"])
    for batch in data.train_dataloader():
        assert {frozenset(pair) for pair in zip(*batch, strict=True)} <= {
            frozenset(("a cat", "a dog")), frozenset(("a cow", "a hen"))
        }  # fmt: skip
    with pytest.raises(ValueError, match=r"a pair is 'one prompt \| another', got 'a cat'"):
        PromptDataModule("shapes27", pairs=["a cat"])
    with pytest.raises(ValueError, match="prompts_per_step must be at least 0"):
        PromptDataModule("shapes27", -1)
