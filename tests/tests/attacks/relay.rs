//! The relay's authentication and interface (78 to 87).

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Queue, RelayFrame},
        problem::ProblemType,
    },
    hash::sha256,
    ids::{GroupId, Hash},
    wire::Change,
};
use waxwire_tests::{
    Ask, Database, Insider, Stranger, eventually, scenario, stranger::base64, tap::Fate, unique,
};

use super::{acquaint, insider, member};

/// Attack 79: what was made for one relay is brought to another.
#[test]
fn attack_79_other_relays_take_nothing() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let envelope = acquaint(&scene, "alice", "bob").await?;
        let mut elsewhere = world.new_relay("elsewhere")?;
        elsewhere.start().await?;
        let there = Insider::registered(elsewhere.http(), "mallory", world.canaries()).await?;
        let here = insider(world, &scene, "mallory").await?;
        // There is a bob there, too; ids tell the two apart.
        Stranger::registered(elsewhere.http(), "bob", world.canaries()).await?;
        there
            .stranger
            .post_envelope(&envelope)
            .await?
            .expect_status(404)?;
        let bundle = here.stranger.signed(&here.bundle_of("mallory").await?);
        let ask = there.stranger.request("PUT", "/v1/agents/me/bundle").body(bundle);
        let ask = ask.header("content-type", "application/octet-stream");
        let answer = there.stranger.ask(ask).await?;
        answer.problem(ProblemType::InvalidObject)?;
        let ask = Ask::new("GET", "/v1/agents/me").bearer(here.stranger.api_key());
        elsewhere.http().ask(ask).await?.expect_status(401)?;
        scene.aftermath().await
    });
}

/// Whatever lies in the tables of a database and could be, or be made, a credential.
async fn credentials_of(database: &Database) -> anyhow::Result<BTreeSet<String>> {
    let mut credentials = BTreeSet::new();
    for value in database.values().await? {
        match String::from_utf8(value) {
            Ok(text) => credentials.extend([text]),
            Err(error) if error.as_bytes().len() <= 64 => {
                let bytes = error.as_bytes();
                credentials.extend([
                    hex::encode(bytes),
                    base64(bytes),
                    format!("wxa_{}", base64(bytes)),
                ]);
            }
            Err(_) => {}
        }
    }
    Ok(credentials)
}

/// Attack 82: whoever has the relay's database logs in with nothing of it, and finds no name or text there.
/// (That nothing lies there in clear is looked for after every test.)
#[test]
fn attack_82_stolen_database_opens_no_account() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        scene.gather("stolen").await?;
        acquaint(&scene, "alice", "bob").await?;
        insider(world, &scene, "mallory").await?;
        let values = credentials_of(scene.relay().store()).await?;
        ensure!(
            values.iter().any(|value| value.starts_with("wxa_")),
            "nothing was tried"
        );
        let usable = values.iter().filter(|value| {
            let printable = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            printable && !value.is_empty() && value.len() < 200
        });
        for value in usable {
            let ask = Ask::new("GET", "/v1/agents/me").bearer(value);
            let answer = scene.relay().http().ask(ask).await?;
            ensure!(answer.status == 401, "{value}: {}", answer.text());
        }
        scene.aftermath().await
    });
}

/// A request that names something of somebody.
struct Route {
    method: &'static str,
    path: fn(&Victim) -> String,
    body: Body,
}

enum Body {
    None,
    Json,
    Octets,
}

/// Every route that takes an id which somebody else may have.
fn routes() -> [Route; 7] {
    let route = |method, path, body| Route { method, path, body };
    [
        route(
            "GET",
            |of| format!("/v1/queues/group-{}/envelopes", of.group),
            Body::None,
        ),
        route(
            "GET",
            |of| format!("/v1/queues/log-{}/envelopes", of.group),
            Body::None,
        ),
        route(
            "GET",
            |of| format!("/v1/groups/{}/epochs/1/leaves/0", of.group),
            Body::None,
        ),
        route("DELETE", |of| format!("/v1/blobs/{}", of.blob), Body::None),
        route(
            "PATCH",
            |of| format!("/v1/blobs/{}?offset=0", of.blob),
            Body::Octets,
        ),
        route("PUT", |of| format!("/v1/contacts/{}", of.blocker), Body::Json),
        route(
            "GET",
            |of| format!("/v1/agents/{}/bundle", of.blocker),
            Body::None,
        ),
    ]
}

struct Victim {
    group: GroupId,
    blob: String,
    /// Has blocked whoever asks.
    blocker: &'static str,
}

