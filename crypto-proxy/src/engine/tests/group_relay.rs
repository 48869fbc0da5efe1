//! The relay's half of groups for the scripted network: logs, leaves, messages, memberships.

use std::collections::{HashMap, HashSet};

use waxwire_shared::{
    api::{
        append::Append,
        problem::{Problem, ProblemType},
        rest::ChannelAnswer,
    },
    hash::sha256,
    identity::IdentityKey,
    ids::{AgentId, GroupId, Handle, Hash, Mid},
    merkle,
    roster::{Roster, check_leaves},
    sign::Verified,
    wire::{Commit, Document as _, GroupHeader, JoinPolicy, LeafProof, Leaves},
};

use super::net::relay_id;
use crate::engine::{AppendOutcome, LogPage, LookupError, SendOutcome};

/// From where to where an agent reads a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Commits before its own.
    pub(super) log_from: u64,
    pub(super) log_to: Option<u64>,
    pub(super) mail_from: u64,
    pub(super) mail_to: Option<u64>,
}

/// Objects of a queue with their positions.
pub(super) type Objects = Vec<(u64, Vec<u8>)>;

/// One group.
pub(super) struct Held {
    pub(super) roster: Roster,
    pub(super) log: Vec<Vec<u8>>,
    pub(super) leaves: HashMap<u64, Leaves>,
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) windows: HashMap<AgentId, Window>,
    mids: HashMap<(AgentId, Mid), Hash>,
}

/// All groups, and the lies that a test wants told.
#[derive(Default)]
pub(super) struct GroupRelay {
    pub(super) groups: HashMap<GroupId, Held>,
    /// Leaves that are served instead of the real ones: group, epoch, index.
    pub(super) false_leaves: HashMap<(GroupId, u64, u32), Vec<u8>>,
    /// Leaves that are said not to be there: group and epoch.
    pub(super) denied: HashSet<(GroupId, u64)>,
    /// Commits that are not shown: everything from this position on.
    pub(super) withheld: HashMap<GroupId, u64>,
    /// Groups that are shown under slugs that are not theirs.
    pub(super) false_slugs: HashMap<Handle, GroupId>,
    /// Logs that are shown instead of the real ones.
    pub(super) false_logs: HashMap<GroupId, Vec<Vec<u8>>>,
}

fn problem(kind: ProblemType) -> Box<Problem> {
    Box::new(Problem::new(kind))
}

impl GroupRelay {
    pub(super) fn append(&mut self, group: &GroupId, first: bool, body: &[u8]) -> AppendOutcome {
        let append = Append::split(body).unwrap();
        let commit = Verified::<Commit>::from_bytes(append.commit, |commit| &commit.signer).unwrap();
        let leaves = (!append.leaves.is_empty()).then(|| Leaves::decode(append.leaves).unwrap());
        if let Some(held) = self.groups.get(group)
            && held.log.iter().any(|known| sha256(known) == commit.hash())
        {
            return AppendOutcome::Stored;
        }
        if first {
            let roster = Roster::create(&commit).unwrap();
            assert_eq!(roster.group(), group);
            let mut held = Held {
                roster,
                log: Vec::new(),
                leaves: HashMap::new(),
                messages: Vec::new(),
                windows: HashMap::new(),
                mids: HashMap::new(),
            };
            held.take(&commit, leaves, &[commit.signer().clone()], &[]);
            self.groups.insert(*group, held);
            return AppendOutcome::Stored;
        }
        let Some(held) = self.groups.get_mut(group) else {
            return AppendOutcome::Refused(problem(ProblemType::NotFound));
        };
        if held.roster.has_ended() {
            return AppendOutcome::Refused(problem(ProblemType::Gone));
        }
        if commit.body().previous != Some(held.roster.head()) {
            return AppendOutcome::Conflict;
        }
        let applied = match held.roster.apply(&commit) {
            Ok(applied) => applied,
            Err(error) => panic!("an honest proxy made an invalid commit: {error}"),
        };
        if let (Some(rekey), Some(leaves)) = (&commit.body().rekey, &leaves) {
            // A malicious rekeyer may seal rubbish, but the relay checks the form.
            let _form = check_leaves(rekey, held.roster.members(), leaves);
        }
        let departed: Vec<IdentityKey> = applied
            .departed
            .iter()
            .map(|departure| departure.identity.clone())
            .collect();
        held.take(&commit, leaves, &applied.joined, &departed);
        AppendOutcome::Stored
    }

    pub(super) fn channel(&self, slug: &Handle) -> Result<ChannelAnswer, LookupError> {
        let claims =
            |held: &Held| !held.roster.has_ended() && held.roster.policy().slug.as_ref() == Some(slug);
        let honest = || self.groups.values().find(|held| claims(held));
        let group = self.false_slugs.get(slug).map(|group| &self.groups[group]);
        let held = group.or_else(honest).ok_or(LookupError::NotFound)?;
        Ok(ChannelAnswer {
            slug: slug.clone(),
            group_id: *held.roster.group(),
            open: held.roster.policy().join == JoinPolicy::Open,
            members: held.roster.members().len() as u64,
        })
    }

