//! Frames of the link.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, protocol::CloseFrame};
use waxwire_shared::api::frames::{ClientFrame, Cursor, Queue};
use waxwire_tests::{Stranger, scenario};

use crate::still_works;

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
