"""A study folder with two tasks, five encoders and four label counts, with numbers from a fixed formula."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

ENCODERS = {
    "random initialisation": "ResNet-18, weights drawn at random, frozen",
    "from scratch": "ResNet-18 trained on the labels only, equal budget",
    "SimCLR": "two augmented views of one frame",
    "Meta-USCL, uniform": "interpolated frames, all pairs weigh the same",
    "Meta-USCL": "interpolated frames, weights learned by the meta net",
    "given weights": "no weights given",
}
START = {
    "random initialisation": 0.58,
    "from scratch": 0.56,
    "SimCLR": 0.66,
    "Meta-USCL, uniform": 0.70,
    "Meta-USCL": 0.76,
}
SLOPE = {
    "random initialisation": 0.035,
    "from scratch": 0.085,
    "SimCLR": 0.055,
    "Meta-USCL, uniform": 0.05,
    "Meta-USCL": 0.042,
}
COUNTS = (8, 16, 32, 94)


def result(encoder: str, task: str, labels: int, metric: str, value: float, groups: int) -> dict[str, object]:
    half = 0.11 / math.sqrt(labels / 8) + 0.03
    few = groups < 10
    return {
        "encoder": encoder,
        "task": task,
        "protocol": "finetune" if encoder == "from scratch" else "linear",
        "labels": labels,
        "all_labels": labels == COUNTS[-1],
        "metric": metric,
        "value": value,
        "low": math.nan if few else max(0.0, value - half),
        "high": math.nan if few else min(1.0, value + 0.8 * half),
        "interval": "none" if few else "t",
        "groups": groups,
        "units": 113,
        "few_groups": groups < 20,
        "seeds": 3,
        "seed_sd": 0.013,
        "selected_on": "validation",
        "transductive": task == "sources",
        "split_hash": "5f3a9c0e77b1d2aa",
        "data_hash": "0123456789abcdef",
        "encoder_hash": f"{abs(hash_of(encoder)):016x}",
        "command": f'sidelight evaluate "runs/{encoder}" --data DATA --task {task}',
        "seconds": 12.5 * labels,
    }


def hash_of(text: str) -> int:
    return sum(ord(letter) * 31**i for i, letter in enumerate(text)) % 2**60


def results(groups: int = 18) -> pd.DataFrame:
    rows = []
    for t, task in enumerate(("bacterial", "sources")):
        for encoder in START:
            for i, labels in enumerate(COUNTS):
                auroc = min(0.97, START[encoder] + SLOPE[encoder] * i * (1 + 0.4 * (i == 3)) - 0.05 * t)
                for metric, value in {"auroc": auroc, "accuracy": auroc - 0.06, "recall:regular": auroc - 0.1}.items():
                    rows.append(result(encoder, task, labels, metric, value, groups))
    return pd.DataFrame(rows)


def differences(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    values = table[table["metric"] == "auroc"].set_index(["task", "encoder", "labels"])["value"]
    for task in ("bacterial", "sources"):
        for a, rival in enumerate(START):
            for encoder in list(START)[a + 1 :]:
                for labels in COUNTS:
                    gap = values[task, encoder, labels] - values[task, rival, labels]
                    p = 0.002 if gap > 0.12 else 0.04 if gap > 0.08 else 0.3
                    rows.append(
                        {
                            "task": task,
                            "protocol": "linear",
                            "labels": labels,
                            "metric": "auroc",
                            "encoder": encoder,
                            "rival": rival,
                            "difference": gap,
                            "low": gap - 0.07,
                            "high": gap + 0.08,
                            "p": p,
                            "p_holm": min(1, 4 * p),
                            "groups": 18,
                        }
                    )
    return pd.DataFrame(rows)


def efficiency() -> pd.DataFrame:
    rows = [
        ("bacterial", "random initialisation", 8, math.inf, 6.1, math.inf),
        ("bacterial", "Meta-USCL, uniform", 8, 2.4, 1.3, math.inf),
        ("sources", "random initialisation", 8, math.inf, 3.0, math.inf),
        ("sources", "Meta-USCL, uniform", 8, 2.2, 0.8, 5.2),
    ]
    names = ["task", "rival", "labels", "factor", "low", "high"]
    return pd.DataFrame(rows, columns=names).assign(protocol="linear", metric="auroc", encoder="Meta-USCL")


def study() -> dict[str, object]:
    return {
        "title": "Lung ultrasound: what do unlabelled clips save?",
        "size": "cpu",
        "question": "Can an encoder that learned from unlabelled clips do with fewer labelled ones?",
        "cells": {"done": 40, "total": 40},
        "tasks": {
            "bacterial": {"title": "Bacterial pneumonia against regular, inside one source", "unit": "clip"},
            "sources": {"title": "Three classes over all sources", "unit": "clip"},
        },
        "encoders": ENCODERS,
        "notes": ["Stills count as clips of one frame.", "Viral pneumonia is left out: too few recordings."],
        "warnings": ["Source and label are confounded: a clip's source predicts its class by itself."],
        "published": [
            {
                "table": "Meta-USCL, POCUS, accuracy in %",
                "columns": ["encoder", "ShuffleNetV2", "ResNet-18"],
                "rows": [["fine-tuned last block + head", 87.3, 90.9], ["fine-tuned all", 90.3, 94.6]],
                "note": "selected on the test fold, their split",
            }
        ],
        "runs": {"SimCLR": "runs/simclr", "Meta-USCL": "runs/meta_uscl", "gone": "runs/gone"},
    }


def clip(rng: np.random.Generator, frames: int, side: int = 48) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] / side
    images = []
    for i in range(frames):
        tissue = 0.5 + 0.5 * np.sin(18 * np.hypot(x - 0.5, y + 0.3) + 0.3 * i)
        fan = (np.abs(x - 0.5) < 0.1 + 0.45 * y) & (np.hypot(x - 0.5, y) < 0.97)
        images.append(tissue * rng.rayleigh(0.55, (side, side)) * fan)
    return (255 * np.clip(np.stack(images), 0, 1)).astype(np.uint8)[:, None]


def write_run(folder: Path, method: str, *, pictures: bool = True, epochs: int = 20) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for epoch in range(epochs):
        for step in range(epoch * 5, epoch * 5 + 5):
            loss = 3.4 * math.exp(-epoch / 9) + 0.6 + 0.08 * rng.normal()
            lines.append(
                {
                    "kind": "step",
                    "step": step + 1,
                    "epoch": epoch,
                    "loss": loss,
                    "lr": 1e-3 * (1 + math.cos(math.pi * step / 100)) / 2,
                    "grad_norm": 1.0,
                    "images_per_second": 410 + 12 * rng.normal(),
                    "data_wait": 0.02 + 0.01 * rng.random(),
                }
            )
        lines.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": epoch * 5 + 5,
                "valid_loss": 3.5 * math.exp(-epoch / 10) + 0.8,
                "effective_rank": 4 + 20 * (1 - math.exp(-epoch / 6)),
                "embedding_std": 0.3,
                "knn": 0.55 + 0.012 * epoch,
            }
        )
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"kind": "step", "ste'
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    config = {
        "method": method,
        "settings": {
            "encoder": "resnet18",
            "image_size": 64,
            "epochs": epochs,
            "profile": "default",
            "lr": 1e-3,
            "weights": "meta" if "meta" in method else "uniform",
        },
        "data": {"name": "covid19_ultrasound", "hash": "0123456789abcdef"},
        "split_hash": "5f3a9c0e77b1d2aa",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "quarantine.csv").write_text(
        "item,reason\na1,truncated: ends early\nb2,truncated: no frames\nc3,constant\n", encoding="utf-8"
    )
    (folder / "done.json").write_text("{}", encoding="utf-8")
    similarity = rng.uniform(0.2, 0.98, 14)
    store_arrays(folder / "weights.safetensors", weight=np.r_[rng.beta(8, 3, 300), rng.beta(2, 7, 60)])
    if pictures:
        frames = clip(rng, 14)
        store_arrays(
            folder / "examples.safetensors",
            left=frames,
            right=clip(rng, 14),
            similarity=similarity,
            weight=similarity**2,
            gap=np.arange(14.0),
        )
        store_arrays(
            folder / "strip.safetensors",
            frames=clip(rng, 10),
            similarity=np.linspace(1, 0.3, 10),
            weight=np.linspace(1, 0.1, 10),
        )
    return folder


def store_arrays(path: Path, **arrays: object) -> None:
    """Pictures as they are and numbers as float32, as methods write them."""
    tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    save_file({name: array if array.ndim == 4 else array.astype(np.float32) for name, array in tensors.items()}, path)


@pytest.fixture
def store():
    return store_arrays


def write_study(folder: Path, *, groups: int = 18, runs: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = results(groups)
    table.to_parquet(folder / "results.parquet")
    differences(table).to_parquet(folder / "differences.parquet")
    efficiency().to_parquet(folder / "efficiency.parquet")
    matrices = [
        {
            "encoder": encoder,
            "task": "bacterial",
            "protocol": "linear",
            "labels": 94,
            "classes": ["regular", "bacterial"],
            "matrix": matrix,
        }
        for encoder, matrix in {"SimCLR": [[50, 12], [14, 37]], "Meta-USCL": [[54, 8], [9, 42]]}.items()
    ]
    (folder / "confusion.json").write_text(json.dumps(matrices), encoding="utf-8")
    (folder / "study.json").write_text(json.dumps(study()), encoding="utf-8")
    for method in ("simclr", "meta_uscl") if runs else ():
        write_run(folder / "runs" / method, method)
    return folder


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole fake study; tests that change it take a copy."""
    return write_study(tmp_path_factory.mktemp("report") / "study")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "run", "meta_uscl")


@pytest.fixture
def fake() -> SimpleNamespace:
    """The writers, for tests that need a study or a run of their own."""
    return SimpleNamespace(study=write_study, run=write_run, about=study)