    pub(super) fn log(&self, group: &GroupId, after: u64) -> Result<LogPage, LookupError> {
        if let Some(log) = self.false_logs.get(group) {
            let commits = log.iter().skip(usize::try_from(after).unwrap());
            return Ok(LogPage {
                after,
                commits: commits.cloned().collect(),
                length: log.len() as u64,
            });
        }
        let held = self.groups.get(group).ok_or(LookupError::NotFound)?;
        let end = self.shown(group, held);
        let commits = held.log.iter().take(end).skip(usize::try_from(after).unwrap());
        Ok(LogPage {
            after,
            commits: commits.cloned().collect(),
            length: end as u64,
        })
    }

    fn shown(&self, group: &GroupId, held: &Held) -> usize {
        let limit = self.withheld.get(group).copied().unwrap_or(u64::MAX);
        held.log.len().min(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    pub(super) fn leaf(&self, group: &GroupId, epoch: u64, index: u32) -> Result<Vec<u8>, LookupError> {
        if let Some(leaf) = self.false_leaves.get(&(*group, epoch, index)) {
            return Ok(leaf.clone());
        }
        if self.denied.contains(&(*group, epoch)) {
            return Err(LookupError::NotFound);
        }
        let held = self.groups.get(group).ok_or(LookupError::NotFound)?;
        let leaves = &held.leaves.get(&epoch).ok_or(LookupError::NotFound)?.leaves;
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        let place = usize::try_from(index).unwrap();
        let proof = LeafProof {
            leaf: leaves[place].clone(),
            path: merkle::inclusion_path(&hashes, place),
        };
        Ok(proof.encode())
    }

    pub(super) fn send(&mut self, sender: AgentId, header: &GroupHeader, envelope: &[u8]) -> SendOutcome {
        let Some(held) = self.groups.get_mut(&header.group) else {
            return SendOutcome::Refused(problem(ProblemType::NotFound));
        };
        if let Some(hash) = held.mids.get(&(sender, header.mid)) {
            return SendOutcome::Stored {
                repeated: true,
                hash: *hash,
                notice: None,
            };
        }
        let member = held
            .windows
            .get(&sender)
            .is_some_and(|window| window.log_to.is_none());
        if !member {
            return SendOutcome::Refused(problem(ProblemType::NotFound));
        }
        if held.roster.has_ended() {
            return SendOutcome::Refused(problem(ProblemType::Gone));
        }
        if header.epoch != held.roster.epoch() || held.roster.hard_debt().is_some() {
            return SendOutcome::Refused(problem(ProblemType::EpochClosed));
        }
        let hash = sha256(envelope);
        held.mids.insert((sender, header.mid), hash);
        held.messages.push(envelope.to_vec());
        SendOutcome::Stored {
            repeated: false,
            hash,
            notice: None,
        }
    }

    /// Commits and messages that an agent may read, with their positions in the queues.
    pub(super) fn readable(&self, group: &GroupId, agent: &AgentId) -> (Objects, Objects) {
        let held = &self.groups[group];
        let Some(window) = held.windows.get(agent) else {
            return (Vec::new(), Vec::new());
        };
        let part = |all: &[Vec<u8>], from: u64, to: Option<u64>| {
            let within = |position: &u64| *position > from && to.is_none_or(|to| *position <= to);
            (1..)
                .zip(all.iter().cloned())
                .filter(|(position, _)| within(position))
                .collect::<Vec<_>>()
        };
        let shown = self.shown(group, held);
        let log = part(&held.log[..shown], window.log_from, window.log_to);
        (log, part(&held.messages, window.mail_from, window.mail_to))
    }
}

impl Held {
    fn take(
        &mut self,
        commit: &Verified<Commit>,
        leaves: Option<Leaves>,
        joined: &[IdentityKey],
        departed: &[IdentityKey],
    ) {
        let position = self.log.len() as u64;
        self.log.push(commit.bytes().to_vec());
        if let (Some(rekey), Some(leaves)) = (&commit.body().rekey, leaves) {
            self.leaves.insert(rekey.epoch, leaves);
        }
        let mail = self.messages.len() as u64;
        for identity in departed {
            if let Some(window) = self.windows.get_mut(&AgentId::of(&relay_id(), identity)) {
                (window.log_to, window.mail_to) = (Some(position + 1), Some(mail));
            }
        }
        for identity in joined {
            let window = Window {
                log_from: position,
                log_to: None,
                mail_from: mail,
                mail_to: None,
            };
            self.windows.insert(AgentId::of(&relay_id(), identity), window);
        }
    }
}
