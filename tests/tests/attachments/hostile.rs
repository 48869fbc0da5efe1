//! A relay that changes what it stores or serves (attack 60): nothing of it reaches the agent.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use http::{HeaderValue, Method};
use waxwire_tests::{
    Agent,
    http::Answer,
    scenario,
    tap::{Asked, Outcome},
};

use crate::{SMALL, blobs, content, refusal, same, shared};

/// A sealed chunk.
const CHUNK: usize = 65_536 + 16;

/// Refused with a reason, and without a byte of the attachment.
async fn is_refused(bob: &Agent, id: &str, what: &str) -> anyhow::Result<()> {
    let answer = bob.download(id).await?;
    let body = refusal(&answer, 422, "ATTACHMENT_INVALID").with_context(|| what.to_owned())?;
    ensure!(body["details"]["fault"] == "relay", "{what}: {body}");
    Ok(())
}

fn swap_files(one: &Path, other: &Path) -> anyhow::Result<()> {
    let (a, b) = (fs::read(one)?, fs::read(other)?);
    fs::write(one, b)?;
    Ok(fs::write(other, a)?)
}

/// What lies at the relay is changed.
#[test]
fn attack_60_changed_blobs_are_refused_before_the_first_byte() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        let bytes = content(world, SMALL)?;
        let first = shared(&pair, "a.csv", &bytes).await?;
        let [file] = &blobs(&pair)?[..] else {
            anyhow::bail!("not one blob");
        };
        let sealed = fs::read(file)?;
        ensure!(sealed.len() > 3 * CHUNK);
        let [a, b, rest] = [&sealed[..CHUNK], &sealed[CHUNK..2 * CHUNK], &sealed[2 * CHUNK..]];
        let mut flipped = sealed.clone();
        *flipped.last_mut().context("empty")? ^= 1;
        for (what, changed) in [
            ("chunks swapped", [b, a, rest].concat()),
            ("a chunk twice", [a, a, rest].concat()),
            ("a bit flipped in the last byte", flipped),
            ("zeros", vec![0; sealed.len()]),
        ] {
            fs::write(file, changed)?;
            is_refused(&bob, first.attachment(), what).await?;
        }
        // An honest relay sees that the file was cut, and has nothing to give.
        fs::write(file, &sealed[..sealed.len() - 1])?;
        let answer = bob.download(first.attachment()).await?;
        refusal(&answer, 410, "ATTACHMENT_GONE")?;
        fs::write(file, &sealed)?;
        same(&bob.download(first.attachment()).await?, &bytes)?;

        let other = content(world, SMALL)?;
        let second = shared(&pair, "b.csv", &other).await?;
        let [one, two] = &blobs(&pair)?[..] else {
            anyhow::bail!("not two blobs");
        };
        swap_files(one, two)?;
        is_refused(&bob, first.attachment(), "another's blob").await?;
        is_refused(&bob, second.attachment(), "another's blob").await?;
        swap_files(one, two)?;
        same(&bob.download(second.attachment()).await?, &other)
    });
}

/// Changes an answer.
type Lie = fn(&mut Answer);

fn parts(asked: &Asked) -> bool {
    asked.method == Method::GET && asked.path.starts_with("/v1/blobs/")
}

/// What the relay answers is changed (attacks 60 and 61).
#[test]
fn attack_61_lying_answers_are_refused_before_the_first_byte() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        let bytes = content(world, SMALL)?;
        let message = shared(&pair, "a.csv", &bytes).await?;
        let lies: [(&str, Lie); 5] = [
            ("cut", |answer| answer.body = answer.body.slice(1..)),
            ("extended", |answer| {
                answer.body = [&answer.body[..], &[0; 16]].concat().into();
            }),
            ("bomb", |answer| answer.body = vec![0; 8 * 1024 * 1024].into()),
            ("of another length", |answer| {
                let range = HeaderValue::from_static("bytes 0-262143/9999999");
                answer.headers.insert("content-range", range);
            }),
            ("whole instead of a part", |answer| {
                answer.headers.remove("content-range");
            }),
        ];
        for (what, lie) in lies {
            pair.bob.tap().on_request(move |asked| {
                if parts(asked) {
                    Outcome::Rewrite(Box::new(lie))
                } else {
                    Outcome::Pass
                }
            });
            is_refused(&bob, message.attachment(), what).await?;
        }
        for (status, expected, code) in [
            (404, 410, "ATTACHMENT_GONE"),
            (416, 422, "ATTACHMENT_INVALID"),
            (302, 422, "ATTACHMENT_INVALID"),
        ] {
            pair.bob.tap().on_request(move |asked| {
                let problem = format!(r#"{{"type":"about:blank","title":"a","status":{status}}}"#);
                if parts(asked) {
                    return Outcome::Answer {
                        status,
                        media_type: "application/problem+json",
                        body: problem.into_bytes(),
                    };
                }
                Outcome::Pass
            });
            refusal(&bob.download(message.attachment()).await?, expected, code)?;
        }
        pair.bob.tap().calm();
        same(&bob.download(message.attachment()).await?, &bytes)?;
        ensure!(crate::files_of(&pair.bob.state().join("attachments"))?.is_empty());
        Ok(())
    });
}

/// A relay that takes an upload and says strange things of it gets the same bytes or none.
#[test]
fn lies_about_an_upload_do_not_change_what_is_sealed() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let bytes = content(world, 600_000)?;
        let mut lied = 0;
        pair.alice.tap().record();
        pair.alice.tap().on_request(move |asked| {
            // Takes a part and asks for it once more.
            if asked.method == Method::PATCH && lied < 2 {
                lied += 1;
                return Outcome::LoseAnswer;
            }
            Outcome::Pass
        });
        let id = alice.upload("a.csv", &bytes).await?;
        alice.send_file("bob", "a", &id).await?;
        let message = bob.receive().await?;
        same(&bob.download(message.attachment()).await?, &bytes)?;
        pair.alice.tap().on_request(|asked| {
            if asked.path != "/v1/blobs" {
                return Outcome::Pass;
            }
            Outcome::Rewrite(Box::new(|answer| {
                let text = answer.text().replace("\"offset\":0", "\"offset\":99999999");
                answer.body = text.into();
            }))
        });
        let begun = alice.begin_upload("b.csv", &bytes).await?;
        let answer = alice.put_bytes(&begun.path, None, bytes.clone()).await?;
        refusal(&answer, 403, "FORBIDDEN")?;
        Ok(())
    });
}
