"""Attributes of a drawn character out of the movements of the pen that drew it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Strokes = list[np.ndarray]  # one (points, 2) array for each stroke: x to the right, y downwards


def stroke_count(strokes: Strokes) -> float:
    """How often the pen was put down."""
    return float(len(strokes))


def length(strokes: Strokes) -> float:
    """Length of all strokes."""
    return float(sum(_steps(s)[1].sum() for s in strokes))


def height_to_width(strokes: Strokes) -> float:
    """Of the box around all points; each side counts at least one."""
    points = np.concatenate(strokes)
    across, down = np.maximum(np.ptp(points, axis=0), 1.0)
    return float(down / across)


def straightness(strokes: Strokes) -> float:
    """Distance of a stroke's ends over its length, weighted by length: 1 for straight lines."""
    chords = sum(np.linalg.norm(s[-1] - s[0]) for s in strokes)
    return float(chords / max(length(strokes), 1e-9))


def closure(strokes: Strokes) -> float:
    """The nearest that a stroke comes to where it was a third of the ink before, over the drawing's size, negated."""
    points = np.concatenate(strokes)
    size = max(float(np.ptp(points, axis=0).max()), 1.0)
    total, best = length(strokes), size
    for stroke in strokes:
        way = np.concatenate([[0.0], np.cumsum(_steps(stroke)[1])])
        apart = way[:, None] - way[None] > max(total / 3, 0.5 * size)
        if apart.any():
            distance = np.linalg.norm(stroke[:, None] - stroke[None], axis=-1)
            best = min(best, float(distance[apart].min()))
    return -best / size


def turning(strokes: Strokes) -> float:
    """How far the pen turns within strokes, in radians, on points a twentieth of the drawing apart."""
    return float(sum(np.abs(_angles(s)).sum() for s in _resampled(strokes)))


def corners(strokes: Strokes) -> float:
    """Places where it turns by more than 60 degrees at once."""
    return float(sum((np.abs(_angles(s)) > np.pi / 3).sum() for s in _resampled(strokes)))


def horizontality(strokes: Strokes) -> float:
    """Share of the length that runs within 30 degrees of horizontal."""
    flat = total = 0.0
    for stroke in strokes:
        step, size = _steps(stroke)
        flat += size[np.abs(step[:, 1]) < 0.5 * size].sum()
        total += size.sum()
    return float(flat / max(total, 1e-9))


def rightward(strokes: Strokes) -> float:
    """How far right of its first point a drawing ends, over its width."""
    points = np.concatenate(strokes)
    return float((points[-1, 0] - points[0, 0]) / max(np.ptp(points[:, 0]), 1.0))


def heavy_right(strokes: Strokes) -> float:
    """Centre of the ink across the box, from 0 at the left to 1 at the right."""
    return _balance(strokes, 0)


def heavy_bottom(strokes: Strokes) -> float:
    """Centre of the ink down the box, from 0 at the top to 1 at the bottom."""
    return _balance(strokes, 1)


def starts_low(strokes: Strokes) -> float:
    """Where in the box the pen begins, from 0 at the top to 1 at the bottom."""
    points = np.concatenate(strokes)
    return float((strokes[0][0, 1] - points[:, 1].min()) / max(np.ptp(points[:, 1]), 1.0))


MEASURES: dict[str, Callable[[Strokes], float]] = {
    "Many_Strokes": stroke_count,
    "Long": length,
    "Tall": height_to_width,
    "Straight": straightness,
    "Closed": closure,
    "Heavy_Right": heavy_right,
    "Curled": turning,
    "Cornered": corners,
    "Horizontal": horizontality,
    "Left_To_Right": rightward,
    "Heavy_Bottom": heavy_bottom,
    "Starts_Low": starts_low,
}


def measure(drawings: Sequence[Strokes]) -> np.ndarray:
    """(drawings, 12): all MEASURES."""
    return np.array([[of(strokes) for of in MEASURES.values()] for strokes in drawings])


def thresholds(measured: np.ndarray) -> np.ndarray:
    """(12,): medians of the training drawings; an attribute is present above its own.

    Counts tie, so that the median may be their largest value: then the threshold is just below it.
    """
    medians = np.median(measured, axis=0)
    share = (measured > medians).mean(0)
    below = np.array([column[column < m].max(initial=m - 1) for column, m in zip(measured.T, medians, strict=True)])
    share_below = (measured > below).mean(0)
    return np.where(np.abs(share - 0.5) <= np.abs(share_below - 0.5), medians, below)


def _steps(stroke: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    step = np.diff(stroke, axis=0)
    return step, np.linalg.norm(step, axis=1)


def _resampled(strokes: Strokes) -> Strokes:
    """Points at equal distances along every stroke that is long enough to have three."""
    spacing = max(float(np.ptp(np.concatenate(strokes), axis=0).max()), 1.0) / 20
    found = []
    for stroke in strokes:
        way = np.concatenate([[0.0], np.cumsum(_steps(stroke)[1])])
        at = np.arange(0, way[-1], spacing)
        if len(at) >= 3:
            found.append(np.stack([np.interp(at, way, stroke[:, k]) for k in (0, 1)], 1))
    return found


def _angles(stroke: np.ndarray) -> np.ndarray:
    """Changes of direction from step to step, in (-π, π]."""
    direction = np.arctan2(*np.diff(stroke, axis=0).T[::-1])
    return (np.diff(direction) + np.pi) % (2 * np.pi) - np.pi


def _balance(strokes: Strokes, axis: int) -> float:
    points = np.concatenate(strokes)[:, axis]
    weights = [_steps(s)[1] for s in strokes]
    middles = [(s[1:, axis] + s[:-1, axis]) / 2 for s in strokes]
    total = sum(w.sum() for w in weights)
    centre = sum((w * m).sum() for w, m in zip(weights, middles, strict=True)) / total if total > 0 else points.mean()
    return float((centre - points.min()) / max(np.ptp(points), 1.0))
