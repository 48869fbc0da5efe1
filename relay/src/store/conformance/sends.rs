//! Rules about sends, positions, reading and acks (docs/relay-api.md, Queues).

use std::{sync::Mutex, time::Duration};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::*;
use crate::store::{AnswerSink, Reply, SendResult};

pub(crate) async fn positions_have_no_gaps_and_follow_the_commits<B: Backend>() {
    let world = World::<B>::new().await;
    let to = world.agent(1).await;
    let senders = [world.agent(2).await, world.agent(3).await, world.agent(4).await];
    let tasks: Vec<_> = senders
        .iter()
        .flat_map(|from| (0..100).map(move |mid| (*from, mid)))
        .map(|(from, mid)| {
            let store = world.store.clone();
            tokio::spawn(async move { store.send(mail(&from, &to, mid)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), SendOutcome::Stored { .. }));
    }
    let expected: Vec<u64> = (1..=300).collect();
    assert_eq!(world.positions(to.mail).await, expected);
    assert_eq!(world.heard.0.lock().unwrap()[&to.mail], expected);
    assert_eq!(world.head(to.mail).await.head, 300);
}

pub(crate) async fn reader_never_skips_while_others_send<B: Backend>() {
    const EACH: u64 = 150;
    let world = World::<B>::new().await;
    let to = world.agent(1).await;
    let mut tasks = Vec::new();
    for number in 2..6 {
        let from = world.agent(number).await;
        let store = world.store.clone();
        tasks.push(tokio::spawn(async move {
            for mid in 0..EACH {
                store.send(mail(&from, &to, mid)).await.unwrap();
            }
        }));
    }
    let mut last = 0;
    while last < 4 * EACH {
        let page = world
            .store
            .read(View::Whole(to.mail), Range { after: last, ..ALL })
            .await
            .unwrap()
            .unwrap();
        for envelope in &page.envelopes {
            assert_eq!(envelope.position, last + 1);
            last = envelope.position;
        }
        assert!(page.head <= last, "the head was beyond what could be read");
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Answers in the order in which they came.
#[derive(Default)]
struct Answers(Mutex<Vec<(u32, SendResult)>>, tokio::sync::Notify);

impl AnswerSink for Answers {
    fn answer(&self, request: u32, _: Hash, result: SendResult) {
        self.0.lock().unwrap().push((request, result));
        self.1.notify_one();
    }
}

pub(crate) async fn stream_is_stored_in_order_of_submission<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    let answers = Arc::new(Answers::default());
    for request in 0..500 {
        let reply = Reply::Stream {
            sink: Arc::clone(&answers) as Arc<dyn AnswerSink>,
            request,
        };
        world.store.submit(mail(&from, &to, request.into()), reply).await;
    }
    while answers.0.lock().unwrap().len() < 500 {
        answers.1.notified().await;
    }
    let order: Vec<u32> = answers.0.lock().unwrap().iter().map(|answer| answer.0).collect();
    assert_eq!(order, (0..500).collect::<Vec<_>>());
    let bodies: Vec<_> = world
        .read(to.mail, ALL)
        .await
        .into_iter()
        .map(|e| e.bytes)
        .collect();
    let expected: Vec<_> = (0..500).map(|mid| mail(&from, &to, mid).bytes.to_vec()).collect();
    assert_eq!(bodies, expected);
}

pub(crate) async fn repeat_answers_the_first_id_and_hash<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    let first = mail(&from, &to, 1);
    let SendOutcome::Stored { envelope_id, .. } = world.store.send(first.clone()).await.unwrap() else {
        panic!("not stored");
    };
    let mut other = mail(&from, &to, 2);
    other.mid = first.mid;
    let expected = SendOutcome::Repeated {
        envelope_id,
        hash: first.hash,
    };
    assert_eq!(world.store.send(other).await, Ok(expected.clone()));
    assert_eq!(world.store.send(first).await, Ok(expected));
    assert_eq!(world.positions(to.mail).await, [1]);
}

/// Also when the envelope that is held has been deleted since.
pub(crate) async fn repeat_is_found_before_the_recipient_is_looked_up<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    world.send(&from, &to, 1).await;
    let repeated = world.store.send(to_lane(&from, id(99), Lane::Mail, 1)).await;
    assert!(
        matches!(repeated, Ok(SendOutcome::Repeated { .. })),
        "{repeated:?}"
    );
}

