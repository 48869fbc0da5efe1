//! Groups over HTTP: who may append what, who may read what, and what is refused how (docs/relay-api.md,
//! Groups).

use std::{path::Path, sync::Arc};

use http::{Method, StatusCode};
use tempfile::TempDir;
use waxwire_shared::{
    api::{
        append::{APPEND, Append},
        frames::{Queue, RelayFrame},
        problem::ProblemType,
        rest::{AppendAnswer, QueueState, QueuesAnswer},
    },
    hash::sha256,
    ids::{GroupId, Hash},
    roster::verify_leaf,
    wire::{Change, Document as _, JoinPolicy, LeafProof, Role},
};

use crate::testing::{
    Answer, Setup, TestAgent, TestRelay,
    groups::{LEAVE, Ready, TestGroup, invite, remove, sign_first, sign_next, three},
};

/// Positions and objects in a body of frames.
fn frames(answer: &Answer) -> Vec<(u64, Vec<u8>)> {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let mut rest = answer.body.as_ref();
    let mut found = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk() {
        let (frame, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
        let Ok(RelayFrame::Deliver(delivery)) = RelayFrame::decode(frame) else {
            panic!("not a delivery");
        };
        found.push((delivery.cursor.position, delivery.object.to_vec()));
        rest = tail;
    }
    found
}

async fn read(relay: &TestRelay, agent: &TestAgent, queue: Queue) -> Answer {
    let path = format!("/v1/queues/{queue}/envelopes");
    relay.get(&path, Some(&agent.key)).await
}

fn positions(answer: &Answer) -> Vec<u64> {
    frames(answer).into_iter().map(|frame| frame.0).collect()
}

async fn leaf(relay: &TestRelay, agent: &TestAgent, group: &TestGroup, epoch: u64, index: u32) -> Answer {
    let path = format!("/v1/groups/{}/epochs/{epoch}/leaves/{index}", group.id);
    relay.get(&path, Some(&agent.key)).await
}

#[tokio::test]
async fn group_is_made_by_its_first_commit_and_grows_by_the_next() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let first = sign_first(&alice, JoinPolicy::Invite, Vec::new());
    let create = async || relay.post_octets("/v1/groups", &alice.key, &first.body()).await;
    let answer = create().await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let expected = AppendAnswer {
        group_id: GroupId::from_bytes(*first.hash().as_bytes()),
        position: 0,
        hash: first.hash(),
    };
    assert_eq!(answer.json::<AppendAnswer>(), expected);
    let again = create().await;
    assert_eq!(
        (again.status, again.json::<AppendAnswer>()),
        (StatusCode::OK, expected)
    );
    let mut group = TestGroup {
        id: GroupId::from_bytes(*first.hash().as_bytes()),
        roster: waxwire_shared::roster::Roster::create(&first.commit).unwrap(),
    };
    group.add(&relay, &alice, &bob).await;
    let log = read(&relay, &bob, Queue::Log(group.id)).await;
    assert_eq!(log.headers["x-waxwire-head"], "3");
    let log = frames(&log);
    assert_eq!(log[0], (1, first.commit.bytes().to_vec()));
    assert_eq!(sha256(&log[2].1), group.roster.head());
    let metrics = relay.relay.delivery.metrics.render();
    for line in ["{outcome=\"appended\"} 3", "{outcome=\"repeated\"} 1"] {
        assert!(metrics.contains(&format!("waxwire_relay_appends_total{line}\n")));
    }
}

/// docs/protocol.md, 6.9: an append is idempotent by the commit's hash.
#[tokio::test]
async fn repeated_commit_is_found_at_its_place_also_by_who_has_left() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let leave = group.append(&relay, &bob, vec![LEAVE], false).await;
    group.append(&relay, &alice, Vec::new(), true).await;
    let answer = group.post(&relay, &bob, &leave).await;
    assert_eq!(answer.status, StatusCode::OK);
    let expected = AppendAnswer {
        group_id: group.id,
        position: 3,
        hash: leave.hash(),
    };
    assert_eq!(answer.json::<AppendAnswer>(), expected);
    // Nobody else can ask by presenting it.
    group
        .post(&relay, &carol, &leave)
        .await
        .assert_problem(ProblemType::Forbidden);
}

