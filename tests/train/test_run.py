import math

import pytest

from sidelight.errors import RunError
from sidelight.train import checkpoint
from sidelight.train.run import Run, append_log, begin, check_free, cut_log, is_run, read_log
from training_toys import settings, train

HEADER = {"method": "toy", "settings": {"lr": 0.1, "workers": 0}, "data": "abc"}


def test_a_folder_that_is_no_run_is_refused_by_what_is_missing(tmp_path):
    with pytest.raises(RunError, match="is not a folder"):
        Run.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"config\.json is missing"):
        Run.open(tmp_path)
    (tmp_path / "judged").mkdir()
    (tmp_path / "judged" / "results.parquet").touch()
    with pytest.raises(RunError, match=r"config\.json is missing.*evaluate wrote this one: name the run"):
        Run.open(tmp_path / "judged")
    begin(tmp_path / "run", HEADER, write=True)
    run = Run.open(tmp_path / "run")
    assert not run.finished
    with pytest.raises(RunError, match=r"not finished: done\.json is missing.*pretrain command again"):
        run.encoder()


def test_other_settings_are_refused_and_named(tmp_path):
    begin(tmp_path, HEADER, write=True)
    other = {"method": "toy", "settings": {"lr": 0.2, "workers": 0}, "data": "xyz"}
    with pytest.raises(RunError, match=r"data: 'abc' -> 'xyz'; settings\.lr: 0\.1 -> 0\.2\. Choose another folder"):
        begin(tmp_path, other, write=True)
    assert Run(tmp_path).config == HEADER


def test_the_number_of_workers_may_change(tmp_path):
    begin(tmp_path, HEADER, write=True)
    begin(tmp_path, {**HEADER, "settings": {"lr": 0.1, "workers": 2}}, write=True)
    assert Run(tmp_path).config == HEADER


def test_a_setting_that_nothing_reads_any_more_may_stand_in_an_old_run(tmp_path):
    old = {**HEADER, "settings": {**HEADER["settings"], "repel": "all"}}
    begin(tmp_path, old, write=True)
    begin(tmp_path, HEADER, write=True, former={"repel": "all"})
    with pytest.raises(RunError, match=r"settings\.repel: 'all' -> None"):
        begin(tmp_path, HEADER, write=True, former={"repel": "other_item"})
    assert Run(tmp_path).config == old


def test_only_the_process_that_leads_writes(tmp_path):
    begin(tmp_path / "run", HEADER, write=False)
    assert not (tmp_path / "run").exists()


def test_a_file_and_remains_of_a_run_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is a file"):
        begin(tmp_path / "file", HEADER, write=True)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(RunError, match=r"holds checkpoints, but config\.json is missing"):
        begin(tmp_path / "run", HEADER, write=True)


def test_a_folder_of_pictures_is_no_place_for_a_run_but_an_empty_one_is(tmp_path):
    (tmp_path / "images").mkdir()
    check_free(tmp_path / "images")
    (tmp_path / "images" / "a.png").touch()
    with pytest.raises(RunError, match=r"images is no run and not empty: it holds a\.png.*--out"):
        begin(tmp_path / "images", HEADER, write=True)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.png"]


def test_a_finished_run_says_so_and_is_left_alone(tmp_path, capsys):
    run = train(tmp_path / "run")
    stamp = (run.folder / "metrics.jsonl").stat().st_mtime_ns
    again = train(tmp_path / "run")
    assert "is finished" in capsys.readouterr().err
    assert again == run
    assert (run.folder / "metrics.jsonl").stat().st_mtime_ns == stamp
    assert run.config["settings"]["lr"] == settings().lr
    assert Run.open(run.folder).summary["steps"] == 12


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in range(5):
        append_log(path, "step", step, {"loss": step / 2})
    return path


def test_lines_come_back_with_kind_and_step(path):
    assert read_log(path)[3] == {"kind": "step", "step": 3, "loss": 1.5}


def test_a_line_cut_short_is_left_out_and_lines_after_it_start_afresh(path):
    with path.open("a") as file:
        file.write('{"kind": "st')
    assert len(read_log(path)) == 5
    cut_log(path, 4)
    append_log(path, "step", 5, {})
    assert [line["step"] for line in read_log(path)] == [0, 1, 2, 3, 4, 5]


def test_cut_drops_what_came_later_and_everything_at_the_start(path):
    cut_log(path, 2)
    assert [line["step"] for line in read_log(path)] == [0, 1, 2]
    cut_log(path, 0)
    assert read_log(path) == []


def test_no_file_is_no_lines(tmp_path):
    assert read_log(tmp_path / "none.jsonl") == []


def test_numbers_that_json_cannot_say_become_null(path):
    append_log(path, "step", 5, {"loss": math.nan, "norm": math.inf, "fine": 1.0})
    assert read_log(path)[-1] == {"kind": "step", "step": 5, "loss": None, "norm": None, "fine": 1.0}


@pytest.mark.parametrize(
    ("said", "is_one"),
    [
        ("{}", True),
        ('{"method": "x"}', True),
        ("{", True),
        ('{"architecture": "a"}', False),
        ('{"model_type": "vit"}', False),
    ],
)
def test_a_folder_of_hugging_face_is_no_run(tmp_path, said, is_one):
    """What cannot be told apart counts as a run: whoever opens it says what is wrong."""
    (tmp_path / "config.json").write_text(said)
    assert is_run(tmp_path) is is_run(str(tmp_path)) is is_one
    assert not is_run(tmp_path / "none") and not is_run(None)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("config.json", "[1]", "not names with values"),
        ("config.json", "[" * 100_000, "nested too deeply"),
        ("config.json", "{", "not JSON"),
        ("config.json", '{"method": 7}', "method = 7"),
        ("done.json", '{"steps": -1}', "steps = -1"),
        ("done.json", '{"steps": 1, "seconds": NaN, "keep": "last", "weights": ""}', "seconds = nan"),
        ("done.json", '{"steps": 1, "seconds": 1, "keep": "all", "weights": ""}', "keep = 'all'"),
        ("split.csv", "a,b\n1,2\n", "has the columns"),
        ("split.csv", "item,role\n1,2,3\n4,5,6,7\n", "damaged"),
    ],
)
def test_a_damaged_file_of_a_run_is_one_sentence(tmp_path, name, text, says):
    run = train(tmp_path / "run")
    (run.folder / name).write_text(text)
    with pytest.raises(RunError, match=says):
        assert run.config and run.summary and run.split() is None


def test_weights_that_are_not_what_was_trained(tmp_path):
    run = train(tmp_path / "run")
    assert run.tensors()
    path = run.checkpoint("best" if run.summary["keep"] == "best" else "last")
    tensors, notes = checkpoint.load(path)
    name = next(name for name, one in tensors.items() if name.startswith("model.") and one.is_floating_point())
    checkpoint.save(path, {**tensors, name: tensors[name] * -40}, notes)
    with pytest.raises(RunError, match="not what was trained"):
        run.tensors()


def test_a_log_stops_where_it_is_damaged(path):
    raw = path.read_bytes().splitlines(keepends=True)
    for broken in (b"\xff\n", b"5\n", b'{"kind": 1}\n'):
        path.write_bytes(b"".join([*raw[:2], broken, *raw[2:]]))
        assert [line["step"] for line in read_log(path)] == [0, 1]
