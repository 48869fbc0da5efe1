//! What is known of the relay's transparency log, as the agent's operator sees it.

use waxwire_shared::{ids::Hash, wire::LogLeaf};

use super::UnixMs;
use crate::transparency::Verdict;

/// Why two heads are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEvidenceKind {
    /// They are of one log, and not of one history.
    Fork,
    /// They are of two logs of one relay.
    OtherLog,
}

/// Two signed heads that cannot be of one honest log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvidence {
    /// When the second was shown.
    pub at: UnixMs,
    /// Why they are kept.
    pub kind: LogEvidenceKind,
    /// The one that was verified.
    pub first: Vec<u8>,
    /// The one that was shown.
    pub second: Vec<u8>,
}

/// Why a scan ended before all leaves were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditFailure {
    /// The relay did not answer.
    Unreachable,
    /// The relay shows no log.
    NoLog,
    /// What the relay shows as the newest head is none.
    HeadFalse,
    /// Its leaves are not those of its head.
    LeavesFalse,
    /// It does not show all leaves that its head covers.
    LeavesWithheld,
    /// It shows an older head than before.
    HeadOlder,
    /// A fork was found, or another log is shown that nobody has acknowledged: nothing is compared.
    Halted,
    /// There are more leaves than one scan reads; the next one reads on.
    Unfinished,
    /// This host lacks memory to compute the tag of the own handle.
    NoMemory,
}

/// Each with its name and the number that the state has for it, from 1.
const FAILURES: [(AuditFailure, &str); 9] = [
    (AuditFailure::Unreachable, "relay_unreachable"),
    (AuditFailure::NoLog, "no_log"),
    (AuditFailure::HeadFalse, "head_false"),
    (AuditFailure::LeavesFalse, "leaves_false"),
    (AuditFailure::LeavesWithheld, "leaves_withheld"),
    (AuditFailure::HeadOlder, "head_older"),
    (AuditFailure::Halted, "halted"),
    (AuditFailure::NoMemory, "no_memory"),
    (AuditFailure::Unfinished, "unfinished"),
];

impl AuditFailure {
    /// Stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = FAILURES.iter().find(|(failure, _)| *failure == self);
        found.map_or("", |(_, name)| name)
    }

    /// As the state has it: 0 is no failure.
    #[must_use]
    pub fn number(failure: Option<Self>) -> u8 {
        let place = FAILURES.iter().position(|(known, _)| Some(*known) == failure);
        place.map_or(0, |place| place as u8 + 1)
    }

    /// The reverse of [`Self::number`].
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let place = usize::from(number).checked_sub(1)?;
        FAILURES.get(place).map(|(failure, _)| *failure)
    }
}

/// A leaf under the own handle, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedLeaf {
    /// Its place in the log.
    pub place: u64,
    /// The leaf.
    pub leaf: LogLeaf,
    /// Whose doing it is.
    pub verdict: Verdict,
}

/// A head, condensed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownHead {
    /// Names the log.
    pub log: Hash,
    /// Number of leaves.
    pub size: u64,
    /// When it was signed, Unix milliseconds by the relay's clock.
    pub time: u64,
}

/// What is known of the log, and what the last scan has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// A scan is under way.
    pub running: bool,
    /// Leaves that were read.
    pub scanned: u64,
    /// Leaves that the scan under way reads up to, once that is known.
    pub target: Option<u64>,
    /// The highest head that was verified.
    pub head: Option<ShownHead>,
    /// When the last scan ended, and why it failed.
    pub finished: Option<(UnixMs, Option<AuditFailure>)>,
    /// Leaves under the own handle among those that were read.
    pub own: Vec<AuditedLeaf>,
    /// Whether the bundle that this agent publishes is among them.
    pub current_logged: bool,
    /// A fork was found that nobody has acknowledged.
    pub forked: bool,
    /// Another log that the relay shows and that nobody has acknowledged.
    pub other: Option<ShownHead>,
    /// Heads that contradict each other.
    pub evidence: Vec<LogEvidence>,
}
