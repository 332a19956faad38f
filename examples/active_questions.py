"""Ask a new user the most informative questions, and stop when no comparison is likely to change the ranking.

python examples/active_questions.py
"""

import numpy as np
import torch

from lorerm import EmbeddedPreferences, HashingEncoder, TrainingConfig, UserWeights, embed, split, train
from lorerm.data.datasets import load_dataset

splits = split(embed(load_dataset("simulated", n_users=80), HashingEncoder()), unseen_users=0.3, seed=0)
model = train(splits.train_seen, TrainingConfig(rank=3))

user = str(splits.train_unseen.user_ids[0])
own = splits.train_unseen.select(np.flatnonzero(np.asarray(splits.train_unseen.user_ids) == user))
chosen, rejected = own.rows()
candidates = torch.as_tensor(own.responses)
open_pairs = list(zip(chosen.tolist(), rejected.tolist(), strict=True))  # pairs that the log has this user's choice of

users = UserWeights.none(model)
while open_pairs:
    question = model.next_question(users if len(users) else None, candidates, pairs=open_pairs, top=10)
    if question is None:
        print("No comparison is likely to change the ten best.")
        break
    pair = (question.first, question.second)  # an application asks the user here; this script looks the choice up
    open_pairs.remove(pair)
    comparison = EmbeddedPreferences.from_arrays(own.responses, [pair[0]], [pair[1]], [user])
    users = users.update(comparison, model)
    print(
        f"asked about {pair}: {question.information:.3f} nats expected, the ten best would have changed with "
        f"probability {question.change:.2f}"
    )
