//! Messages of this agent to a group (flow 5).

use waxwire_shared::{
    hash::sha256,
    ids::{ConversationId, GroupId, Mid},
    wire::{Context, ControlBody, Document as _, Envelope, GroupHeader, Kind, VERSION},
};

use super::{ASK_AGAIN_MS, Engine, GroupView, Wanted, goals::Step};
use crate::{
    crypto::{kdf, message},
    engine::{
        Waiter,
        send::{CONTROL_DEADLINE_MS, Sealed},
    },
    fault,
    model::{Refusal, SendRequest, UnixMs},
    state::{
        Direction, EpochRow, EpochState, GroupRow, HeadReader, Hold, NewMessage, OutboxRow, Standing,
        StateError, Stop,
    },
};

/// How often the relay may refuse an epoch that the log shows as open before messages wait.
const ROUNDS: u32 = 3;

/// Whether something can be sealed now.
pub(super) enum Ready {
    /// Under this epoch.
    Yes(EpochRow),
    /// Not yet; what is missing is under way.
    No(Option<Refusal>),
}

impl Engine {
    /// Flow 5, steps 1 to 3.
    pub(super) fn step_send(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        wanted: &Wanted,
        request: &SendRequest,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        let earlier = self.store.sent_id(&request.client_msg_id)?;
        if let Some(earlier) = earlier
            && self.answer_earlier(wanted.request, earlier, now)?
        {
            return Ok(Step::Handed);
        }
        let epoch = match self.ready(row, view, now)? {
            Ready::Yes(epoch) => epoch,
            Ready::No(None) => return Ok(Step::Wait),
            Ready::No(Some(refusal)) => return Ok(refusal.into()),
        };
        if let Some(refusal) = self.unconfirmed(row, epoch.epoch)? {
            return Ok(refusal.into());
        }
        let Some(conversation) = self.store.conversation(&row.local())? else {
            return Ok(Refusal::GroupNotFound.into());
        };
        let core = self.core(request, Kind::Group, &conversation, now)?;
        let core_bytes = core.encode();
        let group = ConversationId::group(&row.group_id);
        let mid = kdf::mid(&self.account.send_id_key, &group, &request.client_msg_id, 0);
        let Some(sealed) = self.seal_in_group(row, view, &epoch, Kind::Group, &core_bytes, mid, now)? else {
            return Ok(Refusal::Invalid("the message does not fit into an envelope").into());
        };
        let new = NewMessage {
            conversation_id: conversation.conversation_id,
            peer_id: None,
            direction: Direction::Out,
            core: &core,
            signed: &sealed.message,
            hold: Hold::None,
            epoch: Some(epoch.epoch),
            late: false,
            repeats: 0,
            envelope: Some((mid, sha256(&sealed.envelope))),
        };
        let message_row = self.store.insert_message(&mut *self.rng, &new, now)?;
        self.store
            .put_out_number(conversation.conversation_id, core.n, &sha256(&core_bytes))?;
        self.store.put_sent_id(&request.client_msg_id, message_row)?;
        let deadline = now + self.settings.send_deadline;
        let token = self.store.push_outbox(
            Some(message_row),
            Some(row.group_row),
            &sealed.envelope,
            &sha256(&sealed.envelope),
            deadline,
        )?;
        self.count_content(request, now);
        fault::point("send.before_commit");
        self.volatile.waiters.entry(token).or_default().push(Waiter {
            request: wanted.request,
            until: wanted.until,
            repeated: false,
        });
        Ok(Step::Handed)
    }

