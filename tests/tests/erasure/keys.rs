//! Encryption keys.

use anyhow::ensure;
use waxwire_tests::{Proxy, Search, Vault, eventually, scenario};

use crate::{SOON, assert_nowhere};

async fn until_erased(proxy: &Proxy, number: u64) -> anyhow::Result<()> {
    eventually("the key is erased", SOON, async || {
        Ok((!Vault::of(proxy)?.key_numbers().contains(&number)).then_some(()))
    })
    .await
}

/// docs/protocol.md, 4.3: after its retention a superseded private half is nowhere. It was used for opening,
/// and it was in the key store, before.
#[test]
fn replaced_encryption_key_is_nowhere_after_its_retention() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice_proxy = world.proxy(&relay, "alice").await?;
        let alice = alice_proxy.agent()?;
        let mut bob_proxy = world.new_proxy(&relay, "bob").await?;
        bob_proxy.init().await?;
        bob_proxy.log_level("trace");
        bob_proxy.arguments(["--key-rotation", "6", "--key-retention", "2"]);
        bob_proxy.start().await?;
        let bob = bob_proxy.agent()?;
        bob.until_ready().await?;
        for number in 0..3 {
            alice
                .send_text("bob", &format!("m{number}"), "to the first key")
                .await?;
            bob.receive().await?;
        }
        let mut search = Search::default();
        let vault = Vault::of(&bob_proxy)?;
        let (number, secret) = vault.newest_key()?;
        search.key("encryption key", secret.expose_bytes());
        let live = search.memory(bob_proxy.program()?.id())?;
        ensure!(!live.is_empty(), "the search does not find a key in use");

        until_erased(&bob_proxy, number).await?;
        // An answer of the engine: what it did in the same breath as the erasure is done.
        bob.identity("alice").await?;
        assert_nowhere(world, &mut bob_proxy, &search)
    });
}
