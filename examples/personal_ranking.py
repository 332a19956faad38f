# %% [markdown]
# # From a log of comparisons to a personal ranking
#
# Run it as a script (`python examples/personal_ranking.py`), or part by part in an editor or notebook that knows
# `# %%`. It needs no network and takes some seconds. Replace the log that is made here by the path of your own.

# %%
import json
import tempfile
from pathlib import Path

from lorerm import HashingEncoder, Preferences, TrainingConfig, adapt, embed, evaluate, split, train
from lorerm.data.datasets.simulated import simulate
from lorerm.data.leakage import check_leaks

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The log
# One row per comparison: `user_id`, `prompt`, `chosen`, `rejected`. Here they are those of 200 simulated users. One
# user is held out, to be adapted later as a new user.

# %%
population = simulate(n_users=200, seed=1)
log = population.preferences.to_trl().to_list()
new_user = log[0]["user_id"]
for name, rows in (
    ("log", [row for row in log if row["user_id"] != new_user]),
    ("new_user", [row for row in log if row["user_id"] == new_user]),
):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

# %% [markdown]
# ## Read the log, and look for leaks
# Every row is checked. The leak check warns if length or format alone predicts the preferred response.

# %%
preferences = Preferences.from_files(folder / "log.jsonl")
print(f"{len(preferences):,} comparisons of {len(set(preferences.user_ids))} users")
print(*check_leaks(preferences).warnings() or ["no leak found"], sep="\n")

# %% [markdown]
# ## Embed, split, train
# `TransformersEncoder("ID_OR_PATH")` in place of the built-in encoder sees more than words and plain style.

# %%
encoder = HashingEncoder()
splits = split(embed(preferences, encoder), unseen_users=0.3, test_prompts=0.3, seed=0)
model = train(splits.train_seen, TrainingConfig(rank=4))

# %% [markdown]
# ## Does personal ranking help?
# The report opens with the result in one sentence.

# %%
report = evaluate(model, splits)
print(report.to_markdown().splitlines()[2])
report.write(folder / "report")
print("Report:", folder / "report" / "report.html")

# %% [markdown]
# ## A new user
# The new user's weights are fitted to their comparisons on half of their prompts, in milliseconds; the basis stays
# fixed. The comparisons on the other prompts measure the ranking.

# %%
own = Preferences.from_files(folder / "new_user.jsonl")
prompts = list(dict.fromkeys(own.prompt_ids))
few_shot = [i for i, prompt in enumerate(own.prompt_ids) if prompt in prompts[: len(prompts) // 2]]
held_out = [i for i, prompt in enumerate(own.prompt_ids) if prompt not in prompts[: len(prompts) // 2]]
personal = model.with_users(adapt(model, embed(own.select(few_shot), encoder)))

# %%
test = own.select(held_out)
for name, user in (("population model", None), (f"after {len(few_shot)} comparisons", new_user)):
    correct = 0
    for chosen, rejected in zip(test.conversations("chosen"), test.conversations("rejected"), strict=True):
        one, other = personal.rewards(encoder.encode([chosen, rejected]), user).tolist()
        correct += one > other
    print(f"{name}: {correct} of {len(test)} comparisons on new prompts are predicted correctly")

# %%
prompt = test.conversations("chosen")[0][0]["content"]
responses = [response.text for response in population.responses if response.prompt == prompt]
print(f"\n{prompt}\nfor {new_user}, who likes it {population.taste_of(new_user)}:")
for number, ranked in enumerate(personal.rank(prompt, responses, new_user, encoder=encoder)[:3], 1):
    print(f"{number}. {' '.join(ranked.response.split())[:100]} ...")
