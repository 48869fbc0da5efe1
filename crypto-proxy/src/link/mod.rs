//! The connection to the relay: HTTP for control resources, one socket for envelopes, reconnect
//! and resume (docs/relay-api.md).
//!
//! - [`RelayUrl`], [`Client`]: where the relay is; its control resources as typed calls
//! - [`verify_relay`]: who answers there; asked on every connection before the API key is shown
//! - [`run`]: keeps one socket open, carries out [`LinkCommand`]s, reports to the engine
//!
//! Everything that comes from the relay is taken for hostile: bounded, decoded strictly, never
//! logged. What an object means is decided by the engine alone.

mod backoff;
mod blobs;
mod calls;
mod cursors;
mod dial;
mod flight;
mod http;
mod identity;
mod lease;
mod possession;
mod renewal;
mod resources;
mod run;
mod session;
mod socket;
mod status;
mod url;

#[cfg(test)]
mod tests;

use std::{fmt, future::Future, sync::Arc};

use tokio::sync::mpsc;
use waxwire_shared::api::frames::Cursor;

pub use self::{
    dial::TlsError,
    http::{CallError, Client},
    identity::{RelayChanged, RelayIdentityError, VerifiedRelay, verify_relay},
    possession::{Possession, PossessionError},
    renewal::Credentials,
    run::run,
    status::{LinkFault, LinkStatus},
    url::{RelayUrl, RelayUrlError},
};
use crate::{
    engine::{LinkEvent, RelayCall},
    model::SendToken,
};

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
    /// Have an envelope passed on that is not stored; lost without a socket.
    Transient(Vec<u8>),
    /// Count as online or not, on this socket.
    Show(bool),
    /// Everything up to these positions is durable here.
    Ack(Vec<Cursor>),
    /// Forget all positions, for they are of another course of events than this one, drop the socket and resume from
    /// what the relay knows to be acknowledged.
    Lineage(u64),
    /// Ask the relay over HTTP; concurrent with everything else.
    Call(RelayCall),
    /// Drop the socket and resume from what was acknowledged.
    Reset,
    /// Keep sockets under this signed lease from now on.
    Lease(Vec<u8>),
    /// The relay has something: try at once in place of waiting.
    Wake,
    /// Keep no socket until there is another lease.
    StandDown(LinkFault),
}

/// Which relay, and from where on.
pub struct LinkConfig {
    /// Calls the pinned relay with this agent's API key, see [`Client::authorized`].
    pub client: Arc<Client>,
    /// Which course of events the relay's database held when it was last heard of.
    pub lineage: Option<u64>,
    /// How far each queue is durable here at the start.
    pub cursors: Vec<Cursor>,
    /// The signed lease of this instance: the relay takes it before every socket.
    pub lease: Vec<u8>,
    /// Proves the identity when the relay does not accept the API key any more.
    pub credentials: Arc<dyn Credentials>,
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// Where the link reports to: the engine, or a channel in a test.
pub trait Reports: Send + Sync {
    /// Hands a report over; waiting here holds the socket up.
    fn report(&self, event: LinkEvent) -> impl Future<Output = ()> + Send;
}

impl Reports for mpsc::Sender<LinkEvent> {
    async fn report(&self, event: LinkEvent) {
        // A send fails only when the reader has ended, and then nobody needs the report.
        let _ended = self.send(event).await;
    }
}
