//! Identities that change, with proof and without (docs/protocol.md, 4.6; flow 11): lost keys that the recovery key
//! replaces, planned changes, and relays that lie about both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_shared::{
    api::{frames::ClientFrame, rest::BundleAnswer},
    identity::{IdentityKey, Signature},
    labels::Label,
    sign::Verified,
    wire::{Bundle, Document as _, Envelope, Header, Lane, Succession, SuccessionBytes, VERSION},
};
use waxwire_tests::{
    Agent, Message, Proxy, Relay, Stranger, World, eventually,
    program::run,
    scenario, scenario_within,
    stranger::base64,
    tap::{Fate, Outcome},
};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

/// An agent whose recovery key is in a file.
async fn recoverable(world: &World, relay: &Relay, handle: &str) -> anyhow::Result<(Proxy, PathBuf)> {
    let mut proxy = world.new_proxy(relay, handle).await?;
    let file = world.folder().join(format!("{handle}-recovery"));
    proxy.init_with(&["--recovery-file", text(&file)?]).await?;
    proxy.start().await?;
    proxy.agent()?.until_ready().await?;
    Ok((proxy, file))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

fn recover_command(host: &Proxy, key: &Path, next: &Path) -> anyhow::Result<Command> {
    let url = host.tap().url();
    let mut command = host.tool("recover", &["--relay", &url, "--handle", host.handle()])?;
    command.arg("--recovery-file").arg(key);
    command.arg("--new-recovery-file").arg(next);
    Ok(command)
}

/// The same agent on another host, by its recovery key; it runs.
async fn recovered(
    world: &World,
    relay: &Relay,
    handle: &str,
    host: &str,
    key: &Path,
) -> anyhow::Result<(Proxy, PathBuf)> {
    let mut proxy = world.other_host(relay, handle, host).await?;
    let next = world.folder().join(format!("{host}-recovery"));
    let shown = run(recover_command(&proxy, key, &next)?, LIMIT)
        .await?
        .success()?
        .stdout;
    ensure!(shown.contains("former       "), "{shown}");
    let secret = fs::read_to_string(&next)?;
    for file in waxwire_tests::canary::files(&proxy.state())? {
        let bytes = fs::read(&file)?;
        let found = bytes
            .windows(secret.trim().len())
            .any(|window| window == secret.trim().as_bytes());
        ensure!(!found, "the recovery key lies in {}", file.display());
    }
    proxy.start().await?;
    proxy.agent()?.until_ready().await?;
    Ok((proxy, next))
}

async fn alerts(agent: &Agent, kind: &str) -> anyhow::Result<usize> {
    let alerts = agent.alerts().await?;
    Ok(alerts.iter().filter(|alert| alert["type"] == kind).count())
}

/// What a proven change raises under `tofu`, and nothing else that would tell of another identity.
async fn one_event(agent: &Agent) -> anyhow::Result<()> {
    let what = format!("{} is told of the change", agent.handle());
    eventually(&what, SOON, async || {
        Ok((alerts(agent, "identity_succeeded").await? == 1).then_some(()))
    })
    .await?;
    for kind in [
        "identity_changed",
        "unknown_key",
        "sender_fork",
        "clone",
        "receipt_mismatch",
    ] {
        ensure!(alerts(agent, kind).await? == 0, "{}: {kind}", agent.handle());
    }
    Ok(())
}

async fn fingerprint(agent: &Agent) -> anyhow::Result<String> {
    let me = agent.get("/v1/agents/me").await?.expect(200)?;
    Ok(me["fingerprint"].as_str().context("no fingerprint")?.to_owned())
}

async fn decide(
    agent: &Agent,
    peer: &str,
    state: &str,
    fingerprint: &str,
    resend: bool,
) -> anyhow::Result<Value> {
    let body = json!({ "state": state, "fingerprint": fingerprint, "resend_pending": resend });
    agent
        .put_json(&format!("/v1/agents/{peer}/trust"), &body)
        .await?
        .expect(200)
}

async fn exchange(from: &Agent, to: &Agent, id: &str) -> anyhow::Result<(Message, Message)> {
    let sent = from
        .send_text(to.handle(), id, &format!("{id} as a text"))
        .await?;
    let got = to.receive().await?;
    ensure!(got.client_msg_id == id, "{got:?}");
    from.until_status(&sent, "delivered").await?;
    Ok((sent, got))
}

/// Alice loses her state folder and recovers: bob, who trusts by first use, goes on where he was, whoever
/// writes first.
#[test]
fn lost_keys_are_recovered_and_peers_go_on_in_the_same_conversation() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let (mut lost, key) = recoverable(world, &relay, "alice").await?;
        let (bob_proxy, dave_proxy) = (
            world.proxy(&relay, "bob").await?,
            world.proxy(&relay, "dave").await?,
        );
        let (bob, dave) = (bob_proxy.agent()?, dave_proxy.agent()?);
        let old = lost.agent()?;
        let former = fingerprint(&old).await?;
        let (_, with_bob) = exchange(&old, &bob, "before").await?;
        let (with_dave, _) = exchange(&dave, &old, "dave-before").await?;
        lost.kill()?;
        let unread = bob.send_text("alice", "unread", "nobody will read this").await?;
        fs::remove_dir_all(lost.state())?;

        let (host, _) = recovered(world, &relay, "alice", "elsewhere", &key).await?;
        let alice = host.agent()?;
        ensure!(fingerprint(&alice).await? != former, "it is a new identity");
        alice.send_text("bob", "back", "it is me again").await?;
        let back = bob.receive().await?;
        ensure!(back.client_msg_id == "back" && back.conversation_id == with_bob.conversation_id);
        ensure!(back.security.trust == "pinned", "{back:?}");
        one_event(&bob).await?;
        bob.until_status(&unread, "failed").await?;
        let identity = bob.identity("alice").await?;
        ensure!(identity["former"] == json!([former]), "{identity}");
        let (answer, _) = exchange(&bob, &alice, "welcome").await?;
        ensure!(answer.conversation_id == with_bob.conversation_id);
        exchange(&alice, &bob, "thanks").await?;
        let history = bob.history(&with_bob.conversation_id, "after_seq=0").await?;
        let seqs: Vec<u64> = history.iter().map(|message| message.seq).collect();
        ensure!(seqs == [1, 2, 3, 4, 5], "{seqs:?}");

        // Dave writes first, to the identity that he knows: nothing is sealed to another in its place.
        let details = dave
            .try_text("alice", "dave-first", "are you there?")
            .await?
            .refused(409, "IDENTITY_CHANGED")?;
        ensure!(details["proven"] == true, "{details}");
        let (again, _) = exchange(&dave, &alice, "dave-first").await?;
        ensure!(again.conversation_id == with_dave.conversation_id);
        one_event(&dave).await?;
        Ok(())
    });
}

