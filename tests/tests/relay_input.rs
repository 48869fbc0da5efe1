//! Whatever is thrown at the relay: a typed refusal, and every agent is served on.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, protocol::CloseFrame};
use waxwire_shared::{
    api::{
        frames::{ClientFrame, Cursor, Queue},
        problem::ProblemType,
    },
    ids::{AgentId, Hash},
    suite::Suite,
    wire::{Bundle, BundleKey},
};
use waxwire_tests::{Answer, Ask, Pair, Stranger, scenario, stranger::base64, unique};

async fn still_works(pair: &Pair) -> anyhow::Result<()> {
    let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
    pair.relay
        .http()
        .ask(Ask::new("GET", "/readyz"))
        .await?
        .expect_status(200)?;
    let id = unique("after")?;
    alice.send_text("bob", &id, "after the noise").await?;
    assert_eq!(bob.receive().await?.client_msg_id, id);
    Ok(())
}

async fn post(stranger: &Stranger, path: &str, body: &Value) -> anyhow::Result<Answer> {
    stranger.ask(stranger.request("POST", path).json(body)).await
}

/// Points of small order and encodings that are not canonical, by RFC 7748 and RFC 8032.
fn weak_keys() -> Vec<[u8; 32]> {
    let below = |low: u8| {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (low, 0x7f);
        key
    };
    let mut one = [0; 32];
    one[0] = 1;
    let mut high = [9; 32];
    high[31] = 0x89;
    // p - 1, p, p + 1, and two with the unused bit set.
    vec![
        [0; 32],
        one,
        below(0xec),
        below(0xed),
        below(0xee),
        [0xff; 32],
        high,
    ]
}

#[test]
fn weak_and_foreign_keys_cannot_register() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let stranger = Stranger::new(http, "stranger").await?;
        // Identity: small order, not canonical, unknown algorithm, wrong length.
        let mut identities: Vec<Vec<u8>> = weak_keys()
            .iter()
            .filter(|key| key[31] != 0x89)
            .map(|key| [&[0, 1], key.as_slice()].concat())
            .collect();
        identities.push([&[0, 9], [7; 32].as_slice()].concat());
        identities.push(stranger.identity().to_prefixed()[..33].to_vec());
        identities.push(vec![0]);
        identities.push(vec![]);
        identities.push([&[0, 1], vec![7; 8_000].as_slice()].concat());
        for identity in &identities {
            let body = stranger.challenge_request("register", identity)?;
            let answer = post(&stranger, "/v1/challenges", &body).await?;
            answer
                .problem(ProblemType::InvalidObject)
                .with_context(|| hex::encode(&identity[..identity.len().min(40)]))?;
        }
        // Encryption key: contributory and canonical, of a suite that is known.
        let challenge = stranger.challenge("register").await?;
        let good = stranger.bundle()?;
        let key = |public: Vec<u8>| BundleKey {
            suite: Suite::CLASSIC,
            number: 1,
            public,
        };
        for public in weak_keys()
            .into_iter()
            .map(Vec::from)
            .chain([vec![9; 31], vec![9; 33], vec![]])
        {
            let bundle = Bundle {
                keys: vec![key(public.clone())],
                ..good.clone()
            };
            stranger
                .register(&challenge, &bundle)
                .await?
                .problem(ProblemType::InvalidObject)
                .with_context(|| hex::encode(&public))?;
        }
        let mut foreign_relay = good.clone();
        foreign_relay.relay = waxwire_shared::ids::RelayId::from_bytes([3; 32]);
        let wrong = [
            ("another relay", foreign_relay),
            (
                "another handle",
                Bundle {
                    handle: "somebody".parse()?,
                    ..good.clone()
                },
            ),
            (
                "another identity",
                Bundle {
                    identity: Stranger::new(http, "other").await?.identity(),
                    ..good.clone()
                },
            ),
            (
                "no key",
                Bundle {
                    keys: vec![],
                    ..good.clone()
                },
            ),
            (
                "the same key twice",
                Bundle {
                    keys: vec![good.keys[0].clone(), good.keys[0].clone()],
                    ..good.clone()
                },
            ),
            (
                "an unknown suite",
                Bundle {
                    keys: vec![BundleKey {
                        suite: Suite(99),
                        ..good.keys[0].clone()
                    }],
                    ..good.clone()
                },
            ),
            (
                "expired before it began",
                Bundle {
                    not_after: good.not_before,
                    ..good.clone()
                },
            ),
            (
                "number 0",
                Bundle {
                    number: 0,
                    ..good.clone()
                },
            ),
            (
                "from the far future",
                Bundle {
                    number: good.number + 25 * 3_600_000,
                    ..good.clone()
                },
            ),
            (
                "version 2",
                Bundle {
                    version: 2,
                    ..good.clone()
                },
            ),
        ];
        for (what, bundle) in wrong {
            stranger
                .register(&challenge, &bundle)
                .await?
                .problem(ProblemType::InvalidObject)
                .context(what)?;
        }
        // What was refused used nothing up.
        stranger.register(&challenge, &good).await?.expect(201)?;
        stranger
            .register(&challenge, &good)
            .await?
            .problem(ProblemType::ChallengeRefused)?;
        still_works(&pair).await
    });
}

