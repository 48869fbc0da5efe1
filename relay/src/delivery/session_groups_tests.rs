//! Groups on the socket: whoever joins or leaves while it is open, and what is served first
//! (docs/relay-api.md, The socket).

use waxwire_shared::{
    api::{
        frames::{ClientFrame, Cursor, Queue},
        problem::ProblemType,
    },
    wire::JoinPolicy,
};

use crate::testing::{
    Got, TestAgent, TestRelay, TestSocket, envelope,
    groups::{LEAVE, TestGroup, invite, remove},
};

async fn three(relay: &TestRelay) -> (TestAgent, TestAgent, TestAgent) {
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    (alice, bob, relay.register("carol").await)
}

const fn at(queue: Queue, position: u64) -> Cursor {
    Cursor { queue, position }
}

/// A socket that has everything that it resumes to.
async fn caught_up(relay: &TestRelay, agent: &TestAgent, queues: usize) -> TestSocket {
    let mut socket = TestSocket::resume(relay, &agent.key, Vec::new()).await;
    let mut heads = 0;
    while heads < queues {
        match socket.next().await {
            Got::Head(_) => heads += 1,
            Got::Deliver { cursor, .. } => socket.ack(cursor.queue, cursor.position).await,
            other => panic!("unexpected {other:?}"),
        }
    }
    socket
}

/// The next frames up to a number of deliveries; heads are passed over.
async fn deliveries(socket: &mut TestSocket, count: usize) -> Vec<Cursor> {
    let mut cursors = Vec::new();
    while cursors.len() < count {
        match socket.next().await {
            Got::Deliver { cursor, .. } => cursors.push(cursor),
            Got::Head(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    cursors
}

/// Nothing comes but heads.
async fn no_more(socket: &mut TestSocket) -> bool {
    loop {
        match socket.next_soon().await {
            None => return true,
            Some(Got::Head(_)) => {}
            Some(_) => return false,
        }
    }
}

#[tokio::test]
async fn members_get_commits_and_messages_live_and_in_order() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob, &carol]).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    let mut sockets = Vec::new();
    for agent in [&alice, &bob, &carol] {
        sockets.push(caught_up(&relay, agent, 4).await);
    }
    group.say(&relay, &bob, 1).await;
    let rekey = group.append(&relay, &alice, Vec::new(), true).await;
    group.say(&relay, &carol, 2).await;
    for socket in &mut sockets {
        let (cursor, object) = socket.next_delivery().await;
        assert_eq!(cursor, at(messages, 1));
        assert!(object.ends_with(b"ciphertext"));
        assert_eq!(
            socket.next_delivery().await,
            (at(log, 6), rekey.commit.bytes().to_vec())
        );
        assert_eq!(socket.next_delivery().await.0, at(messages, 2));
        assert!(socket.is_silent().await);
    }
    let metrics = relay.relay.delivery.metrics.render();
    assert!(!metrics.contains("waxwire_relay_group_deliveries_total 0\n"));
}

#[tokio::test]
async fn backlog_of_a_group_comes_after_its_log_and_beside_the_mail() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    for mid in 1..=3 {
        group.say(&relay, &alice, mid).await;
        relay.send(&carol.key, &envelope(bob.id, mid, b"x")).await;
    }
    group.append(&relay, &alice, Vec::new(), true).await;
    let mut socket = TestSocket::resume(&relay, &bob.key, Vec::new()).await;
    let got = deliveries(&mut socket, 8).await;
    // Its own joining and the rekey, then mail, then messages.
    let expected = [
        (log, 3),
        (log, 4),
        (Queue::Mail, 1),
        (Queue::Mail, 2),
        (Queue::Mail, 3),
    ];
    assert_eq!(got[..5], expected.map(|(queue, position)| at(queue, position)));
    assert_eq!(got[5..], [1, 2, 3].map(|position| at(messages, position)));
    assert!(no_more(&mut socket).await);
}

#[tokio::test]
async fn long_backlog_of_mail_does_not_keep_commits_waiting() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    // More than a socket takes without acks.
    let mut sender = TestSocket::open(&relay, &carol.key).await;
    for number in 0..600_u32 {
        let mut bytes = envelope(bob.id, 0, b"xxxx");
        let end = bytes.len() - 4;
        bytes[end - 4..end].copy_from_slice(&number.to_be_bytes());
        sender.send(number, &bytes).await;
        sender.next().await;
    }
    let mut socket = TestSocket::resume(&relay, &bob.key, Vec::new()).await;
    assert_eq!(deliveries(&mut socket, 1).await, [at(Queue::Log(group.id), 3)]);
    while deliveries(&mut socket, 1).await != [at(Queue::Mail, 256)] {}
    group.append(&relay, &alice, Vec::new(), true).await;
    assert_eq!(deliveries(&mut socket, 1).await, [at(Queue::Log(group.id), 4)]);
}

