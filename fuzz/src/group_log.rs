//! Logs of groups: whatever commits come, the roster that they make keeps its rules.

use std::collections::HashSet;

use waxwire_shared::{
    limits,
    roster::{Roster, RosterHistory},
    sign::Verified,
    wire::{Commit, Role},
};

use crate::feed::Feed;

table! {
    "group_log" => group_log,
    "group_log_bodies" => group_log_bodies,
}

/// Signed commits as a relay shows them.
fn group_log(bytes: &[u8]) -> bool {
    let commits = Feed(bytes).parts();
    let commits = commits.iter().map_while(|bytes| {
        let commit = Verified::<Commit>::from_bytes(bytes, |commit| &commit.signer);
        commit.ok()
    });
    follow(commits)
}

/// The same as if every signature held: what a member without scruples can have valid.
fn group_log_bodies(bytes: &[u8]) -> bool {
    let commits = Feed(bytes).parts();
    follow(commits.iter().map_while(|bytes| believed(bytes)))
}

fn believed(bytes: &[u8]) -> Option<Verified<Commit>> {
    Verified::<Commit>::kept(bytes, |commit| &commit.signer).ok()
}

fn follow(mut commits: impl Iterator<Item = Verified<Commit>>) -> bool {
    let Some(first) = commits.next() else {
        return false;
    };
    let Ok(mut roster) = Roster::create(&first) else {
        return false;
    };
    let mut history = RosterHistory::begin(&roster);
    check(&roster);
    for commit in commits {
        let before = roster.clone();
        match roster.apply(&commit) {
            Ok(applied) => {
                assert_eq!(roster.position(), before.position() + 1);
                assert_eq!(roster.head(), commit.hash());
                assert!(!before.has_ended());
                assert!(before.epoch() <= roster.epoch() && roster.epoch() <= before.epoch() + 1);
                history.record(&roster, &applied);
            }
            Err(_) => assert_eq!(roster, before, "a refused commit changes nothing"),
        }
        check(&roster);
    }
    true
}

/// docs/protocol.md, 6.3: what holds of every roster.
fn check(roster: &Roster) {
    let members = roster.members();
    assert!(members.len() <= limits::GROUP_MEMBERS);
    let identities: HashSet<_> = members.iter().map(|member| &member.identity).collect();
    assert_eq!(identities.len(), members.len(), "a member stands there twice");
    let handles: HashSet<_> = members.iter().map(|member| &member.handle).collect();
    assert_eq!(handles.len(), members.len(), "a handle stands there twice");
    let admin = members.iter().any(|member| member.role == Role::Admin);
    assert!(admin || roster.has_ended() || members.is_empty());
    for (place, member) in members.iter().enumerate() {
        assert_eq!(roster.index_of(&member.identity), u32::try_from(place).ok());
    }
}
