//! Rules about several stores on one database, each of which writes at any time.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use waxwire_shared::ids::{BlobId, SessionId};

use super::{
    groups::{Log, joined},
    transparency::{head, leaf},
    *,
};
use crate::{
    limits::SendLimits,
    store::{
        AppendOutcome, BlobOutcome, Block, BundleOutcome, Duty, Effect, LeaseOutcome, NewBlob, NewLease,
        NewSuccession, OrgOutcome, RelateOutcome, Relation, SuccessionOutcome,
    },
};

/// A kind of database that several stores may serve.
pub(in crate::store) trait Shared: Backend {
    /// Ends every session that stores have with it.
    fn cut(&self);
}

fn id_of(outcome: &SendOutcome) -> u64 {
    match outcome {
        SendOutcome::Stored { envelope_id, .. } | SendOutcome::Repeated { envelope_id, .. } => *envelope_id,
        other => panic!("{other:?}"),
    }
}

/// Sends until the outcome is known, as a crypto proxy does.
async fn deliver(store: &Store, envelope: &NewEnvelope) -> u64 {
    loop {
        match store.send(envelope.clone()).await {
            Ok(outcome) => return id_of(&outcome),
            Err(WriteError::Unavailable) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(WriteError::Failed) => panic!("a send failed"),
        }
    }
}

/// Two agents at each store send to one recipient, and a reader follows.
async fn crowd<B: Shared>(world: &World<B>, other: &Store, each: u64, trouble: impl Future<Output = ()>) {
    let to = world.agent(1).await;
    let mut tasks = Vec::new();
    for number in 2..6 {
        let from = world.agent(number).await;
        let store = if number % 2 == 0 { &world.store } else { other }.clone();
        tasks.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for mid in 0..each {
                ids.push(deliver(&store, &mail(&from, &to, mid)).await);
            }
            ids
        }));
    }
    let read = async {
        let mut last = 0;
        while last < 4 * each {
            let range = Range { after: last, ..ALL };
            let page = other.read(View::Whole(to.mail), range).await;
            for envelope in page.ok().flatten().into_iter().flat_map(|page| page.envelopes) {
                assert_eq!(envelope.position, last + 1);
                last = envelope.position;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(read, trouble);
    let answered: Vec<u64> = join_all(tasks)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    let stored: HashSet<u64> = world
        .read(to.mail, ALL)
        .await
        .iter()
        .map(|envelope| envelope.envelope_id)
        .collect();
    assert_eq!(stored.len() as u64, 4 * each, "an id was made twice");
    assert_eq!(answered.into_iter().collect::<HashSet<_>>(), stored);
}

pub(crate) async fn positions_and_ids_are_unique_whichever_store_sends<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    crowd(&world, &other, 1_000, async {}).await;
}

pub(crate) async fn store_whose_sessions_end_makes_no_id_twice<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let cuts = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            world.backend.cut();
        }
    };
    crowd(&world, &other, 400, cuts).await;
}

pub(crate) async fn send_at_two_stores_is_stored_once<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let (from, to) = (world.agent(1).await, world.agent(2).await);
    let send = |store: &Store, mid| {
        let (store, envelope) = (store.clone(), mail(&from, &to, mid));
        async move { store.send(envelope).await.unwrap() }
    };
    let twice = (0..200).map(|mid| {
        let (one, two) = (send(&world.store, mid), send(&other, mid));
        async move { tokio::join!(one, two) }
    });
    for (one, two) in join_all(twice).await {
        assert_eq!(id_of(&one), id_of(&two));
        let is_stored = |outcome: &SendOutcome| matches!(outcome, SendOutcome::Stored { .. });
        assert!(is_stored(&one) != is_stored(&two), "{one:?} {two:?}");
    }
    assert_eq!(world.head(to.mail).await.head, 200);
}

