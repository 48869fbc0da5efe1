//! Founding, finding and joining channels, and what is said in them.

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use serde_json::json;
use waxwire_tests::{
    Agent, Channel, ChannelPage,
    circle::{all_talk, same_history, settled},
    scenario, scenario_within, unique,
};

use super::{ENTERED, entered, named, no_alerts};

#[test]
fn open_channel_lives_from_founding_to_the_end() {
    scenario_within(2 * ENTERED, async |world| {
        let circle = world.unlimited_circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let name = unique("the plaza")?;
        let founded = alice.create_channel("plaza", &name, "open").await?;
        let expected = Channel {
            id: founded.id.clone(),
            slug: "plaza".to_owned(),
            name: Some(name.clone()),
            join: "open".to_owned(),
            joined: true,
            member_count: 1,
            source: "log".to_owned(),
        };
        assert_eq!(founded, expected);

        // By the relay's word, which knows no name.
        let listed = Channel {
            name: None,
            joined: false,
            source: "relay".to_owned(),
            ..expected.clone()
        };
        let page = ChannelPage {
            channels: vec![listed],
            next: None,
        };
        assert_eq!(bob.channels("").await?, page);
        let id = entered(&bob, "plaza").await?.id;
        assert_eq!(id, founded.id);
        named(&bob, "plaza", &name).await?;
        alice.until_event(&id, "member_joined", "bob").await?;
        let again = bob.join_channel("plaza").await?;
        assert_eq!((again.id, again.member_count), (id.clone(), 2));
        for agent in [&alice, &bob] {
            ensure!(!agent.group_security(&id).await?.confidential_from_relay);
        }

        // Messages by slug and by id are the same.
        let (text, key) = (unique("by slug")?, unique("id")?);
        let sent = bob.send_to_channel("plaza", &key, &text).await?;
        let body = json!({ "client_msg_id": key, "content": { "text": text } });
        let repeat = bob.try_send_to_channel("plaza", &body).await?.expect(200)?;
        assert_eq!(repeat["id"], sent.id);
        let read = alice.until_text(&id, &text).await?;
        assert_eq!((read.id, read.conversation_id), (sent.id, id.clone()));
        ensure!(read.security.verified);
        all_talk(&[&alice, &bob], &id, "two").await?;

        // Who leaves or is removed from an open channel may come back.
        bob.leave(&id).await?;
        bob.try_send_to_channel("plaza", &body_of(&unique("id")?))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;
        entered(&bob, "plaza").await?;
        alice.until_members(&id, &["alice", "bob"]).await?;
        alice.remove(&id, "bob").await?;
        let gone = waxwire_tests::eventually("bob is out", ENTERED, async || {
            let answer = bob.get(&format!("/v1/groups/{id}")).await?;
            Ok((answer.status == 404).then_some(()))
        });
        gone.await?;
        entered(&bob, "plaza").await?;
        alice.until_members(&id, &["alice", "bob"]).await?;
        all_talk(&[&alice, &bob], &id, "again").await?;

        // With its end the slug is free, and who was there knows it.
        alice.disband(&id).await?;
        let ended = waxwire_tests::eventually("bob knows of the end", ENTERED, async || {
            let answer = bob
                .try_send_to_channel("plaza", &body_of("after-the-end"))
                .await?;
            Ok((answer.status == 410).then_some(answer))
        });
        ended.await?.refused(410, "GROUP_DELETED")?;
        carol
            .try_join_channel("plaza")
            .await?
            .refused(404, "CHANNEL_NOT_FOUND")?;
        let second = carol
            .create_channel("plaza", &unique("the other")?, "open")
            .await?;
        ensure!(second.id != id);
        assert_eq!(entered(&bob, "plaza").await?.id, second.id);
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

fn body_of(id: &str) -> serde_json::Value {
    json!({ "client_msg_id": id, "content": { "text": "nobody reads this" } })
}

/// Each join carries a rekey, so all but one have to be built again on another head, and again.
#[test]
fn five_agents_join_at_once() {
    scenario_within(4 * ENTERED, async |world| {
        let handles = ["alice", "bob", "carol", "dave", "erin", "frank"];
        let circle = world.unlimited_circle(handles).await?;
        let agents = circle.agents(handles)?;
        let name = unique("rush")?;
        let id = agents[0].create_channel("rush", &name, "open").await?.id;
        let joined = join_all(agents[1..].iter().map(|agent| entered(agent, "rush"))).await;
        for channel in joined {
            assert_eq!(channel?.id, id);
        }
        let members: Vec<&Agent> = agents.iter().collect();
        let security = settled(&members, &id).await?;
        assert_eq!(security.members.len(), handles.len());
        all_talk(&members, &id, "after the rush").await?;
        assert_eq!(same_history(&members, &id).await?, handles.len());
        for agent in &members {
            named(agent, "rush", &name).await?;
        }
        no_alerts(&members).await
    });
}

/// A member replaces the key while another agent joins: one of the two commits is built again.
#[test]
fn join_in_the_middle_of_rekeys() {
    scenario_within(2 * ENTERED, async |world| {
        let circle = world.unlimited_circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let id = alice.create_channel("busy", &unique("busy")?, "open").await?.id;
        entered(&bob, "busy").await?;
        let rekeys = async {
            for _ in 0..3 {
                alice.rekey(&id).await?;
                bob.rekey(&id).await?;
            }
            anyhow::Ok(())
        };
        let (rekeyed, joined) = tokio::join!(rekeys, entered(&carol, "busy"));
        rekeyed?;
        joined?;
        let members = [&alice, &bob, &carol];
        settled(&members, &id).await?;
        all_talk(&members, &id, "after the keys").await?;
        no_alerts(&members).await
    });
}

#[test]
fn agent_is_in_many_channels() {
    const CHANNELS: usize = 12;
    scenario_within(2 * ENTERED, async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let slug = |number: usize| format!("channel-{number:02}");
        let mut ids = Vec::new();
        for number in 0..CHANNELS {
            let join = if number % 4 == 3 { "invite" } else { "open" };
            let founded = alice
                .create_channel(&slug(number), &unique("name")?, join)
                .await?;
            if join == "invite" {
                alice.invite(&founded.id, "bob").await?;
                bob.until_invited(&founded.id).await?;
            }
            assert_eq!(entered(&bob, &slug(number)).await?.id, founded.id);
            ids.push(founded.id);
        }
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = bob.channels(&format!("limit=5{after}")).await?;
            ensure!(page.channels.len() <= 5);
            found.extend(page.channels);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let expected: Vec<String> = (0..CHANNELS).map(slug).collect();
        let slugs: Vec<&String> = found.iter().map(|channel| &channel.slug).collect();
        assert_eq!(slugs, expected.iter().collect::<Vec<_>>());
        ensure!(
            found
                .iter()
                .all(|channel| channel.joined && channel.source == "log")
        );
        for (number, id) in ids.iter().enumerate() {
            let text = unique("in this one")?;
            let sent = bob.send_to_channel(&slug(number), &unique("id")?, &text).await?;
            assert_eq!(sent.conversation_id, *id);
            alice.until_text(id, &text).await?;
        }
        for id in &ids {
            assert_eq!(alice.texts_in(id).await?.len(), 1);
        }
        no_alerts(&[&alice, &bob]).await
    });
}

#[test]
fn channel_for_the_invited_is_for_nobody_else() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let name = unique("the council")?;
        let id = alice.create_channel("council", &name, "invite").await?.id;
        ensure!(alice.group_security(&id).await?.confidential_from_relay);
        for agent in [&bob, &carol] {
            ensure!(agent.channels("").await?.channels.is_empty());
            agent
                .try_join_channel("council")
                .await?
                .refused(404, "CHANNEL_NOT_FOUND")?;
        }
        alice.invite(&id, "bob").await?;
        bob.until_invited(&id).await?;
        let joined = entered(&bob, "council").await?;
        assert_eq!(
            (joined.id.as_str(), joined.join.as_str()),
            (id.as_str(), "invite")
        );
        named(&bob, "council", &name).await?;
        ensure!(bob.invitations().await?.is_empty(), "the invite waits still");
        ensure!(bob.group_security(&id).await?.confidential_from_relay);
        all_talk(&[&alice, &bob], &id, "the council").await?;
        // An invite that is withdrawn is none.
        alice.invite(&id, "carol").await?;
        carol.until_invited(&id).await?;
        alice.remove(&id, "carol").await?;
        let refused = carol.try_join_channel("council").await?;
        refused.refused(404, "CHANNEL_NOT_FOUND")?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

#[test]
fn slug_has_one_group() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let name = unique("mine")?;
        let (one, other) = tokio::join!(
            alice.try_create_channel("mine", &name, "invite"),
            bob.try_create_channel("mine", &name, "open"),
        );
        let answers = [one?, other?];
        let won = answers.iter().position(|answer| answer.status == 201);
        let won = won.context("nobody has it")?;
        answers[1 - won].refused(409, "SLUG_TAKEN")?;
        let agents = [&alice, &bob];
        for agent in agents {
            agent
                .try_create_channel("mine", &name, "open")
                .await?
                .refused(409, "SLUG_TAKEN")?;
        }
        // Nothing is left of what was refused.
        let loser = agents[1 - won];
        ensure!(loser.channels("joined=true").await?.channels.is_empty());
        assert_eq!(loser.get("/v1/conversations").await?.expect(200)?, json!([]));
        no_alerts(&agents).await
    });
}

#[test]
fn joins_are_as_many_as_the_relay_allows() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.limit("joins_and_leaves_per_hour", 2);
        relay.start().await?;
        let circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let id = alice.create_channel("door", &unique("door")?, "open").await?.id;
        entered(&bob, "door").await?;
        bob.leave(&id).await?;
        bob.try_join_channel("door").await?.refused(429, "RATE_LIMITED")?;
        ensure!(bob.channels("joined=true").await?.channels.is_empty());
        no_alerts(&[&alice, &bob]).await
    });
}
