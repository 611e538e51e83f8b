import numpy as np
import pytest
from PIL import Image

from sidelight.data.annotations import annotations_of
from sidelight.data.annotations.drawn import Shape
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.cohort.metadata import ASKED, KNOWN, MISSING, described, fit
from sidelight.data.cohort.presets import load_preset, preset_names
from sidelight.data.cohort.units import units
from sidelight.data.reports.reports import read_reports
from sidelight.errors import ConfigError, DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def counts(cohort, task):
    labels = units(cohort, cohort.tasks[task])["label"]
    return {cohort.tasks[task].classes[code]: int((labels == code).sum()) for code in sorted(set(labels))}


def test_the_presets_and_the_nearest_name():
    assert {"busi", "covid19_ultrasound", "us4", "pad_ufes_20", "ham10000", "isic2024"} <= set(preset_names())
    with pytest.raises(ConfigError, match="Did you mean 'busi'"):
        load_preset("bus")


def pocus(root):
    touch(
        root,
        "data/pocus_videos/convex/Reg-a.mp4",
        "data/pocus_videos/linear/Pneu_b.AVI",
        "data/pocus_images/convex/Cov_c.JPG",
    )
    touch(root, "data/pocus_videos/convex/Vir_d.mov")
    table = "Filename,Label\nReg-a,regular\nPneu_b,x\nCov_c,x\nVir_d,x\nelsewhere,1\nelsewhere,2\n"
    (root / "data" / "dataset_metadata.csv").write_text(table)
    (root / "recording_groups.csv").write_text(
        "file,group,label,type,license,source_id\n"
        "pocus_videos/convex/Reg-a.mp4,g1,regular,video,CC BY,18\n"
        "pocus_videos/linear/Pneu_b.AVI,g2,bacterial pneumonia,video,CC BY,18\n"
        "pocus_images/convex/Cov_c.JPG,g2,covid-19,image,CC BY,2\n"
        "pocus_videos/convex/Vir_d.mov,g3,viral pneumonia,video,CC BY,18\n"
    )


def test_covid19_ultrasound(tmp_path):
    pocus(tmp_path)
    cohort = Cohort.open(tmp_path, preset="covid19_ultrasound")
    assert (cohort.name, cohort.levels, cohort.channels) == ("covid19_ultrasound", ("recording",), 1)
    assert cohort.items["item"].str.rsplit("/").str[-1].tolist() == [
        "Cov_c.JPG",
        "Reg-a.mp4",
        "Vir_d.mov",
        "Pneu_b.AVI",
    ]
    assert cohort.items["group"].tolist() == cohort.items["recording"].tolist() == ["g2", "g1", "g3", "g2"]
    assert cohort.items["view"].tolist() == ["convex", "convex", "convex", "linear"]
    assert counts(cohort, "diagnosis") == {"regular": 1, "bacterial pneumonia": 1, "covid-19": 1}
    assert counts(cohort, "bacterial_source18") == {"regular": 1, "bacterial pneumonia": 1}


def test_covid19_ultrasound_without_its_groups(tmp_path):
    pocus(tmp_path)
    (tmp_path / "recording_groups.csv").unlink()
    with pytest.raises(DataError, match=r"lacks recording_groups\.csv: .*both sides of a split"):
        Cohort.open(tmp_path, preset="covid19_ultrasound")


@pytest.mark.parametrize("preset", ["covid19_ultrasound", None])
def test_the_pickles_are_refused(tmp_path, preset):
    touch(tmp_path, "covid_data1.pkl", "covid_data2.pkl")
    with pytest.raises(
        DataError, match=r"covid_data1\.pkl is not read: .*pickles.*use the original videos.*dataset_metadata"
    ):
        Cohort.open(tmp_path, preset=preset)


def test_one_pickle_is_refused_by_its_own_name(tmp_path):
    touch(tmp_path, "covid_data1.pkl", "covid_data2.pkl")
    with pytest.raises(DataError, match=r"covid_data2\.pkl is not read"):
        Cohort.open(tmp_path / "covid_data2.pkl")


def test_pickles_beside_the_videos_do_no_harm(tmp_path):
    pocus(tmp_path)
    touch(tmp_path, "covid_data1.pkl")
    assert len(Cohort.open(tmp_path, preset="covid19_ultrasound").items) == 4