/// Carol has compared keys, erin has pinned one: both decide for themselves, also on what was not confirmed.
#[test]
fn compared_keys_need_the_operator() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let (mut lost, key) = recoverable(world, &relay, "alice").await?;
        let (carol_proxy, erin_proxy) = (
            world.proxy(&relay, "carol").await?,
            world.proxy(&relay, "erin").await?,
        );
        let (carol, erin) = (carol_proxy.agent()?, erin_proxy.agent()?);
        let old = lost.agent()?;
        let former = fingerprint(&old).await?;
        decide(&carol, "alice", "verified", &former, false).await?;
        decide(&erin, "alice", "pinned", &former, false).await?;
        exchange(&carol, &old, "carol-before").await?;
        exchange(&erin, &old, "erin-before").await?;
        lost.kill()?;
        carol
            .send_text("alice", "carol-unread", "from carol, unread")
            .await?;
        let unread = erin
            .send_text("alice", "erin-unread", "from erin, unread")
            .await?;

        let (host, _) = recovered(world, &relay, "alice", "elsewhere", &key).await?;
        let alice = host.agent()?;
        let next = fingerprint(&alice).await?;
        let mails = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&mails);
        carol_proxy.tap().on_frame(move |frame| {
            if let Some(ClientFrame::Send { envelope, .. }) = frame.client()
                && is_mail(envelope)
            {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Fate::Pass
        });
        for peer in [&carol, &erin] {
            alice
                .send_text(peer.handle(), &format!("to-{}", peer.handle()), "it is me again")
                .await?;
            eventually("the change is told", SOON, async || {
                Ok((alerts(peer, "identity_changed").await? == 1).then_some(()))
            })
            .await?;
            let identity = peer.identity("alice").await?;
            ensure!(identity["state"] == "changed", "{identity}");
            ensure!(
                identity["changed"] == json!({ "fingerprint": next, "proven": true }),
                "{identity}"
            );
            let details = peer
                .try_text("alice", "stopped", "not to be sent")
                .await?
                .refused(409, "IDENTITY_CHANGED")?;
            ensure!(
                details["proven"] == true && details["shown"] == json!(next),
                "{details}"
            );
            ensure!(
                peer.sync_after(None, 1).await?.is_empty(),
                "held until somebody decides"
            );
        }
        ensure!(mails.load(Ordering::SeqCst) == 0, "nothing was sealed to anybody");

        decide(&carol, "alice", "verified", &next, true).await?;
        ensure!(carol.receive().await?.client_msg_id == "to-carol");
        ensure!(alice.receive().await?.text() == "from carol, unread");
        decide(&erin, "alice", "pinned", &next, false).await?;
        ensure!(erin.receive().await?.client_msg_id == "to-erin");
        erin.until_status(&unread, "failed").await?;
        ensure!(alice.sync_after(None, 2).await?.is_empty(), "nobody asked for it");
        exchange(&erin, &alice, "erin-again").await?;
        exchange(&carol, &alice, "stopped").await?;
        Ok(())
    });
}

