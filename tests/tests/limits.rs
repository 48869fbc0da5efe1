//! Limits of sends and backlogs, each reached on purpose (C7, C11).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_shared::{api::problem::ProblemType, ids::BlobId};
use waxwire_tests::{
    Agent, Relay, Stranger, eventually, http::Answer, program::run, scenario, unique, world::World,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A relay whose limits the test sets.
async fn relay(world: &World, limits: &[(&str, u64)]) -> anyhow::Result<Relay> {
    let mut relay = world.new_relay("relay")?;
    for (name, value) in limits {
        relay.limit(name, *value);
    }
    relay.start().await?;
    Ok(relay)
}

async fn send(agent: &Agent, to: &str, id: &str) -> anyhow::Result<Answer> {
    let body = json!({"to": to, "client_msg_id": id, "content": {"text": unique("limits")?}});
    agent.post_json("/v1/messages", &body).await
}

/// Waits as long as a refusal asks, then sends again what it refused.
async fn passes_after_waiting(agent: &Agent, to: &str, id: &str, refused: &Answer) -> anyhow::Result<()> {
    let wait = refused.header("retry-after").context("no Retry-After")?.parse()?;
    ensure!((1..=30).contains(&wait), "Retry-After: {wait}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    send(agent, to, id).await?.expect(201).map(drop)
}

async fn admin<const N: usize>(relay: &Relay, words: [&str; N]) -> anyhow::Result<String> {
    let mut command = relay.tool(["admin"])?;
    command.args(words);
    Ok(run(command, LIMIT).await?.success()?.stdout)
}

#[test]
fn sender_that_is_too_fast_waits_and_costs_nobody_else_anything() {
    scenario(async |world| {
        let relay = relay(world, &[("sends_per_minute", 20)]).await?;
        let alice = world.proxy(&relay, "alice").await?;
        let bob = world.proxy(&relay, "bob").await?;
        let (alice, bob) = (alice.agent()?, bob.agent()?);
        let mut socket = alice.socket(false).await?;
        let mut refused = None;
        for number in 0..30 {
            let id = format!("fast-{number}");
            let answer = send(&alice, "bob", &id).await?;
            if answer.status != 201 {
                refused = Some((id, answer));
                break;
            }
        }
        let (id, refused) = refused.context("30 messages passed")?;
        let details = refused.refused(429, "RATE_LIMITED")?;
        ensure!(details["retry_after_ms"].as_u64() > Some(0), "{details}");
        // It was told before.
        let mut warning = socket.next().await?;
        while warning["type"] != "rate_limit.warning" {
            warning = socket.next().await?;
        }
        assert_eq!(warning["payload"]["limit"], 20);
        ensure!(warning["payload"]["remaining"].as_u64() < Some(4), "{warning}");

        send(&bob, "alice", "unhurried").await?.expect(201)?;
        passes_after_waiting(&alice, "bob", &id, &refused).await?;
        // Sent again, a message that is known costs nothing.
        for _ in 0..5 {
            send(&alice, "bob", "fast-0").await?.expect(200)?;
        }
        Ok(())
    });
}

#[test]
fn organisations_have_a_limit_in_common_and_tiers_of_their_own() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.limit("org_sends_per_hour", 5);
        relay.configuration("[tiers.gold]\norg_sends_per_hour = 0\n");
        relay.start().await?;
        let alice = world.proxy(&relay, "alice").await?;
        let bob = world.proxy(&relay, "bob").await?;
        let (alice, bob) = (alice.agent()?, bob.agent()?);
        let mut refused = None;
        for number in 0..8 {
            let (from, to) = if number % 2 == 0 {
                (&alice, "bob")
            } else {
                (&bob, "alice")
            };
            let answer = send(from, to, &format!("hour-{number}")).await?;
            if answer.status != 201 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.context("8 messages passed")?;
        refused.refused(429, "RATE_LIMITED")?;
        ensure!(refused.header("retry-after").is_some(), "no Retry-After");

        admin(&relay, ["org", "acme", "--tier", "gold"]).await?;
        admin(&relay, ["move", "alice", "acme"]).await?;
        let listed = admin(&relay, ["orgs"]).await?;
        ensure!(listed.contains("acme\tgold\t1"), "{listed}");
        eventually("the relay has noticed", LIMIT, async || {
            let answer = send(&alice, "bob", "hour-gold").await?;
            Ok((answer.status == 201).then_some(()))
        })
        .await?;
        for number in 0..20 {
            send(&alice, "bob", &format!("gold-{number}"))
                .await?
                .expect(201)?;
        }
        send(&bob, "alice", "still")
            .await?
            .refused(429, "RATE_LIMITED")
            .map(drop)
    });
}

