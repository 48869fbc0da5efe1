//! Envelopes go to the link in order, outcomes come back (flow 1, step 6).

use waxwire_shared::{
    api::{
        frames::Notice as SendNotice,
        problem::{Problem, ProblemType},
    },
    hash::sha256,
    ids::{AgentId, Handle, Hash},
};

use super::{Count, Effect, Engine, Notice, Reply, SendOutcome, Waiter};
use crate::{
    fault,
    model::{Refusal, SendToken, Sent, Severity, Status, UnixMs},
    state::{MessageRow, OutboxRow, StateError},
};

/// Envelopes at the relay whose outcome is not known.
const WINDOW: usize = 256;
/// Milliseconds until an envelope is offered again that the relay could not store.
const RETRY_MS: u64 = 1_000;
/// Milliseconds until what nobody repeats is offered again after the relay has said that it is too much.
const LIMITED_MS: u64 = 5_000;
/// Seconds that a refusal without a time of its own asks the agent to wait.
const RETRY_AFTER_S: u64 = 5;
/// A relay clock that is further off than this is told to the agent, in milliseconds.
const SKEW_MS: u64 = 5 * 60 * 1_000;

/// What a refusal of the relay means for a message.
enum Verdict {
    /// For good: the agent is told.
    Final(Refusal),
    /// The outcome is unknown: the same bytes are offered again.
    Later,
}

/// What is told besides with the answer to a send.
#[derive(Debug, Default)]
pub(super) struct Aside {
    backlog: Option<(Handle, u64)>,
    skipped: Vec<Handle>,
    earlier: bool,
}

impl Engine {
    pub(super) fn link_up(&mut self, relay_time: u64, now: UnixMs) -> Result<(), StateError> {
        self.link_down();
        self.volatile.link_up = true;
        self.volatile.suspended = false;
        self.volatile.own_keys.socket_came_up();
        // Receipts that were owed when the proxy last stopped.
        self.expect_receipts(now);
        self.look_at_own_bundle();
        self.groups_up(now)?;
        self.presence_up(now);
        self.ask_for_postponed()?;
        self.declare_all()?;
        self.strangers_up(now)?;
        if relay_time.abs_diff(now) > SKEW_MS {
            let reason = "the relay's clock and this machine's differ by more than five minutes";
            self.alert("clock_skew", Severity::Warning, None, reason, now)?;
        }
        self.tend_keys(now)
    }

    /// What was in flight is offered again, in order, when the link is up.
    pub(super) fn link_down(&mut self) {
        self.volatile.link_up = false;
        self.volatile.sent_up_to = 0;
        self.volatile.in_flight.clear();
        self.volatile.retry_at = None;
        self.volatile.presences.link_down();
        self.volatile.receipts.link_down();
        self.volatile.read_to_end.clear();
    }

    /// Gives the link what waits, as far as the window allows.
    pub(super) fn pump(&mut self) -> Result<(), StateError> {
        let volatile = &mut self.volatile;
        let room = WINDOW.saturating_sub(volatile.in_flight.len());
        if !volatile.link_up || volatile.retry_at.is_some() || room == 0 || self.instance.holds_back() {
            return Ok(());
        }
        for row in self.store.outbox_after(volatile.sent_up_to, room)? {
            volatile.sent_up_to = row.token;
            volatile.in_flight.insert(row.token);
            self.effects.push(Effect::Send(row.token, row.envelope));
        }
        Ok(())
    }