#[tokio::test]
async fn who_joins_on_an_open_socket_is_served_from_there() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut group = TestGroup::create(&relay, &alice).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    let mut sockets = [
        TestSocket::open(&relay, &bob.key).await,
        TestSocket::open(&relay, &bob.key).await,
    ];
    group.say(&relay, &alice, 1).await;
    group.invite(&relay, &alice, &bob).await;
    for socket in &mut sockets {
        assert!(socket.is_silent().await, "an invite is no membership");
    }
    let accept = vec![group.accept(&bob)];
    let accept = group.append(&relay, &bob, accept, true).await;
    group.say(&relay, &alice, 2).await;
    group.say(&relay, &bob, 3).await;
    for socket in &mut sockets {
        assert_eq!(
            socket.next_delivery().await,
            (at(log, 3), accept.commit.bytes().to_vec())
        );
        assert_eq!(deliveries(socket, 2).await, [at(messages, 2), at(messages, 3)]);
        assert!(no_more(socket).await);
        socket.ack(messages, 3).await;
        socket.ack(log, 3).await;
    }
    let acked = async || {
        let answer: serde_json::Value = relay.get("/v1/queues", Some(&bob.key)).await.json();
        (
            answer["queues"][2]["acked"].as_u64(),
            answer["queues"][3]["acked"].as_u64(),
        )
    };
    while acked().await != (Some(3), Some(3)) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_is_removed_gets_the_commit_that_says_so_and_nothing_more() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob, &carol]).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    let mut socket = caught_up(&relay, &bob, 4).await;
    group.say(&relay, &alice, 1).await;
    let removal = group.append(&relay, &alice, vec![remove(&bob)], true).await;
    for mid in 2..=4 {
        group.say(&relay, &carol, mid).await;
    }
    group.append(&relay, &carol, Vec::new(), true).await;
    assert_eq!(socket.next_delivery().await.0, at(messages, 1));
    assert_eq!(
        socket.next_delivery().await,
        (at(log, 6), removal.commit.bytes().to_vec())
    );
    assert!(no_more(&mut socket).await);
    // What it sends now finds no group, over the socket too.
    socket.send(1, &group.envelope(&bob, 9)).await;
    let Got::Refused { problem, .. } = socket.next().await else {
        panic!("not refused");
    };
    assert_eq!(problem.problem_type(), Some(ProblemType::NotFound));
    // Acks beyond its end are taken for its end, and with them the group is done with.
    socket.ack(messages, 99).await;
    socket.ack(log, 99).await;
    let queues = async || {
        let answer: serde_json::Value = relay.get("/v1/queues", Some(&bob.key)).await.json();
        answer["queues"].as_array().unwrap().len()
    };
    while queues().await != 2 {
        tokio::task::yield_now().await;
    }
    let mut again = TestSocket::open(&relay, &bob.key).await;
    assert!(again.is_silent().await);
}

#[tokio::test]
async fn who_was_away_when_removed_gets_the_rest_up_to_its_end() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob, &carol]).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    drop(caught_up(&relay, &bob, 4).await);
    group.say(&relay, &alice, 1).await;
    group.append(&relay, &alice, vec![remove(&bob)], true).await;
    group.say(&relay, &alice, 2).await;
    group.append(&relay, &alice, Vec::new(), true).await;
    let cursors = vec![at(log, 5), at(messages, 0)];
    let mut socket = TestSocket::resume(&relay, &bob.key, cursors.clone()).await;
    assert_eq!(deliveries(&mut socket, 2).await, [at(log, 6), at(messages, 1)]);
    assert!(no_more(&mut socket).await);
    socket.ack(log, 6).await;
    socket.ack(messages, 1).await;
    // A cursor that the proxy names wins over what it acknowledged.
    let mut socket = TestSocket::resume(&relay, &bob.key, cursors).await;
    assert_eq!(deliveries(&mut socket, 2).await, [at(log, 6), at(messages, 1)]);
    assert!(no_more(&mut socket).await);
}

#[tokio::test]
async fn who_comes_back_is_served_the_log_without_a_gap_and_no_message_of_between() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    let mut socket = caught_up(&relay, &bob, 4).await;
    group.append(&relay, &bob, vec![LEAVE], false).await;
    group.append(&relay, &alice, Vec::new(), true).await;
    group.say(&relay, &alice, 1).await;
    group.append(&relay, &alice, vec![invite(&bob)], false).await;
    assert_eq!(deliveries(&mut socket, 1).await, [at(log, 4)]);
    assert!(no_more(&mut socket).await);
    let accept = vec![group.accept(&bob)];
    group.append(&relay, &bob, accept, true).await;
    group.say(&relay, &alice, 2).await;
    let mut got = deliveries(&mut socket, 4).await;
    got.sort_by_key(|cursor| (cursor.queue == messages, cursor.position));
    assert_eq!(got, [at(log, 5), at(log, 6), at(log, 7), at(messages, 2)]);
    assert!(no_more(&mut socket).await);
}

