//! Two relay nodes on one database and one Redis (docs/operations/nodes.md).

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Cursor, Queue},
        problem::ProblemType,
    },
    wire::Lane,
};

use super::{
    Ask, Bucket, Manner, Nodes,
    testing::{Server, Two, until},
};
use crate::{
    config::Limits,
    limits::{Meter, Rate, SendLimits},
    metrics::Metrics,
    store::{test_agent, test_org},
    testing::{
        Got, NOW, Setup, TestAgent, TestRelay, TestSocket, UNLIMITED, envelope, envelope_in,
        groups::{TestGroup, remove},
    },
};

/// Between polls, and what comes on top on a busy machine.
const POLLED: Duration = Duration::from_secs(3);

const fn mail(position: u64) -> Cursor {
    Cursor {
        queue: Queue::Mail,
        position,
    }
}

async fn pair(two: &Two) -> (TestAgent, TestAgent) {
    let [one, other] = &two.nodes;
    (one.register("alice").await, other.register("bob").await)
}

/// Waits until a node hears of an agent, or of all of its queues.
async fn until_heard(two: &Two, queues: usize) {
    let mut connection = two.redis.connect().await;
    until(async || {
        let mut call = redis::cmd("PUBSUB");
        call.arg("CHANNELS").arg("*:queue:*");
        let channels: Vec<String> = call.query_async(&mut connection).await.unwrap();
        channels.len() == queues
    })
    .await;
}

/// The next frame other than heads.
async fn next(socket: &mut TestSocket) -> Got {
    loop {
        match socket.next().await {
            Got::Head(_) => {}
            got => return got,
        }
    }
}

