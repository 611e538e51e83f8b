"""The command line: one command is one call of the function of its name in :mod:`sidelight.commands`.

Nothing heavy is imported before a command runs, so that ``--help`` answers in a blink.
"""

import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sidelight import __version__
from sidelight.errors import ConfigError, SidelightError

app = typer.Typer(
    name="sidelight",
    help="Learn medical image encoders from what medical images come with; tell with honest numbers what that saved.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_DATA = "folder, cohort.toml, or phantom:skin, derm, ultrasound, knee, chest"
Data = Annotated[str, typer.Option("--data", help=_DATA)]
Looked = Annotated[str, typer.Argument(help=_DATA)]
Preset = Annotated[
    str | None, typer.Option("--preset", help="layout of a public data set, e.g. isic2024 (docs/data.md)")
]
Weights = Annotated[
    str,
    typer.Argument(
        help="run folder, imagenet, file of weights with --encoder, Hugging Face folder, hf-hub: name, or timm name with --random"
    ),
]
Architecture = Annotated[str | None, typer.Option("--encoder", help="timm name of the network that plain weights fit")]
Random = Annotated[bool, typer.Option("--random", help="a timm name with random weights")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key=value, as in the TOML; may be repeated")]
Cache = Annotated[str | None, typer.Option("--cache", help="folder for decoded pixels (default DATA/.sidelight/cache)")]

CohortFile = Annotated[
    Path | None, typer.Option("--cohort", help="cohort.toml of like data, in place of the folder's own")
]

Outside = Annotated[
    bool, typer.Option("--allow-outside", help="let the cohort file name files outside its folder; say which")
]
Role = Annotated[str, typer.Option("--role", help="which tower of a run")]
Force = Annotated[bool, typer.Option("--force", help="replace what exists")]


def _listing(name: str) -> Callable[[bool], None]:
    """What --settings of a command does."""

    def listing(asked: bool) -> None:
        if asked:
            from sidelight.commands.settings import settings as describe

            typer.echo(describe(name))
            raise typer.Exit

    return listing


def _settings(
    config: Path | None, flags: list[str] | None, command: Callable[..., Any], **given: Any
) -> dict[str, Any]:
    """Settings for ``command``; :raises ConfigError: where one has the name of an argument, which has its own place."""
    from inspect import signature

    from sidelight.config import load_toml, merge, parse_flags
    from sidelight.errors import ConfigError

    said = merge(load_toml(config) if config else {}, parse_flags(flags or []))
    for name in said:
        if name in signature(command).parameters and name not in given:
            raise ConfigError(
                f"{name} is no setting of sidelight {command.__name__}", do="Give it as the command's own: see --help"
            )
    return merge(said, {key: value for key, value in given.items() if value is not None})


@app.command()
def demo(
    data: Annotated[str, typer.Option("--data", help="your own cohort; default is synthetic ultrasound")] = "",
    preset: Preset = None,
    task: Annotated[str | None, typer.Option("--task", help="task to judge by; default is the cohort's first")] = None,
    out: Annotated[Path, typer.Option("--out", help="folder of the runs, tables and report")] = Path("demo"),
    every: Annotated[bool, typer.Option("--all", help="every method, not only one")] = False,
    cache: Cache = None,
    allow_outside: Outside = False,
) -> None:
    """Pre-train, evaluate against random initialisation and from scratch, write a report: minutes on a laptop."""
    from sidelight.commands.demo import demo as run_demo

    typer.echo(
        run_demo(data or None, out=out, preset=preset, task=task, every=every, cache=cache, allow_outside=allow_outside)
    )


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="the folder that holds the images")],
    tables: Annotated[list[Path] | None, typer.Argument(help="table files; default is those in the folder")] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite an existing cohort file")] = False,
    contact: Annotated[
        Path | None, typer.Option("--contact", help="contact sheet (default .sidelight/contact.html beside the file)")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="cohort file (default FOLDER/cohort.toml)")] = None,
) -> None:
    """Guess a commented cohort.toml from a folder and its tables; draw random items with everything joined to them."""
    from sidelight.commands.init import contact_path, open_points
    from sidelight.commands.init import init as run_init

    file = run_init(folder, tables or (), force=force, contact=contact, out=out)
    for point in open_points(file):
        typer.echo(f"To check: {point}")
    sheet = contact_path(file, contact)
    seen = f"; look at {sheet} (contains patient data)" if sheet.exists() else ""
    typer.echo(f"Read and mend {file}{seen}")