    /// The epoch under which this agent may seal now. What is missing for one is begun: a closed epoch
    /// is replaced before anything else is sealed.
    pub(super) fn ready(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        now: UnixMs,
    ) -> Result<Ready, StateError> {
        if row.standing != Standing::Member {
            return Ok(Ready::No(Some(Refusal::GroupNotFound)));
        }
        match row.stop {
            Some(Stop::Forked) => {
                let group = row.local();
                return Ok(Ready::No(Some(Refusal::RosterFork { group })));
            }
            Some(Stop::Withheld) => return Ok(Ready::No(None)),
            None => {}
        }
        // What an own leave on its way names as the last is the last.
        if self.is_leaving(row)? {
            return Ok(Ready::No(None));
        }
        let epoch = self.store.epoch(row.group_row, view.roster.epoch())?;
        let usable = epoch.as_ref().map(|epoch| epoch.state);
        if view.roster.hard_debt().is_none()
            && !row.renew
            && let Some(epoch) = epoch
        {
            if epoch.state == EpochState::Adopted && self.has_chain_left(&epoch)? {
                return Ok(Ready::Yes(epoch));
            }
            if epoch.state == EpochState::Wanted {
                return Ok(Ready::No(None));
            }
        }
        tracing::debug!(?usable, "an epoch is replaced before a message is sealed");
        match self.commit(row, view, Vec::new(), true, now)? {
            super::commits::Committed::Waiting => Ok(Ready::No(None)),
            super::commits::Committed::Refused(refusal) => Ok(Ready::No(Some(refusal))),
        }
    }

    fn has_chain_left(&self, epoch: &EpochRow) -> Result<bool, StateError> {
        let own = self.store.chain(epoch.epoch_row, &self.account.agent_id)?;
        Ok(own.is_some_and(|own| own.chain.take().is_ok()))
    }

    /// Seals under the own chain, which steps forward. `None` if it does not fit.
    #[expect(clippy::too_many_arguments, reason = "one envelope has this many parts")]
    pub(super) fn seal_in_group(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        epoch: &EpochRow,
        kind: Kind,
        core: &[u8],
        mid: Mid,
        now: UnixMs,
    ) -> Result<Option<Sealed>, StateError> {
        let own = self.store.chain(epoch.epoch_row, &self.account.agent_id)?;
        let Some((chain_row, taken)) = own.map(|own| (own.chain_row, own.chain.take())) else {
            return Ok(None);
        };
        let Ok((i, key, next)) = taken else {
            return Ok(None);
        };
        let header = GroupHeader {
            suite: view.roster.suite(),
            mid,
            group: row.group_id,
            epoch: epoch.epoch,
            roster_head: view.roster.head(),
            sender: self.account.agent_id,
            i,
        }
        .encode();
        let context = Context {
            header: header.clone(),
            recipient_handle: None,
            recipient: None,
            recipient_key_number: None,
            sender_key_number: None,
            sender_bundle: None,
            log_head: None,
        };
        let head = self.head_to_send(HeadReader::Group(row.group_row), now)?;
        let (message, carries_head) =
            message::sign_with_head(&self.account.identity, kind, context, core, head);
        let Ok(ciphertext) = message::seal_group(&mut *self.rng, key, &header, kind, &message) else {
            return Ok(None);
        };
        self.store.put_chain(&mut *self.rng, chain_row, &next, now)?;
        self.store.count_ciphertext(epoch.epoch_row, true)?;
        let envelope = Envelope {
            header: &header,
            ciphertext: &ciphertext,
        }
        .to_bytes();
        let sealed = Sealed {
            message,
            envelope,
            carries_head,
        };
        self.note_head_carried(&sealed, HeadReader::Group(row.group_row), now)?;
        Ok(Some(sealed))
    }

    /// A control message to all members, put into the outbox; gives it as it was signed.
    pub(super) fn queue_group_control(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        epoch: &EpochRow,
        kind: Kind,
        body: Vec<u8>,
        now: UnixMs,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let core = ControlBody {
            version: VERSION,
            suite: view.roster.suite(),
            kind,
            handle: self.account.handle.clone(),
            identity: self.account.identity.public().clone(),
            conversation: ConversationId::group(&row.group_id),
            session: self.account.session,
            incarnation: self.account.incarnation,
            time: now,
            body,
        };
        let mut mid = [0; Mid::LENGTH];
        self.rng.fill_bytes(&mut mid);
        let mid = Mid::from_bytes(mid);
        let sealed = self.seal_in_group(row, view, epoch, kind, &core.encode(), mid, now)?;
        let Some(Sealed {
            message, envelope, ..
        }) = sealed
        else {
            return Ok(None);
        };
        self.store.push_outbox(
            None,
            Some(row.group_row),
            &envelope,
            &sha256(&envelope),
            now + CONTROL_DEADLINE_MS,
        )?;
        Ok(Some(message.encode()))
    }

