//! The bare yardstick: the floor that any relay of this kind stands on.
//!
//! It stores a body and pushes it, durably and in batches, and does nothing else: no accounts, no
//! idempotency, no positions, no limits. What the relay costs above it is the price of those. Its
//! shape is fixed, so that ratios taken years apart mean the same:
//!
//! - axum 0.8 on one current-thread runtime; TCP_NODELAY; 4 KiB socket buffers;
//! - `POST /send/{recipient}`, the raw body is the message, 201 after the commit;
//! - one writer thread, one prepared insert, at most 1,000 messages a commit, WAL, `synchronous=FULL`;
//! - table `m(id, rcpt, ts, body)` with an index over `(rcpt, id)`;
//! - `GET /socket/{recipient}`: binary frames pushed after the commit; the recipient acks with the
//!   highest id it has, and the ack's delete shares the next messages' commit.

mod http;
mod hub;
pub(crate) mod sidecar;
mod writer;

use std::{
    io::{Write as _, stdout},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, runtime, sync::mpsc};

use hub::Hub;
use writer::Writer;

/// Messages in one commit at most.
const BATCH: usize = 1000;

/// Sends and acks that wait for the writer, or for a bare sidecar, before senders are held back.
const WAITING: usize = 4096;

/// Command line of the yardstick's process.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// SQLite file; created if it is not there.
    #[arg(long)]
    database: PathBuf,
    /// One commit for each message: what group commit is compared with.
    #[arg(long)]
    no_batch: bool,
}

/// Serves until the process is killed. Prints `listening on http://HOST:PORT` when ready.
///
/// # Errors
/// The address or the database cannot be opened.
pub(crate) fn serve(options: &Options) -> anyhow::Result<()> {
    let batch = if options.no_batch { 1 } else { BATCH };
    let (jobs, waiting) = mpsc::channel(WAITING);
    let (committed, stored) = mpsc::unbounded_channel();
    let writer = Writer::open(&options.database, batch)?;
    let thread = std::thread::Builder::new().name("writer".into());
    let thread = thread.spawn(move || writer.run(waiting, &committed))?;

    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        writeln!(stdout(), "listening on http://{}", listener.local_addr()?)?;
        let hub = Arc::new(Hub::default());
        tokio::select! {
            served = http::serve(listener, jobs, Arc::clone(&hub)) => served,
            () = hub::deliver(&hub, stored) => Ok(()),
        }
    })?;
    // Only a failed writer ends the process by itself: its channel closes, `deliver` returns.
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the writer panicked"))?
}
