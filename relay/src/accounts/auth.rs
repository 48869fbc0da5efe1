//! From an API key to an account, mostly from memory.
//!
//! What changes a key or a suspension leaves an event in the store, whoever did it: this process,
//! another node or the command line. Every process follows these events. While it cannot, it looks
//! each key up anew.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use waxwire_shared::ids::Hash;

use super::credential;
use crate::{
    clock::Stopwatch,
    store::{Account, AgentNo, ReadError, Store},
};

/// Accounts that are remembered.
const ACCOUNTS: usize = 100_000;
/// How long memory is believed without news from the store.
const BELIEVE: Duration = Duration::from_secs(5);

/// Why a request has no account.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No API key, or one that is not valid.
    #[error("no valid api key")]
    Unknown,
    /// The agent is suspended.
    #[error("the agent is suspended")]
    Suspended,
    /// The store did not answer.
    #[error("the api key cannot be looked up")]
    Read(#[from] ReadError),
}

#[derive(Debug)]
struct Memory {
    accounts: HashMap<Hash, Account>,
    /// When the store's events were last seen.
    seen: Stopwatch,
}

/// Accounts by API key.
#[derive(Debug)]
pub struct Auth {
    memory: Mutex<Memory>,
    /// Grows with everything that is forgotten, so that a lookup that began before is not remembered.
    generation: AtomicU64,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            memory: Mutex::new(Memory {
                accounts: HashMap::new(),
                seen: Stopwatch::start(),
            }),
            generation: AtomicU64::new(0),
        }
    }
}

impl Auth {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of an API key.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(&self, store: &Store, api_key: &str) -> Result<Account, AuthError> {
        if !credential::is_api_key(api_key) {
            return Err(AuthError::Unknown);
        }
        self.authenticate_hash(store, credential::hash(api_key)).await
    }

    /// The account of an API key that was valid a moment ago, with which something goes on that only now can be ended.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn confirm(&self, store: &Store, account: &Account) -> Result<Account, AuthError> {
        self.authenticate_hash(store, account.key).await
    }

    async fn authenticate_hash(&self, store: &Store, hash: Hash) -> Result<Account, AuthError> {
        let known = {
            let memory = self.memory();
            (memory.seen.elapsed() < BELIEVE)
                .then(|| memory.accounts.get(&hash).copied())
                .flatten()
        };
        let account = match known {
            Some(account) => account,
            None => self.look_up(store, hash).await?,
        };
        if account.suspended {
            return Err(AuthError::Suspended);
        }
        Ok(account)
    }

    async fn look_up(&self, store: &Store, hash: Hash) -> Result<Account, AuthError> {
        let before = self.generation.load(Ordering::Acquire);
        let account = store.account_by_key(&hash).await?.ok_or(AuthError::Unknown)?;
        let mut memory = self.memory();
        if self.generation.load(Ordering::Acquire) == before {
            if memory.accounts.len() >= ACCOUNTS {
                memory.accounts.clear();
            }
            memory.accounts.insert(hash, account);
        }
        Ok(account)
    }

    /// Forgets what is known of an agent's keys.
    pub fn forget(&self, agent: AgentNo) {
        let mut memory = self.memory();
        self.generation.fetch_add(1, Ordering::AcqRel);
        memory.accounts.retain(|_, account| account.agent != agent);
    }

    /// Notes that all events up to now have been seen.
    pub fn up_to_date(&self) {
        self.memory().seen = Stopwatch::start();
    }
}