pub(crate) async fn repeat_in_one_batch_is_stored_once<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let (reply, answer) = oneshot::channel();
        world.store.submit(mail(&from, &to, 1), Reply::Once(reply)).await;
        waiting.push(answer);
    }
    let mut ids = Vec::new();
    let mut stored = 0;
    for answer in waiting {
        match answer.await.unwrap().unwrap() {
            SendOutcome::Stored { envelope_id, .. } => {
                stored += 1;
                ids.push(envelope_id);
            }
            SendOutcome::Repeated { envelope_id, .. } => ids.push(envelope_id),
            refused => panic!("{refused:?}"),
        }
    }
    assert_eq!(stored, 1);
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(world.positions(to.mail).await, [1]);
}

pub(crate) async fn same_mid_of_two_senders_is_two_envelopes<B: Backend>() {
    let world = World::<B>::new().await;
    let (a, b, to) = (world.agent(1).await, world.agent(2).await, world.agent(3).await);
    for from in [a, b] {
        let outcome = world.send(&from, &to, 1).await;
        assert!(matches!(outcome, SendOutcome::Stored { .. }));
    }
    assert_eq!(world.positions(to.mail).await, [1, 2]);
}

pub(crate) async fn refused_send_leaves_no_trace<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    let unknown = to_lane(&from, id(99), Lane::Mail, 1);
    assert_eq!(world.store.send(unknown).await, Ok(SendOutcome::NotFound));
    let group = NewEnvelope {
        target: Target::Group {
            group: waxwire_shared::ids::GroupId::from_bytes([1; 32]),
            epoch: 1,
        },
        ..mail(&from, &to, 1)
    };
    assert_eq!(world.store.send(group).await, Ok(SendOutcome::NotFound));
    let outcome = world.send(&from, &to, 1).await;
    assert!(matches!(outcome, SendOutcome::Stored { .. }));
    assert_eq!(world.positions(to.mail).await, [1]);
}

pub(crate) async fn lanes_are_queues_of_their_own<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    for (mid, lane) in [Lane::Mail, Lane::Control, Lane::Control].into_iter().enumerate() {
        world
            .store
            .send(to_lane(&from, to.id, lane, mid as u64))
            .await
            .unwrap();
    }
    assert_eq!(world.positions(to.mail).await, [1]);
    assert_eq!(world.positions(to.control).await, [1, 2]);
    assert!(world.positions(from.mail).await.is_empty());
}

pub(crate) async fn ranges_are_exclusive_bounded_and_oldest_first<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    for mid in 0..10 {
        world.send(&from, &to, mid).await;
    }
    let at = async |after, before, limit, max_bytes| {
        let range = Range {
            after,
            before,
            limit,
            max_bytes,
        };
        let page = world
            .store
            .read(View::Whole(to.mail), range)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(page.head, 10);
        let positions: Vec<u64> = page.envelopes.iter().map(|e| e.position).collect();
        (positions, page.more)
    };
    assert_eq!(at(7, None, 100, 1_000).await, (vec![8, 9, 10], false));
    assert_eq!(at(2, Some(5), 100, 1_000).await, (vec![3, 4], false));
    assert_eq!(at(0, None, 2, 1_000).await, (vec![1, 2], true));
    // Each envelope has ten bytes.
    assert_eq!(at(0, None, 100, 25).await, (vec![1, 2], true));
    assert_eq!(at(0, None, 100, 1).await, (vec![1], true));
    assert_eq!(at(10, None, 100, 1_000).await, (vec![], false));
    assert_eq!(at(u64::MAX, None, 100, 1_000).await, (vec![], false));
    assert_eq!(at(4, Some(5), 100, 1_000).await, (vec![], false));
    assert_eq!(at(0, Some(u64::MAX), 3, 1_000).await, (vec![1, 2, 3], true));
}

pub(crate) async fn reads_at_the_same_time_are_each_ones_own<B: Backend>() {
    let world = World::<B>::new().await;
    let from = world.agent(1).await;
    let mut agents = Vec::new();
    for number in 0..20 {
        let to = world.numbered_agent(number).await;
        for mid in 0..=number {
            world.send(&from, &to, 100 * number + mid).await;
        }
        agents.push(to);
    }
    let asked = (0..200_u64).map(|turn| (turn % 20, turn % 7));
    let read = async |(number, after): (u64, u64)| {
        let to = &agents[usize::try_from(number).unwrap()];
        let range = Range {
            after,
            limit: 3,
            ..ALL
        };
        let page = world
            .store
            .read(View::Whole(to.mail), range)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(page.head, number + 1);
        let positions: Vec<u64> = page.envelopes.iter().map(|e| e.position).collect();
        let all: Vec<u64> = (after + 1..=number + 1).take(3).collect();
        assert_eq!(
            (positions, page.more),
            (all.clone(), all.len() == 3),
            "{number} after {after}"
        );
    };
    join_all(asked.map(read)).await;
}

