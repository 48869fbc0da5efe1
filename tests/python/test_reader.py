#!/usr/bin/env python3
"""The reader must find what is wrong: every case is damaged in turn, and the text of the protocol too."""

import copy
import json
import sys
import unittest

sys.dont_write_bytecode = True

import check_vectors  # noqa: E402
from check_vectors import ROOT, Reader, check, missing  # noqa: E402
from reader.spec import Spec  # noqa: E402

PROTOCOL = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
OTHER = {"decode": "open", "open": "padding", "padding": "rule", "rule": "signature", "signature": "context",
         "context": "decode"}


def cases():
    for path in sorted((ROOT / "vectors").rglob("*.json")):
        if path.parent.name != "schema":
            for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
                yield path.name, case


ALL = list(cases())


class DamagedVectors(unittest.TestCase):
    def setUp(self):
        self.reader = Reader(Spec(PROTOCOL))

    def test_another_verdict_is_found(self):
        for name, case in ALL:
            if case["result"] == "valid":
                other = {**case, "result": "invalid", "layer": "decode"}
            else:
                other = {**case, "layer": OTHER[case["layer"]]}
            self.assertIsNotNone(check(self.reader, other), f"{name} {case['id']}")

    def test_another_output_is_found(self):
        for name, case in ALL:
            for key in case.get("out", {}):
                other = copy.deepcopy(case)
                other["out"][key] = "other"
                self.assertIsNotNone(check(self.reader, other), f"{name} {case['id']} {key}")
                del other["out"][key]
                self.assertIsNotNone(check(self.reader, other), f"{name} {case['id']} {key}")

    def test_nothing_to_check_is_no_success(self):
        self.assertEqual(check_vectors.main([str(ROOT / "docs")]), 1)


class DamagedText(unittest.TestCase):
    def test_the_text_as_it_is(self):
        reader = Reader(Spec(PROTOCOL))
        self.assertEqual([name for name, case in ALL if check(reader, case)] + missing(reader), [])

    def test_a_change_of_the_text_is_found(self):
        for old, new in [
            ("| 12 | client_msg_id | text, 1..128 scalars |", "| 12 | client_msg_id | text, 1..129 scalars |"),
            ("| 10 | i | u64, 0..65535 |", "| 10 | i | u64 |"),
            ("| 14? | expires | u64 |\n", ""),
            ("| 9 | time | u64 |", "| 9? | time | u64 |"),
            ("| KdfChain | `waxwire-1/kdf/chain` |", "| KdfChain | `waxwire-1/kdf/chains` |"),
            ("**Lease**, at most 1,024 bytes", "**Lease**, at most 1,023 bytes"),
            ("| 6 | remove | Identity, CutOff? |", "| 6 | remove | Identity, CutOff |"),
            ("| 21 | HistoryGrant | ControlBody, HistoryGrant | SigControl | mail | no |",
             "| 21 | HistoryGrant | ControlBody, HistoryGrant | SigControl | control | no |"),
            ("Rule `part`:", "Rule:"),
        ]:
            self.assertIn(old, PROTOCOL)
            reader = Reader(Spec(PROTOCOL.replace(old, new)))
            found = any(check(reader, case) for _, case in ALL) or missing(reader)
            self.assertTrue(found, old)


if __name__ == "__main__":
    unittest.main()
