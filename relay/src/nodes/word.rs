//! What one node says to others: who says it, what kind of word it is, and what belongs to it.
//!
//! | bytes | are |
//! |---|---|
//! | 8 | number of the node |
//! | 1 | kind: 1 head, 2 members, 3 lease, 4 transient, 5 contact, 6 look |
//! | rest | of a head and a contact: 8 bytes, big-endian; of a lease and a transient: the document, verbatim |

use bytes::Bytes;

use crate::store::AgentNo;

/// A node, by a number that it has drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(pub(super) u64);

/// Something that other nodes should hear of a queue or an agent, or all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The last position of the queue.
    Head(u64),
    /// The agent has joined or left a group.
    Members,
    /// A lease was offered for the agent.
    Lease(Bytes),
    /// An envelope for the agent that is stored nowhere.
    Transient(Bytes),
    /// A contact of the agent came or went.
    Contact(AgentNo),
    /// Words may have been lost.
    Look,
}

impl Word {
    const fn kind(&self) -> u8 {
        match self {
            Self::Head(_) => 1,
            Self::Members => 2,
            Self::Lease(_) => 3,
            Self::Transient(_) => 4,
            Self::Contact(_) => 5,
            Self::Look => 6,
        }
    }

    /// The word as `by` says it.
    #[must_use]
    pub fn encode(&self, by: NodeId) -> Vec<u8> {
        let mut bytes = by.0.to_be_bytes().to_vec();
        bytes.push(self.kind());
        match self {
            Self::Head(head) => bytes.extend_from_slice(&head.to_be_bytes()),
            Self::Contact(contact) => bytes.extend_from_slice(&contact.number().to_be_bytes()),
            Self::Lease(document) | Self::Transient(document) => bytes.extend_from_slice(document),
            Self::Members | Self::Look => {}
        }
        bytes
    }

    /// Who says what; None if it is no word.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(NodeId, Self)> {
        let (by, bytes) = bytes.split_first_chunk::<8>()?;
        let (kind, rest) = bytes.split_first()?;
        let word = match kind {
            1 => Self::Head(u64::from_be_bytes(rest.try_into().ok()?)),
            2 if rest.is_empty() => Self::Members,
            3 => Self::Lease(Bytes::copy_from_slice(rest)),
            4 => Self::Transient(Bytes::copy_from_slice(rest)),
            5 => Self::Contact(AgentNo::of(i64::from_be_bytes(rest.try_into().ok()?))),
            6 if rest.is_empty() => Self::Look,
            _ => return None,
        };
        Some((NodeId(u64::from_be_bytes(*by)), word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_said_and_nothing_else_is_one() {
        let document = Bytes::from_static(b"document");
        for word in [
            Word::Head(u64::MAX),
            Word::Members,
            Word::Lease(document.clone()),
            Word::Transient(document),
            Word::Contact(AgentNo::of(-3)),
            Word::Look,
        ] {
            let said = word.encode(NodeId(9));
            assert_eq!(Word::decode(&said), Some((NodeId(9), word)));
        }
        let me = [0; 8];
        for bad in [&[1, 2][..], &[2, 0], &[6, 0], &[5, 0, 0], &[0], &[7], &[]] {
            assert_eq!(Word::decode(&[&me, bad].concat()), None, "{bad:?}");
        }
        assert_eq!(Word::decode(b"short"), None);
    }
}
