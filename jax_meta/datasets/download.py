"""Downloads of data sets: verified, resumable, and with a progress bar."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from rich import progress
from rich.console import Console

TIMEOUT = 30.0
"""Seconds without a byte after which the server is taken to be gone."""

CHUNK = 1 << 18
DIGITS = {"md5": 32, "sha256": 64}


def download(url: str, path: Path, *, checksum: str) -> Path:
    """Downloads `url` to `path`, unless `path` is there already: an existing file is not touched, nor verified.

    What has arrived is kept in `<path>.partial`, from which the next call resumes. `path` itself appears whole and
    verified, or not at all.

    Args:
        url: where the file is.
        path: where to put it. Missing folders are made.
        checksum: `"md5:<hex>"` or `"sha256:<hex>"`, of the whole file.

    Returns:
        `path`.

    Raises:
        ValueError: if `checksum` is neither of these, or what arrived has another one; the partial file is then gone.
        OSError: if the server cannot be reached, refuses, or stops early.
    """
    check_checksum(checksum)
    path = Path(path)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    if partial.is_symlink() or (partial.exists() and not partial.is_file()):
        raise OSError(f"{partial} is a link, or no file: what arrives might go elsewhere. Remove it and run again.")
    try:
        fetch(url, partial, checksum=checksum)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError of a header or an address
        raise OSError(
            f"could not download {url} ({str(error) or type(error).__name__}). What has arrived is kept: run again to "
            f"resume, or download it by hand to {path}."
        ) from error
    found = checksum_of(partial, like=checksum)
    if found != checksum.lower():
        partial.unlink()
        raise ValueError(
            f"{url} arrived with the checksum {found}, not {checksum}, and was deleted. Run again to download it "
            f"anew; if that fails too, the file has changed at its source: get a good copy by hand, as {path}."
        )
    os.replace(partial, path)
    return path


def check_checksum(checksum: str) -> None:
    """Raises ValueError unless it reads `md5:<32 hexadecimal digits>` or `sha256:<64 of them>`."""
    algorithm, _, digits = checksum.partition(":")
    if not re.fullmatch(rf"[0-9a-fA-F]{{{DIGITS.get(algorithm, 0)}}}", digits) or algorithm not in DIGITS:
        raise ValueError(f"checksum must read md5:<32 hex digits> or sha256:<64 hex digits>, not {checksum!r}.")


def checksum_of(path: Path, *, like: str) -> str:
    """The checksum of a file by the algorithm of the checksum `like`, as `"md5:<hex>"` or `"sha256:<hex>"`."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def fetch(url: str, partial: Path, *, checksum: str) -> None:
    """Downloads what `partial` lacks. A server that cannot resume, or resumes elsewhere, sends the whole file."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            if not start or response.status != 206:
                return receive(response, partial, start=0)
            if first_byte(response) == start:
                return receive(response, partial, start=start)
    except urllib.error.HTTPError as error:
        error.close()
        if not start or error.code != 416:
            raise
        if checksum_of(partial, like=checksum) == checksum.lower():
            return None
    partial.unlink()
    return fetch(url, partial, checksum=checksum)


def first_byte(response: http.client.HTTPResponse) -> int | None:
    """Where a partial response says that it starts; None if it does not say."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def receive(response: http.client.HTTPResponse, partial: Path, *, start: int) -> None:
    """Writes the response's body from byte `start` of the file on; raises ConnectionError if it ends early."""
    length = response.headers.get("Content-Length")
    total = None if length is None else start + int(length)
    with partial.open("ab" if start else "wb") as file, progress_bar() as bar:
        task = bar.add_task(partial.stem, total=total, completed=start)
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            bar.advance(task, len(chunk))
        arrived = file.tell()
    if total is not None and arrived < total:
        raise ConnectionError(f"the connection ended after {arrived} of {total} bytes")


def progress_bar() -> progress.Progress:
    """Bytes, speed and time left, on stderr; it goes away when done."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