    /// Flow 1, step 6: what the relay answered.
    pub(super) fn outcome(
        &mut self,
        token: SendToken,
        outcome: SendOutcome,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.volatile.in_flight.remove(&token);
        // An envelope that was offered twice is answered twice.
        let Some(row) = self.store.outbox(token)? else {
            return Ok(());
        };
        fault::point("send.answered");
        self.count(Count::Send(outcome_name(&outcome)));
        match outcome {
            SendOutcome::Stored { hash, notice, .. } if hash == row.hash => {
                let aside = self.aside(&row, notice.as_deref())?;
                self.stored(&row, aside, now)
            }
            SendOutcome::Stored { hash, .. } => self.stored_otherwise(&row, &hash, now),
            SendOutcome::Unknown => Ok(()),
            SendOutcome::Refused(problem)
                if problem.problem_type() == Some(ProblemType::EpochClosed) && row.group_row.is_some() =>
            {
                self.group_refuses_epoch(&row, now)
            }
            SendOutcome::Refused(problem)
                if problem.problem_type() == Some(ProblemType::Gone)
                    && row.group_row.is_none()
                    && self.look_who_follows(&row, now)? =>
            {
                Ok(())
            }
            SendOutcome::Refused(problem) => match verdict(&problem, &self.recipient(&row)?) {
                Verdict::Final(Refusal::RateLimited { .. }) if !self.is_repeated_by_others(&row)? => {
                    self.offer_again(token, now + LIMITED_MS);
                    Ok(())
                }
                Verdict::Final(refusal) => {
                    let reason = problem.problem_type().map_or("other", ProblemType::name);
                    self.count(Count::SendRefused(reason));
                    self.refused(&row, refusal, now)
                }
                Verdict::Later => {
                    self.offer_again(token, now + RETRY_MS);
                    Ok(())
                }
            },
        }
    }

    /// Goes back to an envelope: whatever follows keeps its place behind it.
    fn offer_again(&mut self, token: SendToken, at: UnixMs) {
        self.volatile.sent_up_to = self.volatile.sent_up_to.min(token - 1);
        self.volatile.retry_at = Some(at);
    }

    /// Whether somebody comes back to what is refused for now: the agent to a message that it sends, the proxy to a
    /// receipt, which is made anew. Nobody does to other control messages, and to messages that are repaired.
    fn is_repeated_by_others(&self, row: &OutboxRow) -> Result<bool, StateError> {
        match row.message_row {
            Some(message_row) => Ok(!self.store.message_by_row(message_row)?.visible),
            None => Ok(row.receipt_of.is_some()),
        }
    }

    fn recipient(&self, row: &OutboxRow) -> Result<Option<Handle>, StateError> {
        let Some(message_row) = row.message_row else {
            return Ok(None);
        };
        let Some(peer_id) = self.store.message_by_row(message_row)?.peer_id else {
            return Ok(None);
        };
        Ok(Some(self.store.peer_by_id(peer_id)?.handle))
    }

    fn group_refuses_epoch(&mut self, row: &OutboxRow, now: UnixMs) -> Result<(), StateError> {
        match row.group_row {
            Some(group_row) => {
                self.epoch_closed(row, group_row, now)?;
                let group = self.store.group_by_row(group_row)?.group_id;
                self.advance(&group, now)
            }
            None => Ok(()),
        }
    }

    /// What the relay says besides of a message that it has stored: to be told with the answer, or at once.
    fn aside(&mut self, row: &OutboxRow, notice: Option<&SendNotice>) -> Result<Aside, StateError> {
        let Some(notice) = notice else {
            return Ok(Aside::default());
        };
        if let Some(allowance) = notice.allowance {
            self.effects.push(Effect::Notify(Notice::RateLimit(allowance)));
        }
        let skipped = match row.group_row {
            Some(group_row) if !notice.skipped.is_empty() => self.named(group_row, &notice.skipped)?,
            _ => Vec::new(),
        };
        let recipient = self.recipient(row)?.filter(|_| notice.backlog > 0);
        Ok(Aside {
            backlog: recipient.map(|handle| (handle, notice.backlog)),
            skipped,
            earlier: false,
        })
    }

    /// Handles of the members of a group whose ids the relay names.
    fn named(&self, group_row: i64, ids: &[AgentId]) -> Result<Vec<Handle>, StateError> {
        let relay = &self.account.relay;
        let members = self.store.roster_handles(group_row)?.into_iter();
        let named = members.filter(|(identity, _)| ids.contains(&AgentId::of(relay, identity)));
        Ok(named.map(|(_, handle)| handle).collect())
    }

    pub(super) fn stored(&mut self, row: &OutboxRow, aside: Aside, now: UnixMs) -> Result<(), StateError> {
        self.store.remove_outbox(row)?;
        self.volatile.outbox_moved.extend(row.group_row);
        let Some(message_row) = row.message_row else {
            return Ok(());
        };
        let message = self.store.message_by_row(message_row)?;
        if message.visible
            && let Some(own) = self.store.own_envelope(message_row)?
        {
            self.store
                .put_envelope(message_row, &own.mid, &row.hash, own.attempt)?;
        }
        if self.store.has_withdrawn(message.conversation_id)? {
            let core = self.store.core(message_row)?;
            self.store.announced(message.conversation_id, &core.void)?;
        }
        self.show_stored(row.token, &message, aside, now)
    }

