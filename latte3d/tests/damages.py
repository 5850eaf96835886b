"""Damage to a file's bytes for the fuzz tests: cut short, bits flipped, headers overwritten, sizes forged."""

import gzip
import io
import json
import re
import zipfile

import torch
from hypothesis import strategies as st

HUGE = [b"\xff" * 4, b"\xff" * 8, b"\x7f" * 8, b"\0" * 8]
NUMBERS = [b"-1", b"0", b"99999999999999", b"1e999", b"nan", b"x", b""]
VALUES = [None, "x", -1, 0.5, float("nan"), 10**14, [], {}, [[1], [2, 3]], True, {"x": None}]


class SoundFile:
    """A file that its reader reads, and its content."""

    def __init__(self, path, read):
        read(path)
        self.path, self.read, self.content = path, read, path.read_bytes()

    def __repr__(self):
        return self.path.name


def cut(at):
    return lambda content: content[: at % (len(content) + 1)]


def flip(bits):
    def damage(content):
        damaged = bytearray(content)
        for at, bit in bits if damaged else ():
            damaged[at % len(damaged)] ^= 1 << bit
        return bytes(damaged)

    return damage


def overwrite(at, patch):
    def damage(content):
        start = at % (len(content) + 1)
        return content[:start] + patch + content[start + len(patch) :]

    return damage


def forge(which, text):
    """Another number in a text, or in the textual header of a binary file."""

    def damage(content):
        spans = [match.span() for match in re.finditer(rb"\d+", content)] or [(0, 0)]
        start, stop = spans[which % len(spans)]
        return content[:start] + text + content[stop:]

    return damage


def entry(which, value):
    """Another value in a JSON text or a `torch.save` file, or, for 0.5, none at all."""

    def places(tree):
        found = [(tree, key) for key in (tree if isinstance(tree, dict) else range(len(tree)))]
        return found + [place for one, key in found if isinstance(one[key], dict | list) for place in places(one[key])]

    def damage(content):
        saved = content[:2] == b"PK"
        try:
            tree = torch.load(io.BytesIO(content), weights_only=True) if saved else json.loads(content)
        except Exception:  # neither of the two
            return content
        if not isinstance(tree, dict | list) or not tree:
            return content
        found = places(tree)
        one, key = found[which % len(found)]
        one[key] = value
        if value == 0.5:
            del one[key]
        if not saved:
            return json.dumps(tree).encode()
        torch.save(tree, stream := io.BytesIO())
        return stream.getvalue()

    return damage


def inside(which, damage):
    """The damage within a gzip file, or in a member of a zip file, whose own sums are right again."""

    def damaged(content):
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(damage(gzip.decompress(content)), 1)
        if content[:2] != b"PK":
            return damage(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = sorted(members)[which % len(members)]
        members[name] = damage(members[name])
        with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
            for member, text in members.items():
                archive.writestr(member, text)
        return stream.getvalue()

    return damaged


def damages():
    """A function from a file's bytes to damaged ones."""
    anywhere = st.integers(0, 1 << 20)
    near = st.integers(0, 200) | anywhere  # what begins a file says how to read the rest
    bits = st.lists(st.tuples(near, st.integers(0, 7)), min_size=1, max_size=3)
    one = st.one_of(
        st.builds(cut, anywhere),
        st.builds(flip, bits),
        st.builds(overwrite, st.just(0), st.binary(min_size=1, max_size=24)),
        st.builds(overwrite, near, st.sampled_from(HUGE)),
        st.builds(forge, near, st.sampled_from(NUMBERS)),
        st.builds(entry, near, st.sampled_from(VALUES)),
        st.just(lambda _: b""),
    )
    return one | st.builds(inside, near, one)
