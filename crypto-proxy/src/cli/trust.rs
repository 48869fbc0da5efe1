//! `waxwire-proxy trust`: how keys of peers are known, comparing them, and files of pins.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    client::{ClientArgs, LocalApi, encoded, parse},
    people::carry_out,
    print::{self, field, pair},
    qr,
};
use crate::pins::LARGEST;

#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Show fingerprint, safety number and state of a peer's key, or the own fingerprint if no peer is named.
    Show {
        /// The peer.
        handle: Option<String>,
        /// Draw the code of the identity for a camera, for a terminal with dark ground.
        #[arg(long)]
        qr: bool,
        /// Write the same as a picture.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Compare what the peer shows with what is known here, and hold the peer as verified if it is the same; exit
    /// status 1 if it is not.
    Verify {
        /// The peer.
        handle: String,
        /// The text of the peer's code, or the safety number that the peer sees.
        code: String,
    },
    /// Decide on the key that has this fingerprint, after comparing it over another channel.
    Set {
        /// The peer.
        handle: String,
        /// What the key is from now on.
        #[arg(value_name = "STATE")]
        decision: Decision,
        /// The key: 64 hexadecimal digits.
        fingerprint: String,
    },
    /// Print the own identity and pins as a file for other proxies of this relay.
    Export {
        /// Which pins.
        #[arg(long, value_enum, default_value = "verified")]
        include: Included,
    },
    /// Take a file of pins, all or, if one contradicts what is known, nothing; exit status 1 then.
    Import {
        /// The file; standard input if it is a single hyphen.
        file: PathBuf,
        /// Hold all of them as verified: somebody has compared them, whatever the file says.
        #[arg(long)]
        verified: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decision {
    /// Compared over another channel.
    Verified,
    /// Taken as the peer's, not compared.
    Pinned,
    /// Nothing goes to or comes from it.
    Blocked,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Included {
    /// None but the own identity.
    Own,
    /// Those that were compared.
    Verified,
    /// Those, too, for which a fingerprint was given.
    Pinned,
}

pub(super) fn run(args: &TrustArgs) -> anyhow::Result<()> {
    carry_out(&args.client, async |api| match &args.command {
        TrustCommand::Show { handle, qr, svg } => {
            let identity = identity(api, handle.as_deref()).await?;
            if let Some(file) = svg {
                let picture = qr::svg(&field(&identity, "code"))?;
                std::fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))?;
            }
            tell(args, &identity);
            if *qr && !args.client.json {
                print::line(&qr::terminal(&field(&identity, "code"))?);
            }
            Ok(())
        }
        TrustCommand::Verify { handle, code } => {
            let path = format!("/v1/agents/{}/identity/verify", encoded(handle));
            tell(args, &api.post(&path, Some(&json!({ "code": code }))).await?);
            Ok(())
        }
        TrustCommand::Set {
            handle,
            decision,
            fingerprint,
        } => {
            let state = match decision {
                Decision::Verified => "verified",
                Decision::Pinned => "pinned",
                Decision::Blocked => "blocked",
            };
            let body = json!({ "state": state, "fingerprint": fingerprint });
            let path = format!("/v1/agents/{}/trust", encoded(handle));
            tell(args, &api.put(&path, &body).await?);
            Ok(())
        }
        TrustCommand::Export { include } => {
            let include = match include {
                Included::Own => "own",
                Included::Verified => "verified",
                Included::Pinned => "pinned",
            };
            print::json(&api.get(&format!("/v1/pins?include={include}")).await?);
            Ok(())
        }
        TrustCommand::Import { file, verified } => {
            let path = format!("/v1/pins?verified={verified}");
            let taken: Value = parse(&api.call(Method::POST, &path, Some(read(file)?)).await?)?;
            if args.client.json {
                print::json(&taken);
            } else {
                pair("known", &field(&taken, "known"));
                pair("expected", &field(&taken, "expected"));
            }
            Ok(())
        }
    })
}

async fn identity(api: &mut LocalApi, handle: Option<&str>) -> anyhow::Result<Value> {
    let me = api.get("/v1/agents/me").await?;
    match handle {
        Some(handle) if me["handle"] != handle.trim_start_matches('@').to_ascii_lowercase() => {
            api.get(&format!("/v1/agents/{}/identity", encoded(handle))).await
        }
        _ => Ok(me),
    }
}

/// The text of a file, if it is not too long to be one of pins.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;

    let named = || format!("cannot read {}", file.display());
    let source: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).with_context(named)?)
    };
    let mut text = String::new();
    source
        .take(LARGEST as u64 + 1)
        .read_to_string(&mut text)
        .with_context(named)?;
    ensure!(
        text.len() <= LARGEST,
        "{} is longer than {LARGEST} bytes",
        file.display()
    );
    Ok(text)
}

fn tell(args: &TrustArgs, identity: &Value) {
    if args.client.json {
        print::json(identity);
        return;
    }
    pair("handle", &field(identity, "handle"));
    pair("fingerprint", &field(identity, "fingerprint"));
    // Of a peer; the own identity has no pair.
    if identity["safety_number"].is_string() {
        pair("state", &field(identity, "state"));
        pair("safety number", &format!(" {}", field(identity, "safety_number")));
        pair("key number", &field(identity, "key_number"));
        pair("not after", &field(identity, "not_after"));
    }
    pair("code", &field(identity, "code"));
}
