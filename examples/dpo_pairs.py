"""Make preference pairs for single users: rank several responses to each prompt, pair the best with the worst.

python examples/dpo_pairs.py

The result is a data set for TRL's DPOTrainer. The responses are written here; yours are sampled from the model that is
to be trained.
"""

from lorerm import HashingEncoder, Preferences, TrainingConfig, embed, train
from lorerm.data.datasets.simulated import simulate

encoder = HashingEncoder()
model = train(embed(simulate(n_users=40, median_comparisons=40).preferences, encoder), TrainingConfig(rank=3))

samples = {
    "How do I learn to cook?": [
        "Practise.",
        "Oh, how lovely! Start with soup, and take your time.",
        "1. Buy a knife.\n2. Learn to boil eggs.\n3. Follow recipes to the letter.",
    ],
    "Is it going to rain?": ["Perhaps.", "Yes: pressure is falling, by 4 hPa since noon.", "I do hope not, dear!"],
}
rows = []
for user in model.user_ids[:4]:
    for prompt, responses in samples.items():
        ranked = model.rank(prompt, responses, user, encoder=encoder)
        rows.append({"user_id": user, "prompt": prompt, "chosen": ranked[0].response, "rejected": ranked[-1].response})

pairs = Preferences.from_records(rows).to_trl()
pairs.to_json("pairs.jsonl")
print(pairs)
assert Preferences.from_dataset(pairs).to_trl().to_list() == pairs.to_list()
