//! P11: sealed boxes of one core, beside libsodium.

use std::{hint::black_box, process::Command, time::Duration};

use anyhow::ensure;
use waxwire_proxy::{
    crypto::{sealed_box, secret::EncryptionSecret},
    rng::OsRng,
};

use crate::{clock, figure::Figure, report::Goal};

/// Bytes of plaintext.
const PLAINTEXT: usize = 256;
/// How long each is measured.
const MEASURE: Duration = Duration::from_millis(500);
/// Boxes between two looks at the clock.
const BETWEEN_LOOKS: u32 = 64;
/// P11.
const SEAL: Goal = Goal::RatioAtLeast(1.1);
const OPEN: Goal = Goal::RatioAtLeast(0.75);

/// The same loop over the system's libsodium; what the interpreter adds is a microsecond of some fifty.
const LIBSODIUM: &str = r"
import ctypes, sys, time
size, measure = int(sys.argv[1]), float(sys.argv[2])
try:
    sodium = ctypes.CDLL('libsodium.so.23')
except OSError:
    sys.exit()
sodium.sodium_init()
sodium.sodium_version_string.restype = ctypes.c_char_p
public, secret, text = bytes(32), bytes(32), bytes(size)
sealed, opened, length = bytes(size + 48), bytes(size), ctypes.c_ulonglong(size)
sealed_length = ctypes.c_ulonglong(size + 48)
sodium.crypto_box_keypair(public, secret)
def rate(work):
    count, begin = 0, time.perf_counter()
    while (taken := time.perf_counter() - begin) < measure:
        for _ in range(64):
            assert work() == 0
        count += 64
    return count / taken
seal = rate(lambda: sodium.crypto_box_seal(sealed, text, length, public))
open = rate(lambda: sodium.crypto_box_seal_open(opened, sealed, sealed_length, public, secret))
print(sodium.sodium_version_string().decode(), seal, open)
";

/// What libsodium does.
struct Libsodium {
    version: String,
    seal: f64,
    open: f64,
}

/// Boxes a second. Where the system has no libsodium, there is nothing beside.
///
/// # Errors
/// A box does not open.
pub(crate) fn measure() -> anyhow::Result<Vec<Figure>> {
    let secret = EncryptionSecret::generate(&mut OsRng);
    let text = [0x5a; PLAINTEXT];
    let sealed = sealed_box::seal(&mut OsRng, secret.public(), &text);
    ensure!(sealed_box::open(&secret, &sealed).is_ok(), "a box does not open");
    let seal = rate(|| {
        drop(black_box(sealed_box::seal(
            &mut OsRng,
            secret.public(),
            black_box(&text),
        )))
    });
    let open = rate(|| drop(black_box(sealed_box::open(&secret, black_box(&sealed)))));
    let (seal_what, open_what) = (
        format!("boxes of {PLAINTEXT} bytes sealed"),
        format!("boxes of {PLAINTEXT} bytes opened"),
    );
    let Some(libsodium) = libsodium()? else {
        let ours = [
            Figure::new(seal_what, seal, "/s"),
            Figure::new(open_what, open, "/s"),
        ];
        return Ok(ours.into());
    };
    let beside = |what: String, ours: f64, theirs: f64, goal: Goal| {
        let what = format!("{what}, libsodium {}", libsodium.version);
        Figure::new(what, ours, "/s").beside(theirs).wants("P11", goal)
    };
    Ok(vec![
        beside(seal_what, seal, libsodium.seal, SEAL),
        beside(open_what, open, libsodium.open, OPEN),
    ])
}

fn rate(mut work: impl FnMut()) -> f64 {
    let (begin, mut count) = (clock::now(), 0);
    while begin.elapsed() < MEASURE {
        for _ in 0..BETWEEN_LOOKS {
            work();
        }
        count += BETWEEN_LOOKS;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn libsodium() -> anyhow::Result<Option<Libsodium>> {
    let measure = MEASURE.as_secs_f64().to_string();
    let output = Command::new("python3")
        .args(["-c", LIBSODIUM, &PLAINTEXT.to_string(), &measure])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        [version, seal, open] => Ok(Some(Libsodium {
            version: version.to_owned(),
            seal: seal.parse()?,
            open: open.parse()?,
        })),
        _ => Ok(None),
    }
}
