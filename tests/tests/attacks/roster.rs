//! Membership, roster and epochs (1 to 21).

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use waxwire_shared::{
    api::{append::Append, frames::Queue, problem::ProblemType},
    ids::Hash,
    wire::{Change, Document as _, InviteRef, Kind, Leaf, Leaves, Profile, Rekey, Role},
};
use waxwire_tests::{
    Agent, Circle, Database, Insider, World,
    circle::{all_talk, settled},
    insider::Log,
    scenario,
    tap::Outcome,
    unique,
};

use super::{insider, member, show_commit, show_commit_at};

/// Attack 1: the relay makes somebody a member. No commit of such a member is believed, and no key is ever
/// sealed to it.
#[test]
fn attack_01_ghost_gets_no_place_and_no_key() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("haunted").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        // Somebody who may read the log hands it to the relay, and so to the ghost.
        let leak = insider(world, &scene, "leak").await?;
        alice.invite(&group, "leak").await?;
        let log = leak.read_log(scene.relay().store().only_group().await?).await?;
        let ghost = insider(world, &scene, "ghost").await?;
        let handle: waxwire_shared::ids::Handle = "ghost".parse()?;
        let invented = InviteRef {
            commit: log.roster.head(),
            index: 0,
        };
        let entries = [
            Change::Join {
                handle: handle.clone(),
            },
            Change::Accept { invite: invented },
            Change::Invite {
                identity: ghost.stranger.identity(),
                handle,
                role: Role::Admin,
            },
        ];
        for change in entries {
            let commit = ghost.signed_commit(&log, &[change], None);
            let answer = ghost.offer(&log, &commit, &[]).await?;
            ensure!(matches!(answer.status, 400 | 403 | 404), "{}", answer.text());
            for victim in ["alice", "bob"] {
                show_commit(&mut scene, victim, (&group, &log), &commit).await?;
            }
        }
        alice.until_alert("invalid_commit").await?;
        bob.until_alert("invalid_commit").await?;
        let sealed_to = leaf_owners(scene.proxy("alice")?.tap());
        let epoch = alice.rekey(&group).await?;
        bob.until_epoch(&group, epoch).await?;
        all_talk(&[&alice, &bob], &group, "among the living").await?;
        let owners = take(&sealed_to);
        ensure!(owners.len() == 2, "a leaf for each member: {}", owners.len());
        ensure!(
            !owners.contains(&ghost.stranger.identity()),
            "a key for the ghost"
        );
        for agent in [&alice, &bob] {
            ensure!(
                agent.group(&group).await?.handles() == ["alice", "bob"],
                "a ghost"
            );
        }
        scene.aftermath().await
    });
}

type Owners = Arc<Mutex<Vec<waxwire_shared::identity::IdentityKey>>>;

/// Whom the rekeys that a proxy appends are sealed to.
fn leaf_owners(tap: &waxwire_tests::Tap) -> Owners {
    let owners = Owners::default();
    let noted = Arc::clone(&owners);
    tap.on_request(move |asked| {
        if asked.path.ends_with("/commits")
            && let Ok(append) = Append::split(&asked.body)
            && let Ok(leaves) = Leaves::decode(append.leaves)
        {
            let leaves = leaves.leaves.iter().filter_map(|leaf| Leaf::decode(leaf).ok());
            let mut noted = noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            noted.extend(leaves.map(|leaf| leaf.identity));
        }
        Outcome::Pass
    });
    owners
}

fn take(owners: &Owners) -> Vec<waxwire_shared::identity::IdentityKey> {
    let mut owners = owners.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::mem::take(&mut owners)
}

/// Attack 3: a member without the right signs changes. The relay refuses them, and so do the members when
/// it shows them all the same.
#[test]
fn attack_03_member_without_the_right_changes_nothing() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("usurped").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, _) = member(world, &scene, &alice, &group).await?;
        alice.until_members(&group, &["alice", "bob", "mallory"]).await?;
        bob.until_members(&group, &["alice", "bob", "mallory"]).await?;
        let admin = log
            .roster
            .members()
            .first()
            .context("a founder")?
            .identity
            .clone();
        let changes = [
            Change::Role {
                identity: mallory.stranger.identity(),
                role: Role::Admin,
            },
            Change::Role {
                identity: admin.clone(),
                role: Role::Member,
            },
            Change::Remove {
                identity: admin,
                cut_off: None,
            },
            Change::Disband,
        ];
        for change in changes {
            let commit = mallory.signed_commit(&log, &[change], None);
            let answer = mallory.offer(&log, &commit, &[]).await?;
            answer.problem(ProblemType::InvalidObject)?;
            for victim in ["alice", "bob"] {
                show_commit(&mut scene, victim, (&group, &log), &commit).await?;
            }
        }
        for agent in [&alice, &bob] {
            agent.until_alert("invalid_commit").await?;
            let seen = agent.group(&group).await?;
            let roles: Vec<&str> = seen.members.iter().map(|member| member.role.as_str()).collect();
            ensure!(roles == ["admin", "member", "member"], "{seen:?}");
        }
        scene.aftermath().await
    });
}

