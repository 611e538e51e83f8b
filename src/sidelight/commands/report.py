"""report: a run or a study -> one HTML file or a Markdown page."""

from pathlib import Path

from sidelight.errors import RunError
from sidelight.files import check_place
from sidelight.train.run import Run


def report(folder: str | Path | Run, out: str | Path) -> Path:
    """One HTML file from a run or a study folder; ``.md`` makes a Markdown page with figures and tables beside it."""
    from sidelight.reporting.run.report import render_run
    from sidelight.reporting.study.report import render_study

    folder, out = folder.folder if isinstance(folder, Run) else Path(folder), Path(out)
    check_place(out, folder=False)
    if (folder / "config.json").is_file():
        return render_run(folder, out)
    if not (folder / "results.parquet").is_file():
        raise RunError(
            f"{folder} holds neither a run nor results", expected="a folder that pretrain, evaluate or study wrote"
        )
    return render_study(folder, out)
