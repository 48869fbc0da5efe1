//! Wakes crypto proxies that keep no socket: calls the webhook of an agent when one of its queues has
//! grown (docs/relay-api.md, Wake-ups).
//!
//! A wake-up is a hint and carries no envelope. The writer's path knows nothing of it: the hub notes which
//! queues have grown; the task here asks the store whose hooks that concerns, leaves out who has a socket,
//! and writes down that a wake-up is owed. An agent is owed one at a time, however much has grown. After
//! a crash the backlogs themselves say who is owed one. Of several relays on a database each writes down what it
//! stored, and one makes the calls.
//!
//! [`rules`] says whom the relay may call, for agents choose the URLs; a call itself is one of
//! `waxwire_outbound`.

mod grown;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use tokio::task::JoinSet;
use waxwire_outbound::hook::{CallFault, Caller, Post};
use waxwire_shared::{
    api::{frames::Cursor, hooks::WakeupBody},
    hook,
};

pub use self::{
    grown::Grown,
    rules::{HookAllow, HookRules},
};
use crate::{
    delivery::Delivery,
    logging::{self, Course},
    metrics::Waking,
    store::{AgentNo, Duty, QueueNo, ReadError, Wakeup, WakeupFailure, WriteError},
};

/// Milliseconds from each failed call to the next.
const LADDER_MS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 16_000];
/// The last of them: nothing is put off for longer.
const LONGEST_MS: u64 = LADDER_MS[LADDER_MS.len() - 1];
/// Least time between two calls for one agent.
const PAUSE_MS: u64 = 1_000;
/// Calls at one time.
const CALLS: usize = 64;
/// Wake-ups that are looked at at once.
const PAGE: usize = 256;
/// How often the table is looked at: a command may have put something there.
const LOOK: Duration = Duration::from_secs(1);

/// How long what grows is gathered.
const GATHER: Duration = Duration::from_millis(50);

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A call that has ended.
struct Called {
    wakeup: Wakeup,
    outcome: Result<(), CallFault>,
}

/// The task's memory. It may be lost.
struct Waker {
    delivery: Arc<Delivery>,
    caller: Arc<Caller>,
    calls: JoinSet<Called>,
    under_way: HashSet<AgentNo>,
    /// When agents were last called, Unix milliseconds.
    called: HashMap<AgentNo, u64>,
}

/// What a hook is told, signed at this time.
fn post(wakeup: &Wakeup, seconds: u64) -> Post {
    let body = WakeupBody {
        agent: wakeup.id,
        queue: wakeup.cursor.queue,
        head: wakeup.cursor.position,
    };
    // Three texts and numbers always have a JSON form.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let signature = hook::sign(wakeup.secret.as_bytes(), seconds, &body);
    Post {
        headers: vec![(HeaderName::from_static(hook::HEADER), signature)],
        body: body.into(),
    }
}

/// Calls until the relay stops. A call that is under way then is made again after the next start.
pub async fn follow(delivery: Arc<Delivery>, caller: Caller) {
    let mut waker = Waker {
        delivery: Arc::clone(&delivery),
        caller: Arc::new(caller),
        calls: JoinSet::new(),
        under_way: HashSet::new(),
        called: HashMap::new(),
    };
    if let Err(error) = waker.begin().await {
        tracing::error!(error = %logging::chain(&error), "cannot tell who is owed a wake-up");
    }
    let (grown, mut course) = (delivery.hub.grown(), Course::default());
    loop {
        match waker.step().await {
            Ok(()) if course.turns(true) => tracing::info!("wakes crypto proxies again"),
            Err(error) if course.turns(false) => {
                tracing::error!(error = %logging::chain(&error), "cannot wake crypto proxies");
            }
            _ => {}
        }
        tokio::select! {
            () = delivery.shutdown.cancelled() => return,
            // What grows together is looked at together.
            () = grown.stirred() => tokio::time::sleep(GATHER).await,
            Some(called) = waker.calls.join_next() => if let Ok(called) = called {
                waker.record(called).await;
            },
            () = tokio::time::sleep(LOOK), if grown.is_watched() || delivery.store.has_others() => {}
        }
    }
}

