//! One program for all targets: `WAXWIRE_FUZZ_TARGET` names the one to run.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use waxwire_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("WAXWIRE_FUZZ_TARGET").expect("WAXWIRE_FUZZ_TARGET names a target");
    waxwire_fuzz::target(&name).expect("a target of `waxwire-fuzz list`")
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.run)(bytes);
});
