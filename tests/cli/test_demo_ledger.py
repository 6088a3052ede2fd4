"""The demo's ledger: what is reused, what is made again, and what an interrupted try leaves."""

from pathlib import Path

import pytest

from elastier_cli.demo.ledger import Ledger


class Maker:
    """Makes the output, and remembers what it was told; fails as often as it is told to."""

    def __init__(self, output: Path, failures: int = 0) -> None:
        self.output = output
        self.failures = failures
        self.told: list[bool] = []

    def __call__(self, begun: bool) -> None:
        self.told.append(begun)
        if len(self.told) <= self.failures:
            raise RuntimeError("the power went")
        self.output.parent.mkdir(exist_ok=True)
        self.output.write_text("made")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.json")


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "output")


def test_the_same_inputs_are_made_once_even_for_the_next_process(
    ledger: Ledger, make: Maker, tmp_path: Path
) -> None:
    digests = [
        book.step("data", inputs=["a"], output=make.output, make=make)
        for book in (ledger, ledger, Ledger(tmp_path / "ledger.json"))
    ]
    assert make.told == [False]
    assert len(set(digests)) == 1


def test_other_inputs_are_made_anew(ledger: Ledger, make: Maker) -> None:
    first = ledger.step("data", inputs=["a"], output=make.output, make=make)
    second = ledger.step("data", inputs=["b"], output=make.output, make=make)
    assert make.told == [False, False]
    assert first != second


def test_a_change_of_a_step_reaches_the_steps_that_build_on_it(ledger: Ledger, tmp_path: Path) -> None:
    early, late = Maker(tmp_path / "early"), Maker(tmp_path / "late")
    for seed in ("1", "2"):
        digest = ledger.step("early", inputs=[seed], output=early.output, make=early)
        ledger.step("late", inputs=[digest], output=late.output, make=late)
    assert late.told == [False, False]


def test_steps_and_inputs_do_not_run_into_one_another(ledger: Ledger, make: Maker) -> None:
    digests = {
        ledger.step(name, inputs=inputs, output=make.output, make=make)
        for name, inputs in (("data", ["ab", "c"]), ("data", ["a", "bc"]), ("teacher", ["ab", "c"]))
    }
    assert len(digests) == 3


def test_a_missing_output_is_made_again(ledger: Ledger, make: Maker) -> None:
    ledger.step("data", inputs=["a"], output=make.output, make=make)
    make.output.unlink()
    ledger.step("data", inputs=["a"], output=make.output, make=make)
    assert len(make.told) == 2
    assert make.output.exists()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"data": 3}', b"\xff\xfe", b'{"data": {"digest": "x", "who": 1}}']
)
def test_a_damaged_ledger_is_forgotten_and_repaired(
    ledger: Ledger, make: Maker, tmp_path: Path, damage: bytes
) -> None:
    ledger.step("data", inputs=["a"], output=make.output, make=make)
    (tmp_path / "ledger.json").write_bytes(damage)
    for _ in range(2):
        ledger.step("data", inputs=["a"], output=make.output, make=make)
    assert make.told == [False, False]


def test_an_interrupted_step_is_not_done_and_the_next_try_may_continue(
    ledger: Ledger, tmp_path: Path
) -> None:
    make = Maker(tmp_path / "output", failures=2)
    make.output.write_text("half")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the power went"):
            ledger.step("train", inputs=["a"], output=make.output, make=make)
    assert ledger.seconds("train") == 0
    ledger.step("train", inputs=["a"], output=make.output, make=make)
    assert make.told == [False, True, True]


def test_an_interrupted_try_from_other_inputs_is_not_continued(ledger: Ledger, tmp_path: Path) -> None:
    make = Maker(tmp_path / "output", failures=1)
    with pytest.raises(RuntimeError):
        ledger.step("train", inputs=["a"], output=make.output, make=make)
    ledger.step("train", inputs=["b"], output=make.output, make=make)
    assert make.told == [False, False]


def test_a_try_from_other_inputs_that_fails_early_leaves_nothing_old_to_continue(
    ledger: Ledger, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    make = Maker(run / "model")
    ledger.step("train", inputs=["a"], output=make.output, make=make, continued=run)

    def fail(begun: bool) -> None:
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        ledger.step("train", inputs=["b"], output=make.output, make=fail, continued=run)
    assert not run.exists()


def test_a_try_from_the_same_inputs_finds_what_the_last_one_left(ledger: Ledger, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found: list[bool] = []

    def make(begun: bool) -> None:
        found.append((run / "checkpoint").exists())
        run.mkdir(exist_ok=True)
        (run / "checkpoint").touch()
        if not begun:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        ledger.step("train", inputs=["a"], output=run / "checkpoint", make=make, continued=run)
    ledger.step("train", inputs=["a"], output=run / "checkpoint", make=make, continued=run)
    assert found == [False, True]


def test_seconds_are_those_of_the_making_not_of_the_reuse(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = iter([10.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr("elastier_cli.demo.ledger.time.monotonic", lambda: next(clock_s))
    for name in ("data", "train", "data"):
        make = Maker(tmp_path / name)
        ledger.step(name, inputs=[], output=make.output, make=make)
    assert ledger.seconds("data") == 2.5
    assert ledger.seconds("data", "train") == 3.5