fn is_mail(envelope: &[u8]) -> bool {
    let header = Envelope::split(envelope).map(|envelope| Header::decode(envelope.header));
    matches!(header, Ok(Ok(Header::Direct(header))) if header.lane == Lane::Mail)
}

/// A key that is not the agent's recovers nothing, and leaves nothing.
#[test]
fn wrong_recovery_key_is_refused() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let (alice_proxy, key) = recoverable(world, &relay, "alice").await?;
        let (_bob, other) = recoverable(world, &relay, "bob").await?;
        let host = world.other_host(&relay, "alice", "elsewhere").await?;
        let next = world.folder().join("next");
        let refusal = run(recover_command(&host, &other, &next)?, LIMIT)
            .await?
            .refusal()?;
        ensure!(refusal.contains("with this recovery key"), "{refusal}");
        ensure!(!host.state().exists() && !next.exists(), "nothing is left behind");
        let mistyped = world.folder().join("mistyped");
        fs::write(&mistyped, "wxr_0")?;
        run(recover_command(&host, &mistyped, &next)?, LIMIT)
            .await?
            .refusal()?;
        // An identity that was not named is not followed.
        let mut command = recover_command(&host, &key, &next)?;
        command.args(["--former", &"0".repeat(64)]);
        let refusal = run(command, LIMIT).await?.refusal()?;
        ensure!(refusal.contains("had the fingerprint"), "{refusal}");
        ensure!(!host.state().exists(), "nothing is left behind");
        // A folder with an agent is no place for it.
        let refusal = run(recover_command(&alice_proxy, &key, &next)?, LIMIT)
            .await?
            .refusal()?;
        ensure!(refusal.contains("alice-state"), "{refusal}");
        alice_proxy.agent()?.until_ready().await?;
        Ok(())
    });
}

/// A succession signed by whom one likes.
fn forged(old: &IdentityKey, new: &Stranger, by_old: bool, bundle: &Bundle) -> Vec<u8> {
    let body = Succession {
        version: VERSION,
        relay: bundle.relay,
        handle: bundle.handle.clone(),
        old: old.clone(),
        new: new.identity(),
        time: bundle.number,
    }
    .encode();
    let sign = |label| Signature::new(new.sign(label, &body));
    SuccessionBytes {
        by_new: sign(Label::SigSuccessionNew),
        by_old: by_old.then(|| sign(Label::SigSuccessionOld)),
        recovery: (!by_old).then(|| new.identity()),
        by_recovery: (!by_old).then(|| sign(Label::SigSuccessionRecovery)),
        body,
    }
    .encode()
}