@app.command()
def check(
    data: Looked,
    preset: Preset = None,
    task: Annotated[str | None, typer.Option("--task", help="audit this task alone; default is all")] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="a column, or a JSON file of sides, to be searched for leaks")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="without timed steps")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="write everything there, items by hash")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="write a page there, items by hash; it shows pairs of copies")
    ] = None,
    leaks: Annotated[
        Path | None, typer.Option("--leaks", help="write every leak, copy and contradiction there, as CSV with names")
    ] = None,
    write_split: Annotated[
        Path | None, typer.Option("--write-split", help="write the --split there as JSON, without its leaks")
    ] = None,
    flags: Set = None,
    cache: Cache = None,
    allow_outside: Outside = False,
) -> None:
    """Counts, conflicts, leaks, shortcuts, broken files; which methods are possible and what they would cost.

    Exit code 1 if something was found that stops other commands or makes their numbers wrong, 0 with warnings and notes.
    """
    from sidelight.commands.check import check as run_check
    from sidelight.data.cells import counted, visible
    from sidelight.errors import ConfigError
    from sidelight.files import check_place, check_suffix, write_csv, write_json, write_text
    from sidelight.reporting.check_page import render_check
    from sidelight.reporting.terminal import print_check

    def shown(text: str) -> str:  # the lines to paste that end what is said of a task stay lines
        return "\n".join(map(visible, text.split("\n"))) if text.startswith("[task.") else visible(text)

    if write_split is not None and split is None:
        raise ConfigError("--write-split mends a given split", do="Name it with --split COLUMN or --split FILE.json")
    if write_split is not None and split and write_split.resolve() == Path(split).resolve():
        raise ConfigError(
            f"--write-split {write_split} would replace the split that is checked", do="Name another file"
        )
    for option, place in (("--json", json), ("--html", html), ("--leaks", leaks), ("--write-split", write_split)):
        if place is not None:
            check_place(place, folder=False, option=option)
    if leaks is not None:
        check_suffix(leaks, (".csv",), "the table of leaks is", "Write CSV, which spreadsheets read")
    found = run_check(
        data,
        preset,
        task,
        split=split,
        quick=quick,
        **_settings(None, flags, run_check, cache=cache),
        allow_outside=allow_outside,
    )
    print_check(found.to_dict(named=shown), found.notices)
    if json is not None:
        typer.echo(f"Written: {write_text(json, found.to_json())}")
    if html is not None:
        typer.echo(f"Written: {render_check(found.to_dict(), html, found.copies)}")
    if leaks is not None:
        typer.echo(
            f"Written: {write_csv(leaks, found.leaks, private=True)} ({counted(len(found.leaks), 'row')}; it names items)"
        )
    if write_split is not None:
        written = write_json(write_split, found.mended, private=True)
        typer.echo(f"Written: {written} ({counted(found.moved, 'item')} moved; use it with --split {written})")
    if found.failed:
        raise typer.Exit(1)


@app.command()
def plan(
    data: Looked,
    preset: Preset = None,
    task: Annotated[str | None, typer.Option("--task", help="plan this task alone; default is all")] = None,
    auroc: Annotated[list[float] | None, typer.Option("--auroc", help="assumed AUROC; may be repeated; 0.8")] = None,
    gain: Annotated[float | None, typer.Option("--gain", help="gain in AUROC that is to be shown; 0.05")] = None,
    icc: Annotated[float | None, typer.Option("--icc", help="correlation of scores within a patient; 0.5")] = None,
    correlation: Annotated[
        float | None, typer.Option("--correlation", help="correlation of the scores of two encoders; 0.5")
    ] = None,
    width: Annotated[float | None, typer.Option("--width", help="widest interval that will do; 0.1")] = None,
    worlds: Annotated[int | None, typer.Option("--worlds", help="simulated studies of each size; 200")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of the simulation; 0")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="write everything there")] = None,
    allow_outside: Outside = False,
) -> None:
    """Before anything is trained: how wide the intervals will be, which gain can be shown, how many patients would do."""
    from sidelight.commands.plan import plan as run_plan
    from sidelight.files import check_place, write_text
    from sidelight.reporting.terminal import print_plan

    if json is not None:
        check_place(json, folder=False, option="--json")
    settings = _settings(
        None, None, run_plan,
        auroc=auroc or None, gain=gain, icc=icc, correlation=correlation, width=width, worlds=worlds, seed=seed,
    )  # fmt: skip
    found = run_plan(data, preset, task, **settings, allow_outside=allow_outside)
    print_plan(found.to_dict())
    if json is not None:
        typer.echo(f"Written: {write_text(json, found.to_json())}")


@app.command()
def pretrain(
    method: Annotated[str, typer.Argument(help="see `sidelight methods`")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="run folder; an existing run is resumed")],
    start: Annotated[Path | None, typer.Option("--from", help="a finished run that this is a later stage of")] = None,
    preset: Preset = None,
    config: Config = None,
    flags: Set = None,
    cache: Cache = None,
    allow_outside: Outside = False,
) -> None:
    """Learn an encoder without labels; resumes if the run exists."""
    from sidelight.commands.pretrain import pretrain as run_pretrain

    run = run_pretrain(
        method,
        data,
        out,
        preset=preset,
        start=start,
        **_settings(config, flags, run_pretrain, cache=cache),
        allow_outside=allow_outside,
    )
    typer.echo(f"The run lies in {run.folder}; next: {_after(run.folder, data, preset, cache, allow_outside)}")


