//! What strangers may at the relay, while a group is open and afterwards: with agents that have no crypto
//! proxy, for the policy of a group that stands is changed by none.

use anyhow::{Context as _, ensure};
use waxwire_shared::{
    api::{problem::ProblemType, rest::ChannelAnswer},
    wire::{Change, JoinPolicy, Policy, Role},
};
use waxwire_tests::{
    Agent, Answer, Insider, World,
    circle::{Circle, all_talk},
    eventually, scenario, unique,
};

use super::{ENTERED, entered, named, no_alerts};

async fn insider(world: &World, circle: &Circle, handle: &str) -> anyhow::Result<Insider> {
    Insider::registered(circle.relay.http(), handle, world.canaries()).await
}

async fn show(insider: &Insider, slug: &str) -> anyhow::Result<Answer> {
    let path = format!("/v1/channels/{slug}");
    insider.stranger.ask(insider.stranger.request("GET", path)).await
}

async fn read(insider: &Insider, path: String) -> anyhow::Result<Answer> {
    insider.stranger.ask(insider.stranger.request("GET", path)).await
}

fn policy(join: JoinPolicy) -> Change {
    Change::Policy {
        policy: Policy {
            join,
            invite_role: Role::Admin,
            slug: "plaza".parse().ok(),
        },
    }
}

/// Waits until an agent knows what the policy is.
async fn until_join(agent: &Agent, join: &str) -> anyhow::Result<()> {
    let what = format!("{} knows that the channel is {join}", agent.handle());
    eventually(&what, ENTERED, async || {
        let page = agent.channels("joined=true").await?;
        Ok(page
            .channels
            .iter()
            .any(|channel| channel.join == join)
            .then_some(()))
    })
    .await
}

#[test]
fn channel_that_is_closed_and_opened_again() {
    scenario(async |world| {
        let circle = world.unlimited_circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let name = unique("the plaza")?;
        let id = alice.create_channel("plaza", &name, "open").await?.id;
        let (mallory, stranger) = (
            insider(world, &circle, "mallory").await?,
            insider(world, &circle, "stranger").await?,
        );

        // A stranger reads the log, and nothing else.
        let shown: ChannelAnswer = show(&stranger, "plaza").await?.ok()?;
        let group = shown.group_id;
        ensure!(shown.open && shown.members == 1);
        let mut log = stranger.read_log(group).await?;
        assert_eq!(log.roster.members().len(), 1);
        for path in [
            format!("/v1/queues/group-{group}/envelopes"),
            format!("/v1/groups/{group}/epochs/1/leaves/0"),
        ] {
            read(&stranger, path).await?.problem(ProblemType::NotFound)?;
        }
        let refused = stranger.append(&mut log, &[]).await;
        ensure!(refused.is_err(), "a stranger has appended something");

        // One that joins by hand is told the name, and reads.
        let join = Change::Join {
            handle: "mallory".parse()?,
        };
        let mut log = mallory.read_log(group).await?;
        mallory.append_with_rekey(&mut log, &[join], &|_| ()).await?;
        alice.until_members(&id, &["alice", "mallory"]).await?;
        let epoch = mallory.adopt(&log).await?;
        let text = unique("to whom it may concern")?;
        alice.send_to_channel("plaza", &unique("id")?, &text).await?;
        let contents = mallory.read(&log, &epoch).await?;
        ensure!(
            contents.iter().any(|content| content.contains(&text)),
            "{contents:?}"
        );

        // Its policy turns, and all of that ends.
        let promote = format!("/v1/groups/{id}/members/mallory/promote");
        alice.post(&promote).await?.expect(200)?;
        mallory.follow(&mut log).await?;
        mallory.append(&mut log, &[policy(JoinPolicy::Invite)]).await?;
        until_join(&alice, "invite").await?;
        ensure!(alice.group_security(&id).await?.confidential_from_relay);
        show(&stranger, "plaza").await?.problem(ProblemType::NotFound)?;
        let path = format!("/v1/queues/log-{group}/envelopes");
        read(&stranger, path).await?.problem(ProblemType::NotFound)?;
        ensure!(bob.channels("").await?.channels.is_empty());
        bob.try_join_channel("plaza")
            .await?
            .refused(404, "CHANNEL_NOT_FOUND")?;
        let taken = bob.try_create_channel("plaza", &name, "open").await?;
        taken.refused(409, "SLUG_TAKEN")?;
        alice.invite(&id, "bob").await?;
        bob.until_invited(&id).await?;
        entered(&bob, "plaza").await?;
        all_talk(&[&alice, &bob], &id, "behind closed doors").await?;

        // And begins again.
        mallory.follow(&mut log).await?;
        mallory.append(&mut log, &[policy(JoinPolicy::Open)]).await?;
        until_join(&bob, "open").await?;
        ensure!(!bob.group_security(&id).await?.confidential_from_relay);
        entered(&carol, "plaza").await?;
        named(&carol, "plaza", &name).await?;
        all_talk(&[&alice, &bob, &carol], &id, "in the open").await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// Whoever must stay out is removed in a commit that closes the channel.
#[test]
fn removed_agent_stays_out_of_a_channel_that_is_closed_with_it() {
    scenario(async |world| {
        let circle = world.unlimited_circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let id = alice.create_channel("plaza", &unique("plaza")?, "open").await?.id;
        entered(&bob, "plaza").await?;
        let mallory = insider(world, &circle, "mallory").await?;
        let shown: ChannelAnswer = show(&mallory, "plaza").await?.ok()?;
        let mut log = mallory.read_log(shown.group_id).await?;
        let join = Change::Join {
            handle: "mallory".parse()?,
        };
        mallory.append_with_rekey(&mut log, &[join], &|_| ()).await?;
        let promote = format!("/v1/groups/{id}/members/mallory/promote");
        alice.until_members(&id, &["alice", "bob", "mallory"]).await?;
        alice.post(&promote).await?.expect(200)?;
        mallory.follow(&mut log).await?;
        let members = log.roster.members();
        let member = members.iter().find(|member| member.handle.as_str() == "bob");
        let remove = Change::Remove {
            identity: member.context("bob is no member")?.identity.clone(),
            cut_off: None,
        };
        let closing = [remove, policy(JoinPolicy::Invite)];
        mallory.append_with_rekey(&mut log, &closing, &|_| ()).await?;
        alice.until_members(&id, &["alice", "mallory"]).await?;
        let out = eventually("bob is out", ENTERED, async || {
            let answer = bob.try_join_channel("plaza").await?;
            Ok((answer.status != 200).then_some(answer))
        });
        out.await?.refused(404, "CHANNEL_NOT_FOUND")?;
        no_alerts(&[&alice, &bob]).await
    });
}
