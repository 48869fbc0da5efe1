//! Groups between engines: what flows 3 to 9 promise, and what a lying relay or member gets.

use waxwire_shared::{
    api::{
        frames::{Cursor, Queue},
        problem::ProblemType,
    },
    hash::sha256,
    ids::GroupId,
    suite::Suite,
    wire::{Change, Commit, Document as _, EmptyReason, Leaf, LeafContent, LeafProof, Role, VERSION},
};

use super::net::{Fault, Net, Node, request};
use crate::{
    engine::{Command, Event, GroupCommand, LinkEvent, LogPage, Reply, Settings},
    model::{
        AddOutcome, Destination, Group, GroupProfile, HistoryShare, LocalConversation, Message, NewGroup,
        ProfileChange, Refusal, Status,
    },
    state::Standing,
};

pub(super) const NAMES: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;
pub(super) const CAROL: usize = 2;

pub(super) fn net(count: usize) -> Net {
    let nodes = NAMES[..count].iter().zip(1..);
    Net::new(
        nodes
            .map(|(name, seed)| Node::new(name, seed, Settings::default()))
            .collect(),
    )
}

impl Net {
    pub(super) fn ask(&mut self, index: usize, command: GroupCommand) -> Result<Reply, Refusal> {
        let id = self.command(index, Command::Group(command));
        self.settle();
        let answer = self.answer(index, id).cloned();
        answer.unwrap_or_else(|| panic!("{} was not answered", NAMES[index]))
    }

    /// Everybody gets everything that is there.
    pub(super) fn settle(&mut self) {
        for _ in 0..4 {
            self.run();
        }
    }

