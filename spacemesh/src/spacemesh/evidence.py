"""From records to claims: what is held against which number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .claims import Claim, mean_and_error, two_errors

EDGE_F1, OVER_ORACLE = 0.95, 0.05  # targets of learned connectivity


def share(values: Sequence[bool]) -> str:
    """How many of how many."""
    return f"{sum(map(bool, values))} of {len(values)}"


def column(records: Sequence[dict], name: str) -> list:
    """One field of all records."""
    return [record[name] for record in records]


def fit_claims(records: Sequence[dict]) -> list[Claim]:
    """Any representable mesh is an embedding's mesh."""
    noise = [r for r in records if r["start"] == "noise"]
    shapes = list(dict.fromkeys(column(noise, "shape")))
    slowest = max(column(noise, "steps"))
    paired = {
        shape: [r["steps"] for r in records if r["shape"] == shape and r["start"] == "spectral"] for shape in shapes
    }
    fewer = [
        steps[0] <= np.mean([r["steps"] for r in noise if r["shape"] == shape])
        for shape, steps in paired.items()
        if steps
    ]
    return [
        Claim(
            "fit-exact",
            f"An embedding is fitted until every face and hole of a mesh is recovered: {', '.join(shapes)}",
            None,
            f"{share(column(noise, 'exact'))} fits, after at most {slowest} steps",
            "all fits from noise exact",
            all(column(noise, "exact")),
        ),
        Claim(
            "fit-spectral",
            "From the eigenvectors of the graph no shape takes more steps than from noise (mean over seeds)",
            None,
            share(fewer),
            "all shapes",
            bool(fewer) and all(fewer),
        ),
    ]


def best_rate(records: Sequence[dict], shape: str, distance: str) -> dict:
    """The record of the learning rate with the largest mean F1 at the end."""
    own = [r for r in records if r["shape"] == shape and r["distance"] == distance]
    return max(own, key=lambda r: (np.mean(r["f1"]), -steps_to(r, 0.999)))


def steps_to(record: dict, level: float) -> float:
    """Steps until the mean F1 over seeds first reaches a level; infinite if never."""
    return next((float(step) for step, f1 in record["curve"] if np.mean(f1) >= level), math.inf)


def distance_claims(records: Sequence[dict], dims: int) -> list[Claim]:
    """A hub needs a distance that is no metric."""
    hub, regular = dict.fromkeys(column(records, "shape"))
    others = [d for d in dict.fromkeys(column(records, "distance")) if d != "spacetime"]
    ours = best_rate(records, hub, "spacetime")["f1"]
    best = {d: best_rate(records, hub, d)["f1"] for d in others}
    shown = " · ".join(f"{d} {np.mean(f1):.3g}" for d, f1 in {"spacetime": ours, **best}.items())
    gaps = {d: mean_and_error(np.array(ours) - np.array(f1)) for d, f1 in best.items()}
    fine = {d: float(np.mean(best_rate(records, regular, d)["f1"])) for d in ("spacetime", "Euclidean")}
    return [
        Claim(
            "hub",
            f"With {dims} numbers a vertex only spacetime recovers a mesh with hubs exactly: edge F1 on a {hub}",
            "spacetime beats Euclidean (its argument; no number)",
            shown,
            "spacetime 1, above each of the others by two standard errors, every method at its best rate",
            min(ours) == 1.0 and all(two_errors(gap)[0] > 0 for gap in gaps.values()),
        ),
        Claim(
            "regular",
            f"Without a hub a Euclidean distance of {dims} numbers is as good or better: edge F1 on a {regular}",
            None,
            " · ".join(f"{d} {f1:.3g}" for d, f1 in fine.items()),
            "Euclidean at least 0.99 and no worse than spacetime",
            fine["Euclidean"] >= max(0.99, fine["spacetime"]),
        ),
    ]


def random_claims(records: Sequence[dict]) -> list[Claim]:
    """Manifold by construction."""
    drawn = [r for r in records if r["faces"]]
    return [
        Claim(
            "manifold",
            "Random embeddings of all scales decode to oriented edge- and vertex-manifold meshes "
            f"(those with faces; genus up to {max(column(drawn, 'genus'), default=0)})",
            "always (by construction)",
            share(column(drawn, "manifold")),
            "all, at least half of the embeddings with faces",
            all(column(drawn, "manifold")) and 2 * len(drawn) >= len(records),
        )
    ]


