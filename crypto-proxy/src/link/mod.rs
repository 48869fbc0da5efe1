//! The connection to the relay: HTTP for control resources, one socket for envelopes, reconnect
//! and resume.

use waxwire_shared::{api::frames::Cursor, ids::Handle};

use crate::engine::SendToken;

/// What the engine wants of the link.
#[derive(Debug)]
pub enum LinkCommand {
    /// Send an envelope; in the order of the commands.
    Send {
        /// Names the outcome.
        token: SendToken,
        /// The envelope's bytes.
        envelope: Vec<u8>,
    },
    /// Everything up to these positions is durable here.
    Ack(Vec<Cursor>),
    /// Look an agent's bundle up.
    FetchBundle(Handle),
    /// Drop the socket and resume from what was acknowledged.
    Reset,
}
