"""The exact prior of the embedded shapes: it renders its images when it is made (about two seconds for 27 prompts)."""

from __future__ import annotations

from .guidance.exact import ExactPrior
from .shapes import true_views


class ShapePrior(ExactPrior):
    """Args:
    each: colours, bodies and hats, 3 or 4 of each. views: images of each prompt. resolution: of the images.
    width: see `ExactPrior`. seed: of the cameras.
    Raises:
        ValueError: sizes out of range.
    """

    def __init__(self, each: int = 3, views: int = 96, resolution: int = 16, width: float = 0.1, seed: int = 0):
        if not 1 <= each <= 4 or min(views, resolution) < 1:
            raise ValueError(
                f"each must be 1 to 4, views and resolution at least 1, got {each}, {views} and {resolution}"
            )
        super().__init__(*true_views(each, views, resolution, seed), width=width)
        self.each, self.views, self.resolution, self.seed = each, views, resolution, seed
