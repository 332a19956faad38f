"""Embed on a Ray cluster, from Python: the same numbers as in one process.

    pip install 'lorerm[ray]'
    python examples/ray_embed.py

Without an address this starts a cluster of this machine and shuts it down at the end. With RAY_ADDRESS=HOST:PORT, run
on a machine of that cluster, it works there. With a model in place of the embedded encoder,
`functools.partial(TransformersEncoder, "ID_OR_PATH")`, and `gpus=True`, there is one worker per GPU.
"""

import numpy as np

from lorerm import HashingEncoder, embed
from lorerm.data.datasets import load_dataset
from lorerm.ray.cluster import Cluster, connected
from lorerm.ray.embedding import RayEncoder


def main() -> None:
    """Embed simulated answers on two workers and here, and compare."""
    preferences = load_dataset("simulated", n_users=40)
    with connected(Cluster(n_workers=2), gpus=False) as workers:
        data = embed(preferences, RayEncoder(HashingEncoder, workers))
    here = embed(preferences, HashingEncoder())
    same = np.array_equal(data.responses, here.responses)
    print(f"{len(data.responses):,} conversations of {len(data):,} answers embedded; as in one process: {same}")


if __name__ == "__main__":
    main()
