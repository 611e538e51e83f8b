import numpy as np
import pytest
from scipy.stats import special_ortho_group
from sklearn.neighbors import KNeighborsClassifier

from sidelight.metrics import representation as ours


def _cloud(rows, columns, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns))


def test_effective_rank_by_hand():
    # centred, orthogonal columns with singular values 2 and 2: two dimensions; with 3 to 1: exp(entropy of 3/4, 1/4)
    square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert ours.effective_rank(square) == pytest.approx(2)
    assert ours.effective_rank(square * [3, 1]) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


def test_effective_rank_ignores_offset_scale_and_rotation_and_finds_collapse():
    rows = _cloud(60, 8) * np.arange(1, 9)
    rank = ours.effective_rank(rows)
    assert 1 < rank < 8
    assert ours.effective_rank(100 + 0.01 * rows) == pytest.approx(rank)
    assert ours.effective_rank(rows @ special_ortho_group.rvs(8, random_state=0)) == pytest.approx(rank)
    assert ours.effective_rank(np.tile(rows[:1], (60, 1)).astype(np.float32)) == 0
    assert ours.effective_rank(np.zeros((5, 3))) == 0
    assert ours.effective_rank(np.outer(np.arange(9.0), rows[0])) == pytest.approx(1, abs=1e-5)
    assert ours.effective_rank(_cloud(5000, 4)) == pytest.approx(4, abs=0.01)


def test_embedding_std_is_zero_when_collapsed_and_one_over_root_d_when_even():
    rows = _cloud(4000, 64)
    assert ours.embedding_std(rows) == pytest.approx(1 / 8, rel=0.01)
    assert ours.embedding_std(rows * np.arange(1, 4001)[:, None]) == pytest.approx(ours.embedding_std(rows))
    assert ours.embedding_std(np.outer(np.arange(1, 9), rows[0])) == pytest.approx(0, abs=1e-12)


def test_retrieval_of_itself_of_noise_and_of_a_collapsed_encoder():
    rows = _cloud(50, 16)
    ranks = ours.retrieval_ranks(rows, rows)
    assert (ranks == 1).all()
    assert ours.recall_at(ranks, 1) == 1
    noise = ours.retrieval_ranks(_cloud(400, 16, 1), _cloud(400, 16, 2))
    assert ours.recall_at(noise, 40) == pytest.approx(0.1, abs=0.05)
    assert ours.median_rank(noise) == pytest.approx(200, abs=40)
    collapsed = ours.retrieval_ranks(np.ones((9, 4)), np.ones((9, 4)))
    assert (collapsed == 5).all()


def test_retrieval_rank_by_hand(monkeypatch):
    left = np.array([[1.0, 0], [0, 1]])
    right = np.array([[1.0, 1], [2, 0.1]])
    for cells in (1, 100):
        monkeypatch.setattr(ours, "CHUNK_CELLS", cells)
        assert ours.retrieval_ranks(left, right).tolist() == [2, 2]


@pytest.mark.parametrize("k", [1, 5, 200])
def test_knn_equals_scikit_learn_by_cosine_and_chunks_do_not_matter(k, monkeypatch):
    train, test = _cloud(80, 6), _cloud(30, 6, 1)
    labels = np.random.default_rng(2).integers(0, 3, 80)
    peer = KNeighborsClassifier(min(k, 80), metric="cosine", algorithm="brute").fit(train, labels).predict_proba(test)
    np.testing.assert_allclose(ours.knn_scores(train, labels, test, k, 3, temperature=None), peer, atol=1e-12)
    whole = ours.knn_scores(train, labels, test, k, 4)
    assert whole.shape == (30, 4)
    np.testing.assert_allclose(whole.sum(axis=1), 1)
    assert (whole[:, 3] == 0).all()
    monkeypatch.setattr(ours, "CHUNK_CELLS", 160)
    np.testing.assert_allclose(ours.knn_scores(train, labels, test, k, 4), whole, atol=1e-12)


def test_knn_weights_are_exponential_in_the_cosine():
    train, test = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[2.0, 0]])
    scores = ours.knn_scores(train, np.array([0, 1, 1]), test, 2, 2, temperature=0.5)
    near, far = np.exp(1 / 0.5), np.exp(np.sqrt(0.5) / 0.5)
    np.testing.assert_allclose(scores, [[near / (near + far), far / (near + far)]])
    with pytest.raises(ValueError, match="k >= 1"):
        ours.knn_scores(train, np.array([0, 1, 1]), test, 0, 2)
    with pytest.raises(ValueError, match="0 rows"):
        ours.knn_scores(np.empty((0, 2)), np.empty(0, int), test, 1, 2)


def test_alignment_and_uniformity_by_hand(monkeypatch):
    axes = np.array([[1.0, 0], [0, 3]])
    assert ours.alignment(axes, axes * 5) == pytest.approx(0)
    assert ours.alignment(axes, -axes) == pytest.approx(4)
    assert ours.uniformity(axes) == pytest.approx(-4)  # one pair at squared distance 2, t = 2
    assert ours.uniformity(np.ones((7, 3))) == pytest.approx(0)
    assert np.isnan(ours.uniformity(axes[:1]))
    rows = _cloud(40, 5)
    whole = ours.uniformity(rows)
    monkeypatch.setattr(ours, "CHUNK_CELLS", 100)
    assert ours.uniformity(rows) == pytest.approx(whole)
