//! Binary frames of the socket between proxy and relay (docs/relay-api.md).
//!
//! One WebSocket binary message is one frame: a type byte and a fixed layout, integers big-endian.
//!
//! | type | from | layout after the type byte |
//! |---|---|---|
//! | `0x01` send | proxy | request u32, envelope |
//! | `0x02` ack | proxy | repeated: queue, position u64 |
//! | `0x03` resume | proxy | repeated: queue, position u64 |
//! | `0x04` transient | proxy | envelope |
//! | `0x05` presence | proxy | shown u8 |
//! | `0x81` stored | relay | request u32, outcome u8, envelope id u64, envelope SHA-256 32 |
//! | `0x82` refused | relay | request u32, status u16, problem document (JSON) |
//! | `0x83` deliver | relay | queue, position u64, envelope id u64, stored at u64 (Unix ms), object |
//! | `0x84` head | relay | queue, position u64: everything up to it has been delivered |
//! | `0x85` welcome | relay | relay time u64 (Unix ms) |
//! | `0x86` transient | relay | envelope |
//! | `0x87` presence | relay | online u8, last seen u64 (Unix ms, 0: not known), handle |
//! | `0x88` lease | relay | a signed lease of the agent that was offered elsewhere |
//! | `0x89` notice | relay | request u32, backlog u64, limit u64, remaining u64, repeated: agent id 16 |
//!
//! Queue: `0x01` mail, `0x02` control, `0x03` group messages and `0x04` group log, these two
//! followed by the group id (32 bytes). Numbers are never used again for something else.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    ids::{AgentId, GroupId, Handle, Hash},
    wire::Lane,
};

/// Names a queue from the point of view of the agent that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// The agent's own direct messages.
    Mail,
    /// The agent's own control messages.
    Control,
    /// The messages of a group.
    Group(GroupId),
    /// The commits of a group.
    Log(GroupId),
}

impl From<Lane> for Queue {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Mail => Self::Mail,
            Lane::Control => Self::Control,
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail => f.write_str("mail"),
            Self::Control => f.write_str("control"),
            Self::Group(group) => write!(f, "group-{group}"),
            Self::Log(group) => write!(f, "log-{group}"),
        }
    }
}

/// Text that names no queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a queue is mail, control, group-<id> or log-<id>")]
pub struct QueueError;

impl FromStr for Queue {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        match (text, text.split_once('-')) {
            ("mail", _) => Ok(Self::Mail),
            ("control", _) => Ok(Self::Control),
            (_, Some(("group", id))) => id.parse().map(Self::Group).map_err(|_| QueueError),
            (_, Some(("log", id))) => id.parse().map(Self::Log).map_err(|_| QueueError),
            _ => Err(QueueError),
        }
    }
}

impl Serialize for Queue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A place in a queue; positions start at 1 and have no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The queue.
    pub queue: Queue,
    /// The position.
    pub position: u64,
}

/// A frame from a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// Store this envelope.
    Send {
        /// Names the answer.
        request: u32,
        /// The envelope, see [`crate::wire::Envelope`].
        envelope: &'a [u8],
    },
    /// Everything up to these positions is durable at the proxy.
    Ack(Vec<Cursor>),
    /// The first frame of a socket: deliver what comes after these positions; queues that are not
    /// named resume from their last ack.
    Resume(Vec<Cursor>),
    /// Pass this envelope on to whoever is there now; it is not stored and not answered.
    Transient(&'a [u8]),
    /// Whether this socket makes the agent count as online.
    Presence {
        /// It does; at first it does not.
        shown: bool,
    },
}

