"""TensorBoard's event files, by tensorboardX, written from the records and read back into them."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jax_meta.runs.records import Record

EVENTS = "tensorboard"
"""Their folder, in that of a run."""
OWN = ".jax_meta"
"""How the names of our event files end: those of others are left alone."""
REMEDY = "TensorBoard's files need the extra: pip install 'jax-metalearn[tensorboard]'."


@contextmanager
def event_writer(folder: Path) -> Iterator[Callable[[list[Record]], None]]:
    """Yields what writes records into the folder; our files of an earlier start go, so that no step is there twice."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(REMEDY) from error
    for earlier in folder.glob(f"*tfevents*{OWN}"):
        earlier.unlink()
    writer = SummaryWriter(str(folder), filename_suffix=OWN)

    def write(records: list[Record]) -> None:
        for record in records:
            for name, value in record.items():
                if name != "step" and value is not None:
                    writer.add_scalar(name, value, record["step"])
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


def read_events(path: str | Path) -> list[Record]:
    """The scalars of the event files in a folder, or of one file, as records.

    Raises ValueError for a damaged file, ImportError without the extra `tensorboard`.
    """
    try:
        from tensorboardX.proto.event_pb2 import Event
    except ImportError as error:
        raise ImportError(REMEDY) from error
    path = Path(path)
    by_step: dict[int, Record] = {}
    for file in event_files(path) if path.is_dir() else [path]:
        for data in frames(file):
            try:
                event = Event.FromString(data)
            except Exception as error:  # protobuf's own, which has no public base
                raise ValueError(f"{file} is damaged: {error}.") from error
            for value in event.summary.value:
                by_step.setdefault(event.step, {"step": event.step})[value.tag] = value.simple_value
    return [by_step[step] for step in sorted(by_step)]


def event_files(folder: Path) -> list[Path]:
    """The event files in a folder, sorted."""
    return sorted(folder.glob("**/*tfevents*"))


def frames(file: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: a length in 8 bytes, its checksum in 4, the content, its checksum in 4."""
    content, place = file.read_bytes(), 0
    while place + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        if place + 16 + length > len(content):
            return  # cut off while it was written
        yield content[place + 12 : place + 12 + length]
        place += 16 + length