    /// The relay says that the epoch of an envelope is closed: the log says what to do.
    pub(in crate::engine) fn epoch_closed(
        &mut self,
        outbox: &OutboxRow,
        group_row: i64,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let row = self.store.group_by_row(group_row)?;
        if outbox.message_row.is_some() {
            self.store.park_outbox(outbox.token)?;
        } else {
            // Profiles are sent again whenever they have to be; nothing else is owed.
            self.store.remove_outbox(outbox)?;
            self.owe_profile(&row)?;
        }
        let task = self.task(&row.group_id);
        task.rounds += 1;
        if task.rounds > ROUNDS {
            task.again_at = Some(now + ASK_AGAIN_MS);
        }
        task.reseal = true;
        self.ask_log(&row);
        Ok(())
    }

    /// Messages that the relay refused for their epoch are sealed again: new context, signature and
    /// index; the same core, number and `mid`.
    pub(super) fn drive_reseal(&mut self, group: &GroupId, now: UnixMs) -> Result<(), StateError> {
        let Some(row) = self.store.group(group)? else {
            return Ok(());
        };
        let task = self.task(group);
        if task.again_at.is_some() || task.log_asked {
            return Ok(());
        }
        let parked = self.store.parked_of_group(row.group_row)?;
        if parked.is_empty() {
            return Ok(());
        }
        let Some(view) = self.group_view(&row)? else {
            return Ok(());
        };
        for outbox in parked {
            let epoch = match self.ready(&row, &view, now)? {
                Ready::Yes(epoch) => epoch,
                Ready::No(None) => return Ok(()),
                Ready::No(Some(refusal)) => {
                    self.refused(&outbox, refusal, now)?;
                    continue;
                }
            };
            match self.unconfirmed(&row, epoch.epoch)? {
                Some(refusal) if outbox.message_row.is_some() => self.refused(&outbox, refusal, now)?,
                _ => self.reseal(&row, &view, &epoch, &outbox, now)?,
            }
        }
        Ok(())
    }

    fn reseal(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        epoch: &EpochRow,
        outbox: &OutboxRow,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let header = Envelope::split(&outbox.envelope)
            .ok()
            .and_then(|envelope| GroupHeader::decode(envelope.header).ok());
        let (Some(header), Some(message_row)) = (header, outbox.message_row) else {
            return self.store.remove_outbox(outbox);
        };
        let core = self.store.signed(message_row)?.core;
        let sealed = self.seal_in_group(row, view, epoch, Kind::Group, &core, header.mid, now)?;
        let Some(sealed) = sealed else {
            return self.refused(
                outbox,
                Refusal::Invalid("the message does not fit into an envelope"),
                now,
            );
        };
        self.store.put_signed(
            &mut *self.rng,
            message_row,
            &sealed.message,
            Some(epoch.epoch),
            now,
        )?;
        let hash = sha256(&sealed.envelope);
        // What was stored once may still be there as it was.
        if !self.store.message_by_row(message_row)?.visible {
            self.store.put_envelope(message_row, &header.mid, &hash, 0)?;
        }
        self.store.remove_outbox(outbox)?;
        let token = self.store.push_outbox(
            Some(message_row),
            Some(row.group_row),
            &sealed.envelope,
            &hash,
            outbox.deadline,
        )?;
        if let Some(waiters) = self.volatile.waiters.remove(&outbox.token) {
            self.volatile.waiters.insert(token, waiters);
        }
        fault::point("reseal.before_commit");
        Ok(())
    }

    /// Nothing that waits for a group can be sent any more.
    pub(super) fn refuse_group_outbox(&mut self, row: &GroupRow, now: UnixMs) -> Result<(), StateError> {
        for outbox in self.store.outbox_of_group(row.group_row)? {
            self.volatile.in_flight.remove(&outbox.token);
            self.refused(&outbox, Refusal::GroupNotFound, now)?;
        }
        Ok(())
    }
}