/// docs/protocol.md, 6.9: a commit that does not continue the head is refused.
#[tokio::test]
async fn commit_that_does_not_continue_the_head_conflicts() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let late = sign_next(&group.roster, &bob, Vec::new(), true);
    group.append(&relay, &alice, vec![invite(&carol)], false).await;
    group
        .post(&relay, &bob, &late)
        .await
        .assert_problem(ProblemType::HeadConflict);
    let mut commit = sign_next(&group.roster, &bob, Vec::new(), true)
        .commit
        .into_body();
    commit.previous = Some(Hash::from_bytes([9; 32]));
    let forked = Ready::sign(&bob, &commit, late.leaves.clone());
    let answer = group.post(&relay, &bob, &forked).await;
    answer.assert_problem(ProblemType::HeadConflict);
    commit.position = u64::MAX;
    let far = Ready::sign(&bob, &commit, late.leaves);
    let answer = group.post(&relay, &bob, &far).await;
    answer.assert_problem(ProblemType::HeadConflict);
    group.append(&relay, &bob, Vec::new(), true).await;
}

/// docs/protocol.md, 6.1 and 6.2: the relay reaches the verdict of the proxies.
#[tokio::test]
async fn invalid_commits_are_refused_with_their_reason() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let good = sign_next(&group.roster, &alice, Vec::new(), true);
    let refused = async |ready: &Ready, part: &str| {
        let problem = group
            .post(&relay, &alice, ready)
            .await
            .assert_problem(ProblemType::InvalidObject);
        let detail = problem.detail.unwrap();
        assert!(detail.contains(part), "{detail}");
    };
    let with = |change: &dyn Fn(&mut waxwire_shared::wire::Commit)| {
        let mut commit = good.commit.clone().into_body();
        change(&mut commit);
        Ready::sign(&alice, &commit, good.leaves.clone())
    };
    let nothing = Ready {
        leaves: Vec::new(),
        ..with(&|commit| commit.rekey = None)
    };
    refused(&nothing, "changes nothing").await;
    refused(
        &with(&|commit| commit.group = Some(GroupId::from_bytes([9; 32]))),
        "another group",
    )
    .await;
    refused(&with(&|commit| commit.group = None), "another group").await;
    let remove_without = Ready {
        leaves: Vec::new(),
        ..with(&|commit| (commit.changes, commit.rekey) = (vec![remove(&bob)], None))
    };
    refused(&remove_without, "remove needs a rekey").await;
    refused(
        &with(&|commit| commit.changes = vec![remove(&carol)]),
        "nobody in the roster",
    )
    .await;
    refused(
        &with(&|commit| commit.rekey.as_mut().unwrap().epoch += 1),
        "expected epoch 3",
    )
    .await;
    // Leaves that are not those of the rekey, none, or some without a rekey.
    let leaves = |leaves: &[u8]| Ready {
        commit: good.commit.clone(),
        leaves: leaves.to_vec(),
    };
    refused(&leaves(b""), "malformed leaves").await;
    refused(&leaves(&good.leaves[1..]), "malformed leaves").await;
    let mut flipped = good.leaves.clone();
    *flipped.last_mut().unwrap() ^= 1;
    refused(&leaves(&flipped), "not part of the rekey").await;
    let surplus = Ready {
        leaves: good.leaves.clone(),
        ..sign_next(&group.roster, &alice, vec![invite(&carol)], false)
    };
    refused(&surplus, "leaves without a rekey").await;
    // A signature that is not the signer's.
    let mut bytes = good.commit.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let forged = Append {
        commit: &bytes,
        leaves: &good.leaves,
    };
    let answer = relay
        .post_octets(&group.commits(), &alice.key, &forged.to_bytes())
        .await;
    answer.assert_problem(ProblemType::InvalidObject);
    assert_eq!(
        group.post(&relay, &alice, &good).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn first_commit_must_be_one() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let next = sign_next(&group.roster, &alice, Vec::new(), true);
    let answer = relay.post_octets("/v1/groups", &alice.key, &next.body()).await;
    answer.assert_problem(ProblemType::InvalidObject);
    let first = sign_first(&bob, JoinPolicy::Invite, Vec::new());
    let answer = group.post(&relay, &bob, &first).await;
    answer.assert_problem(ProblemType::InvalidObject);
    let mut commit = first.commit.clone().into_body();
    commit.rekey = None;
    let bare = Ready::sign(&bob, &commit, Vec::new());
    let answer = relay.post_octets("/v1/groups", &bob.key, &bare.body()).await;
    answer.assert_problem(ProblemType::InvalidObject);
}

