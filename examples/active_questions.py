"""Ask somebody new the questions that teach most about them, and stop when no answer would change the ranking.

python examples/active_questions.py
"""

import torch

from lorerm import EmbeddedPreferences, HashingEncoder, TrainingConfig, UserWeights, embed, split, train
from lorerm.data.datasets import load_dataset

cells = split(embed(load_dataset("simulated", n_users=80), HashingEncoder()), unseen_users=0.3, seed=0)
model = train(cells.train_seen, TrainingConfig(rank=3))

person = str(cells.train_unseen.user_ids[0])
theirs = cells.train_unseen[[user == person for user in cells.train_unseen.user_ids]]
chosen, rejected = theirs.rows()
candidates = torch.as_tensor(theirs.responses)
open_questions = list(zip(chosen.tolist(), rejected.tolist(), strict=True))  # the pairs whose answers we have

users = UserWeights((), model.weights[:0], model.covariance[:0])
while open_questions:
    known = users if len(users) else None
    question = model.next_question(known, candidates, pairs=open_questions, top=10)
    if question is None:
        print("No answer would be likely to change the ten best.")
        break
    pair = (question.first, question.second)  # the person is asked here; we look their answer up
    open_questions.remove(pair)
    answer = EmbeddedPreferences.from_arrays(theirs.responses, [pair[0]], [pair[1]], [person])
    users = users.update(answer, model)
    print(
        f"asked about {pair}: {question.information:.3f} nats expected, the ten best would have changed with "
        f"probability {question.change:.2f}"
    )