def learned_claims(records: Sequence[dict]) -> list[Claim]:
    """Connectivity of vertices that were never seen."""
    f1, error = mean_and_error(column(records, "edge_f1"))
    gain, gain_error = mean_and_error(np.array(column(records, "edge_f1")) - np.array(column(records, "oracle_f1")))
    manifold = [r["edge_manifold"] and r["vertex_manifold"] for r in records]
    cliques = [r["clique_shared"] > 0 for r in records]
    ours, theirs = (mean_and_error(column(records, name)) for name in ("unoriented_f1", "ring_f1"))
    claims = [
        Claim("learn-edges", "Edge F1 on unseen meshes", None, f1, f"at least {EDGE_F1}", f1 >= EDGE_F1, error),
        Claim(
            "learn-oracle",
            "Gain of edge F1 over the best radius of each mesh, chosen with the answer in hand",
            None,
            gain,
            f"at least {OVER_ORACLE}",
            gain >= OVER_ORACLE,
            gain_error,
        ),
        Claim(
            "learn-manifold",
            "Meshes predicted for unseen vertices are edge- and vertex-manifold",
            "all (by construction)",
            share(manifold),
            "all",
            all(manifold),
        ),
        Claim(
            "cliques",
            "On the same edges a face for each triangle (and ring of four) is not: meshes with an edge of three sides "
            f"or more; face F1 {theirs[0]:.3g} against {ours[0]:.3g}",
            "holes and non-manifold edges (users of such decoders)",
            share(cliques),
            "some, and a lower face F1",
            any(cliques) and two_errors(theirs)[1] < ours[0],
        ),
    ]
    soup, hulls = [r["soup_shared"] > 0 for r in records], [r for r in records if r["family"] == "hulls"]
    theirs, ours = (mean_and_error(column(hulls, name))[0] for name in ("soup_f1", "unoriented_f1"))
    claims.append(
        Claim(
            "soup",
            "Nor is a soup of classified triangles: meshes with an edge of three sides or more; face F1 on "
            f"triangle meshes {theirs:.3g} against {ours:.3g}",
            None,
            share(soup),
            "some",
            any(soup),
        )
    )
    return claims


def repair_claims(records: Sequence[dict]) -> list[Claim]:
    """Holes are filled, the rest stays."""
    safe = [r["intact"] and r["closed"] for r in records]
    ours = float(np.mean(column(records, "hole_f1")))
    gain, gain_error = mean_and_error(np.array(column(records, "hole_f1")) - np.array(column(records, "trimesh_f1")))
    return [
        Claim(
            "repair-intact",
            "Repaired meshes keep every intact face to the bit and are closed and manifold",
            "manifold (by construction)",
            share(safe),
            "all",
            all(safe),
        ),
        Claim(
            "repair-hole",
            f"Face F1 in the hole, {ours:.3g}, over trimesh's hole filling",
            None,
            gain,
            "above 0 by two standard errors",
            two_errors((gain, gain_error))[0] > 0,
            gain_error,
        ),
    ]


def generated_claims(records: Sequence[dict]) -> list[Claim]:
    """Smoke scale: the pipeline runs, and its meshes are manifold."""
    tori = [r["manifold"] and r["euler"] == 0 for r in records]
    return [
        Claim(
            "generate",
            "Generated meshes (a toy model of tori) are manifold; with the Euler characteristic of a torus: "
            f"{share(tori)}",
            "all (by construction)",
            share(column(records, "manifold")),
            "all",
            all(column(records, "manifold")),
        )
    ]


def seeds_claims(of_seed: Sequence[Sequence[dict]]) -> list[Claim]:
    """Edge F1 over seeds, each with weights and meshes of its own."""
    f1, error = mean_and_error([np.mean(column(records, "edge_f1")) for records in of_seed])
    gain, gain_error = mean_and_error(
        [np.mean(column(r, "edge_f1")) - np.mean(column(r, "oracle_f1")) for r in of_seed]
    )
    return [
        Claim("seeds-edges", "Edge F1, over seeds", None, f1, f"at least {EDGE_F1}", f1 >= EDGE_F1, error),
        Claim(
            "seeds-oracle",
            "Gain over the best radius, over seeds",
            None,
            gain,
            f"at least {OVER_ORACLE} by two standard errors",
            two_errors((gain, gain_error))[0] >= OVER_ORACLE,
            gain_error,
        ),
    ]


def collection_claims(records: Sequence[dict]) -> list[Claim]:
    """A code is enough for a mesh of the collection."""
    return [
        Claim(
            "collection",
            "Meshes of an auto-decoded collection whose code decodes to exactly their faces; error of positions "
            f"{np.mean(column(records, 'error')):.2g} of the radius",
            "a collection is encoded (no number)",
            share(column(records, "exact")),
            "at least nine tenths",
            10 * sum(column(records, "exact")) >= 9 * len(records),
        )
    ]
