"""Embed on a Ray cluster from Python, with the same result as in one process.

    pip install 'lorerm[ray]'
    python examples/ray_embed.py

Without an address this starts a cluster of this machine and shuts it down at the end. If RAY_ADDRESS=HOST:PORT is set,
on a machine of that cluster, it uses that cluster. To use a model in place of the built-in encoder, pass
`functools.partial(TransformersEncoder, "ID_OR_PATH")` and `gpus=True`; there is then one worker per GPU.
"""

import numpy as np

from lorerm import HashingEncoder, embed
from lorerm.data.datasets import load_dataset
from lorerm.ray.cluster import Cluster, connected
from lorerm.ray.embedding import RayEncoder


def main() -> None:
    """Embed simulated comparisons on two workers and in this process, and compare."""
    preferences = load_dataset("simulated", n_users=40)
    with connected(Cluster(n_workers=2), gpus=False) as workers:
        data = embed(preferences, RayEncoder(HashingEncoder, workers))
    local = embed(preferences, HashingEncoder())
    same = np.array_equal(data.responses, local.responses)
    print(f"{len(data.responses):,} conversations of {len(data):,} comparisons embedded; equal to one process: {same}")


if __name__ == "__main__":
    main()
