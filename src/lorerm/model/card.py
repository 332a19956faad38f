"""The model card (README.md), shown by the hub: training, accuracy, usage and citation of a model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lorerm._version import __version__
from lorerm.atomic import atomic_path
from lorerm.data.schema import SPLIT_NAMES
from lorerm.embedding import hashing
from lorerm.embedding.registry import identify_settings, record_settings
from lorerm.embedding.transformers.last_token import POOLING
from lorerm.errors import ConfigError, ModelError
from lorerm.model.baselines import BASELINES

if TYPE_CHECKING:
    from lorerm.embedding.encoder import EncoderIdentity
    from lorerm.model.parameters import ModelParameters

    class HasReport(Protocol):
        """An evaluation report, as `lorerm.evaluate` returns it."""

        def to_dict(self) -> dict[str, Any]:
            """Return the report as JSON-serialisable values."""
            ...

    ReportLike = HasReport | Mapping[str, Any] | str | Path

CARD = "README.md"
_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.j2"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def write_card(model: ModelParameters, folder: Path, name: str, **content: Any) -> None:  # noqa: ANN401 - handed on
    """Write the model card into a model's folder; an existing card is kept, because users may have edited it.

    `content` are the keyword arguments of `model_card`.
    """
    text = model_card(model, name, **content)
    if not (folder / CARD).exists():
        with atomic_path(folder / CARD) as temporary:
            temporary.write_text(text, encoding="utf-8")


def model_card(
    model: ModelParameters,
    name: str,
    *,
    include_users: bool,
    report: ReportLike | None = None,
    license_id: str | None = None,
) -> str:
    """Return the model card as Markdown, with the hub's metadata as YAML at its start.

    `include_users` says whether the users' weights are saved in the same folder. `report` is the result of
    `lorerm.evaluate`, its dictionary, or the path of a run's `report.json`. The card leaves out the report's warnings,
    because some contain user ids. `license_id` is the licence's identifier on the hub, such as "apache-2.0".
    """
    from huggingface_hub import ModelCardData
    from jinja2 import Environment, StrictUndefined

    base = _base_model(model)
    content = None if report is None else _read(report)
    metadata = ModelCardData(
        base_model=base if base is not None and _HUB_ID.fullmatch(base) else None,
        library_name="lorerm",
        license=license_id,
        pipeline_tag="text-ranking",
        tags=["lorerm", "reward-model", "preferences", "personalization", "arxiv:2504.14439"],
    )
    # No HTML escaping: the output is Markdown, and every value is a number or a model's name.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    rows = {} if content is None else _rows(content, model.requested_rank)
    return (
        template.render(
            metadata=metadata.to_yaml(),
            name=name,
            model=model,
            base=base,
            pinned=_COMMIT.fullmatch((model.encoder and model.encoder.revision) or ""),
            built_in=model.encoder is not None and model.encoder.model == hashing.NAME,
            settings=None if model.encoder is None else _settings(model.encoder),
            include_users=include_users,
            license_id=license_id,
            data=None if content is None else content["data"],
            splits={
                split: words for split, words in SPLIT_NAMES.items() if any(row.get(split) for row in rows.values())
            },
            rows=rows,
            validation=model.training.get("validation"),
            recipe=model.training.get("config", {}).get("recipe"),
            version=__version__,
        ).rstrip()
        + "\n"
    )


def _base_model(model: ModelParameters) -> str | None:
    """Return the hub id, or the folder's name, of the language model that made the embeddings.

    Return None if the encoder is not recorded (embeddings given as arrays) or is not a language model.
    """
    if model.encoder is None or model.encoder.pooling != POOLING:
        return None
    on_hub = _COMMIT.fullmatch(model.encoder.revision or "") and _HUB_ID.fullmatch(model.encoder.model)
    return model.encoder.model if on_hub else Path(model.encoder.model).name


def _settings(encoder: EncoderIdentity) -> dict[str, Any] | None:
    """Return the settings from which `build_encoder` builds the encoder; None if its type is not registered."""
    try:
        return record_settings(identify_settings(encoder))
    except ModelError:
        return None


def _read(report: ReportLike) -> Mapping[str, Any]:
    if isinstance(report, Mapping):
        content = report
    elif isinstance(report, str | Path):
        try:
            content = json.loads(Path(report).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the report cannot be read ({error})", "give the path of a report.json", file=report, argument="report"
            ) from error
    else:
        content = report.to_dict()
    if not isinstance(content, Mapping) or not {"data", "ranks", "controls"} <= content.keys():
        raise ConfigError(
            "report is not an evaluation report",
            "give the result of lorerm.evaluate, or the path of a report.json",
            argument="report",
        )
    return content


def _rows(content: Mapping[str, Any], rank: int) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the table of accuracies: name of the model or a baseline -> its accuracies by split."""
    ranks = {row["rank"]: row["cells"] for row in content["ranks"] if row["cells"]}
    if rank not in ranks:
        raise ConfigError(
            f"the report has no accuracies for rank {rank}, the model's rank",
            "give the report of the run that trained the model",
            argument="report",
        )
    rows = {f"**this model, rank {rank}**": ranks.pop(rank)}
    baselines = {1: "bradley_terry", 0: "reference_head"}
    rows |= {BASELINES[name]: ranks[baseline] for baseline, name in baselines.items() if baseline in ranks}
    controls = [control for control in content["controls"] if control["rank"] == rank and control["cells"]]
    return rows | {BASELINES[found["name"]]: found["cells"] for found in controls if found["name"] in BASELINES}
