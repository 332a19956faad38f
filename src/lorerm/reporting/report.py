"""The report as one object, and as files."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.errors import ConfigError, RunError
from lorerm.reporting import reading
from lorerm.reporting.tables import to_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.training.config import AdaptationConfig


@dataclass(frozen=True)
class Report:
    """What an evaluation found; its methods show it.

    Parameters
    ----------
    content
        The report, as ``docs/report.md`` describes it; kept as it is, not copied.

    Raises
    ------
    DataError
        It is not of this schema, or holds NaN or an infinity.
    """

    content: Mapping[str, Any]

    def __post_init__(self) -> None:
        reading.check(self.content)

    def __repr__(self) -> str:
        """Return what was compared: the whole is long, and names users."""
        ranks = reading.available_ranks(self.content)
        return f"{type(self).__name__}(ranks={ranks}, chosen_rank={self.content['chosen_rank']})"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a plain dict, a copy that may be changed."""
        return copy.deepcopy(dict(self.content))

    def to_markdown(self) -> str:
        """Return the report as Markdown, the answer first."""
        return to_markdown(self.content)

    def to_html(self) -> str:
        """Return the report as one self-contained HTML page."""
        from lorerm.reporting.page import to_html

        return to_html(self.content)

    def figure(self, name: str = "accuracy_by_rank") -> Figure:
        """Draw one of the report's figures.

        Parameters
        ----------
        name
            ``accuracy_by_rank``, ``shots_curve``, ``shots_people``, ``gain_distribution``, ``gain_by_answers`` or
            ``weights_map``.

        Returns
        -------
        matplotlib.figure.Figure
            A figure without pyplot: save it with `savefig`.

        Raises
        ------
        ConfigError
            There is no figure of that name.
        DataError
            The report lacks what the figure shows.
        """
        from lorerm.reporting.figures import FIGURES

        if name not in FIGURES:
            raise ConfigError(f"there is no figure {name!r}", f"choose one of {', '.join(FIGURES)}")
        return FIGURES[name](self.content)

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the report into a folder, as `write_report` does.

        Parameters
        ----------
        folder
            Where to write; made if it is missing.

        Returns
        -------
        tuple of pathlib.Path
            The files written.
        """
        return write_report(self.content, folder)


def write_report(report: Mapping[str, Any], folder: str | Path) -> tuple[Path, ...]:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/*.{svg,png}``, each whole or not at all.

    The same report gives the same bytes.

    Parameters
    ----------
    report
        The report, as ``docs/report.md`` describes it.
    folder
        Where to write; made if it is missing.

    Returns
    -------
    tuple of pathlib.Path
        The files written.

    Raises
    ------
    DataError
        The report is not of this schema, or holds NaN or an infinity; nothing is written.
    RunError
        A file cannot be written.
    """
    from lorerm.atomic import atomic_path
    from lorerm.reporting.figures import drawn, save_figures
    from lorerm.reporting.page import to_html

    reading.check(report)
    figures = drawn(report)
    texts = {
        "report.json": json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "report.md": to_markdown(report),
        "report.html": to_html(report, figures),
    }
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {folder} cannot be made ({error.strerror})", "choose another place") from error
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return (*(folder / name for name in texts), *save_figures(figures, folder / "figures"))


def evaluate(
    models: LowRankRewardModel | Mapping[int, LowRankRewardModel],
    cells: Splits[EmbeddedPreferences],
    *,
    adaptation: AdaptationConfig | None = None,
    seed: int = 0,
) -> Report:
    """Evaluate a model, or one per rank, in the four cells, with the controls and the differences' intervals.

    Parameters
    ----------
    models
        Trained on `cells.train_seen`. Rank 0 (where there is a reference head) and rank 1 are added where they are
        missing.
    cells
        As `lorerm.split` gives them; unseen users are adapted on `cells.train_unseen`.
    adaptation
        None is the adaptation that goes with the recipe of training.
    seed
        Of the swaps of weights between users.

    Returns
    -------
    Report
        With `to_dict`, `to_markdown`, `to_html`, `figure` and `write`.
    """
    from lorerm.evaluation.evaluate import measure

    return Report(measure(models, cells, adaptation=adaptation, seed=seed).to_dict())
