//! Copying the write-ahead log into the database, beside the writer.
//!
//! A connection and thread of its own do the work while the writer goes on; once they are through,
//! the writer copies the little that came meanwhile, so that the log starts over and stays small. No
//! send waits for a whole checkpoint.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use rusqlite::Connection;

use super::{open, sql};

/// Pages of log, by estimate, after which they are copied: up to 64 MiB. A page that many sends change,
/// the last of a queue's index or of the envelopes, is copied once for all of them, so a longer log is
/// less work.
const PAGES: usize = 16_000;
const PAGE_BYTES: usize = 4_096;
/// Pages that a send changes beside those of its envelope: `sent`, `queue`, the index.
const PAGES_PER_SEND: usize = 3;
/// Pages that another act changes at most, a registration for example.
const PAGES_PER_JOB: usize = 12;

/// The writer's side.
pub(super) struct Checkpointer {
    start: mpsc::SyncSender<()>,
    done: Arc<AtomicBool>,
    running: bool,
    pages: usize,
}

impl Checkpointer {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn start(path: &Path) -> std::io::Result<Self> {
        let (start, asked) = mpsc::sync_channel(1);
        let done = Arc::new(AtomicBool::new(false));
        let (path, told) = (path.to_path_buf(), Arc::clone(&done));
        std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || {
                let mut connection = None;
                while asked.recv().is_ok() {
                    if let Err(error) = copy(&path, &mut connection) {
                        tracing::warn!(%error, "the write-ahead log could not be copied");
                        connection = None;
                    }
                    told.store(true, Ordering::Release);
                }
            })?;
        Ok(Self {
            start,
            done,
            running: false,
            pages: 0,
        })
    }

    /// Notes a stored envelope of so many bytes.
    pub(super) const fn note_envelope(&mut self, bytes: usize) {
        self.pages += PAGES_PER_SEND + bytes / PAGE_BYTES;
    }

    /// Notes other writes.
    pub(super) const fn note_others(&mut self, jobs: usize, acks: usize) {
        self.pages += jobs * PAGES_PER_JOB + acks;
    }

    /// Called between two transactions of the writer.
    pub(super) fn turn(&mut self, writer: &Connection) {
        if self.running {
            if self.done.swap(false, Ordering::AcqRel) {
                self.running = false;
                self.pages = 0;
                if let Err(error) = passive(writer) {
                    tracing::warn!(%error, "the write-ahead log could not be copied");
                }
            }
        } else if self.pages >= PAGES {
            self.running = self.start.try_send(()).is_ok();
        }
    }
}

fn copy(path: &Path, connection: &mut Option<Connection>) -> rusqlite::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(open::writer(path)?),
    };
    passive(connection)
}

fn passive(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached(sql::CHECKPOINT_PASSIVE)?
        .query_row([], |_| Ok(()))
}
