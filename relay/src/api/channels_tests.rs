//! Named channels through the real router: who finds them, what a stranger may read and append, and when that
//! ends (docs/relay-api.md, Channels).

use http::StatusCode;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{ChannelAnswer, ChannelsAnswer},
    },
    ids::Nonce32,
    wire::{Change, JoinPolicy, Policy, Role},
};

use crate::{
    config::Limits,
    testing::{
        Answer, Setup, TestAgent, TestRelay,
        groups::{LEAVE, Ready, TestGroup, invite, remove, sign_founding, sign_next},
    },
};

fn policy(slug: &str, join: JoinPolicy) -> Policy {
    Policy {
        join,
        invite_role: Role::Admin,
        slug: Some(slug.parse().unwrap()),
    }
}

/// The first commit of a channel; `nonce` tells channels of one slug apart.
fn sign_channel(founder: &TestAgent, nonce: u8, slug: &str, join: JoinPolicy, more: Vec<Change>) -> Ready {
    sign_founding(
        founder,
        Nonce32::from_bytes([nonce; 32]),
        policy(slug, join),
        more,
    )
}

async fn found(relay: &TestRelay, founder: &TestAgent, nonce: u8, slug: &str, join: JoinPolicy) -> TestGroup {
    let first = sign_channel(founder, nonce, slug, join, Vec::new());
    TestGroup::create_by(relay, founder, &first).await
}

async fn post_first(relay: &TestRelay, founder: &TestAgent, first: &Ready) -> Answer {
    relay.post_octets("/v1/groups", &founder.key, &first.body()).await
}

async fn show(relay: &TestRelay, agent: &TestAgent, slug: &str) -> Answer {
    relay.get(&format!("/v1/channels/{slug}"), Some(&agent.key)).await
}

async fn list(relay: &TestRelay, agent: &TestAgent, query: &str) -> Vec<String> {
    let answer = relay.get(&format!("/v1/channels{query}"), Some(&agent.key)).await;
    let answer: ChannelsAnswer = answer.json();
    answer
        .channels
        .iter()
        .map(|channel| channel.slug.to_string())
        .collect()
}

async fn log(relay: &TestRelay, agent: &TestAgent, group: &TestGroup) -> Answer {
    let path = format!("/v1/queues/log-{}/envelopes", group.id);
    relay.get(&path, Some(&agent.key)).await
}

fn join(agent: &TestAgent) -> Change {
    Change::Join {
        handle: agent.handle.clone(),
    }
}

async fn three(relay: &TestRelay) -> (TestAgent, TestAgent, TestAgent) {
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    (alice, bob, relay.register("carol").await)
}

#[tokio::test]
async fn channel_is_found_by_its_slug_and_joined_by_strangers() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = found(&relay, &alice, 1, "freight", JoinPolicy::Open).await;
    let expected = |members| ChannelAnswer {
        slug: "freight".parse().unwrap(),
        group_id: group.id,
        open: true,
        members,
    };
    assert_eq!(
        show(&relay, &bob, "freight").await.json::<ChannelAnswer>(),
        expected(1)
    );
    let listed: ChannelsAnswer = relay.get("/v1/channels", Some(&bob.key)).await.json();
    assert_eq!(listed.channels, [expected(1)]);
    assert_eq!(log(&relay, &bob, &group).await.headers["x-waxwire-head"], "1");
    group.append(&relay, &bob, vec![join(&bob)], true).await;
    group.append(&relay, &carol, vec![join(&carol)], false).await;
    assert_eq!(
        show(&relay, &bob, "freight")
            .await
            .json::<ChannelAnswer>()
            .members,
        3
    );
    group.say(&relay, &bob, 1).await;
    for unknown in ["nobody", "FREIGHT", "f", "%00", "a--b"] {
        show(&relay, &bob, unknown)
            .await
            .assert_problem(ProblemType::NotFound);
    }
    for path in ["/v1/channels", "/v1/channels/freight"] {
        relay
            .get(path, None)
            .await
            .assert_problem(ProblemType::Unauthorized);
    }
}

