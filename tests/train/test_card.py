import pandas as pd

from sidelight.train.card import run_card

CONFIG = {
    "method": "simclr",
    "settings": {"encoder": "resnet18", "epochs": 60, "steps": 20, "lr": 0.001, "initial": None, "profile": "paper"},
    "data": {"name": "busi", "hash": "d" * 16},
    "split_hash": "5" * 16,
    "not_from_paper": ["seed"],
}
SUMMARY = {"steps": 20, "keep": "last", "weights": "w" * 64}
EPOCHS = pd.DataFrame(
    [
        {"kind": "step", "loss": 3.0},
        {"kind": "epoch", "valid_loss": 2.5, "effective_rank": 1.25, "puzzle_accuracy": 0.25, "collapsed": False},
        {"kind": "epoch", "valid_loss": None, "effective_rank": 7.0, "collapsed": True},
    ]
)
COUNTS = {"Training": {"items": 1200, "patients": 40, "frames": 9000}, "Beside": {"items": 0, "patients": 0}}


def test_a_card_says_what_was_trained_on_what_and_how_it_went():
    card = run_card(CONFIG, SUMMARY, EPOCHS, COUNTS)
    for words in (
        "pre-trained by `simclr` (profile `paper`)",
        "encoder resnet18, steps 20, lr 0.001;",
        "Not from the paper: seed",
        "Training: 1,200 items, 40 patients, 9,000 frames",
        "busi (data `dddddddddddddddd`)",
        "Split `5555555555555555`",
        "Validation loss: 2.5 after the first epoch, 2.5 at the end",
        "Effective rank of the embeddings: 1.25 after the first epoch, 7 at the end",
        "Share of puzzles that are solved, of patients kept for validation: 0.25 after the first epoch",
        "Its embeddings collapsed",
        "Research use only",
        "the licence of those data",
    ):
        assert words in card, words
    assert "Beside" not in card and "epochs 60" not in card and "negative control" not in card


def test_a_method_says_which_of_its_settings_tell():
    config = {**CONFIG, "settings": {**CONFIG["settings"], "ema": 0.99, "temperature": 0.2}}
    assert "lr 0.001, ema 0.99;" in run_card(config, SUMMARY, EPOCHS, COUNTS, ["ema", "unknown"])


def test_a_negative_control_and_a_run_without_readings_say_so():
    settings = {**CONFIG["settings"], "shuffle_pairs": True}
    card = run_card({**CONFIG, "settings": settings}, SUMMARY, pd.DataFrame([{"kind": "start"}]), COUNTS)
    assert "broken on purpose" in card
    assert "Nothing was measured" in card
