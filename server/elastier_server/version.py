"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("elastier")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


VERSION = _installed()
