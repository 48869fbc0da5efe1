//! Keys of groups: epochs, chains, messages.

use anyhow::{Context as _, ensure};
use waxwire_proxy::{crypto::kdf, group::Chain};
use waxwire_shared::wire::Change;
use waxwire_tests::{Insider, Search, Vault, circle::all_talk, scenario, unique};

use crate::{assert_nowhere, until_overwritten};

/// The key of a chain that stands at its beginning, once it has gone forward to a message.
fn key_at(chain: &Chain, next: u64) -> anyhow::Result<[u8; 32]> {
    Ok(match next.checked_sub(1) {
        None => *chain.key().expose_bytes(),
        Some(last) => *chain.walk(last)?.chain.key().expose_bytes(),
    })
}

/// docs/protocol.md, 6.7: a chain goes forward only. What it was before a message, and the key of the message,
/// are nowhere once the message is there, neither at its author nor at its reader.
#[test]
fn used_message_keys_and_the_chains_behind_them_are_nowhere() {
    scenario(async |world| {
        let mut circle = world
            .circle_prepared(world.relay().await?, ["alice", "bob"], |proxy| {
                proxy.log_level("trace");
                proxy.arguments(["--key-retention", "2"]);
            })
            .await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("used")?, &[&bob]).await?.id;
        all_talk(&[&alice, &bob], &group, "before").await?;
        let id = circle.relay.store().only_group().await?;
        let epoch = alice.group_security(&group).await?.epoch;
        let author = Vault::of(circle.proxy("alice")?)?.agent_id();
        let mut search = Search::default();
        let mut sealed = Search::default();
        for handle in ["alice", "bob"] {
            let vault = Vault::of(circle.proxy(handle)?)?;
            let chain = vault.chain(&id, epoch, &author)?;
            let (_, key, _) = chain.take()?;
            search.key("chain", chain.key().expose_bytes());
            search.key("message key", key.expose_bytes());
            for box_ in vault.sealed_chains()? {
                sealed.bytes(handle, &box_[8..]);
            }
        }
        ensure!(
            !sealed.files(world.folder())?.is_empty(),
            "the search does not find what lies there"
        );

        alice.send_to_group(&group, "used", "under that key").await?;
        bob.until_text(&group, "under that key").await?;
        for handle in ["alice", "bob"] {
            assert_nowhere(world, circle.proxy(handle)?, &search)?;
        }
        // Nor can they be had again from what a database keeps besides its rows.
        all_talk(&[&alice, &bob], &group, "after").await?;
        until_overwritten(world, &sealed).await
    });
}

/// docs/protocol.md, 6.5 and 6.7: the epoch key is erased when its chains are derived, at who made it, too; the
/// chains are erased after their epoch has a successor and its time is over.
#[test]
fn epoch_keys_are_nowhere_and_neither_are_chains_of_former_epochs() {
    scenario(async |world| {
        let mut circle = world
            .circle_prepared(world.relay().await?, ["alice", "bob"], |proxy| {
                proxy.log_level("trace");
                proxy.arguments(["--key-retention", "4"]);
            })
            .await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("epochs")?, &[&bob]).await?.id;
        let carol = Insider::registered(circle.relay.http(), "carol", world.canaries()).await?;
        alice.invite(&group, "carol").await?;
        let id = circle.relay.store().only_group().await?;
        let mut log = carol.read_log(id).await?;
        let accept = Change::Accept {
            invite: carol.invite(&log)?,
        };
        carol.append(&mut log, &[accept]).await?;
        bob.until_members(&group, &["alice", "bob", "carol"]).await?;
        let epoch = alice.rekey(&group).await?;
        bob.until_epoch(&group, epoch).await?;
        carol.follow(&mut log).await?;
        ensure!(log.rekey().epoch == epoch, "another epoch came in between");

        let key = carol.epoch_key(&log).await?;
        let mut search = Search::default();
        search.key("epoch key", key.expose_bytes());
        let mut chains = Search::default();
        let mut sealed = Search::default();
        let theirs = carol.adopt(&log).await?;
        for handle in ["alice", "bob"] {
            let vault = Vault::of(circle.proxy(handle)?)?;
            let own: Chain = vault.chain(&id, epoch, &vault.agent_id())?;
            let known = key_at(theirs.chain_of(&vault.agent_id())?, own.next())?;
            ensure!(
                *own.key().expose_bytes() == known,
                "it is not the key of that epoch"
            );
            chains.key("chain", own.key().expose_bytes());
            chains.key("message key", kdf::message_key(own.key()).expose_bytes());
            let box_ = vault.sealed_chains()?.pop().context("no chain")?;
            sealed.bytes(handle, &box_[8..]);
        }
        for handle in ["alice", "bob"] {
            assert_nowhere(world, circle.proxy(handle)?, &search)?;
        }
        ensure!(
            !sealed.files(world.folder())?.is_empty(),
            "the search does not find what lies there"
        );
        let next = alice.rekey(&group).await?;
        bob.until_epoch(&group, next).await?;
        until_overwritten(world, &sealed).await?;
        for handle in ["alice", "bob"] {
            assert_nowhere(world, circle.proxy(handle)?, &chains)?;
        }
        Ok(())
    });
}
