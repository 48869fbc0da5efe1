//! `kill -9` at every step of what happens in a group (docs/protocol.md, 6): after a restart each goes
//! on or is asked for again, all members end on one log and one key, and hold the same messages.
//!
//! After every test the harness checks that no message key has sealed two ciphertexts, whatever was
//! killed between sealing and storing.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use waxwire_shared::api::frames::{Queue, RelayFrame};
use waxwire_tests::{
    Agent, Circle, World,
    circle::{all_talk, same_history, send_until_known, settled},
    eventually, scenario, scenario_within,
    tap::{Fate, Outcome, Way},
    unique,
};

/// Before and after each durable step of an own commit: built, handed to the link, answered by the
/// relay, read back, its key adopted, the agent answered.
const COMMIT: [&str; 5] = [
    "commit.before_commit",
    "commit.committed",
    "commit.answered",
    "log.before_commit",
    "change.reported",
];
/// Several kills in one world.
const LONG: Duration = Duration::from_secs(240);

/// A group that its members talk in between one death and the next.
struct Scene {
    circle: Circle,
    group: String,
}

impl Scene {
    /// Alice founds a group, and the others are in it.
    async fn of<const N: usize>(world: &World, members: [&str; N]) -> anyhow::Result<Self> {
        let circle = world.unlimited_circle(members).await?;
        let agents = circle.agents(members)?;
        let others: Vec<&Agent> = agents.iter().skip(1).collect();
        let group = agents[0].gather(&unique("scene")?, &others).await?.id;
        Ok(Self { circle, group })
    }

    fn agents<const N: usize>(&self, handles: [&str; N]) -> anyhow::Result<[Agent; N]> {
        self.circle.agents(handles)
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/groups/{}{rest}", self.group)
    }

    /// Starts a proxy again so that it dies at a fault point.
    async fn arm(&mut self, handle: &str, fault: &str) -> anyhow::Result<Agent> {
        let proxy = self.circle.proxy(handle)?;
        ensure!(proxy.terminate().await?.success());
        proxy.start_with_fault(fault).await?;
        let agent = proxy.agent()?;
        agent.until_ready().await?;
        Ok(agent)
    }

    /// Waits for the death, and starts the proxy without it.
    async fn revive(&mut self, handle: &str) -> anyhow::Result<()> {
        let proxy = self.circle.proxy(handle)?;
        proxy.aborted().await?;
        proxy.start().await?;
        proxy.agent()?.until_ready().await
    }

    /// The members agree, talk, and hold the same.
    async fn converges<const N: usize>(&self, members: [&str; N], fault: &str) -> anyhow::Result<()> {
        let agents = self.agents(members)?;
        let agents: Vec<&Agent> = agents.iter().collect();
        all_talk(&agents, &self.group, fault).await?;
        settled(&agents, &self.group).await?;
        for agent in agents {
            let alerts = agent.alerts().await?;
            ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", agent.handle());
        }
        Ok(())
    }

    /// Everything that the relay holds, for the ledger.
    async fn note_all(&self, world: &World) -> anyhow::Result<()> {
        for (_, envelope) in self.circle.relay.store().envelopes().await? {
            world.ledger().note(&envelope);
        }
        ensure!(world.ledger().len() > 3, "hardly anything was sealed");
        Ok(())
    }
}