/// A frame from the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayFrame<'a> {
    /// The envelope is durable.
    Stored {
        /// Which send.
        request: u32,
        /// Whether the relay held one with this `mid` before.
        repeated: bool,
        /// The relay's name for it.
        envelope_id: u64,
        /// SHA-256 of the envelope that the relay holds.
        hash: Hash,
    },
    /// The envelope is not stored.
    Refused {
        /// Which send.
        request: u32,
        /// HTTP status.
        status: u16,
        /// A problem document, see [`super::problem::Problem`].
        problem: &'a [u8],
    },
    /// An envelope or commit of a queue.
    Deliver(Delivery<'a>),
    /// Everything up to this position has been delivered on this socket.
    Head(Cursor),
    /// The relay's first frame.
    Welcome {
        /// Unix milliseconds by the relay's clock.
        time: u64,
        /// Names the course of events that its database holds. Another one than before: the database was set back.
        lineage: u64,
        /// Up to when, Unix milliseconds, this course is that of the one before.
        reaches: u64,
    },
    /// Somebody has offered this signed lease for the agent, see [`crate::wire::Lease`].
    Lease(&'a [u8]),
    /// An envelope that was passed on and is stored nowhere.
    Transient(&'a [u8]),
    /// An agent came or went.
    Presence(Seen),
    /// Goes before the answer to a send that is stored.
    Notice {
        /// Which send.
        request: u32,
        /// What its sender should know besides.
        notice: Notice,
    },
}

/// What the relay adds to its answer to a send: limits that are near, members of the group that do not
/// keep up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How many messages wait for the recipient of a direct one, if that is half of what may; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub backlog: u64,
    /// What the sender has left in this minute, if that is little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
    /// Members of the group for whom so much waits that an agent would get no direct message any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<AgentId>,
}

/// What is left of a limit on rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Messages in a minute; at least 1.
    pub limit: u64,
    /// How many of them are left.
    pub remaining: u64,
}

impl Notice {
    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.backlog == 0 && self.allowance.is_none() && self.skipped.is_empty()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the relay says of an agent's being there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The agent.
    pub handle: Handle,
    /// Whether it shows itself as online.
    pub online: bool,
    /// When it was last, in whole minutes: Unix milliseconds by the relay's clock.
    pub last_seen: Option<u64>,
}

/// One stored object with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Where it stands.
    pub cursor: Cursor,
    /// The relay's name for it.
    pub envelope_id: u64,
    /// Unix milliseconds by the relay's clock.
    pub stored_at: u64,
    /// The envelope or the signed commit, verbatim.
    pub object: &'a [u8],
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame")]
pub struct FrameError;

const SEND: u8 = 0x01;
const ACK: u8 = 0x02;
const RESUME: u8 = 0x03;
const TRANSIENT: u8 = 0x04;
const PRESENCE: u8 = 0x05;
const STORED: u8 = 0x81;
const REFUSED: u8 = 0x82;
const DELIVER: u8 = 0x83;
const HEAD: u8 = 0x84;
const WELCOME: u8 = 0x85;
const PASSED_ON: u8 = 0x86;
const SEEN: u8 = 0x87;
const LEASE: u8 = 0x88;
const NOTICE: u8 = 0x89;

const MAIL: u8 = 0x01;
const CONTROL: u8 = 0x02;
const GROUP: u8 = 0x03;
const LOG: u8 = 0x04;

const NEW: u8 = 1;
const REPEATED: u8 = 2;

impl<'a> ClientFrame<'a> {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Send { request, envelope } => {
                let mut out = Vec::with_capacity(5 + envelope.len());
                out.push(SEND);
                out.extend_from_slice(&request.to_be_bytes());
                out.extend_from_slice(envelope);
                out
            }
            Self::Ack(cursors) => encode_cursors(ACK, cursors),
            Self::Resume(cursors) => encode_cursors(RESUME, cursors),
            Self::Transient(envelope) => encode_bytes(TRANSIENT, envelope),
            Self::Presence { shown } => vec![PRESENCE, u8::from(*shown)],
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = FrameReader(bytes);
        match r.u8()? {
            SEND => Ok(Self::Send {
                request: r.u32()?,
                envelope: r.0,
            }),
            ACK => r.cursors().map(Self::Ack),
            RESUME => r.cursors().map(Self::Resume),
            TRANSIENT => r.rest().map(Self::Transient),
            PRESENCE => {
                let shown = r.flag()?;
                r.end(Self::Presence { shown })
            }
            _ => Err(FrameError),
        }
    }
}

