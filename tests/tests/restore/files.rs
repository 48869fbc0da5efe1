//! Backup files and secrets at the command line (docs/protocol.md, 8.1, 8.3).

use std::path::Path;

use waxwire_tests::scenario;

use super::*;

async fn refused(proxy: &Proxy, name: &str, arguments: &[&str], word: &str) -> anyhow::Result<()> {
    let reason = run(proxy.tool(name, arguments)?, LIMIT).await?.refusal()?;
    ensure!(reason.contains(word), "no '{word}' in: {reason}");
    Ok(())
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

#[test]
fn backup_asks_for_a_secret_and_overwrites_nothing() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let out = world.folder().join("backup");
        let out = utf8(&out)?;
        // The key beside the store would be lost with it.
        refused(&pair.alice, "backup", &["--out", out], "--backup-passphrase-file").await?;
        ensure!(!Path::new(out).exists());
        back_up(world, &pair.alice, "backup").await?;
        ensure!(fs::metadata(out)?.permissions().mode() & 0o777 == 0o600);
        let first = fs::read(out)?;
        let secret = passphrase(world, "secret", "correct horse battery")?;
        let again = ["--backup-passphrase-file", &secret, "--out", out];
        refused(&pair.alice, "backup", &again, "exists").await?;
        ensure!(fs::read(out)? == first);
        let forced = [again.as_slice(), &["--force"]].concat();
        run(pair.alice.tool("backup", &forced)?, LIMIT).await?.success()?;
        ensure!(fs::read(out)? != first);
        // A key file is made where it is named.
        let (key, other) = (world.folder().join("backup.key"), world.folder().join("other"));
        let by_key = ["--backup-key-file", utf8(&key)?, "--out", utf8(&other)?];
        run(pair.alice.tool("backup", &by_key)?, LIMIT).await?.success()?;
        let host = world.other_host(&pair.relay, "alice", "checks").await?;
        let check = [
            "--check",
            "--json",
            "--backup-key-file",
            utf8(&key)?,
            "--backup",
            utf8(&other)?,
        ];
        let shown = run(host.tool("restore", &check)?, LIMIT).await?.success()?.stdout;
        let shown: Value = serde_json::from_str(&shown)?;
        ensure!(
            shown["handle"] == "alice" && shown["restored"] == false,
            "{shown}"
        );
        ensure!(!host.state().exists(), "a check restores nothing");
        Ok(())
    });
}

fn arguments<'a>(url: &'a str, secret: &'a str) -> [&'a str; 5] {
    ["--relay", url, "--backup-passphrase-file", secret, "--backup"]
}

/// Attacks 38 and 99: nothing is made of a backup that is not whole, and nothing is overwritten.
#[test]
fn attack_38_nothing_is_restored_from_a_damaged_backup_or_over_an_agent() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let backup = back_up(world, &pair.alice, "backup").await?;
        let good = fs::read(&backup)?;
        let secret = passphrase(world, "secret", "correct horse battery")?;
        let wrong = passphrase(world, "wrong", "correct horse batterz")?;
        let host = world.other_host(&pair.relay, "alice", "new").await?;
        let url = host.tap().url();
        let bad = world.folder().join("bad");
        let from = async |bytes: &[u8], secret: &str, word: &str| {
            fs::write(&bad, bytes)?;
            let all = [arguments(&url, secret).as_slice(), &[utf8(&bad)?]].concat();
            refused(&host, "restore", &all, word).await?;
            ensure!(!host.state().exists(), "{word}: something was written");
            anyhow::Ok(())
        };
        let mut flipped = good.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        from(&good[..good.len() - 1], &secret, "altered").await?;
        from(&flipped, &secret, "altered").await?;
        from(&good[..50], &secret, "not a backup").await?;
        from(&good, &wrong, "wrong passphrase").await?;

        // Over an agent that is there, of whatever identity.
        let path = utf8(&backup)?;
        let all = [arguments(&url, &secret).as_slice(), &[path]].concat();
        refused(&pair.bob, "restore", &all, "use").await?;
        let mut another = world.new_relay("elsewhere")?;
        another.start().await?;
        let foreign = world.other_host(&another, "alice", "foreign").await?;
        let url = foreign.tap().url();
        let elsewhere = [
            "--relay",
            &url,
            "--backup-passphrase-file",
            &secret,
            "--backup",
            path,
        ];
        refused(&foreign, "restore", &elsewhere, "another relay").await?;
        ensure!(!foreign.state().exists());
        Ok(())
    });
}

/// D8: the passphrase is changed in one step; the identity stays.
#[test]
fn passphrase_is_changed_and_exchanged_for_a_key_file() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (first, second) = (
            passphrase(world, "first", "first passphrase")?,
            passphrase(world, "second", "second passphrase")?,
        );
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let new = ["--new-passphrase-file", first.as_str()];
        refused(&pair.alice, "passphrase", &new, "use").await?;
        ensure!(pair.alice.terminate().await?.success());
        refused(&pair.alice, "passphrase", &[], "--new-passphrase-file").await?;
        run(pair.alice.tool("passphrase", &new)?, LIMIT)
            .await?
            .success()?;
        ensure!(
            !pair.alice.state().join("key").exists(),
            "the key beside the store is of no use any more"
        );
        let change = [
            "--passphrase-file",
            first.as_str(),
            "--new-passphrase-file",
            second.as_str(),
        ];
        run(pair.alice.tool("passphrase", &change)?, LIMIT)
            .await?
            .success()?;
        refused(&pair.alice, "passphrase", &change, "wrong passphrase").await?;
        pair.alice.arguments(["--passphrase-file", second.as_str()]);
        pair.alice.start().await?;
        alice.until_ready().await?;
        alice.send_text("bob", "one", "under another passphrase").await?;
        bob.receive().await?;
        ensure!(pair.alice.terminate().await?.success());
        let key = world.folder().join("alice.key");
        let to_key = [
            "--passphrase-file",
            second.as_str(),
            "--new-key-file",
            utf8(&key)?,
        ];
        run(pair.alice.tool("passphrase", &to_key)?, LIMIT)
            .await?
            .success()?;
        pair.alice.arguments(["--key-file", utf8(&key)?]);
        pair.alice.start().await?;
        alice.until_ready().await
    });
}
