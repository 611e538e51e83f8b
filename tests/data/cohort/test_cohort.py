import os
import sys
import tomllib
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import CohortSpec, MetadataSpec
from sidelight.data.cohort.units import units
from sidelight.data.findings import Record
from sidelight.errors import ColumnError, ConfigError, DataError

CLINIC = """
files  = "photos/{patient}/{lesion}/{view:[A-Z]}{n:[0-9]+}.*"
tables = [
  {file = "lesions.csv", on = ["patient=pid", "lesion=lesion_nr"]},
  {file = "patients.csv", on = ["patient=pid"]},
]
levels = ["patient", "lesion"]
views  = {D = "dermoscopic", K = "clinical"}
[metadata]
patient = ["age", "sex"]
lesion  = ["region"]
unknown = ["unbekannt"]
[task.malignant]
label    = "histology"
unit     = "lesion"
positive = ["MEL", "BCC", "SCC"]
ignore   = [""]
"""
PHOTOS = ["01/1/D1.jpg", "01/1/K2.jpg", "01/2/D1.jpg", "02/1/D1.jpg"]


def write(root, files=(), **texts):
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for name, text in texts.items():
        (root / name.replace("_", ".")).write_text(text)
    return root


def clinic(root, toml=CLINIC, **texts):
    tables = {
        "lesions_csv": "pid;lesion_nr;region;histology\n01;1;arm;MEL\n01;2;leg;NEV\n02;1;arm;\n",
        "patients_csv": "pid,age,sex\n01,70,unbekannt\n02,60,f\n",
    }
    return write(root, [f"photos/{photo}" for photo in PHOTOS], cohort_toml=toml, **{**tables, **texts})


def folder(root, toml, *files, **texts):
    return Cohort.open(write(root, files, cohort_toml=toml, **texts))


def test_a_clinic(tmp_path):
    cohort = Cohort.open(clinic(tmp_path))
    assert cohort.name == tmp_path.name
    assert cohort.levels == ("patient", "lesion")
    assert cohort.items.columns.tolist()[:7] == ["item", "files", "patient", "lesion", "view", "group", "n"]
    assert cohort.items["item"].tolist() == [f"photos/{photo}" for photo in PHOTOS]
    assert cohort.items["files"].tolist() == [(f"photos/{photo}",) for photo in PHOTOS]
    assert cohort.items["view"].tolist() == ["dermoscopic", "clinical", "dermoscopic", "dermoscopic"]
    assert cohort.items["group"].tolist() == ["01", "01", "01", "02"]
    assert cohort.items["sex"].tolist() == ["", "", "", "f"]
    assert cohort.channels is None
    assert cohort.spec.metadata.unknown == ("unbekannt",)
    table = units(cohort, cohort.tasks["malignant"])
    assert table["unit"].tolist() == ["01/1", "01/2"]  # lesion 1 of patient 02 has no histology
    assert table["label"].tolist() == [1, 0]


def test_the_file_itself_and_options_replace_keys(tmp_path):
    write(tmp_path, ["a.png", "b.png"], my_toml='files = "{clip}.*"\nname = "theirs"')
    cohort = Cohort.open(tmp_path / "my.toml", name="mine", images={"channels": 3}, where={"clip": "b"})
    assert (cohort.name, cohort.channels, cohort.items["item"].tolist()) == ("mine", 3, ["b.png"])
    with pytest.raises(ConfigError, match=r"'nam'.*Did you mean 'name'"):
        Cohort.open(tmp_path / "my.toml", nam="mine")


