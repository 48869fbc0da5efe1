//! A group of many members around real programs: a relay, two crypto proxies, and members in this process
//! that verify, adopt and read as a proxy does, each for itself (docs/protocol.md, 6.5).
//!
//! `WAXWIRE_MEMBERS` says how many; else there are 1,000 in `make soak` and 200 otherwise. The figures go to the
//! output of the test.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;
use waxwire_shared::wire::{Change, Role};
use waxwire_tests::{Agent, Insider, World, eventually, insider::Log, scenario_within, unique};

/// Members that do something at the same time.
const AT_ONCE: usize = 16;
/// Changes in one commit.
const CHANGES: usize = 64;

fn size() -> anyhow::Result<usize> {
    match std::env::var("WAXWIRE_MEMBERS") {
        Ok(text) => text.parse().context("WAXWIRE_MEMBERS"),
        Err(_) if std::env::var_os("WAXWIRE_SOAK").is_some() => Ok(1_000),
        Err(_) => Ok(200),
    }
}

/// What one rekey took.
#[derive(Debug)]
struct Taken {
    members: usize,
    /// From the request to the rekeyer's proxy to its answer.
    committed: Duration,
    /// All members in this process, leaf to chains.
    adopted: Duration,
}

/// The group's key is replaced; every member adopts it and reads what is written under it.
async fn rekey(
    [alice, bob]: [&Agent; 2],
    group: &str,
    members: &[Insider],
    log: &mut Log,
) -> anyhow::Result<Taken> {
    let begin = Instant::now();
    let number = alice.rekey(group).await?;
    let committed = begin.elapsed();
    members.first().context("nobody")?.follow(log).await?;
    let text = unique("to all of you")?;
    let begin = Instant::now();
    let shared: &Log = log;
    let epochs: Vec<_> = stream::iter(members)
        .map(|member| member.adopt(shared))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let adopted = begin.elapsed();
    alice.send_to_group(group, &unique("id")?, &text).await?;
    stream::iter(members.iter().zip(&epochs))
        .map(|(member, epoch)| async {
            ensure!(
                epoch.number == number,
                "{} has another epoch",
                member.stranger.handle
            );
            let contents = member.read(shared, epoch).await?;
            let read = contents.iter().any(|content| content.contains(&text));
            ensure!(read, "{} does not read it", member.stranger.handle);
            Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    bob.until_text(group, &text).await?;
    Ok(Taken {
        members: log.roster.members().len(),
        committed,
        adopted,
    })
}

/// Agents of this process, registered with keys of their own.
async fn register(
    world: &World,
    http: &waxwire_tests::Http,
    from: usize,
    to: usize,
) -> anyhow::Result<Vec<Insider>> {
    stream::iter(from..to)
        .map(|number| async move {
            Insider::registered(http, &format!("member-{number}"), world.canaries()).await
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// The first of them invites the others, who accept one after the other, without a rekey.
async fn join(log: &mut Log, admin: &Insider, others: &[Insider]) -> anyhow::Result<()> {
    for others in others.chunks(CHANGES) {
        let invites: Vec<Change> = others
            .iter()
            .map(|other| {
                Ok(Change::Invite {
                    identity: other.stranger.identity(),
                    handle: other.stranger.handle.parse()?,
                    role: Role::Member,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        admin.append(log, &invites).await?;
        for other in others {
            let accept = Change::Accept {
                invite: other.invite(log)?,
            };
            other.append(log, &[accept]).await?;
        }
    }
    Ok(())
}

#[test]
fn all_members_of_a_large_group_adopt_one_key() {
    scenario_within(Duration::from_secs(400), async |world| {
        let size = size()?;
        let circle = world.unlimited_circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("large")?, &[&bob]).await?.id;
        let http = circle.relay.http();
        let mut members = register(world, http, 0, 1).await?;
        alice.invite(&group, "member-0").await?;
        let mut log = members[0]
            .read_log(circle.relay.store().only_group().await?)
            .await?;
        let accept = Change::Accept {
            invite: members[0].invite(&log)?,
        };
        members[0].append(&mut log, &[accept]).await?;
        alice.until_members(&group, &["alice", "bob", "member-0"]).await?;
        let path = format!("/v1/groups/{group}/members/member-0/promote");
        alice.post(&path).await?.expect(200)?;
        let mut figures = Vec::new();
        for step in [size / 10, size] {
            let more = register(world, http, members.len(), step.saturating_sub(2)).await?;
            members[0].follow(&mut log).await?;
            join(&mut log, &members[0], &more).await?;
            members.extend(more);
            let expected = members.len() + 2;
            eventually("alice knows all members", Duration::from_secs(60), async || {
                let shown = alice.group(&group).await?;
                Ok((shown.member_count == expected).then_some(()))
            })
            .await?;
            figures.push(rekey([&alice, &bob], &group, &members, &mut log).await?);
        }
        for Taken {
            members,
            committed,
            adopted,
        } in &figures
        {
            eprintln!("{members} members: rekey committed in {committed:?}, adopted by all in {adopted:?}");
        }
        let [small, large] = &figures[..] else {
            anyhow::bail!("two rekeys");
        };
        let cost = |taken: &Taken| taken.committed.as_secs_f64() / taken.members as f64;
        ensure!(
            cost(large) < 3.0 * cost(small).max(0.001),
            "not linear: {figures:?}"
        );
        Ok(())
    });
}