impl Waker {
    /// Whoever has a hook and a backlog is owed a wake-up: it may have been lost with the last run.
    async fn begin(&mut self) -> Result<(), StepError> {
        let now = self.delivery.clock.now_ms();
        let hooks = self.delivery.store.owe_backlogs(now).await?;
        if hooks > 0 {
            self.delivery.hub.grown().watch();
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), StepError> {
        self.owe().await?;
        if self.delivery.hub.grown().is_watched() {
            self.call_due().await
        } else if self.delivery.store.has_others() {
            // The first hook may have been set at another relay.
            self.begin().await
        } else {
            Ok(())
        }
    }

    /// Writes down who is owed a wake-up. What could not be written is looked at again.
    async fn owe(&mut self) -> Result<(), StepError> {
        let now = self.delivery.clock.now_ms();
        self.called.retain(|_, at| *at + PAUSE_MS > now);
        let grown = self.delivery.hub.grown().take();
        let written = self.owe_for(&grown, now).await;
        if written.is_err() {
            self.delivery.hub.grown().put_back(grown);
        }
        written
    }

    async fn owe_for(&self, grown: &HashMap<QueueNo, Cursor>, now: u64) -> Result<(), StepError> {
        let mut owed = Vec::new();
        for (queue_no, cursor) in grown {
            let hooked = self.delivery.store.hooked_readers(*queue_no).await?;
            let there = self.delivery.with_sockets(hooked.clone()).await;
            for agent in hooked.into_iter().filter(|agent| !there.contains(agent)) {
                let due_at = self.called.get(&agent).map_or(now, |at| at + PAUSE_MS);
                owed.push((agent, *cursor, due_at));
            }
        }
        if !owed.is_empty() {
            self.delivery.store.owe_wakeups(owed, now).await?;
        }
        Ok(())
    }

    async fn call_due(&mut self) -> Result<(), StepError> {
        let now = self.delivery.clock.now_ms();
        let due = self.delivery.store.due_wakeups(now, LONGEST_MS, PAGE).await?;
        if due.is_empty() || !self.delivery.store.has_duty(Duty::Wakeups).await? {
            return Ok(());
        }
        for wakeup in due {
            if self.calls.len() >= CALLS {
                break;
            }
            if !self.under_way.contains(&wakeup.agent) {
                self.call(wakeup, now).await?;
            }
        }
        Ok(())
    }

    async fn call(&mut self, wakeup: Wakeup, now: u64) -> Result<(), StepError> {
        if !self.delivery.with_sockets(vec![wakeup.agent]).await.is_empty() {
            // It has come by itself.
            self.delivery
                .store
                .settle_wakeup(wakeup.agent, wakeup.serial, now)
                .await?;
            return Ok(());
        }
        self.under_way.insert(wakeup.agent);
        self.called.insert(wakeup.agent, now);
        let caller = Arc::clone(&self.caller);
        self.calls.spawn(async move {
            let outcome = caller.call(&wakeup.url, post(&wakeup, now / 1_000)).await;
            Called { wakeup, outcome }
        });
        Ok(())
    }

    /// What grew during the call is owed another one.
    async fn record(&mut self, called: Called) {
        let Called { wakeup, outcome } = called;
        self.under_way.remove(&wakeup.agent);
        let (delivery, now) = (&self.delivery, self.delivery.clock.now_ms());
        let recorded = match outcome {
            Ok(()) => {
                delivery.metrics.count_waking(Waking::Woken);
                let next = now + PAUSE_MS;
                delivery
                    .store
                    .settle_wakeup(wakeup.agent, wakeup.serial, next)
                    .await
            }
            Err(fault) => {
                tracing::debug!(%fault, attempts = wakeup.attempts + 1, "a crypto proxy was not woken");
                let step = LADDER_MS.get(wakeup.attempts as usize);
                let end = if step.is_some() {
                    Waking::Failed
                } else {
                    Waking::GivenUp
                };
                delivery.metrics.count_waking(end);
                let failure = WakeupFailure {
                    agent: wakeup.agent,
                    due_at: step.map(|step| now + step),
                    reason: fault.to_string(),
                };
                delivery.store.fail_wakeup(failure, now).await
            }
        };
        if let Err(error) = recorded {
            // It is called for again.
            tracing::error!(error = %logging::chain(&error), "cannot write what became of a wake-up");
        }
    }
}
