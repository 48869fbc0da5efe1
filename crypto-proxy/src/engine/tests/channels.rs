//! Named channels between engines: what a slug leads to, and what a relay that lies about one gets
//! (docs/protocol.md, 6.11).

use waxwire_shared::{
    ids::{GroupId, Handle},
    wire::{Change, JoinPolicy},
};

use super::{
    groups::{ALICE, BOB, CAROL, NAMES},
    net::{Net, Node},
};
use crate::{
    engine::{Command, GroupCommand, Reply, Settings},
    model::{Group, GroupProfile, Joining, LocalConversation, NewChannel, NewGroup, Refusal},
    state::Standing,
};

fn slug(text: &str) -> Handle {
    text.parse().unwrap()
}

fn three() -> Net {
    let nodes = NAMES[..3].iter().zip(1..);
    let node = |(name, seed): (&&str, u8)| Node::new(name, seed, Settings::default());
    Net::new(nodes.map(node).collect())
}

impl Net {
    fn found_channel(&mut self, index: usize, text: &str, open: bool) -> Result<GroupId, Refusal> {
        let new = NewGroup {
            profile: GroupProfile {
                name: "the plaza".to_owned(),
                ..GroupProfile::default()
            },
            members: Vec::new(),
            channel: Some(NewChannel {
                slug: slug(text),
                open,
            }),
        };
        match self.ask(index, GroupCommand::Create(Box::new(new)))? {
            Reply::GroupCreated(group, _) => Ok(self.id_of(&group.id)),
            other => panic!("{other:?}"),
        }
    }

    /// The whole id behind a local one.
    fn id_of(&self, local: &LocalConversation) -> GroupId {
        let mut groups = self.groups.groups.keys();
        let named = groups.find(|group| LocalConversation::group(group) == *local);
        *named.unwrap()
    }

    fn join_by(
        &mut self,
        index: usize,
        text: &str,
        expected: Option<LocalConversation>,
    ) -> Result<Group, Refusal> {
        let joining = Joining {
            slug: slug(text),
            expected,
        };
        match self.ask(index, GroupCommand::Join(joining))? {
            Reply::Group(group) => Ok(*group),
            other => panic!("{other:?}"),
        }
    }

    fn join_channel(&mut self, index: usize, text: &str) -> Result<Group, Refusal> {
        self.join_by(index, text, None)
    }

    fn leave(&mut self, index: usize, group: LocalConversation) {
        self.ask(index, GroupCommand::Leave(group)).unwrap();
        self.pass(60_000);
        self.settle();
    }

    /// The group that a slug names for an agent.
    fn named(&self, index: usize, text: &str) -> Option<GroupId> {
        let store = self.nodes[index].engine.store();
        store.channel_group(&slug(text)).unwrap().map(|row| row.group_id)
    }

    pub(super) fn is_member(&self, index: usize, group: &GroupId) -> bool {
        let row = self.nodes[index].engine.store().group(group).unwrap();
        row.is_some_and(|row| row.standing == Standing::Member)
    }
}

#[test]
fn open_channel_is_joined_by_its_slug() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    let joined = net.join_channel(BOB, "plaza").unwrap();
    assert_eq!(joined.id, LocalConversation::group(&id));
    let again = net.join_channel(BOB, "plaza").unwrap();
    assert_eq!((again.id, again.members.len()), (joined.id, 2));
    assert_eq!(net.groups.groups[&id].log.len(), 2, "joined once");
    net.say(ALICE, joined.id, "from alice").unwrap();
    net.say(BOB, joined.id, "from bob").unwrap();
    assert_eq!(net.heard(BOB), ["from alice"]);
    assert_eq!(net.heard(ALICE), ["from bob"]);
    let store = net.nodes[BOB].engine.store();
    assert!(!store.group_security(&joined.id).unwrap().confidential_from_relay);
    // Bob's own commit replaced the key; the admin has told him the name since.
    assert_eq!(
        store.group_view(&joined.id).unwrap().unwrap().profile.name,
        "the plaza"
    );
    let events = net.nodes[ALICE]
        .shown
        .iter()
        .filter(|message| message.message_type == "system");
    assert!(
        events
            .clone()
            .any(|event| event.content.contains("member_joined"))
    );
    assert!(net.nodes.iter().all(|node| node.alerts.is_empty()));
}

