//! Identities and keys (22 to 38), and devices (2).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, ensure};
use waxwire_shared::{
    api::{
        frames::ClientFrame,
        rest::{Base64Bytes, BundleAnswer},
    },
    fingerprint::Fingerprint,
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, BundleKey, Document as _},
};
use waxwire_tests::{
    Agent, Insider, Scene, Stranger, scenario,
    tap::{Fate, Outcome},
    unique,
};

use super::{acquaint, insider};

/// What the relay answers to whoever asks for one agent's bundle; honest while it is empty.
type Directory = Arc<Mutex<Option<Vec<u8>>>>;

/// Has alice ask for a bundle whenever she writes, and puts the answer about one agent into the test's hands.
async fn directory(scene: &mut Scene<'_>, about: &str) -> anyhow::Result<Directory> {
    let alice = scene.proxy("alice")?;
    alice.terminate().await?;
    alice.arguments(["--bundle-age", "0"]);
    alice.start().await?;
    alice.agent()?.until_ready().await?;
    let directory = Directory::default();
    let (served, path) = (Arc::clone(&directory), format!("/v1/agents/{about}/bundle"));
    alice.tap().on_request(move |asked| {
        let served = served.lock().unwrap_or_else(PoisonError::into_inner);
        match served.clone().filter(|_| asked.path == path) {
            Some(body) => Outcome::Answer {
                status: 200,
                media_type: "application/json",
                body,
            },
            None => Outcome::Pass,
        }
    });
    Ok(directory)
}

fn serve(directory: &Directory, answer: Option<&BundleAnswer>) -> anyhow::Result<()> {
    let body = answer.map(serde_json::to_vec).transpose()?;
    *directory.lock().unwrap_or_else(PoisonError::into_inner) = body;
    Ok(())
}

/// The bundle of an agent without a proxy, as a relay shows it.
fn shown(agent: &Stranger, bundle: &Bundle) -> BundleAnswer {
    BundleAnswer {
        agent_id: agent.id(),
        bundle: Base64Bytes(agent.signed(bundle)),
        successions: Vec::new(),
        log: None,
    }
}

async fn genuine(asker: &Insider, handle: &str) -> anyhow::Result<BundleAnswer> {
    let path = format!("/v1/agents/{handle}/bundle");
    let ask = asker.stranger.request("GET", path);
    asker.stranger.ask(ask).await?.ok()
}

/// Counts what an agent's proxy sends.
fn count_sends(scene: &Scene<'_>, handle: &str) -> anyhow::Result<Arc<AtomicU64>> {
    let sends = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sends);
    scene.evil(handle)?.also(move |frame| {
        let send = matches!(frame.client(), Some(ClientFrame::Send { .. }));
        counted.fetch_add(u64::from(send), Ordering::SeqCst);
        None::<Fate>
    });
    Ok(sends)
}

async fn refuse(agent: &Agent, to: &str, code: &str) -> anyhow::Result<()> {
    let answer = agent.try_text(to, &unique("id")?, &unique("unsent")?).await?;
    answer.refused(409, code)?;
    Ok(())
}

/// Attack 2: the relay adds a key to what an agent has signed, or serves one that nobody has signed.
#[test]
fn attack_02_key_that_its_owner_did_not_sign_is_not_used() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let mallory = insider(world, &scene, "mallory").await?;
        let directory = directory(&mut scene, "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let sends = count_sends(&scene, "alice")?;
        let honest = genuine(&mallory, "bob").await?;
        let signed = SignedBytes::decode(&honest.bundle.0)?;
        let mut with_another = Bundle::decode(&signed.body)?;
        let key = mallory.bundle_of("mallory").await?.keys.remove(0);
        with_another.keys.push(key);
        let grafted = SignedBytes {
            body: with_another.encode(),
            signature: signed.signature.clone(),
        };
        let mut unsigned = honest.bundle.0.clone();
        if let Some(byte) = unsigned.last_mut() {
            *byte ^= 1;
        }
        for bundle in [grafted.encode(), unsigned, b"no bundle".to_vec()] {
            let answer = BundleAnswer {
                bundle: Base64Bytes(bundle),
                ..honest.clone()
            };
            serve(&directory, Some(&answer))?;
            refuse(&alice, "bob", "RELAY_MISBEHAVED").await?;
        }
        alice.until_alert("invalid_bundle").await?;
        ensure!(sends.load(Ordering::SeqCst) == 0, "something was sent");
        ensure!(bob.sync().await?.is_empty(), "something came");
        scene.aftermath().await
    });
}

/// Attack 22: another key at first contact. Whoever names the fingerprint is not deceived, and is not kept
/// from the right key either once the relay shows it.
#[test]
fn attack_22_fingerprint_decides_at_first_contact() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let directory = directory(&mut scene, "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let sends = count_sends(&scene, "alice")?;
        let me = bob.get("/v1/agents/me").await?.expect(200)?;
        let address = format!("bob#{}", me["fingerprint"].as_str().context("a fingerprint")?);
        let double = Stranger::new(scene.relay().http(), "bob").await?;
        serve(&directory, Some(&shown(&double, &double.bundle()?)))?;
        refuse(&alice, &address, "FINGERPRINT_MISMATCH").await?;
        ensure!(sends.load(Ordering::SeqCst) == 0, "something was sent");
        serve(&directory, None)?;
        let id = unique("id")?;
        alice.send_text(&address, &id, &unique("to bob")?).await?;
        ensure!(bob.receive().await?.client_msg_id == id, "to somebody else");
        scene.aftermath().await
    });
}