pub(crate) async fn acks_are_cumulative_and_never_beyond_the_head<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    for mid in 0..3 {
        world.send(&from, &to, mid).await;
    }
    for (position, expected) in [(2, 2), (1, 2), (2, 2), (u64::MAX, 3), (0, 3)] {
        world
            .store
            .ack(vec![(View::Whole(to.mail), position)])
            .await
            .unwrap();
        assert_eq!(world.head(to.mail).await.acked, expected);
    }
    assert_eq!(world.head(to.control).await.acked, 0);
    // What comes after an ack beyond the head is not acknowledged by it.
    world.send(&from, &to, 9).await;
    assert_eq!(world.head(to.mail).await.acked, 3);
}

pub(crate) async fn noted_acks_are_written_without_anybody_waiting<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    for mid in 0..3 {
        world.send(&from, &to, mid).await;
    }
    for position in [1, 3, 2] {
        world.store.note_ack(View::Whole(to.mail), position);
    }
    let written = async {
        while world.head(to.mail).await.acked != 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written)
        .await
        .unwrap();
    world.send(&from, &to, 4).await;
    world.store.note_ack(View::Whole(to.mail), 4);
    let world = world.restart().await;
    assert_eq!(world.head(to.mail).await.acked, 4);
}

pub(crate) async fn bad_write_fails_alone<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    let (bad, good) = tokio::join!(B::bad_write(&world.store), async {
        let sends = (0..50).map(|mid| world.store.send(mail(&from, &to, mid)));
        join_all(sends).await
    });
    assert_eq!(bad, Err(WriteError::Failed));
    assert!(
        good.iter()
            .all(|outcome| matches!(outcome, Ok(SendOutcome::Stored { .. })))
    );
    assert_eq!(world.positions(to.mail).await, (1..=50).collect::<Vec<_>>());
    assert!(world.store.is_ready().await);
}

pub(crate) async fn failed_batch_burns_no_position<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    world.send(&from, &to, 1).await;
    B::refuse_envelopes(&world.store, true).await;
    for mid in 2..5 {
        assert_eq!(
            world.store.send(mail(&from, &to, mid)).await,
            Err(WriteError::Failed)
        );
    }
    B::refuse_envelopes(&world.store, false).await;
    for mid in 2..5 {
        let outcome = world.send(&from, &to, mid).await;
        assert!(matches!(outcome, SendOutcome::Stored { .. }));
    }
    assert_eq!(world.positions(to.mail).await, [1, 2, 3, 4]);
    assert_eq!(world.head(to.mail).await.head, 4);
}

pub(crate) async fn what_was_answered_survives_a_crash<B: Backend>() {
    let world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    let mut first = Vec::new();
    for mid in 0..20 {
        first.push(world.send(&from, &to, mid).await);
    }
    world.store.ack(vec![(View::Whole(to.mail), 5)]).await.unwrap();
    let world = world.crash().await;
    assert_eq!(world.positions(to.mail).await, (1..=20).collect::<Vec<_>>());
    assert_eq!(world.head(to.mail).await.acked, 5);
    for (mid, outcome) in first.into_iter().enumerate() {
        let SendOutcome::Stored { envelope_id, .. } = outcome else {
            panic!("not stored");
        };
        let again = world.send(&from, &to, mid as u64).await;
        assert!(matches!(again, SendOutcome::Repeated { envelope_id: id, .. } if id == envelope_id));
    }
    world.send(&from, &to, 20).await;
    assert_eq!(world.head(to.mail).await.head, 21);
}

pub(crate) async fn ids_grow_over_restarts_and_clocks_that_go_back<B: Backend>() {
    let mut world = World::<B>::new().await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    for mid in 0..6 {
        world.send(&from, &to, mid).await;
        if mid % 2 == 0 {
            world.now.fetch_sub(10_000, Ordering::Relaxed);
        }
        world = if mid == 2 {
            world.restart().await
        } else {
            world.crash().await
        };
    }
    let envelopes = world.read(to.mail, ALL).await;
    assert_eq!(envelopes.len(), 6);
    assert!(
        envelopes
            .windows(2)
            .all(|pair| pair[0].envelope_id < pair[1].envelope_id)
    );
}