#[tokio::test]
async fn bodies_are_bounded_and_read_strictly() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let good = sign_next(&group.roster, &alice, Vec::new(), true);
    for path in ["/v1/groups", &group.commits()] {
        for body in [
            &b""[..],
            b"\0",
            b"\0\0\0\0",
            b"\xff\xff\xff\xffcommit",
            b"\0\0\0\x07commit",
        ] {
            let answer = relay.post_octets(path, &alice.key, body).await;
            answer.assert_problem(ProblemType::BadRequest);
        }
        let answer = relay.post_octets(path, &alice.key, b"\0\0\0\x01\xa0").await;
        answer.assert_problem(ProblemType::InvalidObject);
        let answer = relay.post_octets(path, &alice.key, &vec![0; APPEND + 1]).await;
        answer.assert_problem(ProblemType::TooLarge);
        let large = Append {
            commit: &vec![0; 100 * 1024],
            leaves: b"",
        };
        let answer = relay.post_octets(path, &alice.key, &large.to_bytes()).await;
        let limit = answer.assert_problem(ProblemType::TooLarge).limit.unwrap();
        assert_eq!((limit.name.as_str(), limit.actual), ("commit", 100 * 1024));
        let large = Append {
            commit: good.commit.bytes(),
            leaves: &vec![0; 4 * 1024 * 1024 + 1],
        };
        let answer = relay.post_octets(path, &alice.key, &large.to_bytes()).await;
        let limit = answer.assert_problem(ProblemType::TooLarge).limit.unwrap();
        assert_eq!(limit.name, "rekey");
        let typed = Some(("application/json", good.body()));
        let answer = relay.call(Method::POST, path, Some(&alice.key), typed).await;
        answer.assert_problem(ProblemType::UnsupportedMediaType);
        let answer = relay.call(Method::POST, path, None, None).await;
        answer.assert_problem(ProblemType::Unauthorized);
    }
    let body = good.body();
    for cut in 4..good.commit.bytes().len() {
        let answer = relay
            .post_octets(&group.commits(), &alice.key, &body[..cut])
            .await;
        answer.assert_problem(ProblemType::BadRequest);
    }
}

/// Unknown, foreign and left groups look the same from outside, on every route.
#[tokio::test]
async fn strangers_cannot_tell_a_group_from_none() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let group = TestGroup::with(&relay, &alice, &[&bob]).await;
    group.say(&relay, &alice, 1).await;
    let mut commit = sign_next(&group.roster, &alice, Vec::new(), true)
        .commit
        .into_body();
    commit.signer = carol.identity();
    let mut answers = Vec::new();
    for id in [group.id, GroupId::from_bytes([9; 32])] {
        for queue in [Queue::Log(id), Queue::Group(id)] {
            answers.push(read(&relay, &carol, queue).await);
            let acks = serde_json::json!({"acks": [{"queue": queue, "position": 1}]});
            answers.push(relay.post_json("/v1/acks", Some(&carol.key), &acks).await);
        }
        for index in ["0", "1", "x", "-1", "99999999999999999999"] {
            let path = format!("/v1/groups/{id}/epochs/2/leaves/{index}");
            answers.push(relay.get(&path, Some(&carol.key)).await);
        }
        commit.group = Some(id);
        let ready = Ready::sign(&carol, &commit, Vec::new());
        let path = format!("/v1/groups/{id}/commits");
        answers.push(relay.post_octets(&path, &carol.key, &ready.body()).await);
        let envelope = TestGroup {
            id,
            roster: group.roster.clone(),
        }
        .envelope(&carol, 1);
        answers.push(relay.send(&carol.key, &envelope).await);
    }
    let mut problems: Vec<_> = answers
        .iter()
        .map(|answer| answer.assert_problem(ProblemType::NotFound))
        .collect();
    for problem in &mut problems {
        problem.instance = None;
    }
    assert!(problems.iter().all(|problem| *problem == problems[0]));
    let listed: QueuesAnswer = relay.get("/v1/queues", Some(&carol.key)).await.json();
    assert_eq!(listed.queues.len(), 2);
}