/// A request that dies with its proxy, or is answered in its last moment.
async fn dies(agent: &Agent, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<()> {
    let ask = agent.request(method, path);
    let ask = match &body {
        Some(body) => ask.json(body),
        None => ask,
    };
    match agent.ask(ask).await {
        Ok(answer) if answer.status >= 300 => {
            bail!("{method} {path} was refused: {} {}", answer.status, answer.text())
        }
        // That it has died is seen by whoever starts it again.
        _ => Ok(()),
    }
}

/// Repeats a change until it is not pending any more.
async fn again(agent: &Agent, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let what = format!("{method} {path} again");
    eventually(&what, Duration::from_secs(30), async || {
        let ask = agent.request(method, path);
        let ask = match &body {
            Some(body) => ask.json(body),
            None => ask,
        };
        let answer = agent.ask(ask).await?;
        Ok((answer.status != 503).then_some(answer))
    })
    .await?
    .ok()
}

/// Founding, in a world of its own for each step, for a group is founded once.
fn founder_dies_at(fault: &'static str) {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let mut scene = Scene {
            circle,
            group: String::new(),
        };
        let alice = scene.arm("alice", fault).await?;
        let [bob] = scene.agents(["bob"])?;
        let name = unique("founded")?;
        world.canaries().forbid(&name);
        let body = json!({"name": name, "member_handles": ["bob"]});
        dies(&alice, "POST", "/v1/groups", Some(body.clone())).await?;
        scene.revive("alice").await?;
        if fault == "commit.before_commit" {
            // Nothing of it is left, so it is asked for again.
            alice.post_json("/v1/groups", &body).await?.expect(201)?;
        }
        let invitation = eventually("bob is invited", Duration::from_secs(20), async || {
            Ok(bob.invitations().await?.into_iter().next())
        })
        .await?;
        assert_eq!(invitation.group_name, name);
        scene.group = invitation.group_id;
        bob.join(&scene.group).await?;
        for agent in [&alice, &bob] {
            agent.until_members(&scene.group, &["alice", "bob"]).await?;
            let what = format!("{} knows the name", agent.handle());
            eventually(&what, Duration::from_secs(20), async || {
                Ok((agent.group(&scene.group).await?.name == name).then_some(()))
            })
            .await?;
        }
        scene.converges(["alice", "bob"], fault).await?;
        ensure!(bob.invitations().await?.is_empty(), "a second group was founded");
        scene.note_all(world).await
    });
}

#[test]
fn founder_dies_before_the_group_is_kept() {
    founder_dies_at("commit.before_commit");
}

#[test]
fn founder_dies_before_the_relay_is_told() {
    founder_dies_at("commit.committed");
}

#[test]
fn founder_dies_before_the_answer_is_taken() {
    founder_dies_at("commit.answered");
}

#[test]
fn founder_dies_before_the_first_commit_is_read_back() {
    founder_dies_at("log.before_commit");
}

#[test]
fn founder_dies_before_the_first_epoch_is_adopted() {
    founder_dies_at("epoch.before_commit");
}

#[test]
fn founder_dies_before_the_invite_goes_out() {
    founder_dies_at("send.committed");
}

#[test]
fn founder_dies_before_the_agent_is_answered() {
    founder_dies_at("change.reported");
}

/// docs/protocol.md, 6.4: the inviter dies at each step; whoever was invited gets one invite.
#[test]
fn inviter_dies_at_every_step() {
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, carol] = scene.agents(["alice", "carol"])?;
        for fault in COMMIT.into_iter().chain(["send.committed"]) {
            scene.agents(["alice"])?[0].remove(&scene.group, "carol").await?;
            scene.arm("alice", fault).await?;
            let body = json!({"handle": "carol"});
            dies(&alice, "POST", &scene.path("/members"), Some(body.clone())).await?;
            scene.revive("alice").await?;
            let added = again(&alice, "POST", &scene.path("/members"), Some(body)).await?;
            assert_eq!(added["outcome"], "invited", "{fault}: {added}");
            let id = added["invite_id"].as_str().context("an invite")?;
            let what = format!("the invite comes after {fault}");
            eventually(&what, Duration::from_secs(20), async || {
                Ok(carol.invitations().await?.into_iter().find(|it| it.id == id))
            })
            .await?;
            carol.try_accept(id).await?.expect(200)?;
            let members = ["alice", "bob", "carol"];
            alice.until_members(&scene.group, &members).await?;
            scene.converges(members, fault).await.context(fault)?;
        }
        scene.note_all(world).await
    });
}

/// Whoever accepts dies at each step, and is in all the same.
#[test]
fn joiner_dies_at_every_step() {
    let reads = [
        "log.asked",
        "log.before_commit:1",
        "leaf.asked",
        "epoch.before_commit",
    ];
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, carol] = scene.agents(["alice", "carol"])?;
        for fault in COMMIT.into_iter().chain(reads).filter(|it| *it != "leaf.asked") {
            alice.remove(&scene.group, "carol").await?;
            carol.until_event(&scene.group, "member_removed", "carol").await?;
            let id = alice.invite(&scene.group, "carol").await?;
            carol.until_invited(&scene.group).await?;
            scene.arm("carol", fault).await?;
            let accept = format!("/v1/groups/invites/{id}/accept");
            dies(&carol, "POST", &accept, None).await?;
            scene.revive("carol").await?;
            again(&carol, "POST", &accept, None).await.context(fault)?;
            let members = ["alice", "bob", "carol"];
            alice.until_members(&scene.group, &members).await?;
            scene.converges(members, fault).await.context(fault)?;
        }
        scene.note_all(world).await
    });
}

