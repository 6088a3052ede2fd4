"""What can go wrong at the hand-over.

ElastierError                   every error of ours; carries the HTTP status and the exit code
├── FeatureError                rows that the bundle's feature schema cannot encode
├── ProfileError                a latency profile that does not fit its tiers
└── BundleError                 a bundle that cannot be read or written
    ├── BundleNotFoundError     nothing there, or not a bundle
    ├── BundleVersionError      written in a format that this version does not read
    ├── BundleCorruptError      a file is missing, truncated, tampered with or malformed
    └── BundlePathError         a path that leaves the bundle's folder
"""

from typing import ClassVar


class ElastierError(Exception):
    """Base of every error of ours: says what was expected and what came."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1


class FeatureError(ElastierError):
    """Rows that the feature schema cannot encode."""

    status = 400


class ProfileError(ElastierError):
    """A latency profile that does not fit the bundle's tiers."""


class BundleError(ElastierError):
    """A bundle that cannot be read or written."""


class BundleNotFoundError(BundleError):
    """There is no bundle at the given place."""


class BundleVersionError(BundleError):
    """The bundle's format is one that this version does not read."""


class BundleCorruptError(BundleError):
    """A file of the bundle is missing, truncated, tampered with or malformed."""


class BundlePathError(BundleError):
    """A path in the bundle leaves the bundle's folder."""