#[tokio::test]
async fn attack_101_slug_is_taken_until_its_group_gives_it_up_or_ends() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut first = found(&relay, &alice, 1, "plaza", JoinPolicy::Invite).await;
    let second = sign_channel(&bob, 2, "plaza", JoinPolicy::Open, Vec::new());
    post_first(&relay, &bob, &second)
        .await
        .assert_problem(ProblemType::SlugTaken);
    // Nor by a change of policy.
    let mut other = found(&relay, &bob, 3, "market", JoinPolicy::Open).await;
    let claim = vec![Change::Policy {
        policy: policy("plaza", JoinPolicy::Open),
    }];
    let claim = sign_next(&other.roster, &bob, claim, false);
    other
        .post(&relay, &bob, &claim)
        .await
        .assert_problem(ProblemType::SlugTaken);
    let plain = vec![Change::Policy {
        policy: policy("elsewhere", JoinPolicy::Invite),
    }];
    first.append(&relay, &alice, plain, false).await;
    let answer = post_first(&relay, &bob, &second).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    other.append(&relay, &bob, vec![Change::Disband], false).await;
    found(&relay, &alice, 4, "market", JoinPolicy::Open).await;
}

/// docs/protocol.md, 6.11: what strangers see of an open group is its log, what they append is a join.
#[tokio::test]
async fn attack_106_stranger_reads_the_log_of_an_open_group_and_nothing_else() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = found(&relay, &alice, 1, "plaza", JoinPolicy::Open).await;
    group.append(&relay, &bob, vec![join(&bob)], true).await;
    group.say(&relay, &alice, 1).await;
    let messages = format!("/v1/queues/group-{}/envelopes", group.id);
    let refused = relay.get(&messages, Some(&carol.key)).await;
    refused.assert_problem(ProblemType::NotFound);
    for index in 0..3 {
        let leaf = format!("/v1/groups/{}/epochs/2/leaves/{index}", group.id);
        let refused = relay.get(&leaf, Some(&carol.key)).await;
        refused.assert_problem(ProblemType::NotFound);
    }
    let refused = relay.send(&carol.key, &group.envelope(&carol, 9)).await;
    refused.assert_problem(ProblemType::NotFound);
    // A commit that is no join breaks a rule of the log.
    let mut commit = sign_next(&group.roster, &alice, Vec::new(), true)
        .commit
        .into_body();
    commit.signer = carol.identity();
    let rekey = Ready::sign(&carol, &commit, Vec::new());
    group
        .post(&relay, &carol, &rekey)
        .await
        .assert_problem(ProblemType::InvalidObject);
    commit.changes = vec![invite(&carol)];
    let uninvited = Ready::sign(&carol, &commit, Vec::new());
    group
        .post(&relay, &carol, &uninvited)
        .await
        .assert_problem(ProblemType::InvalidObject);
    // Who was there before sees the log and its own leaf, and may come back.
    group.append(&relay, &bob, vec![LEAVE], false).await;
    group.append(&relay, &alice, Vec::new(), true).await;
    assert_eq!(log(&relay, &bob, &group).await.headers["x-waxwire-head"], "4");
    let leaf = async |epoch| {
        let path = format!("/v1/groups/{}/epochs/{epoch}/leaves/0", group.id);
        relay.get(&path, Some(&bob.key)).await
    };
    assert_eq!(leaf(2).await.status, StatusCode::OK);
    leaf(3).await.assert_problem(ProblemType::NotFound);
    group.append(&relay, &bob, vec![join(&bob)], true).await;
}

/// docs/protocol.md, 6.3: a join is valid whoever signs it, also of one that was removed.
#[tokio::test]
async fn attack_105_removed_member_may_join_again_while_the_group_is_open() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut group = found(&relay, &alice, 1, "plaza", JoinPolicy::Open).await;
    group.append(&relay, &bob, vec![join(&bob)], true).await;
    group.append(&relay, &alice, vec![remove(&bob)], true).await;
    group.append(&relay, &bob, vec![join(&bob)], true).await;
    let closing = vec![
        remove(&bob),
        Change::Policy {
            policy: policy("plaza", JoinPolicy::Invite),
        },
    ];
    group.append(&relay, &alice, closing, true).await;
    let late = join_unplanned(&group, &bob);
    group
        .post(&relay, &bob, &late)
        .await
        .assert_problem(ProblemType::NotFound);
}

/// A join that the log does not allow.
fn join_unplanned(group: &TestGroup, agent: &TestAgent) -> Ready {
    let commit = waxwire_shared::wire::Commit {
        version: waxwire_shared::wire::VERSION,
        suite: waxwire_shared::suite::Suite::CLASSIC,
        group: Some(group.id),
        position: group.roster.position() + 1,
        previous: Some(group.roster.head()),
        signer: agent.identity(),
        changes: vec![join(agent)],
        rekey: None,
        time: 0,
    };
    Ready::sign(agent, &commit, Vec::new())
}

