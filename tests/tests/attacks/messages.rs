//! Forged, altered and misplaced messages (39 to 69).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use waxwire_shared::{
    api::frames::{ClientFrame, Queue},
    ids::{ConversationId, Hash, SessionId},
    wire::{
        DirectHeader, Document as _, Envelope, Kind, Lane, NRange, Receipt, ReceiptState, ResendRequest,
        Unreadable,
    },
};
use waxwire_tests::{
    eventually,
    letter::Letter,
    scenario,
    tap::{Fate, Side},
    unique,
};

use super::{REFUSED, acquaint, insider, member, refused, unheard};

const SOON: Duration = Duration::from_secs(20);

/// Attack 39: anybody can seal to a public key, and claim to be a peer.
#[test]
fn attack_39_forged_sender_is_refused() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [bob] = scene.agents(["bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let alice = mallory.bundle_of("alice").await?;
        let text = unique("not by alice")?;
        // With alice's identity, and no signature of hers.
        let mut letter = mallory.letter("bob", &text).await?;
        letter.core.handle = alice.handle.clone();
        letter.core.identity = alice.identity.clone();
        letter.core.conversation =
            ConversationId::direct(&alice.identity, letter.context.recipient.as_ref().context("bob")?);
        mallory.post(&mallory.seal(&letter)?).await?;
        bob.until_alert("bad_signature").await?;
        // With her handle, and an identity of its own.
        let mut letter = mallory.letter("bob", &text).await?;
        letter.core.handle = alice.handle;
        mallory.post(&mallory.seal(&letter)?).await?;
        bob.until_alert("unknown_key").await?;
        unheard(&[&bob], &text).await?;
        scene.aftermath().await
    });
}

/// Attack 40: what was signed for one recipient is sealed to another.
#[test]
fn attack_40_message_cannot_be_passed_on_as_written_to_another() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let text = unique("for mallory alone")?;
        alice.send_text("mallory", &unique("id")?, &text).await?;
        let (_, signed) = mallory.opened().await?.pop().context("alice's message")?;
        let letter = mallory.letter("bob", "").await?;
        mallory.post(&letter.enclose(&signed)?).await?;
        bob.until_alert("wrong_context").await?;
        unheard(&[&bob], &text).await?;
        scene.aftermath().await
    });
}

/// Attack 41: the relay puts an envelope into another queue: of another agent, of another form.
#[test]
fn attack_41_envelope_opens_in_its_own_queue_only() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob", "carol"]).await?;
        scene.gather("moved").await?;
        let envelope = acquaint(&scene, "alice", "carol").await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let id = scene.relay().store().only_group().await?;
        let group = scene.groups().next().context("a group")?.to_owned();
        let text = unique("to the group")?;
        alice.send_to_group(&group, &unique("id")?, &text).await?;
        bob.until_text(&group, &text).await?;
        let of_group = scene.evil("bob")?.seen(Queue::Group(id));
        let of_group = of_group.last().context("an envelope of the group")?.clone();
        let for_bob = mallory.letter("bob", "").await?.header;
        let parts = Envelope::split(&envelope)?;
        let addressed_anew = with_header(&for_bob, parts.ciphertext);
        let other_lane = with_header(
            &DirectHeader {
                lane: Lane::Control,
                ..for_bob
            },
            parts.ciphertext,
        );
        let evil = scene.evil("bob")?;
        evil.show(Queue::Mail, &[envelope.clone(), of_group.clone(), other_lane]);
        evil.show(Queue::Mail, std::slice::from_ref(&addressed_anew));
        evil.show(Queue::Control, &[addressed_anew, envelope.clone()]);
        evil.show(Queue::Group(id), &[envelope]);
        bob.until_metric(REFUSED, 7).await?;
        for reason in [
            "envelope_misrouted",
            "envelope_malformed",
            "envelope_does_not_open",
        ] {
            bob.until_alert(reason).await?;
        }
        let nothing = waxwire_shared::ids::GroupId::from_bytes([9; 32]);
        evil.show(Queue::Group(nothing), &[of_group]);
        bob.until_alert("unexpected_group").await?;
        scene.aftermath().await
    });
}

fn with_header(header: &DirectHeader, ciphertext: &[u8]) -> Vec<u8> {
    let header = header.encode();
    let envelope = Envelope {
        header: &header,
        ciphertext,
    };
    envelope.to_bytes()
}

