//! Groups: standing, verified log, the own commit on its way, invites, what waits.

use rand_core::CryptoRng;
use rusqlite::{Row, params};
use waxwire_shared::{
    hash::sha256,
    identity::IdentityKey,
    ids::{ConversationId, GroupId, Handle, Hash},
    roster::Roster,
    wire::{ControlBody, Document as _, JoinPolicy, MessageBytes, Profile, Role},
};
use zeroize::Zeroizing;

use super::{ColumnKeys, StateError, Store, conversations::GROUP, from_sql, to_sql};
pub use crate::model::Standing;
use crate::model::{DebtKind, GroupEnd, GroupProfile, LocalConversation, UnixMs};

impl Standing {
    const fn number(self) -> i64 {
        match self {
            Self::Entering => 1,
            Self::Member => 2,
            Self::Left => 3,
            Self::Removed => 4,
            Self::Ended => 5,
        }
    }

    pub(super) const fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Entering,
            2 => Self::Member,
            4 => Self::Removed,
            5 => Self::Ended,
            _ => Self::Left,
        }
    }
}

/// Why nothing is sent to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The relay showed two logs: for good.
    Forked,
    /// Members cite commits that the relay does not show: until it does.
    Withheld,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Row.
    pub group_row: i64,
    /// The group.
    pub group_id: GroupId,
    /// Its conversation.
    pub conversation_id: i64,
    /// How this agent stands to it.
    pub standing: Standing,
    /// Why nothing is sent.
    pub stop: Option<Stop>,
    /// Commits that were verified and kept.
    pub length: u64,
    /// Revision of the profile; 0 for none.
    pub profile_revision: u64,
    /// This agent has begun anew, or its own key was replaced: it replaces the key before it seals anything.
    pub renew: bool,
    /// Whether the profile has to be sent again.
    pub profile_due: ProfileDue,
    /// Who ended it, and when.
    pub end: Option<(Handle, UnixMs)>,
}

impl GroupRow {
    /// Its local id.
    #[must_use]
    pub fn local(&self) -> LocalConversation {
        LocalConversation::group(&self.group_id)
    }

    /// How it ended.
    #[must_use]
    pub fn end_view(&self) -> Option<GroupEnd> {
        self.end.clone().map(|(by, at)| GroupEnd {
            id: self.local(),
            by,
            at,
        })
    }
}

/// Which profile has to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileDue {
    /// None.
    No,
    /// One of this agent's own, signed anew.
    Own,
    /// The one that is kept, for members who joined.
    Kept,
}

impl ProfileDue {
    const fn number(self) -> i64 {
        match self {
            Self::No => 0,
            Self::Own => 1,
            Self::Kept => 2,
        }
    }

    const fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Own,
            2 => Self::Kept,
            _ => Self::No,
        }
    }
}

/// A profile as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredProfile {
    /// What this agent founded the group with, or what its inviter called it.
    Asked(Profile),
    /// An admin's signed control message.
    Signed(Vec<u8>),
}

impl StoredProfile {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Asked(profile) => [&[0], profile.encode().as_slice()].concat(),
            Self::Signed(message) => [&[1], message.as_slice()].concat(),
        })
    }

    pub(super) fn open(keys: &ColumnKeys, row: i64, sealed: &[u8]) -> Result<Self, StateError> {
        let bytes = keys.open("grp", row, sealed)?;
        match bytes.split_first() {
            Some((0, profile)) => Profile::decode(profile)
                .map(Self::Asked)
                .map_err(|_| damaged(row)),
            Some((1, message)) => Ok(Self::Signed(message.to_vec())),
            _ => Err(damaged(row)),
        }
    }

    /// What it says.
    #[must_use]
    pub fn shown(&self) -> GroupProfile {
        let profile = match self {
            Self::Asked(profile) => Some(profile.clone()),
            Self::Signed(message) => signed_profile(message),
        };
        profile.map_or_else(GroupProfile::default, |profile| GroupProfile {
            name: profile.name,
            description: profile.topic,
            avatar: profile.avatar,
        })
    }

    /// What decides between two of the same revision: hash of the control body.
    #[must_use]
    pub fn hash(&self) -> Option<Hash> {
        match self {
            Self::Asked(_) => None,
            Self::Signed(message) => {
                let message = MessageBytes::decode(message).ok()?;
                Some(sha256(&message.core))
            }
        }
    }
}

fn signed_profile(message: &[u8]) -> Option<Profile> {
    let message = MessageBytes::decode(message).ok()?;
    let body = ControlBody::decode(&message.core).ok()?;
    Profile::decode(&body.body).ok()
}

const SELECT: &str = "SELECT group_row, group_id, conversation_id, standing, stop, length, profile_revision, \
                      profile_due, ended_by, ended_at, renew FROM grp";