def test_the_hash_sees_columns_and_files(tmp_path):
    root = clinic(tmp_path)
    one = Cohort.open(root).hash
    assert one == Cohort.open(root).hash
    (root / "photos" / PHOTOS[0]).write_bytes(b"other")
    two = Cohort.open(root).hash
    write(root, patients_csv="pid,age,sex\n01,71,f\n02,60,f\n")
    assert len({one, two, Cohort.open(root).hash}) == 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("levels =", "level =", r"Unknown key 'level' in cohort\.toml.*Did you mean 'levels'"),
        ('file = "lesions.csv"', 'filee = "lesions.csv"', r"Unknown key 'filee' in cohort\.toml tables.*'file'"),
        ("unknown =", "unknwn =", r"Unknown key 'unknwn' in cohort\.toml \[metadata\].*'unknown'"),
        ("positive =", "positiv =", r"Unknown key 'positiv' in cohort\.toml \[task\.malignant\].*'positive'"),
        ("label    =", "lable =", r"Unknown key 'lable' in cohort\.toml \[task\.malignant\].*Did you mean 'label'"),
        ("files  =", "name =", "items nowhere"),
        ('levels = ["patient", "lesion"]', 'levels = ["patient", "lesion", "group"]', "cannot be called 'group'"),
        ("[metadata]", '[roles]\npatient = "dicom:PatientId"\n[metadata]', "not read.*Did you mean 'PatientID'"),
        ("[metadata]", '[roles]\npatient = "dicom:PatientName"\n[metadata]', "this tag is not read"),
        ("[metadata]", '[roles]\npatent = "pid"\n[metadata]', "Unknown role 'patent'.*'patient'"),
        ("[metadata]", "[images]\nchannels = 2\n[metadata]", r"\[images\].*channels = 2"),
        ("[metadata]", '[metadata]\nconflict = "latest"', "needs to know what is latest"),
    ],
)
def test_keys_that_are_wrong(tmp_path, old, new, words):
    assert old in CLINIC
    with pytest.raises(ConfigError, match=words):
        Cohort.open(clinic(tmp_path, CLINIC.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("photos/", "fotos/", r"No file in .* matches 'fotos/.*There lies for example 'photos/01/1/D1\.jpg'"),
        ('patient=pid", "lesion', 'patient=pidd", "lesion', r"lesions\.csv has no column 'pidd'.*'pid'"),
        ('patient=pid", "lesion', 'patien=pid", "lesion', "column 'patien', which no item has.*'patient'"),
        ('"age"', '"agee"', r"\[metadata\] patient names the column 'agee'.*'age'"),
        ("[metadata]", '[where]\nage = "> 100"\n[metadata]', "No item of 4 fulfils"),
        ("[metadata]", "[where]\nagee = 1\n[metadata]", "'agee'.*Did you mean 'age'"),
        (
            'levels = ["patient", "lesion"]',
            'levels = ["patient", "lesion", "visit"]',
            "level visit names the column 'visit'",
        ),
    ],
)
def test_data_that_does_not_say_what_it_should(tmp_path, old, new, words):
    assert old in CLINIC
    with pytest.raises(DataError, match=words):
        Cohort.open(clinic(tmp_path, CLINIC.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'label    = "histology"',
            'label = "histo"',
            r"\[task\.malignant\] label names the column 'histo'.*'histology'",
        ),
        ('["MEL", "BCC", "SCC"]', '["XXX"]', "no unit of class 'XXX'"),
        ('unit     = "lesion"', 'unit = "leson"', "Did you mean 'lesion'"),
    ],
)
def test_a_task_that_does_not_fit_stops_only_who_asks_for_it(tmp_path, old, new, words):
    assert old in CLINIC
    cohort = Cohort.open(clinic(tmp_path, f'{CLINIC.replace(old, new)}[task.sex]\nlabel = "region"\n'))
    assert list(cohort.tasks) == ["sex"] and cohort.task("sex") is cohort.tasks["sex"]
    with pytest.raises(DataError, match=f"The task 'malignant' of .* cannot be used.*{words}"):
        cohort.task("malignant")
    assert any("'malignant' cannot be used" in notice for notice in cohort.notices)
    with pytest.raises(ConfigError, match=r"has no task 'maligant'.*Did you mean 'malignant'"):
        cohort.task("maligant")


