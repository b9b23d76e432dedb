"""One command at a time in a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srpo.cli import UsageError


@contextmanager
def alone_in(folder: Path, program: str) -> Iterator[None]:
    """Keep a second run of a command out of a folder, made if need be, while one is under way there.

    Args:
        folder: where the command works.
        program: the command, for the error.

    Raises:
        UsageError: where one is under way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another {program} is running in {folder}; wait for it, or choose another --output_dir"
            ) from error
        yield