    fn show_stored(
        &mut self,
        token: SendToken,
        message: &MessageRow,
        aside: Aside,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let message_row = message.message_row;
        // What was sealed again has its place already.
        if message.visible {
            return self.store.raise_status(message_row, Status::Stored);
        }
        self.store
            .make_visible(message_row, message.conversation_id, None, now)?;
        let message = self.store.view(message_row)?;
        for Waiter {
            request, repeated, ..
        } in self.waiters(token)
        {
            let sent = Sent {
                message: message.clone(),
                repeated: repeated || aside.earlier,
                earlier: aside.earlier,
                backlog: aside.backlog.clone(),
                skipped: aside.skipped.clone(),
            };
            self.reply(request, Ok(Reply::Sent(Box::new(sent))));
        }
        self.effects
            .push(Effect::Notify(Notice::Message(Box::new(message))));
        Ok(())
    }

    /// The relay holds other bytes under this `mid`: those of an attempt that was given up while
    /// its fate was unknown, or of before this agent began anew, or it lies.
    fn stored_otherwise(&mut self, row: &OutboxRow, hash: &Hash, now: UnixMs) -> Result<(), StateError> {
        let Some(message_row) = row.message_row else {
            return self.store.remove_outbox(row);
        };
        let message = self.store.message_by_row(message_row)?;
        // Offered again to a relay that was set back, which has it still.
        let own = self.store.own_envelope(message_row)?;
        if message.visible && own.is_some_and(|own| own.hash == *hash) {
            return self.store.remove_outbox(row);
        }
        // What was sent in a past that this state does not know is not known here either.
        if self.store.was_abandoned(message_row, hash)? || self.store.has_begun_anew()? {
            self.store.remove_outbox(row)?;
            self.store.withdraw(message.conversation_id, message.n)?;
            let aside = Aside {
                earlier: true,
                ..Aside::default()
            };
            return self.show_stored(row.token, &message, aside, now);
        }
        let handle = self.recipient(row)?;
        let reason = "the relay says that it stored other bytes than were sent";
        self.alert(
            "relay_hash_mismatch",
            Severity::Critical,
            handle.as_ref(),
            reason,
            now,
        )?;
        let refusal = match handle {
            Some(handle) => Refusal::RelayLied { handle },
            None => Refusal::Forbidden,
        };
        self.refused(row, refusal, now)
    }

    /// Refused for good: the message is erased, its number withdrawn, its id free. An agent that was told
    /// that the message is queued, and waits no more, finds an alert.
    pub(super) fn refused(
        &mut self,
        row: &OutboxRow,
        refusal: Refusal,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let handle = self.recipient(row)?;
        self.store.remove_outbox(row)?;
        self.volatile.outbox_moved.extend(row.group_row);
        let Some(message_row) = row.message_row else {
            // What the relay does not take now is owed still; other refusals are for good.
            let again = row.receipt_of.filter(|_| is_for_now(&refusal));
            return again.map_or(Ok(()), |session| self.owe_again(session, now));
        };
        let message = self.store.message_by_row(message_row)?;
        self.erase(&message, None, now)?;
        let waiters = self.waiters(row.token);
        if waiters.is_empty() && !message.visible {
            let conversation = self.store.conversation_by_id(message.conversation_id)?.local;
            let reason = "a queued message was refused and is not sent";
            self.alert_in(
                "send_refused",
                Severity::Warning,
                handle.as_ref(),
                Some(&conversation),
                reason,
                now,
            )?;
        }
        for waiter in waiters {
            self.reply(waiter.request, Err(refusal.clone()));
        }
        Ok(())
    }

