"""600 episodes over 200,000 images, and features computed once against features of every episode."""

from __future__ import annotations

import tempfile
import time

import numpy as np
import torch

from flexible_fewshot import AttributeEpisodeSampler, AttributeTable, FeatureCache, RenderedFaces, SmallEncoder, extract
from flexible_fewshot.splits import AttributeSplit

IMAGES, EPISODES = 200_000, 600


def seconds(work) -> float:
    """Processor time of one thread, in seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    for name in ("celeba", "zappos50k"):
        pool = AttributeSplit.load(name).test
        values = (random.random((IMAGES, len(pool))) < 0.3).astype(np.int8)
        table = AttributeTable(tuple(f"{i:06d}.jpg" for i in range(IMAGES)), pool, values)
        sampling = [seconds(AttributeEpisodeSampler(table, pool, 20, 20, EPISODES, seed=s).sample) for s in range(3)]
        print(f"{EPISODES} episodes of {len(pool)} attributes over {IMAGES} images: {min(sampling):.2f} CPU-s")

    faces = RenderedFaces(3000, seed=1)
    images, encoder = faces.images(), SmallEncoder()
    episodes = AttributeEpisodeSampler(faces.table(), AttributeSplit.load("faces").test, 20, 20, EPISODES).sample()
    rows = torch.cat([episodes.support, episodes.query], 1)
    each = seconds(lambda: [extract(encoder, images[r]) for r in rows])
    once = seconds(lambda: extract(encoder, images)[rows])
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        cache.extract(encoder, images)
        kept = seconds(lambda: cache.extract(encoder, images)[rows])
    print(f"features of {EPISODES} episodes of 80 images: {each:.1f} CPU-s one by one, {once:.2f} once for the pool,")
    print(f"{kept:.3f} from the cache ({each / once:.0f} and {each / kept:.0f} times as fast)")


if __name__ == "__main__":
    main()
