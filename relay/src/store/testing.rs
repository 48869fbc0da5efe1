//! Numbers that only a store gives, for tests of what lies above it.

use super::{AgentNo, GroupNo, GroupRecord, OrgNo, QueueNo};

/// A queue number.
#[must_use]
pub(crate) const fn test_queue(number: i64) -> QueueNo {
    QueueNo(number)
}

/// A group with two queues of its own.
#[must_use]
pub(crate) const fn test_group(number: i64) -> GroupRecord {
    GroupRecord {
        no: GroupNo(number),
        messages: QueueNo(1_000 + 2 * number),
        log: QueueNo(1_001 + 2 * number),
    }
}

/// An organisation number.
#[must_use]
pub(crate) const fn test_org(number: i64) -> OrgNo {
    OrgNo(number)
}

/// An agent number.
#[must_use]
pub(crate) const fn test_agent(number: i64) -> AgentNo {
    AgentNo(number)
}