def test_all_columns_that_are_not_there_are_told_at_once(tmp_path):
    toml = CLINIC.replace('["age", "sex"]', '["agee", "sex"]').replace('["region"]', '["regionn"]')
    both = r"patient names the column 'agee'.*Did you mean 'age'.*lesion names the column 'regionn'.*'region'"
    with pytest.raises(DataError, match=both):
        Cohort.open(clinic(tmp_path, toml))
    with pytest.raises(DataError, match=both):
        Cohort.open(tmp_path, record=Record())


def test_names_of_keys_levels_conditions_and_metadata_are_told_together(tmp_path):
    swaps = {
        'patient=pid", "lesion': 'patien=pidd", "lesion',
        '["patient", "lesion"]\n': '["patient", "leison"]\n',
        "[metadata]": '[derive.old]\nfrom = "agge"\npattern = "^[7-9]"\n[where]\nold = ""\nsexx = "f"\n[metadata]\ndate = "dat"',
        '["age", "sex"]': '["agee", "sex"]',
        "lesion  = [": "leison = [",
    }
    toml = CLINIC
    for old, new in swaps.items():
        assert old in toml, old
        toml = toml.replace(old, new)
    said = (
        r"lesions\.csv has no column 'pidd' \(Did you mean 'pid'\); "
        r"`on` of lesions\.csv names the column 'patien', which no item has \(Did you mean 'patient'\); "
        r"\[derive\] old names the column 'agge', .* \(Did you mean 'age'\); "
        r"The level leison names .* \(Did you mean 'lesion'\); where names the column 'sexx', .* \(Did you mean 'sex'\); "
        r"\[metadata\] patient names the column 'agee', .*; \[metadata\] date names the column 'dat', [^;]*$"
    )
    for record in (None, Record()):
        with pytest.raises(ColumnError, match=said):
            Cohort.open(clinic(tmp_path, toml), record=record)


def test_paths_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Cohort.open(tmp_path / "none")
    write(tmp_path, ["a/x.png"])
    with pytest.raises(
        DataError,
        match=r"holds no cohort\.toml and no preset.*'a/x\.png'.*acdc.*busi, covid19_ultrasound",
    ):
        Cohort.open(tmp_path)
    with pytest.raises(DataError, match="is one file"):
        Cohort.open(tmp_path / "a" / "x.png")
    with pytest.raises(ConfigError, match="Did you mean 'us4'"):
        Cohort.open(tmp_path, preset="us-4")
    with pytest.raises(DataError, match="is no folder"):
        Cohort.open(tmp_path / "none", preset="us4")


PATIENTS = 'files = "{patient}_{n}.*"\nlevels = ["patient"]\ntables = [{file = "t.csv", on = ["stem=id"]}]\n'
VISITS = "id,age,sex,day\nA_1,60,,01.02.2020\nA_2,70,m,01.02.2019\nB_1,50,f,01.01.2020\n"


@pytest.mark.parametrize(
    ("rule", "ages"),
    [("first", ["60", "60", "50"]), ("latest", ["60", "60", "50"]), ("mean", ["65", "65", "50"])],
)
def test_conflicts_are_settled_by_a_stated_rule(tmp_path, rule, ages):
    toml = PATIENTS + f'[metadata]\npatient = ["age", "sex"]\ndate = "day"\nconflict = {{age = "{rule}"}}\n'
    cohort = folder(tmp_path, toml, "A_1.png", "A_2.png", "B_1.png", t_csv=VISITS)
    assert cohort.items["age"].tolist() == ages
    assert cohort.items["sex"].tolist() == ["m", "m", "f"]
    assert any("'age' differs within 1 of 2" in notice and rule in notice for notice in cohort.notices)
    assert any("'sex': 1 blank cells filled" in notice for notice in cohort.notices)