/// A member dies at each step of taking somebody else's commit and key.
#[test]
fn member_dies_while_the_key_changes() {
    let faults = [
        "log.before_commit",
        "receive.committed",
        "leaf.asked",
        "epoch.before_commit",
    ];
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice] = scene.agents(["alice"])?;
        let members = ["alice", "bob", "carol"];
        for fault in faults {
            scene.converges(members, "before").await?;
            scene.arm("bob", fault).await?;
            alice.rekey(&scene.group).await?;
            alice.send_to_group(&scene.group, &unique("id")?, fault).await?;
            scene.revive("bob").await?;
            scene.converges(members, fault).await.context(fault)?;
        }
        scene.note_all(world).await
    });
}

/// docs/protocol.md, 6.7: a sender dies between sealing and storing; the same ciphertext goes out
/// again, or a new index is taken, and readers see the message once.
#[test]
fn sender_dies_at_every_step() {
    let faults = [
        "send.before_commit",
        "send.committed",
        "send.answered",
        "send.stored",
    ];
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = scene.agents(["alice", "bob", "carol"])?;
        let members = ["alice", "bob", "carol"];
        for fault in faults {
            scene.arm("alice", fault).await?;
            let (id, text) = (unique("id")?, unique("sent")?);
            let sent = alice.try_group_text(&scene.group, &id, &text).await;
            ensure!(sent.is_err(), "{fault}: answered {sent:?}");
            scene.revive("alice").await?;
            let sent = send_until_known(&alice, &scene.group, &id, &text).await?;
            for reader in [&bob, &carol] {
                let got = reader.until_text(&scene.group, &text).await?;
                ensure!(
                    got.id == sent.id && got.security.gap.is_none(),
                    "{fault}: {got:?}"
                );
            }
            scene.converges(members, fault).await.context(fault)?;
        }
        assert_eq!(same_history(&[&alice, &bob, &carol], &scene.group).await?, 16);
        scene.note_all(world).await
    });
}

/// A reader dies before and after it keeps a message; it reads it once.
#[test]
fn reader_dies_at_every_step() {
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = scene.agents(["alice", "bob", "carol"])?;
        let members = ["alice", "bob", "carol"];
        for fault in [
            "receive.before_commit",
            "receive.committed",
            "settle.before_commit",
        ] {
            scene.converges(members, "before").await?;
            bob.take(0).await?;
            scene.arm("bob", fault).await?;
            let text = unique("read")?;
            let sent = alice.send_to_group(&scene.group, &unique("id")?, &text).await?;
            if fault == "settle.before_commit" {
                bob.until_text(&scene.group, &text).await?;
                dies(&bob, "POST", &format!("/v1/messages/{}/read", sent.id), None).await?;
            }
            scene.revive("bob").await?;
            let got = bob.until_text(&scene.group, &text).await?;
            ensure!(
                got.id == sent.id && got.security.gap.is_none(),
                "{fault}: {got:?}"
            );
            scene.converges(members, fault).await.context(fault)?;
        }
        same_history(&[&alice, &bob, &carol], &scene.group).await?;
        scene.note_all(world).await
    });
}

/// Whoever leaves dies at each step, and has left.
#[test]
fn leaver_dies_at_every_step() {
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, carol] = scene.agents(["alice", "carol"])?;
        for fault in COMMIT {
            let before = alice.group_security(&scene.group).await?.epoch;
            scene.arm("carol", fault).await?;
            dies(&carol, "POST", &scene.path("/leave"), None).await?;
            scene.revive("carol").await?;
            again(&carol, "POST", &scene.path("/leave"), None)
                .await
                .context(fault)?;
            carol
                .get(&scene.path(""))
                .await?
                .refused(404, "GROUP_NOT_FOUND")?;
            alice.until_members(&scene.group, &["alice", "bob"]).await?;
            scene.converges(["alice", "bob"], fault).await.context(fault)?;
            let after = alice.group_security(&scene.group).await?.epoch;
            assert_eq!(after, before + 1, "{fault}: paid once");
            alice.invite(&scene.group, "carol").await?;
            carol.join(&scene.group).await?;
            alice
                .until_members(&scene.group, &["alice", "bob", "carol"])
                .await?;
            scene
                .converges(["alice", "bob", "carol"], fault)
                .await
                .context(fault)?;
        }
        scene.note_all(world).await
    });
}