#[test]
fn proofs_are_bound_to_relay_purpose_handle_and_identity() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let (stranger, other) = (
            Stranger::new(http, "stranger").await?,
            Stranger::new(http, "other").await?,
        );
        let bundle = stranger.bundle()?;
        let challenge = stranger.challenge("register").await?;
        let request = |challenge: &[u8], proof: &[u8]| json!({ "challenge": base64(challenge), "proof": base64(proof), "bundle": base64(&stranger.signed(&bundle)) });
        let proof = stranger.proof(&challenge)?;
        let register = async |body: &Value| post(&stranger, "/v1/agents", body).await;
        register(&request(&challenge, &other.proof(&challenge)?))
            .await?
            .problem(ProblemType::InvalidObject)?;
        register(&request(&challenge, &[0; 64]))
            .await?
            .problem(ProblemType::InvalidObject)?;
        register(&request(&challenge, &proof[..63]))
            .await?
            .problem(ProblemType::InvalidObject)?;
        let other_purpose = stranger.challenge("api_key").await?;
        register(&request(&other_purpose, &stranger.proof(&other_purpose)?))
            .await?
            .problem(ProblemType::ChallengeRefused)?;
        // A challenge that the relay did not make, for each byte that is not its own.
        for at in (0..challenge.len()).step_by(7) {
            let mut forged = challenge.clone();
            forged[at] ^= 1;
            let answer = register(&request(&forged, &proof)).await?;
            ensure!(matches!(answer.status, 400 | 409), "byte {at}: {}", answer.text());
        }
        // Another relay's challenge is no good here.
        let mut elsewhere = world.new_relay("elsewhere")?;
        elsewhere.start().await?;
        let there = Stranger::new(elsewhere.http(), "stranger").await?;
        let foreign = there.challenge("register").await?;
        register(&request(&foreign, &stranger.proof(&foreign)?))
            .await?
            .problem(ProblemType::ChallengeRefused)?;
        // Handles belong to whoever came first.
        let thief = Stranger::new(http, "alice").await?;
        let challenge = thief.challenge("register").await?;
        thief
            .register(&challenge, &thief.bundle()?)
            .await?
            .problem(ProblemType::HandleTaken)?;
        // An API key goes to nobody who is unknown.
        let challenge = thief.challenge("api_key").await?;
        let body = json!({ "challenge": base64(&challenge), "proof": base64(&thief.proof(&challenge)?) });
        post(&thief, "/v1/agents/api-key", &body)
            .await?
            .problem(ProblemType::NotFound)?;
        still_works(&pair).await
    });
}

