//! P6: one message to a group, until the last of its members has it.

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::{sync::mpsc, task::spawn_local};
use waxwire_shared::{
    api::frames::{ClientFrame, Cursor, Queue, RelayFrame},
    hash::sha256,
    ids::{GroupId, Mid},
    suite::Suite,
    wire::{Change, Document as _, Envelope, GroupHeader, Role},
};
use waxwire_tests::{Http, Insider, canary::Canaries, insider::Log, program::Address};

use crate::{
    clock,
    figure::Figure,
    http_client::Connection,
    process::Server,
    programs::{self, Sidecar},
    report::Goal,
    run::Bench,
    sends,
    socket::Socket,
    stats,
    target::{Receiver as _, Sender as _, Target as _, Transport, relay, yardstick::Yardstick},
};

/// P6.
const TIME: Goal = Goal::RatioAtMost(1.5);
/// Messages; the median counts.
const TIMES: usize = 20;
/// Changes in one commit.
const CHANGES: usize = 64;
/// Bytes of ciphertext of a short message.
const CIPHERTEXT: usize = 1024 + 16;

/// Milliseconds from the send to the last of 1,000 members, every one with a socket of its own.
///
/// # Errors
/// A program does not come up, or somebody does not get a message.
pub(crate) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let members = 1_000;
    let yardstick = yardstick(bench, members).await?;
    let relay = of_relay(bench, members).await?;
    let what = format!("a message to all {members} members of a group");
    let figure = Figure::new(what, relay, "ms").beside(yardstick);
    Ok(vec![figure.wants("P6", TIME)])
}

async fn yardstick(bench: &Bench, members: usize) -> anyhow::Result<f64> {
    let target: Yardstick = sends::start(bench).await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    for _ in 0..members {
        let (mut receiver, arrived) = (target.receiver(0).await?, arrived.clone());
        spawn_local(async move {
            loop {
                receiver.next().await?;
                if arrived.send(()).is_err() {
                    return anyhow::Ok(());
                }
                receiver.ack().await?;
            }
        });
    }
    let mut sender = target.sender(1, Transport::Http).await?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begin = clock::now();
        sender.send(0, 0).await?;
        all(&mut arrivals, members).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    stats::median(times).context("no time")
}

async fn all(arrivals: &mut mpsc::UnboundedReceiver<()>, members: usize) -> anyhow::Result<()> {
    for _ in 0..members {
        arrivals.recv().await.context("a member's socket ended")?;
    }
    Ok(())
}

async fn of_relay(bench: &Bench, members: usize) -> anyhow::Result<f64> {
    let folder = bench.folder()?;
    let server = programs::relay(&folder, &programs::sqlite(&folder))?;
    let (log, insiders) = group(&folder, &server, members).await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    for insider in &insiders {
        let authorization = format!("Bearer {}", insider.stranger.api_key());
        let socket = relay::link(&server, &authorization, Vec::new()).await?;
        spawn_local(serve(socket, Queue::Group(log.group), arrived.clone()));
    }
    let sender = insiders.first().context("nobody")?;
    let mut connection = Connection::open(server.address).await?;
    let headers = format!(
        "authorization: Bearer {}\r\ncontent-type: application/octet-stream\r\n",
        sender.stranger.api_key()
    );
    let mut times = Vec::new();
    for i in 0..TIMES {
        let envelope = envelope(&log, sender, i as u64)?;
        let begin = clock::now();
        let answer = connection.post("/v1/envelopes", &headers, &envelope).await?;
        ensure!(answer.status == 201, "{}", String::from_utf8_lossy(&answer.body));
        all(&mut arrivals, insiders.len()).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    stats::median(times).context("no time")
}

/// Reports every message of the group and acknowledges it.
async fn serve(mut socket: Socket, queue: Queue, arrived: mpsc::UnboundedSender<()>) -> anyhow::Result<()> {
    loop {
        let frame = socket.next().await?;
        let RelayFrame::Deliver(delivery) = RelayFrame::decode(&frame)? else {
            continue;
        };
        if delivery.cursor.queue == queue && arrived.send(()).is_err() {
            return Ok(());
        }
        let Cursor { queue, position } = delivery.cursor;
        let ack = ClientFrame::Ack(vec![Cursor { queue, position }]);
        socket.send(ack.encode()).await?;
    }
}

fn envelope(log: &Log, sender: &Insider, i: u64) -> anyhow::Result<Vec<u8>> {
    let header = GroupHeader {
        suite: Suite::CLASSIC,
        mid: Mid::from_slice(&sha256(&i.to_be_bytes()).as_bytes()[..16])?,
        group: log.group,
        epoch: log.rekey().epoch,
        roster_head: log.roster.head(),
        sender: sender.stranger.id(),
        i,
    };
    let envelope = Envelope {
        header: &header.encode(),
        // The relay has no key to see that nobody sealed it.
        ciphertext: &[0x5a; CIPHERTEXT],
    };
    Ok(envelope.to_bytes())
}

/// A group that a crypto proxy has founded, and its members in this process.
async fn group(
    folder: &std::path::Path,
    server: &Server,
    members: usize,
) -> anyhow::Result<(Log, Vec<Insider>)> {
    let alice = Sidecar::start(folder, server, "alice")?;
    let http = Http::new(Some(Address::Tcp(server.address)));
    let canaries = Canaries::default();
    let mut insiders = Vec::with_capacity(members);
    for number in 0..members {
        insiders.push(Insider::registered(&http, &format!("member-{number}"), &canaries).await?);
    }
    let first = insiders.first().context("nobody")?;
    let mut agent = Connection::open(alice.server.address).await?;
    let headers = format!(
        "authorization: {}\r\ncontent-type: application/json\r\n",
        alice.authorization
    );
    let found = json!({"name": "large", "members": ["member-0"]});
    let founded = agent
        .post("/v1/groups", &headers, found.to_string().as_bytes())
        .await?;
    ensure!(
        founded.status == 201,
        "{}",
        String::from_utf8_lossy(&founded.body)
    );
    let database = rusqlite::Connection::open(folder.join("relay.db"))?;
    let group: [u8; 32] = database.query_row("SELECT group_id FROM grp", [], |row| row.get(0))?;
    let mut log = first.read_log(GroupId::from_bytes(group)).await?;
    accept(&mut log, first).await?;
    let founded: serde_json::Value = serde_json::from_slice(&founded.body)?;
    let id = founded["group"]["id"].as_str().context("the group's id")?;
    let promote = format!("/v1/groups/{id}/members/member-0/promote");
    for _ in 0..100 {
        if agent.post(&promote, &headers, b"").await?.status == 200 {
            break;
        }
        // The proxy has not seen the acceptance yet.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    first.follow(&mut log).await?;
    for others in insiders.get(1..).unwrap_or_default().chunks(CHANGES) {
        let invites: Vec<Change> = others.iter().map(invite).collect::<anyhow::Result<_>>()?;
        first.append(&mut log, &invites).await?;
        for other in others {
            accept(&mut log, other).await?;
        }
    }
    Ok((log, insiders))
}

fn invite(other: &Insider) -> anyhow::Result<Change> {
    Ok(Change::Invite {
        identity: other.stranger.identity(),
        handle: other.stranger.handle.parse()?,
        role: Role::Member,
    })
}

async fn accept(log: &mut Log, member: &Insider) -> anyhow::Result<()> {
    let accept = Change::Accept {
        invite: member.invite(log)?,
    };
    member.append(log, &[accept]).await
}
