"""The whole way in Python, on simulated people: split, train, adapt, evaluate, rank.

python examples/quickstart.py
"""

from lorerm import HashingEncoder, TrainingConfig, adapt, embed, evaluate, split, train
from lorerm.data.datasets import load_dataset

encoder = HashingEncoder()  # or TransformersEncoder("ID_OR_PATH")
data = embed(load_dataset("simulated", n_users=60), encoder)
cells = split(data, unseen_users=0.3, test_prompts=0.3, seed=0)

model = train(cells.train_seen, TrainingConfig(rank=3))
users = adapt(model, cells.train_unseen)  # people never seen in training, from a few answers each
report = evaluate(model, cells)
print(report.to_markdown())

model = model.with_users(users)
responses = ["Practise every day.", "Oh, how lovely! Start with soup, and take your time."]
for user in users.user_ids[:3]:
    best = model.rank("How do I learn to cook?", responses, user, encoder=encoder)[0]
    print(f"{user} would rather have: {best.response}")

model.save_pretrained("quickstart-model", report=report)  # without the users: they are personal data