#[test]
fn malformed_bodies_types_and_credentials_are_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let stranger = Stranger::registered(http, "stranger", world.canaries()).await?;
        let deep = "[".repeat(20_000);
        let bodies = [
            "",
            "{",
            "null",
            "[]",
            "{}",
            "NaN",
            "{\"purpose\":\"register\"}",
            "\"",
            "\u{0}",
            &deep,
        ];
        for path in ["/v1/challenges", "/v1/agents", "/v1/agents/api-key", "/v1/acks"] {
            let ask = || {
                stranger
                    .request("POST", path)
                    .header("content-type", "application/json")
            };
            for body in bodies {
                let answer = stranger.ask(ask().body(body.to_owned())).await?;
                answer
                    .problem(ProblemType::BadRequest)
                    .with_context(|| format!("{path} {body:.40}"))?;
            }
            stranger
                .ask(ask().body(vec![0xff, 0xfe]))
                .await?
                .problem(ProblemType::BadRequest)?;
            stranger
                .ask(ask().body(vec![b' '; 40_000]))
                .await?
                .problem(ProblemType::TooLarge)?;
            stranger
                .ask(stranger.request("POST", path).body("{}"))
                .await?
                .problem(ProblemType::UnsupportedMediaType)?;
            stranger
                .ask(
                    stranger
                        .request("POST", path)
                        .header("content-type", "text/plain")
                        .body("{}"),
                )
                .await?
                .problem(ProblemType::UnsupportedMediaType)?;
        }
        for bad in ["ä", "a===", "a b", "A\n"] {
            let body = json!({ "challenge": bad, "proof": bad, "bundle": bad });
            post(&stranger, "/v1/agents", &body)
                .await?
                .problem(ProblemType::BadRequest)
                .context(bad)?;
        }
        // Base64 of what is no CBOR, of cut CBOR, of endless CBOR.
        let challenge = stranger.challenge("register").await?;
        for bytes in [
            &[] as &[u8],
            &[0x5f],
            &[0x9f; 500],
            &[0xbf, 0xff],
            &challenge[..challenge.len() - 1],
            &[0xa1, 0x01, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            let body = json!({ "challenge": base64(bytes), "proof": base64(bytes), "bundle": base64(bytes) });
            post(&stranger, "/v1/agents", &body)
                .await?
                .problem(ProblemType::InvalidObject)
                .with_context(|| hex::encode(bytes))?;
        }
        // Routes that need an API key, and what is none.
        for (method, path) in [
            ("GET", "/v1/agents/me"),
            ("GET", "/v1/agents/alice/bundle"),
            ("PUT", "/v1/agents/me/bundle"),
            ("POST", "/v1/envelopes"),
            ("GET", "/v1/queues"),
            ("GET", "/v1/queues/mail/envelopes"),
            ("POST", "/v1/acks"),
            ("GET", "/v1/link"),
        ] {
            let key = stranger.api_key();
            for credential in [
                None,
                Some(String::new()),
                Some(format!("Bearer {}", &key[..key.len() - 1])),
                Some(format!("Bearer {key}x")),
                Some(format!("Basic {key}")),
                Some(key.to_owned()),
            ] {
                let mut ask = Ask::new(method, path);
                if let Some(value) = &credential {
                    ask = ask.header("authorization", value.as_str());
                }
                http.ask(ask)
                    .await?
                    .problem(ProblemType::Unauthorized)
                    .with_context(|| format!("{method} {path}"))?;
            }
            let both = Ask::new(method, path).bearer(key).bearer(key);
            http.ask(both).await?.problem(ProblemType::Unauthorized)?;
        }
        for path in [
            "/",
            "/v1",
            "/v1/no-such",
            "/v1/queues/other/envelopes",
            "/v1/agents/nobody-here/bundle",
            "/v1/agents/%20/bundle",
            "/v1/queues/%2e%2e/envelopes",
        ] {
            stranger
                .ask(stranger.request("GET", path))
                .await?
                .problem(ProblemType::NotFound)
                .context(path)?;
        }
        stranger
            .ask(stranger.request("DELETE", "/v1/envelopes"))
            .await?
            .problem(ProblemType::MethodNotAllowed)?;
        for query in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "after=-1",
            "wait=61",
            "wait=x",
            "unknown=1",
        ] {
            let path = format!("/v1/queues/mail/envelopes?{query}");
            stranger
                .ask(stranger.request("GET", path))
                .await?
                .problem(ProblemType::BadRequest)
                .context(query)?;
        }
        for nonce in ["", "00", &"z".repeat(64), &"A".repeat(64)] {
            http.ask(Ask::new("GET", format!("/v1/relay?nonce={nonce}")))
                .await?
                .problem(ProblemType::BadRequest)?;
        }
        still_works(&pair).await
    });
}

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