/// Attack 43: what an agent wrote is played back to it as if its peer had said it.
#[test]
fn attack_43_own_message_does_not_come_back_as_the_peers() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let envelope = acquaint(&scene, "alice", "bob").await?;
        let [alice] = scene.agents(["alice"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let to_alice = mallory.letter("alice", "").await?.header;
        let parts = Envelope::split(&envelope)?;
        let evil = scene.evil("alice")?;
        evil.show(
            Queue::Mail,
            &[envelope.clone(), with_header(&to_alice, parts.ciphertext)],
        );
        alice.until_metric(&refused("envelope_misrouted"), 1).await?;
        alice.until_metric(&refused("envelope_does_not_open"), 1).await?;
        ensure!(alice.sync().await?.is_empty(), "it came back");
        scene.aftermath().await
    });
}

/// Attack 50: every byte of an envelope is flipped, one at a time. None is taken; the genuine one is.
#[test]
fn attack_50_no_flipped_byte_is_accepted() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.evil("bob")?.hold(Queue::Mail);
        let text = unique("byte for byte")?;
        let sent = alice.send_text("bob", &unique("id")?, &text).await?;
        let held = scene.evil("bob")?.until_held(Queue::Mail, 1).await?;
        let genuine = held.first().context("an envelope")?;
        let flipped: Vec<Vec<u8>> = (0..genuine.len())
            .map(|at| {
                let mut bytes = genuine.clone();
                bytes[at] ^= 1 << (at % 8);
                bytes
            })
            .collect();
        let before = bob.metric(REFUSED).await?;
        scene.evil("bob")?.show(Queue::Mail, &flipped);
        bob.until_metric(REFUSED, before + flipped.len() as u64).await?;
        scene.evil("bob")?.release(Queue::Mail, |_| ());
        let got = bob.receive().await?;
        ensure!(got.id == sent.id && got.text() == text, "{got:?}");
        scene.aftermath().await
    });
}

/// Attack 51: what the relay says about a message is not shown as a fact.
#[test]
fn attack_51_signed_facts_are_shown_whatever_the_relay_says() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.evil("bob")?.hold(Queue::Mail);
        let sent = alice.send_text("bob", &unique("id")?, &unique("when")?).await?;
        scene.evil("bob")?.until_held(Queue::Mail, 1).await?;
        // Released, it was stored in 1970 under another number, as the relay has it.
        scene.evil("bob")?.release(Queue::Mail, |_| ());
        let got = bob.receive().await?;
        let facts = (&got.id, &got.created_at, &got.sender, &got.kind, &got.content);
        let signed = (
            &sent.id,
            &sent.created_at,
            &sent.sender,
            &sent.kind,
            &sent.content,
        );
        ensure!(facts == signed, "{got:?} is not {sent:?}");
        scene.aftermath().await
    });
}

/// Attack 52: plaintext is put into a conversation.
#[test]
fn attack_52_plaintext_is_no_message() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [bob] = scene.agents(["bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let text = unique("in clear")?;
        let letter = mallory.letter("bob", &text).await?;
        let core = letter.core.encode();
        let objects = [
            format!("{{\"type\": \"text\", \"sender\": \"alice\", \"content\": {{\"text\": \"{text}\"}}}}")
                .into_bytes(),
            core.clone(),
            with_header(&letter.header, &letter.core.content),
            with_header(&letter.header, &core),
        ];
        let evil = scene.evil("bob")?;
        evil.show(Queue::Mail, &objects);
        bob.until_metric(REFUSED, objects.len() as u64).await?;
        unheard(&[&bob], &text).await?;
        scene.aftermath().await
    });
}

/// Attacks 35 and 54: one kind of object is passed off as another, a key among them.
#[test]
fn attack_35_54_no_kind_passes_as_another() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [bob] = scene.agents(["bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let text = unique("relabelled")?;
        let genuine = mallory.letter("bob", &text).await?;
        let mut forged = Vec::new();
        for kind in [
            Kind::Group,
            Kind::Broadcast,
            Kind::Receipt,
            Kind::Unreadable,
            Kind::ResendRequest,
            Kind::Resend,
            Kind::Invite,
            Kind::HistoryGrant,
            Kind::Profile,
            Kind::Typing,
            Kind::Presence,
            Kind::EpochKey,
        ] {
            // Of one kind inside, of another in front.
            let mut letter = genuine.clone();
            letter.kind = kind;
            forged.push(mallory.seal(&letter)?);
            // The other way round, where a content message can say so.
            if kind.is_content() {
                let mut letter = genuine.clone();
                letter.core.kind = kind;
                forged.push(mallory.seal(&letter)?);
            }
        }
        // Content in the lane of control, and of a group's kind in front and inside.
        let mut letter = genuine.clone();
        letter.header.lane = Lane::Control;
        let in_control = mallory.seal(&letter)?;
        let mut letter = genuine.clone();
        (letter.kind, letter.core.kind) = (Kind::Group, Kind::Group);
        forged.push(mallory.seal(&letter)?);
        let evil = scene.evil("bob")?;
        evil.show(Queue::Mail, &forged);
        evil.show(Queue::Control, &[in_control]);
        bob.until_metric(REFUSED, forged.len() as u64 + 1).await?;
        unheard(&[&bob], &text).await?;
        // A control message is no content either.
        let receipt = receipt(&genuine, SessionId::from_bytes([1; 16]));
        let note = mallory.note("bob", Kind::Receipt, receipt.encode()).await?;
        evil.show(Queue::Mail, &[note]);
        bob.until_metric(REFUSED, forged.len() as u64 + 2).await?;
        mallory.post(&mallory.seal(&genuine)?).await?;
        ensure!(bob.receive().await?.text() == text, "the genuine one");
        scene.aftermath().await
    });
}

