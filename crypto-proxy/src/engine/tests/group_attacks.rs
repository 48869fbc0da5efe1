//! What members and former members cannot do, also together with the relay (docs/protocol.md, 6).

use rand_core::SeedableRng as _;
use waxwire_shared::{
    api::append::Append,
    hash::sha256,
    ids::ConversationId,
    roster::Plan,
    suite::Suite,
    wire::{Commit, Document as _, InviteNotice, Kind, LeafProof, Resend, VERSION},
};

use super::{
    groups::{ALICE, BOB, CAROL},
    net::{Net, START},
};
use crate::{
    engine::{AppendOutcome, Event, GroupCommand},
    group::{self, LeafKey},
    model::{LocalConversation, ProfileChange, Refusal, Trust},
    state::StoredProfile,
};

impl Net {
    /// A rekey that alice signs and whose leaf for each member is sealed to the key of `sealed_to`.
    fn rekey_sealed_to(&mut self, sealed_to: &[usize]) {
        let id = self.only_group();
        let roster = &self.groups.groups[&id].roster;
        let (alice, _) = self.nodes[ALICE].keys();
        let plan: Plan = roster.plan(alice.public(), &[]).unwrap();
        let keys: Vec<LeafKey> = sealed_to
            .iter()
            .map(|index| LeafKey {
                key: Ok((START, Suite::CLASSIC, self.nodes[*index].public())),
            })
            .collect();
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([42; 32]);
        let prepared = group::prepare(&mut rng, &plan, Suite::CLASSIC, &keys).unwrap();
        let commit = alice.sign_document(&Commit {
            version: VERSION,
            suite: Suite::CLASSIC,
            group: Some(id),
            position: plan.position,
            previous: plan.previous,
            signer: alice.public().clone(),
            changes: Vec::new(),
            rekey: Some(prepared.rekey),
            time: self.now,
        });
        let body = Append {
            commit: &commit,
            leaves: &prepared.leaves,
        };
        let outcome = self.groups.append(&id, false, &body.to_bytes());
        assert!(matches!(outcome, AppendOutcome::Stored), "{outcome:?}");
    }
}

/// docs/protocol.md, 6.5: a proof that holds over a box that does not open is the rekeyer's fault.
#[test]
fn false_leaf_names_the_rekeyer_and_is_healed() {
    let (mut net, group) = Net::group_of(3);
    let before = net.epoch();
    // Bob's leaf is sealed to carol.
    net.rekey_sealed_to(&[ALICE, CAROL, CAROL]);
    net.settle();
    let alert = net.nodes[BOB]
        .alerts
        .iter()
        .find(|alert| alert.kind == "leaf_false");
    assert_eq!(alert.unwrap().peer.as_ref().unwrap().as_str(), "alice");
    assert!(!net.nodes[CAROL].alerted("leaf_false"));
    // Bob has replaced the key himself, at once.
    assert_eq!(net.epoch(), before + 2);
    net.say(ALICE, group, "from alice").unwrap();
    net.say(BOB, group, "from bob").unwrap();
    assert_eq!(net.heard(BOB), ["from alice"]);
    assert_eq!(net.heard(CAROL), ["from alice", "from bob"]);
}

/// docs/protocol.md, 9: what was said under the false key comes again from its author.
#[test]
fn message_under_a_key_that_one_member_lacks_reaches_it_by_repair() {
    let (mut net, group) = Net::group_of(3);
    net.disconnect(BOB);
    net.rekey_sealed_to(&[ALICE, CAROL, CAROL]);
    net.settle();
    net.say(CAROL, group, "meanwhile").unwrap();
    net.connect(BOB);
    net.settle();
    net.pass(2_000);
    net.settle();
    assert_eq!(net.heard(BOB), ["meanwhile"]);
}

