"""The data sets of `people.py`: their sources, their preparation from the published files, and comparisons from them.

The folder that `people.py` reads has a subfolder per source:

    python benchmarks/people_data.py polis OPENDATA FOLDER/polis
    python benchmarks/people_data.py ukpconvarg1 CLONE FOLDER/ukpconvarg1
    Rscript -e 'library(psychTools); write.csv(spi[seq(1, nrow(spi), 2), 11:145], "FOLDER/spi/spi.csv", na = "");
        write.csv(spi.dictionary[11:145, 1:2], "FOLDER/spi/spi-items.csv", row.names = FALSE)'

- `polis`: OPENDATA is a clone of github.com/compdemocracy/openData (commit 0bc2ce0f). Participants of consultations
  vote on statements. CC BY 4.0: "Data was gathered using the Polis software (compdemocracy.org/polis) and is
  sub-licensed under CC BY 4.0 with Attribution to The Computational Democracy Project." Case studies:
  compdemocracy.org/case-studies
- `ukpconvarg1`: CLONE is a clone of github.com/UKPLab/acl2016-convincing-arguments (commit ca9d24e). Crowd workers
  choose the more convincing of two arguments. CC BY 4.0, Habernal and Gurevych, ACL 2016 (doi 10.18653/v1/P16-1150).
- `spi`: version 2.2.9 of the R package psychTools (GPL-2+, William Revelle; on Debian, `apt-get install
  r-cran-psychtools`). 4,000 people say for 135 statements, on a scale of six steps, how well a statement describes
  them: the SAPA Personality Inventory (Condon 2018, doi 10.31234/osf.io/sc4p9). The command above takes rows 0, 2, 4,
  ..., counted from 0.

The first two commands write texts and votes, and embed the texts with `TransformersEncoder`; `--model` is the id or
path of the model, by default HuggingFaceTB/SmolLM2-135M-Instruct. The tensor `responses` in smollm2-135m.safetensors
has the embeddings; a tensor `reference` [D] would be used as the reference head.

Comparisons: a statement that a user agreed with is preferred to one that they disagreed with (`spi`: to one that they
agreed with less). Statements are randomly divided into ten blocks, and both statements of a comparison are in the same
block (`lorerm.data.datasets.polis`). The suffix of the name of a data set says what is held out:

- "known": the pair of participant and block. A test statement is new to the participant, but comparisons of other
  participants with it can be in the training data.
- "new": the block. Nobody judged a test statement in the training data.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from safetensors.numpy import load_file, save_file

from lorerm import EmbeddedPreferences, HashingEncoder
from lorerm.data.datasets.polis import compare

MAX_COMPARISONS, MAX_COMPARISONS_SPI = 60, 30  # per user
MIN_CHOICES_UKP = 20
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDINGS = "smollm2-135m.safetensors"

# Conversation -> folder of the published files, and the topic as a question, which is the prompt of all its statements.
CONVERSATIONS = {
    "15-per-hour-seattle": (
        "15-per-hour-seattle",
        "How will Seattle's new $15 minimum wage law affect the city?",
    ),
    "bowling-green": (
        "american-assembly.bowling-green",
        "What should change in Bowling Green / Warren County to make it a better place to live, work and spend time?",
    ),
    "bg2050-volunteers": (
        "bg2050-volunteers",
        "What would you want to see in the Bowling Green of the future?",
    ),
    "brexit-consensus": ("brexit-consensus", "What should happen with Brexit?"),
    "canadian-electoral-reform": ("canadian-electoral-reform", "What is your view on Canadian electoral reform?"),
    "football-concussions": ("football-concussions", "Is the concussion crisis the end of the NFL?"),
    "london-youth-policing": (
        "london.youth.policing",
        "What is the best way to engage more young people in local scrutiny of policing?",
    ),
    "affordable-housing": (
        "scoop-hivemind.affordable-housing",
        "What should be done about affordable housing in New Zealand?",
    ),
    "biodiversity": (
        "scoop-hivemind.biodiversity",
        "How should New Zealand protect and restore its biodiversity?",
    ),
    "freshwater": ("scoop-hivemind.freshwater", "What should be done about freshwater quality in New Zealand?"),
    "taxes": ("scoop-hivemind.taxes", "What is your view on taxes in New Zealand?"),
    "ubi": ("scoop-hivemind.ubi", "Should New Zealand have a universal basic income?"),
    "san-juan-land": (
        "ssis.land-bank-farmland.2rumnecbeh.2021-08-01",
        "How should land be used and conserved in the San Juan Islands?",
    ),
}
# The conversations with comparisons of at least 80 users.
LARGE = (
    "san-juan-land",
    "ubi",
    "freshwater",
    "brexit-consensus",
    "football-concussions",
    "canadian-electoral-reform",
    "affordable-housing",
    "biodiversity",
    "taxes",
    "bowling-green",
)


@dataclass(frozen=True)
class DataSet:
    """A data set of `people.py`.

    Parameters
    ----------
    folder
        Its subfolder.
    read
        Function from that folder and a seed to comparisons.
    known
        Whether a response of a test comparison can be in training comparisons.
    shared_prompts
        Whether many users compare the same two responses, which are then a prompt.
    """

    folder: str
    read: Callable[[Path, int], EmbeddedPreferences]
    known: bool
    shared_prompts: bool = False


def read_polis(folder: Path, seed: int, *, conversation: str, known: bool) -> EmbeddedPreferences:
    """Read the votes of one conversation as comparisons between rows of the embeddings.

    `seed` is the seed of the division into blocks, and of the selection of comparisons of users who have too many.
    """
    with gzip.open(folder / "statements.jsonl.gz", "rt", encoding="utf-8") as lines:
        text = {
            entry["row"]: entry["statement"]
            for entry in map(json.loads, lines)
            if entry["conversation"] == conversation
        }
    agreement: defaultdict[str, dict[int, int]] = defaultdict(dict)
    with gzip.open(folder / "votes.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for user, statement, vote in list(csv.reader(lines))[1:]:
            if int(statement) in text and vote != "0":
                agreement[user][int(statement)] = int(vote)
    comparisons = compare(text, agreement, name=conversation, seed=seed, most=MAX_COMPARISONS, per_user=known)
    return _embedded(load_file(folder / EMBEDDINGS), comparisons)


def read_spi(folder: Path, seed: int) -> EmbeddedPreferences:
    """Read self-descriptions as comparisons between statements, which the built-in encoder embeds."""
    with (folder / "spi-items.csv").open(encoding="utf-8", newline="") as lines:
        items = [row["item"] for row in csv.DictReader(lines)]
    with (folder / "spi.csv").open(encoding="utf-8", newline="") as lines:
        people = list(csv.reader(lines))[1:]
    agreement = {f"row {name}": {item: int(step) for item, step in enumerate(steps) if step} for name, *steps in people}
    text = dict(enumerate(items))
    comparisons = compare(text, agreement, name="spi", seed=seed, most=MAX_COMPARISONS_SPI, per_user=True)
    prompt = {"role": "user", "content": "How do you describe yourself?"}
    embeddings = HashingEncoder().encode([[prompt, {"role": "assistant", "content": item}] for item in items])
    return _embedded({"responses": embeddings}, comparisons)


def read_ukpconvarg1(folder: Path, _seed: int) -> EmbeddedPreferences:
    """Read the choices of workers with at least 20. A prompt is a pair of arguments, in any order."""
    with gzip.open(folder / "votes.csv.gz", "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    choices = Counter(row["user_id"] for row in rows)
    comparisons = []
    for row in rows:
        if choices[row["user_id"]] >= MIN_CHOICES_UKP:
            chosen, rejected = int(row["chosen"]), int(row["rejected"])
            pair = f"{min(chosen, rejected)} {max(chosen, rejected)}"
            comparisons.append((row["user_id"], chosen, rejected, pair))
    return _embedded(load_file(folder / EMBEDDINGS), comparisons)


def _embedded(tensors: dict[str, np.ndarray], comparisons: Iterable[tuple[str, int, int, str]]) -> EmbeddedPreferences:
    """Return comparisons with the embeddings of the responses that they use."""
    user_ids, chosen, rejected, prompt_ids = (list(column) for column in zip(*comparisons, strict=True))
    used, rows = np.unique([chosen, rejected], return_inverse=True)
    chosen_row, rejected_row = rows.reshape(2, -1)
    reference = tensors.get("reference")
    return EmbeddedPreferences.from_arrays(
        tensors["responses"][used], chosen_row, rejected_row, user_ids, prompt_ids, reference=reference
    )


DATA_SETS = {
    f"{conversation}, {'known' if known else 'new'}": DataSet(
        "polis",
        partial(read_polis, conversation=conversation, known=known),
        known=known,
    )
    for conversation in LARGE
    for known in (True, False)
} | {
    "UKPConvArg1": DataSet("ukpconvarg1", read_ukpconvarg1, known=True, shared_prompts=True),
    "spi": DataSet("spi", read_spi, known=True),
}


def prepare_polis(source: Path) -> tuple[list[dict[str, object]], str, list[tuple[object, ...]]]:
    """Return the statements of all English conversations, the header of their votes, and the votes."""
    statements: list[dict[str, object]] = []
    votes: list[tuple[object, ...]] = []
    for conversation, (folder, prompt) in CONVERSATIONS.items():
        with (source / folder / "comments.csv").open(encoding="utf-8", newline="") as lines:
            text = {row["comment-id"]: " ".join(row["comment-body"].split()) for row in csv.DictReader(lines)}
        with (source / folder / "participants-votes.csv").open(encoding="utf-8", newline="") as lines:
            participants = list(csv.DictReader(lines))
        row_of = {}
        for column in participants[0]:
            if column.isdigit() and text[column]:
                row_of[column] = len(statements)
                entry = {"conversation": conversation, "prompt": prompt, "statement": text[column]}
                statements.append({"row": len(statements), **entry})
        votes += [
            (f"{conversation}:{one['participant']}", row, one[column])
            for one in participants
            for column, row in row_of.items()
            if one[column]
        ]
    return statements, "person,statement,vote", votes


def prepare_ukpconvarg1(source: Path) -> tuple[list[dict[str, object]], str, list[tuple[object, ...]]]:
    """Return all arguments, the header of the choices, and the choices without ties."""
    row_of: dict[tuple[str, str], int] = {}
    votes: list[tuple[object, ...]] = []
    for file in sorted((source / "data" / "UKPConvArg1-full-XML").glob("*.xml")):
        for pair in ElementTree.parse(file).getroot():  # noqa: S314 - a file of the published data set
            title = pair.findtext("debateMetaData/title")
            rows = []
            for end in ("arg1", "arg2"):
                side = pair.findtext(f"{end}/stance")
                prompt = f"Debate: {title}\nSide: {side}\nWrite a convincing argument for this side."
                rows.append(row_of.setdefault((prompt, pair.findtext(f"{end}/text") or ""), len(row_of)))
            for choice in pair.iter("mTurkAssignment"):
                if choice.findtext("value") != "equal" and rows[0] != rows[1]:
                    best = rows if choice.findtext("value") == "a1" else rows[::-1]
                    votes.append((choice.findtext("turkID"), file.stem, pair.findtext("id"), *best))
    responses = [{"row": row, "prompt": prompt, "response": text} for (prompt, text), row in row_of.items()]
    return responses, "user_id,prompt_id,pair_id,chosen,rejected", votes


SOURCES = {"polis": (prepare_polis, "statements.jsonl.gz"), "ukpconvarg1": (prepare_ukpconvarg1, "responses.jsonl.gz")}


def _embed(entries: list[dict[str, object]], model: str) -> np.ndarray:
    """Return the embedding of each prompt with its response: the last token of the rendered chat, last layer."""
    from lorerm import TransformersEncoder

    conversations = [
        [
            {"role": "user", "content": str(entry["prompt"])},
            {"role": "assistant", "content": str(entry.get("statement", entry.get("response")))},
        ]
        for entry in entries
    ]
    return np.asarray(TransformersEncoder(model, dtype="float32").encode(conversations))


def _write_gzip(path: Path, lines: Iterable[str]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in lines)


def main() -> None:
    """Prepare one source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(SOURCES))
    parser.add_argument("source", type=Path, help="folder with the published files")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--model", default=MODEL, help="id or path of the model that embeds the texts")
    given = parser.parse_args()
    prepare, file = SOURCES[given.name]
    entries, header, votes = prepare(given.source)
    given.out.mkdir(parents=True, exist_ok=True)
    _write_gzip(given.out / file, (json.dumps(entry, ensure_ascii=False) for entry in entries))
    _write_gzip(given.out / "votes.csv.gz", [header, *(",".join(map(str, vote)) for vote in votes)])
    print(f"{len(entries)} texts, {len(votes)} votes; embedding the texts")
    save_file({"responses": _embed(entries, given.model)}, given.out / EMBEDDINGS)


if __name__ == "__main__":
    main()