fn receipt(letter: &Letter, session: SessionId) -> Receipt {
    Receipt {
        conversation: letter.core.conversation,
        session,
        n: 1,
        core_hash: Some(Hash::from_bytes([2; 32])),
        later: Vec::new(),
        state: ReceiptState::Read,
    }
}

/// Attack 62: a message names a URL. Nobody fetches it.
#[test]
fn attack_62_addresses_in_messages_are_not_fetched() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/{}", listener.local_addr()?, unique("canary")?);
        let body = serde_json::json!({
            "to": "bob", "client_msg_id": unique("id")?, "type": "text",
            "content": {"text": url, "data": {"image_url": url, "avatar_url": url}},
            "metadata": {"link_preview": url, "webhook": url},
        });
        alice.send(&body).await?.expect(201)?;
        let got = bob.receive().await?;
        ensure!(got.text() == url, "{got:?}");
        bob.get(&format!("/v1/messages/{}", got.conversation_id))
            .await?
            .expect(200)?;
        scene.aftermath().await?;
        let visit = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        ensure!(visit.is_err(), "somebody came");
        Ok(())
    });
}

/// Attack 64: the relay tries what an agent does with bad envelopes. All are acknowledged, and nothing else
/// happens: a lookup of who signed well is the one difference, and SECURITY.md names it.
#[test]
fn attack_64_refusals_look_alike_from_outside() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [bob] = scene.agents(["bob"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        let genuine = mallory.letter("bob", "judged").await?;
        let mut bad_signature = genuine.clone();
        bad_signature.core.identity = mallory.bundle_of("alice").await?.identity;
        let mut wrong_context = genuine.clone();
        wrong_context.context.recipient_handle = Some("carol".parse()?);
        let mut wrong_conversation = genuine.clone();
        wrong_conversation.core.conversation = ConversationId::from_bytes([3; 32]);
        let mut malformed = genuine.clone();
        malformed.core.content = b"[1]".to_vec();
        let mut wrong_kind = genuine.clone();
        wrong_kind.kind = Kind::Broadcast;
        let letters = [
            bad_signature,
            wrong_context,
            wrong_conversation,
            malformed,
            wrong_kind,
        ];
        let (acked, told) = watch(&mut scene)?;
        let mut count = 1;
        for letter in letters {
            let envelope = mallory.seal(&letter)?;
            scene.evil("bob")?.show(Queue::Mail, &[envelope]);
            count += 1;
            eventually("it is acknowledged", SOON, async || {
                Ok((acked.load(Ordering::SeqCst) >= count).then_some(()))
            })
            .await?;
        }
        bob.until_metric(REFUSED, count - 1).await?;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(told.is_empty(), "the relay sees {told:?}");
        scene.aftermath().await
    });
}

type Told = Arc<Mutex<Vec<String>>>;

/// How far bob acknowledges his mail, and what else his proxy tells the relay.
fn watch(scene: &mut waxwire_tests::Scene<'_>) -> anyhow::Result<(Arc<AtomicU64>, Told)> {
    let (acked, told) = (Arc::new(AtomicU64::new(0)), Told::default());
    let (counter, frames, requests) = (Arc::clone(&acked), Arc::clone(&told), Arc::clone(&told));
    let note = |told: &Told, what: String| told.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    scene.evil("bob")?.also(move |frame| {
        match frame.client() {
            Some(ClientFrame::Ack(cursors)) => {
                let mail = cursors.iter().filter(|cursor| cursor.queue == Queue::Mail);
                let highest = mail.map(|cursor| cursor.position).max().unwrap_or(0);
                counter.fetch_max(highest, Ordering::SeqCst);
            }
            Some(other) => note(&frames, format!("{other:?}")),
            None if frame.from == Side::Proxy => note(&frames, "no frame".to_owned()),
            None => {}
        }
        None::<Fate>
    });
    scene.proxy("bob")?.tap().on_request(move |asked| {
        note(&requests, format!("{} {}", asked.method, asked.path));
        waxwire_tests::tap::Outcome::Pass
    });
    Ok((acked, told))
}

