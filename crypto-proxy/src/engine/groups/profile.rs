//! Name, topic and avatar of a group: sealed control messages of its admins (docs/protocol.md, 6.10).

use serde_json::json;
use waxwire_shared::{
    hash::sha256,
    ids::GroupId,
    message::{Body, UnverifiedMessage},
    wire::{ControlBody, Document as _, Kind, MessageBytes, Profile, Resend, Role},
};

use super::{Engine, GroupView, events::Actor, goals::Step, send::Ready};
use crate::{
    model::{GroupProfile, ProfileChange, Refusal, Severity, UnixMs},
    state::{GroupRow, ProfileDue, StateError, StoredProfile},
};

impl Engine {
    /// The profile as it is kept.
    pub(super) fn profile_of(&self, row: &GroupRow) -> Result<GroupProfile, StateError> {
        Ok(self.store.profile(row.group_row)?.shown())
    }

    /// The agent changes the profile: it is signed, kept and sent in one transaction.
    pub(super) fn step_update(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        change: &ProfileChange,
        now: UnixMs,
    ) -> Result<Step, StateError> {
        if !self.is_admin(view) {
            return Ok(Refusal::NotAdmin.into());
        }
        let current = self.profile_of(row)?;
        let mut wanted = current.clone();
        if let Some(name) = &change.name {
            wanted.name.clone_from(name);
        }
        if let Some(description) = &change.description {
            wanted.description.clone_from(description);
        }
        if let Some(avatar) = &change.avatar {
            wanted.avatar.clone_from(avatar);
        }
        if wanted == current {
            return self.answer_group(row);
        }
        match self.send_profile(row, view, wanted, now)? {
            Ready::Yes(_) => self.answer_group(row),
            Ready::No(None) => Ok(Step::Wait),
            Ready::No(Some(refusal)) => Ok(refusal.into()),
        }
    }

    fn send_profile(
        &mut self,
        row: &GroupRow,
        view: &GroupView,
        profile: GroupProfile,
        now: UnixMs,
    ) -> Result<Ready, StateError> {
        let epoch = match self.ready(row, view, now)? {
            Ready::Yes(epoch) => epoch,
            not_yet @ Ready::No(_) => return Ok(not_yet),
        };
        let revision = row.profile_revision + 1;
        let body = Profile {
            group: row.group_id,
            revision,
            name: profile.name,
            topic: profile.description,
            avatar: profile.avatar,
        };
        let signed = self.queue_group_control(row, view, &epoch, Kind::Profile, body.encode(), now)?;
        if let Some(signed) = signed {
            let kept = StoredProfile::Signed(signed);
            self.store
                .put_profile(&mut *self.rng, row.group_row, revision, &kept, now)?;
            self.store.put_profile_due(row.group_row, ProfileDue::No)?;
        }
        Ok(Ready::Yes(epoch))
    }

    /// Sends the profile that is due.
    pub(super) fn drive_profile(&mut self, group: &GroupId, now: UnixMs) -> Result<(), StateError> {
        let Some(row) = self.store.group(group)? else {
            return Ok(());
        };
        if row.profile_due == ProfileDue::No {
            return Ok(());
        }
        let Some(view) = self.group_view(&row)? else {
            return Ok(());
        };
        if row.profile_due == ProfileDue::Own {
            let profile = self.profile_of(&row)?;
            return self.send_profile(&row, &view, profile, now).map(drop);
        }
        let StoredProfile::Signed(signed) = self.store.profile(row.group_row)? else {
            return self.store.put_profile_due(row.group_row, ProfileDue::No);
        };
        if let Ready::Yes(epoch) = self.ready(&row, &view, now)? {
            let resend = Resend {
                conversation: waxwire_shared::ids::ConversationId::group(group),
                items: vec![signed],
            };
            self.queue_group_control(&row, &view, &epoch, Kind::Resend, resend.encode(), now)?;
            self.store.put_profile_due(row.group_row, ProfileDue::No)?;
        }
        Ok(())
    }

    /// A profile that an admin signed. The highest revision counts, of equal ones the lower hash.
    pub(super) fn take_profile(
        &mut self,
        row: &GroupRow,
        body: &ControlBody,
        signed: &MessageBytes,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let profile = match Profile::decode(&body.body) {
            Ok(profile) if profile.group == row.group_id => profile,
            _ => {
                let reason = "a profile of the group breaks a rule of its format";
                return self.group_alert(row, "profile_malformed", Severity::Warning, reason, now);
            }
        };
        let row = self.store.group_by_row(row.group_row)?;
        let kept = self.store.profile(row.group_row)?;
        let newer = profile.revision > row.profile_revision
            || profile.revision == row.profile_revision
                && kept
                    .hash()
                    .is_some_and(|kept| sha256(&signed.core).as_bytes() < kept.as_bytes());
        if !newer {
            return Ok(());
        }
        let before = kept.shown();
        let new = StoredProfile::Signed(signed.encode());
        let after = new.shown();
        self.store
            .put_profile(&mut *self.rng, row.group_row, profile.revision, &new, now)?;
        let actor = Actor {
            handle: body.handle.clone(),
            identity: body.identity.clone(),
            at: body.time,
            source: sha256(&signed.core),
        };
        // The first profile that a new member gets is no change.
        if row.profile_revision == 0 {
            return Ok(());
        }
        for (index, data) in changes(&before, &after, &actor).iter().enumerate() {
            self.tell_event(&row, &actor, index, data, now)?;
        }
        Ok(())
    }

    /// What a member passes on in the group: the profile, judged by its own signature and context.
    pub(in crate::engine) fn take_group_resend(
        &mut self,
        row: &GroupRow,
        resend: &Resend,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let Some(view) = self.group_view(row)? else {
            return Ok(());
        };
        for item in &resend.items {
            let Some((signed, body)) = self.judge_profile(&view, item) else {
                let reason = "a member passes on what no admin of the group has signed";
                return self.group_alert(row, "resend_refused", Severity::Warning, reason, now);
            };
            self.take_profile(row, &body, &signed, now)?;
        }
        Ok(())
    }

    fn judge_profile(&self, view: &GroupView, item: &[u8]) -> Option<(MessageBytes, ControlBody)> {
        let message = UnverifiedMessage::from_message(MessageBytes::decode(item).ok()?).ok()?;
        let message = message.verify().ok()?;
        let header = message.check_member(&self.account.relay).ok()?;
        let position = view.history.position_of(&header.roster_head)?;
        let admin = view.history.role_at(message.signer(), position) == Some(Role::Admin);
        let right = admin && header.group == *view.roster.group();
        let member = view.roster.member(message.signer()).cloned();
        let (signed, _, body) = message.into_parts();
        match body {
            // Whoever has left cannot be asked what it is called, and is believed.
            Body::Control(body)
                if right
                    && body.kind == Kind::Profile
                    && member.is_none_or(|member| member.handle == body.handle) =>
            {
                Some((signed, body))
            }
            _ => None,
        }
    }
}

fn changes(before: &GroupProfile, after: &GroupProfile, actor: &Actor) -> Vec<serde_json::Value> {
    let by = &actor.handle;
    let mut changes = Vec::new();
    if before.name != after.name {
        changes.push(json!({"event": "name_changed", "new_name": after.name, "actor_handle": by}));
    }
    if before.description != after.description {
        changes.push(json!({"event": "description_changed", "actor_handle": by}));
    }
    if before.avatar != after.avatar {
        changes.push(json!({"event": "avatar_changed", "actor_handle": by}));
    }
    changes
}
