"""Rules about the list of attacks."""

import re

from .documents import prose
from .files import text_of

LIST = "docs/attacks.md"
EVIDENCE = "docs/testing.md"
NUMBERS = range(1, 107)
OUTCOMES = {"a", "b", "c", "d"}
# A row that has no outcome says why there is nothing to attack, and has no test.
NOT_BUILT = "-"

NAMED = re.compile(r"`([\w/-]+\.rs)::(\w+)`")
NUMBERED = re.compile(r"attack_((?:\d+_)+)")
TEST = re.compile(r"^\s*#\[\s*(?:\w+::)?test\b")


def rows(text):
    """(line, cells) of every row of a table that begins with a number."""
    for line, content in prose(text):
        cells = [cell.strip() for cell in content.strip().strip("|").split("|")]
        if content.startswith("|") and cells[0].isdigit():
            yield line, cells


def missing_tests(root, text, name, files):
    """Tests that a document names and that are not there."""
    sources = {}
    for line, content in enumerate(text.splitlines(), 1):
        for path, test in NAMED.findall(content):
            if path not in sources:
                sources[path] = text_of(root, path) if path in files else None
            source = sources[path]
            if source is None:
                yield f"{name}:{line}: there is no {path}"
            elif not is_test(source, test):
                yield f"{name}:{line}: {path} has no test {test}"


def is_test(source, name):
    """Whether a function of that name stands below an attribute that makes it a test."""
    marked = False
    for line in source.splitlines():
        if TEST.match(line):
            marked = True
        elif re.match(r"\s*(?:pub )?(?:async )?fn ", line):
            if marked and re.search(rf"\bfn {name}\b", line):
                return True
            marked = False
    return False


def attacks_of(test):
    """The numbers in the name of a test: attack_28_94_what_it_shows."""
    found = NUMBERED.match(test)
    return [int(number) for number in found[1].split("_") if number] if found else []


def attacks(root, files):
    text = text_of(root, LIST) if LIST in files else None
    if text is None:
        return [f"{LIST}: is not there"]
    violations, seen = [], []
    for line, cells in rows(text):
        number, outcomes, tests = int(cells[0]), cells[-2], cells[-1]
        seen.append(number)
        named = NAMED.findall(tests)
        if outcomes == NOT_BUILT:
            if named:
                violations.append(f"{LIST}:{line}: attack {number} has tests and no outcome")
        elif not set(outcomes.split(", ")) <= OUTCOMES:
            violations.append(f"{LIST}:{line}: attack {number} ends in none of the outcomes: {outcomes}")
        elif not any(number in attacks_of(test) for _, test in named):
            violations.append(f"{LIST}:{line}: attack {number} has no test that is named after it")
    for number in NUMBERS:
        if seen.count(number) != 1:
            violations.append(f"{LIST}: attack {number} has {seen.count(number)} rows")
    violations.extend(missing_tests(root, text, LIST, files))
    if EVIDENCE in files:
        violations.extend(missing_tests(root, text_of(root, EVIDENCE) or "", EVIDENCE, files))
    return violations
