//! What happens while a receiver fails: nothing is lost.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use waxwire_tests::{Manner, Receiver, scenario, scenario_within};

use crate::{LIMIT, dead_letters, register, until_dead};

const OK: Manner = Manner::Status("200 OK");

fn delivery(call: &waxwire_tests::receiver::Call) -> String {
    call.header("x-agentchat-delivery").to_owned()
}

/// Six attempts with pauses of 1, 2, 4, 8 and 16 seconds, then a dead letter; the message waits in sync,
/// and the receiver gets it when it is tried again.
#[test]
fn receiver_that_is_down_for_the_whole_ladder_loses_nothing() {
    scenario_within(Duration::from_secs(240), async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut receiver = Receiver::start(Manner::Status("503 Later")).await?;
        let (webhook, secret) = register(&bob, &receiver.url(), &["message.new"]).await?;
        let sent = alice.send_text("bob", "lost", "nothing of this is lost").await?;
        let calls = receiver.until(5, Duration::from_secs(40)).await?;
        // The last attempt finds nobody at all.
        receiver.stop();
        ensure!(calls.iter().all(|call| delivery(call) == delivery(&calls[0])));
        for (pair, seconds) in calls.windows(2).zip([1, 2, 4, 8]) {
            let pause = pair[1].at - pair[0].at;
            ensure!(
                pause >= Duration::from_secs(seconds),
                "{pause:?} in place of {seconds} s"
            );
        }
        let letters = until_dead(&bob, &webhook, 1).await?;
        ensure!(
            letters[0]["delivery_id"] == delivery(&calls[0]).as_str(),
            "{letters:?}"
        );
        ensure!(letters[0]["message_id"] == sent.id.as_str() && letters[0]["attempts"] == 6);
        ensure!(letters[0]["reason"] == "unreachable", "{letters:?}");
        let rows = bob.sync().await?;
        ensure!(rows.len() == 1 && rows[0].id == sent.id);

        receiver.restart().await?;
        receiver.answers(OK);
        let path = format!(
            "/v1/webhooks/{webhook}/dead-letters/{}/redeliver",
            delivery(&calls[0])
        );
        bob.post(&path).await?.expect(200)?;
        let calls = receiver.until(6, LIMIT).await?;
        calls[5].verify(&secret)?;
        ensure!(delivery(&calls[5]) == delivery(&calls[0]));
        ensure!(calls[5].body["data"]["id"] == sent.id.as_str());
        alice.until_status(&sent, "delivered").await?;
        ensure!(dead_letters(&bob, &webhook).await?.is_empty());
        Ok(())
    });
}

/// The ladder and the order survive a restart and `kill -9`, under the same delivery id.
#[test]
fn ladder_survives_restart_and_kill() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let receiver = Receiver::start(Manner::Status("500 No")).await?;
        let (_, secret) = register(&bob, &receiver.url(), &["message.new"]).await?;
        alice.send_text("bob", "first", "the first of two").await?;
        alice.send_text("bob", "second", "the second of two").await?;
        let calls = receiver.until(2, LIMIT).await?;
        pair.bob.crash().await?;
        let more = receiver.until(3, LIMIT).await?;
        pair.bob.terminate().await?;
        let before = receiver.calls().len();
        receiver.answers(OK);
        pair.bob.start().await?;
        let all = receiver.until(before + 2, Duration::from_secs(30)).await?;
        let first = delivery(&calls[0]);
        ensure!(more.iter().all(|call| delivery(call) == first));
        ensure!(
            all[..=before].iter().all(|call| delivery(call) == first),
            "out of order"
        );
        let names: Vec<&Value> = all[before..]
            .iter()
            .map(|call| &call.body["data"]["client_msg_id"])
            .collect();
        ensure!(names == ["first", "second"], "{names:?}");
        all[before + 1].verify(&secret)?;
        Ok(())
    });
}

/// A redirect is a failure, and nobody is called where it leads.
#[test]
fn redirect_is_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let elsewhere = Receiver::start(OK).await?;
        let receiver = Receiver::start(Manner::Redirect(elsewhere.url())).await?;
        register(&bob, &receiver.url(), &["message.new"]).await?;
        alice
            .send_text("bob", "moved", "not to be taken elsewhere")
            .await?;
        receiver.until(2, LIMIT).await?;
        ensure!(elsewhere.calls().is_empty());
        ensure!(bob.sync().await?.len() == 1);
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "http://2130706433/",
            "http://example.com/",
        ] {
            let body = json!({ "url": url, "events": ["message.new"] });
            bob.post_json("/v1/webhooks", &body)
                .await?
                .refused(400, "VALIDATION_ERROR")?;
        }
        Ok(())
    });
}
