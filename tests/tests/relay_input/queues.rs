//! Envelopes and the queues in which they lie.

use anyhow::{Context as _, ensure};
use serde_json::json;
use waxwire_shared::{
    api::problem::ProblemType,
    ids::{AgentId, Hash},
};
use waxwire_tests::{Stranger, scenario};

use crate::{post, still_works};

#[test]
fn malformed_envelopes_are_refused_and_good_ones_kept() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let sender = Stranger::registered(http, "sender", world.canaries()).await?;
        let reader = Stranger::registered(http, "reader", world.canaries()).await?;
        let good = sender.envelope(reader.id(), &[1; 560])?;
        let cases = [
            ("empty", vec![]),
            ("a length alone", vec![0, 0, 0, 1]),
            ("no ciphertext", sender.envelope(reader.id(), &[])?),
            (
                "a header beyond the end",
                [&[0xff, 0xff, 0xff, 0xff], good.as_slice()].concat(),
            ),
            (
                "a header of garbage",
                [&[0, 0, 0, 4, 1, 2, 3, 4], [1_u8; 100].as_slice()].concat(),
            ),
            ("no header", [&[0, 0, 0, 0], [1_u8; 100].as_slice()].concat()),
            ("to itself", sender.envelope(sender.id(), &[1; 560])?),
        ];
        for (what, envelope) in cases {
            sender
                .post_envelope(&envelope)
                .await?
                .problem(ProblemType::BadRequest)
                .context(what)?;
        }
        let nobody = sender.envelope(AgentId::from_bytes([9; 16]), &[1; 560])?;
        sender
            .post_envelope(&nobody)
            .await?
            .problem(ProblemType::NotFound)?;
        let large = sender.envelope(reader.id(), &vec![1; 80 * 1024])?;
        let problem = sender
            .post_envelope(&large)
            .await?
            .problem(ProblemType::TooLarge)?;
        ensure!(
            problem.limit.is_some_and(|limit| limit.max == 80 * 1024),
            "the limit is named"
        );
        // Every byte of the header's CBOR that is changed makes another header or none, never a fault.
        let header = usize::from(good[3]);
        for at in 0..4 + header {
            let mut changed = good.clone();
            changed[at] ^= 0x20;
            let answer = sender.post_envelope(&changed).await?;
            ensure!(
                matches!(answer.status, 201 | 400 | 404),
                "byte {at}: {} {}",
                answer.status,
                answer.text()
            );
        }
        sender.store(&good).await?;
        sender.store(&good).await?;
        // The same mid with other bytes is answered by the hash of what is held.
        let mut other = good.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        let answer = sender.post_envelope(&other).await?;
        let stored: waxwire_shared::api::rest::StoredAnswer = answer.ok()?;
        assert_eq!(
            (answer.status, stored.hash),
            (200, waxwire_shared::hash::sha256(&good))
        );
        let fetched = reader
            .ask(reader.request("GET", "/v1/queues/mail/envelopes?limit=1000"))
            .await?;
        ensure!(
            fetched.body.windows(good.len()).any(|window| window == good),
            "the good one was not kept"
        );
        still_works(&pair).await
    });
}

/// Attack 83: nobody reads, acks or names what is another's.
#[test]
fn queues_and_acks_are_the_agents_own() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let sender = Stranger::registered(http, "sender", world.canaries()).await?;
        let reader = Stranger::registered(http, "reader", world.canaries()).await?;
        let envelope = sender.envelope(reader.id(), &[5; 560])?;
        sender.store(&envelope).await?;
        let group = Hash::from_bytes([1; 32]);
        for queue in [
            format!("group-{group}"),
            format!("log-{group}"),
            "mail-1".into(),
            "reader".into(),
            "1".into(),
        ] {
            let answer = sender
                .ask(sender.request("GET", format!("/v1/queues/{queue}/envelopes")))
                .await?;
            answer
                .problem(ProblemType::NotFound)
                .with_context(|| queue.clone())?;
        }
        for body in [json!({ "acks": [{ "queue": format!("group-{group}"), "position": 1 }] })] {
            post(&sender, "/v1/acks", &body)
                .await?
                .problem(ProblemType::NotFound)?;
        }
        for body in [
            json!({ "acks": [{ "queue": "mail", "position": -1 }] }),
            json!({ "acks": [{ "queue": "mail", "position": 1.5 }] }),
            json!({ "acks": [{ "queue": "mail" }] }),
            json!({ "acks": [{ "queue": "other", "position": 1 }] }),
            json!({ "acks": {}, "more": 1 }),
        ] {
            post(&sender, "/v1/acks", &body)
                .await?
                .problem(ProblemType::BadRequest)
                .with_context(|| body.to_string())?;
        }
        // The sender's own ack is of its own queue: the reader's mail is where it was.
        post(
            &sender,
            "/v1/acks",
            &json!({ "acks": [{ "queue": "mail", "position": u64::MAX }] }),
        )
        .await?
        .expect_status(204)?;
        let fetched = reader
            .ask(reader.request("GET", "/v1/queues/mail/envelopes"))
            .await?;
        ensure!(
            fetched
                .body
                .windows(envelope.len())
                .any(|window| window == envelope),
            "the mail is gone"
        );
        let queues = reader
            .ask(reader.request("GET", "/v1/queues"))
            .await?
            .expect(200)?;
        assert_eq!(
            queues["queues"],
            json!([{ "queue": "mail", "head": 1, "acked": 0 }, { "queue": "control", "head": 0, "acked": 0 }])
        );
        // Beyond the head counts as the head: what comes later is not acknowledged before it came.
        post(
            &reader,
            "/v1/acks",
            &json!({ "acks": [{ "queue": "mail", "position": u64::MAX }] }),
        )
        .await?
        .expect_status(204)?;
        sender.store(&sender.envelope(reader.id(), &[6; 560])?).await?;
        let queues = reader
            .ask(reader.request("GET", "/v1/queues"))
            .await?
            .expect(200)?;
        assert_eq!(
            queues["queues"][0],
            json!({ "queue": "mail", "head": 2, "acked": 1 })
        );
        still_works(&pair).await
    });
}