#[tokio::test]
async fn channel_for_the_invited_is_hidden_from_strangers() {
    let relay = TestRelay::start().await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = found(&relay, &alice, 1, "council", JoinPolicy::Invite).await;
    assert!(list(&relay, &bob, "").await.is_empty());
    let mut answers = vec![
        show(&relay, &bob, "council").await,
        show(&relay, &bob, "nothing").await,
    ];
    answers.push(log(&relay, &bob, &group).await);
    let late = join_unplanned(&group, &bob);
    answers.push(group.post(&relay, &bob, &late).await);
    let mut problems: Vec<_> = answers
        .iter()
        .map(|answer| answer.assert_problem(ProblemType::NotFound))
        .collect();
    for problem in &mut problems {
        problem.instance = None;
    }
    assert!(problems.iter().all(|problem| *problem == problems[0]));
    // Whoever is invited finds it, members do, and nobody else.
    group.invite(&relay, &alice, &bob).await;
    for agent in [&alice, &bob] {
        let shown: ChannelAnswer = show(&relay, agent, "council").await.json();
        assert_eq!((shown.group_id, shown.open), (group.id, false));
        assert!(list(&relay, agent, "").await.is_empty());
    }
    show(&relay, &carol, "council")
        .await
        .assert_problem(ProblemType::NotFound);
    let refused = group.post(&relay, &bob, &join_unplanned(&group, &bob)).await;
    refused.assert_problem(ProblemType::InvalidObject);
}

#[tokio::test]
async fn what_strangers_may_ends_when_the_policy_turns() {
    let relay = TestRelay::start().await;
    let (alice, bob, _) = three(&relay).await;
    let mut group = found(&relay, &alice, 1, "plaza", JoinPolicy::Open).await;
    let late = sign_next(&group.roster, &bob, vec![join(&bob)], true);
    assert_eq!(log(&relay, &bob, &group).await.status, StatusCode::OK);
    let closed = vec![Change::Policy {
        policy: policy("plaza", JoinPolicy::Invite),
    }];
    group.append(&relay, &alice, closed, false).await;
    log(&relay, &bob, &group)
        .await
        .assert_problem(ProblemType::NotFound);
    show(&relay, &bob, "plaza")
        .await
        .assert_problem(ProblemType::NotFound);
    group
        .post(&relay, &bob, &late)
        .await
        .assert_problem(ProblemType::NotFound);
    let open = vec![Change::Policy {
        policy: policy("plaza", JoinPolicy::Open),
    }];
    group.append(&relay, &alice, open, false).await;
    group.append(&relay, &bob, vec![join(&bob)], true).await;
}

#[tokio::test]
async fn list_has_pages_and_a_limit() {
    let setup = Setup {
        limits: Limits {
            directory_per_minute: 6,
            ..Setup::default().limits
        },
        ..Setup::default()
    };
    let relay = TestRelay::start_with(setup).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    for (nonce, slug) in (1..).zip(["one", "two", "three", "four"]) {
        found(&relay, &alice, nonce, slug, JoinPolicy::Open).await;
    }
    assert_eq!(list(&relay, &bob, "").await, ["four", "one", "three", "two"]);
    assert_eq!(list(&relay, &bob, "?limit=2").await, ["four", "one"]);
    assert_eq!(list(&relay, &bob, "?after=one&limit=2").await, ["three", "two"]);
    assert!(list(&relay, &bob, "?after=two").await.is_empty());
    for query in ["limit=0", "limit=101", "limit=x", "after=A", "offset=1"] {
        let refused = relay.get(&format!("/v1/channels?{query}"), Some(&bob.key)).await;
        refused.assert_problem(ProblemType::BadRequest);
    }
    list(&relay, &bob, "").await;
    list(&relay, &bob, "").await;
    let refused = relay.get("/v1/channels", Some(&bob.key)).await;
    refused.assert_problem(ProblemType::RateLimited);
    // Of agents and of channels, searches are counted as one.
    let refused = relay.get("/v1/directory?q=al", Some(&bob.key)).await;
    refused.assert_problem(ProblemType::RateLimited);
    assert_eq!(list(&relay, &alice, "").await.len(), 4);
}