#[tokio::test]
async fn log_and_messages_are_read_by_whom_they_concern() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::create(&relay, &alice).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    group.say(&relay, &alice, 1).await;
    group.invite(&relay, &alice, &bob).await;
    assert_eq!(positions(&read(&relay, &bob, log).await), [1, 2]);
    read(&relay, &bob, messages)
        .await
        .assert_problem(ProblemType::NotFound);
    let accept = vec![group.accept(&bob)];
    group.append(&relay, &bob, accept, true).await;
    group.say(&relay, &bob, 2).await;
    assert_eq!(positions(&read(&relay, &bob, messages).await), [2]);
    group.append(&relay, &alice, vec![remove(&bob)], true).await;
    group.say(&relay, &alice, 3).await;
    group.add(&relay, &alice, &carol).await;
    let answer = read(&relay, &bob, log).await;
    assert_eq!(positions(&answer), [1, 2, 3, 4]);
    assert_eq!(answer.headers["x-waxwire-head"], "4");
    let answer = read(&relay, &bob, messages).await;
    assert_eq!(positions(&answer), [2]);
    assert_eq!(answer.headers["x-waxwire-head"], "2");
    assert_eq!(positions(&read(&relay, &alice, messages).await), [1, 2, 3]);
    assert_eq!(positions(&read(&relay, &alice, log).await), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn queues_of_groups_are_listed_and_acknowledged() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let (log, messages) = (Queue::Log(group.id), Queue::Group(group.id));
    group.say(&relay, &alice, 1).await;
    let list = async || {
        let answer: QueuesAnswer = relay.get("/v1/queues", Some(&bob.key)).await.json();
        answer.queues[2..].to_vec()
    };
    let state = |queue, head, acked| QueueState { queue, head, acked };
    // Of the log there is its own commit to fetch.
    assert_eq!(list().await, [state(log, 3, 2), state(messages, 1, 0)]);
    let acks = serde_json::json!({"acks": [
        {"queue": log, "position": 3}, {"queue": messages, "position": 99},
    ]});
    let answer = relay.post_json("/v1/acks", Some(&bob.key), &acks).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(list().await, [state(log, 3, 3), state(messages, 1, 1)]);
    group.append(&relay, &alice, vec![remove(&bob)], true).await;
    group.say(&relay, &alice, 2).await;
    assert_eq!(list().await, [state(log, 4, 3), state(messages, 1, 1)]);
    let acks = serde_json::json!({"acks": [{"queue": log, "position": 4}]});
    relay.post_json("/v1/acks", Some(&bob.key), &acks).await;
    assert_eq!(list().await, []);
}

/// docs/protocol.md, 6.6, hard debt: the relay refuses messages under a closed epoch.
#[tokio::test]
async fn send_is_refused_by_epoch_membership_and_end() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob, &carol]).await;
    let epoch = group.roster.epoch();
    let send = async |group: &TestGroup, from: &TestAgent, epoch, mid| {
        relay
            .send(&from.key, &group.envelope_under(epoch, from, mid))
            .await
    };
    assert_eq!(send(&group, &bob, epoch, 1).await.status, StatusCode::CREATED);
    for other in [1, epoch - 1, epoch + 1, u64::MAX] {
        let answer = send(&group, &bob, other, 2).await;
        answer.assert_problem(ProblemType::EpochClosed);
    }
    let lifted = relay.send(&bob.key, &group.envelope(&alice, 3)).await;
    lifted.assert_problem(ProblemType::BadRequest);
    group.append(&relay, &carol, vec![LEAVE], false).await;
    let answer = send(&group, &bob, epoch, 2).await;
    answer.assert_problem(ProblemType::EpochClosed);
    let answer = send(&group, &carol, epoch, 2).await;
    answer.assert_problem(ProblemType::NotFound);
    assert_eq!(send(&group, &bob, epoch, 1).await.status, StatusCode::OK);
    group.append(&relay, &bob, Vec::new(), true).await;
    assert_eq!(send(&group, &bob, epoch + 1, 2).await.status, StatusCode::CREATED);
    group.append(&relay, &alice, vec![Change::Disband], false).await;
    let answer = send(&group, &bob, epoch + 1, 4).await;
    answer.assert_problem(ProblemType::Gone);
    let rekey = sign_first(&alice, JoinPolicy::Invite, Vec::new());
    let mut commit = rekey.commit.into_body();
    (commit.group, commit.position) = (Some(group.id), group.roster.position() + 1);
    commit.previous = Some(group.roster.head());
    let answer = group
        .post(&relay, &alice, &Ready::sign(&alice, &commit, rekey.leaves))
        .await;
    answer.assert_problem(ProblemType::Gone);
}