/// Attack 67: somebody else, and the relay, say that a message was read.
#[test]
fn attack_67_nobody_else_says_that_a_message_was_read() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.proxy("bob")?.terminate().await?;
        let sent = alice.send_text("bob", &unique("id")?, &unique("read?")?).await?;
        let mallory = insider(world, &scene, "mallory").await?;
        // A correspondent with whom alice really talks.
        mallory
            .post(&mallory.seal(&mallory.letter("alice", "hello").await?)?)
            .await?;
        alice.receive().await?;
        let mut letter = mallory.letter("alice", "").await?;
        let (a, b) = (
            mallory.bundle_of("alice").await?.identity,
            mallory.bundle_of("bob").await?.identity,
        );
        letter.core.conversation = ConversationId::direct(&a, &b);
        let forged = receipt(&letter, SessionId::from_bytes([1; 16]));
        mallory
            .post(&mallory.note("alice", Kind::Receipt, forged.encode()).await?)
            .await?;
        alice.until_alert("receipt_mismatch").await?;
        let rows = alice
            .history(
                &sent.conversation_id,
                &format!("after_seq={}&limit=1", sent.seq - 1),
            )
            .await?;
        ensure!(rows[0].id == sent.id && rows[0].status == "stored", "{rows:?}");
        scene.proxy("bob")?.start().await?;
        bob.receive().await?;
        alice.until_status(&sent, "delivered").await?;
        scene.aftermath().await
    });
}

/// Attack 37: somebody says that it could not read what was meant for another, and asks for it.
#[test]
fn attack_37_nothing_is_sent_again_to_somebody_else() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let envelope = acquaint(&scene, "alice", "bob").await?;
        let [alice] = scene.agents(["alice"])?;
        let mallory = insider(world, &scene, "mallory").await?;
        mallory
            .post(&mallory.seal(&mallory.letter("alice", "hello").await?)?)
            .await?;
        alice.receive().await?;
        let parts = Envelope::split(&envelope)?;
        let report = Unreadable {
            envelope_hash: waxwire_shared::hash::sha256(&envelope),
            mid: DirectHeader::decode(parts.header)?.mid,
        };
        let (a, b) = (
            mallory.bundle_of("alice").await?.identity,
            mallory.bundle_of("bob").await?.identity,
        );
        let request = ResendRequest {
            conversation: ConversationId::direct(&a, &b),
            session: SessionId::from_bytes([1; 16]),
            ranges: vec![NRange { first: 1, last: 64 }],
        };
        for (kind, body) in [
            (Kind::Unreadable, report.encode()),
            (Kind::ResendRequest, request.encode()),
        ] {
            mallory.post(&mallory.note("alice", kind, body).await?).await?;
        }
        alice
            .until_metric("receives_total{outcome=\"control\"}", 2)
            .await?;
        scene.aftermath().await?;
        ensure!(mallory.opened().await?.is_empty(), "something came");
        Ok(())
    });
}

/// Attack 16 and 54 in a group: what is sealed for the group is not taken from another's queue or epoch.
#[test]
fn attack_54_group_message_is_bound_to_its_place() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let group = scene.gather("places").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let (mallory, log, epoch) = member(world, &scene, &alice, &group).await?;
        bob.until_epoch(&group, epoch.number).await?;
        let text = unique("out of place")?;
        let genuine = mallory.group_letter(&log, &epoch, &text)?;
        let mut direct = genuine.clone();
        direct.core.kind = Kind::Direct;
        let mut elsewhere = genuine.clone();
        elsewhere.core.conversation = ConversationId::from_bytes([4; 32]);
        let forged = [
            mallory.seal_group(&direct, &epoch)?,
            mallory.seal_group(&elsewhere, &epoch)?,
        ];
        scene.evil("bob")?.show(Queue::Group(log.group), &forged);
        bob.until_metric(REFUSED, forged.len() as u64).await?;
        ensure!(!bob.texts_in(&group).await?.contains(&text), "it is shown");
        mallory.post(&mallory.seal_group(&genuine, &epoch)?).await?;
        bob.until_text(&group, &text).await?;
        scene.aftermath().await
    });
}
