//! Quotas of groups: docs/relay-api.md, "Limits". None of them is a rule of the log.

use http::StatusCode;
use waxwire_shared::{api::problem::ProblemType, wire::JoinPolicy};

use crate::{
    config::Limits,
    testing::{
        TestRelay,
        groups::{LEAVE, TestGroup, invite, remove, sign_first, sign_next, three},
    },
};

/// docs/protocol.md, 6.1: limits of a relay are no rules of validity.
#[tokio::test]
async fn quota_of_members_counts_invites_and_is_no_rule_of_the_log() {
    let relay = TestRelay::limited(Limits {
        group_members: 2,
        ..Limits::default()
    })
    .await;
    let (alice, bob, carol) = three(&relay).await;
    let first = sign_first(&alice, JoinPolicy::Invite, vec![invite(&bob), invite(&carol)]);
    let answer = relay.post_octets("/v1/groups", &alice.key, &first.body()).await;
    let limit = answer.assert_problem(ProblemType::Forbidden).limit.unwrap();
    assert_eq!(
        (limit.name.as_str(), limit.max, limit.actual),
        ("group_members", 2, 3)
    );
    let mut group = TestGroup::create(&relay, &alice).await;
    group.invite(&relay, &alice, &bob).await;
    let more = sign_next(&group.roster, &alice, vec![invite(&carol)], false);
    let answer = group.post(&relay, &alice, &more).await;
    answer.assert_problem(ProblemType::Forbidden);
    let accept = vec![group.accept(&bob)];
    group.append(&relay, &bob, accept, true).await;
    // A full group goes on with whatever adds nobody.
    group.append(&relay, &alice, Vec::new(), true).await;
    group.append(&relay, &alice, vec![remove(&bob)], true).await;
    group.add(&relay, &alice, &carol).await;
    assert_eq!(group.roster.members().len(), 2);
}

/// docs/protocol.md, 6.1: rate limits are no rules of validity.
/// Each agent has its own quota in each group, and may leave whatever is used up.
#[tokio::test]
async fn quotas_of_changes_are_told_with_when_to_come_back() {
    let relay = TestRelay::limited(Limits {
        joins_and_leaves_per_hour: 2,
        commits_per_minute: 6,
        ..Limits::default()
    })
    .await;
    let (alice, bob, carol) = three(&relay).await;
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    group.append(&relay, &bob, vec![LEAVE], false).await;
    group.invite(&relay, &alice, &bob).await;
    let back = sign_next(&group.roster, &bob, vec![group.accept(&bob)], true);
    let problem = group
        .post(&relay, &bob, &back)
        .await
        .assert_problem(ProblemType::RateLimited);
    let limit = problem.limit.unwrap();
    assert_eq!((limit.name.as_str(), limit.max), ("joins_and_leaves_per_hour", 2));
    assert_eq!(problem.retry_after, Some(1_800));
    // Nobody pays for another, and the same commit is good later.
    group.add(&relay, &alice, &carol).await;
    relay.advance(1_800_000);
    let accept = vec![group.accept(&bob)];
    group.append(&relay, &bob, accept, true).await;
    for _ in 0..5 {
        group.append(&relay, &bob, Vec::new(), true).await;
    }
    let sixth = sign_next(&group.roster, &bob, Vec::new(), true);
    let problem = group
        .post(&relay, &bob, &sixth)
        .await
        .assert_problem(ProblemType::RateLimited);
    assert_eq!(problem.limit.unwrap().name, "commits_per_minute");
    assert_eq!(problem.retry_after, Some(10));
    group.append(&relay, &alice, Vec::new(), true).await;
    group.append(&relay, &bob, vec![LEAVE], false).await;
}

/// Whoever is in many groups has much to be served; whoever leaves one may come into another.
#[tokio::test]
async fn agent_is_in_so_many_groups_and_enters_so_many_in_an_hour() {
    let relay = TestRelay::limited(Limits {
        groups: 2,
        groups_per_hour: 3,
        ..Limits::default()
    })
    .await;
    let (alice, bob, carol) = three(&relay).await;
    let mut left = TestGroup::with(&relay, &alice, &[&bob]).await;
    let mut joined = TestGroup::create(&relay, &carol).await;
    joined.invite(&relay, &carol, &bob).await;
    let found = |others| sign_first(&bob, JoinPolicy::Invite, others);
    let (own, another) = (found(vec![invite(&alice)]), found(vec![invite(&carol)]));
    TestGroup::create_by(&relay, &bob, &own).await;
    let joining = sign_next(&joined.roster, &bob, vec![joined.accept(&bob)], true);
    for answer in [
        relay.post_octets("/v1/groups", &bob.key, &another.body()).await,
        joined.post(&relay, &bob, &joining).await,
    ] {
        let limit = answer.assert_problem(ProblemType::Forbidden).limit.unwrap();
        assert_eq!((limit.name.as_str(), limit.max, limit.actual), ("groups", 2, 3));
    }
    let repeated = relay.post_octets("/v1/groups", &bob.key, &own.body()).await;
    assert_eq!(repeated.status, StatusCode::OK);
    left.append(&relay, &bob, vec![LEAVE], false).await;
    let accept = vec![joined.accept(&bob)];
    joined.append(&relay, &bob, accept, true).await;
    joined.append(&relay, &bob, vec![LEAVE], false).await;
    let answer = relay.post_octets("/v1/groups", &bob.key, &another.body()).await;
    let problem = answer.assert_problem(ProblemType::RateLimited);
    let limit = problem.limit.unwrap();
    assert_eq!((limit.name.as_str(), limit.max), ("groups_per_hour", 3));
    assert_eq!(problem.retry_after, Some(1_200));
    relay.advance(1_200_000);
    TestGroup::create_by(&relay, &bob, &another).await;
}
