#!/usr/bin/env python3
"""Reads the test vectors by docs/protocol.md alone, with libsodium for the primitives.

    tests/python/check_vectors.py [DIR]        default: vectors

Exits 0 if every case does what it says and every field, change, kind and value of the protocol occurs in a valid one.
"""

import json
import sys
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]

from reader.layers import Refused  # noqa: E402
from reader.messages import Messages  # noqa: E402
from reader.operations import Operations, unhex  # noqa: E402
from reader.spec import Spec  # noqa: E402
from reader.transport import Transport  # noqa: E402

CASE = {"id", "comment", "op", "in", "result"}
LAYERS = {"decode", "rule", "signature", "open", "padding", "context"}


class Reader(Operations, Transport, Messages):
    """All operations."""


def is_case(case, number):
    """What vectors/schema/file.schema.json says."""
    rest = {"out"} if case.get("result") == "valid" else {"layer"}
    shape = set(case) == CASE | rest and case["id"] == number and case["result"] in ("valid", "invalid")
    return shape and case["comment"] and case.get("layer", "rule") in LAYERS and isinstance(case["in"], dict)


def same(expected, found):
    """Equal, but runs of bytes may be written either way."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[key], found[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    if isinstance(expected, str) and isinstance(found, str):
        return str(found) in (expected, unhex(expected).hex() if "(" in expected else expected)
    return type(expected) is type(found) and expected == found


def check(reader, case):
    """What is wrong with a case, or None."""
    try:
        found = reader.run(case["op"], case["in"])
    except Refused as refused:
        if case["result"] == "invalid" and refused.layer == case["layer"]:
            return None
        return f"expected {case.get('layer', 'valid')}, refused by {refused}"
    except Exception as error:  # a case that cannot be used, or a text that says something else
        return repr(error)
    if case["result"] == "invalid":
        return f"expected to be refused by {case['layer']}"
    return None if same(case["out"], found) else f"expected {case['out']}, found {found}"


def missing(reader):
    """What the protocol has and no valid case shows."""
    spec, seen = reader.spec, reader.documents.seen
    fields = {(table.name, field.key) for table in spec.tables.values() for field in table.fields}
    changes = {("Change", number, 1 + len(types)) for number, (_, types) in spec.changes.items()}
    kinds = {("Kind", number) for number in spec.kinds if number != 32}
    values = {(name, number) for name, numbers in spec.enumerations.items() for number in numbers}
    return sorted(map(str, (fields | changes | kinds | values) - seen))


def main(arguments):
    folder = Path(arguments[0]) if arguments else ROOT / "vectors"
    reader = Reader(Spec((ROOT / "docs/protocol.md").read_text(encoding="utf-8")))
    paths = sorted(folder.glob("*.json")) + sorted(folder.glob("documents/*.json"))
    failures, counts = [], Counter()
    for path in paths:
        file = json.loads(path.read_text(encoding="utf-8"))
        name = path.relative_to(folder)
        if set(file) != {"about", "section", "cases"} or not file["cases"]:
            failures.append(f"{name}: not a file of vectors")
            continue
        for number, case in enumerate(file["cases"], 1):
            if not is_case(case, number):
                failures.append(f"{name} {number}: not a case")
                continue
            problem = check(reader, case)
            counts[case.get("layer", "valid")] += 1
            if problem:
                failures.append(f"{name} {case['id']}, {case['op']}, {case['comment']}: {problem[:400]}")
    failures += [f"no valid case has {each}" for each in missing(reader)] if paths else ["no vectors"]
    for failure in failures:
        print(failure)
    summary = ", ".join(f"{count} {layer}" for layer, count in sorted(counts.items()))
    print(f"{len(paths)} files, {sum(counts.values())} cases ({summary}), {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