impl<'a> RelayFrame<'a> {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stored {
                request,
                repeated,
                envelope_id,
                hash,
            } => {
                let outcome = if *repeated { REPEATED } else { NEW };
                let mut out = vec![STORED];
                out.extend_from_slice(&request.to_be_bytes());
                out.push(outcome);
                out.extend_from_slice(&envelope_id.to_be_bytes());
                out.extend_from_slice(hash.as_bytes());
                out
            }
            Self::Refused {
                request,
                status,
                problem,
            } => {
                let mut out = vec![REFUSED];
                out.extend_from_slice(&request.to_be_bytes());
                out.extend_from_slice(&status.to_be_bytes());
                out.extend_from_slice(problem);
                out
            }
            Self::Deliver(delivery) => {
                let mut out = Vec::with_capacity(64 + delivery.object.len());
                out.push(DELIVER);
                put_cursor(&mut out, &delivery.cursor);
                out.extend_from_slice(&delivery.envelope_id.to_be_bytes());
                out.extend_from_slice(&delivery.stored_at.to_be_bytes());
                out.extend_from_slice(delivery.object);
                out
            }
            Self::Head(cursor) => encode_cursors(HEAD, std::slice::from_ref(cursor)),
            Self::Welcome {
                time,
                lineage,
                reaches,
            } => {
                let mut out = vec![WELCOME];
                for number in [time, lineage, reaches] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
                out
            }
            Self::Transient(envelope) => encode_bytes(PASSED_ON, envelope),
            Self::Presence(seen) => {
                let mut out = vec![SEEN, u8::from(seen.online)];
                out.extend_from_slice(&seen.last_seen.unwrap_or(0).to_be_bytes());
                out.extend_from_slice(seen.handle.as_str().as_bytes());
                out
            }
            Self::Lease(lease) => encode_bytes(LEASE, lease),
            Self::Notice { request, notice } => encode_notice(*request, notice),
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut r = FrameReader(bytes);
        match r.u8()? {
            STORED => {
                let request = r.u32()?;
                let repeated = match r.u8()? {
                    NEW => false,
                    REPEATED => true,
                    _ => return Err(FrameError),
                };
                let envelope_id = r.u64()?;
                let hash = Hash::from_bytes(r.array()?);
                r.end(Self::Stored {
                    request,
                    repeated,
                    envelope_id,
                    hash,
                })
            }
            REFUSED => Ok(Self::Refused {
                request: r.u32()?,
                status: r.u16()?,
                problem: r.0,
            }),
            DELIVER => Ok(Self::Deliver(Delivery {
                cursor: r.cursor()?,
                envelope_id: r.u64()?,
                stored_at: r.u64()?,
                object: r.0,
            })),
            HEAD => {
                let cursor = r.cursor()?;
                r.end(Self::Head(cursor))
            }
            WELCOME => {
                let (time, lineage, reaches) = (r.u64()?, r.u64()?, r.u64()?);
                r.end(Self::Welcome {
                    time,
                    lineage,
                    reaches,
                })
            }
            PASSED_ON => r.rest().map(Self::Transient),
            SEEN => {
                let (online, last_seen) = (r.flag()?, r.u64()?);
                let handle = std::str::from_utf8(r.0).map_err(|_| FrameError)?;
                Ok(Self::Presence(Seen {
                    handle: handle.parse().map_err(|_| FrameError)?,
                    online,
                    last_seen: (last_seen != 0).then_some(last_seen),
                }))
            }
            NOTICE => r.notice(),
            LEASE => r.rest().map(Self::Lease),
            _ => Err(FrameError),
        }
    }
}

fn encode_bytes(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + bytes.len());
    out.push(kind);
    out.extend_from_slice(bytes);
    out
}