/// Attack 83: every route is tried with ids of others: a group, an attachment, an agent that has blocked
/// the asker. The answer is that for an id of nobody.
#[test]
fn attack_83_foreign_ids_are_nobodys() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        scene.gather("private").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        alice.upload("table.csv", unique("blob")?.as_bytes()).await?;
        let mallory = insider(world, &scene, "mallory").await?;
        bob.post("/v1/contacts/mallory/block").await?.expect_status(200)?;
        let asker = &mallory.stranger;
        eventually(
            "the relay knows of the block",
            std::time::Duration::from_secs(20),
            async || {
                let answer = asker.ask(asker.request("GET", "/v1/agents/bob/bundle")).await?;
                Ok((answer.status == 404).then_some(()))
            },
        )
        .await?;
        let victim = Victim {
            group: scene.relay().store().only_group().await?,
            blob: only_blob(scene.relay().store()).await?,
            blocker: "bob",
        };
        let nobody = Victim {
            group: GroupId::from_bytes([9; 32]),
            blob: "00".repeat(16),
            blocker: "nobody-here",
        };
        for route in routes() {
            let mut answers = Vec::new();
            for of in [&victim, &nobody] {
                let (method, path) = (route.method, (route.path)(of));
                let ask = asker.request(method, path.as_str());
                let ask = match route.body {
                    Body::None => ask,
                    Body::Json => ask.json(&json!({})),
                    Body::Octets => ask
                        .header("content-type", "application/octet-stream")
                        .body(vec![1; 16]),
                };
                let answer = asker.ask(ask).await?;
                // Whether there was something to change is not told.
                let expected = if matches!(method, "DELETE" | "PUT") {
                    204
                } else {
                    404
                };
                ensure!(
                    answer.status == expected,
                    "{method} {path}: {} {}",
                    answer.status,
                    answer.text()
                );
                let mut problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                problem["instance"] = Value::Null;
                answers.push((answer.status, problem));
            }
            ensure!(answers[0] == answers[1], "{answers:?}");
        }
        ensure!(
            only_blob(scene.relay().store()).await? == victim.blob,
            "it was deleted"
        );
        let acks = json!({"acks": [{"queue": format!("group-{}", victim.group), "position": 1}]});
        let answer = asker.ask(asker.request("POST", "/v1/acks").json(&acks)).await?;
        answer.expect_status(404)?;
        bob.delete("/v1/contacts/mallory/block")
            .await?
            .expect_status(200)?;
        scene.aftermath().await
    });
}

async fn only_blob(database: &Database) -> anyhow::Result<String> {
    Ok(hex::encode(
        database.only_bytes("SELECT blob_id FROM blob").await?,
    ))
}

/// Attack 83, in a group: a member of the one acts in the other's name, and who is out reads no further.
#[test]
fn attack_83_members_act_for_themselves_only() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("own name").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, _) = member(world, &scene, &alice, &group).await?;
        // A commit that names alice as its signer and is not signed by her.
        let mut commit = mallory.signed_commit(&log, &[Change::Leave { cut_off: None }], None);
        let founder = &log.roster.members().first().context("a founder")?.identity;
        let (own, theirs) = (mallory.stranger.identity(), founder);
        let (own, theirs) = (own.as_bytes(), theirs.as_bytes());
        let at = commit.windows(own.len()).position(|window| window == own);
        let at = at.context("the signer")?;
        commit[at..at + own.len()].copy_from_slice(theirs);
        let answer = mallory.offer(&log, &commit, &[]).await?;
        answer.expect_status(400)?;
        ensure!(
            alice.group(&group).await?.handles().contains(&"alice"),
            "she has left"
        );
        bob.until_members(&group, &["alice", "bob", "mallory"]).await?;
        scene.aftermath().await
    });
}

/// Attack 84: the relay says that it has stored a message, and throws it away. Its author never sees it as
/// delivered; the next one shows the hole, and it is sent again.
#[test]
fn attack_84_message_that_the_relay_throws_away_is_not_delivered() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let thief = scene.evil("alice")?.clone();
        let mut stolen = false;
        scene.evil("alice")?.also(move |frame| match frame.client() {
            Some(ClientFrame::Send { request, envelope }) if !stolen => {
                stolen = true;
                thief.say(stored(request, sha256(envelope)));
                Some(Fate::Drop)
            }
            _ => None,
        });
        let sent = alice.send_text("bob", &unique("id")?, &unique("stolen")?).await?;
        let next = alice.send_text("bob", &unique("id")?, &unique("next")?).await?;
        let got = bob.receive().await?;
        ensure!(
            got.id == next.id && got.security.gap.is_some_and(|gap| gap.missing == 1),
            "{got:?}"
        );
        let repaired = bob.receive().await?;
        ensure!(repaired.id == sent.id, "{repaired:?}");
        alice.until_status(&sent, "delivered").await?;
        scene.aftermath().await
    });
}

fn stored(request: u32, hash: Hash) -> Vec<u8> {
    let answer = RelayFrame::Stored {
        request,
        repeated: false,
        envelope_id: 1,
        hash,
    };
    answer.encode()
}

/// Attack 85: headers that claim to be somebody, or from somewhere.
#[test]
fn attack_85_headers_make_nobody_else() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice] = scene.agents(["alice"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let mail = mallory.objects(Queue::Mail, 0).await?;
        let claims = [
            ("x-forwarded-for", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1;host=localhost"),
            ("x-real-ip", "127.0.0.1"),
            ("x-agent-id", "alice"),
            ("x-agent-handle", "alice"),
            ("x-forwarded-user", "alice"),
            ("x-scopes", "admin"),
            ("x-original-url", "/healthz"),
            ("x-http-method-override", "DELETE"),
        ];
        for (name, value) in claims {
            let ask = mallory
                .stranger
                .request("GET", "/v1/agents/me")
                .header(name, value);
            let me: Value = mallory.stranger.ask(ask).await?.ok()?;
            ensure!(me["handle"] == "mallory", "{name}: {me}");
            let ask = Ask::new("GET", "/v1/queues/mail/envelopes").header(name, value);
            scene.relay().http().ask(ask).await?.expect_status(401)?;
            let ask = Ask::new("GET", "/v1/inbox").header(name, value);
            alice.http().ask(ask).await?.refused(401, "UNAUTHORIZED")?;
        }
        ensure!(mallory.objects(Queue::Mail, 0).await? == mail, "another's mail");
        scene.aftermath().await
    });
}
