# %% [markdown]
# # From a log of preferences to a personal ranking
#
# Run it as a script (`python examples/personal_ranking.py`), or cell by cell in an editor or notebook that knows
# `# %%`. It needs no network and takes some seconds. Put the path of your own log in place of the one made here.

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
# One row per judgement: `user_id`, `prompt`, `chosen`, `rejected`. Here 200 simulated people answer, each with tastes
# of their own. One of them is kept aside: she will come later, as somebody new.

# %%
population = simulate(n_users=200, seed=1)
log = population.preferences.to_trl().to_list()
newcomer = log[0]["user_id"]
for name, rows in (
    ("answers", [row for row in log if row["user_id"] != newcomer]),
    ("newcomer", [row for row in log if row["user_id"] == newcomer]),
):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

# %% [markdown]
# ## Read it, and look for leaks
# Every row is checked. If length or format alone gave the choices away, the check would say so.

# %%
preferences = Preferences.from_files(folder / "answers.jsonl")
print(f"{len(preferences):,} choices of {len(set(preferences.user_ids))} people")
print(*check_leaks(preferences).warnings() or ["no leak found"], sep="\n")

# %% [markdown]
# ## Embed, split, train
# `TransformersEncoder("ID_OR_PATH")` in place of the embedded encoder sees more than words and plain style.

# %%
encoder = HashingEncoder()
cells = split(embed(preferences, encoder), unseen_users=0.3, test_prompts=0.3, seed=0)
model = train(cells.train_seen, TrainingConfig(rank=4))

# %% [markdown]
# ## Does being personal help?
# The answer, in a sentence; the page has the figures.

# %%
report = evaluate(model, cells)
print(report.to_markdown().splitlines()[2])
report.write(folder / "report")
print("Report:", folder / "report" / "report.html")

# %% [markdown]
# ## Somebody new
# The newcomer's answers on some prompts fit her weights, in milliseconds; the basis stays as it is. Her other prompts
# show whether that ranks as she would.

# %%
hers = Preferences.from_files(folder / "newcomer.jsonl")
prompts = list(dict.fromkeys(hers.prompt_ids))
known = [i for i, prompt in enumerate(hers.prompt_ids) if prompt in prompts[: len(prompts) // 2]]
later = [i for i, prompt in enumerate(hers.prompt_ids) if prompt not in prompts[: len(prompts) // 2]]
personal = model.with_users(adapt(model, embed(hers.select(known), encoder)))

# %%
test = hers.select(later)
for name, user in (("before her answers", None), (f"after {len(known)} of them", newcomer)):
    right = 0
    for chosen, rejected in zip(test.conversations("chosen"), test.conversations("rejected"), strict=True):
        one, other = personal.rewards(encoder.encode([chosen, rejected]), user).tolist()
        right += one > other
    print(f"{name}: {right} of {len(test)} choices on new prompts are predicted")

# %%
prompt = test.conversations("chosen")[0][0]["content"]
answers = [answer.text for answer in population.responses if answer.prompt == prompt]
print(f"\n{prompt}\nfor {newcomer}, who likes it {population.taste_of(newcomer)}:")
for place, answer in enumerate(personal.rank(prompt, answers, newcomer, encoder=encoder)[:3], 1):
    print(f"{place}. {' '.join(answer.response.split())[:100]} ...")