def test_covid19_ultrasound_on_the_real_data(real_data):
    root = real_data / "covid19_ultrasound"
    if not root.is_dir():
        pytest.skip(f"no covid19_ultrasound in {real_data}")
    cohort = Cohort.open(root, preset="covid19_ultrasound")
    assert len(cohort.items) == 145
    assert cohort.items["group"].nunique() == 42
    assert (cohort.items["type"] == "video").sum() == 114
    assert (cohort.items["Filename" if "Filename" in cohort.items else "InThisRepo"] != "").all()
    assert cohort.items["Source ID"].tolist() == cohort.items["source_id"].tolist()
    assert counts(cohort, "diagnosis") == {"regular": 68, "bacterial pneumonia": 50, "covid-19": 22}
    table = units(cohort, cohort.tasks["bacterial_source18"])
    assert (table["group"].nunique(), len(table), int(table["label"].sum())) == (11, 70, 39)


def blues(root):
    """Seven clips of three patients; one point was recorded twice."""
    names = ["1_L1", "1_R2", "1_R2_2", "2_L1", "2_R3", "3_L1", "3_L2"]
    touch(root, *(f"lus_videos/patient_{name}.mp4" for name in names))
    rows = [
        "0.0,yes,no,",
        "2.0,no,yes ,white lung?",
        "3.0,no,yes,",
        "1.0,yes,no,",
        "0.0,yes,no,",
        "2.0,no,no ,",
        "0.0,yes,yes,",
    ]
    lines = [f"patient_{name},{row}" for name, row in zip(names, rows, strict=True)]
    (root / "severity.csv").write_text("\n".join(["video_file,Severity Score,A-lines,B-lines,comments", *lines, ""]))
    values = load_preset("covid_blues_findings")["metadata"]["patient"]
    header = ["patient_id", "cov_test", "oxygen_thepary", *values]
    lines = [",".join([str(n), str(n % 2), "1" if n == 2 else "0", *("-99.0" for _ in values)]) for n in (1, 2, 3)]
    (root / "clinical_variables.csv").write_text("\n".join([",".join(header), *lines, ""]))


def test_covid_blues(tmp_path):
    blues(tmp_path)
    cohort = Cohort.open(tmp_path, preset="covid_blues")
    assert (cohort.name, cohort.levels, cohort.channels, cohort.spec.public) == (
        "covid_blues", ("patient", "clip"), 1, False,
    )  # fmt: skip
    assert cohort.items["clip"].tolist() == ["L1", "R2", "R2_2", "L1", "R3", "L1", "L2"]
    assert cohort.items["view"].tolist() == ["L1", "R2", "R2", "L1", "R3", "L1", "L2"]
    assert set(cohort.items["pat_age"]) == {""}
    assert counts(cohort, "b_lines") == {"no": 4, "yes": 3} and counts(cohort, "severe") == {"no": 4, "yes": 3}
    assert counts(cohort, "severe_patient") == {"no": 1, "yes": 2} and counts(cohort, "covid") == {
        "negative": 1,
        "positive": 2,
    }
    assert described(cohort, "clip") == ("point",)
    assert [study.sentences for study in read_reports(cohort).studies] == [("white lung?",)]


def test_covid_blues_as_teacher(tmp_path):
    blues(tmp_path)
    cohort = Cohort.open(tmp_path, preset="covid_blues_findings")
    assert sorted(cohort.tasks) == ["covid", "oxygen"]
    assert described(cohort, "clip") == ("Severity Score", "A-lines", "B-lines")
    found = read_reports(cohort)
    assert found.studies[1].sentences == (
        "Broken pleura line, consolidated areas.", "No A-lines.", "B-lines are visible.", "white lung?",
    )  # fmt: skip
    assert len(found) == 7


def test_covid_blues_on_the_real_data(real_data):
    root = real_data / "covid_blues"
    if not root.is_dir():
        pytest.skip(f"no covid_blues in {real_data}")
    cohort = Cohort.open(root, preset="covid_blues")
    assert (len(cohort.items), cohort.items["group"].nunique(), cohort.items["view"].nunique()) == (188, 33, 6)
    assert not cohort.broken and not cohort.spec.public
    assert counts(cohort, "covid") == {"negative": 16, "positive": 17}
    assert counts(cohort, "a_lines") == {"no": 47, "yes": 141} and counts(cohort, "b_lines") == {"no": 66, "yes": 122}
    assert counts(cohort, "severity") == {"0": 61, "1": 51, "2": 53, "3": 23}
    assert len(read_reports(cohort)) == 13
    teacher = Cohort.open(root, preset="covid_blues_findings")
    assert len(read_reports(teacher)) == 188 and teacher.key == cohort.key
    for level in teacher.levels:
        fit(teacher, level, np.arange(188))  # every number is one


