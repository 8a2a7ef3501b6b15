"""Files that are whole or not there, whatever happens while they are written."""

import contextlib
import hashlib
import os
import shutil


def write_whole(path, content):
    """Write a text or bytes beside and rename it: the file is the old one or the new one, whatever happens; its path."""
    beside = path.with_name(path.name + ".part")
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")       # a path may hold bytes that are no text
    try:
        beside.write_bytes(content)
        flush_to_disk(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    flush_to_disk(path.parent)
    return path


@contextlib.contextmanager
def replaced_together(folder, last):
    """A folder to write files to; when all are written they take the place of those in `folder`, `last` as the last."""
    beside = folder / ".part"
    shutil.rmtree(beside, ignore_errors=True)       # of a process that was killed
    beside.mkdir(parents=True)
    try:
        yield beside
        names = sorted((path.name for path in beside.iterdir()), key=lambda name: name == last)
        for name in names:
            flush_to_disk(beside / name)
        for name in names:
            os.replace(beside / name, folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    flush_to_disk(folder)


def flush_to_disk(path):
    """Return when what was written to a file, or the names in a folder, would outlast a power cut."""
    if path.is_dir() and os.name == "nt":
        return                                      # Windows opens no folders
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def file_sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