/// Attack 4: what made somebody a member is shown again after the removal.
#[test]
fn attack_04_old_entry_is_not_replayed_after_the_removal() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("revenant").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, mut log, _) = member(world, &scene, &alice, &group).await?;
        let entries = mallory.objects(Queue::Log(log.group), 0).await?;
        let entry = entries.last().context("an entry")?.clone();
        alice.until_members(&group, &["alice", "bob", "mallory"]).await?;
        alice.remove(&group, "mallory").await?;
        let present = [&alice, &bob];
        settled(&present, &group).await?;
        // The removed may read the commit that removes them, and no further.
        mallory.follow(&mut log).await?;
        for victim in ["alice", "bob"] {
            show_commit(&mut scene, victim, (&group, &log), &entry).await?;
        }
        for agent in present {
            agent.until_alert("invalid_commit").await?;
            ensure!(
                agent.group(&group).await?.handles() == ["alice", "bob"],
                "it is back"
            );
        }
        scene.aftermath().await
    });
}

/// Attack 5: a removal is hidden from one member. It cannot read what follows, and says so by what it holds;
/// what it writes under the old key, the others' relay does not take. When the removal is shown after all,
/// it catches up.
#[test]
fn attack_05_hidden_removal_stops_whoever_it_is_hidden_from() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob", "carol"]).await?;
        let group = scene.gather("hidden").await?;
        let [alice, bob, carol] = scene.agents(["alice", "bob", "carol"])?;
        let id = scene.relay().store().only_group().await?;
        scene.evil("bob")?.hold(Queue::Log(id));
        scene.proxy("bob")?.tap().on_request(|asked| {
            if asked.path.contains("/queues/log-") {
                Outcome::Cut
            } else {
                Outcome::Pass
            }
        });
        alice.remove(&group, "carol").await?;
        carol.until_event(&group, "member_removed", "carol").await?;
        scene.gone(&group, "carol");
        let text = unique("without carol")?;
        alice.send_to_group(&group, &unique("id")?, &text).await?;
        bob.until_metric("receives_total{outcome=\"held\"}", 1).await?;
        ensure!(
            !bob.texts_in(&group).await?.contains(&text),
            "read without the key"
        );
        let late = unique("too early")?;
        let waits = bob.try_group_text(&group, &unique("id")?, &late).await?;
        ensure!(
            waits.refused(503, "RELAY_UNREACHABLE")?["queued"] == true,
            "it went out"
        );
        scene.proxy("bob")?.tap().forget_requests();
        let read = bob.until_text(&group, &text).await?;
        ensure!(read.security.verified, "{read:?}");
        bob.until_members(&group, &["alice", "bob"]).await?;
        let sealed_anew = alice.until_text(&group, &late).await?;
        ensure!(
            sealed_anew.security.epoch == read.security.epoch,
            "{sealed_anew:?}"
        );
        scene.aftermath().await
    });
}

