"""The model card (README.md): a model's provenance, accuracy, usage and citation, as the hub shows it."""

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
            """Return the report as JSON values."""
            ...

    ReportLike = HasReport | Mapping[str, Any] | str | Path

CARD = "README.md"
_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.j2"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def write_card(model: ModelParameters, folder: Path, name: str, **content: Any) -> None:  # noqa: ANN401 - handed on
    """Write the card into a model's folder, unless there is one already: it may have been edited by hand.

    `content` are keyword arguments of `model_card`.
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
    """Return the card as Markdown, with the hub's metadata as YAML at its start.

    `include_users` says whether the users' weights are saved beside the card. `report` is what `lorerm.evaluate`
    returned, its dictionary, or the path of a run's `report.json`; its warnings are left out of the card, because some
    name users. `license_id` is the licence as the hub calls it, such as "apache-2.0".
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
    # No escaping: the output is Markdown, and every value is a number or a model's name.
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
    """Return the encoder's id on the hub or the name of its folder; None for arrays and encoders without a network."""
    if model.encoder is None or model.encoder.pooling != POOLING:
        return None
    on_hub = _COMMIT.fullmatch(model.encoder.revision or "") and _HUB_ID.fullmatch(model.encoder.model)
    return model.encoder.model if on_hub else Path(model.encoder.model).name


def _settings(encoder: EncoderIdentity) -> dict[str, Any] | None:
    """Return the settings from which the encoder can be built; None if it is not a registered one."""
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
                f"the report cannot be read ({error})", "give a run's report.json", file=report, argument="report"
            ) from error
    else:
        content = report.to_dict()
    if not isinstance(content, Mapping) or not {"data", "ranks", "controls"} <= content.keys():
        raise ConfigError(
            "report is not an evaluation report",
            "give what lorerm.evaluate returned, or a report.json",
            argument="report",
        )
    return content


def _rows(content: Mapping[str, Any], rank: int) -> dict[str, Mapping[str, Any]]:
    """Return the accuracies by split of the model and of its baselines, by the names of these."""
    ranks = {row["rank"]: row["cells"] for row in content["ranks"] if row["cells"]}
    if rank not in ranks:
        raise ConfigError(
            f"the report has no figures for rank {rank}, the model's rank",
            "give the report of this model",
            argument="report",
        )
    rows = {f"**this model, rank {rank}**": ranks.pop(rank)}
    baselines = {1: "bradley_terry", 0: "reference_head"}
    rows |= {BASELINES[name]: ranks[baseline] for baseline, name in baselines.items() if baseline in ranks}
    controls = [control for control in content["controls"] if control["rank"] == rank and control["cells"]]
    return rows | {BASELINES[found["name"]]: found["cells"] for found in controls if found["name"] in BASELINES}
