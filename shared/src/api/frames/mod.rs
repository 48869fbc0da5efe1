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

mod queue;
mod reader;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::queue::{Cursor, Queue, QueueError};
use self::reader::FrameReader;
use crate::ids::{AgentId, Handle, Hash};

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
