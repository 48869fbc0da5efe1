//! The writer thread: all that waits goes into one transaction.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use crate::clock;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS m (
        id INTEGER PRIMARY KEY, rcpt INTEGER NOT NULL, ts INTEGER NOT NULL, body BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS m_rcpt ON m (rcpt, id);
";
const INSERT: &str = "INSERT INTO m (id, rcpt, ts, body) VALUES (?1, ?2, ?3, ?4)";
const ACK: &str = "DELETE FROM m WHERE rcpt = ?1 AND id <= ?2";

/// Work for the writer.
pub(super) enum Job {
    /// Store a message.
    Send(Message),
    /// The recipient has everything up to this id.
    Ack { recipient: i64, id: i64 },
}

/// A message that waits to be stored.
pub(super) struct Message {
    /// Who it is for.
    pub(super) recipient: i64,
    /// Its bytes, as posted.
    pub(super) body: Bytes,
    /// Gets the id once the message is durable.
    pub(super) done: oneshot::Sender<i64>,
}

/// A message that is durable.
pub(super) struct Stored {
    /// Its number; later ones have higher ones.
    pub(super) id: i64,
    /// The message.
    pub(super) message: Message,
}

/// The only connection to the database.
pub(super) struct Writer {
    connection: Connection,
    batch: usize,
    next_id: i64,
    acks: BTreeMap<i64, i64>,
}

impl Writer {
    /// Opens or creates the file. `batch`: jobs in one commit at most.
    pub(super) fn open(path: &Path, batch: usize) -> anyhow::Result<Self> {
        let connection = Connection::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        connection.execute_batch(SCHEMA)?;
        let next_id = connection.query_row("SELECT coalesce(max(id), 0) + 1 FROM m", [], |row| row.get(0))?;
        Ok(Self {
            connection,
            batch,
            next_id,
            acks: BTreeMap::new(),
        })
    }

    /// Commits batch after batch and hands each on, until nobody sends or listens any more.
    pub(super) fn run(
        mut self,
        mut waiting: mpsc::Receiver<Job>,
        committed: &mpsc::UnboundedSender<Vec<Stored>>,
    ) -> anyhow::Result<()> {
        let mut jobs = Vec::with_capacity(self.batch);
        while waiting.blocking_recv_many(&mut jobs, self.batch) > 0 {
            let messages = self.take(&mut jobs);
            // Acks alone are worth no flush of the disk: they wait for the next message.
            if messages.is_empty() {
                continue;
            }
            let stored = self.commit(messages)?;
            if committed.send(stored).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Splits jobs into messages, which are returned, and acks, which are kept for the next commit.
    fn take(&mut self, jobs: &mut Vec<Job>) -> Vec<Message> {
        let mut messages = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            match job {
                Job::Send(message) => messages.push(message),
                Job::Ack { recipient, id } => {
                    let acked = self.acks.entry(recipient).or_default();
                    *acked = id.max(*acked);
                }
            }
        }
        messages
    }

    fn commit(&mut self, messages: Vec<Message>) -> anyhow::Result<Vec<Stored>> {
        let now = clock::unix_millis();
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut stored = Vec::with_capacity(messages.len());
        {
            let mut insert = self.connection.prepare_cached(INSERT)?;
            for message in messages {
                let id = self.next_id;
                self.next_id += 1;
                insert.execute(params![id, message.recipient, now, &message.body[..]])?;
                stored.push(Stored { id, message });
            }
            let mut ack = self.connection.prepare_cached(ACK)?;
            for (recipient, id) in std::mem::take(&mut self.acks) {
                ack.execute([recipient, id])?;
            }
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(recipient: i64) -> (Job, oneshot::Receiver<i64>) {
        let (done, answer) = oneshot::channel();
        let body = Bytes::from_static(b"body");
        let message = Message {
            recipient,
            body,
            done,
        };
        (Job::Send(message), answer)
    }

    fn rows(path: &Path) -> Vec<(i64, i64)> {
        let connection = Connection::open(path).unwrap();
        let mut select = connection.prepare("SELECT id, rcpt FROM m ORDER BY id").unwrap();
        let rows = select
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn write(path: &Path, jobs: Vec<Job>) -> Vec<Vec<Stored>> {
        let (sender, waiting) = mpsc::channel(jobs.len());
        let (committed, mut stored) = mpsc::unbounded_channel();
        for job in jobs {
            sender.try_send(job).ok().unwrap();
        }
        drop(sender);
        Writer::open(path, 1000)
            .unwrap()
            .run(waiting, &committed)
            .unwrap();
        drop(committed);
        std::iter::from_fn(|| stored.try_recv().ok()).collect()
    }

    #[test]
    fn all_that_waits_shares_one_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y.db");
        let batches = write(&path, vec![message(1).0, message(2).0, message(1).0]);
        assert_eq!(batches.len(), 1);
        assert_eq!(rows(&path), [(1, 1), (2, 2), (3, 1)]);
    }

    #[test]
    fn ack_removes_what_the_recipient_has_with_the_next_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("y.db");
        write(&path, vec![message(1).0, message(2).0, message(1).0]);
        let ack = || Job::Ack { recipient: 1, id: 1 };
        assert!(write(&path, vec![ack()]).is_empty());
        assert_eq!(rows(&path).len(), 3);
        write(&path, vec![ack(), message(3).0]);
        assert_eq!(rows(&path), [(2, 2), (3, 1), (4, 3)]);
    }
}