/// docs/protocol.md, 6.6 and 6.8: a removed member, its old keys, and a relay that gives it everything.
#[test]
fn removed_member_opens_nothing_with_every_byte_that_the_relay_holds() {
    let (mut net, group) = Net::group_of(3);
    let id = net.only_group();
    let epoch = net.epoch();
    net.say(BOB, group, "old").unwrap();
    net.disconnect(CAROL);
    let carol = "carol".parse().unwrap();
    net.ask(ALICE, GroupCommand::Remove(group, carol)).unwrap();
    net.say(BOB, group, "secret").unwrap();
    // The relay hides the removal from carol and delivers what follows: she still holds her old state.
    let length = net.groups.groups[&id].log.len() as u64;
    net.groups.withheld.insert(id, length - 1);
    let agent = net.nodes[CAROL].agent_id;
    let window = net
        .groups
        .groups
        .get_mut(&id)
        .unwrap()
        .windows
        .get_mut(&agent)
        .unwrap();
    (window.log_to, window.mail_to) = (None, None);
    net.connect(CAROL);
    net.settle();
    assert_eq!(net.heard(CAROL), ["old"]);
    // No leaf of the new epoch opens to her.
    let held = &net.groups.groups[&id];
    let commit =
        waxwire_shared::sign::Verified::<Commit>::from_bytes(&held.log[held.log.len() - 1], |it| &it.signer);
    let rekey = commit.unwrap().body().rekey.clone().unwrap();
    assert_eq!(rekey.epoch, epoch + 1);
    let (identity, _) = net.nodes[CAROL].keys();
    for index in 0..rekey.leaves {
        let proof = LeafProof::decode(&net.groups.leaf(&id, rekey.epoch, index).unwrap()).unwrap();
        let keys = net.nodes[CAROL].engine.encryption_keys();
        let adopted = group::adopt(&rekey, index, identity.public(), &proof, |_, _| {
            keys.first().map(|key| &key.secret)
        });
        assert!(adopted.is_err());
    }
    // And what carol says now, under the epoch that she believes in, nobody takes.
    let said = net.say_later(CAROL, group, "still here?");
    net.pass(10_001);
    assert!(matches!(net.answer(CAROL, said), Some(Err(_))));
    assert_eq!(net.heard(BOB), Vec::<String>::new());
}

/// docs/protocol.md, 6.8, step 7: what a departed member says beyond its cut-off is refused.
#[test]
fn message_of_a_removed_member_is_refused_even_if_the_relay_delivers_it() {
    let (mut net, group) = Net::group_of(3);
    let id = net.only_group();
    net.disconnect(CAROL);
    let unsent = net.say_later(CAROL, group, "too late");
    net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
        .unwrap();
    // Carol's proxy sealed it before; the relay puts it into the group's queue all the same.
    let store = net.nodes[CAROL].engine.store();
    let row = store.group(&id).unwrap().unwrap();
    let envelope = store.outbox_of_group(row.group_row).unwrap()[0].envelope.clone();
    assert!(net.answer(CAROL, unsent).is_none());
    net.groups
        .groups
        .get_mut(&id)
        .unwrap()
        .messages
        .push(envelope.clone());
    net.settle();
    assert_eq!(net.heard(BOB), Vec::<String>::new());
    assert!(net.nodes[BOB].alerted("past_cut_off"));
    assert_ne!(sha256(&envelope), sha256(b""));
}

/// Bob is not shown a commit of alice's, who is an admin and cites it.
fn withheld_from_bob() -> (Net, LocalConversation) {
    let (mut net, group) = Net::group_of(3);
    let id = net.only_group();
    net.disconnect(BOB);
    net.ask(ALICE, GroupCommand::Add(group, "alice".parse().unwrap(), None))
        .unwrap_err();
    let promoted = GroupCommand::SetRole(group, "carol".parse().unwrap(), waxwire_shared::wire::Role::Admin);
    net.ask(ALICE, promoted).unwrap();
    net.say(ALICE, group, "under the new head").unwrap();
    let length = net.groups.groups[&id].log.len() as u64;
    net.groups.withheld.insert(id, length - 1);
    net.connect(BOB);
    net.settle();
    assert_eq!(net.heard(BOB), Vec::<String>::new());
    (net, group)
}

