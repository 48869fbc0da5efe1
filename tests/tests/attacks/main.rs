//! Attacks by number, as docs/attacks.md lists them: what a hostile relay, malicious members, former
//! members and strangers try against real programs. Each ends in an outcome that is asserted, and then in
//! [`waxwire_tests::Scene::aftermath`]. Attacks that other suites cover are named there only.

mod availability;
mod host;
mod keys;
mod messages;
mod relay;
mod replay;
mod roster;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use waxwire_shared::{
    api::frames::{Cursor, Delivery, Queue, RelayFrame},
    ids::GroupId,
    wire::Change,
};
use waxwire_tests::{
    Agent, Insider, Message, Scene, eventually,
    insider::{Epoch, Log},
    tap::Side,
    unique,
    world::World,
};

/// Envelopes that were refused, whatever the reason.
const REFUSED: &str = "receives_total{outcome=\"refused\"}";
/// Envelopes that had come before.
const REPEATED: &str = "receives_total{outcome=\"repeated\"}";

/// The counter of envelopes that were refused for a reason.
fn refused(reason: &str) -> String {
    format!("receive_refusals_total{{reason=\"{reason}\"}}")
}

/// An agent without a proxy, around the relay of a scene.
async fn insider(world: &World, scene: &Scene<'_>, handle: &str) -> anyhow::Result<Insider> {
    Insider::registered(scene.relay().http(), handle, world.canaries()).await
}

/// Somebody without a proxy who has just become a member, with a rekey of its own making.
async fn member(
    world: &World,
    scene: &Scene<'_>,
    admin: &Agent,
    group: &str,
) -> anyhow::Result<(Insider, Log, Epoch)> {
    let mallory = insider(world, scene, "mallory").await?;
    admin.invite(group, "mallory").await?;
    let mut log = mallory
        .read_log(scene.relay().store().only_group().await?)
        .await?;
    let invite = mallory.invite(&log)?;
    let accept = [Change::Accept { invite }];
    mallory.append_with_rekey(&mut log, &accept, &|_| ()).await?;
    let epoch = mallory.adopt(&log).await?;
    Ok((mallory, log, epoch))
}

/// Shows an agent a commit as the one that stands behind the head of a log, once it knows that head.
async fn show_commit(
    scene: &mut Scene<'_>,
    to: &str,
    (group, log): (&str, &Log),
    commit: &[u8],
) -> anyhow::Result<()> {
    let [agent] = scene.agents([to])?;
    let head = log.roster.position();
    eventually("the head is known", Duration::from_secs(20), async || {
        let security = agent.group_security(group).await?;
        Ok((security.roster_length > head).then_some(()))
    })
    .await?;
    // Commit number p stands at position p + 1.
    show_commit_at(scene, to, log.group, head + 2, commit)
}

fn show_commit_at(
    scene: &mut Scene<'_>,
    to: &str,
    group: GroupId,
    position: u64,
    commit: &[u8],
) -> anyhow::Result<()> {
    let delivery = Delivery {
        cursor: Cursor {
            queue: Queue::Log(group),
            position,
        },
        envelope_id: 1,
        stored_at: 0,
        object: commit,
    };
    let frame = RelayFrame::Deliver(delivery).encode();
    scene.proxy(to)?.tap().inject(Side::Relay, frame);
    Ok(())
}

/// One agent writes to another, who has then both pinned the other's key; gives the envelope.
async fn acquaint(scene: &Scene<'_>, from: &str, to: &str) -> anyhow::Result<Vec<u8>> {
    let [author, reader] = scene.agents([from, to])?;
    let text = unique("hello")?;
    author.send_text(to, &unique("hello")?, &text).await?;
    take_text(&reader, &text).await?;
    let seen = scene.evil(to)?.seen(Queue::Mail);
    seen.last().cloned().context("no envelope")
}

/// Waits for the message with a text, and settles it with all that came before.
async fn take_text(agent: &Agent, text: &str) -> anyhow::Result<Message> {
    let what = format!("{} hears {text}", agent.handle());
    eventually(&what, Duration::from_secs(30), async || {
        let taken = agent.take(0).await?;
        Ok(taken.into_iter().find(|message| message.text() == text))
    })
    .await
}

/// Nobody shows a text.
async fn unheard(agents: &[&Agent], text: &str) -> anyhow::Result<()> {
    for agent in agents {
        let inbox = agent.get("/v1/inbox?limit=100").await?;
        ensure!(inbox.status == 200, "{}", inbox.text());
        ensure!(
            !inbox.text().contains(text),
            "{} shows {text}: {}",
            agent.handle(),
            inbox.text()
        );
    }
    Ok(())
}