/// The relay shows keys of its own under alice's handle with whatever it can sign or has seen: bob follows none
/// of them, and follows the genuine change afterwards.
#[test]
fn relay_cannot_forge_a_succession() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let (mut lost, key) = recoverable(world, &relay, "alice").await?;
        let mut bob_proxy = world.new_proxy(&relay, "bob").await?;
        bob_proxy.init().await?;
        bob_proxy.arguments(["--bundle-age", "1"]);
        bob_proxy.start().await?;
        let bob = bob_proxy.agent()?;
        bob.until_ready().await?;
        let old = lost.agent()?;
        exchange(&old, &bob, "before").await?;
        exchange(&bob, &old, "answer").await?;
        // What the relay shows for alice, before and after she recovers.
        let http = relay.http();
        let viewer = Stranger::registered(http, "viewer", world.canaries()).await?;
        let shown = async || -> anyhow::Result<BundleAnswer> {
            let path = "/v1/agents/alice/bundle";
            viewer.ask(viewer.request("GET", path)).await?.ok()
        };
        let pinned = Verified::<Bundle>::from_bytes(&shown().await?.bundle.0, |bundle| &bundle.identity)?
            .signer()
            .clone();
        lost.kill()?;
        let (host, _) = recovered(world, &relay, "alice", "elsewhere", &key).await?;
        let genuine = shown().await?;
        let genuine: Vec<Vec<u8>> = genuine.successions.into_iter().map(|bytes| bytes.0).collect();
        ensure!(genuine.len() == 1);

        let mallory = Stranger::new(http, "alice").await?;
        let bundle = mallory.bundle()?;
        let chains: [(&str, Vec<Vec<u8>>); 5] = [
            ("no proof", vec![]),
            ("as the old key", vec![forged(&pinned, &mallory, true, &bundle)]),
            (
                "as the recovery key",
                vec![forged(&pinned, &mallory, false, &bundle)],
            ),
            ("a replay", genuine.clone()),
            ("a replay and a forged step", {
                let mut chain = genuine.clone();
                let body = SuccessionBytes::decode(&genuine[0])?.body;
                let recovered = Succession::decode(&body)?.new;
                chain.push(forged(&recovered, &mallory, true, &bundle));
                chain
            }),
        ];
        let mails = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&mails);
        bob_proxy.tap().on_frame(move |frame| {
            if let Some(ClientFrame::Send { envelope, .. }) = frame.client()
                && is_mail(envelope)
            {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Fate::Pass
        });
        for (what, chain) in chains {
            let answer = json!({
                "agent_id": mallory.id(),
                "bundle": base64(&mallory.signed(&bundle)),
                "successions": chain
                    .iter()
                    .map(|bytes| base64(bytes))
                    .collect::<Vec<_>>(),
            })
            .to_string();
            bob_proxy.tap().on_request(move |asked| {
                if asked.path.ends_with("/alice/bundle") {
                    Outcome::Answer {
                        status: 200,
                        media_type: "application/json",
                        body: answer.clone().into_bytes(),
                    }
                } else {
                    Outcome::Pass
                }
            });
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let identity = bob.identity("alice").await?;
            ensure!(identity["state"] == "changed", "{what}: {identity}");
            ensure!(identity["changed"]["proven"] == false, "{what}: {identity}");
            let details = bob
                .try_text("alice", "to-mallory", "for alice only")
                .await?
                .refused(409, "IDENTITY_CHANGED")?;
            ensure!(details["proven"] == false, "{what}: {details}");
        }
        ensure!(mails.load(Ordering::SeqCst) == 0, "nothing was sealed to anybody");
        ensure!(alerts(&bob, "identity_succeeded").await? == 0);

        bob_proxy.tap().calm();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let identity = bob.identity("alice").await?;
        ensure!(identity["state"] == "pinned", "{identity}");
        ensure!(alerts(&bob, "identity_succeeded").await? == 1);
        exchange(&bob, &host.agent()?, "to-mallory").await?;
        Ok(())
    });
}

/// `kill -9` at each step of `recover`, then again: the handle is one identity's, whose new recovery key works.
#[test]
fn recover_that_is_interrupted_is_run_again() {
    scenario_within(Duration::from_secs(240), async |world| {
        let relay = world.relay().await?;
        let (mut first, mut key) = recoverable(world, &relay, "alice").await?;
        let bob_proxy = world.proxy(&relay, "bob").await?;
        let bob = bob_proxy.agent()?;
        exchange(&first.agent()?, &bob, "before").await?;
        first.kill()?;
        for (round, point) in ["recover.made", "recover.published"].into_iter().enumerate() {
            let mut host = world.other_host(&relay, "alice", point).await?;
            let next = world.folder().join(format!("{point}-next"));
            let mut command = recover_command(&host, &key, &next)?;
            command.env("WAXWIRE_FAULT", point);
            let ended = run(command, LIMIT).await?;
            ensure!(ended.status.code().is_none(), "{point}: {}", ended.stderr);
            ensure!(!next.exists(), "a key that is of no use was shown");
            run(host.tool("backup", &["--to", "nowhere"])?, LIMIT)
                .await?
                .refusal()?;
            run(recover_command(&host, &key, &next)?, LIMIT)
                .await?
                .success()?;
            host.start().await?;
            let alice = host.agent()?;
            alice.until_ready().await?;
            let id = format!("round-{round}");
            if round == 0 {
                alice.send_text("bob", &id, "it is me again").await?;
                ensure!(bob.receive().await?.client_msg_id == id);
                one_event(&bob).await?;
            }
            host.kill()?;
            key = next;
        }
        Ok(())
    });
}

