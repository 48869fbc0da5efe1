//! What the client refuses: bundles that a relay has changed, and messages of others in a peer's name.

use anyhow::Context as _;
use serde_json::{Value, json};
use waxwire_proxy::{
    crypto::{message, secret::EncryptionPublic},
    rng::OsRng,
};
use waxwire_shared::{
    api::rest::BundleAnswer,
    identity::{IdentityKey, Signature},
    ids::{AgentId, ConversationId, Hash, Mid, SessionId},
    labels::Label,
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, Context, Core, DirectHeader, Document as _, Envelope, Kind, Lane, MessageBytes, VERSION},
};
use waxwire_tests::{
    Agent, Stranger, Tap,
    canary::random,
    clock::unix_ms,
    eventually, scenario,
    stranger::base64,
    tap::{Asked, Outcome},
    unique,
};

use crate::{Client, SPREAD, content, having, text};

/// How many places of a bundle are tried.
const PLACES: usize = 24;

fn is_bundle_of_alice(asked: &Asked) -> bool {
    asked.path == "/v1/agents/alice/bundle"
}

/// Answers every lookup of alice with this bundle.
fn serve(tap: &Tap, bundle: &[u8]) {
    let answer = json!({ "agent_id": "0".repeat(32), "bundle": base64(bundle) });
    let body = answer.to_string().into_bytes();
    tap.on_request(move |asked| {
        if is_bundle_of_alice(asked) {
            let (status, media_type) = (200, "application/json");
            let body = body.clone();
            Outcome::Answer {
                status,
                media_type,
                body,
            }
        } else {
            Outcome::Pass
        }
    });
}

/// The signed bundle that the relay holds for a handle.
async fn bundle_of(stranger: &Stranger, handle: &str) -> anyhow::Result<Vec<u8>> {
    let path = format!("/v1/agents/{handle}/bundle");
    let answer = stranger.ask(stranger.request("GET", path)).await?;
    Ok(answer.ok::<BundleAnswer>()?.bundle.0)
}

/// docs/protocol.md, 4.3: a bundle that is another one by one bit is refused, wherever the bit is, and
/// nothing of it is pinned; 4.4: a good bundle of another identity does not replace the pinned one.
#[test]
fn client_refuses_bundles_that_the_relay_has_changed() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let proxy = world.proxy(&relay, "alice").await?;
        let alice = proxy.agent()?;
        let tap = Tap::start(relay.balancer(), world.ledger().clone()).await?;
        let (mut carl, _) = Client::registered(world, &tap.url(), "carl").await?;
        let mallory = Stranger::registered(relay.http(), "mallory", world.canaries()).await?;

        let genuine = bundle_of(&mallory, "alice").await?;
        let look_up = json!({"do": "look_up", "handle": "alice"});
        for at in (0..PLACES).map(|place| place * (genuine.len() - 1) / (PLACES - 1)) {
            let mut changed = genuine.clone();
            *changed.get_mut(at).context("a place in the bundle")? ^= 1;
            serve(&tap, &changed);
            let layer = carl.refusal(look_up.clone()).await?;
            assert!(["decode", "signature"].contains(&&*layer), "byte {at}: {layer}");
        }
        tap.calm();
        let pinned = carl.ask(look_up.clone()).await?;
        let me = alice.get("/v1/agents/me").await?.expect(200)?;
        assert_eq!(pinned["fingerprint"], me["fingerprint"]);

        let pretender = Stranger::new(relay.http(), "alice").await?;
        serve(&tap, &pretender.signed(&pretender.bundle()?));
        assert_eq!(carl.refusal(look_up).await?, "IDENTITY_CHANGED");
        let send = json!({"do": "send", "to": "alice", "id": "1", "content": content("to nobody")});
        assert_eq!(carl.refusal(send).await?, "IDENTITY_CHANGED");

        tap.calm();
        carl.say(Some("alice"), "2", &unique("to alice")?).await?;
        alice.receive().await?;
        Ok(())
    });
}

