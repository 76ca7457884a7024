"""Every version reads the files of all earlier ones: one of each format is kept in `data`.

They are of sixty invented ratings, `data/ratings.csv`. A new format adds its file; none is
ever written again.
"""

from pathlib import Path

import numpy as np
import pytest

import warpfactor as wf

DATA = Path(__file__).parent / "data"
# What the model of these files predicts, to seven digits, and recommends.
PAIRS = [("user 3", 104), ("user 5", 101)]
PREDICTED = [2.952608, 2.9924624]


def formats(kind):
    return sorted(path.name for path in DATA.glob(f"{kind}.format-*"))


def test_a_file_of_each_format_is_kept(tmp_path):
    assert formats("model")[:2] == ["model.format-1", "model.format-2"]
    assert formats("checkpoint")[:1] == ["checkpoint.format-1"]
    ratings = wf.read_ratings(DATA / "ratings.csv")
    estimator = wf.MatrixFactorization(n_factors=1, n_epochs=1, reg=0.1, verbose=0)
    path = tmp_path / "now"
    estimator.fit(ratings, checkpoint=path).save(tmp_path / "model")
    for kind, file in (("model", "model"), ("checkpoint", "now")):
        header = (tmp_path / file).read_bytes()[:2_000].decode("latin-1")
        newest = formats(kind)[-1].rpartition("-")[2]
        assert f'"format_version":"{newest}"' in header, (
            f"{DATA} lacks the newest format of a {kind}"
        )


@pytest.mark.parametrize("name", formats("model"))
def test_a_kept_model_loads(name):
    model = wf.load(DATA / name)
    np.testing.assert_allclose(model.predict(PAIRS), PREDICTED, rtol=1e-6)
    assert model.recommend("user 3", n=1)[0].tolist() == [102]  # the only item not yet seen


@pytest.mark.parametrize("name", formats("checkpoint"))
@pytest.mark.filterwarnings("ignore:training goes on:UserWarning")  # on another processor
def test_a_fit_goes_on_from_a_kept_checkpoint(name):
    estimator = wf.MatrixFactorization(
        n_factors=2, n_epochs=6, reg=0.02, reg_row=2.0, reg_implicit=2.0, init=0.1, momentum=0.5,
        random_state=7, schedule="constant", verbose=0,
    )  # fmt: skip
    ratings = wf.read_ratings(DATA / "ratings.csv")
    estimator.fit(ratings, resume=DATA / name)
    assert [record["epoch"] for record in estimator.history_] == [1, 2, 3, 4, 5, 6]
    # Another instruction set rounds otherwise: float32's 6e-8 a step, in some hundred steps of a row.
    np.testing.assert_allclose(estimator.predict(PAIRS), PREDICTED, rtol=1e-4)