/// The backlog is what waits at the relay, so the recipient's proxy has to be away.
#[test]
fn full_mailbox_refuses_mail_and_takes_it_again_once_it_is_fetched() {
    scenario(async |world| {
        let relay = relay(world, &[("backlog", 6)]).await?;
        let alice = world.proxy(&relay, "alice").await?;
        let mut bob = world.proxy(&relay, "bob").await?;
        let carol = world.proxy(&relay, "carol").await?;
        let (alice, carol) = (alice.agent()?, carol.agent()?);
        send(&alice, "bob", "hello").await?.expect(201)?;
        bob.agent()?.receive().await?;
        eventually("nothing waits", LIMIT, async || {
            Ok((relay.store().waiting().await? == 0).then_some(()))
        })
        .await?;
        bob.terminate().await?;
        let mut warnings = Vec::new();
        for number in 0..6 {
            let answer = send(&alice, "bob", &format!("wait-{number}")).await?;
            warnings.push(answer.header("x-backlog-warning").map(str::to_owned));
            answer.expect(201)?;
        }
        assert_eq!(warnings[..2], [None, None]);
        assert_eq!(warnings[2].as_deref(), Some("bob=3"));
        let refused = send(&alice, "bob", "too-much").await?;
        let details = refused.refused(429, "RECIPIENT_BACKLOGGED")?;
        assert_eq!(
            details,
            json!({"recipient_handle": "bob", "undelivered_count": 6})
        );
        ensure!(refused.header("retry-after").is_some(), "no Retry-After");
        send(&carol, "bob", "nor-from-others")
            .await?
            .refused(429, "RECIPIENT_BACKLOGGED")?;
        send(&carol, "alice", "others-are-not-full").await?.expect(201)?;

        bob.start().await?;
        let bob = bob.agent()?;
        eventually("the mailbox has room", LIMIT, async || {
            let answer = send(&alice, "bob", "too-much").await?;
            Ok((answer.status == 201).then_some(()))
        })
        .await?;
        eventually("everything is there, in order", LIMIT, async || {
            let rows = bob.get("/v1/messages/sync?limit=100").await?.expect(200)?;
            let ids = rows.as_array().into_iter().flatten();
            let ids: Vec<&str> = ids.filter_map(|row| row["client_msg_id"].as_str()).collect();
            Ok((ids
                == [
                    "wait-0", "wait-1", "wait-2", "wait-3", "wait-4", "wait-5", "too-much",
                ])
            .then_some(()))
        })
        .await
    });
}

/// Keys have a lane of their own, and a member that is far behind is named, loses nothing, and keeps nobody
/// else from reading.
#[test]
fn attack_71_full_mailbox_takes_new_keys_and_group_messages() {
    scenario(async |world| {
        let mut circle = world
            .circle_around(relay(world, &[("backlog", 5)]).await?, ["alice", "bob", "carol"])
            .await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("full")?, &[&bob, &carol]).await?.id;
        circle.proxy("bob")?.terminate().await?;
        let mut named = Value::Null;
        for number in 0..12 {
            let body = json!({
                "conversation_id": group,
                "client_msg_id": format!("group-{number}"),
                "content": {"text": unique("full")?},
            });
            let sent = alice.post_json("/v1/messages", &body).await?.expect(201)?;
            named = sent["skipped_recipients"].clone();
            if number == 6 {
                alice
                    .post(&format!("/v1/groups/{group}/rekey"))
                    .await?
                    .expect(200)?;
            }
        }
        assert_eq!(named, json!(["bob"]));
        let all: Vec<String> = (0..12).map(|number| format!("group-{number}")).collect();
        let has_all = async |agent: &Agent| {
            let rows = agent
                .get(&format!("/v1/messages/{group}?limit=200"))
                .await?
                .expect(200)?;
            let rows = rows.as_array().into_iter().flatten().rev();
            let ids = rows.filter(|row| row["sender"] == "alice" && row["type"] == "text");
            let ids: Vec<&str> = ids.filter_map(|row| row["client_msg_id"].as_str()).collect();
            anyhow::Ok((ids == all).then_some(()))
        };
        eventually("carol has everything", LIMIT, async || has_all(&carol).await).await?;
        circle.proxy("bob")?.start().await?;
        let bob = circle.agents(["bob"])?;
        eventually("bob has everything", LIMIT, async || has_all(&bob[0]).await).await
    });
}

#[test]
fn content_that_is_sent_over_and_over_is_refused_by_the_own_proxy() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut alice = world.new_proxy(&relay, "alice").await?;
        alice.arguments(["--duplicates", "3"]);
        alice.init().await?;
        alice.start().await?;
        let reader = world.proxy(&relay, "bob").await?;
        let (agent, bob) = (alice.agent()?, reader.agent()?);
        agent.until_ready().await?;
        let text = unique("the same again, and again, and again, and again, and again")?;
        for number in 0..3 {
            agent.send_text("bob", &format!("same-{number}"), &text).await?;
            // The other end counts, too.
            assert_eq!(bob.receive().await?.security.repeats, number);
        }
        let refused = agent.try_text("bob", "same-3", &text).await?;
        refused.refused(429, "RATE_LIMITED")?;
        ensure!(refused.header("retry-after").is_some(), "no Retry-After");
        let other = unique("something else that is long enough to be counted, if it came again")?;
        agent.send_text("bob", "other", &other).await?;
        assert_eq!(bob.receive().await?.security.repeats, 0);
        Ok(())
    });
}

