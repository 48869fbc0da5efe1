//! `waxwire-proxy audit`: reads the relay's transparency log and tells what does not hold.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::{
    client::{ClientArgs, LocalApi},
    people::carry_out,
    print::{self, field, items, pair},
};

/// How often the proxy is asked how far it is.
const ASK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Take this log for right before it is read: another than before, or the one of which a fork was found.
    #[arg(long, value_name = "LOGID")]
    accept_new_log: Option<String>,
}

/// Exit status 1 if anything does not hold, or not all of it could be read.
pub(super) fn run(args: &AuditArgs) -> anyhow::Result<()> {
    carry_out(&args.client, async |api| {
        if let Some(log) = &args.accept_new_log {
            api.post("/v1/audit/accept", Some(&json!({ "log_id": log })))
                .await?;
        }
        let before = api.get("/v1/audit").await?["finished_at"].take();
        let audit = follow(api).await?;
        if args.client.json {
            print::json(&audit);
        } else {
            show(&audit);
        }
        match complaint(&audit, &before) {
            Some(complaint) => bail!(complaint),
            None => Ok(()),
        }
    })
}

/// Starts a scan and waits for its end.
async fn follow(api: &mut LocalApi) -> anyhow::Result<Value> {
    let mut audit = api.post("/v1/audit", None).await?;
    let mut progress = Progress::default();
    while audit["running"] == true {
        progress.tell(&audit);
        tokio::time::sleep(ASK).await;
        audit = api.get("/v1/audit").await?;
    }
    progress.end();
    Ok(audit)
}

/// A line on a terminal that is written over.
#[derive(Default)]
struct Progress(bool);

impl Progress {
    fn tell(&mut self, audit: &Value) {
        let mut terminal = std::io::stderr();
        if terminal.is_terminal() {
            self.0 = true;
            let (scanned, target) = (field(audit, "scanned"), field(audit, "target"));
            // Whoever cannot be shown it goes without.
            let _shown =
                write!(terminal, "\r\x1b[K{scanned} of {target} leaves").and_then(|()| terminal.flush());
        }
    }

    fn end(&self) {
        if self.0 {
            let _shown = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn show(audit: &Value) {
    let head = &audit["head"];
    pair("log", &field(head, "log_id"));
    pair("size", &field(head, "size"));
    pair("signed at", &field(head, "signed_at"));
    pair("read", &field(audit, "scanned"));
    pair("own bundles", &field(audit, "own_bundles"));
    pair(
        "current",
        if audit["current_bundle_logged"] == true {
            "in the log"
        } else {
            "not in the log"
        },
    );
    for (name, list) in [("rogue", "rogue_bundles"), ("unaccounted", "unaccounted_bundles")] {
        for bundle in items(&audit[list]) {
            let (number, index) = (field(bundle, "number"), field(bundle, "index"));
            pair(
                name,
                &format!("{} number {number} at {index}", field(bundle, "bundle")),
            );
        }
    }
    for evidence in items(&audit["evidence"]) {
        pair(&field(evidence, "type"), &field(evidence, "at"));
        pair("", &field(evidence, "first"));
        pair("", &field(evidence, "second"));
    }
    if !audit["other_log"].is_null() {
        pair("other log", &field(&audit["other_log"], "log_id"));
    }
}

/// What does not hold, the worst first.
fn complaint(audit: &Value, before: &Value) -> Option<String> {
    let rogue = items(&audit["rogue_bundles"]).len();
    if rogue > 0 {
        return Some(format!("{rogue} bundles under this handle are not this agent's"));
    }
    if audit["forked"] == true {
        return Some("the relay has forked its log".to_owned());
    }
    if !audit["other_log"].is_null() {
        return Some("the relay has begun another log: see --accept-new-log".to_owned());
    }
    if audit["failure"].is_string() {
        return Some(format!("not all could be compared: {}", field(audit, "failure")));
    }
    (audit["finished_at"] == *before).then(|| "the scan was broken off: run it again".to_owned())
}