#[test]
fn channel_for_the_invited_is_joined_by_an_invite_that_waits() {
    let mut net = three();
    let id = net.found_channel(ALICE, "council", false).unwrap();
    let local = LocalConversation::group(&id);
    assert_eq!(
        net.join_channel(BOB, "council").unwrap_err(),
        Refusal::InviteRequired
    );
    assert!(!net.is_member(BOB, &id) && net.named(BOB, "council").is_none());
    net.ask(ALICE, GroupCommand::Add(local, "bob".parse().unwrap(), None))
        .unwrap();
    let joined = net.join_channel(BOB, "council").unwrap();
    assert_eq!(joined.members.len(), 2);
    assert_eq!(net.named(BOB, "council"), Some(id));
    let store = net.nodes[BOB].engine.store();
    assert!(store.group_security(&local).unwrap().confidential_from_relay);
    assert!(net.nodes.iter().all(|node| node.alerts.is_empty()));
}

/// An invite to an open channel is no reason to wait for it, and is used up by the join.
#[test]
fn invited_agent_joins_an_open_channel_all_the_same() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    let local = LocalConversation::group(&id);
    net.ask(ALICE, GroupCommand::Add(local, "bob".parse().unwrap(), None))
        .unwrap();
    net.join_channel(BOB, "plaza").unwrap();
    assert_eq!(net.groups.groups[&id].roster.invites().count(), 0);
}

#[test]
fn slug_that_its_log_does_not_claim_is_refused() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    net.groups.false_slugs.insert(slug("bank"), id);
    let refused = net.join_channel(BOB, "bank").unwrap_err();
    assert_eq!(refused, Refusal::ChannelFalse(slug("bank")));
    assert!(net.nodes[BOB].alerted("channel_false"));
    assert!(!net.is_member(BOB, &id));
    assert_eq!((net.named(BOB, "bank"), net.named(BOB, "plaza")), (None, None));
    assert_eq!(net.groups.groups[&id].log.len(), 1, "nothing was appended");
    net.join_channel(BOB, "plaza").unwrap();
    // Also if this agent is a member of the group that is shown.
    let refused = net.join_channel(BOB, "bank").unwrap_err();
    assert_eq!(refused, Refusal::ChannelFalse(slug("bank")));
    assert!(net.is_member(BOB, &id));
}

/// The commits that a relay shows of one of two groups.
type Lie = fn(&Net, GroupId, GroupId) -> Vec<Vec<u8>>;

#[test]
fn log_that_does_not_verify_is_refused() {
    let lies: [Lie; 5] = [
        |net, id, _| net.groups.groups[&id].log[1..].to_vec(),
        |net, id, _| {
            let mut log = net.groups.groups[&id].log.clone();
            *log[1].last_mut().unwrap() ^= 1;
            log
        },
        |net, _, other| net.groups.groups[&other].log.clone(),
        |net, id, _| vec![net.groups.groups[&id].log[0].clone(); 2],
        |_, _, _| vec![b"no commit".to_vec()],
    ];
    for lie in lies {
        let mut net = three();
        let id = net.found_channel(ALICE, "plaza", true).unwrap();
        net.join_channel(CAROL, "plaza").unwrap();
        let other = net.found_channel(ALICE, "other", true).unwrap();
        let shown = lie(&net, id, other);
        net.groups.false_logs.insert(id, shown);
        let refused = net.join_channel(BOB, "plaza").unwrap_err();
        assert_eq!(refused, Refusal::ChannelFalse(slug("plaza")));
        assert!(net.nodes[BOB].alerted("invalid_commit"));
        assert!(!net.is_member(BOB, &id) && net.named(BOB, "plaza").is_none());
        net.groups.false_logs.clear();
        net.join_channel(BOB, "plaza").unwrap();
    }
}

/// A shorter log than there is proves itself; the join does not follow the head, and gets nowhere.
#[test]
fn log_that_was_cut_lets_nobody_in() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    net.join_channel(CAROL, "plaza").unwrap();
    net.groups.withheld.insert(id, 1);
    let joining = Joining {
        slug: slug("plaza"),
        expected: None,
    };
    let asked = net.command(BOB, Command::Group(GroupCommand::Join(joining)));
    net.settle();
    assert!(net.answer(BOB, asked).is_none());
    net.pass(Settings::default().answer_within);
    let answer = net.answer(BOB, asked).unwrap();
    assert!(matches!(answer, Err(Refusal::EpochPending { .. })), "{answer:?}");
    assert!(!net.is_member(BOB, &id));
    net.groups.withheld.clear();
    net.pass(2_000);
    net.join_channel(BOB, "plaza").unwrap();
    assert_eq!(net.groups.groups[&id].roster.members().len(), 3);
}