def test_no_column_of_a_table_hides_the_path(tmp_path):
    toml = (
        'files = "{n}.*"\n[[tables]]\nfile = "who.csv"\non = ["stem=n"]\n'
        '[[tables]]\nfile = "more.csv"\non = ["name=photo"]\n[[tables]]\nfile = "ages.csv"\non = ["who.name=name"]\n'
        '[metadata]\nitem = ["name", "age"]\n'
    )
    tables = {
        "who_csv": "n,name,file,stem\n1,Ann,x,y\n2,Bob,x,y\n",
        "more_csv": "photo,kind\n1.png,a\n2.png,b\n",
        "ages_csv": "name,age\nAnn,60\nBob,70\n",
    }
    items = folder(tmp_path, toml, "1.png", "2.png", **tables).items
    assert items[["kind", "age", "who.name"]].to_numpy().tolist() == [["a", "60", "Ann"], ["b", "70", "Bob"]]
    assert not {"file", "name", "stem"} & {*items.columns}


def test_a_cohort_without_a_name_is_called_as_the_settings_say(tmp_path):
    assert "never the folder's name" in str(CohortSpec.model_fields["name"].description)
    called = Cohort.open(clinic(tmp_path)).alias
    assert called.startswith("cohort-") and len(called) == len("cohort-") + 8 and tmp_path.name not in called


def test_what_the_cohort_is_written_in_is_no_item(tmp_path):
    toml = 'files = "**/*"\n[[tables]]\nfile = "./who.csv"\non = ["stem=n"]\n'
    items = folder(tmp_path, toml, "1.png", "notes.txt", who_csv="n,age\n1,60\n").items
    assert items["item"].tolist() == ["1.png", "notes.txt"] and items["age"].tolist() == ["60", ""]


def test_a_name_in_braces_comes_before_the_name_of_the_file(tmp_path):
    toml = 'files = "{name}_{n}.*"\n[[tables]]\nfile = "who.csv"\non = ["name"]\n'
    items = folder(tmp_path, toml, "ann_1.png", "bob_1.png", who_csv="name,age\nann,60\nbob,70\n").items
    assert items["age"].tolist() == ["60", "70"]


def test_the_latest_is_by_date_not_by_row(tmp_path):
    toml = PATIENTS + '[metadata]\npatient = ["age"]\ndate = "day"\nconflict = "latest"\n'
    later = VISITS.replace("01.02.2019", "01.02.2021")
    assert folder(tmp_path, toml, "A_1.png", "A_2.png", "B_1.png", t_csv=later).items["age"].tolist() == [
        "70",
        "70",
        "50",
    ]


def test_a_conflict_is_an_error_by_default(tmp_path):
    toml = PATIENTS + '[metadata]\npatient = ["age"]\n'
    with pytest.raises(DataError, match=r"'age' is not constant within patient 'A': \['60', '70'\] \(1 such in all\)"):
        folder(tmp_path, toml, "A_1.png", "A_2.png", "B_1.png", t_csv=VISITS)


def test_conflicts_in_a_real_table(tmp_path, real_data):
    root = real_data / "pad_ufes_20"
    if not root.is_dir():
        pytest.skip(f"no pad_ufes_20 in {real_data}")
    toml = f"""
levels = ["patient", "lesion"]
items  = {{table = "{root}/metadata.csv", path = "img_id", base = "{root}/images/imgs_part_1"}}
roles  = {{patient = "patient_id", lesion = "lesion_id"}}
task   = {{cancer = {{label = "diagnostic", unit = "lesion", positive = ["BCC", "SCC", "MEL"]}}}}
metadata = {{patient = "age"}}
"""
    with pytest.raises(DataError, match=r"'age' is not constant within patient .* \(21 such in all\)"):
        Cohort.open(write(tmp_path, (), cohort_toml=toml), allow_outside=True)
    cohort = Cohort.open(tmp_path, metadata={"conflict": "first"}, allow_outside=True)
    table = units(cohort, cohort.tasks["cancer"])
    lesions = cohort.items.groupby(["patient_id", "lesion_id"]).ngroups
    assert (len(cohort.items), table["group"].nunique(), len(table)) == (828, 629, lesions)


