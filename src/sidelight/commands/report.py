"""report: a run or a study -> one HTML file or a Markdown page, or a reporting guideline filled in."""

from pathlib import Path

from sidelight.errors import ConfigError, RunError, nearest
from sidelight.files import check_place
from sidelight.train.run import Run

SUFFIXES = (".html", ".htm", ".md", "")
"""What the name of a report may end in; without any it is HTML."""


def report(folder: str | Path | Run, out: str | Path, *, checklist: str = "") -> Path:
    """One HTML file from a run or a study folder; ``.md`` makes a Markdown page with figures and tables beside it.

    :param checklist: in place of the report a guideline filled in from a study: "tripod+ai" (2024) or "claim" (2024 update).
    """
    from sidelight.reporting.run.report import render_run
    from sidelight.reporting.study.guideline_items import GUIDELINES
    from sidelight.reporting.study.guidelines import render_checklist
    from sidelight.reporting.study.report import render_study

    folder, out = folder.folder if isinstance(folder, Run) else Path(folder), Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{out.name}: a report is no {out.suffix[1:].upper()} file",
            expected=f"a name that ends in {', '.join(filter(None, SUFFIXES))}",
            do="Write HTML and print that to a PDF file in a browser" if out.suffix.lower() == ".pdf" else "",
        )
    check_place(out, folder=False)
    if checklist and checklist not in GUIDELINES:
        raise ConfigError(f"Unknown checklist {checklist!r}", do=nearest(checklist, GUIDELINES))
    if checklist and not (folder / "results.parquet").is_file():
        raise RunError(
            f"{folder} holds no results to fill {checklist} in from", expected="a folder that study or evaluate wrote"
        )
    if checklist:
        return render_checklist(folder, checklist, out)
    if (folder / "config.json").is_file():
        return render_run(folder, out)
    if not (folder / "results.parquet").is_file():
        raise RunError(
            f"{folder} holds neither a run nor results", expected="a folder that pretrain, evaluate or study wrote"
        )
    return render_study(folder, out)
