//! D8: a key store that cannot be used is a refusal with a reason, never a new identity.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_tests::{Proxy, program::run, scenario, world::World};

const LIMIT: Duration = Duration::from_secs(30);

/// `run` must refuse, and the state folder must stay as it was.
async fn refuses(proxy: &Proxy, arguments: &[&str], word: &str) -> anyhow::Result<()> {
    let before = snapshot(proxy)?;
    let mut command = proxy.run_command("127.0.0.1:0")?;
    command.args(arguments);
    let reason = run(command, LIMIT).await?.refusal().context(word.to_owned())?;
    ensure!(reason.contains(word), "no '{word}' in: {reason}");
    ensure!(snapshot(proxy)? == before, "{word}: the state folder was changed");
    Ok(())
}

/// The files that make an identity.
fn snapshot(proxy: &Proxy) -> anyhow::Result<Vec<(PathBuf, Option<Vec<u8>>)>> {
    let read = |name: &str| {
        let path = proxy.state().join(name);
        let bytes = fs::read(&path).ok();
        (path, bytes)
    };
    Ok(["keys", "key", "token"].map(read).to_vec())
}

async fn fingerprint(proxy: &Proxy) -> anyhow::Result<Value> {
    Ok(proxy.agent()?.get("/v1/agents/me").await?.expect(200)?["fingerprint"].clone())
}

fn mode(path: &std::path::Path, mode: u32) -> anyhow::Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

async fn stopped(world: &World) -> anyhow::Result<(waxwire_tests::Relay, Proxy, Value)> {
    let relay = world.relay().await?;
    let mut alice = world.proxy(&relay, "alice").await?;
    let fingerprint = fingerprint(&alice).await?;
    ensure!(alice.terminate().await?.success(), "alice ended badly");
    Ok((relay, alice, fingerprint))
}

#[test]
fn attack_99_damaged_key_stores_are_refused_and_the_good_one_works_again() {
    scenario(async |world| {
        let (_relay, mut alice, fingerprint_before) = stopped(world).await?;
        let path = alice.state().join("keys");
        let good = fs::read(&path)?;
        let mut flipped = good.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        let mut magic = good.clone();
        magic[0] ^= 1;
        let cases: [(&[u8], &str); 6] = [
            (&good[..good.len() / 2], "truncated"),
            (&good[..good.len() - 1], "truncated"),
            (&[], "key store"),
            (&flipped, "altered"),
            (&magic, "key store"),
            (&[good.as_slice(), b"x"].concat(), "key store"),
        ];
        for (bytes, word) in cases {
            fs::write(&path, bytes)?;
            refuses(&alice, &[], word).await?;
        }
        fs::remove_file(&path)?;
        refuses(&alice, &[], "no key store").await?;
        // Nor does init make a new identity into what is left of one.
        let reason = run(alice.init_command(&[])?, LIMIT).await?.refusal()?;
        ensure!(reason.contains("not empty"), "{reason}");
        ensure!(!path.exists(), "init made a new identity");
        fs::write(&path, &good)?;
        mode(&path, 0o600)?;
        alice.start().await?;
        assert_eq!(fingerprint(&alice).await?, fingerprint_before);
        Ok(())
    });
}

#[test]
fn open_permissions_are_refused() {
    scenario(async |world| {
        let (_relay, mut alice, fingerprint_before) = stopped(world).await?;
        let state = alice.state();
        for (file, wrong, right) in [("keys", 0o640, 0o600), ("key", 0o604, 0o600), ("", 0o750, 0o700)] {
            let path = if file.is_empty() {
                state.clone()
            } else {
                state.join(file)
            };
            mode(&path, wrong)?;
            refuses(&alice, &[], "permissions").await?;
            mode(&path, right)?;
        }
        alice.start().await?;
        assert_eq!(fingerprint(&alice).await?, fingerprint_before);
        Ok(())
    });
}

