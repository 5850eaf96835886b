"""Orbits of permutations and places in them, without a loop over elements."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from spacemesh.orbits import orbits, places


def walked(permutation):
    """Orbits by walking, numbered by their smallest elements, and steps from those."""
    orbit, steps = [-1] * len(permutation), [0] * len(permutation)
    for start in range(len(permutation)):
        if orbit[start] < 0:
            number, at, step = max(orbit) + 1, start, 0
            while orbit[at] < 0:
                orbit[at], steps[at] = number, step
                at, step = permutation[at], step + 1
    return orbit, steps


@given(st.integers(1, 40).flatmap(lambda n: st.permutations(range(n))))
def test_orbits_and_places_are_those_of_a_walk(permutation):
    orbit, steps = walked(permutation)
    table = torch.tensor(permutation)
    assert orbits(table).tolist() == orbit
    assert places(table, orbits(table)).tolist() == steps


def test_one_cycle_of_a_million_is_one_orbit():
    cycle = torch.arange(1_000_000).roll(-1)
    assert int(orbits(cycle).max()) == 0
    assert torch.equal(places(cycle, orbits(cycle)), torch.arange(1_000_000))


def test_nothing_has_no_orbits():
    nothing = torch.zeros(0, dtype=torch.long)
    assert len(orbits(nothing)) == len(places(nothing, nothing)) == 0