def _after(run: Path, data: str, preset: str | None, cache: str | None, allow_outside: bool) -> str:
    """The command that comes after pre-training: an evaluation, or, of data without a task, vectors."""
    from sidelight.data.cohort.locate import task_names

    same = ["--data", data, *(["--preset", preset] if preset else []), *(["--cache", cache] if cache else [])]
    same += ["--allow-outside"] * allow_outside
    tasks = task_names(data, preset)
    if not tasks:
        return shlex.join(["sidelight", "embed", str(run), *same, "--out", "vectors.parquet"])
    return shlex.join(["sidelight", "evaluate", str(run), *same, "--task", tasks[0]])


@app.command()
def evaluate(
    encoder: Weights,
    data: Data,
    task: Annotated[str, typer.Option("--task", help="a task of the cohort")],
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="knn, linear, projector, series, finetune, finetune_last, published, retrieval, "
            "segment_linear, segment_unet, instances, detect_yolo, detect, ground",
        ),
    ] = "linear",
    out: Annotated[Path | None, typer.Option("--out", help="folder for the tables")] = None,
    random: Random = False,
    architecture: Architecture = None,
    test: Annotated[
        str | None, typer.Option("--test", help="another cohort with the same task: train here, test there")
    ] = None,
    test_preset: Annotated[str | None, typer.Option("--test-preset", help="layout of the data of --test")] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="a given split in place of folds: a column, or a JSON file of sides")
    ] = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="go on with a split, or --test, that leaks; every result says so")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="go on with a split that has unknown names; every result says so")
    ] = False,
    force: Force = False,
    preset: Preset = None,
    config: Config = None,
    flags: Set = None,
    cache: Cache = None,
    allow_outside: Outside = False,
    listing: Annotated[
        bool,
        typer.Option("--settings", callback=_listing("evaluate"), is_eager=True, help="list every setting and leave"),
    ] = False,
) -> None:
    """Numbers with intervals, resampled by patient; with --out also a model that `predict` reads, and its card."""
    from sidelight.commands.evaluate import evaluate as run_evaluate
    from sidelight.reporting.terminal import results_table

    allowed = {"allow_leak": allow_leak or None, "allow_missing": allow_missing or None}
    settings = _settings(config, flags, run_evaluate, cache=cache, split=split, **allowed)
    results = run_evaluate(
        encoder, data, task, protocol, test, preset, out,
        random=random, architecture=architecture, test_preset=test_preset, force=force, **settings, allow_outside=allow_outside
    )  # fmt: skip
    results_table(results.results, results.notes)
    if out is not None and (out / "model" / "model.json").is_file():
        after = shlex.join(["sidelight", "predict", str(out), "--data", "NEW", "--out", "scores.csv"])
        typer.echo(f"The model lies in {out / 'model'}; next: {after}")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="folder that `evaluate --out` wrote")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="CSV file, one row per unit")],
    names: Annotated[
        bool, typer.Option("--names", help="also write each unit's key and first file: identifies")
    ] = False,
    masks: Annotated[
        Path | None, typer.Option("--masks", help="folder for the masks that it finds, in pixels of the sources")
    ] = None,
    mask_format: Annotated[str, typer.Option("--mask-format", help="png, nifti or dicom-seg")] = "png",
    boxes: Annotated[
        Path | None,
        typer.Option("--boxes", help="COCO file (.json) for the boxes that it finds, in pixels of the sources"),
    ] = None,
    other_kind: Annotated[
        bool, typer.Option("--other-kind", help="go on with data that look like another kind than the model's")
    ] = False,
    force: Force = False,
    preset: Preset = None,
    cohort: CohortFile = None,
    cache: Cache = None,
    allow_outside: Outside = False,
) -> None:
    """Score new patients with a saved model; no labels needed."""
    from sidelight.commands.predict import predict as run_predict
    from sidelight.reporting.terminal import print_prediction

    table = run_predict(
        model, data, out,
        preset=preset, cohort_file=cohort, names=names, masks=masks, mask_format=mask_format, boxes=boxes,
        other_kind=other_kind, force=force, cache=cache, allow_outside=allow_outside,
    )  # fmt: skip
    print_prediction(table, out, names=names)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="study file (TOML)")],
    data: Annotated[str | None, typer.Option("--data", help="folder of the data set that the study names")] = None,
    preset: Preset = None,
    size: Annotated[str, typer.Option("--size", help="cpu or gpu")] = "cpu",
    out: Annotated[Path | None, typer.Option("--out", help="folder; default is work/STUDY-SIZE")] = None,
    flags: Set = None,
    cache: Cache = None,
    allow_outside: Outside = False,
    listing: Annotated[
        bool,
        typer.Option("--settings", callback=_listing("study"), is_eager=True, help="list every setting and leave"),
    ] = False,
) -> None:
    """Encoders x label counts x seeds x tasks: one table, one report; cell by cell, resumable. Of several data sets: a suite."""
    from sidelight.commands.study import study as run_study
    from sidelight.commands.suite import is_suite
    from sidelight.commands.suite import suite as run_suite

    if is_suite(file):
        if preset:
            raise ConfigError(
                "A study of several data sets has a preset for each",
                do="--set sets.NAME.study.preset=PRESET names another",
            )
        settings = _settings(None, flags, run_suite, data=data, cache=cache)
        done = run_suite(file, size=size, out=out, **settings, allow_outside=allow_outside)
        typer.echo(f"{done.sentence}; the table lies in {done.folder / 'report.html'}")
        return
    settings = _settings(None, flags, run_study, data=data, preset=preset, cache=cache)
    results = run_study(file, size=size, out=out, **settings, allow_outside=allow_outside)
    typer.echo(f"{len(results.results)} numbers; the report lies in {results.folder / 'report.html'}")


