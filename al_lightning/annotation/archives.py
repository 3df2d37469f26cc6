"""Reads ZIP files that other programs have made."""

from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from al_lightning.errors import UserError

_LARGEST = 2**30  # the most bytes of an unpacked file


def unpack(path: Path, into: Path) -> None:
    """Unpacks the masks, the list of labels and the annotations of an export. Other files, such as images, are not unpacked.

    Of a file's path in the archive only its name and the folder SegmentationClass are kept, so nothing is written outside of ``into``.

    Args:
        path: the archive.
        into: an empty folder.

    Raises:
        UserError: the archive is damaged, two files have the same name, or a file is larger than 1 GiB.
    """
    try:
        with ZipFile(path) as archive:
            for member in archive.infolist():
                if (target := _target(member, into)) is None:
                    continue
                if target.exists() or member.file_size > _LARGEST:
                    why = f"two of the name {target.name}" if target.exists() else f"{member.file_size:,} bytes of {target.name}"
                    raise UserError(f"Expected files of different names and at most {_LARGEST:,} bytes in {path}, got {why}.")
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(archive.read(member))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged archive may raise BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ...
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"Expected a ZIP file in {path}, but it can't be read: {why.rstrip('.')}.") from error


def _target(member: ZipInfo, into: Path) -> Path | None:
    """Where a file is unpacked to; None if it is not needed."""
    *folders, name = PurePosixPath(member.filename).parts or [""]
    # Systems put files with a dot in front beside others, as macOS does in the folder __MACOSX.
    if member.is_dir() or not name or name.startswith(".") or "\0" in name:
        return None
    if "SegmentationClass" in folders and name.lower().endswith(".png"):
        return into / "SegmentationClass" / name
    return into / name if name == "labelmap.txt" or name.lower().endswith(".json") else None