def test_the_rule_holds_for_labels_of_a_level(tmp_path):
    toml = PATIENTS + '[task.old]\nlabel = "age"\nunit = "patient"\npositive = [60]\n'
    files = ("A_1.png", "A_2.png", "B_1.png")
    with pytest.raises(DataError, match=r"differs within 1 patient units"):
        folder(tmp_path, toml, *files, t_csv=VISITS).task("old")
    cohort = folder(tmp_path, toml + '[metadata]\nconflict = "first"\n', *files, t_csv=VISITS)
    assert units(cohort, cohort.tasks["old"])["label"].tolist() == [1, 0]
    assert cohort.items["age"].tolist() == ["60", "70", "50"]  # the column itself is no metadata and stays


def test_a_blank_level_makes_its_own_group(tmp_path):
    tables = 'tables = [{file = "t.csv", on = ["stem=id"]}]\n'
    toml = 'files = "{clip}.*"\nlevels = ["patient"]\n' + tables + '[roles]\npatient = "column:who"\n'
    cohort = folder(tmp_path, toml, "a.png", "b.png", "c.png", "d.png", t_csv="id,who\na,7.0\nb,7\nc,\n")
    assert cohort.items["patient"].tolist() == ["7", "7", "c.png", "d.png"]
    assert any("2 items have no patient, for example 'c.png'" in notice for notice in cohort.notices)


def test_without_levels_each_item_is_its_own_group(tmp_path):
    cohort = folder(tmp_path, 'files = "{clip}.*"', "a.png", "b.png")
    assert cohort.items["group"].tolist() == ["a.png", "b.png"]
    assert cohort.items["view"].tolist() == ["", ""]


def test_a_stack_is_one_item_in_numeric_order(tmp_path):
    toml = 'files = "{clip}/{frame:[0-9]+}.*"\nstack = "frame"\nwhere = {frames = ">= 2"}\n'
    cohort = folder(tmp_path, toml, "a/10.png", "a/9.png", "a/100.png", "b/1.png")
    assert cohort.items["item"].tolist() == ["a/*.png"]
    assert cohort.items["files"].tolist() == [("a/9.png", "a/10.png", "a/100.png")]
    with pytest.raises(ConfigError, match=r"stack = 'fram'.*Did you mean 'frame'"):
        Cohort.open(tmp_path, stack="fram")


def test_a_stack_joins_by_its_folder(tmp_path):
    toml = 'files = "x/{clip}/{k}.*"\nstack = "k"\ntables = [{file = "t.csv", on = ["file=path"], base = "x"}]\n'
    cohort = folder(tmp_path, toml, "x/a/1.png", "x/a/2.png", "x/b/1.png", t_csv="path;dx\n.\\a;ill\nb/;well\n")
    assert cohort.items["dx"].tolist() == ["ill", "well"]


def test_a_table_lists_the_items(tmp_path):
    toml = '[items]\ntable = "list.csv"\npath = "where"\nbase = "img"\n[roles]\nview = "column:view"\n'
    rows = "where,view,group,dx\na.png,AP,g,x\nclip,PA,h,y\ngone.png,AP,g,x\n,AP,g,x\n"
    cohort = folder(
        tmp_path, toml, "img/a.png", "img/clip/2.png", "img/clip/10.png", "img/clip/notes.txt", list_csv=rows
    )
    assert cohort.items["item"].tolist() == ["img/a.png", "img/clip"]
    assert cohort.items["files"].tolist() == [("img/a.png",), ("img/clip/2.png", "img/clip/10.png")]
    assert cohort.items["view"].tolist() == ["AP", "PA"]
    assert cohort.items["group"].tolist() == ["img/a.png", "img/clip"]
    assert cohort.items["list.group"].tolist() == ["g", "h"]
    assert any("1 of 3 files" in notice and "gone.png" in notice for notice in cohort.notices)
    tasked = Cohort.open(tmp_path, task={"t": {"label": "group"}})
    assert tasked.tasks["t"].classes == ("g", "h")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("where,dx\ngone.png,x\n", r"None of the 1 files in column 'where'"),
        ("whre,dx\na.png,x\n", "no column 'where'.*'whre'"),
        ("where,dx\na.png,x\na.png,y\n", "several rows for 'a.png'"),
    ],
)
def test_a_list_of_items_that_does_not_hold(tmp_path, rows, words):
    with pytest.raises(DataError, match=words):
        folder(tmp_path, '[items]\ntable = "list.csv"\npath = "where"\n', "a.png", list_csv=rows)