/// Changes the last byte of every answer to a path that begins so.
fn spoil(tap: &Tap, beginning: &'static str) {
    tap.on_request(move |asked| {
        if !asked.path.starts_with(beginning) {
            return Outcome::Pass;
        }
        Outcome::Rewrite(Box::new(|answer| {
            let mut body = answer.body.to_vec();
            if let Some(byte) = body.last_mut() {
                *byte ^= 1;
            }
            answer.body = body.into();
        }))
    });
}

/// docs/protocol.md, 6.2 and 6.5: a log with another signature makes nobody a member, and a leaf that is not under the
/// root of the commit gives no key; with what was signed, the client joins and reads.
#[test]
fn client_refuses_logs_and_leaves_that_the_relay_has_changed() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let proxy = world.proxy(&relay, "alice").await?;
        let alice = proxy.agent()?;
        let tap = Tap::start(relay.balancer(), world.ledger().clone()).await?;
        let (mut carl, _) = Client::registered(world, &tap.url(), "carl").await?;
        let group = alice.gather(&unique("group")?, &[]).await?.id;
        alice.invite(&group, "carl").await?;
        eventually("the client is invited", SPREAD, async || {
            Ok(having(carl.receive("control").await?, "invites"))
        })
        .await?;

        spoil(&tap, "/v1/queues/log-");
        assert_eq!(carl.refusal(json!({"do": "accept"})).await?, "signature");
        assert_eq!(alice.group(&group).await?.handles(), ["alice"]);

        spoil(&tap, "/v1/groups/");
        assert_eq!(carl.refusal(json!({"do": "accept"})).await?, "leaf_forged");
        alice.until_members(&group, &["alice", "carl"]).await?;
        alice.until_epoch(&group, 2).await?;
        let words = unique("to carl")?;
        alice.send_to_group(&group, "first", &words).await?;
        assert_eq!(
            carl.refusal(json!({"do": "receive_from_group"})).await?,
            "leaf_forged"
        );

        tap.calm();
        let told = eventually("the client reads its group", SPREAD, async || {
            Ok(having(carl.receive_from_group().await?, "messages"))
        })
        .await?;
        assert_eq!(text(&told["messages"][0], "content")?, content(&words));
        Ok(())
    });
}

/// A message that mallory makes for carl, in which one thing is wrong.
struct Forgery {
    handle: &'static str,
    identity: IdentityKey,
    recipient: IdentityKey,
}

impl Forgery {
    /// The envelope, sealed to the key in the bundle and signed by mallory.
    fn envelope(&self, mallory: &Stranger, to: &Bundle) -> anyhow::Result<Vec<u8>> {
        let key = to.keys.first().context("no key")?;
        let header = DirectHeader {
            suite: Suite::CLASSIC,
            lane: Lane::Mail,
            to: AgentId::of(&to.relay, &to.identity),
            key_number: key.number,
            mid: Mid::from_bytes(random()?),
        }
        .encode();
        let context = Context {
            header: header.clone(),
            recipient_handle: Some(to.handle.clone()),
            recipient: Some(self.recipient.clone()),
            recipient_key_number: Some(key.number),
            sender_key_number: Some(1),
            sender_bundle: Some(Hash::from_bytes(random()?)),
            log_head: None,
        }
        .encode();
        let core = self.core(to)?.encode();
        let hashes = MessageBytes::signed_hashes(&context, &core);
        let signed = MessageBytes {
            signature: Signature::new(mallory.sign(Label::SigMessage, &hashes)),
            context,
            core,
        };
        let public = EncryptionPublic::from_slice(&key.public)?;
        let ciphertext = message::seal_direct(&mut OsRng, &public, Kind::Direct, &signed)?;
        let envelope = Envelope {
            header: &header,
            ciphertext: &ciphertext,
        };
        Ok(envelope.to_bytes())
    }