    /// Given up while its fate is unknown: as refused, but the relay may hold the envelope.
    pub(super) fn give_up(
        &mut self,
        token: SendToken,
        refusal: &Refusal,
        now: UnixMs,
    ) -> Result<(), StateError> {
        self.volatile.in_flight.remove(&token);
        let Some(row) = self.store.outbox(token)? else {
            return Ok(());
        };
        self.store.remove_outbox(&row)?;
        self.volatile.outbox_moved.extend(row.group_row);
        self.count(Count::Send("given_up"));
        let Some(message_row) = row.message_row else {
            return row
                .receipt_of
                .map_or(Ok(()), |session| self.owe_again(session, now));
        };
        let message = self.store.message_by_row(message_row)?;
        let handle = self.recipient(&row)?;
        self.erase(&message, Some(&sha256(&row.envelope)), now)?;
        for waiter in self.waiters(token) {
            self.reply(waiter.request, Err(refusal.clone()));
        }
        if self.volatile.suspended {
            // An alert of its own says so.
            return Ok(());
        }
        let reason = "a message was given up: the relay did not answer before its deadline";
        self.alert("send_given_up", Severity::Warning, handle.as_ref(), reason, now)
    }

    /// Takes a message out of the outbox because it is said otherwise; gives who waits for it.
    pub(super) fn withdraw_row(&mut self, row: &OutboxRow, now: UnixMs) -> Result<Vec<Waiter>, StateError> {
        self.volatile.in_flight.remove(&row.token);
        self.store.remove_outbox(row)?;
        if let Some(message_row) = row.message_row {
            let message = self.store.message_by_row(message_row)?;
            self.erase(&message, None, now)?;
        }
        Ok(self.waiters(row.token))
    }

    fn erase(
        &mut self,
        message: &MessageRow,
        abandoned: Option<&Hash>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        // What was stored once and is being repaired stays as it is.
        if message.visible {
            return Ok(());
        }
        self.owe_ack_again(message, now)?;
        self.store.withdraw(message.conversation_id, message.n)?;
        self.store.forget_sent(message.message_row, abandoned)?;
        self.store.erase_message(message.message_row)
    }

    /// What a message that is not sent would have confirmed is owed again.
    fn owe_ack_again(&mut self, message: &MessageRow, now: UnixMs) -> Result<(), StateError> {
        let ack = self.store.core(message.message_row)?.ack;
        let Some((ack, peer_id)) = ack.zip(message.peer_id) else {
            return Ok(());
        };
        let session = self
            .store
            .session(message.conversation_id, peer_id, &ack.session)?;
        session.map_or(Ok(()), |session| self.owe_again(session.session_row, now))
    }

    fn waiters(&mut self, token: SendToken) -> Vec<Waiter> {
        self.volatile.waiters.remove(&token).unwrap_or_default()
    }
}

const fn is_for_now(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::RateLimited { .. } | Refusal::RecipientBacklogged { .. }
    )
}

const fn outcome_name(outcome: &SendOutcome) -> &'static str {
    match outcome {
        SendOutcome::Stored { repeated: false, .. } => "stored",
        SendOutcome::Stored { repeated: true, .. } => "repeated",
        SendOutcome::Refused(_) => "refused",
        SendOutcome::Unknown => "unknown",
    }
}

/// Final are 400, 403, 404, 410, 413, 429 and 409 other than a closed epoch; everything else is
/// an outcome that nobody knows.
fn verdict(problem: &Problem, recipient: &Option<Handle>) -> Verdict {
    let retry_after = problem.retry_after.unwrap_or(RETRY_AFTER_S);
    let kind = problem.problem_type();
    let refusal = match (problem.status, kind) {
        (403, Some(ProblemType::Blocked)) => Refusal::Blocked,
        (403, Some(ProblemType::Suspended)) => Refusal::Suspended,
        (403, _) => Refusal::Forbidden,
        (404, _) => Refusal::AgentNotFound,
        (410, _) if recipient.is_some() => Refusal::AgentNotFound,
        (410, _) => Refusal::GroupNotFound,
        (429, Some(ProblemType::Backlogged)) => match recipient {
            Some(handle) => Refusal::RecipientBacklogged {
                handle: handle.clone(),
                waiting: problem.limit.as_ref().map_or(0, |limit| limit.actual),
                retry_after,
            },
            None => Refusal::RateLimited { retry_after },
        },
        (429, _) => Refusal::RateLimited { retry_after },
        (409, Some(ProblemType::EpochClosed)) => return Verdict::Later,
        (400 | 409 | 413, _) => Refusal::Invalid("the relay does not accept the envelope"),
        _ => return Verdict::Later,
    };
    Verdict::Final(refusal)
}