HANNOVER = [
    "patient_id,image_id,sex,admission_offset,icu_admission_offset,icu_release_offset,death_offset,projection,d-dimer_val,crp_val",
    "p1,a,f,0,,,,pa,0.3,3.0",  # never in intensive care
    "p1,b,f,-2,,,,ap,,",
    "p2,c,m,0,0.0,4.0,,ap,inf,5.0",
    "p2,d,m,0,0.0,4.0,,ap,inf,5.0",
    "p2,e,m,-5,-5.0,-1.0,,ap,2.0,29.0",  # released the day before
    "p3,f,m,-1,3.0,9.0,,pa,1.0,1.0",  # taken there three days later
]


def hannover(root):
    values = [name for name in load_preset("hannover_cxr")["metadata"]["study"] if name not in HANNOVER[0]]
    lines = [HANNOVER[0] + "".join(f",{name}" for name in values), *(row + "," * len(values) for row in HANNOVER[1:])]
    (root / "data.csv").write_text("\n".join([*lines, ""]))
    touch(root, *(f"images/{name}.jpg" for name in "abcdef"))


def test_hannover_cxr(tmp_path):
    hannover(tmp_path)
    cohort = Cohort.open(tmp_path, preset="hannover_cxr")
    assert cohort.levels == ("patient", "study")
    assert unit_keys(cohort.items, cohort.levels, "study").tolist() == [
        "p1/0",
        "p1/-2",
        "p2/0",
        "p2/0",
        "p2/-5",
        "p3/-1",
    ]
    assert units(cohort, cohort.tasks["intensive_care"])["label"].tolist() == [0, 0, 1, 1, 0, 0]
    assert units(cohort, cohort.tasks["intensive_care_ap"])["label"].tolist() == [0, 1, 1, 0]
    assert counts(cohort, "projection") == {"PA": 2, "AP": 4}
    codes = fit(cohort, "study", np.arange(6)).encode(cohort.items)
    assert codes.state[:, 1].tolist() == [KNOWN, MISSING, ASKED, ASKED, KNOWN, KNOWN]  # inf: above its range


def test_hannover_cxr_on_the_real_data(real_data):
    root = real_data / "hannover_cxr"
    if not root.is_dir():
        pytest.skip(f"no hannover_cxr in {real_data}")
    cohort = Cohort.open(root, preset="hannover_cxr")
    assert (len(cohort.items), cohort.items["group"].nunique()) == (243, 71) and not cohort.broken
    assert counts(cohort, "intensive_care") == {"no": 93, "yes": 150}
    assert counts(cohort, "intensive_care_ap") == {"no": 44, "yes": 150}
    assert counts(cohort, "projection") == {"PA": 49, "AP": 194}
    days = cohort.items.groupby("patient")["study"].nunique()
    assert int((days > 1).sum()) == 35  # patients with two days or more
    fit(cohort, "study", np.arange(243))


def frames(root, clip, numbers, suffix="jpg"):
    touch(root, *(f"{clip}/{clip.split('/')[-1]}_frame{number}.{suffix}" for number in numbers))


def test_us4_with_its_subsets(tmp_path):
    frames(tmp_path, "Butterfly_Dataset/Cov-Cardiomyopathy_mp4", [10, 9, 0])
    frames(tmp_path, "Butterfly_Dataset/Reg-a", [0, 1], "png")
    frames(tmp_path, "Liver_Fibrosis/F0_1", [3])
    frames(tmp_path, "Liver_Fibrosis/F3_1", [1, 2])
    frames(tmp_path, "COVID19_LUSMS/Ali1", [1])
    (tmp_path / "CLUST_50" / "Rb1_1").mkdir(parents=True)
    cohort = Cohort.open(tmp_path, preset="us4")
    assert len(cohort.items) == 5
    first = cohort.items.iloc[0]
    assert (first["clip"], first["subset"], first["frames"]) == ("Cov-Cardiomyopathy_mp4", "Butterfly_Dataset", "3")
    assert [name.rsplit("frame")[-1] for name in first["files"]] == ["0.jpg", "9.jpg", "10.jpg"]
    assert cohort.items["group"].is_unique
    assert any("'CLUST_50/Rb1_1'" in notice and "left out" in notice for notice in cohort.notices)
    assert sorted(cohort.tasks) == ["butterfly", "joint", "liver"]
    assert counts(cohort, "butterfly") == {"Reg": 1, "Cov": 1}
    assert counts(cohort, "liver") == {"F0": 1, "F3": 1}
    assert counts(cohort, "joint") == {"F0": 1, "F3": 1, "healthy lung": 2, "affected lung": 1}
    assert any("Task 'lusms' is left out" in notice for notice in cohort.notices)


