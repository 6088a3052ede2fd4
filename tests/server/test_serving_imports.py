"""Serving needs no training libraries: a server works in a process where importing them fails."""

import httpx
import pytest

from elastier_contract.bundle import Bundle
from support.processes import run_to_end, server_process
from support.serving import INFER, PREDICT, InferBody, good_rows

pytestmark = pytest.mark.slow

FORBIDDEN = ("torch", "onnx", "onnx_ir", "onnxscript", "lightgbm", "elastier_trainer", "elastier_exporter")
WITHOUT = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ImportError(f"{{name}} is not there when serving")

sys.meta_path.insert(0, Refuse())
"""


def test_the_refusal_itself_works() -> None:
    for name in FORBIDDEN:
        ended = run_to_end(["-c", f"{WITHOUT}\nimport {name}"])
        assert f"{name} is not there when serving" in ended.stderr


def test_a_server_answers_without_training_libraries(tiny_bundle: Bundle) -> None:
    serve = f"{WITHOUT}\nfrom elastier_cli.main import main\nmain()"
    with server_process(["-c", serve, "serve", str(tiny_bundle.path), "--port", "0"]) as server:
        tensors = httpx.post(server.url + INFER, json=InferBody.of(2, timeout=10_000_000))
        rows = httpx.post(server.url + PREDICT, json={"rows": good_rows(2), "budget_ms": 10_000})
    assert tensors.status_code == 200, tensors.text
    assert tensors.json()["outputs"][0]["shape"] == [2, 1]
    assert rows.status_code == 200, rows.text
    assert all(0 < score < 1 for score in rows.json()["scores"])