/// docs/operations/running.md, Clocks: a relay is accused of nothing for a time that was none.
#[test]
fn clock_that_is_set_forward_accuses_no_relay() {
    let (mut net, _) = withheld_from_bob();
    net.suspend(3_600_000);
    net.feed(BOB, vec![Event::Tick]);
    net.pass(59_999);
    assert!(!net.nodes[BOB].alerted("roster_withheld"));
    net.pass(1);
    assert!(net.nodes[BOB].alerted("roster_withheld"));
}

/// docs/protocol.md, 6.9: one member who cites an unknown head alerts; an admin stops the group.
#[test]
fn withheld_commits_are_told_and_stop_sends_when_an_admin_cites_them() {
    let (mut net, group) = withheld_from_bob();
    net.pass(60_000);
    assert!(net.nodes[BOB].alerted("roster_withheld"));
    let waiting = net.say_later(BOB, group, "is it safe?");
    net.pass(10_001);
    assert!(matches!(
        net.answer(BOB, waiting),
        Some(Err(Refusal::EpochPending { .. }))
    ));
    // The relay shows it after all: everything goes on.
    net.groups.withheld.clear();
    net.pass(1_000);
    net.disconnect(BOB);
    net.connect(BOB);
    net.settle();
    assert_eq!(net.heard(BOB), ["under the new head"]);
    net.say(BOB, group, "it is").unwrap();
    let shown = net.nodes[BOB]
        .shown
        .iter()
        .find(|message| !message.own && message.message_type != "system");
    assert_eq!(shown.unwrap().security.trust, Trust::Pinned);
}

/// Whoever sees an invite in the log can tell of it before the inviter does: nobody is kept out by that, and the relay
/// is not accused of it.
#[test]
fn invite_that_somebody_else_tells_of_does_not_stand_in_the_way() {
    let (mut net, group) = Net::group_of(2);
    let id = net.only_group();
    net.add_node("carol", 3);
    net.send(BOB, "carol", "we know one another");
    net.settle();
    net.disconnect(CAROL);
    net.ask(ALICE, GroupCommand::Add(group, "carol".parse().unwrap(), None))
        .unwrap();
    let open = net.groups.groups[&id].roster.invites().next().unwrap().clone();
    let forged = InviteNotice {
        group: id,
        invite: open.reference,
        roster_head: sha256(b"nowhere"),
        name: "plans".to_owned(),
        position: open.position,
    };
    net.control(BOB, "carol", Kind::Invite, forged.encode());
    net.connect(CAROL);
    net.settle();
    let told: Vec<_> = net.nodes[CAROL]
        .invited
        .iter()
        .map(|invite| (invite.inviter.to_string(), invite.id))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let of = |inviter: &str| told.iter().find(|(by, _)| by == inviter).unwrap().1;
    let refused = net.ask(CAROL, GroupCommand::Accept(of("bob")));
    assert!(matches!(refused, Err(Refusal::InviteNotFound)), "{refused:?}");
    assert!(net.nodes[CAROL].alerted("invite_forged") && !net.nodes[CAROL].alerted("roster_withheld"));
    net.ask(CAROL, GroupCommand::Accept(of("alice"))).unwrap();
    net.say(CAROL, group, "here").unwrap();
    assert_eq!(net.heard(ALICE), ["here"]);
}

