"""Train a recommender by mini-batches of (user, item, rating), then score every item for one user.

    python examples/recommender.py [RATINGS] [--user ID] [--batch-size N]

RATINGS is any file that warpfactor.read_ratings takes, for example MovieLens' ratings.csv or u.data; without it, ratings
are generated. Each step of the training takes a batch of ratings together; the average loss of each epoch is printed as
it ends. The user is the first one, unless an id is given.
"""

import argparse

import numpy as np

import warpfactor as wf

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("ratings", nargs="?", help="a file of ratings; default: generated ones")
parser.add_argument("--user", help="whom to score the items for; default: the first user")
parser.add_argument("--batch-size", type=int, default=256, help="ratings of a step; default 256")
options = parser.parse_args()

if options.ratings is None:
    ratings = wf.datasets.make_ratings(500, 200, 20_000, random_state=0).ratings
else:
    ratings = wf.read_ratings(options.ratings)

model = wf.MatrixFactorization(
    n_factors=32,
    batch_size=options.batch_size,
    random_state=0,
    verbose=0,
    callbacks=[lambda e: print(f"epoch {e['epoch']:2}: average loss {e['train_loss']:.4f}")],
)
model.fit(ratings)

user = model.user_ids_[0]
if options.user is not None:
    user = model.user_ids_.dtype.type(options.user)
everything = wf.Ratings.from_arrays(
    np.full(len(model.item_ids_), user), model.item_ids_, np.zeros(len(model.item_ids_))
)
scores = model.predict(everything)
rated = set(ratings.item_ids[ratings.items[ratings.user_ids[ratings.users] == user]].tolist())

print(f"\nuser {user}: {len(scores)} items scored, best first ('rated' by the user already)")
for place in np.argsort(-scores)[:15]:
    item = model.item_ids_[place]
    print(f"{item!s:>8}  {scores[place]:.2f}{'  rated' if item in rated else ''}")