    pub(super) fn found(&mut self, index: usize, members: &[&str]) -> Group {
        let new = NewGroup {
            profile: GroupProfile {
                name: "plans".into(),
                ..GroupProfile::default()
            },
            members: members.iter().map(|name| name.parse().unwrap()).collect(),
            channel: None,
        };
        match self.ask(index, GroupCommand::Create(Box::new(new))) {
            Ok(Reply::GroupCreated(group, added)) => {
                assert_eq!(added.len(), members.len());
                *group
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn accept(&mut self, index: usize) -> Group {
        let invite = self.nodes[index].invited.last().expect("an invite").id;
        match self.ask(index, GroupCommand::Accept(invite)) {
            Ok(Reply::Group(group)) => *group,
            other => panic!("{other:?}"),
        }
    }

    /// A group of the first `count` agents, all of whom have joined.
    pub(super) fn group_of(count: usize) -> (Self, LocalConversation) {
        let mut net = net(count);
        let group = net.found(ALICE, &NAMES[1..count]).id;
        for index in 1..count {
            net.accept(index);
        }
        (net, group)
    }

    pub(super) fn say(
        &mut self,
        index: usize,
        group: LocalConversation,
        text: &str,
    ) -> Result<Message, Refusal> {
        let id = self.say_later(index, group, text);
        self.settle();
        match self.answer(index, id).cloned() {
            Some(Ok(Reply::Sent(sent))) => Ok(sent.message),
            Some(Err(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn say_later(&mut self, index: usize, group: LocalConversation, text: &str) -> u64 {
        let to = Destination::Conversation(group);
        self.command(index, Command::Send(request(to, text)))
    }

    /// What an agent has read of others, without events.
    pub(super) fn heard(&self, index: usize) -> Vec<String> {
        let messages = self.nodes[index].shown.iter();
        messages
            .filter(|message| !message.own && message.message_type != "system")
            .map(|message| message.client_msg_id.clone())
            .collect()
    }

    fn events(&self, index: usize) -> Vec<String> {
        let messages = self.nodes[index].shown.iter();
        messages
            .filter(|message| message.message_type == "system")
            .map(|message| {
                let content: serde_json::Value = serde_json::from_str(&message.content).unwrap();
                let data = &content["data"];
                let agent = data["agent_handle"].as_str().unwrap_or("-");
                format!("{} {agent}", data["event"].as_str().unwrap())
            })
            .collect()
    }

    pub(super) fn only_group(&self) -> GroupId {
        *self.groups.groups.keys().next().unwrap()
    }

    /// All members stand at the relay's head, nothing is due, and the others know that they are out.
    /// Gives who is in.
    pub(super) fn assert_converged(&self, group: &GroupId) -> Vec<usize> {
        let held = &self.groups.groups[group];
        let debt = held.roster.hard_debt();
        assert!(
            debt.is_none() || held.roster.members().is_empty(),
            "a debt is left"
        );
        let is_member = |node: &Node| held.roster.member(node.keys().0.public()).is_some();
        for node in &self.nodes {
            let store = node.engine.store();
            let row = store.group(group).unwrap();
            let standing = row.as_ref().map(|row| row.standing);
            assert_eq!(
                standing == Some(Standing::Member),
                is_member(node),
                "{} stands wrong",
                node.handle
            );
            if let Some(row) = row.filter(|_| is_member(node)) {
                assert!(store.pending_commit(row.group_row).unwrap().is_none());
                assert_eq!(row.length, held.log.len() as u64, "{} is behind", node.handle);
                let head = node.engine.group_head(group);
                assert_eq!(head, Some(held.roster.head()), "{}", node.handle);
            }
        }
        let members = (0..self.nodes.len()).filter(|index| is_member(&self.nodes[*index]));
        members.collect()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.groups.groups[&self.only_group()].roster.epoch()
    }
}

/// docs/protocol.md, 6.4 and 6.8: an invite is told, accepted, and all read one another.
#[test]
fn founding_inviting_and_accepting_makes_one_conversation() {
    let (mut net, group) = Net::group_of(3);
    assert_eq!(net.epoch(), 3);
    let sent = net.say(ALICE, group, "welcome").unwrap();
    assert_eq!((sent.status, sent.security.epoch), (Status::Stored, Some(3)));
    net.say(CAROL, group, "thanks").unwrap();
    net.say(BOB, group, "hello").unwrap();
    assert_eq!(net.heard(ALICE), ["thanks", "hello"]);
    assert_eq!(net.heard(BOB), ["welcome", "thanks"]);
    assert_eq!(net.heard(CAROL), ["welcome", "hello"]);
    assert_eq!(net.events(ALICE), ["member_joined bob", "member_joined carol"]);
    assert_eq!(net.events(BOB), ["member_joined carol"]);
    for index in [ALICE, BOB, CAROL] {
        let view = match net.ask(index, GroupCommand::Update(group, ProfileChange::default())) {
            Ok(Reply::Group(view)) => view,
            Err(Refusal::NotAdmin) if index != ALICE => continue,
            other => panic!("{other:?}"),
        };
        assert_eq!(view.profile.name, "plans");
        assert_eq!(view.members.len(), 3);
    }
    assert!(net.nodes.iter().all(|node| node.alerts.is_empty()));
}

/// docs/protocol.md, 6.10: whoever pays a rekey that added members sends the profile again.
#[test]
fn profile_reaches_members_and_those_who_join_later() {
    let (mut net, group) = Net::group_of(2);
    let change = ProfileChange {
        name: Some("new plans".into()),
        description: Some(Some("for spring".into())),
        avatar: None,
    };
    net.ask(ALICE, GroupCommand::Update(group, change)).unwrap();
    assert!(net.events(BOB).contains(&"name_changed -".to_owned()));
    let name = |net: &Net, index: usize| {
        let store = net.nodes[index].engine.store();
        store.group_view(&group).unwrap().unwrap().profile
    };
    assert_eq!(name(&net, BOB).description.as_deref(), Some("for spring"));
    net.add_node("carol", 3);
    net.ask(ALICE, GroupCommand::Add(group, "carol".parse().unwrap(), None))
        .unwrap();
    net.accept(CAROL);
    net.settle();
    assert_eq!(name(&net, CAROL).name, "new plans");
    assert_eq!(name(&net, CAROL).description.as_deref(), Some("for spring"));
}

/// Nobody repeats what the proxy sends for itself, so a relay that has said that it is too much is asked again.
#[test]
fn profile_that_was_too_much_for_the_relay_is_offered_again() {
    let (mut net, group) = Net::group_of(2);
    net.faults.push_back(Fault::Refuse(ProblemType::RateLimited));
    let change = ProfileChange {
        name: Some("new plans".into()),
        ..ProfileChange::default()
    };
    net.ask(ALICE, GroupCommand::Update(group, change)).unwrap();
    assert!(!net.events(BOB).contains(&"name_changed -".to_owned()));
    net.pass(5_000);
    net.settle();
    assert!(net.events(BOB).contains(&"name_changed -".to_owned()));
}

/// docs/protocol.md, 6.10: joiners read nothing older than their first epoch.
#[test]
fn joiner_reads_nothing_older() {
    let (mut net, group) = Net::group_of(3);
    net.say(ALICE, group, "before").unwrap();
    let dave = Node::new("dave", 4, Settings::default());
    net.bundles.insert(dave.handle.clone(), dave.bundle.clone());
    net.nodes.push(dave);
    net.connect(3);
    let added = net.ask(ALICE, GroupCommand::Add(group, "dave".parse().unwrap(), None));
    assert!(matches!(added, Ok(Reply::Added(added)) if matches!(added.outcome, AddOutcome::Invited(_))));
    net.accept(3);
    net.say(BOB, group, "after").unwrap();
    assert_eq!(net.heard(3), ["after"]);
}

/// docs/protocol.md, 6.10: granted messages are shown as granted.
#[test]
fn shared_history_is_shown_as_granted_and_only_the_range() {
    let (mut net, group) = Net::group_of(3);
    net.say(ALICE, group, "one").unwrap();
    let two = net.say(BOB, group, "two").unwrap();
    net.say(CAROL, group, "three").unwrap();
    let seq = net.nodes[ALICE]
        .shown
        .iter()
        .find(|m| m.id == two.id)
        .unwrap()
        .seq;
    let dave = Node::new("dave", 4, Settings::default());
    net.bundles.insert(dave.handle.clone(), dave.bundle.clone());
    net.nodes.push(dave);
    net.connect(3);
    let share = Some(HistoryShare::AfterSeq(seq - 1));
    net.ask(ALICE, GroupCommand::Add(group, "dave".parse().unwrap(), share))
        .unwrap();
    net.accept(3);
    net.say(BOB, group, "four").unwrap();
    let shown: Vec<_> = net.nodes[3]
        .shown
        .iter()
        .filter(|message| message.message_type != "system")
        .map(|message| (message.client_msg_id.clone(), message.security.granted_by.clone()))
        .collect();
    let alice = Some("alice".parse().unwrap());
    let mut granted: Vec<_> = shown
        .iter()
        .filter(|(_, by)| *by == alice)
        .map(|(id, _)| id.as_str())
        .collect();
    granted.sort_unstable();
    assert_eq!(granted, ["three", "two"]);
    assert!(shown.contains(&("four".into(), None)));
}

/// docs/protocol.md, 6.6, hard debt: the next sender rekeys.
#[test]
fn first_sender_pays_for_a_leave_inside_the_call() {
    let (mut net, group) = Net::group_of(3);
    net.say(CAROL, group, "bye").unwrap();
    net.ask(CAROL, GroupCommand::Leave(group)).unwrap();
    assert!(net.groups.groups[&net.only_group()].roster.hard_debt().is_some());
    let before = net.epoch();
    net.say(BOB, group, "alone").unwrap();
    assert_eq!(net.epoch(), before + 1);
    assert_eq!(net.heard(ALICE), ["bye", "alone"]);
    assert_eq!(net.heard(CAROL), Vec::<String>::new());
    assert!(matches!(
        net.say(CAROL, group, "again"),
        Err(Refusal::GroupNotFound)
    ));
    assert_eq!(net.events(ALICE).last().unwrap(), "member_left carol");
}

/// docs/protocol.md, 6.6, hard debt: somebody rekeys within 30 s.
#[test]
fn debt_is_paid_by_somebody_when_nobody_sends() {
    let (mut net, group) = Net::group_of(3);
    net.ask(CAROL, GroupCommand::Leave(group)).unwrap();
    let before = net.epoch();
    net.pass(30_000);
    net.settle();
    assert_eq!(net.epoch(), before + 1);
    assert!(net.groups.groups[&net.only_group()].roster.hard_debt().is_none());
}

/// docs/protocol.md, 6.2, step 5: a removal is a rekey without the removed.
#[test]
fn removed_member_learns_it_and_opens_nothing_that_follows() {
    let (mut net, group) = Net::group_of(3);
    net.say(CAROL, group, "here").unwrap();
    net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
        .unwrap();
    net.say(ALICE, group, "secret").unwrap();
    assert_eq!(net.heard(BOB), ["here", "secret"]);
    assert_eq!(net.heard(CAROL), Vec::<String>::new());
    assert_eq!(net.events(CAROL), ["member_removed carol"]);
    // Nothing is left of what could open a message.
    let row = net.nodes[CAROL]
        .engine
        .store()
        .group(&net.only_group())
        .unwrap()
        .unwrap();
    assert_eq!(
        net.nodes[CAROL]
            .engine
            .store()
            .epochs_in(row.group_row, crate::state::EpochState::Adopted)
            .unwrap(),
        []
    );
    // Repeating a removal is no error.
    assert!(
        net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
            .is_ok()
    );
}

#[test]
fn only_admins_remove_promote_and_rename() {
    let (mut net, group) = Net::group_of(3);
    let carol = || "carol".parse().unwrap();
    let rename = ProfileChange {
        name: Some("mine".into()),
        ..ProfileChange::default()
    };
    assert_eq!(
        net.ask(BOB, GroupCommand::Remove(group, carol())).unwrap_err(),
        Refusal::NotAdmin
    );
    assert_eq!(
        net.ask(BOB, GroupCommand::SetRole(group, carol(), Role::Admin))
            .unwrap_err(),
        Refusal::NotAdmin
    );
    assert_eq!(
        net.ask(BOB, GroupCommand::Update(group, rename)).unwrap_err(),
        Refusal::NotAdmin
    );
    assert_eq!(
        net.ask(BOB, GroupCommand::Disband(group)).unwrap_err(),
        Refusal::NotAdmin
    );
    net.ask(
        ALICE,
        GroupCommand::SetRole(group, "bob".parse().unwrap(), Role::Admin),
    )
    .unwrap();
    net.ask(BOB, GroupCommand::Remove(group, carol())).unwrap();
    assert_eq!(
        net.ask(ALICE, GroupCommand::SetRole(group, carol(), Role::Admin))
            .unwrap_err(),
        Refusal::NotMember
    );
}

/// docs/protocol.md, 6.3, leave: the first in roster order becomes admin.
#[test]
fn last_admin_leaving_makes_the_earliest_member_admin() {
    let (mut net, group) = Net::group_of(3);
    let left = net.ask(ALICE, GroupCommand::Leave(group));
    assert!(matches!(left, Ok(Reply::Left(Some(handle))) if handle.as_str() == "bob"));
    net.say(BOB, group, "mine now").unwrap();
    assert_eq!(net.heard(CAROL), ["mine now"]);
}

#[test]
fn disbanded_group_is_gone_for_everybody() {
    let (mut net, group) = Net::group_of(2);
    assert!(matches!(
        net.ask(ALICE, GroupCommand::Disband(group)),
        Ok(Reply::Ended(_))
    ));
    let refusal = net.say(BOB, group, "late").unwrap_err();
    assert!(matches!(refusal, Refusal::GroupDeleted(end) if end.by.as_str() == "alice"));
    assert_eq!(net.events(BOB), ["group_deleted -"]);
    let told: Vec<&str> = net.nodes[BOB].ended.iter().map(|end| end.by.as_str()).collect();
    assert_eq!(told, ["alice"]);
    assert!(net.nodes[ALICE].ended.is_empty(), "who does it is not told");
}

/// docs/protocol.md, 6.9: the loser verifies the winner; 6.5: nobody seals before.
#[test]
fn loser_of_a_race_to_rekey_adopts_the_winner_and_both_read_on() {
    let (mut net, group) = Net::group_of(3);
    net.ask(CAROL, GroupCommand::Leave(group)).unwrap();
    net.calls_wait = true;
    let first = net.say_later(ALICE, group, "from alice");
    let second = net.say_later(BOB, group, "from bob");
    net.release_calls();
    net.settle();
    for (index, id) in [(ALICE, first), (BOB, second)] {
        assert!(
            matches!(net.answer(index, id), Some(Ok(Reply::Sent(_)))),
            "{index}"
        );
    }
    assert_eq!(net.heard(ALICE), ["from bob"]);
    assert_eq!(net.heard(BOB), ["from alice"]);
    assert_eq!(net.epoch(), 4);
}

/// docs/protocol.md, 6.9: an append is idempotent.
#[test]
fn lost_answer_to_an_append_is_repeated_not_doubled() {
    let mut net = net(2);
    net.lose_append = true;
    let id = {
        let new = NewGroup {
            profile: GroupProfile::default(),
            members: Vec::new(),
            channel: None,
        };
        net.command(ALICE, Command::Group(GroupCommand::Create(Box::new(new))))
    };
    net.pass(1_000);
    assert!(matches!(net.answer(ALICE, id), Some(Ok(Reply::GroupCreated(..)))));
    assert_eq!(net.groups.groups.len(), 1);
    assert_eq!(net.groups.groups[&net.only_group()].log.len(), 1);
}

/// docs/protocol.md, 5.3 and 6.6: sealed again, a message has a new context and its old core.
#[test]
fn message_under_a_closed_epoch_is_sealed_again_with_the_same_number() {
    let (mut net, group) = Net::group_of(3);
    net.disconnect(BOB);
    let queued = net.say_later(BOB, group, "queued");
    net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
        .unwrap();
    net.connect(BOB);
    net.settle();
    let Some(Ok(Reply::Sent(sent))) = net.answer(BOB, queued) else {
        panic!("{:?}", net.answer(BOB, queued));
    };
    assert_eq!(sent.message.security.epoch, Some(4));
    assert_eq!(net.heard(ALICE), ["queued"]);
    assert_eq!(net.heard(CAROL), Vec::<String>::new());
}

#[test]
fn away_for_thirty_epochs_everything_is_read_in_order() {
    let (mut net, group) = Net::group_of(3);
    net.disconnect(CAROL);
    let mut expected = Vec::new();
    for round in 0..30 {
        for index in [ALICE, BOB] {
            let text = format!("{}-{round}", NAMES[index]);
            net.say(index, group, &text).unwrap();
            expected.push(text);
        }
        net.ask(ALICE, GroupCommand::Rekey(group)).unwrap();
    }
    assert_eq!(net.epoch(), 33);
    net.connect(CAROL);
    net.settle();
    assert_eq!(net.heard(CAROL), expected);
    assert!(
        net.nodes[CAROL]
            .shown
            .iter()
            .all(|message| message.security.gap.is_none())
    );
}

/// docs/protocol.md, 6.5, adopting, step 1: the relay's fault.
#[test]
fn leaf_that_is_not_under_the_root_blames_the_relay_and_is_asked_again() {
    let (mut net, group) = Net::group_of(2);
    let id = net.only_group();
    let proof = LeafProof::decode(&net.groups.leaf(&id, 2, 0).unwrap()).unwrap();
    net.groups.false_leaves.insert((id, 3, 1), proof.encode());
    net.ask(ALICE, GroupCommand::Rekey(group)).unwrap();
    assert!(net.nodes[BOB].alerted("leaf_forged"));
    let before = net.epoch();
    net.groups.false_leaves.clear();
    net.pass(1_000);
    net.say(ALICE, group, "again").unwrap();
    assert_eq!(net.heard(BOB), ["again"]);
    assert_eq!(net.epoch(), before);
}

/// docs/protocol.md, 6.9: `ROSTER_FORK` is sticky and stops sending.
#[test]
fn second_log_of_the_relay_stops_the_group_for_good() {
    let (mut net, group) = Net::group_of(2);
    let id = net.only_group();
    let (alice, _) = net.nodes[ALICE].keys();
    // Alice signs two commits on one parent; which of them is in the log, only the relay decides.
    let parent = &net.groups.groups[&id].log[0];
    let other = alice.sign_document(&Commit {
        version: VERSION,
        suite: Suite::CLASSIC,
        group: Some(id),
        position: 1,
        previous: Some(sha256(parent)),
        signer: alice.public().clone(),
        changes: vec![Change::Disband],
        rekey: None,
        time: net.now,
    });
    let page = LogPage {
        after: 1,
        commits: vec![other],
        length: 2,
    };
    net.feed(BOB, vec![Event::Link(LinkEvent::Log(id, Ok(page)))]);
    assert!(net.nodes[BOB].alerted("roster_fork"));
    assert_eq!(
        net.say(BOB, group, "no").unwrap_err(),
        Refusal::RosterFork { group }
    );
    net.disconnect(BOB);
    net.connect(BOB);
    assert_eq!(
        net.say(BOB, group, "still no").unwrap_err(),
        Refusal::RosterFork { group }
    );
}

/// docs/protocol.md, 6.2: a commit that fails changes nothing.
#[test]
fn invalid_commit_is_told_and_does_not_move_the_log() {
    let (mut net, group) = Net::group_of(2);
    let id = net.only_group();
    let page = LogPage {
        after: 2,
        commits: vec![b"no commit".to_vec()],
        length: 9,
    };
    net.feed(BOB, vec![Event::Link(LinkEvent::Log(id, Ok(page)))]);
    assert!(net.nodes[BOB].alerted("invalid_commit"));
    net.say(BOB, group, "as before").unwrap();
    assert_eq!(net.heard(ALICE), ["as before"]);
}

/// docs/protocol.md, 6.2: an invalid commit hides what stands in its place only for as long as the relay lies; also if the
/// link ends before the relay has answered what is there.
#[test]
fn what_stands_where_an_invalid_commit_was_shown_is_asked_for() {
    for link_ends in [false, true] {
        let (mut net, group) = Net::group_of(3);
        let id = net.only_group();
        let position = net.groups.groups[&id].log.len() as u64 + 1;
        net.disconnect(CAROL);
        net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
            .unwrap();
        net.connect(CAROL);
        net.calls_wait = link_ends;
        let queue = Queue::Log(id);
        let shown = Event::Link(LinkEvent::Delivered {
            cursor: Cursor { queue, position },
            object: b"no commit".to_vec(),
        });
        net.feed(CAROL, vec![shown]);
        assert!(net.nodes[CAROL].alerted("invalid_commit"));
        if link_ends {
            assert!(net.is_member(CAROL, &id));
            net.disconnect(CAROL);
            net.calls_wait = false;
            net.connect(CAROL);
        }
        assert_eq!(net.assert_converged(&id), [ALICE, BOB]);
    }
}

/// docs/protocol.md, 8.6: an answer that a pushed commit has overtaken tells of no loss; one that knows less than was known
/// when it was asked for does.
#[test]
fn relay_has_lost_commits_if_it_has_fewer_than_were_known_when_it_was_asked() {
    let (mut net, _) = Net::group_of(2);
    let id = net.only_group();
    let length = net.groups.groups[&id].log.len() as u64;
    let answer = |after| {
        let page = LogPage {
            after,
            commits: Vec::new(),
            length: length - 1,
        };
        vec![Event::Link(LinkEvent::Log(id, Ok(page)))]
    };
    net.feed(BOB, answer(length - 1));
    assert!(!net.nodes[BOB].alerted("roster_lost"));
    net.feed(BOB, answer(length));
    assert!(net.nodes[BOB].alerted("roster_lost"));
}

/// docs/protocol.md, 6.5, healing: a member whose leaf is empty commits a rekey itself.
#[test]
fn empty_leaf_is_healed_by_the_member_itself() {
    let (mut net, group) = Net::group_of(2);
    // Nobody can look bob up any more, and what alice knows is too old to be used.
    net.disconnect(BOB);
    net.bundles.remove(&"bob".parse().unwrap());
    net.pass(91 * 24 * 3_600 * 1_000);
    net.ask(ALICE, GroupCommand::Rekey(group)).unwrap();
    let id = net.only_group();
    let empty = net.epoch();
    let leaf = &net.groups.groups[&id].leaves[&empty].leaves[1];
    let content = Leaf::decode(leaf).unwrap().content;
    assert!(matches!(
        content,
        LeafContent::Empty(EmptyReason::Expired | EmptyReason::Unreachable)
    ));
    net.connect(BOB);
    net.settle();
    net.pass(60_000);
    net.settle();
    let held = &net.groups.groups[&id];
    let leaf = &held.leaves[&(empty + 1)].leaves[1];
    assert!(matches!(
        Leaf::decode(leaf).unwrap().content,
        LeafContent::Sealed { .. }
    ));
    let commits = held.log.iter().map(|commit| {
        waxwire_shared::sign::Verified::<Commit>::from_bytes(commit, |commit| &commit.signer).unwrap()
    });
    let mut rekeys = commits.filter(|commit| commit.body().rekey.is_some());
    let healer = rekeys.next_back().unwrap();
    assert_eq!(healer.signer(), net.nodes[BOB].keys().0.public());
    net.say(BOB, group, "healed").unwrap();
}

/// docs/protocol.md, 9: a resend in a group.
#[test]
fn group_message_that_the_relay_drops_for_one_member_is_sent_again_by_its_author() {
    let (mut net, group) = Net::group_of(3);
    net.say(ALICE, group, "one").unwrap();
    net.disconnect(BOB);
    net.say(ALICE, group, "two").unwrap();
    // What bob is shown in its place is what he has: his cursor moves on without it.
    let id = net.only_group();
    let position = net.groups.groups[&id].messages.len() as u64;
    net.skip(BOB, Queue::Group(id), position);
    net.connect(BOB);
    net.say(ALICE, group, "three").unwrap();
    net.pass(2_000);
    net.pass(2_000);
    net.settle();
    assert_eq!(net.heard(BOB), ["one", "three", "two"]);
    assert_eq!(net.heard(CAROL), ["one", "two", "three"]);
}

#[test]
fn object_that_cannot_be_handled_is_passed_over_and_blocks_nothing() {
    let (mut net, group) = Net::group_of(3);
    net.nodes[BOB].may_fail = true;
    // Bob's state is damaged where alice's next message needs it.
    let agent: String = net.nodes[ALICE]
        .agent_id
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let damage = format!("UPDATE chain SET sealed = x'00' WHERE agent = x'{agent}'");
    net.nodes[BOB].engine.store().execute(&damage);
    net.say(ALICE, group, "poison").unwrap();
    net.say(CAROL, group, "cure").unwrap();
    for _ in 0..3 {
        net.settle();
    }
    assert!(net.nodes[BOB].alerted("poison"));
    assert_eq!(net.heard(BOB), ["cure"]);
    assert_eq!(net.heard(CAROL), ["poison"]);
}

#[test]
fn granted_message_that_comes_by_itself_takes_its_place() {
    let (mut net, group) = Net::group_of(3);
    // Bob has not got it yet when carol grants it to him.
    net.disconnect(BOB);
    net.say(ALICE, group, "once").unwrap();
    net.connect(BOB);
    net.settle();
    let id = net.only_group();
    let store = net.nodes[CAROL].engine.store();
    let row = store.group(&id).unwrap().unwrap();
    let items = store.signed_after(row.conversation_id, 0, 10).unwrap();
    let joined = net.groups.groups[&id].log.iter().find(|commit| {
        let commit =
            waxwire_shared::sign::Verified::<Commit>::from_bytes(commit, |commit| &commit.signer).unwrap();
        *commit.signer() == *net.nodes[BOB].keys().0.public()
    });
    let grant = waxwire_shared::wire::HistoryGrant {
        group: id,
        part: 0,
        parts: 1,
        items,
        joined: sha256(joined.unwrap()),
    };
    // A peer that bob knows: they have written to one another.
    net.send(CAROL, "bob", "hello");
    net.settle();
    net.control(
        CAROL,
        "bob",
        waxwire_shared::wire::Kind::HistoryGrant,
        grant.encode(),
    );
    net.settle();
    net.say(ALICE, group, "twice").unwrap();
    assert_eq!(net.heard(BOB), ["once", "hello", "twice"]);
}

#[test]
fn nobody_is_left_out_because_the_relay_did_not_answer() {
    let mut net = net(2);
    net.relay_down = true;
    let new = NewGroup {
        profile: GroupProfile::default(),
        members: vec!["bob".parse().unwrap()],
        channel: None,
    };
    let refusal = net.ask(ALICE, GroupCommand::Create(Box::new(new))).unwrap_err();
    assert_eq!(refusal, Refusal::RelayUnreachable { queued: false });
    net.relay_down = false;
    let group = net.found(ALICE, &["bob"]).id;
    net.relay_down = true;
    let added = net.ask(ALICE, GroupCommand::Add(group, "carol".parse().unwrap(), None));
    assert_eq!(added.unwrap_err(), Refusal::RelayUnreachable { queued: false });
    net.relay_down = false;
    net.pass(1_000);
    let added = net.ask(ALICE, GroupCommand::Add(group, "carol".parse().unwrap(), None));
    assert_eq!(added.unwrap_err(), Refusal::AgentNotFound);
}

/// docs/protocol.md, 6.7 and 6.8: a leave names the leaver's last message, so nothing is sent behind it.
#[test]
fn nothing_is_sent_behind_an_own_leave() {
    let (mut net, group) = Net::group_of(3);
    let stored = |net: &Net| net.groups.groups[&net.only_group()].messages.len();
    let before = stored(&net);
    net.calls_wait = true;
    let leave = net.command(BOB, Command::Group(GroupCommand::Leave(group)));
    let behind = net.say_later(BOB, group, "behind");
    net.settle();
    assert!(net.answer(BOB, leave).is_none() && net.answer(BOB, behind).is_none());
    assert_eq!(stored(&net), before);
    net.release_calls();
    net.settle();
    assert!(matches!(net.answer(BOB, leave), Some(Ok(Reply::Left(_)))));
    assert!(matches!(
        net.answer(BOB, behind),
        Some(Err(Refusal::GroupNotFound))
    ));
    assert_eq!((net.heard(ALICE), net.heard(CAROL)), (vec![], vec![]));
}
