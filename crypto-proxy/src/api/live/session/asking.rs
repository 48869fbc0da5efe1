//! What a socket asks of the engine: settle what was taken, and whatever else its client says. One
//! command at a time; acks that have come together meanwhile are one.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;

use crate::{
    api::{ApiState, live::client::Said},
    engine::Command,
    model::{DeliveryId, MessageId},
};

/// Most things that wait; beyond it the client is neither read nor told anything more.
const LIMIT: usize = 512;

pub(super) struct Asking {
    state: ApiState,
    /// Written, but not known to have left.
    unflushed: Vec<DeliveryId>,
    /// Has left, to a client that acknowledges nothing.
    left: Vec<DeliveryId>,
    acknowledged: Vec<MessageId>,
    others: VecDeque<Command>,
    asked: Option<BoxFuture<'static, ()>>,
}

impl Asking {
    pub(super) const fn new(state: ApiState) -> Self {
        Self {
            state,
            unflushed: Vec::new(),
            left: Vec::new(),
            acknowledged: Vec::new(),
            others: VecDeque::new(),
            asked: None,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.unflushed.len() + self.left.len() + self.acknowledged.len() + self.others.len() >= LIMIT
    }

    /// Takes what the client says.
    pub(super) fn hear(&mut self, text: &str) {
        match Said::parse(text) {
            Some(Said::Ack(message)) => self.acknowledged.push(message),
            Some(Said::Ask(command)) => self.others.push_back(command),
            Some(Said::Hello(_)) | None => {}
        }
    }

    /// A delivery was written that settles once it has left.
    pub(super) fn written(&mut self, delivery: Option<DeliveryId>) {
        self.unflushed.extend(delivery);
    }

    /// What was written has left.
    pub(super) fn flushed(&mut self) {
        self.left.append(&mut self.unflushed);
    }

    /// Asks the next thing and waits for its answer; for ever if there is nothing to ask. Nothing is
    /// lost if the future is dropped.
    pub(super) async fn answered(&mut self) {
        if self.asked.is_none() {
            self.asked = self.next().map(|command| ask(self.state.clone(), command));
        }
        match &mut self.asked {
            Some(asked) => asked.await,
            None => std::future::pending().await,
        }
        self.asked = None;
    }

    /// Asks everything that waits.
    pub(super) async fn finish(&mut self) {
        while self.asked.is_some() || self.waits() {
            self.answered().await;
        }
    }

    fn waits(&self) -> bool {
        !(self.acknowledged.is_empty() && self.left.is_empty() && self.others.is_empty())
    }

    fn next(&mut self) -> Option<Command> {
        if !self.acknowledged.is_empty() {
            return Some(Command::SettleMessages(std::mem::take(&mut self.acknowledged)));
        }
        if !self.left.is_empty() {
            return Some(Command::Settle(std::mem::take(&mut self.left)));
        }
        self.others.pop_front()
    }
}

fn ask(state: ApiState, command: Command) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if let Err(refusal) = state.backend().command(command).await {
            // What is not settled is offered again: delivered twice at worst.
            tracing::debug!(%refusal, "what a socket asked was refused");
        }
    })
}