/// Attack 7: the relay goes back to an older state while the members are away. Nobody follows it back; when
/// it is what it was, everything goes on.
#[test]
fn attack_07_relay_that_was_rolled_back_rolls_nobody_back() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("rolled back")?, &[&bob]).await?.id;
        all_talk(&[&alice, &bob], &group, "before").await?;
        let old = snapshot(world, &mut circle).await?;
        circle.relay.start().await?;
        alice.rekey(&group).await?;
        all_talk(&[&alice, &bob], &group, "after").await?;
        let before = settled(&[&alice, &bob], &group).await?;
        let new = snapshot(world, &mut circle).await?;
        circle.relay.store().replace(&old)?;
        circle.relay.start().await?;
        for handle in ["alice", "bob"] {
            circle.proxy(handle)?.crash().await?;
        }
        for agent in [&alice, &bob] {
            agent.until_ready().await?;
            let after = agent.group_security(&group).await?;
            let head = (after.roster_length, &after.roster_head, after.epoch);
            ensure!(
                head == (before.roster_length, &before.roster_head, before.epoch),
                "{after:?}"
            );
        }
        circle.relay.terminate().await?;
        circle.relay.store().replace(&new)?;
        circle.relay.start().await?;
        for agent in [&alice, &bob] {
            agent.until_ready().await?;
        }
        all_talk(&[&alice, &bob], &group, "again").await?;
        let last = settled(&[&alice, &bob], &group).await?;
        ensure!(last.roster_length >= before.roster_length, "{last:?}");
        Ok(())
    });
}

/// The relay's database, with the relay stopped.
async fn snapshot(world: &World, circle: &mut Circle) -> anyhow::Result<Database> {
    circle.relay.terminate().await?;
    circle.relay.store().copy(world.folder())
}

/// Attack 10: who was removed goes on asking with its old credentials. It is given what is of its time.
#[test]
fn attack_10_former_member_is_given_nothing_new() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("locked").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, old) = member(world, &scene, &alice, &group).await?;
        alice.until_members(&group, &["alice", "bob", "mallory"]).await?;
        all_talk(&[&alice, &bob], &group, "with mallory").await?;
        let messages = Queue::Group(log.group);
        let known = mallory.objects(messages, 0).await?;
        ensure!(!known.is_empty(), "it was a member");
        alice.remove(&group, "mallory").await?;
        all_talk(&[&alice, &bob], &group, "without mallory").await?;
        ensure!(mallory.objects(messages, 0).await? == known, "messages of later");
        // The commit that removed it is the last that it may see, with what belongs to it.
        let epoch = alice.rekey(&group).await?;
        ensure!(epoch > old.number, "the key was not replaced");
        for index in 0..2 {
            let path = format!("/v1/groups/{}/epochs/{epoch}/leaves/{index}", log.group);
            let ask = mallory.stranger.request("GET", path);
            let answer = mallory.stranger.ask(ask).await?;
            answer.problem(ProblemType::NotFound)?;
        }
        let letter = mallory.group_letter(&log, &old, "once more")?;
        let envelope = mallory.seal_group(&letter, &old)?;
        let answer = mallory.stranger.post_envelope(&envelope).await?;
        ensure!(matches!(answer.status, 403 | 404 | 409), "{}", answer.text());
        scene.aftermath().await
    });
}

/// Attack 11: a former member writes under the key that it has, and the relay delivers it.
#[test]
fn attack_11_former_member_writes_under_the_old_key_in_vain() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("late").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, old) = member(world, &scene, &alice, &group).await?;
        all_talk(&[&alice, &bob], &group, "under that key").await?;
        alice.remove(&group, "mallory").await?;
        settled(&[&alice, &bob], &group).await?;
        let text = unique("from beyond")?;
        let envelope = mallory.seal_group(&mallory.group_letter(&log, &old, &text)?, &old)?;
        for (victim, agent) in [("alice", &alice), ("bob", &bob)] {
            scene
                .evil(victim)?
                .show(Queue::Group(log.group), std::slice::from_ref(&envelope));
            agent.until_alert("past_cut_off").await?;
            ensure!(!agent.texts_in(&group).await?.contains(&text), "it is shown");
        }
        scene.aftermath().await
    });
}

/// Attack 12: a former member uses the group's old key to speak as one who is still there.
#[test]
fn attack_12_former_member_cannot_speak_as_a_member() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("masks").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, old) = member(world, &scene, &alice, &group).await?;
        all_talk(&[&alice, &bob], &group, "under that key").await?;
        alice.remove(&group, "mallory").await?;
        settled(&[&alice, &bob], &group).await?;
        let text = unique("not by alice")?;
        let envelope = masked(&mallory, &log, &old, &text)?;
        scene.evil("bob")?.show(Queue::Group(log.group), &[envelope]);
        bob.until_alert("bad_signature").await?;
        ensure!(!bob.texts_in(&group).await?.contains(&text), "it is shown");
        scene.aftermath().await
    });
}