/// docs/protocol.md, 6.6: the sender who pays for a leave is killed at each step; it, or somebody
/// else, pays, and its message is read.
#[test]
fn payer_dies_at_every_step() {
    let own = COMMIT.into_iter().filter(|it| *it != "change.reported");
    let faults: Vec<&str> = own
        .chain(["epoch.before_commit", "send.before_commit", "send.committed"])
        .collect();
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = scene.agents(["alice", "bob", "carol"])?;
        for fault in faults {
            // Nobody but bob can pay, and he does not know of the leave before he is armed.
            let before = alice.group_security(&scene.group).await?.epoch;
            for handle in ["alice", "bob"] {
                ensure!(scene.circle.proxy(handle)?.terminate().await?.success());
            }
            carol.leave(&scene.group).await?;
            let passage = if fault == "log.before_commit" { ":2" } else { "" };
            let proxy = scene.circle.proxy("bob")?;
            proxy.start_with_fault(&format!("{fault}{passage}")).await?;
            bob.until_ready().await?;
            let (id, text) = (unique("id")?, unique("payer")?);
            let sent = bob.try_group_text(&scene.group, &id, &text).await;
            ensure!(sent.is_err(), "{fault}: answered {sent:?}");
            scene.revive("bob").await?;
            let sent = send_until_known(&bob, &scene.group, &id, &text).await?;
            scene.circle.proxy("alice")?.start().await?;
            let got = alice.until_text(&scene.group, &text).await?;
            ensure!(
                got.id == sent.id && got.security.gap.is_none(),
                "{fault}: {got:?}"
            );
            ensure!(got.security.epoch == Some(before + 1), "{fault}: {got:?}");
            scene.converges(["alice", "bob"], fault).await.context(fault)?;
            alice.invite(&scene.group, "carol").await?;
            carol.join(&scene.group).await?;
            let members = ["alice", "bob", "carol"];
            alice.until_members(&scene.group, &members).await?;
            scene.converges(members, fault).await.context(fault)?;
        }
        scene.note_all(world).await
    });
}

/// A sender who does not know yet that a key is closed seals again, and dies before that is durable:
/// the new ciphertext has an index of its own.
#[test]
fn sender_dies_while_it_seals_again() {
    scenario(async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = scene.agents(["alice", "bob", "carol"])?;
        scene.arm("alice", "reseal.before_commit").await?;
        // Alice is not told of commits until she asks.
        scene
            .circle
            .proxy("alice")?
            .tap()
            .on_frame(|frame| match frame.relay() {
                Some(RelayFrame::Deliver(delivery)) if matches!(delivery.cursor.queue, Queue::Log(_)) => {
                    Fate::Drop
                }
                _ => Fate::Pass,
            });
        carol.leave(&scene.group).await?;
        let (id, text) = (unique("id")?, unique("again")?);
        let sent = alice.try_group_text(&scene.group, &id, &text).await;
        ensure!(sent.is_err(), "answered {sent:?}");
        scene.circle.proxy("alice")?.tap().calm();
        scene.revive("alice").await?;
        let sent = send_until_known(&alice, &scene.group, &id, &text).await?;
        let got = bob.until_text(&scene.group, &text).await?;
        ensure!(got.id == sent.id && got.security.gap.is_none(), "{got:?}");
        scene.converges(["alice", "bob"], "sealed again").await?;
        assert_eq!(same_history(&[&alice, &bob], &scene.group).await?, 3);
        scene.note_all(world).await
    });
}

