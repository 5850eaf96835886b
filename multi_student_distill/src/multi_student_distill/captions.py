"""Captions and their token ids: one caption a line, or a pickled list of strings read without running it."""

from __future__ import annotations

import pickletools
from pathlib import Path

import torch
from torch import Tensor


def read_captions(path: str | Path) -> list[str]:
    """All captions in order; blank lines are left out.

    Raises:
        FileNotFoundError: no such file. ValueError: not UTF-8 text, another pickle than a list of strings, or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected one caption a line, or a pickled list")
    content = path.read_bytes()
    if path.suffix in (".pkl", ".pickle"):
        captions = pickled_strings(content, path)
    else:
        try:
            captions = content.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    captions = [c.strip() for c in captions if c.strip()]
    if not captions:
        raise ValueError(f"{path}: no captions in it")
    return captions


LIST_OPCODES = {"PROTO", "FRAME", "EMPTY_LIST", "MARK", "APPEND", "APPENDS", "STOP", "LIST"}
MEMO_OPCODES = {"MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"}
STRING_OPCODES = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
GET_OPCODES = {"BINGET", "LONG_BINGET", "GET"}


def pickled_strings(content: bytes, path: Path) -> list[str]:
    """The strings of a pickled flat list, by its opcodes: nothing is unpickled, any other opcode is refused."""
    found: list[str] = []
    memo: dict[int, str | None] = {}
    last: str | None = None
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in STRING_OPCODES:
                last = argument
                found.append(argument)
            elif opcode.name in MEMO_OPCODES:
                memo[len(memo) if argument is None else int(argument)] = last
            elif opcode.name in GET_OPCODES and memo.get(int(argument)) is not None:
                last = memo[int(argument)]
                found.append(last)
            elif opcode.name not in LIST_OPCODES:
                raise ValueError(f"opcode {opcode.name}")
            else:
                last = None if opcode.name == "EMPTY_LIST" else last
    except Exception as error:  # pickletools raises many kinds for what is no pickle
        raise ValueError(f"{path}: not a pickled list of strings ({error})") from error
    return found


def load_tokenizer(folder: str | Path):
    """The CLIP tokenizer of a Stable Diffusion folder (its subfolder `tokenizer`). Needs the extra `text`."""
    try:
        from transformers import CLIPTokenizer
    except ImportError as error:
        raise ValueError("text needs the extra: pip install multi-student-distill[text]") from error
    if Path(folder).is_dir() and not (Path(folder) / "tokenizer").is_dir():
        raise ValueError(f"{folder}: no tokenizer/ of a Stable Diffusion model in it")
    try:
        return CLIPTokenizer.from_pretrained(str(folder), subfolder="tokenizer", local_files_only=True)
    except Exception as error:  # transformers raises many kinds
        raise ValueError(f"{folder}: no tokenizer/ that transformers reads ({type(error).__name__})") from error


def tokenize(captions: list[str], folder: str | Path, length: int = 77) -> Tensor:
    """Token ids (N, length), int64, padded and cut as Stable Diffusion does; shorter if its tokenizer is."""
    tokenizer = load_tokenizer(folder)
    length = min(length, tokenizer.model_max_length)
    found = tokenizer(captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return found.input_ids.to(torch.int64)
