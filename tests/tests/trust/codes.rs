//! Codes of identities: shown, drawn, read by a decoder that is not ours, and compared.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_tests::{Proxy, program::run, scenario};

use super::{LIMIT, command, json_of};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a camera reads in a picture: decoded by zxing-cpp.
async fn decoded(form: &str, picture: &Path) -> anyhow::Result<String> {
    let mut decoder = Command::new(format!("{ROOT}/target/venv/bin/python"));
    decoder
        .arg(format!("{ROOT}/tests/python/read_qr.py"))
        .arg(form)
        .arg(picture);
    let finished = run(decoder, LIMIT)
        .await?
        .success()
        .context("is scripts/setup done?")?;
    Ok(finished.stdout.trim_end().to_owned())
}

async fn identity(proxy: &Proxy, words: &[&str]) -> anyhow::Result<Value> {
    let (identity, success) = json_of(proxy, "trust", words).await?;
    ensure!(success, "{identity}");
    Ok(identity)
}

/// docs/protocol.md, 4.1: what bob's proxy draws, in a terminal and as a picture, is read by another program, and
/// makes bob verified at alice's.
#[test]
fn drawn_code_is_read_by_another_program_and_verifies() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let own = identity(&pair.bob, &["show"]).await?;
        let code = own["code"].as_str().context("no code")?;
        let seen = identity(&pair.alice, &["show", "bob"]).await?;
        ensure!(seen["code"] == own["code"] && seen["state"] == "new", "{seen}");

        let picture = world.folder().join("bob.svg");
        let drawn = command(
            &pair.bob,
            "trust",
            &["show", "--qr", "--svg", &picture.to_string_lossy()],
        )
        .await?;
        let drawn = drawn.success()?.stdout;
        let blocks: Vec<&str> = drawn.lines().filter(|line| line.contains('\u{2588}')).collect();
        let terminal = world.folder().join("bob.txt");
        fs::write(&terminal, blocks.join("\n"))?;
        for (form, file) in [("svg", &picture), ("terminal", &terminal)] {
            let scanned = decoded(form, file).await?;
            ensure!(scanned == code.to_uppercase(), "{form}: {scanned}");
        }
        let scanned = decoded("svg", &picture).await?;
        let verified = identity(&pair.alice, &["verify", "bob", &scanned]).await?;
        ensure!(verified["state"] == "verified", "{verified}");
        Ok(())
    });
}

/// A code of anybody else changes nothing; a safety number is as good as a code, and both ends see the same.
#[test]
fn code_of_somebody_else_verifies_nobody() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (&pair.alice, &pair.bob);
        let own = identity(bob, &["show"]).await?;
        let code = own["code"].as_str().context("no code")?;
        let other = identity(alice, &["show"]).await?;
        let other = other["code"].as_str().context("no code")?;
        // Alice's key under bob's name, as a relay in the middle would have it.
        let (bobs, alices) = (code.rsplit(':').next(), other.rsplit(':').next());
        let (bobs, alices) = (bobs.context("no key")?, alices.context("no key")?);
        let forged = code.replace(bobs, alices);
        for (wrong, reason) in [
            (other, "VALIDATION_ERROR"),
            (forged.as_str(), "FINGERPRINT_MISMATCH"),
            ("waxwire:v1", "VALIDATION_ERROR"),
        ] {
            let (refusal, success) = json_of(alice, "trust", &["verify", "bob", wrong]).await?;
            ensure!(!success && refusal["code"] == reason, "{wrong}: {refusal}");
        }
        ensure!(identity(alice, &["show", "bob"]).await?["state"] == "new");
        let number = identity(bob, &["show", "alice"]).await?;
        let number = number["safety_number"].as_str().context("no safety number")?;
        let wrong: String = number.chars().map(|c| if c == '1' { '2' } else { c }).collect();
        let (refusal, success) = json_of(alice, "trust", &["verify", "bob", &wrong]).await?;
        ensure!(
            wrong == number || !success && refusal["code"] == "FINGERPRINT_MISMATCH",
            "{refusal}"
        );
        let verified = identity(alice, &["verify", "bob", number]).await?;
        ensure!(verified["state"] == "verified", "{verified}");
        Ok(())
    });
}
