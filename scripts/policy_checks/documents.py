"""Rules about Markdown files."""

import posixpath
import re
from urllib.parse import unquote

from .files import text_of

FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
INLINE = re.compile(r"\]\(\s*(<[^>]*>|[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+[\"'(][^)]*)?\s*\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]^][^\]]*\]:\s*(<[^>]*>|\S+)")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
ANCHOR = re.compile(r"<[a-z]+\s[^>]*\b(?:id|name)=[\"']([^\"']+)")
ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def prose(text):
    """Numbered lines outside fenced code."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if fence:
            if mark and mark.group(1).startswith(fence) and line.strip() == mark.group(1):
                fence = None
        elif mark:
            fence = mark.group(1)
        else:
            yield number, line


def slug(heading):
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text.replace("`", "")).replace(" ", "-")


def anchors(text):
    found, seen = set(), {}
    for _, line in prose(text):
        found.update(ANCHOR.findall(line))
        heading = HEADING.match(line)
        if heading:
            name = slug(heading.group(1))
            found.add(f"{name}-{seen[name]}" if name in seen else name)
            seen[name] = seen.get(name, 0) + 1
    return found


def links(root, files):
    present = set(files)
    for name in files:
        while name := posixpath.dirname(name):
            present.add(name)
    present.add(".")

    violations = []
    for name in files:
        if not name.endswith(".md"):
            continue
        for number, line in prose(text_of(root, name) or ""):
            line = CODE.sub("", line)
            for target in INLINE.findall(line) + DEFINITION.findall(line):
                problem = broken(root, present, name, target.strip("<>"))
                if problem:
                    violations.append(f"{name}:{number}: {problem}")
    return violations


def broken(root, present, name, target):
    if ELSEWHERE.match(target):
        return None
    path, _, anchor = unquote(target).partition("#")
    if path.startswith("/"):
        return f"{target}: is absolute"
    file = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    if file not in present:
        return f"{target}: there is no {file}"
    if anchor and file.endswith(".md") and anchor not in anchors(text_of(root, file)):
        return f"{target}: {file} has no heading of that name"
    return None
