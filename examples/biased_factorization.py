"""Biased matrix factorization of MovieLens 100K with L2 penalties, trained by SGD and by Adam, the textbook's way.

    pip install "warpfactor[plot]"
    python examples/biased_factorization.py u1.base u1.test [--plot FILE]
    python examples/biased_factorization.py FOLDER/ml-100k/ml-100k.npz [--plot FILE]

u1.base and u1.test come with MovieLens 100K (grouplens.org/datasets/movielens/100k): user, item, rating, timestamp, with
tabs between. An npz file holds users, items, ratings and `fold`, whose fold 1 is the test. The prediction is
r̂ = μ + b_u + b_i + p_u · q_i with rank 30; the RMSE on the test ratings is printed after each epoch, and plotted.
"""

import argparse

import matplotlib
import numpy as np

import warpfactor as wf

matplotlib.use("Agg")  # a file is all that is wanted
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("files", nargs="+", help="training and test ratings, or one npz file")
parser.add_argument("--plot", default="biased_factorization.png", help="where to draw the curves")
options = parser.parse_args()

if len(options.files) == 2:
    train, test = (wf.read_ratings(file) for file in options.files)
else:
    with np.load(options.files[0]) as arrays:
        pairs = np.column_stack([arrays["users"], arrays["items"]])
        values, held_out = arrays["ratings"], arrays["fold"] == 1
    train = wf.Ratings.from_arrays(*pairs[~held_out].T, values[~held_out])
    test = wf.Ratings.from_arrays(*pairs[held_out].T, values[held_out])

common = {"n_factors": 30, "n_epochs": 20, "random_state": 0, "verbose": 0, "early_stopping": False}
# The textbook's objective: penalties count once per rating, and nothing is told by who rated what.
common |= {"reg": 0.04, "reg_bias": 0.05, "reg_row": 0, "reg_bias_row": 0, "init": 0.01}
common["implicit_feedback"] = "none"
models = {
    "SGD": wf.MatrixFactorization(optimizer="sgd", **common),
    "Adam": wf.MatrixFactorization(optimizer="adam", batch_size=256, **common),
}
curves = {}
for name, model in models.items():
    model.fit(train, validation=test)
    curves[name] = [epoch["valid_rmse"] for epoch in model.history_]

print("test RMSE", *(f"{name:>8}" for name in curves))
for epoch, errors in enumerate(zip(*curves.values(), strict=True), start=1):
    print(f"epoch {epoch:3}", *(f"{error:8.4f}" for error in errors))

figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for name, errors in curves.items():
    axes.plot(range(1, len(errors) + 1), errors, marker="o", markersize=3, label=name)
axes.set(xlabel="epoch", ylabel="RMSE on the test ratings", title="MovieLens 100K, rank 30")
axes.xaxis.get_major_locator().set_params(integer=True)
axes.grid(alpha=0.3)
axes.legend()
figure.savefig(options.plot, dpi=150)
print(f"both curves are in {options.plot}")