/// A message that claims to be the founder's, sealed under the founder's chain far ahead.
fn masked(
    mallory: &Insider,
    log: &Log,
    epoch: &waxwire_tests::insider::Epoch,
    text: &str,
) -> anyhow::Result<Vec<u8>> {
    let victim = log.roster.members().first().context("a founder")?;
    let mut letter = mallory.group_letter(log, epoch, text)?;
    letter.header.sender = mallory.stranger.id_of(&victim.identity);
    letter.header.i = 500;
    letter.core.identity = victim.identity.clone();
    letter.core.handle = victim.handle.clone();
    mallory.seal_group(&letter, epoch)
}

/// Attack 55: a member speaks as another with the key that all share.
#[test]
fn attack_55_member_cannot_speak_as_another() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("masks").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, epoch) = member(world, &scene, &alice, &group).await?;
        bob.until_epoch(&group, epoch.number).await?;
        let text = unique("not by alice")?;
        let envelope = masked(&mallory, &log, &epoch, &text)?;
        // The relay knows who sends, and takes nothing in another's name.
        let answer = mallory.stranger.post_envelope(&envelope).await?;
        ensure!(matches!(answer.status, 400 | 403 | 404), "{}", answer.text());
        scene.evil("bob")?.show(Queue::Group(log.group), &[envelope]);
        bob.until_alert("bad_signature").await?;
        ensure!(!bob.texts_in(&group).await?.contains(&text), "it is shown");
        // In its own name it is heard.
        let text = unique("by mallory")?;
        mallory
            .post(&mallory.seal_group(&mallory.group_letter(&log, &epoch, &text)?, &epoch)?)
            .await?;
        ensure!(bob.until_text(&group, &text).await?.sender == "mallory", "whose?");
        scene.aftermath().await
    });
}

/// Attack 13: the new key is kept from one member. The others see that it has not confirmed it, it shows
/// nothing that it cannot read, and reads all of it once it has the key.
#[test]
fn attack_13_withheld_key_is_seen_and_heals() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("keyless").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.proxy("bob")?.tap().on_request(|asked| {
            if asked.path.contains("/leaves/") {
                Outcome::Cut
            } else {
                Outcome::Pass
            }
        });
        let epoch = alice.rekey(&group).await?;
        let text = unique("under the new key")?;
        alice.send_to_group(&group, &unique("id")?, &text).await?;
        bob.until_metric("receives_total{outcome=\"held\"}", 1).await?;
        ensure!(
            !bob.texts_in(&group).await?.contains(&text),
            "read without the key"
        );
        ensure!(
            confirmed(&alice, &group, "bob").await? < Some(epoch),
            "who confirms?"
        );
        scene.proxy("bob")?.tap().forget_requests();
        bob.until_text(&group, &text).await?;
        let answer = unique("it is here")?;
        bob.send_to_group(&group, &unique("id")?, &answer).await?;
        alice.until_text(&group, &answer).await?;
        ensure!(
            confirmed(&alice, &group, "bob").await? == Some(epoch),
            "not confirmed"
        );
        scene.aftermath().await
    });
}

async fn confirmed(agent: &Agent, group: &str, handle: &str) -> anyhow::Result<Option<u64>> {
    let security = agent.group_security(group).await?;
    let mut members = security.members.into_iter();
    let member = members.find(|member| member.handle == handle);
    Ok(member.context("no member")?.confirmed_epoch)
}

/// Attack 15: a member gives out a key once more, under a new number.
#[test]
fn attack_15_key_of_an_earlier_epoch_is_refused() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("once more").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, epoch) = member(world, &scene, &alice, &group).await?;
        bob.until_epoch(&group, epoch.number).await?;
        let again = Rekey {
            epoch: epoch.number + 1,
            ..log.rekey().clone()
        };
        let commit = mallory.signed_commit(&log, &[], Some(again));
        let answer = mallory.offer(&log, &commit, &[]).await?;
        answer.problem(ProblemType::InvalidObject)?;
        show_commit(&mut scene, "bob", (&group, &log), &commit).await?;
        bob.until_alert("invalid_commit").await?;
        ensure!(
            bob.group_security(&group).await?.epoch == epoch.number,
            "it was taken"
        );
        scene.aftermath().await
    });
}

