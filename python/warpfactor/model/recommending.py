"""What models and fitted estimators recommend: lists, scores, neighbours and reasons."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_count
from ..data.ratings import Ratings
from ..parameters import N_LISTED
from ..seeds import RandomState
from ..serving.answers import Answers
from ..serving.bounds import check_moves
from ..serving.explaining import Explanation, attribution
from ..serving.frames import check_frame, list_frame
from ..serving.lookup import find_ids, known_rows, reject_unknown_ids
from ..serving.requests import list_request
from ..serving.tables import Options

__all__ = ["ItemVectors", "Recommending", "check_output"]

_OUTPUTS = ("numpy", "cupy")
_Lists = tuple[NDArray[Any], NDArray[Any]]


class ItemVectors(NamedTuple):
    """Items for an index of maximum inner products; see `Recommending.export_items`."""

    ids: NDArray[Any]
    vectors: NDArray[np.float32]


class Recommending:
    """The lists, scores and neighbours of a fitted model.

    Whoever inherits says by `_served` with what arrays and how it answers.
    """

    def _served(self) -> tuple[Answers, Options]:
        raise NotImplementedError

    def _served_to_visitor(self, ratings: Any, output: str) -> tuple[Answers, Options]:
        """Of one user, 0, who gave these ratings."""
        raise NotImplementedError

    @overload
    def recommend(
        self,
        users: Any = None,
        n: Any = N_LISTED,
        *,
        ratings: Any = None,
        exclude_seen: bool = True,
        items: Any = None,
        exclude: Any = None,
        min_ratings: int = 0,
        confidence: float = 0.0,
        exploration: float = 0.0,
        random_state: RandomState = None,
        diversity: float = 0.0,
        group: Literal["mean", "min", "max"] | None = None,
        as_frame: Literal[False] = False,
        titles: None = None,
        output: str = "numpy",
    ) -> _Lists: ...
    @overload
    def recommend(
        self,
        users: Any = None,
        n: Any = N_LISTED,
        *,
        ratings: Any = None,
        exclude_seen: bool = True,
        items: Any = None,
        exclude: Any = None,
        min_ratings: int = 0,
        confidence: float = 0.0,
        exploration: float = 0.0,
        random_state: RandomState = None,
        diversity: float = 0.0,
        group: Literal["mean", "min", "max"] | None = None,
        as_frame: bool | str,
        titles: Any = None,
        output: str = "numpy",
    ) -> Any: ...
    def recommend(
        self,
        users: Any = None,
        n: Any = N_LISTED,
        *,
        ratings: Any = None,
        exclude_seen: bool = True,
        items: Any = None,
        exclude: Any = None,
        min_ratings: int = 0,
        confidence: float = 0.0,
        exploration: float = 0.0,
        random_state: RandomState = None,
        diversity: float = 0.0,
        group: str | None = None,
        as_frame: bool | str = False,
        titles: Any = None,
        output: str = "numpy",
    ) -> Any:
        """Return each user's items of the highest predicted rating.

        Parameters
        ----------
        users : id or array-like of ids, shape (n_users,)
            Whom to recommend to. With ``unknown="mean"``, users without training ratings get the
            items of the highest biases. With a `group`: the ids of one group, or a list of such lists.
        n : int or array-like of int, shape (n_users,), default 10
            How many items a user gets, or each user.
        ratings : {item: rating}, (items, values) or Ratings of one user; default None
            In the place of `users`: what a visitor rated whom the model does not know. Their row is
            folded in as `fold_in_users` does, for this call alone. Items that the model does not know
            are left out, with a warning. In a table the visitor is user 0.
        exclude_seen : bool, default True
            Whether to leave out the items that the user rated in training. Items without any
            training rating are always left out.
        items : array-like, default None
            From which items to choose: ids or a mask of the model's items (bool, in the order of
            ``item_ids_``) for all users, or a list of ids for each user, or a mask of shape
            (n_users, n_items). None: from all. Ids that the model does not know are passed over, or
            with ``unknown="raise"`` an error.
        exclude : array-like, default None
            What to leave out, in the same forms. Ids that the model does not know are passed over.
        min_ratings : int, default 0
            Leave out items with fewer training ratings.
        confidence : float, default 0.0
            By how many standard deviations z, up to 1,000,000, scores are lowered: items are ranked by a lower
            confidence bound x - z s_ui, where s_ui says what few ratings leave unknown of item i for
            user u. 0: by the prediction. 1 or 2 keep out what looks good by chance; 10 to 20 also
            favour what many have rated, as lists of the most popular do.
        exploration : float, default 0.0
            The opposite: by how many of the same deviations scores are raised, as bandits do to learn
            more (the upper confidence bound). Only one of the two can be above 0.
        random_state : int, RandomState, Generator or None, default None
            With an `exploration` z: rank by draws from the normal distributions of mean x and
            deviation z s_ui in place of the bounds (Thompson sampling with z = 1). An int gives each
            user and item the same draw again.
        diversity : float, default 0.0
            From 0 to 1. Above 0, a list is chosen by maximal marginal relevance among the 10 n best
            items: first the best one, then again and again the item of the largest
            (1 - d) rel(i) - d max_j cos(q_i, q_j) over the items j chosen before. rel(i) is the score,
            scaled to run from 0 to 1 over those 10 n. Scores stay those of the items.
        group : {"mean", "min", "max"} or None, default None
            One list for several users together: an item's score is the mean of what they are
            predicted to give it, the least of it (least misery) or the most. What any of them rated
            is left out. Users without training ratings do not count where others in the group have some.
        as_frame : {False, True, "pandas", "polars", "arrow"}, default False
            Whether to return a table with the columns user (or group, their number), rank, item and
            score, without empty rows; True: of pandas.
        titles : path, table, dict or Titles, default None
            Adds the column title: see `warpfactor.read_titles`.
        output : {"numpy", "cupy"}, default "numpy"
            What to return; "cupy" needs a CUDA `device` and item ids that are integers.

        Returns
        -------
        ids : ndarray of shape (n_users, n), or (n,) for a single id or group
            Item ids, best first, ties by lower id. n is cut to the number of items.
        scores : ndarray of the same shape
            Their predicted ratings, or what the bounds or draws predict. Where a user has fewer than
            n items left, the rest of the row has the score NaN and the id -1 (0 if unsigned, None if
            ids are no integers).

        Raises
        ------
        ValueError
            If a user has no training ratings and `unknown` is not "mean", both or neither of `users` and
            `ratings` are given, `ratings` cannot be folded in, an argument is out of its
            range or does not fit the others, or `confidence` or `exploration` are above 0 without any
            `history_`.
        CudaError
            If `device` asks for a CUDA device that cannot be used; the text says why.

        Notes
        -----
        s_ui² = B_i + L_u F_i is the variance of b_i + p · q_i that the ratings of item i leave, for factors p
        of the user of the length that is expected by the user's ratings: B_i = 1/(n_i/v + 1/t_b),
        F_i = 1/(n_i P/(k v) + 1/t_q), L_u = ‖p_u‖² + k/(n_u Q/(k v) + 1/t_p). n_i, n_u: ratings of item and
        user; v: the squared training RMSE; k: `n_factors`; P, Q: the means of ‖p_u‖² and ‖q_i‖²; t_b, t_q,
        t_p: the variances of item biases, item factors and user factors, by empirical Bayes.
        :doc:`/explanations/accuracy` has the derivation. See Li et al., "A contextual-bandit approach
        to personalized news article recommendation", WWW 2010, for such bounds, and Carbonell and
        Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998, for the diversity.
        """
        kind = check_frame(as_frame, titles, check_output(output))
        if (users is None) == (ratings is None):
            given = "neither users nor" if users is None else "both users and"
            raise ValueError(
                f"{given} ratings are given; give ids of users, or ratings of a visitor"
            )
        if ratings is not None and group is not None:
            raise ValueError(
                f"group is {group!r:.80}, and the ratings of a visitor make no group: leave group out, or give "
                "users, lists of ids"
            )
        if ratings is None:
            answers, options = self._served()
        else:
            answers, options = self._served_to_visitor(ratings, output)
            users = 0
        single, members, request = list_request(
            answers.tables,
            answers.evidence,
            users,
            n,
            unknown=options.unknown,
            exclude_seen=exclude_seen,
            items=items,
            exclude=exclude,
            min_ratings=min_ratings,
            moves=check_moves(confidence, exploration, random_state),
            diversity=diversity,
            group=group,
        )
        ids, scores = answers.recommend(members, single, request, options, output)
        if not kind:
            return ids, scores
        if request.groups is None:
            queries = "user", _rows_of(answers.tables.user_ids, members)
        else:
            queries = "group", np.arange(len(request.groups) - 1)
        ids, scores = np.atleast_2d(ids), np.atleast_2d(scores)
        return list_frame(
            kind, queries, "item", ids, "score", scores, titles, answers.tables.item_ids
        )

    def score_items(self, users: Any, items: Any = None, *, output: str = "numpy") -> NDArray[Any]:
        """Predict the rating of each user for each item.

        Parameters
        ----------
        users : id or array-like of ids, shape (n_users,)
            The rows.
        items : id or array-like of ids, shape (n_items,), default None
            The columns. None: all, in the order of ``item_ids_``.
        output : {"numpy", "cupy"}, default "numpy"
            As in `recommend`.

        Returns
        -------
        ndarray of shape (n_users, n_items), dtype of the factors
            The predictions, those of `recommend` to the bit and those of `predict` within rounding;
            without the axis of a single id. Users and items without training ratings follow `unknown`.

        Raises
        ------
        ValueError
            As `predict`.
        CudaError
            If `device` asks for a CUDA device that cannot be used; the text says why.
        """
        answers, options = self._served()
        return answers.score_items(users, items, options, check_output(output))

    def similar_items(
        self,
        items: Any,
        n: int = N_LISTED,
        *,
        as_frame: bool | str = False,
        titles: Any = None,
        output: str = "numpy",
    ) -> Any:
        """Return the items whose factors point most nearly the same way.

        Parameters
        ----------
        items : id or array-like of ids, shape (n_items,)
            The items to compare with; each is left out of its own row.
        n : int, default 10
            How many similar items each gets.
        as_frame, titles
            As in `recommend`; the columns are item, rank, similar_item, similarity (and title).
        output : {"numpy", "cupy"}, default "numpy"
            As in `recommend`.

        Returns
        -------
        ids : ndarray of shape (n_items, n), or (n,) for a single id
            Item ids, most similar first; empty slots as in `recommend`.
        scores : ndarray of the same shape
            Cosine of the angle between the two items' factors, from -1 to 1.

        Raises
        ------
        ValueError
            If an item has no training ratings, or `output` cannot be "cupy".
        CudaError
            If `device` asks for a CUDA device that cannot be used; the text says why.
        """
        return self._similar("item", items, n, as_frame, titles, output)

    def similar_users(
        self, users: Any, n: int = N_LISTED, *, as_frame: bool | str = False, output: str = "numpy"
    ) -> Any:
        """Return the users whose factors point most nearly the same way; see `similar_items`.

        The columns of a table are user, rank, similar_user and similarity.
        """
        return self._similar("user", users, n, as_frame, None, output)

    def _similar(
        self, side: str, given: Any, n: int, as_frame: Any, titles: Any, output: str
    ) -> Any:
        answers, options = self._served()
        kind = check_frame(as_frame, titles, check_output(output))
        vocabulary = getattr(answers.tables, f"{side}_ids")
        n = min(check_count("n", n, 1), len(vocabulary))
        if hasattr(given, "__next__"):
            given = list(given)
        ids, scores = answers.similar(side, given, n, options, output)
        if not kind:
            return ids, scores
        queries = side, _rows_of(vocabulary, given)
        found = np.atleast_2d(ids), np.atleast_2d(scores)
        return list_frame(
            kind, queries, f"similar_{side}", found[0], "similarity", found[1], titles, vocabulary
        )

    def explain(
        self, user: Any, item: Any, n: int | None = N_LISTED, *, ratings: Ratings | None = None
    ) -> Explanation:
        """Say which of a user's rated items speak for an item, by their shares of the score.

        Parameters
        ----------
        user, item : id
            Whose score. Both must have training ratings.
        n : int or None, default 10
            How many rated items to list. None: all.
        ratings : Ratings, default None
            Ratings in which the user's are found. None: the items that the user rated in training, and
            what the model makes of them, as it does not keep the ratings.

        Returns
        -------
        Explanation
            The score's parts, which sum to it.

        Raises
        ------
        ValueError
            If the user or the item has no training ratings, the user has none in `ratings`, or
            `ratings` are given to a model of labels; or if the model has no `history_`.

        Notes
        -----
        Given the item factors, a user's factors by ridge regression are linear in what the user gave
        the rated items j: p_u = A⁻¹ Σ_j q_j y_j with A = Σ_j q_j q_jᵀ + λ I and
        y_j = r_uj - μ - b_u - b_j. So p_u · q_i = Σ_j (q_iᵀ A⁻¹ q_j) y_j, and the term of j is its share
        (Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008,
        explain so). λ = v/t_p, of the `Notes` of `recommend`, is that of a Bayesian who knows how much
        user factors vary. With `ratings`, y_j is this; `rest` is then how far the trained p_u, which has
        a prior mean of its own, is from ridge regression. Without, y_j is p_u · q_j, what the model makes
        of it: then p_u = A⁻¹ (Σ_j q_j (q_j · p_u) + λ p_u) whatever trained it, so that shares and
        ``rest`` = λ q_iᵀ A⁻¹ p_u sum to p_u · q_i exactly. On labels the score is the logit.
        """
        if ratings is not None and not isinstance(ratings, Ratings):
            raise ValueError(
                f"ratings is {type(ratings).__name__}; it must be Ratings: make it with Ratings.from_any"
            )
        answers, options = self._served()
        tables = answers.tables
        (at_user, at_item) = (
            self._known_row(side, given) for side, given in (("user", user), ("item", item))
        )
        unknown = answers.uncertainty()
        mean, user_bias, item_bias = (
            float(each)
            for each in (
                tables.global_mean,
                tables.user_biases[at_user],
                tables.item_biases[at_item],
            )
        )
        if ratings is None:
            indptr, seen = tables.seen.lists()
            rated, residuals = seen[indptr[at_user] : indptr[at_user + 1]], None
        else:
            if tables.link != "identity":
                raise ValueError(
                    "ratings are given, and this model predicts labels, whose scores are logits: leave "
                    "ratings out"
                )
            rated, values = self._rated(ratings, user)
            residuals = values - mean - user_bias - tables.item_biases[rated]
        count = len(rated) if n is None else check_count("n", n, 1)
        found = attribution(
            tables, unknown, answers.evidence.n_members, at_user, at_item, rated, residuals, count
        )
        # On the host, whatever the device: it is one pair.
        here = options._replace(device="cpu", unknown="mean")
        return Explanation(
            user=tables.user_ids[at_user],
            item=tables.item_ids[at_item],
            prediction=float(answers.score_items(user, item, here, "numpy")),
            score=mean + user_bias + item_bias + found.product,
            mean=mean,
            user_bias=user_bias,
            item_bias=item_bias,
            items=found.items,
            shares=found.shares,
            others=found.others,
            rest=found.product - float(found.shares.sum()) - found.others,
        )

    def _known_row(self, side: str, given: Any) -> int:
        tables = self._served()[0].tables
        single, codes = find_ids(getattr(tables, f"{side}_ids"), given, side)
        if not single:
            raise ValueError(f"{side} is {given!r:.80}; it must be one id")
        codes = known_rows(np, codes, getattr(tables, f"{side}_known"))
        if codes[0] < 0:
            reject_unknown_ids(side, given, True, codes, tables)
        return int(codes[0])

    def _rated(self, ratings: Ratings, user: Any) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the known items that a user rated in these ratings, and the ratings."""
        tables = self._served()[0].tables
        _, codes = find_ids(ratings.user_ids, user, "user")
        theirs = ratings.users == codes[0]
        if not theirs.any():
            raise ValueError(f"ratings has none of user {user!r}: give those that the user gave")
        rows = ratings.take(theirs)
        _, at = find_ids(tables.item_ids, ratings.item_ids, "ratings")
        items = known_rows(np, at[rows.items], tables.item_known)
        return items[items >= 0], rows.values[items >= 0].astype(np.float64)

    def export_items(self) -> ItemVectors:
        """Return the items as vectors for an index that searches by inner product.

        Returns
        -------
        ids : ndarray of shape (n_known_items,)
            The items with training ratings.
        vectors : ndarray of shape (n_known_items, k + 1), float32, C-contiguous
            (q_i, b_i). Their inner products with (p_u, 1), which `export_users` returns, rank items as
            `recommend` does: only μ + b_u is missing, which all items of a user share.

        Notes
        -----
        Use an index of inner products (``metric="ip"`` in usearch, ``METRIC_INNER_PRODUCT`` in faiss).
        A reduction to Euclidean distances finds few of the best items, because factors differ much in
        length; :doc:`/how-to/recommending` has recipes, and what was measured.
        """
        tables = self._served()[0].tables
        known = tables.item_known
        return ItemVectors(
            tables.item_ids[known], _extended(tables.item_factors[known], tables.item_biases[known])
        )

    def export_users(self, users: Any = None) -> NDArray[np.float32]:
        """Return users as vectors (p_u, 1) to search an index of `export_items` with.

        Parameters
        ----------
        users : id or array-like of ids, shape (n_users,), default None
            Which; None: all, in the order of ``user_ids_``. Those without training ratings have p_u = 0,
            or are an error unless ``unknown="mean"``.

        Returns
        -------
        ndarray of shape (n_users, k + 1), or (k + 1,) for a single id, float32
        """
        answers, options = self._served()
        tables = answers.tables
        given = tables.user_ids if users is None else users
        single, codes = find_ids(tables.user_ids, given, "users")
        codes = known_rows(np, codes, tables.user_known)
        if options.unknown != "mean" and (codes < 0).any():
            reject_unknown_ids("user", given, single, codes, tables)
        factors = np.where((codes >= 0)[:, None], tables.user_factors[codes], 0)
        vectors = _extended(factors, np.ones(len(codes)))
        return vectors.reshape(-1) if single else vectors


def check_output(output: Any) -> str:
    """Return an `output`; raise ValueError if it is no such."""
    return check_choice("output", output, _OUTPUTS)


def _rows_of(ids: NDArray[Any], given: Any) -> NDArray[Any]:
    """Return the ids of queries as an array of the vocabulary's type, as far as it knows them."""
    single, codes = find_ids(ids, given, "ids")
    known = codes >= 0
    if known.all():
        found: NDArray[Any] = ids[codes]
        return found
    values = np.empty(len(codes), object)
    values[:] = [given] if single else list(given)
    return values.astype(ids.dtype)


def _extended(factors: NDArray[Any], last: NDArray[Any]) -> NDArray[np.float32]:
    vectors = np.empty((len(factors), factors.shape[1] + 1), np.float32)
    vectors[:, :-1], vectors[:, -1] = factors, last
    return vectors