#[tokio::test]
async fn every_member_gets_its_leaf_with_a_proof() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob, &carol]).await;
    let rekey = group.append(&relay, &bob, Vec::new(), true).await;
    let check = async |relay: &TestRelay, agent: &TestAgent, index: u32| {
        let answer = leaf(relay, agent, &group, group.roster.epoch(), index).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        let proof = LeafProof::decode(&answer.body).unwrap();
        let stated = rekey.commit.body().rekey.as_ref().unwrap();
        let member = &group.roster.members()[index as usize].identity;
        verify_leaf(stated, index, member, &proof.leaf, &proof.path).unwrap();
    };
    for index in 0..3 {
        check(&relay, &carol, index).await;
    }
    for (epoch, index) in [(0, 0), (group.roster.epoch() + 1, 0), (group.roster.epoch(), 3)] {
        let answer = leaf(&relay, &alice, &group, epoch, index).await;
        answer.assert_problem(ProblemType::NotFound);
    }
    // Nothing of it was only in memory.
    let folder = relay.stop().await;
    let relay = TestRelay::start_with(Setup {
        folder,
        ..Setup::default()
    })
    .await;
    for index in 0..3 {
        check(&relay, &alice, index).await;
    }
}

#[tokio::test]
async fn leaves_are_for_those_who_may_see_their_commit() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let before = group.roster.epoch();
    leaf(&relay, &carol, &group, before, 0)
        .await
        .assert_problem(ProblemType::NotFound);
    group.append(&relay, &alice, vec![remove(&bob)], true).await;
    group.append(&relay, &alice, Vec::new(), true).await;
    assert_eq!(leaf(&relay, &bob, &group, before, 1).await.status, StatusCode::OK);
    // The commit that removed Bob is the last that he may see.
    assert_eq!(
        leaf(&relay, &bob, &group, before + 1, 0).await.status,
        StatusCode::OK
    );
    leaf(&relay, &bob, &group, before + 2, 0)
        .await
        .assert_problem(ProblemType::NotFound);
    group.invite(&relay, &alice, &carol).await;
    assert_eq!(
        leaf(&relay, &carol, &group, before + 2, 0).await.status,
        StatusCode::OK
    );
}

/// Its own removal is what it has to fetch; where the log is now is not its business.
#[tokio::test]
async fn departed_member_learns_of_a_conflict_only_up_to_its_end() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let unaware = sign_next(&group.roster, &bob, Vec::new(), true);
    group.append(&relay, &alice, vec![remove(&bob)], true).await;
    let answer = group.post(&relay, &bob, &unaware).await;
    answer.assert_problem(ProblemType::HeadConflict);
    let mut commit = sign_next(&group.roster, &alice, Vec::new(), true)
        .commit
        .into_body();
    commit.signer = bob.identity();
    let aware = Ready::sign(&bob, &commit, Vec::new());
    let answer = group.post(&relay, &bob, &aware).await;
    answer.assert_problem(ProblemType::NotFound);
}

/// docs/protocol.md, 6.1: the verdict is a function of the log before.
/// The rosters in memory are no truth of their own: a relay that starts again judges the same.
#[tokio::test]
async fn log_is_judged_alike_after_a_restart() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    group.invite(&relay, &alice, &carol).await;
    let relay = restart(relay.stop().await).await;
    let stale = sign_next(&group.roster, &bob, Vec::new(), true);
    let accept = vec![group.accept(&carol)];
    group.append(&relay, &carol, accept, true).await;
    group
        .post(&relay, &bob, &stale)
        .await
        .assert_problem(ProblemType::HeadConflict);
    let demote = Change::Role {
        identity: alice.identity(),
        role: Role::Member,
    };
    let mut commit = sign_next(&group.roster, &bob, Vec::new(), true)
        .commit
        .into_body();
    (commit.changes, commit.rekey) = (vec![demote], None);
    let answer = group
        .post(&relay, &bob, &Ready::sign(&bob, &commit, Vec::new()))
        .await;
    answer.assert_problem(ProblemType::InvalidObject);
    group.say(&relay, &carol, 1).await;
}