/// The log that a stranger reads has another second commit when it reads on: a fork, told as one.
#[test]
fn forked_log_is_told_and_kept_from() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    net.join_channel(BOB, "plaza").unwrap();
    let forked = {
        let mut log = net.groups.groups[&id].log.clone();
        let (alice, _) = net.nodes[ALICE].keys();
        let mut commit =
            waxwire_shared::sign::Verified::<waxwire_shared::wire::Commit>::from_bytes(&log[1], |commit| {
                &commit.signer
            })
            .unwrap()
            .into_body();
        (commit.signer, commit.changes, commit.rekey) = (alice.public().clone(), vec![Change::Disband], None);
        log[1] = alice.sign_document(&commit);
        log
    };
    let event = crate::engine::Event::Link(crate::engine::LinkEvent::Delivered {
        cursor: waxwire_shared::api::frames::Cursor {
            queue: waxwire_shared::api::frames::Queue::Log(id),
            position: 2,
        },
        object: forked[1].clone(),
    });
    net.feed(BOB, vec![event]);
    assert!(net.nodes[BOB].alerted("roster_fork"));
    let refused = net.join_channel(BOB, "plaza").unwrap_err();
    let group = LocalConversation::group(&id);
    assert_eq!(refused, Refusal::RosterFork { group });
}

#[test]
fn another_group_under_a_slug_is_told_and_not_taken() {
    let mut net = three();
    let first = net.found_channel(ALICE, "plaza", true).unwrap();
    let local = net.join_channel(BOB, "plaza").unwrap().id;
    net.leave(BOB, local);
    assert_eq!(
        net.named(BOB, "plaza"),
        Some(first),
        "it stays when the agent leaves"
    );
    let second = net.found_channel(CAROL, "plaza", true).unwrap();
    net.groups.false_slugs.insert(slug("plaza"), second);
    let changed = Refusal::ChannelChanged {
        slug: slug("plaza"),
        known: local,
        shown: LocalConversation::group(&second),
    };
    assert_eq!(net.join_channel(BOB, "plaza").unwrap_err(), changed);
    assert!(net.nodes[BOB].alerted("channel_changed"));
    assert!(!net.is_member(BOB, &second));
    // A third one is not the one that the agent names.
    let elsewhere = LocalConversation::group(&GroupId::from_bytes([7; 32]));
    let refused = net.join_by(BOB, "plaza", Some(elsewhere)).unwrap_err();
    assert!(matches!(refused, Refusal::ChannelChanged { known, .. } if known == elsewhere));
    // The one that it names is.
    net.join_by(BOB, "plaza", Some(LocalConversation::group(&second)))
        .unwrap();
    assert_eq!(net.named(BOB, "plaza"), Some(second));
    net.groups.false_slugs.insert(slug("plaza"), first);
    net.leave(BOB, LocalConversation::group(&second));
    let refused = net.join_channel(BOB, "plaza").unwrap_err();
    assert!(matches!(refused, Refusal::ChannelChanged { shown, .. } if shown == local));
}

#[test]
fn slug_that_the_log_gave_up_names_the_next_group() {
    for disband in [false, true] {
        let mut net = three();
        let first = net.found_channel(ALICE, "plaza", true).unwrap();
        let local = net.join_channel(BOB, "plaza").unwrap().id;
        if disband {
            net.ask(ALICE, GroupCommand::Disband(local)).unwrap();
            assert_eq!(net.named(BOB, "plaza"), Some(first), "what it was is known");
        } else {
            net.set_policy(ALICE, &first, JoinPolicy::Open, Some("other"));
            assert_eq!(
                (net.named(BOB, "plaza"), net.named(BOB, "other")),
                (None, Some(first))
            );
        }
        let second = net.found_channel(CAROL, "plaza", true).unwrap();
        net.join_channel(BOB, "plaza").unwrap();
        assert_eq!(net.named(BOB, "plaza"), Some(second));
        assert!(net.nodes[BOB].alerts.is_empty());
    }
}

#[test]
fn group_that_claims_the_slug_of_another_takes_nothing_over() {
    let mut net = three();
    let first = net.found_channel(ALICE, "plaza", true).unwrap();
    net.join_channel(BOB, "plaza").unwrap();
    let second = net.found_channel(CAROL, "market", true).unwrap();
    net.join_channel(BOB, "market").unwrap();
    net.set_policy(CAROL, &second, JoinPolicy::Open, Some("plaza"));
    assert!(net.nodes[BOB].alerted("channel_changed"));
    assert_eq!(
        (net.named(BOB, "plaza"), net.named(BOB, "market")),
        (Some(first), None)
    );
    net.nodes[BOB].alerts.clear();
    // It is told once, not with every commit that follows.
    net.set_policy(CAROL, &second, JoinPolicy::Invite, Some("plaza"));
    assert!(net.nodes[BOB].alerts.is_empty());
    assert_eq!(
        net.join_channel(BOB, "plaza").unwrap().id,
        LocalConversation::group(&first)
    );
    // It is meant if the agent says so.
    net.groups.false_slugs.insert(slug("plaza"), second);
    net.join_by(BOB, "plaza", Some(LocalConversation::group(&second)))
        .unwrap();
    assert_eq!(net.named(BOB, "plaza"), Some(second));
}

