"""Rules about the sections of the protocol and the tests that prove them."""

import re

from .documents import prose
from .files import text_of

PROTOCOL = "docs/protocol.md"
FIRST, LAST = 2, 10

# Sections without a test of their own, each with the reason.
UNTESTED = {
    "7.1": "broadcasts are not built (section 16); the format of kind 3 has vectors",
}

SECTION = re.compile(r"^#{2,3} (\d+(?:\.\d+)?)\.? ")
CITATION = re.compile(r"docs/protocol\.md,")
# One citation may name several sections and their steps: `6.3, remove, and 6.8, steps 6 and 7`.
NUMBER = re.compile(r"(?:(?<=, )|(?<=and ))(\d+(?:\.\d+)?)\b")
STEPS = re.compile(r"steps? \d+(?: (?:to|and) \d+)?")
ATTRIBUTE = re.compile(r"^\s*#\[")
TEST = re.compile(r"^\s*#\[\s*(?:\w+::)?test\b")
DOC = re.compile(r"^\s*///")


def sections(text):
    """Numbers of all headings."""
    return [match.group(1) for _, line in prose(text) if (match := SECTION.match(line))]


def to_prove(numbers):
    """The subsections of chapters FIRST to LAST; a chapter without any stands for itself."""
    divided = {number.split(".")[0] for number in numbers if "." in number}
    chapters = range(FIRST, LAST + 1)
    return [number for number in numbers if int(number.split(".")[0]) in chapters and number not in divided]


def cited(comment):
    """Numbers that a doc comment cites, up to the colon or full stop that ends the citation."""
    found = set()
    for match in CITATION.finditer(comment):
        rest = re.split(r"[:;)]|\.(?!\d)", comment[match.end():], maxsplit=1)[0]
        found.update(NUMBER.findall(STEPS.sub("", "," + rest)))
    return found


def tests_of(text):
    """(line, doc comment) of every test."""
    comment, is_test = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if DOC.match(line):
            comment.append(line.strip().removeprefix("///").strip())
        elif ATTRIBUTE.match(line):
            is_test = is_test or bool(TEST.match(line))
        else:
            if is_test and comment:
                yield number, " ".join(comment)
            comment, is_test = [], False


def rules(root, files, untested=UNTESTED):
    numbers = sections(text_of(root, PROTOCOL) or "")
    violations, proven = [], set()
    for name in files:
        if not name.endswith(".rs"):
            continue
        for line, comment in tests_of(text_of(root, name) or ""):
            for number in sorted(cited(comment)):
                if number not in numbers:
                    violations.append(f"{name}:{line}: {PROTOCOL} has no section {number}")
                proven.add(number)
    wanted = to_prove(numbers)
    if not wanted:
        violations.append(f"{PROTOCOL}: has no numbered section {FIRST} to {LAST}")
    for number in wanted:
        if number not in proven and number not in untested:
            violations.append(f"{PROTOCOL}, {number}: no test cites it")
    for number in untested:
        if number in proven or number not in wanted:
            violations.append(f"{PROTOCOL}, {number}: is named as untested and is not")
    return violations
