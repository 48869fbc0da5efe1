//! `waxwire-proxy rotate-now`: new keys at once, as after a theft.

use anyhow::ensure;
use clap::Args;
use serde_json::Value;

use super::{
    client::ClientArgs,
    people::carry_out,
    print::{self, field, items, pair},
};

#[derive(Debug, Args)]
pub(super) struct RotateNowArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Exit status 1 if the key of a group was not replaced yet.
pub(super) fn run(args: &RotateNowArgs) -> anyhow::Result<()> {
    carry_out(&args.client, async |api| {
        let rotated = api.post("/v1/keys/rotate", None).await?;
        let groups = items(&rotated["groups"]);
        if args.client.json {
            print::json(&rotated);
        } else {
            pair("key number", &field(&rotated, "key_number"));
            for group in groups {
                print::line(&format!("  {}  {}", field(group, "group_id"), outcome(group)));
            }
        }
        let pending = groups.iter().filter(|group| group["epoch"].is_null()).count();
        ensure!(
            pending == 0,
            "the keys of {pending} groups are not replaced yet; the proxy goes on, and seals nothing there before"
        );
        Ok(())
    })
}

fn outcome(group: &Value) -> String {
    if group["epoch"].is_null() {
        field(group, "code")
    } else {
        format!("epoch {}", field(group, "epoch"))
    }
}
