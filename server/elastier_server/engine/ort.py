"""ONNX Runtime: one session per tier, all on the bundle's one weights file."""

import onnxruntime as ort

from elastier_contract.bundle import Bundle
from elastier_contract.errors import BundleCorruptError
from elastier_contract.layout import GRAPH_OPTIMIZATION, session_attributes, session_config
from elastier_contract.tier import Tier
from elastier_server.engine.engine import Tensors


class OrtEngine:
    """The sessions of a bundle's tiers, cheapest first."""

    def __init__(self, sessions: list[ort.InferenceSession], outputs: list[str]) -> None:
        self._sessions = sessions
        self._outputs = outputs

    def run(self, tier: int, inputs: Tensors) -> Tensors:
        """See `Engine`."""
        values = self._sessions[tier].run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, values, strict=True))


def open_engine(bundle: Bundle, *, threads: int) -> OrtEngine:
    """Open a session for every tier of a bundle.

    Args:
        bundle: An opened bundle.
        threads: Threads of one run.

    Raises:
        BundleCorruptError: ONNX Runtime refuses a graph, or its tensors are not the signature's.
    """
    sessions = [_open_session(bundle, tier, threads) for tier in bundle.manifest.tiers]
    return OrtEngine(sessions, [spec.name for spec in bundle.manifest.signature.outputs])


def session_options(bundle: Bundle, threads: int) -> ort.SessionOptions:
    """How tiers of a bundle are opened."""
    options = ort.SessionOptions()
    for name, setting in session_attributes(threads).items():
        setattr(options, name, setting)
    options.graph_optimization_level = ort.GraphOptimizationLevel(GRAPH_OPTIMIZATION)
    for key, value in session_config(bundle.manifest.layout, bundle.path).items():
        options.add_session_config_entry(key, value)
    return options


def _open_session(bundle: Bundle, tier: Tier, threads: int) -> ort.InferenceSession:
    options = session_options(bundle, threads)
    try:
        session = ort.InferenceSession(bundle.graph_path(tier), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base but this
        raise BundleCorruptError(f"{tier.graph}: ONNX Runtime refuses it: {error}") from error
    _check_tensors(bundle, tier, session)
    return session


def _check_tensors(bundle: Bundle, tier: Tier, session: ort.InferenceSession) -> None:
    signature = bundle.manifest.signature
    for kind, specs, nodes in (
        ("inputs", signature.inputs, session.get_inputs()),
        ("outputs", signature.outputs, session.get_outputs()),
    ):
        expected, found = sorted(spec.name for spec in specs), sorted(node.name for node in nodes)
        if expected != found:
            raise BundleCorruptError(f"{tier.graph}: expected {kind} {expected}, found {found}")