/// An admin's profile is shown as the admin's, whatever handle it was signed with.
#[test]
fn profile_under_another_members_handle_is_refused_when_it_is_passed_on() {
    let (mut net, group) = Net::group_of(3);
    let id = net.only_group();
    let own = std::mem::replace(
        &mut net.nodes[ALICE].engine.account.handle,
        "carol".parse().unwrap(),
    );
    let change = ProfileChange {
        name: Some("mine now".into()),
        ..ProfileChange::default()
    };
    net.ask(ALICE, GroupCommand::Update(group, change)).unwrap();
    net.nodes[ALICE].engine.account.handle = own;
    let store = net.nodes[ALICE].engine.store();
    let row = store.group(&id).unwrap().unwrap();
    let StoredProfile::Signed(signed) = store.profile(row.group_row).unwrap() else {
        panic!("not signed");
    };
    let resend = Resend {
        conversation: ConversationId::group(&id),
        items: vec![signed],
    };
    let engine = &mut net.nodes[BOB].engine;
    let row = engine.store().group(&id).unwrap().unwrap();
    engine.store.begin().unwrap();
    engine.take_group_resend(&row, &resend, net.now).unwrap();
    engine.store.commit().unwrap();
    assert_eq!(
        engine.store().group_view(&group).unwrap().unwrap().profile.name,
        "plans"
    );
}

/// An own commit that the relay refused and has all the same is no proof that this state is an old copy.
#[test]
fn refused_commit_that_is_in_the_log_begins_nothing_anew() {
    let (mut net, group) = Net::group_of(2);
    net.refuse_append = true;
    let refused = net.ask(ALICE, GroupCommand::Rekey(group));
    assert!(refused.is_err(), "{refused:?}");
    net.disconnect(ALICE);
    net.connect(ALICE);
    net.settle();
    assert!(net.nodes[ALICE].begun.is_empty() && !net.nodes[ALICE].alerted("rolled_back"));
    net.say(ALICE, group, "on we go").unwrap();
    assert_eq!(net.heard(BOB), ["on we go"]);
}

/// docs/protocol.md, 8.4: nor is one that the relay shows only to a process that has not heard the refusal.
#[test]
fn refused_commit_that_is_shown_after_a_restart_begins_nothing_anew() {
    let (mut net, group) = Net::group_of(2);
    let id = net.only_group();
    let length = net.groups.groups[&id].log.len() as u64;
    net.groups.withheld.insert(id, length);
    net.refuse_append = true;
    let refused = net.ask(ALICE, GroupCommand::Rekey(group));
    assert!(refused.is_err(), "{refused:?}");
    let row = |net: &Net| net.nodes[ALICE].engine.store().group(&id).unwrap().unwrap();
    assert_eq!(row(&net).length, length, "she has not seen it");
    net.restart(ALICE, |_| false);
    net.groups.withheld.clear();
    net.settle();
    assert_eq!(row(&net).length, length + 1);
    assert!(net.nodes[ALICE].begun.is_empty() && !net.nodes[ALICE].alerted("rolled_back"));
    net.say(ALICE, group, "on we go").unwrap();
    assert_eq!(net.heard(BOB), ["on we go"]);
}

/// docs/protocol.md, 6.8, step 7, and 9: what was removed does not come back as something sent again.
#[test]
fn removed_member_cannot_speak_by_sending_again() {
    let (mut net, group) = Net::group_of(3);
    let id = net.only_group();
    net.send(CAROL, "bob", "we know one another");
    net.settle();
    net.disconnect(CAROL);
    net.say_later(CAROL, group, "made up later");
    net.ask(ALICE, GroupCommand::Remove(group, "carol".parse().unwrap()))
        .unwrap();
    let store = net.nodes[CAROL].engine.store();
    let row = store.group(&id).unwrap().unwrap();
    let message_row = store.outbox_of_group(row.group_row).unwrap()[0]
        .message_row
        .unwrap();
    let resend = Resend {
        conversation: ConversationId::group(&id),
        items: vec![store.signed(message_row).unwrap().encode()],
    };
    net.connect(CAROL);
    net.control(CAROL, "bob", Kind::Resend, resend.encode());
    net.settle();
    assert_eq!(net.heard(BOB), ["we know one another"]);
    assert!(net.nodes[BOB].alerted("resend_refused"));
}
