//! Rules of groups that a lying relay or somebody who has left tries to get around (docs/protocol.md, 6).

use waxwire_shared::{
    api::{append::Append, frames::Queue},
    ids::GroupId,
    suite::Suite,
    wire::{Change, Commit, JoinPolicy, Policy, Role, VERSION},
};

use super::{
    groups::ALICE,
    net::{Net, Node},
};
use crate::{
    engine::{AppendOutcome, Command, GroupCommand, Settings},
    model::LocalConversation,
};

const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;

fn ask(net: &mut Net, index: usize, command: GroupCommand) {
    let id = net.command(index, Command::Group(command));
    net.settle();
    assert!(
        matches!(net.answer(index, id), Some(Ok(_))),
        "{:?}",
        net.answer(index, id)
    );
}

/// Bob is away while alice invites somebody, and the relay does not show him that commit.
fn with_a_commit_withheld_from_bob() -> (Net, LocalConversation) {
    let (mut net, group) = Net::group_of(4);
    let erin = Node::new("erin", 5, Settings::default());
    net.bundles.insert(erin.handle.clone(), erin.bundle.clone());
    net.nodes.push(erin);
    let id = net.only_group();
    let length = net.groups.groups[&id].log.len() as u64;
    net.disconnect(BOB);
    ask(
        &mut net,
        ALICE,
        GroupCommand::Add(group, "erin".parse().unwrap(), None),
    );
    net.groups.withheld.insert(id, length);
    (net, group)
}

/// docs/protocol.md, 6.8, step 1, and 6.9: a head that is not shown for 60 s is told; one member's word
/// stops nothing, that of two does, until the log is complete.
#[test]
fn two_members_who_cite_a_withheld_head_stop_sending() {
    let (mut net, group) = with_a_commit_withheld_from_bob();
    net.say(CAROL, group, "carol").unwrap();
    net.connect(BOB);
    net.run();
    net.pass(59_000);
    assert!(!net.nodes[BOB].alerted("roster_withheld"));
    net.pass(1_000);
    assert!(net.nodes[BOB].alerted("roster_withheld"));
    assert!(net.heard(BOB).is_empty());
    net.say(BOB, group, "one may lie").unwrap();
    assert_eq!(net.heard(ALICE).last().unwrap(), "one may lie");

    net.say(DAVE, group, "dave").unwrap();
    net.pass(60_000);
    net.say_later(BOB, group, "stopped");
    net.settle();
    assert!(!net.heard(ALICE).contains(&"stopped".to_owned()));

    net.groups.withheld.clear();
    net.disconnect(BOB);
    net.connect(BOB);
    net.pass(60_000);
    net.settle();
    assert_eq!(net.heard(BOB), ["carol", "dave"]);
    assert_eq!(net.heard(ALICE).last().unwrap(), "stopped");
}

/// docs/protocol.md, 6.9: the word of an admin stops sending by itself.
#[test]
fn admin_who_cites_a_withheld_head_stops_sending() {
    let (mut net, group) = with_a_commit_withheld_from_bob();
    net.say(ALICE, group, "alice").unwrap();
    net.connect(BOB);
    net.run();
    net.pass(60_000);
    assert!(net.nodes[BOB].alerted("roster_withheld"));
    net.say_later(BOB, group, "stopped");
    net.settle();
    assert_eq!(net.heard(CAROL), ["alice"]);
}

/// docs/protocol.md, 6.8, step 7: what somebody said before the cut-off is shown as late.
#[test]
fn message_from_before_a_leave_is_shown_as_late() {
    let (mut net, group) = Net::group_of(3);
    net.disconnect(BOB);
    net.say(CAROL, group, "before").unwrap();
    ask(&mut net, CAROL, GroupCommand::Leave(group));
    net.connect(BOB);
    net.settle();
    for (index, late) in [(ALICE, false), (BOB, true)] {
        let mut shown = net.nodes[index].shown.iter();
        let message = shown.find(|message| message.client_msg_id == "before").unwrap();
        assert_eq!(message.security.late, late, "{index}");
    }
}