/// A planned change, killed at each step: the agent goes on in its own conversations, peers follow, groups have to
/// invite it anew.
#[test]
fn planned_change_is_finished_whenever_it_was_interrupted() {
    scenario_within(Duration::from_secs(300), async |world| {
        let relay = world.relay().await?;
        let mut alice_proxy = world.proxy(&relay, "alice").await?;
        let bob_proxy = world.proxy(&relay, "bob").await?;
        let (alice, bob) = (alice_proxy.agent()?, bob_proxy.agent()?);
        let (mine, his) = exchange(&alice, &bob, "before").await?;
        exchange(&bob, &alice, "answer").await?;
        // Not while the proxy runs.
        let refusal = run(alice_proxy.tool("new-identity", &[])?, LIMIT)
            .await?
            .refusal()?;
        ensure!(refusal.contains("lock") || refusal.contains("use"), "{refusal}");
        alice_proxy.terminate().await?;
        // Not before the mail is taken.
        bob.send_text("alice", "waits", "to be read first").await?;
        let refusal = run(alice_proxy.tool("new-identity", &[])?, LIMIT)
            .await?
            .refusal()?;
        ensure!(refusal.contains("mail waits"), "{refusal}");
        alice_proxy.start().await?;
        alice.until_ready().await?;
        ensure!(alice.receive().await?.client_msg_id == "waits");
        let mut last = fingerprint(&alice).await?;
        for point in [
            "succession.prepared",
            "succession.published",
            "succession.moved",
            "none",
        ] {
            // Until receipts are out and acks are in.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            alice_proxy.terminate().await?;
            let mut command = alice_proxy.tool("new-identity", &[])?;
            command.env("WAXWIRE_FAULT", point);
            let ended = run(command, LIMIT).await?;
            if point != "none" {
                ensure!(ended.status.code().is_none(), "{point}: {}", ended.stderr);
                run(alice_proxy.tool("new-identity", &[])?, LIMIT)
                    .await?
                    .success()?;
            }
            alice_proxy.start().await?;
            alice.until_ready().await?;
            let next = fingerprint(&alice).await?;
            ensure!(next != last, "{point}");
            let before = alerts(&bob, "identity_succeeded").await?;
            let sent = alice
                .send_text("bob", &format!("after-{point}"), "sealed by new keys")
                .await?;
            ensure!(sent.conversation_id == mine.conversation_id, "{point}");
            let got = bob.receive().await?;
            ensure!(got.conversation_id == his.conversation_id, "{point}");
            let identity = bob.identity("alice").await?;
            ensure!(identity["fingerprint"] == json!(next), "{point}: {identity}");
            ensure!(
                identity["former"]
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(last)))
            );
            // The same alert is not raised twice in a minute.
            ensure!(
                alerts(&bob, "identity_succeeded").await? >= before.max(1),
                "{point}"
            );
            let answer = bob
                .send_text("alice", &format!("answer-{point}"), "sealed to new keys")
                .await?;
            let got = alice.receive().await?;
            ensure!(got.conversation_id == mine.conversation_id, "{point}");
            bob.until_status(&answer, "delivered").await?;
            last = next;
        }
        for (agent, kind) in [
            (&bob, "identity_changed"),
            (&bob, "sender_fork"),
            (&alice, "sender_fork"),
        ] {
            ensure!(alerts(agent, kind).await? == 0, "{kind}");
        }
        let history = alice.history(&mine.conversation_id, "limit=50").await?;
        ensure!(history.len() == 11, "{} messages", history.len());
        Ok(())
    });
}