#[test]
fn heads_and_lengths_that_lie_are_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let head = "POST /v1/challenges HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n";
        for request in [
            format!("{head}content-length: 18446744073709551616\r\n\r\n{{}}"),
            format!("{head}content-length: 2\r\ncontent-length: 5\r\n\r\n{{}}"),
            format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{{}}"),
            format!("{head}transfer-encoding: chunked\r\n\r\nZZ\r\n"),
            format!("{head}content-length: 1000000000\r\n\r\n"),
            format!("{head}x: {}\r\n\r\n", "x".repeat(100_000)),
            "GET / HTTP/9.9\r\n\r\n".to_owned(),
            "\0\0\0\0\r\n\r\n".to_owned(),
            format!("GET /{} HTTP/1.1\r\nhost: relay\r\n\r\n", "a".repeat(50_000)),
        ] {
            let answer = http.raw(request.as_bytes()).await?;
            let shown = String::from_utf8_lossy(&answer).into_owned();
            ensure!(
                !shown.starts_with("HTTP/1.1 2") && !shown.starts_with("HTTP/1.1 5"),
                "{request:.80}: {shown}"
            );
        }
        still_works(&pair).await
    });
}

/// What a client of the socket may not do ends that socket with a code, and no other.
#[test]
fn hostile_frames_end_their_socket_only() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let http = pair.relay.http();
        let stranger = Stranger::registered(http, "stranger", world.canaries()).await?;
        let url = pair.relay.url()?.replace("http://", "ws://");
        let open = async || {
            let mut request = format!("{url}/v1/link").into_client_request()?;
            request
                .headers_mut()
                .insert("authorization", format!("Bearer {}", stranger.api_key()).parse()?);
            anyhow::Ok(tokio_tungstenite::connect_async(request).await?.0)
        };
        let resume = Message::binary(ClientFrame::Resume(vec![]).encode());
        let far = Message::binary(
            ClientFrame::Resume(vec![Cursor {
                queue: Queue::Mail,
                position: u64::MAX,
            }])
            .encode(),
        );
        let group = Queue::Group(waxwire_shared::ids::GroupId::from_bytes([1; 32]));
        let foreign = Message::binary(
            ClientFrame::Ack(vec![Cursor {
                queue: group,
                position: 1,
            }])
            .encode(),
        );
        // Frames, and whether the socket must survive them.
        let cases: Vec<(&str, Vec<Message>, bool)> = vec![
            ("text first", vec![Message::text("hello")], false),
            (
                "send first",
                vec![Message::binary(
                    ClientFrame::Send {
                        request: 1,
                        envelope: b"x",
                    }
                    .encode(),
                )],
                false,
            ),
            ("garbage first", vec![Message::binary(vec![0xee; 10])], false),
            (
                "nothing in a frame",
                vec![resume.clone(), Message::binary(vec![])],
                false,
            ),
            (
                "an unknown frame",
                vec![resume.clone(), Message::binary(vec![0x7f, 1, 2])],
                false,
            ),
            (
                "a relay's frame",
                vec![
                    resume.clone(),
                    Message::binary(vec![0x85, 0, 0, 0, 0, 0, 0, 0, 0]),
                ],
                false,
            ),
            ("resume twice", vec![resume.clone(), resume.clone()], false),
            ("text later", vec![resume.clone(), Message::text("{}")], false),
            (
                "a huge frame",
                vec![resume.clone(), Message::binary(vec![1; 300_000])],
                false,
            ),
            (
                "a cut ack",
                vec![resume.clone(), Message::binary(vec![2, 1, 0, 0])],
                false,
            ),
            ("a cursor beyond everything", vec![far], true),
            ("an ack of a foreign queue", vec![resume.clone(), foreign], true),
            (
                "a malformed envelope",
                vec![
                    resume.clone(),
                    Message::binary(
                        ClientFrame::Send {
                            request: 7,
                            envelope: b"x",
                        }
                        .encode(),
                    ),
                ],
                true,
            ),
            (
                "a malformed close",
                vec![
                    resume.clone(),
                    Message::Close(Some(CloseFrame {
                        code: 4999.into(),
                        reason: "".into(),
                    })),
                ],
                false,
            ),
        ];
        for (what, frames, survives) in cases {
            let mut socket = open().await.context(what)?;
            for frame in frames {
                // The relay may have hung up on the one before.
                let _closed = socket.send(frame).await;
            }
            let ended = tokio::time::timeout(Duration::from_millis(1_500), async {
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() {
                        break;
                    }
                }
            })
            .await
            .is_ok();
            ensure!(ended != survives, "{what}: ended {ended}");
        }
        still_works(&pair).await
    });
}