#[test]
fn open_channel_that_turns_is_for_the_invited() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    net.join_channel(BOB, "plaza").unwrap();
    net.set_policy(ALICE, &id, JoinPolicy::Invite, Some("plaza"));
    assert_eq!(
        net.join_channel(CAROL, "plaza").unwrap_err(),
        Refusal::InviteRequired
    );
    let local = LocalConversation::group(&id);
    let store = net.nodes[BOB].engine.store();
    assert!(store.group_security(&local).unwrap().confidential_from_relay);
    net.say(BOB, local, "still here").unwrap();
    assert_eq!(net.heard(ALICE), ["still here"]);
}

/// docs/protocol.md, 6.3: a join is valid whoever signs it.
#[test]
fn removed_agent_joins_an_open_channel_again() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    let local = net.join_channel(BOB, "plaza").unwrap().id;
    net.say(ALICE, local, "one").unwrap();
    net.ask(ALICE, GroupCommand::Remove(local, "bob".parse().unwrap()))
        .unwrap();
    assert!(!net.is_member(BOB, &id));
    net.say(ALICE, local, "two").unwrap();
    net.join_channel(BOB, "plaza").unwrap();
    net.say(ALICE, local, "three").unwrap();
    assert_eq!(net.heard(BOB), ["one", "three"]);
    assert!(net.nodes.iter().all(|node| node.alerts.is_empty()));
}

#[test]
fn founder_knows_the_slugs_of_its_own_channels() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    assert_eq!(net.named(ALICE, "plaza"), Some(id));
    assert_eq!(
        net.found_channel(ALICE, "plaza", false).unwrap_err(),
        Refusal::SlugTaken
    );
    assert_eq!(
        net.join_channel(BOB, "nothing").unwrap_err(),
        Refusal::ChannelNotFound
    );
    net.disconnect(BOB);
    let joining = Joining {
        slug: slug("plaza"),
        expected: None,
    };
    let asked = net.command(BOB, Command::Group(GroupCommand::Join(joining)));
    net.settle();
    // Without a link the question itself fails; the link says so, not the engine.
    assert!(net.answer(BOB, asked).is_none());
}

/// Everything that is under way when the link goes is done when it is back.
#[test]
fn join_whose_answer_is_lost_is_made_once() {
    let mut net = three();
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    net.lose_append = true;
    let joining = Joining {
        slug: slug("plaza"),
        expected: None,
    };
    let asked = net.command(BOB, Command::Group(GroupCommand::Join(joining)));
    net.settle();
    net.pass(2_000);
    assert!(matches!(net.answer(BOB, asked), Some(Ok(Reply::Group(_)))));
    assert_eq!(net.groups.groups[&id].log.len(), 2);
}

#[test]
fn many_join_at_once_and_all_are_in() {
    let mut net = Net::new(
        NAMES
            .iter()
            .zip(1..)
            .map(|(name, seed)| Node::new(name, seed, Settings::default()))
            .collect(),
    );
    let id = net.found_channel(ALICE, "plaza", true).unwrap();
    net.calls_wait = true;
    let asked: Vec<(usize, u64)> = (1..NAMES.len())
        .map(|index| {
            let joining = Joining {
                slug: slug("plaza"),
                expected: None,
            };
            (
                index,
                net.command(index, Command::Group(GroupCommand::Join(joining))),
            )
        })
        .collect();
    // The latest call first: whoever read the log first appends last.
    while net.release_latest_call() {}
    net.calls_wait = false;
    net.settle();
    for (index, asked) in asked {
        let answer = net.answer(index, asked);
        assert!(matches!(answer, Some(Ok(Reply::Group(_)))), "{index}: {answer:?}");
    }
    assert_eq!(net.groups.groups[&id].roster.members().len(), NAMES.len());
    let local = LocalConversation::group(&id);
    for (index, name) in NAMES.iter().enumerate() {
        net.say(index, local, name).unwrap();
    }
    for (index, name) in NAMES.iter().enumerate() {
        assert_eq!(net.heard(index).len(), NAMES.len() - 1, "{name}");
    }
}
