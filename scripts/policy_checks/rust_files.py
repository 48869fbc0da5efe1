"""Rules about Rust source files."""

import re
from pathlib import PurePosixPath

from .files import text_of

CEILING = 600

MARKERS = [
    (re.compile(r"\b(?:todo|unimplemented)!\s*[(\[{]"), "unfinished code"),
    (re.compile(r"#!?\[\s*(?:cfg_attr\s*\(.*?,\s*)?allow\s*\("), "#[allow] hides a lint without a reason"),
    (re.compile(r"#\[\s*(?:cfg_attr\s*\(.*?,\s*)?ignore\b"), "a test that nobody runs"),
]
COMMENT = re.compile(r"^\s*//")
IGNORED_EXAMPLE = re.compile(r"^\s*//[/!]\s*`{3,}[\w,\s]*\bignore\b")
# Where a signature was verified before and a hash that is stored beside the verdict is compared at the end.
KEPT = re.compile(r"\bVerified\s*(?:::\s*<[^(]*>\s*)?::\s*kept\b")
# In the fuzz target nothing is verified at all: it asks what rules remain behind signatures.
KEPT_PLACES = {"relay/src/groups/rosters.rs", "fuzz/src/group_log.rs"}


def is_test(name):
    path = PurePosixPath(name)
    folders = {"tests", "benches"}.intersection(path.parts[:-1])
    return bool(folders) or path.stem == "tests" or path.stem.endswith("_tests")


def lines_without_tests(text):
    """Lines outside inline test modules, as rustfmt lays them out: they end at the first brace in their column."""
    count, end, after_cfg = 0, None, False
    for line in text.splitlines():
        if end is not None:
            if line == end:
                end = None
            continue
        begins = re.match(r"(\s*)(?:pub\S*\s+)?mod\s+\w+\s*\{$", line)
        if after_cfg and begins:
            end = begins.group(1) + "}"
            count -= 1  # the attribute belongs to the module
        else:
            count += 1
        after_cfg = line.strip() == "#[cfg(test)]" or (after_cfg and line.strip().startswith("#["))
    return count


def length(root, files, ceiling=CEILING):
    violations = []
    for name in files:
        if name.endswith(".rs") and not is_test(name):
            lines = lines_without_tests(text_of(root, name) or "")
            if lines > ceiling:
                violations.append(f"{name}: {lines} lines")
    return violations


def markers(root, files):
    violations = []
    for name in files:
        if not name.endswith(".rs"):
            continue
        for number, line in enumerate((text_of(root, name) or "").splitlines(), 1):
            if IGNORED_EXAMPLE.match(line):
                violations.append(f"{name}:{number}: an example that nobody compiles")
            if COMMENT.match(line):
                continue
            for pattern, reason in MARKERS:
                if pattern.search(line):
                    violations.append(f"{name}:{number}: {reason}: {line.strip()}")
    return violations


def kept(root, files):
    violations = []
    for name in files:
        if not name.endswith(".rs") or is_test(name) or name in KEPT_PLACES:
            continue
        for number, line in enumerate((text_of(root, name) or "").splitlines(), 1):
            if KEPT.search(line) and not COMMENT.match(line):
                violations.append(f"{name}:{number}: a signature that is not checked here")
    return violations