/// docs/protocol.md, 6.8, step 7: beyond the cut-off nothing of the removed is shown.
#[test]
fn message_beyond_the_cut_off_is_refused() {
    let (mut net, group) = Net::group_of(3);
    net.disconnect(ALICE);
    net.disconnect(BOB);
    net.say(CAROL, group, "beyond").unwrap();
    // Alice has not seen it when she removes carol.
    let id = net.only_group();
    let position = net.groups.groups[&id].messages.len() as u64;
    net.skip(ALICE, Queue::Group(id), position);
    net.connect(ALICE);
    ask(
        &mut net,
        ALICE,
        GroupCommand::Remove(group, "carol".parse().unwrap()),
    );
    net.connect(BOB);
    net.settle();
    assert!(net.heard(BOB).is_empty());
    assert!(net.nodes[BOB].alerted("past_cut_off"));
}

/// docs/protocol.md, 6.11: an agent is told that a group which anybody may join hides nothing from the relay.
#[test]
fn open_group_is_told_to_be_open_to_the_relay() {
    let (mut net, group) = Net::group_of(2);
    let confidential = |net: &Net| {
        let store = net.nodes[BOB].engine.store();
        store.group_security(&group).unwrap().confidential_from_relay
    };
    assert!(confidential(&net));
    net.set_policy(ALICE, &net.only_group(), JoinPolicy::Open, None);
    assert!(!confidential(&net));
}

impl Net {
    /// An admin changes the policy of a group, by hand.
    pub(super) fn set_policy(&mut self, admin: usize, group: &GroupId, join: JoinPolicy, slug: Option<&str>) {
        let (signer, _) = self.nodes[admin].keys();
        let roster = &self.groups.groups[group].roster;
        let policy = Policy {
            join,
            invite_role: Role::Admin,
            slug: slug.map(|slug| slug.parse().unwrap()),
        };
        let commit = signer.sign_document(&Commit {
            version: VERSION,
            suite: Suite::CLASSIC,
            group: Some(*group),
            position: roster.position() + 1,
            previous: Some(roster.head()),
            signer: signer.public().clone(),
            changes: vec![Change::Policy { policy }],
            rekey: None,
            time: self.now,
        });
        let body = Append {
            commit: &commit,
            leaves: &[],
        };
        let outcome = self.groups.append(group, false, &body.to_bytes());
        assert!(matches!(outcome, AppendOutcome::Stored));
        self.settle();
    }
}

/// docs/protocol.md, 6.6: an epoch that is a week old, or has carried 10,000 messages, is replaced by whoever
/// is there.
#[test]
fn attack_59_worn_epoch_is_replaced() {
    const WEEK_MS: u64 = 7 * 24 * 3_600 * 1_000;
    const MOST: u64 = 10_000;
    let (mut net, group) = Net::group_of(2);
    let say = |net: &mut Net, text: &str| {
        net.say(BOB, group, text).unwrap();
        // Bundles of a week ago are asked for anew, and the payment is made when it is tried again.
        for _ in 0..2 {
            net.pass(30_000);
            net.settle();
        }
        net.epoch()
    };
    let first = net.epoch();
    net.pass(WEEK_MS - 90_000);
    assert_eq!(say(&mut net, "in time"), first);
    net.pass(30_000);
    assert_eq!(say(&mut net, "a week old"), first + 1);
    let store = net.nodes[BOB].engine.store();
    let row = store.group(&net.only_group()).unwrap().unwrap();
    let epoch = store.epoch(row.group_row, first + 1).unwrap().unwrap();
    for _ in epoch.messages..MOST - 2 {
        store.count_ciphertext(epoch.epoch_row, true).unwrap();
    }
    assert_eq!(say(&mut net, "the last but one"), first + 1);
    assert_eq!(say(&mut net, "the last"), first + 2);
    assert_eq!(net.heard(ALICE).len(), 4);
}
