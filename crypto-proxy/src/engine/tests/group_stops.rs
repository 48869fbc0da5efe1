//! When a group in which nothing is sent, because commits are withheld, is sent to again (docs/protocol.md, 6.9).

use std::sync::Arc;

use waxwire_shared::{
    ids::Mid,
    sign::Verified,
    suite::Suite,
    wire::{Change, Commit, Document as _, Envelope, GroupHeader, Role, VERSION},
};

use super::{
    groups::{ALICE, BOB, CAROL},
    net::Net,
};
use crate::{
    engine::{GroupCommand, groups::GroupView},
    model::{LocalConversation, Refusal, Severity},
};

const DAVE: usize = 3;

impl Net {
    /// An admin says something that cites a commit of its own which there never was, and goes.
    fn lie(&mut self, index: usize, group: LocalConversation, text: &str) {
        let id = self.only_group();
        let (liar, _) = self.nodes[index].keys();
        let changes = vec![Change::Role {
            identity: self.nodes[DAVE].keys().0.public().clone(),
            role: Role::Admin,
        }];
        let engine = &mut self.nodes[index].engine;
        let mut view = GroupView::clone(&engine.views[&id]);
        let plan = view.roster.plan(liar.public(), &changes).unwrap();
        let made_up = liar.sign_document(&Commit {
            version: VERSION,
            suite: Suite::CLASSIC,
            group: Some(id),
            position: plan.position,
            previous: plan.previous,
            signer: liar.public().clone(),
            changes,
            rekey: None,
            time: self.now,
        });
        let made_up = Verified::<Commit>::from_bytes(&made_up, |commit| &commit.signer).unwrap();
        let applied = view.roster.apply(&made_up).unwrap();
        view.history.record(&view.roster, &applied);
        engine.views.insert(id, Arc::new(view));
        self.say(index, group, text).unwrap();
        self.disconnect(index);
    }

    fn assert_stopped(&mut self, index: usize, group: LocalConversation) {
        let waiting = self.say_later(index, group, "is it safe?");
        self.pass(10_001);
        let answer = self.answer(index, waiting);
        assert!(
            matches!(answer, Some(Err(Refusal::EpochPending { .. }))),
            "{answer:?}"
        );
    }

    fn waits_for_head(&self, index: usize) -> bool {
        let store = self.nodes[index].engine.store();
        let row = store.group(&self.only_group()).unwrap().unwrap();
        store.waits_for_head(row.group_row).unwrap()
    }
}

/// Carol is an admin, and has stopped the group for the others by a lie.
fn stopped_by_carol() -> (Net, LocalConversation) {
    let (mut net, group) = Net::group_of(4);
    let admin = GroupCommand::SetRole(group, "carol".parse().unwrap(), Role::Admin);
    net.ask(ALICE, admin).unwrap();
    net.lie(CAROL, group, "made up");
    net.settle();
    net.pass(60_000);
    for index in [ALICE, BOB, DAVE] {
        let alerts = &net.nodes[index].alerts;
        let told = alerts
            .iter()
            .find(|alert| alert.kind == "roster_withheld")
            .unwrap();
        assert!(
            told.reason.contains("that carol cite; nothing is sent"),
            "{told:?}"
        );
    }
    net.assert_stopped(BOB, group);
    (net, group)
}

fn assert_resumed(net: &mut Net, group: LocalConversation) {
    net.say(BOB, group, "on we go").unwrap();
    assert_eq!(net.heard(DAVE), ["on we go"]);
    let alerts = net.nodes[BOB].alerts.iter();
    let told: Vec<_> = alerts.filter(|alert| alert.kind == "group_resumed").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].severity, Severity::Info);
}

#[test]
fn stop_by_a_lie_ends_with_the_removal_of_the_liar() {
    let (mut net, group) = stopped_by_carol();
    // Alice, who does not send either, can remove carol.
    net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
        .unwrap();
    assert_resumed(&mut net, group);
    assert!(!net.waits_for_head(BOB), "what nobody can have seen waits");
}

#[test]
fn stop_by_a_lie_ends_when_the_liar_is_no_admin_any_more() {
    let (mut net, group) = stopped_by_carol();
    let member = GroupCommand::SetRole(group, "carol".parse().unwrap(), Role::Member);
    net.ask(ALICE, member).unwrap();
    assert_resumed(&mut net, group);
    assert!(net.waits_for_head(BOB), "one member may be right");
}

/// What stopped the group may go otherwise than by a commit.
#[test]
fn stop_ends_when_the_log_is_read_and_nothing_waits() {
    let (mut net, group) = stopped_by_carol();
    net.nodes[BOB].engine.store().execute("DELETE FROM grp_held");
    net.disconnect(BOB);
    net.connect(BOB);
    net.settle();
    net.say(BOB, group, "on we go").unwrap();
}

/// An envelope under an epoch that never comes opens to nobody: it does not prolong the stop.
#[test]
fn stop_ends_with_the_commits_though_an_envelope_claims_a_far_epoch() {
    let (mut net, group) = Net::group_of(4);
    let id = net.only_group();
    net.disconnect(BOB);
    let admin = GroupCommand::SetRole(group, "carol".parse().unwrap(), Role::Admin);
    net.ask(ALICE, admin).unwrap();
    net.say(ALICE, group, "under the new head").unwrap();
    let carol = net.nodes[CAROL].agent_id;
    let held = net.groups.groups.get_mut(&id).unwrap();
    let honest = held.messages.last().unwrap().clone();
    let honest = Envelope::split(&honest).unwrap();
    let far = GroupHeader {
        mid: Mid::from_bytes([7; 16]),
        epoch: 1 << 40,
        sender: carol,
        ..GroupHeader::decode(honest.header).unwrap()
    };
    let far = Envelope {
        header: &far.encode(),
        ciphertext: honest.ciphertext,
    };
    held.messages.push(far.to_bytes());
    let length = held.log.len() as u64;
    net.groups.withheld.insert(id, length - 1);
    net.connect(BOB);
    net.settle();
    net.pass(60_000);
    net.assert_stopped(BOB, group);
    net.groups.withheld.clear();
    net.disconnect(BOB);
    net.connect(BOB);
    net.settle();
    assert_eq!(net.heard(BOB), ["under the new head"]);
    net.say(BOB, group, "on we go").unwrap();
    assert!(net.waits_for_head(BOB), "it may come yet");
}
