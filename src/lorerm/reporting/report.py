"""The public class `Report`, which renders the results of an evaluation, and the function that writes its files."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.errors import ConfigError, RunError
from lorerm.evaluation import report as results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, repr=False)
class Report(results.Report):
    """The results of an evaluation, with methods that render them; its fields are the keys of ``report.json``."""

    @classmethod
    def of(cls, found: results.Report) -> Report:
        """Return the results of an evaluation as a `Report` of this class, which has methods that render them."""
        return cls(**{field.name: getattr(found, field.name) for field in fields(found)})

    def to_markdown(self) -> str:
        """Return the report as Markdown, the summary first."""
        from lorerm.reporting.markdown import to_markdown

        return to_markdown(self)

    def to_html(self) -> str:
        """Return the report as one HTML file that includes its styles and figures."""
        from lorerm.reporting.html import to_html

        return to_html(self)

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
            A figure that is not registered with pyplot: save it with its method `savefig`.

        Raises
        ------
        ConfigError
            No figure has this name.
        DataError
            The report lacks the results that the figure shows.
        """
        from lorerm.reporting.figures import FIGURES

        if name not in FIGURES:
            raise ConfigError(f"there is no figure {name!r}", f"choose one of {', '.join(FIGURES)}", argument="name")
        return FIGURES[name](self)

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/*.{svg,png}`` into a folder.

        Returns
        -------
        tuple of pathlib.Path
            The files written.

        Raises
        ------
        DataError
            A number of the report is NaN or infinite; nothing is written.
        RunError
            A file cannot be written.
        """
        return write_report(self, folder)


def write_report(report: results.Report, folder: str | Path) -> tuple[Path, ...]:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/*.{svg,png}``; return the files' paths.

    The folder is created if it is missing. Equal reports give identical bytes. Raises `DataError` if a number of the
    report is NaN or infinite; nothing is written then.
    """
    from lorerm.atomic import atomic_path
    from lorerm.reporting.figures import draw_figures, save_figures
    from lorerm.reporting.html import to_html
    from lorerm.reporting.markdown import to_markdown

    content = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    figures = draw_figures(report)
    texts = {
        "report.json": content + "\n",
        "report.md": to_markdown(report),
        "report.html": to_html(report, figures),
    }
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder {folder} cannot be created ({error.strerror})",
            "check the permissions, or choose another folder",
        ) from error
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return (*(folder / name for name in texts), *save_figures(figures, folder / "figures"))
