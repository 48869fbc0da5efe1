"""Rule against absolute paths that exist on one machine only."""

import re
from pathlib import Path

from .files import text_of

# Not in the middle of a word, a URL, a variable's path or a relative path.
BEGIN = r"(?<![\w.$}~/:@*>-])"
SOMEBODYS = [
    re.compile(BEGIN + r"/(?:home|Users)/[A-Za-z0-9]"),
    re.compile(BEGIN + r"/roo[t]/"),
    re.compile(r"\b[A-Za-z]:\\{1,2}(?:Users|home)\b"),
]
ABSOLUTE = re.compile(BEGIN + r"/([A-Za-z0-9._-]+)/([A-Za-z0-9._+-]+)")
# Folders that mean the same on every Unix.
STANDARD = set("bin boot dev etc lib lib64 media mnt opt proc run sbin srv sys tmp usr var".split())


def machine_paths(root, files, exists=lambda path: Path(path).exists()):
    violations = []
    for name in files:
        for number, line in enumerate((text_of(root, name) or "").splitlines(), 1):
            found = next((match for match in map(lambda p: p.search(line), SOMEBODYS) if match), None)
            if not found:
                found = next(
                    (m for m in ABSOLUTE.finditer(line) if m.group(1) not in STANDARD and exists(m.group(0))), None
                )
            if found:
                violations.append(f"{name}:{number}: {line.strip()[:100]}")
    return violations