async fn stored(relay: &TestRelay, from: &TestAgent, envelope: &[u8]) {
    let answer = relay.send(&from.key, envelope).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelope_stored_at_one_node_comes_to_a_socket_at_the_other() {
    let two = Two::start().await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    let mut socket = TestSocket::open(other, &bob.key).await;
    until_heard(&two, 2).await;
    for mid in 1..=3 {
        let sent = envelope(bob.id, mid, b"across");
        stored(one, &alice, &sent).await;
        assert_eq!(socket.next_delivery().await, (mail(mid.into()), sent));
    }
    // From both sides in turn, in the order of the positions.
    for mid in 4..=20 {
        let node = &two.nodes[usize::from(mid) % 2];
        stored(node, &alice, &envelope(bob.id, mid, b"x")).await;
    }
    for position in 4..=20 {
        match next(&mut socket).await {
            Got::Deliver { cursor, .. } => assert_eq!(cursor, mail(position)),
            got => panic!("unexpected {got:?}"),
        }
    }
    let polled = other.relay.delivery.metrics.hints_polled.get();
    let received = other.relay.delivery.metrics.hints_received.get();
    assert!(received >= 3, "{received} heard, {polled} polled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_poll_at_one_node_is_woken_by_the_other() {
    let two = Two::start().await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    let poll = async {
        other
            .get("/v1/queues/mail/envelopes?wait=20", Some(&bob.key))
            .await
    };
    let send = async {
        until_heard(&two, 1).await;
        stored(one, &alice, &envelope(bob.id, 1, b"x")).await;
        Instant::now()
    };
    let (answer, sent) = tokio::join!(poll, send);
    assert!(sent.elapsed() < POLLED && !answer.body.is_empty());
}

/// The joiner's socket is at one node, everything else happens at the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_and_departure_at_one_node_count_for_sockets_at_the_other() {
    let two = Two::start().await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    let mut socket = TestSocket::open(other, &bob.key).await;
    until_heard(&two, 2).await;
    let mut group = TestGroup::create(one, &alice).await;
    group.add(one, &alice, &bob).await;
    group.say(one, &alice, 1).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    let at = |queue, position| Cursor { queue, position };
    let mut deliveries = Vec::new();
    while deliveries.len() < 2 {
        if let Got::Deliver { cursor, .. } = next(&mut socket).await {
            deliveries.push(cursor);
        }
    }
    assert_eq!(deliveries, [at(log, 3), at(messages, 1)]);
    group.append(one, &alice, vec![remove(&bob)], true).await;
    group.say(one, &alice, 2).await;
    assert!(matches!(next(&mut socket).await, Got::Deliver { cursor, .. } if cursor == at(log, 4)));
    group.say(other, &alice, 3).await;
    assert!(
        !matches!(socket.next_soon().await, Some(Got::Deliver { .. })),
        "bob has left"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transients_and_leases_reach_sockets_at_the_other_node() {
    let two = Two::start().await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    let mut from = TestSocket::open(one, &alice.key).await;
    let mut to = TestSocket::open(other, &bob.key).await;
    until_heard(&two, 4).await;
    let typing = envelope_in(bob.id, Lane::Control, 1, b"typing");
    from.write(&ClientFrame::Transient(&typing)).await;
    assert_eq!(next(&mut to).await, Got::Transient(typing));
    let lease = bob.lease(1, 1, NOW);
    let body = Some(("application/octet-stream", lease.clone()));
    let put = one
        .call(Method::PUT, "/v1/agents/me/lease", Some(&bob.key), body)
        .await;
    assert_eq!(put.status, StatusCode::OK);
    assert_eq!(next(&mut to).await, Got::Lease(lease));
}

/// What comes out of Redis is checked like what comes from an agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_in_redis_reach_nobody() {
    let two = Two::start().await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    let mut socket = TestSocket::open(other, &bob.key).await;
    until_heard(&two, 2).await;
    let nodes = other.relay.delivery.nodes.as_ref().unwrap();
    let names = nodes.names.get().unwrap();
    let topics = other.relay.delivery.hub.topics();
    let mut redis = two.redis.connect().await;
    let for_alice = envelope_in(alice.id, Lane::Control, 1, b"x");
    for topic in topics {
        for word in [
            super::Word::Head(u64::MAX),
            super::Word::Members,
            super::Word::Transient(for_alice.clone().into()),
            super::Word::Transient(b"no envelope".as_slice().into()),
            super::Word::Lease(alice.lease(1, 1, NOW).into()),
            super::Word::Lease(b"no lease".as_slice().into()),
            super::Word::Contact(test_agent(-1)),
            super::Word::Look,
        ] {
            let word = word.encode(super::NodeId(77));
            let mut call = redis::cmd("PUBLISH");
            call.arg(names.channel(topic)).arg(word);
            let heard: u64 = call.query_async(&mut redis).await.unwrap();
            assert_eq!(heard, 1);
        }
    }
    assert!(socket.is_silent().await);
    let sent = envelope(bob.id, 1, b"true");
    stored(one, &alice, &sent).await;
    assert_eq!(socket.next_delivery().await, (mail(1), sent));
}

async fn shown(relay: &TestRelay, agent: &TestAgent) -> TestSocket {
    let mut socket = TestSocket::open(relay, &agent.key).await;
    socket.write(&ClientFrame::Presence { shown: true }).await;
    socket
}

async fn next_seen(socket: &mut TestSocket) -> (String, bool) {
    loop {
        if let Got::Seen(seen) = socket.next().await {
            return (seen.handle.to_string(), seen.online);
        }
    }
}

async fn presence(relay: &TestRelay, by: &TestAgent, handle: &str) -> serde_json::Value {
    let body = json!({ "handles": [handle] });
    let answer = relay.post_json("/v1/presence", Some(&by.key), &body).await;
    answer.json::<serde_json::Value>()["presences"][0].clone()
}

async fn is_online(relay: &TestRelay, by: &TestAgent, handle: &str) -> bool {
    presence(relay, by, handle).await["online"] == true
}

async fn hold(relay: &TestRelay, agent: &TestAgent, contact: &str) {
    let path = format!("/v1/contacts/{contact}");
    let answer = relay.call(Method::PUT, &path, Some(&agent.key), None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contacts_at_the_other_node_are_seen_to_come_and_go() {
    let two = Two::start().await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    hold(other, &bob, "alice").await;
    let mut watching = TestSocket::open(other, &bob.key).await;
    until_heard(&two, 2).await;
    let first = shown(one, &alice).await;
    assert_eq!(next_seen(&mut watching).await, ("alice".to_owned(), true));
    assert!(is_online(other, &bob, "alice").await && is_online(one, &bob, "alice").await);
    // A socket that is new is told, too.
    let mut greeted = TestSocket::resume(other, &bob.key, Vec::new()).await;
    assert_eq!(next_seen(&mut greeted).await, ("alice".to_owned(), true));
    // Who moves to another node was never away.
    let second = shown(other, &alice).await;
    until(async || other.relay.delivery.presence.own().len() == 1).await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_online(one, &bob, "alice").await);
    drop(second);
    assert_eq!(next_seen(&mut watching).await, ("alice".to_owned(), false));
    let gone = presence(one, &bob, "alice").await;
    assert_eq!(
        (gone["online"] == true, gone["last_seen"].as_u64()),
        (false, Some(NOW - NOW % 60_000))
    );
}

/// Whatever becomes of its node, an agent is taken for online no longer than its mark lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_of_a_node_that_is_gone_go_with_it() {
    let two = Two::start().await;
    let (alice, bob) = pair(&two).await;
    let [one, other] = &two.nodes;
    hold(other, &bob, "alice").await;
    let mut watching = TestSocket::open(other, &bob.key).await;
    until_heard(&two, 2).await;
    let _socket = shown(one, &alice).await;
    assert_eq!(next_seen(&mut watching).await, ("alice".to_owned(), true));
    // It ends, and says nothing: the agent's socket is what it would have told of.
    one.begin_stop();
    assert_eq!(next_seen(&mut watching).await, ("alice".to_owned(), false));
    assert!(!is_online(other, &bob, "alice").await);
}

/// A node that serves nobody.
/// Others ask the database when somebody was last there once they take them for gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_stops_hides_its_agents_when_it_has_written_that_they_were_there() {
    let two = Two::start().await;
    let (alice, bob) = pair(&two).await;
    let [one, other] = &two.nodes;
    let _socket = shown(one, &alice).await;
    until(async || is_online(other, &bob, "alice").await).await;
    one.advance(60_000);
    let mut holder = PgConnection::connect(&two.database.url_text()).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    held.execute("SELECT 1 FROM agent FOR UPDATE").await.unwrap();
    let delivery = Arc::clone(&one.relay.delivery);
    let ending = tokio::spawn(async move { delivery.end_presence().await });
    until(async || two.database.waits().await).await;
    assert!(is_online(other, &bob, "alice").await);
    held.rollback().await.unwrap();
    ending.await.unwrap();
    let gone = presence(other, &bob, "alice").await;
    assert_eq!(
        (gone["online"] == true, gone["last_seen"].as_u64()),
        (false, Some(NOW - NOW % 60_000 + 60_000))
    );
}

async fn node(server: &Server, me: u64) -> Arc<Nodes> {
    let url = server.url.parse().unwrap();
    let node = Nodes::new(&url, me, Duration::from_secs(30), Metrics::default().into()).unwrap();
    node.set_relay(&waxwire_shared::ids::RelayId::from_bytes([1; 32]));
    node.turn_up(server.connect().await);
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_that_is_not_written_costs_no_token() {
    let server = Server::start();
    let limits = limited(2).sends;
    let (agent, org) = (test_agent(1), test_org(1));
    let mut meter = Meter::new(Some(node(&server, 1).await));
    let mut passed = 0;
    for round in 0..10 {
        meter.provide([(agent, org, Lane::Mail, limits)], NOW).await;
        if meter.check(agent, org, Lane::Mail, &limits, NOW).is_ok() {
            meter.count(agent, org, Lane::Mail, &limits, NOW);
            if round < 5 {
                meter.undo();
            } else {
                passed += 1;
            }
        }
    }
    assert_eq!(passed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_give_out_no_more_than_was_in_them_whoever_takes() {
    let server = Server::start();
    let mut nodes = Vec::new();
    for me in 0..4 {
        nodes.push(node(&server, me).await);
    }
    let ask = |number, want| Ask {
        bucket: Bucket::Mail(test_agent(number)),
        rate: Rate::per_day(100),
        want,
    };
    let mut takers = Vec::new();
    for node in nodes.iter().cycle().take(40) {
        let node = Arc::clone(node);
        takers.push(tokio::spawn(async move {
            let mut taken = 0;
            for _ in 0..10 {
                taken += node.take(Manner::Each, &[ask(1, 3)]).await.unwrap()[0].taken;
            }
            taken
        }));
    }
    let mut taken = 0;
    for taker in takers {
        taken += taker.await.unwrap();
    }
    assert_eq!(taken, 100);
    let take = async |manner, asks: &[Ask]| nodes[0].take(manner, asks).await.unwrap();
    let spent = take(Manner::Each, &[ask(1, 1)]).await[0];
    assert_eq!((spent.taken, spent.left), (0, 0));
    assert!(spent.retry_after_ms > 800_000, "{spent:?}");
    // Everything or nothing; what is given back is there again, and no more than fits.
    let both = take(Manner::All, &[ask(2, 1), ask(1, 1)]).await;
    assert_eq!((both[0].taken, both[0].left, both[1].taken), (0, 100, 0));
    assert_eq!(take(Manner::Each, &[ask(1, -2)]).await[0].left, 2);
    assert_eq!(take(Manner::Each, &[ask(2, -50)]).await[0].left, 100);
    let forced = take(Manner::Force, &[ask(1, 5)]).await[0];
    assert_eq!((forced.taken, forced.left), (5, 0));
}

fn limited(sends_per_minute: u64) -> Setup {
    Setup {
        sends: SendLimits {
            sends_per_minute,
            ..UNLIMITED
        },
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_of_sends_is_one_over_nodes_and_repeats_cost_nothing() {
    let two = Two::start_with(|| limited(10)).await;
    let (alice, bob) = pair(&two).await;
    let mut passed = Vec::new();
    for mid in 1..=30_u8 {
        let node = &two.nodes[usize::from(mid) % 2];
        let answer = node.send(&alice.key, &envelope(bob.id, mid, b"x")).await;
        if answer.status == StatusCode::CREATED {
            passed.push(mid);
        } else {
            answer.assert_problem(ProblemType::RateLimited);
        }
        for mid in &passed {
            // Answered before every limit, at whichever node.
            let again = node.send(&alice.key, &envelope(bob.id, *mid, b"x")).await;
            assert_eq!(again.status, StatusCode::OK);
        }
    }
    assert!((10..=13).contains(&passed.len()), "{passed:?}");
}

/// Who is refused for another reason gets its tokens back with the next step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_send_costs_no_token() {
    let two = Two::start_with(|| limited(5)).await;
    let (alice, bob) = pair(&two).await;
    let nobody = waxwire_shared::ids::AgentId::from_bytes([9; 16]);
    for mid in 1..=20 {
        let refused = two.nodes[0].send(&alice.key, &envelope(nobody, mid, b"x")).await;
        refused.assert_problem(ProblemType::NotFound);
    }
    for mid in 21..=25 {
        stored(&two.nodes[0], &alice, &envelope(bob.id, mid, b"x")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_of_requests_are_one_over_nodes() {
    let two = Two::start_with(|| Setup {
        limits: Limits {
            directory_per_day: 6,
            ..Setup::default().limits
        },
        ..Setup::default()
    })
    .await;
    let (alice, _) = pair(&two).await;
    let mut passed = 0;
    for round in 0..20 {
        let answer = two.nodes[round % 2]
            .get("/v1/directory?q=al", Some(&alice.key))
            .await;
        passed += usize::from(answer.status == StatusCode::OK);
    }
    assert_eq!(passed, 6);
}

/// Slower and stricter, never lossy: deliveries, joinings and limits without Redis, and afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_goes_on_while_redis_is_lost_and_heals() {
    let two = Two::start_with(|| limited(8)).await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    let mut socket = TestSocket::open(other, &bob.key).await;
    until_heard(&two, 2).await;
    for mid in 1..=4 {
        stored(one, &alice, &envelope(bob.id, mid, b"x")).await;
        assert_eq!(next_delivery(&mut socket).await, mail(mid.into()));
    }
    two.redis.kill();
    let at = Instant::now();
    // Half of what is left: the other node may give out the other half.
    stored(one, &alice, &envelope(bob.id, 5, b"x")).await;
    assert_eq!(next_delivery(&mut socket).await, mail(5));
    assert!(at.elapsed() < POLLED, "{:?}", at.elapsed());
    two.until_up(false).await;
    let ready = one.get("/readyz", None).await;
    let problem = ready.assert_problem(ProblemType::Unavailable);
    assert!(problem.detail.unwrap().contains("redis"));
    let mut passed = 0;
    for mid in 6..=20 {
        let answer = one.send(&alice.key, &envelope(bob.id, mid, b"x")).await;
        passed += u64::from(answer.status == StatusCode::CREATED);
    }
    assert!(passed <= 2, "{passed} sends of a limit that was nearly used up");
    let mut group = TestGroup::create(one, &alice).await;
    group.add(one, &alice, &bob).await;
    let joined = Cursor {
        queue: Queue::Log(group.id),
        position: 3,
    };
    let mut position = 5;
    loop {
        match next_delivery(&mut socket).await {
            cursor if cursor == joined => break,
            cursor => {
                position += 1;
                assert_eq!(cursor, mail(position));
            }
        }
    }
    two.redis.revive();
    two.until_up(true).await;
    until(async || one.get("/readyz", None).await.status == StatusCode::OK).await;
    until_heard(&two, 4).await;
    let received = other.relay.delivery.metrics.hints_received.get();
    stored(one, &alice, &envelope(bob.id, 30, b"x")).await;
    assert!(matches!(
        next_delivery(&mut socket).await,
        Cursor {
            queue: Queue::Mail,
            ..
        }
    ));
    until(async || other.relay.delivery.metrics.hints_received.get() > received).await;
}

/// Words that were just being said when it was lost may have gone nowhere, and nothing shows which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_told_to_look_after_every_loss() {
    let two = Two::start().await;
    two.redis.kill();
    two.until_up(false).await;
    for node in &two.nodes {
        let nodes = node.relay.delivery.nodes.as_ref().unwrap();
        let names = nodes.names.get().unwrap();
        until(async || !nodes.outbox.take(nodes, names).is_empty()).await;
    }
}

async fn next_delivery(socket: &mut TestSocket) -> Cursor {
    match next(socket).await {
        Got::Deliver { cursor, .. } => cursor,
        got => panic!("unexpected {got:?}"),
    }
}

/// Without Redis from the start: everything but what needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_starts_without_redis() {
    let two = Two::start().await;
    two.redis.kill();
    two.until_up(false).await;
    let [one, other] = &two.nodes;
    let (alice, bob) = pair(&two).await;
    let mut socket = TestSocket::open(other, &bob.key).await;
    stored(one, &alice, &envelope(bob.id, 1, b"x")).await;
    assert_eq!(next_delivery(&mut socket).await, mail(1));
}

#[tokio::test]
async fn fault_tells_neither_password_nor_what_the_server_says() {
    let server = Server::start();
    let url = server.url.replace("redis://", "redis://:hunter2@");
    let client = redis::Client::open(url).unwrap();
    let error = client.get_multiplexed_async_connection().await.err().unwrap();
    let fault = super::link::Fault::from(error);
    assert_eq!(fault.to_string(), "authentication failed");
}