fn encode_cursors(kind: u8, cursors: &[Cursor]) -> Vec<u8> {
    let mut out = vec![kind];
    for cursor in cursors {
        put_cursor(&mut out, cursor);
    }
    out
}

fn put_cursor(out: &mut Vec<u8>, cursor: &Cursor) {
    match &cursor.queue {
        Queue::Mail => out.push(MAIL),
        Queue::Control => out.push(CONTROL),
        Queue::Group(group) => {
            out.push(GROUP);
            out.extend_from_slice(group.as_bytes());
        }
        Queue::Log(group) => {
            out.push(LOG);
            out.extend_from_slice(group.as_bytes());
        }
    }
    out.extend_from_slice(&cursor.position.to_be_bytes());
}

/// A limit of 0 stands for none that is near.
fn encode_notice(request: u32, notice: &Notice) -> Vec<u8> {
    let (limit, remaining) = notice
        .allowance
        .map_or((0, 0), |allowance| (allowance.limit, allowance.remaining));
    let mut out = vec![NOTICE];
    out.extend_from_slice(&request.to_be_bytes());
    for number in [notice.backlog, limit, remaining] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for member in &notice.skipped {
        out.extend_from_slice(member.as_bytes());
    }
    out
}

struct FrameReader<'a>(&'a [u8]);

