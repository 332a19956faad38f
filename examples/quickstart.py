"""Every step in Python, on simulated users: embed, split, train, adapt, evaluate, rank, save.

python examples/quickstart.py
"""

from lorerm import HashingEncoder, TrainingConfig, adapt, embed, evaluate, split, train
from lorerm.data.datasets import load_dataset

encoder = HashingEncoder()  # or TransformersEncoder("ID_OR_PATH")
data = embed(load_dataset("simulated", n_users=60), encoder)
splits = split(data, unseen_users=0.3, test_prompts=0.3, seed=0)

model = train(splits.train_seen, TrainingConfig(rank=3))
users = adapt(model, splits.train_unseen)  # users who were not trained on, from a few comparisons each
report = evaluate(model, splits)
print(report.to_markdown())

model = model.with_users(users)
responses = ["Practise every day.", "Oh, how lovely! Start with soup, and take your time."]
for user in users.user_ids[:3]:
    best = model.rank("How do I learn to cook?", responses, user, encoder=encoder)[0]
    print(f"ranked first for {user}: {best.response}")

model.save_pretrained("quickstart-model", report=report)  # without the users, whose weights are personal data
