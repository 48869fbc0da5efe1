//! The bare sidecar: the floor that any crypto proxy stands on. It seals what its agent sends, opens what comes, with
//! `crypto_box` as it comes, and does nothing else: no store, no signature, no pins, no numbers.
//!
//! To its agent it speaks as the yardstick does, so that the same load drives both; what it would do with a message is its
//! job instead of the writer's.

use std::{
    io::{Write as _, stdout},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use crypto_box::{PublicKey, SecretKey, aead::OsRng};
use tokio::{net::TcpListener, runtime, sync::mpsc};
use waxwire_shared::hash::sha256;

use super::{
    WAITING, http,
    hub::{Hub, frame},
    writer::{Job, Message},
};
use crate::{http_client::Connection, socket::Socket};

/// Command line of the bare sidecar's process.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the yardstick listens.
    #[arg(long)]
    relay: SocketAddr,
    /// Number of its agent.
    #[arg(long)]
    agent: i64,
}

/// Connections to the yardstick that are not in use.
struct Pool {
    relay: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

/// Serves until the process is killed. Prints `listening on http://HOST:PORT` when ready.
///
/// # Errors
/// The address cannot be opened, or the yardstick is not there.
pub(crate) fn serve(options: &Options) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        let inbound = Socket::open(options.relay, &format!("/socket/{}", options.agent), None).await?;
        writeln!(stdout(), "listening on http://{}", listener.local_addr()?)?;
        let hub = Arc::new(Hub::default());
        let (jobs, waiting) = mpsc::channel(WAITING);
        tokio::select! {
            served = http::serve(listener, jobs, Arc::clone(&hub)) => served,
            ended = work(options, &hub, inbound, waiting) => ended,
        }
    })
}

async fn work(
    options: &Options,
    hub: &Hub,
    mut inbound: Socket,
    mut waiting: mpsc::Receiver<Job>,
) -> anyhow::Result<()> {
    let secret = secret(options.agent);
    let pool = Arc::new(Pool {
        relay: options.relay,
        idle: Mutex::default(),
    });
    loop {
        tokio::select! {
            job = waiting.recv() => match job.context("nobody listens")? {
                Job::Send(message) => {
                    // Without an answer, its sender learns that it failed.
                    tokio::spawn(forward(Arc::clone(&pool), message));
                }
                Job::Ack { id, .. } => inbound.send(id.to_be_bytes().to_vec()).await?,
            },
            sealed = inbound.next() => hub.push(options.agent, &open(&secret, &sealed?)?),
        }
    }
}

/// The frame for the agent.
fn open(secret: &SecretKey, sealed: &Bytes) -> anyhow::Result<Bytes> {
    let (id, sealed) = sealed.split_first_chunk().context("a short frame")?;
    let opened = secret
        .unseal(sealed)
        .map_err(|_| anyhow::anyhow!("it does not open"))?;
    Ok(frame(i64::from_be_bytes(*id), &opened))
}

async fn forward(pool: Arc<Pool>, message: Message) -> anyhow::Result<()> {
    let public: PublicKey = secret(message.recipient).public_key();
    let sealed = public
        .seal(&mut OsRng, &message.body)
        .map_err(|_| anyhow::anyhow!("it does not seal"))?;
    let id = pool.post(message.recipient, &sealed).await?;
    // A sender that hung up no longer wants its answer.
    let _ = message.done.send(id);
    Ok(())
}

impl Pool {
    async fn post(&self, recipient: i64, sealed: &[u8]) -> anyhow::Result<i64> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.relay).await?,
        };
        let answer = connection.post(&format!("/send/{recipient}"), "", sealed).await?;
        ensure!(answer.status == 201, "status {}", answer.status);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        Ok(str::from_utf8(&answer.body)?.parse()?)
    }
}

/// Everybody knows everybody's: what is measured is the work.
fn secret(agent: i64) -> SecretKey {
    SecretKey::from(*sha256(&agent.to_be_bytes()).as_bytes())
}
