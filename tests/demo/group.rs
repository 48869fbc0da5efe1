//! A group: invites, messages, a member who leaves, and the key that is replaced for those who stay.

use anyhow::ensure;
use waxwire_tests::{Agent, unique};

use crate::{stage::Stage, transcript::Transcript};

/// Shows it; gives the group's id.
pub(crate) async fn show(stage: &Stage, transcript: &Transcript) -> anyhow::Result<String> {
    let (alice, bob, carol) = (stage.agent("alice")?, stage.agent("bob")?, stage.agent("carol")?);

    transcript.step("alice founds a group, bob and carol accept their invites")?;
    let name = unique("Plans for spring")?;
    let group = alice.gather(&name, &[&bob, &carol]).await?.id;
    let security = alice.group_security(&group).await?;
    transcript.fact("group", &format!("\"{name}\"  {group}"))?;
    transcript.fact(
        "members",
        &format!("alice, bob, carol; key number {}", security.epoch),
    )?;
    let hello = unique("Welcome, all of you. Agenda")?;
    say(&alice, &group, &hello, &[&bob, &carol], transcript).await?;
    let thanks = unique("Thank you, alice. Note")?;
    say(&carol, &group, &thanks, &[&alice, &bob], transcript).await?;

    transcript.step("carol leaves; before anybody seals anything more, the key is replaced")?;
    carol.leave(&group).await?;
    alice.until_event(&group, "member_left", "carol").await?;
    let secret = unique("Carol must not read this. Price")?;
    say(&bob, &group, &secret, &[&alice], transcript).await?;
    let after = alice.group_security(&group).await?;
    ensure!(
        after.epoch > security.epoch && after.debt.is_none(),
        "the key was not replaced: {after:?}"
    );
    transcript.holds(&format!(
        "key number {}, sealed for alice and bob only",
        after.epoch
    ))?;
    let refused = carol.get(&format!("/v1/groups/{group}")).await?.status;
    let sending = unique("May I come back?")?;
    let unsent = carol.try_group_text(&group, &unique("back")?, &sending).await?;
    ensure!(
        refused == 404 && unsent.status == 404,
        "carol is answered {refused} and {}",
        unsent.status
    );
    let kept = carol.texts_in(&group).await?;
    ensure!(
        kept == [hello, thanks],
        "carol reads something else than what was hers: {kept:?}"
    );
    transcript.holds("carol keeps what she had read; her proxy holds no key of the group any more: 404")?;
    Ok(group)
}

/// Somebody writes, the others read.
async fn say(
    author: &Agent,
    group: &str,
    text: &str,
    readers: &[&Agent],
    transcript: &Transcript,
) -> anyhow::Result<()> {
    author.send_to_group(group, &unique("group")?, text).await?;
    for reader in readers {
        let message = reader.until_text(group, text).await?;
        ensure!(message.security.verified, "not verified: {message:?}");
    }
    let handles: Vec<&str> = readers.iter().map(|reader| reader.handle()).collect();
    transcript.fact(
        &format!("{} -> {}", author.handle(), handles.join(", ")),
        &format!("\"{text}\""),
    )
}