def test_derived_columns_may_serve_keys_and_come_from_tables(tmp_path):
    toml = (
        'files = "{clip}.*"\ntables = [{file = "t.csv", on = ["id=id"]}]\n'
        '[derive]\nid = {from = "clip", pattern = "^([0-9]+)_"}\ncode = {from = "text", pattern = "^..."}\n'
    )
    cohort = folder(tmp_path, toml, "07_a.png", "08_b.png", t_csv="id,text\n07,abcd\n08,xy\n")
    assert cohort.items["id"].tolist() == ["07", "08"]
    assert cohort.items["code"].tolist() == ["abc", ""]


def test_views_that_are_not_named_stay(tmp_path):
    cohort = folder(tmp_path, 'files = "{view}_{n}.*"\nviews = {D = "dermoscopic"}', "D_1.png", "X_1.png")
    assert cohort.items["view"].tolist() == ["dermoscopic", "X"]
    assert any("'X'" in notice for notice in cohort.notices)
    with pytest.raises(ConfigError, match="nothing names a view"):
        Cohort.open(tmp_path, files="{clip}.*")


def test_read_hands_the_files_of_an_item_to_the_reader(tmp_path, monkeypatch):
    reader = ModuleType("sidelight.data.read")
    reader.read_files = lambda paths, **hints: (paths, hints)
    monkeypatch.setitem(sys.modules, "sidelight.data.read", reader)
    cohort = folder(tmp_path, 'files = "{clip}/{k}.*"\nstack = "k"', "a/2.png", "a/1.png")
    paths, hints = cohort.read(0, max_frames=5, channels=1, target=64)
    assert paths == [tmp_path / "a/1.png", tmp_path / "a/2.png"]
    assert hints == {"max_frames": 5, "channels": 1, "target": 64, "root": tmp_path, "crop": None, "ask": None}