/// Attack 23: another key for a peer that is known. Nothing is sealed before somebody decides.
#[test]
fn attack_23_changed_key_stops_sends() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let directory = directory(&mut scene, "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let sends = count_sends(&scene, "alice")?;
        let double = Stranger::new(scene.relay().http(), "bob").await?;
        serve(&directory, Some(&shown(&double, &double.bundle()?)))?;
        refuse(&alice, "bob", "IDENTITY_CHANGED").await?;
        let told = alice.until_alert("identity_changed").await?;
        ensure!(told["severity"] == "critical" && told["peer"] == "bob", "{told}");
        let identity = alice.identity("bob").await?;
        let pinned = Fingerprint::of(&double.identity()).to_string();
        ensure!(
            identity["state"] == "changed" && identity["fingerprint"] != *pinned,
            "{identity}"
        );
        refuse(&alice, "bob", "IDENTITY_CHANGED").await?;
        ensure!(sends.load(Ordering::SeqCst) == 0, "something was sent");
        ensure!(bob.sync().await?.is_empty(), "something came");
        serve(&directory, None)?;
        // Whoever asks has the relay asked anew, and it shows the pinned one again.
        alice.identity("bob").await?;
        alice.until_alert("identity_restored").await?;
        scene.aftermath().await
    });
}

/// Points of small order and encodings that are not canonical (RFC 7748).
fn weak_keys() -> Vec<[u8; 32]> {
    let below = |low: u8| {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (low, 0x7f);
        key
    };
    let mut one = [0; 32];
    one[0] = 1;
    vec![[0; 32], one, below(0xec), below(0xed), below(0xee), [0xff; 32]]
}

/// Attack 26: an agent and the relay together offer an encryption key that everybody can compute with.
#[test]
fn attack_26_weak_keys_are_not_sealed_to() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let directory = directory(&mut scene, "weak").await?;
        let [alice] = scene.agents(["alice"])?;
        let sends = count_sends(&scene, "alice")?;
        let weak = Stranger::new(scene.relay().http(), "weak").await?;
        for public in weak_keys() {
            let mut bundle = weak.bundle()?;
            bundle.keys = vec![BundleKey {
                suite: Suite::CLASSIC,
                number: 1,
                public: public.to_vec(),
            }];
            serve(&directory, Some(&shown(&weak, &bundle)))?;
            refuse(&alice, "weak", "RELAY_MISBEHAVED").await?;
        }
        alice.until_alert("invalid_bundle").await?;
        ensure!(sends.load(Ordering::SeqCst) == 0, "something was sent");
        scene.aftermath().await
    });
}

/// Attack 31: an older bundle than the peer's newest, one from the future, and two with one number.
#[test]
fn attack_31_old_bundle_is_not_taken_again() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let mallory = insider(world, &scene, "mallory").await?;
        let directory = directory(&mut scene, "mallory").await?;
        let [alice] = scene.agents(["alice"])?;
        let old = genuine(&mallory, "mallory").await?;
        let first = mallory.bundle_of("mallory").await?;
        let successor = |number: u64, recovery: u8| {
            let mut bundle = first.clone();
            bundle.number = number;
            bundle.previous = Some(waxwire_shared::hash::sha256(&old.bundle.0));
            bundle.recovery = waxwire_shared::ids::Hash::from_bytes([recovery; 32]);
            shown(&mallory.stranger, &bundle)
        };
        let new = successor(first.number + 10, 1);
        serve(&directory, Some(&new))?;
        let write = async || alice.try_text("mallory", &unique("id")?, &unique("text")?).await;
        write().await?.expect_status(201)?;
        for (answer, alert) in [
            (old.clone(), "stale_bundle"),
            (successor(first.number + 10, 2), "bundle_fork"),
            (successor(first.number + 25 * 3_600_000, 3), "invalid_bundle"),
        ] {
            serve(&directory, Some(&answer))?;
            write().await?.refused(409, "RELAY_MISBEHAVED")?;
            alice.until_alert(alert).await?;
        }
        serve(&directory, Some(&new))?;
        write().await?.expect_status(201)?;
        scene.aftermath().await
    });
}

/// Attacks 28 and 94: nothing that the agent can ask for signs bytes of its choosing, takes or gives a key,
/// or reads or writes a file.
#[test]
fn attack_28_94_local_api_signs_and_exports_nothing() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let [alice] = scene.agents(["alice"])?;
        let description = alice.get("/openapi.json").await?.expect(200)?;
        let paths = description["paths"].as_object().context("paths")?;
        ensure!(paths.len() > 20, "too few: {}", paths.len());
        for path in paths.keys() {
            for word in [
                "sign", "export", "backup", "restore", "seed", "private", "recover", "unlock",
            ] {
                ensure!(!path.contains(word), "{path}");
            }
        }
        let schemas = description["components"]["schemas"].as_object();
        for (name, schema) in schemas.context("schemas")? {
            let properties = schema["properties"].as_object();
            for property in properties.into_iter().flat_map(serde_json::Map::keys) {
                let secret = [
                    "private",
                    "seed",
                    "public_key",
                    "signature",
                    "file_path",
                    "passphrase",
                ];
                ensure!(!secret.contains(&property.as_str()), "{name}.{property}");
            }
        }
        for path in [
            "/v1/sign",
            "/v1/keys",
            "/v1/backup",
            "/v1/export",
            "/v1/agents/me/keys",
        ] {
            for method in ["GET", "POST", "PUT"] {
                let answer = alice.ask(alice.request(method, path)).await?;
                ensure!(
                    matches!(answer.status, 404 | 405),
                    "{method} {path}: {}",
                    answer.text()
                );
            }
        }
        scene.aftermath().await
    });
}
