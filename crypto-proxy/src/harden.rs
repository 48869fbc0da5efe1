//! What the process does to itself before it touches a key.

use std::io::Write as _;

use rustix::process::{Resource, Rlimit, setrlimit};

/// A protection that the system refused.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum HardenError {
    /// Core dumps could not be switched off.
    #[error("core dumps could not be switched off")]
    CoreLimit(#[source] rustix::io::Errno),
    /// The process could not be made non-dumpable.
    #[error("the process could not be made non-dumpable")]
    Dumpable(#[source] rustix::io::Errno),
}

/// Where pages of the process may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// They stay in memory.
    Locked,
    /// They may be written to swap: the process may not lock them all, and a share of them would
    /// protect nothing for certain.
    Swappable,
}

impl Pages {
    /// The word of the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Swappable => "swappable",
        }
    }
}

/// Keeps keys out of core dumps and swap, and away from other processes of the same user. First call of
/// `main`, before any key is read and any thread is started.
///
/// 1. `RLIMIT_CORE` is 0, soft and hard: no core file, on any Unix.
/// 2. On Linux `PR_SET_DUMPABLE` is 0: no dump by a pipe handler either, no `ptrace` and no
///    `/proc/PID/mem` for processes without `CAP_SYS_PTRACE`.
/// 3. On Linux all pages are locked if no limit can make a later allocation fail for it:
///    `RLIMIT_MEMLOCK` is unlimited, or the process has `CAP_IPC_LOCK`
///    (docs/decisions/0005-what-is-erased-and-where-from.md).
///
/// # Errors
/// [`HardenError`]; the program should refuse to start.
///
/// # Security
/// Root reads the memory all the same, and hibernation writes locked pages, too.
pub fn harden() -> Result<Pages, HardenError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(HardenError::CoreLimit)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(HardenError::Dumpable)?;
    }
    Ok(lock_pages())
}

#[cfg(target_os = "linux")]
fn lock_pages() -> Pages {
    use rustix::{
        mm::{MlockAllFlags, mlockall},
        process::getrlimit,
        thread::{CapabilitySet, capabilities},
    };
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    let allowed =
        unlimited || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    // Pages are locked when they are first used: a stack that is reserved and never used takes no memory.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if allowed && mlockall(all).is_ok() {
        Pages::Locked
    } else {
        Pages::Swappable
    }
}

#[cfg(not(target_os = "linux"))]
const fn lock_pages() -> Pages {
    Pages::Swappable
}

/// Bytes of the stack that [`scrub_stack`] reaches.
const STACK: usize = 32 * 1024;

/// Overwrites what earlier calls have left on this thread's stack. Our own types wipe themselves; derivations
/// and ciphers keep copies of keys in their frames that nobody wipes, and a thread that then only waits would
/// keep them for good. Call it where the work with keys is done, no deeper than it was begun.
#[inline(never)]
pub fn scrub_stack() {
    // A variable: what is constant would not lie on the stack.
    let mut stack = [0_u8; STACK];
    std::hint::black_box(&mut stack);
}

/// Ends the process at once, without unwinding, where going on would mean a predictable key.
pub(crate) fn abort(reason: &'static str) -> ! {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "fatal: {reason}");
    std::process::abort()
}