def test_arrays_of_one_file_are_items_and_their_companions(tmp_path):
    toml = (
        'files = "{patient}_{phase}.npz::image"\nlevels = ["patient"]\n[companions]\nmask = "{patient}_{phase}.npz::label"\n'
        '[[tables]]\nfile = "series.csv"\non = ["file"]\n[[tables]]\nfile = "more.csv"\non = ["stem=id"]\n'
    )
    image = np.arange(100, dtype=np.uint8).reshape(5, 4, 5)
    np.savez(tmp_path / "p1_ED.npz", image=image, label=image // 20)
    tables = {"series_csv": "file,dx\np1_ED.npz,DCM\n", "more_csv": "id,age\np1_ED,50\n"}
    cohort = folder(tmp_path, toml, **tables)
    assert cohort.items.iloc[0].to_dict() == {
        "item": "p1_ED.npz::image",
        "files": ("p1_ED.npz::image",),
        "patient": "p1",
        "view": "",
        "group": "p1",
        "phase": "ED",
        "mask": ("p1_ED.npz::label",),
        "dx": "DCM",
        "age": "50",
    }
    np.testing.assert_array_equal(cohort.read(0, max_frames=2).frames, image[[0, 4]])
    before = cohort.hash
    np.savez(tmp_path / "p1_ED.npz", image=image[::-1], label=image // 20)
    os.utime(tmp_path / "p1_ED.npz", ns=(1, 1))
    assert Cohort.open(tmp_path).hash != before
    listed = '[items]\ntable = "list.csv"\npath = "where"\n'
    assert folder(tmp_path, listed, list_csv="where\np1_ED.npz::label\n").items["files"][0] == ("p1_ED.npz::label",)


class Source:
    levels = ("patient",)
    channels = 1
    tasks = {"diagnosis": {"label": "dx", "unit": "patient", "classes": ["well", "ill"], "kind": "binary"}}

    def __init__(self, patients):
        ids = [str(number) for number in range(patients)]
        self.items = pd.DataFrame({"item": ids, "files": [()] * patients, "patient": ids})
        self.items["dx"] = ["well", "ill"] * (patients // 2)

    def read(self, position, max_frames):
        return np.full((max_frames, 2, 2), position)


@pytest.fixture
def phantom(monkeypatch, tmp_path):
    import sidelight.data

    package = ModuleType("sidelight.data.phantoms")
    package.__path__ = [str(tmp_path)]
    (tmp_path / "ultrasound.py").write_text("")
    module = ModuleType("sidelight.data.phantoms.ultrasound")
    module.phantom = lambda patients=4, seed=0: Source(patients)
    monkeypatch.setattr(sidelight.data, "phantoms", package, raising=False)
    monkeypatch.setitem(sys.modules, "sidelight.data.phantoms", package)
    monkeypatch.setitem(sys.modules, "sidelight.data.phantoms.ultrasound", module)


@pytest.mark.usefixtures("phantom")
def test_a_phantom_with_options():
    cohort = Cohort.open("phantom:ultrasound?patients=6&seed=1", seed=2)
    assert (cohort.name, len(cohort.items), cohort.channels) == ("phantom:ultrasound", 6, 1)
    assert cohort.spec == CohortSpec(public=True)
    assert units(cohort, cohort.tasks["diagnosis"])["label"].tolist() == [0, 1] * 3
    assert cohort.read(3, max_frames=2).tolist() == np.full((2, 2, 2), 3).tolist()
    assert cohort.items["group"].tolist() == cohort.items["patient"].tolist()
    assert cohort.hash != Cohort.open("phantom:ultrasound").hash


def test_phantoms_of_other_pictures_have_other_hashes():
    asked = ("", "&seed=1", "&size=40", "&difficulty=0.9")
    for name in ("ultrasound?patients=6", "skin?patients=6", "chest?patients=6", "knee?exams=6", "derm?cases=8"):
        assert len({Cohort.open(f"phantom:{name}{one}").hash for one in asked}) == len(asked), name


@pytest.mark.usefixtures("phantom")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("phantom:ultrasond", "Did you mean 'ultrasound'"),
        ("phantom:knee", "Known are ultrasound"),
        ("phantom:ultrasound?patient=3", "Did you mean 'patients'"),
        ("phantom:ultrasound?patients", "has no value"),
        ("phantom:ultrasound?patients=abc", "asked for patients = 'abc'. Expected: a whole number"),
        ("phantom:ultrasound?patients=3.5", "asked for patients = 3.5. Expected: a whole number"),
        ("phantom:ultrasound?patients=true", "asked for patients = True. Expected: a whole number"),
        ("phantom:ultrasound?seed=-1", "asked for seed = -1. Expected: a whole number from 0 on"),
    ],
)
def test_phantoms_that_are_not(path, words):
    with pytest.raises(ConfigError, match=words):
        Cohort.open(path)


def test_options_of_phantoms_are_numbers_or_words():
    for option, expected in (
        ("difficulty=hard", "a number"),
        ("reports=3", "a word"),
        ("patients=[8]", "a whole number"),
    ):
        with pytest.raises(ConfigError, match=f"Expected: {expected}"):
            Cohort.open(f"phantom:chest?{option}")
    assert len(Cohort.open("phantom:derm", cases=np.int64(8), difficulty=1, lone=np.float32(0)).items) == 16


def test_a_phantom_takes_no_preset():
    with pytest.raises(ConfigError, match="takes no preset"):
        Cohort.open("phantom:ultrasound", preset="us4")
    with pytest.raises(ConfigError, match="no cohort file"):
        Cohort.open("phantom:ultrasound", cohort_file="clinic")


def test_new_patients_go_without_tables_but_not_without_their_levels(tmp_path):
    (tmp_path / "a1.png").write_bytes(b"x")
    text = 'files = "{photo}.png"\ntables = [{file = "who.csv", on = ["photo"]}]\n'
    (tmp_path / "cohort.toml").write_text(f'{text}[metadata]\nitem = ["age", "photo"]\n')
    cohort = Cohort.open(tmp_path, labels=False)
    assert cohort.notices == ("The table who.csv is not there: goes without its columns",)
    assert cohort.spec.metadata == MetadataSpec(columns={"item": ["photo"]})
    with pytest.raises(DataError, match=r"who\.csv does not exist"):
        Cohort.open(tmp_path)
    (tmp_path / "cohort.toml").write_text(f'{text}levels = ["patient"]\n')
    with pytest.raises(DataError, match=r"level patient .*; who\.csv is not there.*Put who\.csv into"):
        Cohort.open(tmp_path, labels=False)


def test_new_patients_go_without_tables_that_tell_nothing_about_them(tmp_path):
    (tmp_path / "a1.png").write_bytes(b"x")
    (tmp_path / "old.csv").write_text("photo,patient,age\nz9,Z,70\n")
    (tmp_path / "people.csv").write_text("patient,sex\nZ,f\n")
    (tmp_path / "cohort.toml").write_text(
        'files = "{photo}.png"\ntables = [{file = "old.csv", on = ["photo"]}, {file = "people.csv", on = ["patient"]}]\n'
        '[derive.old]\nfrom = "age"\npattern = "^[7-9]"\n[metadata]\nitem = ["age", "sex"]\n'
    )
    cohort = Cohort.open(tmp_path, labels=False)
    assert cohort.items.columns.tolist() == ["item", "files", "view", "group", "photo"]
    assert cohort.notices == (
        "[derive] old is left out: no item has the column 'age'",
        "The table old.csv has no row for any item: goes without its columns",
        "The table people.csv is joined by 'patient', which no item has: goes without its columns",
    )
    with pytest.raises(DataError, match=r"No item has a row in old\.csv"):
        Cohort.open(tmp_path)
    for line in ('levels = ["patient"]', 'where = {age = "> 60"}'):
        with pytest.raises(DataError, match=r"no item has; old\.csv has no row for any item; .*Put old\.csv into"):
            Cohort.open(tmp_path, labels=False, **tomllib.loads(line))


def test_the_cohort_file_of_other_data_serves_a_folder_without_one(tmp_path):
    clinic, new = tmp_path / "clinic", tmp_path / "new"
    for folder in (clinic, new):
        folder.mkdir()
        (folder / "a1.png").write_bytes(b"x")
    (clinic / "cohort.toml").write_text('root = "."\nfiles = "{patient:[a-z]}{n}.png"\nlevels = ["patient"]\n')
    with pytest.raises(DataError, match=r"new holds no cohort\.toml\. .*--cohort FILE"):
        Cohort.open(new, labels=False)
    for given in (clinic, clinic / "cohort.toml"):
        cohort = Cohort.open(new, labels=False, cohort_file=given)
        assert (cohort.root, cohort.levels, cohort.items["patient"].tolist()) == (new, ("patient",), ["a"])
        assert cohort.notices == ()
    (new / "cohort.toml").write_text('files = "*.jpg"\n')
    (notice,) = Cohort.open(new, cohort_file=clinic).notices
    assert notice.startswith("The folder's own cohort.toml is not used")
    with pytest.raises(ConfigError, match="does not exist"):
        Cohort.open(new, cohort_file=tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="one of them"):
        Cohort.open(new, "busi", cohort_file=clinic)
    with pytest.raises(DataError, match="is no folder"):
        Cohort.open(new / "a1.png", cohort_file=clinic)