#[tokio::test]
async fn socket_serves_many_groups_and_takes_acks_of_each() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut groups = Vec::new();
    for founder in [&alice, &carol] {
        for join in [JoinPolicy::Invite, JoinPolicy::Open] {
            let mut group = TestGroup::create_with(&relay, founder, join, vec![invite(&bob)]).await;
            let accept = vec![group.accept(&bob)];
            group.append(&relay, &bob, accept, true).await;
            groups.push(group);
        }
    }
    let mut socket = caught_up(&relay, &bob, 10).await;
    for (mid, group) in (1..).zip(&groups) {
        group.say(&relay, &bob, mid).await;
    }
    for group in &groups {
        assert_eq!(socket.next_delivery().await.0, at(Queue::Group(group.id), 1));
    }
    let acks = groups.iter().map(|group| at(Queue::Group(group.id), 1)).collect();
    socket.write(&ClientFrame::Ack(acks)).await;
    let acked = async || {
        let answer: serde_json::Value = relay.get("/v1/queues", Some(&bob.key)).await.json();
        let queues = answer["queues"].as_array().unwrap().clone();
        queues
            .iter()
            .filter(|queue| queue["head"] == 1 && queue["acked"] == 1)
            .count()
    };
    while acked().await != 4 {
        tokio::task::yield_now().await;
    }
}

/// Members that come and go while others write: each gets exactly the messages of its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_get_exactly_the_messages_of_their_time() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&carol]).await;
    let messages = Queue::Group(group.id);
    let mut socket = TestSocket::open(&relay, &bob.key).await;
    let mut expected = Vec::new();
    let (mut mid, mut position) = (0, 0);
    for round in 0..6 {
        for inside in [false, true] {
            if inside {
                group.add(&relay, &alice, &bob).await;
            }
            for _ in 0..5 {
                mid += 1;
                position += 1;
                group
                    .say(&relay, if mid % 2 == 0 { &alice } else { &carol }, mid)
                    .await;
                if inside {
                    expected.push(position);
                }
            }
        }
        group.append(&relay, &alice, vec![remove(&bob)], true).await;
        if round == 2 {
            socket = TestSocket::resume(&relay, &bob.key, vec![at(messages, 0)]).await;
        }
    }
    let mut got = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < expected.len() {
        match socket.next().await {
            Got::Deliver { cursor, .. } if cursor.queue == messages => {
                got.push(cursor.position);
                seen.insert(cursor.position);
            }
            Got::Deliver { .. } | Got::Head(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(got, expected);
    // What is left is of the log.
    assert!(no_more_of(&mut socket, messages).await);
}

/// The same while the reader's sockets come and go at any moment of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_miss_nothing_while_memberships_and_sockets_come_and_go() {
    let relay = std::sync::Arc::new(TestRelay::start().await);
    let (alice, bob, _) = three(&relay).await;
    let mut group = TestGroup::create(&relay, &alice).await;
    let messages = Queue::Group(group.id);
    let key = bob.key.clone();
    let writer = tokio::spawn({
        let relay = std::sync::Arc::clone(&relay);
        async move {
            let (mut position, mut expected) = (0, Vec::new());
            for _ in 0..12 {
                for inside in [false, true] {
                    if inside {
                        group.add(&relay, &alice, &bob).await;
                    }
                    for _ in 0..8 {
                        position += 1;
                        group.say(&relay, &alice, position).await;
                        if inside {
                            expected.push(u64::from(position));
                        }
                    }
                }
                group.append(&relay, &alice, vec![remove(&bob)], true).await;
            }
            expected
        }
    });
    let (mut got, mut frames) = (Vec::new(), 0);
    let mut last = 0;
    // Each socket is read for some frames, fewer or more, then dropped.
    for round in 0.. {
        let ended = writer.is_finished();
        let mut socket = TestSocket::resume(&relay, &key, vec![at(messages, last)]).await;
        for _ in 0..round % 7 + 1 {
            let Some(frame) = socket.next_soon().await else {
                break;
            };
            frames += 1;
            if let Got::Deliver { cursor, .. } = frame
                && cursor.queue == messages
            {
                got.push(cursor.position);
                last = cursor.position;
            }
        }
        if ended && no_more_of(&mut socket, messages).await {
            break;
        }
    }
    assert_eq!(got, writer.await.unwrap());
    assert!(frames > got.len());
}

/// Nothing more of a queue comes.
async fn no_more_of(socket: &mut TestSocket, queue: Queue) -> bool {
    while let Some(got) = socket.next_soon().await {
        if matches!(got, Got::Deliver { cursor, .. } if cursor.queue == queue) {
            return false;
        }
    }
    true
}