pub(crate) async fn racing_commits_at_two_stores_have_one_winner<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    let mut log = Log::create(&world, 7, &a).await;
    log.append(&world, log.commit(0, joined(&[&b]))).await;
    for round in 0..20 {
        let commits = [log.commit(1, Effect::default()), log.rekey(Effect::default())];
        let [one, two] = commits.clone();
        // A message of this epoch comes before its end or is refused.
        let message = log.message(&b, 1 + round, 100 + round);
        let (first, second, said) =
            tokio::join!(world.store.append(one), other.append(two), other.send(message));
        let won =
            [first.unwrap(), second.unwrap()].map(|outcome| matches!(outcome, AppendOutcome::Appended(_)));
        assert!(won[0] != won[1], "{won:?}");
        assert!(
            matches!(
                said,
                Ok(SendOutcome::Stored { .. } | SendOutcome::EpochClosed { .. })
            ),
            "{said:?}"
        );
        let winner = commits.into_iter().zip(won).find(|(_, won)| *won).unwrap().0;
        let is_rekey = winner.rekey.is_some();
        log.follow(&winner);
        if !is_rekey {
            log.append(&world, log.rekey(Effect::default())).await;
        }
    }
    assert_eq!(log.commits(&world, &b).await.unwrap().len() as u64, log.length());
}

pub(crate) async fn block_counts_at_the_other_store_at_once<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    for mid in 0..20 {
        let (first, second) = if mid % 2 == 0 {
            (&world.store, &other)
        } else {
            (&other, &world.store)
        };
        id_of(&second.send(mail(&b, &a, 100 + mid)).await.unwrap());
        let block = Relation::Block(Block::Told);
        assert_eq!(
            first.relate(a.agent, handle(2), block, 0).await,
            Ok(RelateOutcome::Done)
        );
        assert_eq!(second.send(mail(&b, &a, mid)).await, Ok(SendOutcome::Blocked));
        first.remove_block(a.agent, handle(2)).await.unwrap();
        id_of(&second.send(mail(&b, &a, mid)).await.unwrap());
    }
}

pub(crate) async fn tier_counts_at_the_other_store_at_once<B: Shared>() {
    let mut tiers = unlimited();
    let small = TierLimits {
        sends: SendLimits {
            backlog: 1,
            ..UNLIMITED
        },
        ..TierLimits::default()
    };
    tiers.named.insert("small".to_owned(), small);
    let (world, other) = World::<B>::several(tiers).await;
    let (a, b) = (world.agent(1).await, world.agent(2).await);
    for mid in 0..2 {
        id_of(&other.send(mail(&a, &b, mid)).await.unwrap());
    }
    let org = || "acme".to_owned();
    assert_eq!(
        world.store.put_org(org(), "small".to_owned()).await,
        Ok(OrgOutcome::Created)
    );
    assert_eq!(world.store.move_agent(handle(2), org()).await, Ok(Some(true)));
    let refused = other.send(mail(&a, &b, 2)).await;
    assert!(
        matches!(refused, Ok(SendOutcome::Backlogged { .. })),
        "{refused:?}"
    );
    assert_eq!(
        world.store.put_org(org(), "default".to_owned()).await,
        Ok(OrgOutcome::Changed)
    );
    id_of(&other.send(mail(&a, &b, 2)).await.unwrap());
}

/// Whoever changes its key has read all that came for the old one.
pub(crate) async fn nothing_is_stored_behind_a_planned_change_at_the_other_store<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let from = world.agent(200).await;
    for number in (1..60).step_by(2) {
        let old = world.agent(number).await;
        other.send(mail(&from, &old, number.into())).await.unwrap();
        world.store.ack(vec![(View::Whole(old.mail), 1)]).await.unwrap();
        let new = Registration {
            handle: handle(number),
            ..registration(number + 1)
        };
        let succession = NewSuccession {
            old: old.id,
            recovery: None,
            bytes: vec![number],
        };
        let send = async {
            tokio::time::sleep(Duration::from_micros(u64::from(number) * 50)).await;
            other
                .send(mail(&from, &old, 1_000 + u64::from(number)))
                .await
                .unwrap()
        };
        let (succeeded, sent) = tokio::join!(world.store.succeed(new, succession), send);
        match (succeeded.unwrap(), &sent) {
            (SuccessionOutcome::Done { .. }, SendOutcome::Succeeded)
            | (SuccessionOutcome::NotDrained, SendOutcome::Stored { .. }) => {}
            outcomes => panic!("{outcomes:?}"),
        }
    }
}