/// Attack 17: somebody is invited against its will. An invite does nothing by itself.
#[test]
fn attack_17_nobody_is_forced_into_a_group() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let group = alice.create_group(&unique("forced")?, &["bob"]).await?.id;
        let text = unique("read this")?;
        alice.send_to_group(&group, &unique("id")?, &text).await?;
        bob.until_invited(&group).await?;
        bob.get(&format!("/v1/groups/{group}"))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;
        ensure!(
            alice.group(&group).await?.handles() == ["alice"],
            "without being asked"
        );
        ensure!(bob.sync().await?.is_empty(), "something is shown");
        scene.aftermath().await
    });
}

/// Attack 18: the relay feeds what cannot be processed, and offers another beginning instead. The member
/// stays where it is and says why.
#[test]
fn attack_18_unreadable_commits_lead_to_no_other_state() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("restart").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let id = scene.relay().store().only_group().await?;
        let mallory = insider(world, &scene, "mallory").await?;
        alice.invite(&group, "mallory").await?;
        let log = mallory.read_log(id).await?;
        let before = bob.group_security(&group).await?;
        let beginning = mallory.objects(Queue::Log(id), 0).await?;
        let beginning = beginning.first().context("a beginning")?.clone();
        let mut broken = beginning.clone();
        if let Some(byte) = broken.last_mut() {
            *byte ^= 1;
        }
        for object in [b"no commit".to_vec(), Vec::new(), broken.clone(), beginning] {
            show_commit(&mut scene, "bob", (&group, &log), &object).await?;
        }
        // Another beginning in the place of the first.
        show_commit_at(&mut scene, "bob", id, 1, &broken)?;
        bob.until_alert("invalid_commit").await?;
        let after = bob.group_security(&group).await?;
        ensure!(
            after.epoch == before.epoch && after.roster_length >= before.roster_length && !after.forked,
            "{after:?}"
        );
        scene.aftermath().await
    });
}

/// Attack 19: an invite is good for whom it names, in its group, once.
#[test]
fn attack_19_invites_are_good_once_and_for_one() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("doors").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let trudy = insider(world, &scene, "trudy").await?;
        alice.invite(&group, "mallory").await?;
        let mut log = mallory
            .read_log(scene.relay().store().only_group().await?)
            .await?;
        let invite = mallory.invite(&log)?;
        let accept = |invite: &InviteRef| {
            [Change::Accept {
                invite: invite.clone(),
            }]
        };
        let foreign = InviteRef {
            commit: Hash::from_bytes([5; 32]),
            index: 0,
        };
        let by_trudy = trudy.signed_commit(&log, &accept(&invite), None);
        let of_another_group = mallory.signed_commit(&log, &accept(&foreign), None);
        let answer = mallory.offer(&log, &of_another_group, &[]).await?;
        answer.problem(ProblemType::InvalidObject)?;
        for commit in [&by_trudy, &of_another_group] {
            show_commit(&mut scene, "bob", (&group, &log), commit).await?;
        }
        bob.until_alert("invalid_commit").await?;
        mallory
            .append_with_rekey(&mut log, &accept(&invite), &|_| ())
            .await?;
        let again = mallory.signed_commit(&log, &accept(&invite), None);
        let answer = mallory.offer(&log, &again, &[]).await?;
        answer.problem(ProblemType::InvalidObject)?;
        alice.until_members(&group, &["alice", "bob", "mallory"]).await?;
        show_commit(&mut scene, "alice", (&group, &log), &again).await?;
        alice.until_alert("invalid_commit").await?;
        bob.until_members(&group, &["alice", "bob", "mallory"]).await?;
        scene.aftermath().await
    });
}

/// Attack 20: who is no admin renames the group. (The relay knows no name; it has nothing to alter.)
#[test]
fn attack_20_only_an_admin_names_the_group() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("the name").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let name = bob.group(&group).await?.name;
        let (mallory, log, epoch) = member(world, &scene, &alice, &group).await?;
        bob.until_epoch(&group, epoch.number).await?;
        let profile = Profile {
            group: log.group,
            revision: 1_000,
            name: "another name".into(),
            topic: None,
            avatar: None,
        };
        let header = mallory.group_letter(&log, &epoch, "")?.header;
        let note = mallory.group_note(&header, &epoch, Kind::Profile, profile.encode())?;
        mallory.post(&note).await?;
        bob.until_alert("not_admin").await?;
        alice.until_alert("not_admin").await?;
        for agent in [&alice, &bob] {
            ensure!(agent.group(&group).await?.name == name, "renamed");
        }
        scene.aftermath().await
    });
}