/// Signatures are not verified again after a restart; the hashes are: a log in which a bit of any
/// signature has changed is not judged by.
#[tokio::test]
async fn changed_log_is_not_judged_by_after_a_restart() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let group = TestGroup::with(&relay, &alice, &[&bob]).await;
    let database = relay.database();
    let mut folder = relay.stop().await;
    let commits = group.roster.position() + 1;
    for position in 1..=commits {
        flip_last_bit(&database, position);
        let relay = restart(folder).await;
        let next = sign_next(&group.roster, &alice, Vec::new(), true);
        let answer = group.post(&relay, &alice, &next).await;
        answer.assert_problem(ProblemType::Internal);
        folder = relay.stop().await;
        flip_last_bit(&database, position);
    }
    let relay = restart(folder).await;
    let next = sign_next(&group.roster, &alice, Vec::new(), true);
    let answer = group.post(&relay, &alice, &next).await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

/// The last bit of the signature of a commit of the only group.
fn flip_last_bit(database: &Path, position: u64) {
    let place = "queue_no = (SELECT log_queue FROM grp) AND position = ?1";
    let connection = rusqlite::Connection::open(database).unwrap();
    let select = format!("SELECT bytes FROM envelope WHERE {place}");
    let bytes = connection.query_row(&select, [position.cast_signed()], |row| row.get(0));
    let mut bytes: Vec<u8> = bytes.unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let update = format!("UPDATE envelope SET bytes = ?2 WHERE {place}");
    let changed = connection.execute(&update, rusqlite::params![position.cast_signed(), bytes]);
    assert_eq!(changed, Ok(1));
}

async fn restart(folder: Arc<TempDir>) -> TestRelay {
    TestRelay::start_with(Setup {
        folder,
        ..Setup::default()
    })
    .await
}

/// docs/protocol.md, 6.9: one commit continues a head.
/// Of commits on one head that arrive at the same time, one is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_rekeys_have_one_winner() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob, &carol]).await;
    for _ in 0..5 {
        let rekeys =
            [&alice, &bob, &carol].map(|agent| (agent, sign_next(&group.roster, agent, Vec::new(), true)));
        let answers = rekeys
            .iter()
            .map(|(agent, ready)| group.post(&relay, agent, ready));
        let answers = futures_util::future::join_all(answers).await;
        let won: Vec<usize> = (0..3)
            .filter(|index| answers[*index].status == StatusCode::CREATED)
            .collect();
        assert_eq!(won.len(), 1);
        for index in (0..3).filter(|index| *index != won[0]) {
            answers[index].assert_problem(ProblemType::HeadConflict);
        }
        group.roster.apply(&rekeys[won[0]].1.commit).unwrap();
    }
}

/// One commit may end a membership and begin another.
#[tokio::test]
async fn leaving_and_joining_in_one_commit_is_a_new_membership() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut group = TestGroup::create_with(&relay, &alice, JoinPolicy::Open, vec![invite(&bob)]).await;
    let accept = vec![group.accept(&bob)];
    group.append(&relay, &bob, accept, true).await;
    group.say(&relay, &bob, 1).await;
    let join = Change::Join {
        handle: bob.handle.clone(),
    };
    group.append(&relay, &bob, vec![LEAVE, join], true).await;
    group.say(&relay, &bob, 2).await;
    let messages = Queue::Group(group.id);
    assert_eq!(positions(&read(&relay, &bob, messages).await), [1, 2]);
    let listed: QueuesAnswer = relay.get("/v1/queues", Some(&bob.key)).await.json();
    assert_eq!(listed.queues[3].acked, 1);
}

/// Members are told apart by the handles that the log gives them.
#[tokio::test]
async fn nobody_joins_under_the_handle_of_another() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let group = TestGroup::create_with(&relay, &alice, JoinPolicy::Open, vec![invite(&bob)]).await;
    let join = Change::Join {
        handle: alice.handle.clone(),
    };
    let ready = sign_next(&group.roster, &carol, vec![join], true);
    let answer = group.post(&relay, &carol, &ready).await;
    answer.assert_problem(ProblemType::Forbidden);
}