pub(crate) async fn what_is_unique_stays_so_over_stores<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let secrets = [1, 2].map(|byte| zeroize::Zeroizing::new([byte; 32]));
    let [one, two] = secrets;
    let (one, two) = tokio::join!(world.store.relay_secret(one), other.relay_secret(two));
    assert_eq!(one.unwrap().secret, two.unwrap().secret);
    let logs = [1, 2].map(|byte| Hash::from_bytes([byte; 32]));
    let (one, two) = tokio::join!(
        world.store.transparency_log(logs[0]),
        other.transparency_log(logs[1])
    );
    assert_eq!(one, two);
    for number in 1..20 {
        let code = Hash::from_bytes([number; 32]);
        world.store.add_invite(code, NOW + 1_000).await.unwrap();
        let invited = |registration| Registration {
            admission: Admission::Invite(Some(code)),
            ..registration
        };
        // The same challenge; another identity for the same handle; another handle with the same invite.
        let rivals = [
            registration(number),
            Registration {
                handle: handle(number),
                ..registration(number + 50)
            },
            registration(number + 100),
        ];
        let [one, two, three] = rivals.map(invited);
        let again = one.clone();
        let outcomes = tokio::join!(
            world.store.register(one),
            other.register(two),
            other.register(three),
            other.register(again)
        );
        let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3].map(Result::unwrap);
        let created = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, RegisterOutcome::Created(_)));
        assert_eq!(created.count(), 1, "{outcomes:?}");
        let repeated = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, RegisterOutcome::Repeated(_)));
        assert_eq!(repeated.count(), 0, "a challenge was used twice: {outcomes:?}");
    }
}

pub(crate) async fn quotas_hold_over_stores<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let a = world.agent(1).await;
    for number in 2..32 {
        world.agent(number).await;
    }
    let relations = (2..32).map(|number| {
        let store = if number % 2 == 0 { &world.store } else { &other };
        store.relate(a.agent, handle(number), Relation::Contact, 10)
    });
    let outcomes = join_all(relations).await;
    let done = outcomes
        .iter()
        .filter(|outcome| **outcome == Ok(RelateOutcome::Done));
    assert_eq!(done.count(), 10, "{outcomes:?}");
    let blobs = (0..30).map(|number| {
        let store = if number % 2 == 0 { &world.store } else { &other };
        store.begin_blob(NewBlob {
            id: BlobId::from_bytes([number; 16]),
            owner: a.agent,
            length: 1,
            max_bytes: 0,
            max_unfinished: 10,
        })
    });
    let outcomes = join_all(blobs).await;
    let begun = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(BlobOutcome::Begun(_))));
    assert_eq!(begun.count(), 10, "{outcomes:?}");
}

pub(crate) async fn newest_of_leases_and_bundles_at_two_stores_is_kept<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let a = world.agent(1).await;
    let lease = |time: u64| NewLease {
        incarnation: 1,
        session: SessionId::from_bytes([1; 16]),
        time,
        bytes: time.to_be_bytes().to_vec(),
    };
    for time in (1..60).step_by(2) {
        let (old, new) = tokio::join!(
            world.store.put_lease(a.id, lease(time)),
            other.put_lease(a.id, lease(time + 1))
        );
        assert!(matches!(new, Ok(LeaseOutcome::Stored(_))), "{new:?}");
        assert!(
            matches!(old, Ok(LeaseOutcome::Stored(_) | LeaseOutcome::Stale { .. })),
            "{old:?}"
        );
        assert_eq!(
            world.store.lease(a.agent).await.unwrap(),
            Some(lease(time + 1).bytes)
        );
    }
    world
        .store
        .transparency_log(Hash::from_bytes([1; 32]))
        .await
        .unwrap();
    for first in (1..200).step_by(10) {
        let published = (first..first + 10).map(|number| {
            let store = if number % 2 == 0 { &world.store } else { &other };
            store.put_bundle(a.agent, bundle(NOW + number, b"other"))
        });
        let published = join_all(published).await;
        let is_fine = |outcome| matches!(outcome, Ok(BundleOutcome::Stored | BundleOutcome::Stale));
        assert!(published.into_iter().all(is_fine));
    }
    let due = other.due_bundles(1_000).await.unwrap();
    assert!(due.is_sorted_by_key(|due| due.number), "the log would go back");
}