def test_us4_with_one_subset_as_root(tmp_path):
    frames(tmp_path, "Cov-a", [0])
    frames(tmp_path, "Reg-b", [0, 1])
    cohort = Cohort.open(tmp_path, preset="us4")
    assert cohort.items["clip"].tolist() == ["Cov-a", "Reg-b"]
    assert cohort.items["subset"].tolist() == ["", ""] if "subset" in cohort.items else True
    assert counts(cohort, "butterfly") == {"Reg": 1, "Cov": 1}


def test_all_twelve_joint_classes(tmp_path):
    names = ["Rb1x", "Rb2x", "Rb3x", "Rb4x", "Rb5x", "F0_x", "F1_x", "F2_x", "F3_x", "F4_x"]
    for name in [*names, "Regx", "Alix", "Covx", "Blix", "Plex", "Othx"]:
        frames(tmp_path, name, [0])
    cohort = Cohort.open(tmp_path, preset="us4")
    assert len(cohort.tasks["joint"].classes) == 12
    table = units(cohort, cohort.tasks["joint"])
    codes = {unit[:3]: code for unit, code in zip(table["unit"], table["label"], strict=True)}
    assert [codes[name[:3]] for name in names] == list(range(10))
    assert [codes[name] for name in ("Reg", "Ali", "Cov", "Bli", "Ple", "Oth")] == [10, 10, 11, 11, 11, 11]


def test_a_preset_says_that_it_goes_before_the_cohort_file(tmp_path):
    frames(tmp_path, "Cov-a", [0])
    (tmp_path / "cohort.toml").write_text("nonsense")
    assert "cohort.toml is not used" in Cohort.open(tmp_path, preset="us4").notices[0]


def test_udiat_b_has_grey_edges(tmp_path):
    for folder in ("original", "GT"):
        (tmp_path / folder).mkdir()
    drawn = np.zeros((20, 30), np.uint8)
    drawn[5:9, 10:20], drawn[9, 10:20], drawn[10, 10:20] = 255, 140, 90
    Image.fromarray(np.full((20, 30), 80, np.uint8)).save(tmp_path / "original" / "000001.png")
    Image.fromarray(drawn).save(tmp_path / "GT" / "000001.png")
    cohort = Cohort.open(tmp_path, preset="udiat_b")
    mask = annotations_of(cohort, "lesion_mask").masks(0, shape=Shape(1, 20, 30))
    assert mask.sum() == 50 and cohort.items["group"].is_unique


def test_busi(tmp_path):
    touch(tmp_path, "benign/benign (1).png", "benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png")
    touch(tmp_path, "benign/benign (10).png", "benign/benign (10)_mask.png", "malignant/malignant (1).png")
    touch(tmp_path, "normal/normal (1).png", "normal/normal (1)_mask.png", "normal/normal (2)_mask.png")
    cohort = Cohort.open(tmp_path, preset="busi")
    masks = dict(zip(cohort.items["image"], cohort.items["masks"], strict=True))
    assert masks == {
        "benign (1)": ("benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"),
        "benign (10)": ("benign/benign (10)_mask.png",),
        "malignant (1)": (),
        "normal (1)": ("normal/normal (1)_mask.png",),
    }
    assert cohort.items["group"].is_unique
    assert counts(cohort, "diagnosis") == {"benign": 2, "malignant": 1, "normal": 1}
    assert counts(cohort, "malignant") == {"negative": 3, "malignant": 1}
    assert any("normal (2)_mask.png" in notice for notice in cohort.notices)