@app.command()
def embed(
    encoder: Weights,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="the Parquet file")],
    frames: Annotated[int | None, typer.Option("--frames", help="frames of a clip that are averaged; 8")] = None,
    role: Role = "image",
    random: Random = False,
    architecture: Architecture = None,
    force: Force = False,
    preset: Preset = None,
    flags: Set = None,
    cache: Cache = None,
    allow_outside: Outside = False,
) -> None:
    """One vector per item, in a Parquet file that names items, patients and every level by hash."""
    from sidelight.commands.embed import embed as run_embed

    settings = _settings(None, flags, run_embed, frames=frames, cache=cache)
    table = run_embed(
        encoder,
        data,
        out,
        preset=preset,
        role=role,
        random=random,
        architecture=architecture,
        force=force,
        **settings,
        allow_outside=allow_outside,
    )
    typer.echo(f"{len(table)} vectors of {table.attrs['dim']} numbers lie in {out}")
    if table.attrs["unreadable"]:
        typer.echo(f"{table.attrs['unreadable']} items could not be read and are left out")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="a finished run, or a tower's safetensors file")],
    format: Annotated[str, typer.Option("--format", help="timm, hf or onnx")],
    out: Annotated[
        Path | None, typer.Option("--out", help="file (timm, onnx) or folder (hf); default is named after the run")
    ] = None,
    role: Role = "image",
    force: Force = False,
) -> None:
    """The encoder for timm, Hugging Face or ONNX, checked to give the same vectors."""
    from sidelight.commands.export import default_name
    from sidelight.commands.export import export as run_export

    done = run_export(run, format, out or default_name(run, format), role=role, force=force)
    typer.echo(f"The encoder lies in {done.path}; load it with: {done.usage}")
    if done.difference is None:
        typer.echo("It was not run: pip install onnxruntime, then export again, compares its vectors")
    else:
        typer.echo(f"Loaded again, its vectors differ by at most {done.difference:.1e}")


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="a finished run")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="folder for the page and its tables (contains images)")],
    task: Annotated[
        str | None, typer.Option("--task", help="whose labels, masks or boxes give the truth; default is the first")
    ] = None,
    phrase: Annotated[
        list[str] | None,
        typer.Option("--phrase", help="show where it points, of a run on reports; may stand several times"),
    ] = None,
    items: Annotated[int, typer.Option("--items", min=1, help="how many items are shown")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="which items")] = 0,
    preset: Preset = None,
    cache: Cache = None,
    allow_outside: Outside = False,
) -> None:
    """What the encoder looks at, in pictures: what its method can show, and the nearest items of other patients."""
    from sidelight.commands.explain import explain as run_explain

    page = run_explain(
        run, data, out, preset=preset, task=task, phrases=phrase or (), items=items, seed=seed, cache=cache,
        allow_outside=allow_outside,
    )  # fmt: skip
    typer.echo(f"The page lies in {page} (contains patient data unless the data are public)")


