//! Gives bundles their leaves, in the order of publication, and signs heads.
//!
//! All that lasts is in the store. A page of leaves is one transaction there, so that a crash leaves none or all of it, and
//! a head is signed only over what was read back. Of several relays on a database one does this; the log would not fork
//! if two did.

use std::{collections::HashMap, sync::Arc};

use waxwire_shared::{
    handle_tag::{NoMemory, handle_tag},
    hash::sha256,
    ids::{Handle, Hash},
    merkle::Plan,
    wire::{LogHead, LogLeaf, VERSION},
};

use super::{Transparency, hashes};
use crate::{
    background::rest,
    clock::Stopwatch,
    logging::{self, Course},
    relay::Relay,
    store::{DueBundle, Duty, NewLeaf, ReadError, SignedHead, Store, WriteError},
};

/// Leaves that are appended at once.
const PAGE: usize = 64;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Tag(#[from] NoMemory),
}

struct Sequencer {
    relay: Arc<Relay>,
    log: Transparency,
    /// Since the last head.
    signed: Stopwatch,
}

/// Works until the relay stops. What is under way then is done again after the next start.
pub async fn follow(relay: Arc<Relay>, log: Transparency) {
    let mut sequencer = Sequencer {
        relay: Arc::clone(&relay),
        log,
        signed: Stopwatch::start(),
    };
    let (shutdown, mut course) = (&relay.delivery.shutdown, Course::default());
    while rest(shutdown, log.interval).await {
        match sequencer.turn().await {
            Ok(_) if course.turns(true) => tracing::info!("the transparency log goes on"),
            Err(error) if !shutdown.is_cancelled() && course.turns(false) => {
                tracing::error!(error = %logging::chain(&error), "the transparency log stands still");
            }
            _ => {}
        }
    }
}

impl Sequencer {
    fn store(&self) -> &Store {
        &self.relay.delivery.store
    }

    /// Takes up all that is due. While that is much, heads are signed in between.
    async fn turn(&mut self) -> Result<(), StepError> {
        if !self.store().has_duty(Duty::Log).await? {
            self.note_oldest(None);
            return Ok(());
        }
        loop {
            let due = self.store().due_bundles(PAGE).await?;
            self.note_oldest(due.first());
            let is_last = due.len() < PAGE;
            self.append(due).await?;
            if self.signed.elapsed() >= self.log.interval {
                self.sign().await?;
            }
            if is_last || self.relay.delivery.shutdown.is_cancelled() {
                return Ok(());
            }
        }
    }

    fn note_oldest(&self, oldest: Option<&DueBundle>) {
        let now = self.relay.delivery.clock.now_ms();
        let age_ms = oldest.map_or(0, |due| now.saturating_sub(due.published_at));
        self.relay.delivery.metrics.unlogged_seconds.set(age_ms / 1_000);
    }

    async fn append(&self, due: Vec<DueBundle>) -> Result<(), StepError> {
        let mut leaves = Vec::with_capacity(due.len());
        let mut tags = HashMap::new();
        for bundle in due {
            let tag = match bundle.tag.or_else(|| tags.get(&bundle.handle).copied()) {
                Some(tag) => tag,
                None => self.tag(bundle.handle.clone()).await?,
            };
            tags.insert(bundle.handle.clone(), tag);
            leaves.push(NewLeaf {
                due: bundle.no,
                handle: bundle.handle,
                leaf: LogLeaf {
                    handle_tag: tag,
                    number: bundle.number,
                    bundle: sha256(&bundle.bytes),
                },
            });
        }
        let size = if leaves.is_empty() {
            self.store().transparency_size().await?
        } else {
            self.store().append_leaves(leaves).await?
        };
        self.relay.delivery.metrics.log_size.set(size);
        Ok(())
    }

    /// On a thread that may block, and one at a time: it takes memory, and a core for a while.
    async fn tag(&self, handle: Handle) -> Result<Hash, NoMemory> {
        let relay = *self.relay.identity.id();
        let computed = tokio::task::spawn_blocking(move || handle_tag(&relay, &handle)).await;
        // It does not panic, and is only cancelled with the runtime.
        computed.unwrap_or(Err(NoMemory))
    }

    /// Signs what the store has, if that is more than the newest head covers.
    async fn sign(&mut self) -> Result<(), StepError> {
        let store = self.store();
        let size = store.transparency_size().await?;
        let newest = store.newest_head().await?;
        if size <= newest.map_or(0, |head| head.size) {
            return Ok(());
        }
        // A log that has leaves has a root.
        let Some(root) = hashes(store, &Plan::root(size)).await?.pop() else {
            return Ok(());
        };
        let head = LogHead {
            version: VERSION,
            relay: *self.relay.identity.id(),
            log: self.log.id,
            size,
            root,
            time: self.relay.delivery.clock.now_ms(),
            map_root: None,
            co_signatures: None,
        };
        let bytes = self.relay.identity.sign_head(&head);
        store.put_head(SignedHead { size, bytes }).await?;
        self.relay.delivery.metrics.heads.add(1);
        self.signed = Stopwatch::start();
        Ok(())
    }
}
