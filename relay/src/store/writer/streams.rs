//! Streams of sends behind a fault. Their senders had more on the way when one could not be stored; that must not be
//! stored before it, or the recipient sees a hole and the messages in another order.

use std::{collections::HashMap, sync::Arc, time::Duration};

use waxwire_shared::ids::Hash;

use super::ops::SendOp;
use crate::{clock::Stopwatch, store::Reply};

/// After that whoever sends has heard of the fault, and does not offer again what it could not have stored.
const HEARD: Duration = Duration::from_secs(5);

/// A send that could not be stored, and when.
struct Broken {
    first: Hash,
    since: Stopwatch,
}

/// Streams that wait for their first unstored send.
#[derive(Default)]
pub(super) struct Streams(HashMap<usize, Broken>);

fn stream_of(op: &SendOp) -> Option<usize> {
    match &op.reply {
        Reply::Once(_) => None,
        Reply::Stream { sink, .. } => Some(Arc::as_ptr(sink).cast::<()>().addr()),
    }
}

impl Streams {
    /// Sends could not be stored.
    pub(super) fn note(&mut self, ops: &[SendOp]) {
        self.0.retain(|_, broken| broken.since.elapsed() < HEARD);
        for op in ops {
            if let Some(stream) = stream_of(op) {
                self.0.entry(stream).or_insert_with(|| Broken {
                    first: op.send.hash,
                    since: Stopwatch::start(),
                });
            }
        }
    }

    /// Whether a send comes before another one of its stream that was sent earlier and is not stored.
    pub(super) fn is_early(&mut self, op: &SendOp) -> bool {
        let Some(stream) = stream_of(op).filter(|_| !self.0.is_empty()) else {
            return false;
        };
        let Some(broken) = self.0.get(&stream) else {
            return false;
        };
        let early = broken.first != op.send.hash && broken.since.elapsed() < HEARD;
        if !early {
            self.0.remove(&stream);
        }
        early
    }
}

#[cfg(test)]
mod tests {
    use waxwire_shared::{
        hash::sha256,
        ids::{AgentId, Mid},
        wire::Lane,
    };

    use super::*;
    use crate::store::{AnswerSink, NewEnvelope, SendResult, Target, test_agent};

    struct Socket(#[expect(dead_code, reason = "two sockets lie at two places")] u8);

    impl AnswerSink for Socket {
        fn answer(&self, _: u32, _: Hash, _: SendResult) {}
    }

    fn op(socket: &Arc<Socket>, name: &[u8]) -> SendOp {
        SendOp {
            send: NewEnvelope {
                sender: test_agent(1),
                mid: Mid::from_bytes([1; Mid::LENGTH]),
                target: Target::Direct {
                    to: AgentId::from_bytes([2; AgentId::LENGTH]),
                    lane: Lane::Mail,
                },
                hash: sha256(name),
                bytes: name.to_vec().into(),
            },
            reply: Reply::Stream {
                sink: Arc::clone(socket) as Arc<dyn AnswerSink>,
                request: 1,
            },
            queued: Stopwatch::start(),
        }
    }

    #[test]
    fn nothing_of_a_stream_is_stored_before_what_failed_of_it() {
        let (one, other) = (Arc::new(Socket(1)), Arc::new(Socket(2)));
        let mut streams = Streams::default();
        assert!(!streams.is_early(&op(&one, b"a")));
        streams.note(&[op(&one, b"a"), op(&one, b"b")]);
        streams.note(&[op(&one, b"c")]);
        assert!(streams.is_early(&op(&one, b"d")));
        assert!(!streams.is_early(&op(&other, b"d")));
        assert!(!streams.is_early(&op(&one, b"a")));
        assert!(!streams.is_early(&op(&one, b"b")));
    }
}