fn group_row(row: &Row<'_>) -> Result<GroupRow, StateError> {
    let group_row = row.get(0)?;
    let ended_by: Option<String> = row.get(8)?;
    let by = ended_by.map(|text| text.parse::<Handle>()).transpose();
    let by = by.map_err(|_| damaged(group_row))?;
    let at: Option<i64> = row.get(9)?;
    Ok(GroupRow {
        group_row,
        group_id: GroupId::from_bytes(row.get(1)?),
        conversation_id: row.get(2)?,
        standing: Standing::from_number(row.get(3)?),
        stop: match row.get(4)? {
            1 => Some(Stop::Forked),
            2 => Some(Stop::Withheld),
            _ => None,
        },
        length: from_sql(row.get(5)?),
        profile_revision: from_sql(row.get(6)?),
        renew: row.get(10)?,
        profile_due: ProfileDue::from_number(row.get(7)?),
        end: by.zip(at.map(from_sql)),
    })
}

const fn damaged(row: i64) -> StateError {
    StateError::Damaged { table: "grp", row }
}

impl Store {
    /// The group, if this agent has ever had to do with it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn group(&self, group: &GroupId) -> Result<Option<GroupRow>, StateError> {
        self.one_group("group_id = ?1", group.as_bytes().as_slice())
    }

    /// The group of a conversation.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn group_of(&self, conversation_id: i64) -> Result<Option<GroupRow>, StateError> {
        self.one_group("conversation_id = ?1", conversation_id)
    }

    /// The group in a row.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn group_by_row(&self, row: i64) -> Result<GroupRow, StateError> {
        self.one_group("group_row = ?1", row)?.ok_or(damaged(row))
    }

    fn one_group(&self, condition: &str, key: impl rusqlite::ToSql) -> Result<Option<GroupRow>, StateError> {
        let mut statement = self.db.prepare_cached(&format!("{SELECT} WHERE {condition}"))?;
        let mut rows = statement.query([key])?;
        rows.next()?.map(group_row).transpose()
    }

    /// This agent replaces the key of every group before it seals anything there. A commit that is on its way
    /// may seal the key to what is being replaced: it does not count.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn renew_groups(&self) -> Result<(), StateError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE grp SET renew = 1 + EXISTS (SELECT 1 FROM grp_pending AS pending \
             WHERE pending.group_row = grp.group_row) WHERE standing <= 2",
        )?;
        statement.execute([])?;
        Ok(())
    }

    /// This agent has replaced the key of a group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn renewed(&self, group_row: i64) -> Result<(), StateError> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE grp SET renew = max(renew - 1, 0) WHERE group_row = ?1")?;
        statement.execute([group_row])?;
        Ok(())
    }

    /// Groups that this agent is a member of or enters.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn live_groups(&self) -> Result<Vec<GroupRow>, StateError> {
        let mut statement = self
            .db
            .prepare_cached(&format!("{SELECT} WHERE standing <= 2 ORDER BY group_row"))?;
        let mut rows = statement.query([])?;
        let mut groups = Vec::new();
        while let Some(row) = rows.next()? {
            groups.push(group_row(row)?);
        }
        Ok(groups)
    }

    /// Makes a group that is being entered; one that was left before is entered again.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn enter_group(
        &self,
        rng: &mut dyn CryptoRng,
        group: &GroupId,
        profile: &StoredProfile,
        now: UnixMs,
    ) -> Result<GroupRow, StateError> {
        if let Some(known) = self.group(group)? {
            self.put_standing(known.group_row, Standing::Entering)?;
            return self.group_by_row(known.group_row);
        }
        let mut statement = self.db.prepare_cached(
            "INSERT INTO conversation(local, kind, protocol_id, updated_at) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let conversation_id = statement.insert(params![
            LocalConversation::group(group).id,
            GROUP,
            ConversationId::group(group).as_bytes(),
            to_sql(now)
        ])?;
        let row: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(group_row), 0) + 1 FROM grp")?
            .query_row([], |row| row.get(0))?;
        let sealed = self.keys.seal(rng, "grp", row, now, &profile.encode());
        let mut statement = self.db.prepare_cached(
            "INSERT INTO grp(group_row, group_id, conversation_id, standing, created_at, sealed) \
             VALUES (?1, ?2, ?3, 1, ?4, ?5)",
        )?;
        statement.execute(params![
            row,
            group.as_bytes(),
            conversation_id,
            to_sql(now),
            sealed
        ])?;
        self.group_by_row(row)
    }

    /// Drops a group that was never entered.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn drop_group(&self, group: &GroupRow) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM grp WHERE group_row = ?1")?
            .execute([group.group_row])?;
        self.db
            .prepare_cached("DELETE FROM conversation WHERE conversation_id = ?1")?
            .execute([group.conversation_id])?;
        Ok(())
    }

    /// Changes how this agent stands to a group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_standing(&self, row: i64, standing: Standing) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE grp SET standing = ?2 WHERE group_row = ?1")?
            .execute(params![row, standing.number()])?;
        Ok(())
    }

    /// Stops sending to a group, or goes on; a fork is for good.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_stop(&self, row: i64, stop: Option<Stop>) -> Result<(), StateError> {
        let number = match stop {
            None => 0,
            Some(Stop::Forked) => 1,
            Some(Stop::Withheld) => 2,
        };
        self.db
            .prepare_cached("UPDATE grp SET stop = ?2 WHERE group_row = ?1 AND stop != 1")?
            .execute([row, number])?;
        Ok(())
    }

    /// Records who ended a group.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_end(&self, row: i64, by: &Handle, at: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE grp SET standing = 5, ended_by = ?2, ended_at = ?3 WHERE group_row = ?1")?
            .execute(params![row, by.as_str(), to_sql(at)])?;
        Ok(())
    }

    /// Brings what is shown of a group up to its roster.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_roster(
        &self,
        row: i64,
        roster: &Roster,
        me: &IdentityKey,
        debt: Option<(DebtKind, UnixMs)>,
    ) -> Result<(), StateError> {
        let number = match debt {
            None => 0,
            Some((DebtKind::Soft, _)) => 1,
            Some((DebtKind::Hard, _)) => 2,
        };
        let own_role = roster.member(me).map(|member| member.role as u8);
        self.db
            .prepare_cached(
                "UPDATE grp SET head = ?2, epoch = ?3, members = ?4, role = ?5, debt = ?6, debt_since = ?7, \
                 is_open = ?8 WHERE group_row = ?1",
            )?
            .execute(params![
                row,
                roster.head().as_bytes(),
                to_sql(roster.epoch()),
                to_sql(roster.members().len() as u64),
                own_role,
                number,
                debt.map(|(_, since)| to_sql(since)),
                roster.policy().join == JoinPolicy::Open,
            ])?;
        Ok(())
    }

    /// Who founded a group, and when.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_founder(&self, row: i64, handle: &Handle, at: UnixMs) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE grp SET created_by = ?2, created_at = ?3 WHERE group_row = ?1")?
            .execute(params![row, handle.as_str(), to_sql(at)])?;
        Ok(())
    }

    /// Shows a member, new or with another role.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_member(
        &self,
        row: i64,
        identity: &IdentityKey,
        handle: &Handle,
        role: Role,
        joined: (u64, UnixMs),
        own: bool,
    ) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "INSERT INTO grp_member(group_row, identity, handle, role, place, joined_at, own) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                 ON CONFLICT DO UPDATE SET role = ?4",
            )?
            .execute(params![
                row,
                identity.to_prefixed(),
                handle.as_str(),
                role as u8,
                to_sql(joined.0),
                to_sql(joined.1),
                own
            ])?;
        Ok(())
    }

    /// Shows a member no more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove_member(&self, row: i64, identity: &IdentityKey) -> Result<(), StateError> {
        self.db
            .prepare_cached("DELETE FROM grp_member WHERE group_row = ?1 AND identity = ?2")?
            .execute(params![row, identity.to_prefixed()])?;
        Ok(())
    }

    /// Notes that a member has said something under an epoch.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn confirm_epoch(&self, row: i64, identity: &IdentityKey, epoch: u64) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE grp_member SET confirmed = ?3 WHERE group_row = ?1 AND identity = ?2 \
                 AND coalesce(confirmed, 0) < ?3",
            )?
            .execute(params![row, identity.to_prefixed(), to_sql(epoch)])?;
        Ok(())
    }

    /// The profile as it is kept.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn profile(&self, row: i64) -> Result<StoredProfile, StateError> {
        let sealed: Vec<u8> = self
            .db
            .prepare_cached("SELECT sealed FROM grp WHERE group_row = ?1")?
            .query_row([row], |row| row.get(0))?;
        StoredProfile::open(&self.keys, row, &sealed)
    }

    /// Keeps a profile.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_profile(
        &self,
        rng: &mut dyn CryptoRng,
        row: i64,
        revision: u64,
        profile: &StoredProfile,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let sealed = self.keys.seal(rng, "grp", row, now, &profile.encode());
        self.db
            .prepare_cached("UPDATE grp SET profile_revision = ?2, sealed = ?3 WHERE group_row = ?1")?
            .execute(params![row, to_sql(revision), sealed])?;
        Ok(())
    }

    /// Notes whether a profile has to be sent.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_profile_due(&self, row: i64, due: ProfileDue) -> Result<(), StateError> {
        self.db
            .prepare_cached("UPDATE grp SET profile_due = ?2 WHERE group_row = ?1")?
            .execute([row, due.number()])?;
        Ok(())
    }
}
