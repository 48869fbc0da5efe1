"""Which files belong to the project."""

import subprocess
from pathlib import Path


def project_files(root):
    """Relative paths of all files that are, or could next be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True,
    )
    if listed.returncode == 0:
        names = set(filter(None, listed.stdout.split("\0")))
    else:  # an unpacked archive
        names = {
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.relative_to(root).parts[0] not in ("target", ".git")
        }
    return sorted(name for name in names if (root / name).is_file() and not (root / name).is_symlink())


def text_of(root, name):
    """The file's text, or None for a binary file."""
    content = Path(root, name).read_bytes()
    return None if b"\0" in content[:8192] else content.decode("utf-8", errors="replace")