/// Attack 34, with keys of its own: who tries handles is slowed down, and another agent is not.
#[test]
fn agent_that_tries_handles_waits_and_costs_nobody_else_anything() {
    scenario(async |world| {
        let relay = relay(world, &[("lookup_misses_per_minute", 30)]).await?;
        let mallory = Stranger::registered(relay.http(), "mallory", world.canaries()).await?;
        let alice = Stranger::registered(relay.http(), "alice", world.canaries()).await?;
        let look = async |agent: &Stranger, handle: &str| {
            let path = format!("/v1/agents/{handle}/bundle");
            agent.ask(agent.request("GET", path)).await
        };
        let mut refused = None;
        for number in 0..40 {
            let answer = look(&mallory, &format!("guess-{number}")).await?;
            if answer.status != 404 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.context("40 guesses passed")?;
        refused.problem(ProblemType::RateLimited)?;
        // Whoever is there is not told apart from who is not.
        look(&mallory, "alice").await?.problem(ProblemType::RateLimited)?;
        look(&alice, "mallory").await?.expect_status(200)?;
        look(&alice, "nobody").await?.problem(ProblemType::NotFound)?;
        let wait: u64 = refused.header("retry-after").context("no Retry-After")?.parse()?;
        ensure!((1..=2).contains(&wait), "Retry-After: {wait}");
        tokio::time::sleep(Duration::from_secs(wait)).await;
        look(&mallory, "alice").await?.expect_status(200)
    });
}

/// Whoever is in as many groups as it may be in leaves one to come into another.
#[test]
fn agent_is_in_so_many_groups() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.limit("groups", 1);
        relay.start().await?;
        let circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let found = async |agent: &Agent, others: &[&str]| {
            let body = json!({ "name": unique("one")?, "member_handles": others });
            agent.post_json("/v1/groups", &body).await
        };
        let own = found(&alice, &[]).await?.expect(201)?;
        let refused = found(&alice, &[]).await?;
        refused.refused(409, "TOO_MANY_GROUPS")?;
        let other = found(&bob, &["alice"]).await?.expect(201)?;
        let id = |answer: &Value| answer["group"]["id"].as_str().map(str::to_owned).context("no id");
        let invitation = alice.until_invited(&id(&other)?).await?;
        let accepted = alice.try_accept(&invitation.id).await?;
        accepted.refused(409, "TOO_MANY_GROUPS")?;
        alice.leave(&id(&own)?).await?;
        alice.try_accept(&invitation.id).await?.expect_status(200)
    });
}

/// What an organisation pays for: larger groups and attachments, from the moment of its tier on.
#[test]
fn tier_sets_members_of_groups_and_attachments() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        for (name, value) in [
            ("group_members", 2),
            ("attachment", 100_000),
            ("blob_bytes", 200_000),
        ] {
            relay.limit(name, value);
        }
        relay.configuration("[tiers.gold]\ngroup_members = 3\nattachment = 300_000\nblob_bytes = 0\n");
        relay.start().await?;
        let circle = world
            .circle_around(relay, ["alice", "bob", "carol", "dave"])
            .await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let found = async |agent: &Agent, others: &[&str]| {
            let body = json!({ "name": unique("tier")?, "member_handles": others });
            agent.post_json("/v1/groups", &body).await
        };
        found(&alice, &["bob"]).await?.expect(201)?;
        let refused = found(&alice, &["bob", "carol"]).await?;
        refused.refused(403, "GROUP_FULL")?;
        let blob = async |agent: &Stranger, first: u8, length: u64| {
            let body = json!({ "blob_id": BlobId::from_bytes([first; 16]), "length": length });
            agent.ask(agent.request("POST", "/v1/blobs").json(&body)).await
        };
        let erin = Stranger::registered(circle.relay.http(), "erin", world.canaries()).await?;
        let problem = blob(&erin, 1, 200_000).await?.problem(ProblemType::TooLarge)?;
        ensure!(problem.limit.context("no limit")?.name == "attachment");
        blob(&erin, 2, 90_000).await?.expect_status(201)?;
        blob(&erin, 3, 90_000).await?.expect_status(201)?;
        let problem = blob(&erin, 4, 90_000).await?.problem(ProblemType::Forbidden)?;
        ensure!(problem.limit.context("no limit")?.name == "blob_bytes");

        admin(&circle.relay, ["org", "acme", "--tier", "gold"]).await?;
        for handle in ["alice", "erin"] {
            admin(&circle.relay, ["move", handle, "acme"]).await?;
        }
        eventually("the relay has noticed", LIMIT, async || {
            Ok((blob(&erin, 1, 200_000).await?.status == 201).then_some(()))
        })
        .await?;
        blob(&erin, 4, 90_000).await?.expect_status(201)?;
        eventually("alice may have a larger group", LIMIT, async || {
            let answer = found(&alice, &["bob", "carol"]).await?;
            Ok((answer.status == 201).then_some(()))
        })
        .await?;
        found(&alice, &["bob", "carol", "dave"])
            .await?
            .refused(403, "GROUP_FULL")?;
        // Others stay where they were.
        found(&bob, &["alice", "carol"])
            .await?
            .refused(403, "GROUP_FULL")?;
        Ok(())
    });
}
