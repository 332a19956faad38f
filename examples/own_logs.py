"""From a log of who preferred what to rankings, for people of the log and for somebody new.

python examples/own_logs.py [answers.jsonl]    # without a file, a log is made up
"""

import json
import random
import sys
from pathlib import Path

from lorerm import HashingEncoder, Preferences, TrainingConfig, UserWeights, embed, train


def made_up_log(path: Path) -> Path:
    """Write 12 people's choices between short and long answers."""
    chance = random.Random(0)  # noqa: S311 - no secret
    with path.open("w", encoding="utf-8") as file:
        for person in range(12):
            for topic in ("bread", "tea", "rain", "chess", "rivers", "maps", "clocks", "bees"):
                long = f"There is a great deal to say about {topic}, and here is all of it. " * 3
                better, worse = (f"{topic.title()}.", long) if person % 2 else (long, f"{topic.title()}.")
                if chance.random() < 0.1:
                    better, worse = worse, better
                row = {"user_id": f"p{person}", "prompt": f"What of {topic}?", "chosen": better, "rejected": worse}
                file.write(json.dumps(row) + "\n")
    return path


log = Path(sys.argv[1]) if len(sys.argv) > 1 else made_up_log(Path("answers.jsonl"))
encoder = HashingEncoder()
preferences = Preferences.from_files(log)
for warning in preferences.summary.warnings():
    print(warning)
data = embed(preferences, encoder)
model = train(data, TrainingConfig(rank=2))

responses = ["Salt.", "Salt is a mineral, and there is a great deal to say about it, all of which follows here."]
for user in model.user_ids[:2]:
    print(f"{user}: {model.rank('What of salt?', responses, user, encoder=encoder)[0].response}")

# Somebody new answers twice; each answer is added to what is known of them.
users = UserWeights((), model.weights[:0], model.covariance[:0])
for topic in ("wool", "glass"):
    answer = {"user_id": "new", "prompt": f"What of {topic}?", "chosen": f"{topic.title()}.", "rejected": responses[1]}
    users = users.update(embed(Preferences.from_records([answer]), encoder), model)
    ranked = model.with_users(users).rank("What of salt?", responses, "new", encoder=encoder)
    print(
        f"new, after {len(users.comparisons)} comparisons: {ranked[0].response} "
        f"(by {ranked[0].reward - ranked[1].reward:.2f})"
    )
