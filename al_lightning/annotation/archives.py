"""ZIP files that somebody else has made."""

from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from al_lightning.errors import UserError

_LARGEST = 2**30  # bytes of a file


def unpack(path: Path, into: Path) -> None:
    """Unpacks the masks, texts and annotations of an export, but for pictures of the images.

    A file keeps its own name and that of its folder: nothing can be written outside.

    Args:
        path: of the archive.
        into: an empty folder.

    Raises:
        UserError: it is damaged, or two files have one name.
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
    except Exception as error:  # of a damaged archive: BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ...
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"Expected a ZIP file in {path}, but it can't be read: {why.rstrip('.')}.") from error


def _target(member: ZipInfo, into: Path) -> Path | None:
    """Where a file goes; None where nobody reads it."""
    *folders, name = PurePosixPath(member.filename).parts or [""]
    if member.is_dir() or name in ("", "..") or "\0" in name:
        return None
    if "SegmentationClass" in folders and name.lower().endswith(".png"):
        return into / "SegmentationClass" / name
    return into / name if name == "labelmap.txt" or name.lower().endswith(".json") else None