#[test]
fn missing_or_foreign_key_file_is_refused() {
    scenario(async |world| {
        let (relay, mut alice, fingerprint_before) = stopped(world).await?;
        let bob = world.proxy(&relay, "bob").await?;
        let path = alice.state().join("key");
        let good = fs::read(&path)?;
        fs::write(&path, fs::read(bob.state().join("key"))?)?;
        refuses(&alice, &[], "wrong").await?;
        fs::write(&path, "not a key\n")?;
        refuses(&alice, &[], "key file").await?;
        fs::remove_file(&path)?;
        refuses(&alice, &[], "key").await?;
        fs::write(&path, good)?;
        mode(&path, 0o600)?;
        alice.start().await?;
        assert_eq!(fingerprint(&alice).await?, fingerprint_before);
        Ok(())
    });
}

#[test]
fn passphrase_unlocks_and_a_wrong_one_does_not() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut alice = world.new_proxy(&relay, "alice").await?;
        let file = |name: &str, text: &str| {
            let path = world.folder().join(name);
            fs::write(&path, text)?;
            mode(&path, 0o600)?;
            anyhow::Ok(path.display().to_string())
        };
        let right = file("right", "correct horse battery staple\n")?;
        let wrong = file("wrong", "incorrect horse battery staple\n")?;
        let empty = file("empty", "\n")?;
        alice.init_with(&["--passphrase-file", &right]).await?;
        ensure!(
            !alice.state().join("key").exists(),
            "a key file beside the passphrase"
        );
        refuses(&alice, &["--passphrase-file", &wrong], "wrong passphrase").await?;
        refuses(&alice, &["--passphrase-file", &empty], "passphrase").await?;
        refuses(&alice, &["--passphrase-file", "no-such-file"], "no-such-file").await?;
        refuses(&alice, &[], "passphrase").await?;
        let command = |path: &str| {
            let mut command = alice.run_command("127.0.0.1:0")?;
            command.args(["--passphrase-file", path]);
            anyhow::Ok(command)
        };
        let command = command(&right)?;
        alice.start_by(command).await?;
        alice.agent()?.until_ready().await?;
        Ok(())
    });
}

/// A state that is not this key store's, or gone, is refused as well: nothing is sealed anew.
#[test]
fn foreign_or_missing_state_database_is_refused() {
    scenario(async |world| {
        let (relay, mut alice, fingerprint_before) = stopped(world).await?;
        let mut bob = world.proxy(&relay, "bob").await?;
        bob.terminate().await?;
        let path = alice.state().join("state.db");
        let good = fs::read(&path)?;
        fs::write(&path, b"SQLite format 3\0 and then nothing of it")?;
        refuses(&alice, &[], "state").await?;
        fs::remove_file(&path)?;
        refuses(&alice, &[], "state").await?;
        ensure!(!path.exists(), "an empty state was made");
        fs::write(&path, fs::read(bob.state().join("state.db"))?)?;
        refuses(&alice, &[], "state").await?;
        fs::write(&path, good)?;
        alice.start().await?;
        assert_eq!(fingerprint(&alice).await?, fingerprint_before);
        Ok(())
    });
}

/// docs/protocol.md, 4.6: the private half is shown once and not stored.
/// flow 7.8: the recovery key is shown once and never stored.
#[test]
fn recovery_key_is_shown_once_and_stored_nowhere() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut alice = world.new_proxy(&relay, "alice").await?;
        let shown = alice.init().await?.stdout;
        let line = shown.lines().find_map(|line| line.strip_prefix("recovery key"));
        let key = line.context("no recovery key on standard output")?.trim();
        // Its groups, wherever they are put together, must not be found again.
        world.canaries().forbid(key);
        alice.start().await?;
        alice.agent()?.until_ready().await?;
        let bob = world.new_proxy(&relay, "bob").await?;
        let file = world.folder().join("bob-recovery");
        let shown = bob
            .init_with(&["--recovery-file", &file.display().to_string()])
            .await?
            .stdout;
        let key = fs::read_to_string(&file)?;
        ensure!(!shown.contains(key.trim()), "shown although a file was named");
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        let again = world.new_proxy(&relay, "carol").await?;
        let refused = run(
            again.init_command(&["--recovery-file", &file.display().to_string()])?,
            LIMIT,
        )
        .await?;
        refused.refusal()?;
        assert_eq!(fs::read_to_string(&file)?, key);
        Ok(())
    });
}
