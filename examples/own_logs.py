"""From a log of comparisons to rankings, for users of the log and for a new user.

python examples/own_logs.py [log.jsonl]    # without a file, the script writes a log
"""

import json
import random
import sys
from pathlib import Path

from lorerm import HashingEncoder, Preferences, TrainingConfig, UserWeights, embed, train


def write_log(path: Path) -> Path:
    """Write comparisons of 12 users, who prefer short or long responses with 10% errors."""
    chance = random.Random(0)  # noqa: S311 - no secret
    with path.open("w", encoding="utf-8") as file:
        for user in range(12):
            for topic in ("bread", "tea", "rain", "chess", "rivers", "maps", "clocks", "bees"):
                long = f"There is a great deal to say about {topic}, and here is all of it. " * 3
                chosen, rejected = (f"{topic.title()}.", long) if user % 2 else (long, f"{topic.title()}.")
                if chance.random() < 0.1:
                    chosen, rejected = rejected, chosen
                row = {"user_id": f"p{user}", "prompt": f"What of {topic}?", "chosen": chosen, "rejected": rejected}
                file.write(json.dumps(row) + "\n")
    return path


log = Path(sys.argv[1]) if len(sys.argv) > 1 else write_log(Path("log.jsonl"))
encoder = HashingEncoder()
preferences = Preferences.from_files(log)
for warning in preferences.summary.warnings():
    print(warning)
data = embed(preferences, encoder)
model = train(data, TrainingConfig(rank=2))

responses = ["Salt.", "Salt is a mineral, and there is a great deal to say about it, all of which follows here."]
for user in model.user_ids[:2]:
    print(f"{user}: {model.rank('What of salt?', responses, user, encoder=encoder)[0].response}")

# A new user gives two comparisons; each is added to the user's posterior.
users = UserWeights.none(model)
for topic in ("wool", "glass"):
    row = {"user_id": "new", "prompt": f"What of {topic}?", "chosen": f"{topic.title()}.", "rejected": responses[1]}
    users = users.update(embed(Preferences.from_records([row]), encoder), model)
    ranked = model.with_users(users).rank("What of salt?", responses, "new", encoder=encoder)
    print(
        f"new, after {len(users.comparisons)} comparisons: {ranked[0].response} "
        f"(by {ranked[0].reward - ranked[1].reward:.2f})"
    )