/// The admin who removes dies at each step; the removed is out, once.
#[test]
fn remover_dies_at_every_step() {
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, carol] = scene.agents(["alice", "carol"])?;
        for fault in COMMIT.into_iter().chain(["epoch.before_commit"]) {
            scene.arm("alice", fault).await?;
            let path = scene.path("/members/carol");
            dies(&alice, "DELETE", &path, None).await?;
            scene.revive("alice").await?;
            again(&alice, "DELETE", &path, None).await.context(fault)?;
            alice.until_members(&scene.group, &["alice", "bob"]).await?;
            scene.converges(["alice", "bob"], fault).await.context(fault)?;
            alice.invite(&scene.group, "carol").await?;
            carol.join(&scene.group).await?;
            let members = ["alice", "bob", "carol"];
            alice.until_members(&scene.group, &members).await?;
            scene.converges(members, fault).await.context(fault)?;
        }
        scene.note_all(world).await
    });
}

/// Who is removed dies while it learns of it, and is out afterwards.
#[test]
fn removed_member_dies_while_it_learns_of_it() {
    scenario(async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, carol] = scene.agents(["alice", "carol"])?;
        scene.arm("carol", "log.before_commit").await?;
        alice.remove(&scene.group, "carol").await?;
        scene.revive("carol").await?;
        carol.until_event(&scene.group, "member_removed", "carol").await?;
        carol
            .get(&scene.path(""))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;
        scene.converges(["alice", "bob"], "the removal").await?;
        scene.note_all(world).await
    });
}

/// docs/protocol.md, 6.9: two replace the key at once, and one of them is killed at each step. It
/// finds its own commit in the log, or another, and goes on.
#[test]
fn racer_dies_at_every_step() {
    let faults = [
        "commit.committed",
        "commit.answered",
        "log.before_commit",
        "epoch.before_commit",
    ];
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let members = ["alice", "bob", "carol"];
        for fault in faults {
            scene.converges(members, "before").await?;
            let before = alice.group_security(&scene.group).await?.epoch;
            scene.arm("alice", fault).await?;
            for proxy in scene.circle.proxies() {
                proxy.tap().set(Way::Slow(Duration::from_millis(100)));
            }
            let path = scene.path("/rekey");
            let (died, won) = tokio::join!(dies(&alice, "POST", &path, None), bob.rekey(&scene.group));
            died.context(fault)?;
            ensure!(won? > before, "{fault}");
            for proxy in scene.circle.proxies() {
                proxy.tap().set(Way::Open);
            }
            scene.revive("alice").await?;
            scene.converges(members, fault).await.context(fault)?;
            let after = alice.group_security(&scene.group).await?.epoch;
            // What was killed on its way may count or not, and once at most.
            ensure!(
                after == before + 1 || after == before + 2,
                "{fault}: {before} {after}"
            );
        }
        scene.note_all(world).await
    });
}

/// docs/protocol.md, 6.9: the relay is killed while it takes a commit, a little later each time. It holds
/// the commit or does not, and the proxy finds out which; the epoch is replaced once.
#[test]
fn relay_dies_in_the_middle_of_an_append() {
    scenario_within(LONG, async |world| {
        let mut scene = Scene::of(world, ["alice", "bob", "carol"]).await?;
        let [alice] = scene.agents(["alice"])?;
        let members = ["alice", "bob", "carol"];
        for later in [0, 1, 2, 4, 8] {
            let before = alice.group_security(&scene.group).await?.epoch;
            let (seen, mut appends) = tokio::sync::mpsc::unbounded_channel();
            scene.circle.proxy("alice")?.tap().on_request(move |asked| {
                if asked.path.ends_with("/commits") {
                    // Nobody listens to the later ones.
                    let _nobody = seen.send(());
                }
                Outcome::Pass
            });
            let path = scene.path("/rekey");
            let rekey = async {
                let ask = alice.request("POST", &path);
                alice.ask(ask).await
            };
            let crash = async {
                appends.recv().await.context("no commit was appended")?;
                tokio::time::sleep(Duration::from_millis(later)).await;
                scene.circle.relay.crash().await
            };
            let (answer, crashed) = tokio::join!(rekey, crash);
            crashed?;
            let what = format!("{later} ms later");
            ensure!(matches!(answer?.status, 200 | 503), "{what}");
            scene.circle.proxy("alice")?.tap().calm();
            scene.converges(members, &what).await.context(what.clone())?;
            let after = alice.group_security(&scene.group).await?.epoch;
            assert_eq!(after, before + 1, "{what}");
        }
        scene.note_all(world).await
    });
}
