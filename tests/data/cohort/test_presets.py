import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.presets import load_preset, preset_names
from sidelight.data.cohort.units import units
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
