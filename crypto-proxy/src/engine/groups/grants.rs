//! History for those who join: signed messages of the group, verbatim, as direct messages of whoever
//! invited them (docs/protocol.md, 6.10). Keys are never shared.

use waxwire_shared::{
    identity::IdentityKey,
    message::{Body, UnverifiedMessage},
    sign::Verified,
    wire::{Commit, ControlBody, Document as _, HistoryGrant, Kind, MessageBytes},
};

use super::{Engine, GroupView};
use crate::{
    engine::{answers::in_parts, receive::is_well_formed},
    model::{HistoryShare, Severity, UnixMs},
    state::{GrantedMessage, GroupRow, PeerRow, Standing, StateError},
};

/// Most bytes of signed messages in one grant, unless a single one is longer.
const PART: usize = 40 * 1024;
/// Most messages that are granted.
const MESSAGES: usize = 10_000;

impl Engine {
    /// The local number after which a grant begins.
    pub(super) fn share_from(
        &self,
        row: &GroupRow,
        view: &GroupView,
        share: HistoryShare,
    ) -> Result<u64, StateError> {
        match share {
            HistoryShare::AfterSeq(seq) => Ok(seq),
            HistoryShare::Current => self
                .store
                .seq_before_epoch(row.conversation_id, view.roster.epoch()),
        }
    }

    /// Whoever joined by an invite of this agent gets the history that was promised.
    pub(super) fn grant_history(
        &mut self,
        row: &GroupRow,
        identity: &IdentityKey,
        joined: &Verified<Commit>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(after_seq) = self.store.take_grant(row.group_row, identity)? else {
            return Ok(());
        };
        let Some(view) = self.group_view(row)? else {
            return Ok(());
        };
        let handle = view.roster.member(identity).map(|member| member.handle.clone());
        let Some(handle) = handle else { return Ok(()) };
        let peer = self.store.peer(&handle)?;
        let Some(peer) = peer.filter(|peer| peer.identity == *identity) else {
            return Ok(());
        };
        let items = self
            .store
            .signed_after(row.conversation_id, after_seq, MESSAGES)?;
        let parts = in_parts(items, PART);
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        for (part, items) in (0..).zip(parts) {
            let grant = HistoryGrant {
                group: row.group_id,
                part,
                parts: count,
                items,
                joined: joined.hash(),
            };
            self.queue_control(&peer, Kind::HistoryGrant, grant.encode(), now)?;
        }
        Ok(())
    }

    /// History that a member grants to this agent.
    pub(in crate::engine) fn take_history(
        &mut self,
        peer: &PeerRow,
        body: &ControlBody,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Ok(grant) = HistoryGrant::decode(&body.body) else {
            let reason = "a grant of history breaks a rule of its format";
            return self.refuse_grant(peer, reason, now);
        };
        let row = self.store.group(&grant.group)?;
        let Some(row) = row.filter(|row| row.standing == Standing::Member) else {
            let reason = "history of a group was granted that this agent is not in";
            return self.refuse_grant(peer, reason, now);
        };
        let Some(view) = self.group_view(&row)? else {
            return Ok(());
        };
        if view.roster.member(&peer.identity).is_none() || !self.joined_by(&row, &view, &grant)? {
            let reason = "history was granted for another membership than this agent's";
            return self.refuse_grant(peer, reason, now);
        }
        for item in &grant.items {
            match self.judge_item(&view, item) {
                Some((signed, core)) => self.show_granted(&row, peer, &signed, &core, now)?,
                None => {
                    let reason = "granted history holds a message that does not verify; it is left out";
                    self.refuse_grant(peer, reason, now)?;
                }
            }
        }
        Ok(())
    }

    fn refuse_grant(&mut self, peer: &PeerRow, reason: &str, now: UnixMs) -> Result<(), StateError> {
        self.alert(
            "grant_refused",
            Severity::Warning,
            Some(&peer.handle),
            reason,
            now,
        )
    }

    /// Whether a grant names the commit by which this agent joined.
    fn joined_by(&self, row: &GroupRow, view: &GroupView, grant: &HistoryGrant) -> Result<bool, StateError> {
        let Some(own) = view.roster.member(self.account.identity.public()) else {
            return Ok(false);
        };
        let commit = self.stored_commit(row, own.joined)?;
        Ok(commit.is_some_and(|commit| commit.hash() == grant.joined))
    }

    /// docs/protocol.md, 6.8, steps 4 to 6, for a message without an envelope.
    fn judge_item(
        &self,
        view: &GroupView,
        item: &[u8],
    ) -> Option<(MessageBytes, waxwire_shared::wire::Core)> {
        let message = UnverifiedMessage::from_message(MessageBytes::decode(item).ok()?).ok()?;
        let message = message.verify().ok()?;
        let header = message.check_member(&self.account.relay).ok()?;
        let position = view.history.position_of(&header.roster_head)?;
        view.history.role_at(message.signer(), position)?;
        let right = header.group == *view.roster.group();
        let (signed, _, body) = message.into_parts();
        match body {
            Body::Content(core) if right && is_well_formed(&core) => Some((signed, core)),
            _ => None,
        }
    }

    fn show_granted(
        &mut self,
        row: &GroupRow,
        peer: &PeerRow,
        signed: &MessageBytes,
        core: &waxwire_shared::wire::Core,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let granted = GrantedMessage {
            conversation_id: row.conversation_id,
            granted_by: peer.peer_id,
            core,
            signed,
        };
        match self.store.insert_granted(&mut *self.rng, &granted, now)? {
            Some(message_row) => self.show(message_row, row.conversation_id, None, now),
            None => Ok(()),
        }
    }
}