impl<'a> FrameReader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_be_bytes)
    }

    fn cursor(&mut self) -> Result<Cursor, FrameError> {
        let queue = match self.u8()? {
            MAIL => Queue::Mail,
            CONTROL => Queue::Control,
            GROUP => Queue::Group(GroupId::from_bytes(self.array()?)),
            LOG => Queue::Log(GroupId::from_bytes(self.array()?)),
            _ => return Err(FrameError),
        };
        Ok(Cursor {
            queue,
            position: self.u64()?,
        })
    }

    fn cursors(&mut self) -> Result<Vec<Cursor>, FrameError> {
        let mut cursors = Vec::new();
        while !self.0.is_empty() {
            cursors.push(self.cursor()?);
        }
        Ok(cursors)
    }

    fn notice<'b>(&mut self) -> Result<RelayFrame<'b>, FrameError> {
        let request = self.u32()?;
        let (backlog, limit, remaining) = (self.u64()?, self.u64()?, self.u64()?);
        if limit == 0 && remaining > 0 {
            return Err(FrameError);
        }
        let mut skipped = Vec::new();
        while !self.0.is_empty() {
            skipped.push(AgentId::from_bytes(self.array()?));
        }
        let allowance = (limit > 0).then_some(Allowance { limit, remaining });
        Ok(RelayFrame::Notice {
            request,
            notice: Notice {
                backlog,
                allowance,
                skipped,
            },
        })
    }

    fn flag(&mut self) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError),
        }
    }

    /// Everything that is left: at least a byte.
    const fn rest(&self) -> Result<&'a [u8], FrameError> {
        if self.0.is_empty() {
            Err(FrameError)
        } else {
            Ok(self.0)
        }
    }

    fn end<T>(&self, value: T) -> Result<T, FrameError> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(FrameError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors() -> Vec<Cursor> {
        let group = GroupId::from_bytes([7; 32]);
        [
            Queue::Mail,
            Queue::Control,
            Queue::Group(group),
            Queue::Log(group),
        ]
        .into_iter()
        .map(|queue| Cursor { queue, position: 9 })
        .collect()
    }

    /// What there is not to say is left out.
    #[test]
    fn notice_has_what_is_worth_saying() {
        let nothing = Notice::default();
        assert!(nothing.is_empty());
        assert_eq!(serde_json::to_string(&nothing).unwrap(), "{}");
        let backlog = Notice {
            backlog: 5,
            ..Notice::default()
        };
        assert!(!backlog.is_empty());
        assert_eq!(serde_json::to_string(&backlog).unwrap(), r#"{"backlog":5}"#);
        let skipped = Notice {
            skipped: vec![AgentId::from_bytes([1; 16])],
            ..Notice::default()
        };
        assert!(!skipped.is_empty());
    }

    fn notice(skipped: &[[u8; 16]]) -> RelayFrame<'static> {
        RelayFrame::Notice {
            request: 9,
            notice: Notice {
                backlog: 5_001,
                allowance: Some(Allowance {
                    limit: 200,
                    remaining: 0,
                }),
                skipped: skipped.iter().copied().map(AgentId::from_bytes).collect(),
            },
        }
    }

    #[test]
    fn client_frames_round_trip() {
        for frame in [
            ClientFrame::Send {
                request: 7,
                envelope: b"envelope",
            },
            ClientFrame::Ack(cursors()),
            ClientFrame::Resume(Vec::new()),
            ClientFrame::Transient(b"envelope"),
            ClientFrame::Presence { shown: true },
            ClientFrame::Presence { shown: false },
        ] {
            assert_eq!(ClientFrame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn relay_frames_round_trip_and_refuse_any_cut() {
        let hash = Hash::from_bytes([3; 32]);
        let cursor = cursors()[2];
        for frame in [
            RelayFrame::Stored {
                request: 1,
                repeated: true,
                envelope_id: 2,
                hash,
            },
            RelayFrame::Head(cursor),
            RelayFrame::Welcome {
                time: 5,
                lineage: 6,
                reaches: 7,
            },
            notice(&[]),
        ] {
            let bytes = frame.encode();
            assert_eq!(RelayFrame::decode(&bytes), Ok(frame));
            for cut in 0..bytes.len() {
                assert_eq!(RelayFrame::decode(&bytes[..cut]), Err(FrameError));
            }
            assert_eq!(
                RelayFrame::decode(&[bytes.as_slice(), &[0]].concat()),
                Err(FrameError)
            );
        }
        let delivery = Delivery {
            cursor,
            envelope_id: 1,
            stored_at: 2,
            object: b"object",
        };
        for frame in [
            RelayFrame::Deliver(delivery),
            RelayFrame::Refused {
                request: 1,
                status: 429,
                problem: b"{}",
            },
            RelayFrame::Lease(b"lease"),
            notice(&[[1; 16], [2; 16]]),
        ] {
            assert_eq!(RelayFrame::decode(&frame.encode()), Ok(frame));
        }
        let mut of_no_limit = notice(&[]).encode();
        of_no_limit[13..].copy_from_slice(&[[0; 8], [1; 8]].concat());
        assert_eq!(RelayFrame::decode(&of_no_limit), Err(FrameError));
    }

    #[test]
    fn presence_and_transient_frames_round_trip_and_refuse_what_they_are_not() {
        let seen = |online, last_seen| {
            RelayFrame::Presence(Seen {
                handle: "alice".parse().unwrap(),
                online,
                last_seen,
            })
        };
        for frame in [
            RelayFrame::Transient(b"envelope"),
            seen(true, None),
            seen(false, Some(7)),
        ] {
            assert_eq!(RelayFrame::decode(&frame.encode()), Ok(frame));
        }
        let bytes = seen(true, None).encode();
        for bad in [
            vec![TRANSIENT],
            vec![PRESENCE],
            vec![PRESENCE, 2],
            vec![PRESENCE, 1, 0],
            vec![PASSED_ON],
            [&[SEEN, 2], &bytes[2..]].concat(),
            bytes[..10].to_vec(),
            [&bytes[..10], b"Alice".as_slice()].concat(),
            [&bytes[..10], &[0xff; 4]].concat(),
        ] {
            assert_eq!(ClientFrame::decode(&bad), Err(FrameError));
            assert_eq!(RelayFrame::decode(&bad), Err(FrameError));
        }
    }

    #[test]
    fn queue_text_round_trips() {
        for Cursor { queue, .. } in cursors() {
            assert_eq!(queue.to_string().parse(), Ok(queue));
        }
        assert_eq!("group-00".parse::<Queue>(), Err(QueueError));
        assert_eq!("".parse::<Queue>(), Err(QueueError));
    }
}