@app.command()
def cache(
    data: Looked,
    preset: Preset = None,
    cohort: CohortFile = None,
    forget: Annotated[
        str | None, typer.Option("--forget", help="delete this patient's pixels, and the features stored beside them")
    ] = None,
    forget_all: Annotated[bool, typer.Option("--forget-all", help="delete every cache of the cohort")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="compare every pixel with its digest; delete what is damaged")
    ] = False,
    cache: Cache = None,
    allow_outside: Outside = False,
) -> None:
    """List the decoded pixels that are kept of a cohort, verify them, or delete those of a patient."""
    from sidelight.commands.cache import cache as run_cache

    lines = run_cache(
        data,
        preset=preset,
        cohort_file=cohort,
        forget=forget,
        forget_everybody=forget_all,
        verify=verify,
        folder=cache,
        allow_outside=allow_outside,
    )
    typer.echo("\n".join(lines))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="a run or a study folder")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="the HTML file, or a .md page; default is report.html or CHECKLIST.html"),
    ] = None,
    checklist: Annotated[
        str, typer.Option("--checklist", help="tripod+ai or claim: this guideline, filled in from a study")
    ] = "",
) -> None:
    """One file that opens anywhere, without a network; a name ending in .md makes a Markdown page with figures."""
    from sidelight.commands.report import report as make_report

    place = out or Path(f"{checklist or 'report'}.html")
    typer.echo(f"The report lies in {make_report(folder, place, checklist=checklist)}")


@app.command()
def methods(name: Annotated[str, typer.Argument(help="explain the settings of this one")] = "") -> None:
    """List the methods and what each learns from; of one also its settings, with defaults and what they mean."""
    from sidelight.commands.methods import methods as describe

    typer.echo(describe(name))


@app.command()
def settings(
    of: Annotated[str, typer.Argument(help="evaluate, study or cohort")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="also write a Markdown page")] = None,
) -> None:
    """Every setting of an evaluation, a study file or a cohort file, with its default and what it means."""
    from sidelight.commands.settings import settings as describe

    typer.echo(describe(of, out))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line.

    Errors become one sentence and exit code 2; an interrupted command says how to go on (exit code 130).
    """
    # timm and torchvision still use torch.jit.script; nobody who trains an encoder can do anything about it.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    try:
        app()
    except SidelightError as error:
        from sidelight.data.cells import shown

        typer.echo(shown(f"sidelight: {error}"), err=True)
        if error.exit_code > 128:
            _how_to_go_on()
        sys.exit(error.exit_code)
    except (ImportError, MemoryError) as error:
        if isinstance(error, ImportError) and "failed to map segment" not in str(error):
            raise
        said = "There is not enough memory for this command. Ask the batch system for more"
        typer.echo(f"sidelight: {said}; where `ulimit -v` is set, raise it.", err=True)
        sys.exit(2)
    except SystemExit as left:
        if left.code == 130:  # Ctrl-C outside training: finished cells and stored features are kept
            _how_to_go_on()
        raise


def _how_to_go_on() -> None:
    typer.echo(f"To go on: {shlex.join(['sidelight', *sys.argv[1:]])}", err=True)
