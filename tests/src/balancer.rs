//! Where the nodes of a relay are, and which of them a tap goes to.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Where a program listens now, if it runs; shared with the taps in front of it.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts(Arc<Mutex<Option<SocketAddr>>>);

impl Whereabouts {
    /// Where it listens.
    #[must_use]
    pub fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It listens elsewhere, or nowhere.
    pub fn set(&self, address: Option<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

/// The way of one tap to the nodes of a relay: to one that it prefers, or another while that does not run.
#[derive(Debug, Clone)]
pub struct Balancer {
    nodes: Arc<[Whereabouts]>,
    first: Arc<AtomicUsize>,
    scatters: Arc<AtomicBool>,
}

impl Balancer {
    /// To these, and rather to that one.
    #[must_use]
    pub fn new(nodes: Vec<Whereabouts>, first: usize) -> Self {
        Self {
            nodes: nodes.into(),
            first: Arc::new(AtomicUsize::new(first)),
            scatters: Arc::default(),
        }
    }

    /// From now on rather to this one.
    pub(crate) fn prefer(&self, node: usize) {
        self.first.store(node, Ordering::SeqCst);
    }

    /// From now on to one after the other.
    pub(crate) fn scatter(&self) {
        self.scatters.store(true, Ordering::SeqCst);
    }

    /// Where the next connection goes.
    #[must_use]
    pub fn get(&self) -> Option<SocketAddr> {
        let step = usize::from(self.scatters.load(Ordering::SeqCst));
        let first = self.first.fetch_add(step, Ordering::SeqCst);
        let turned = (first..).take(self.nodes.len());
        turned
            .into_iter()
            .find_map(|node| self.nodes[node % self.nodes.len()].get())
    }
}

impl From<Whereabouts> for Balancer {
    fn from(only: Whereabouts) -> Self {
        Self::new(vec![only], 0)
    }
}