pub(crate) async fn log_does_not_fork_between_two_sequencers<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    world
        .store
        .transparency_log(Hash::from_bytes([1; 32]))
        .await
        .unwrap();
    for round in 0..10 {
        for number in 0..5 {
            world.agent(1 + round * 5 + number).await;
        }
        let size = u64::from(round + 1) * 5;
        let (one, two) = tokio::join!(world.store.due_bundles(100), other.due_bundles(100));
        let leaves = |due: Vec<_>| due.iter().map(leaf).collect::<Vec<_>>();
        let appended = tokio::join!(
            world.store.append_leaves(leaves(one.unwrap())),
            other.append_leaves(leaves(two.unwrap()))
        );
        assert_eq!(appended, (Ok(size), Ok(size)));
        let heads = tokio::join!(world.store.put_head(head(size, 1)), other.put_head(head(size, 2)));
        assert_eq!(heads, (Ok(()), Ok(())));
        assert_eq!(
            world.store.head_of(size).await.unwrap(),
            other.head_of(size).await.unwrap()
        );
    }
    let leaves = world.store.log_leaves(0, u64::MAX).await.unwrap();
    let tags: HashSet<_> = leaves.iter().map(|leaf| leaf.handle_tag).collect();
    assert_eq!((leaves.len(), tags.len()), (50, 50));
}

/// Whatever is written at two stores at the same time stands in each other's way at most for a while.
pub(crate) async fn acts_and_sends_of_two_stores_do_not_fail_each_other<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    let agents = [world.agent(1).await, world.agent(2).await, world.agent(3).await];
    let mut logs = Vec::new();
    for number in 50..53 {
        let mut log = Log::create(&world, number, &agents[0]).await;
        log.append(&world, log.commit(0, joined(&[&agents[1], &agents[2]])))
            .await;
        logs.push(log);
    }
    let work = async |store: &Store, lane: u64| {
        for round in 0..60 {
            let turn = (round + lane) as usize;
            let (a, b) = (&agents[turn % 3], &agents[(turn + 1) % 3]);
            let log = &logs[turn % 3];
            let (mid, peer) = (lane * 1_000 + round, (turn + 1) % 3 + 1);
            store.send(mail(a, b, mid)).await.unwrap();
            store.send(log.message(a, 1, mid + 500_000)).await.unwrap();
            match round % 6 {
                0 => drop(store.append(log.rekey(Effect::default())).await.unwrap()),
                1 => {
                    let block = Relation::Block(Block::Told);
                    store.relate(a.agent, handle(peer as u8), block, 0).await.unwrap();
                }
                2 => store.remove_block(a.agent, handle(peer as u8)).await.unwrap(),
                3 => drop(
                    store
                        .put_bundle(a.agent, bundle(NOW + mid, b"other"))
                        .await
                        .unwrap(),
                ),
                4 => {
                    let views = logs.iter().map(|log| (log.record.messages_for(a.agent), round));
                    let own = agents.iter().map(|agent| (View::Whole(agent.mail), round));
                    store.ack(views.chain(own).collect()).await.unwrap();
                }
                _ => {
                    let seen = agents.iter().map(|agent| (agent.agent, NOW + mid)).collect();
                    store.put_last_seen(seen).await.unwrap();
                }
            }
        }
    };
    tokio::join!(
        work(&world.store, 1),
        work(&other, 2),
        work(&world.store, 3),
        work(&other, 4)
    );
}

pub(crate) async fn duty_is_of_one_store_and_passes_on<B: Shared>() {
    let (world, other) = World::<B>::several(unlimited()).await;
    for _ in 0..3 {
        assert_eq!(world.store.has_duty(Duty::Log).await, Ok(true));
        assert_eq!(other.has_duty(Duty::Log).await, Ok(false));
    }
    assert_eq!(other.has_duty(Duty::Retention).await, Ok(true));
    world.store.close().await;
    // The database notices by and by.
    while other.has_duty(Duty::Log).await != Ok(true) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
