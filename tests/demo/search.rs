//! The relay's files, searched byte by byte for anything that an agent wrote.

use std::fs;

use anyhow::ensure;
use waxwire_tests::canary::files;

use crate::{stage::Stage, transcript::Transcript};

/// Shows that there is nothing.
pub(crate) fn show(stage: &Stage, transcript: &Transcript) -> anyhow::Result<()> {
    transcript.step("The relay's database, write-ahead log included, is searched for what was said")?;
    let (mut bytes, mut handles) = (0, 0);
    for file in files(stage.relay.folder())? {
        let content = fs::read(&file)?;
        bytes += content.len();
        handles += content.windows(5).filter(|window| window == b"alice").count();
        if let Some((offset, secret)) = stage.secrets.find(&content) {
            anyhow::bail!(
                "\"{secret}...\" lies in clear in {} at byte {offset}",
                file.display()
            );
        }
    }
    transcript.fact(
        "searched",
        &format!("{bytes} bytes in {}", stage.relay.folder().display()),
    )?;
    transcript.fact(
        "looked for",
        "every text, metadata, group name, client_msg_id and token",
    )?;
    // A search that finds nothing at all would prove nothing: handles are what the relay may know.
    ensure!(
        handles > 0,
        "not even a handle was found: the search looked in the wrong place"
    );
    transcript.holds("none of it is there (the handle alice is, as it may be)")
}