    fn core(&self, to: &Bundle) -> anyhow::Result<Core> {
        Ok(Core {
            version: VERSION,
            suite: Suite::CLASSIC,
            kind: Kind::Direct,
            handle: self.handle.parse()?,
            identity: self.identity.clone(),
            conversation: ConversationId::direct(&to.identity, &self.identity),
            session: SessionId::from_bytes(random()?),
            incarnation: unix_ms(),
            n: 1,
            previous: None,
            void: Vec::new(),
            client_msg_id: "forged".to_owned(),
            time: unix_ms(),
            expires: None,
            ack: None,
            message_type: "text".to_owned(),
            content: content("forged").into_bytes(),
            metadata: None,
            reply_to: None,
            attachments: None,
        })
    }
}

/// What the client tells of its mail up to a genuine message of alice: what was refused, and the messages.
async fn behind(carl: &mut Client, alice: &Agent) -> anyhow::Result<(Vec<Value>, Vec<Value>)> {
    let words = unique("genuine")?;
    alice.send_text("carl", &words, &words).await?;
    let (mut refused, mut messages) = (Vec::new(), Vec::new());
    eventually("the client reads the genuine message", SPREAD, async || {
        let told = carl.receive("mail").await?;
        refused.extend(told["refused"].as_array().cloned().unwrap_or_default());
        messages.extend(told["messages"].as_array().cloned().unwrap_or_default());
        let genuine = messages
            .iter()
            .any(|message| message["content"] == content(&words));
        Ok(genuine.then_some(()))
    })
    .await?;
    Ok((refused, messages))
}

/// docs/protocol.md, 5.7, steps 5 to 7: who signs for another, under another's handle, or for another
/// reader, is refused; what comes behind is read.
#[test]
fn client_refuses_forged_senders() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let proxy = world.proxy(&relay, "alice").await?;
        let alice = proxy.agent()?;
        let (mut carl, _) = Client::registered(world, &relay.url()?, "carl").await?;
        let mallory = Stranger::registered(relay.http(), "mallory", world.canaries()).await?;
        let [of_alice, of_carl] = bundles(&mallory, ["alice", "carl"]).await?;
        let (me, carls) = (mallory.identity(), of_carl.identity.clone());
        let forgeries = [
            ("alice", of_alice.identity.clone(), carls.clone(), "signature"),
            ("alice", me.clone(), carls.clone(), "unknown_key"),
            ("mallory", me.clone(), of_alice.identity, "context"),
        ];
        for (handle, identity, recipient, layer) in forgeries {
            let forgery = Forgery {
                handle,
                identity,
                recipient,
            };
            mallory.store(&forgery.envelope(&mallory, &of_carl)?).await?;
            let (refused, messages) = behind(&mut carl, &alice).await?;
            assert_eq!(refused, [json!(layer)]);
            assert_eq!(messages.len(), 1, "{messages:?}");
        }
        // With nothing wrong it is a message of mallory.
        let (handle, identity, recipient) = ("mallory", me, carls);
        let honest = Forgery {
            handle,
            identity,
            recipient,
        };
        mallory.store(&honest.envelope(&mallory, &of_carl)?).await?;
        let (refused, messages) = behind(&mut carl, &alice).await?;
        assert_eq!(refused, Vec::<Value>::new());
        assert_eq!(text(&messages[0], "sender")?, "mallory");
        Ok(())
    });
}

async fn bundles<const N: usize>(stranger: &Stranger, handles: [&str; N]) -> anyhow::Result<[Bundle; N]> {
    let mut bundles = Vec::new();
    for handle in handles {
        let signed = SignedBytes::decode(&bundle_of(stranger, handle).await?)?;
        bundles.push(Bundle::decode(&signed.body)?);
    }
    bundles.try_into().ok().context("a bundle for each")
}
