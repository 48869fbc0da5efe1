//! What the process does to itself. A test of its own, because it cannot be undone.

use rustix::process::{Resource, getrlimit};
use waxwire_proxy::{harden::harden, rng::OsRng};

/// Attack 97: no core dump, by limit and by flag.
#[test]
fn hardened_process_leaves_no_core_dump() {
    OsRng::check().unwrap();
    harden().unwrap();
    let limit = getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2);
    }
    // Again is no error: a supervisor may have done it before.
    harden().unwrap();
}
