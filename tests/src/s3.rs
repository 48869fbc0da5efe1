//! A store that speaks S3: moto, a program in Python, with a tap in front of it. Credentials are not checked there.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use anyhow::Context as _;

use crate::{
    balancer::Whereabouts,
    http::{Ask, Http},
    program::{Address, Program},
    relay::{Relay, SPOOL},
    script::{repository, tool},
    tap::Tap,
    world::World,
};

const BUCKET: &str = "attachments";
const PREFIX: &str = "of/relay";

/// The store with an empty bucket; killed when dropped.
#[derive(Debug)]
pub struct S3 {
    tap: Tap,
    http: Http,
    keys: PathBuf,
    _program: Program,
}

impl S3 {
    /// Starts it.
    ///
    /// # Errors
    /// It is not installed or does not come up.
    pub async fn start(world: &World) -> anyhow::Result<Self> {
        let folder = world.folder().join("s3");
        fs::create_dir(&folder)?;
        let mut command = tool("target/venv/bin/python", &folder)?;
        command.arg("-B").arg(repository("tests/s3/serve.py"));
        command.env("TMPDIR", &folder).current_dir(&folder);
        let program = Program::start("s3", command, &world.log("s3")).await?;
        let http = Http::new(Some(program.address().clone()));
        let whereabouts = Whereabouts::default();
        if let Address::Tcp(address) = program.address() {
            whereabouts.set(Some(*address));
        }
        let tap = Tap::start(whereabouts, world.ledger().clone()).await?;
        http.ask(Ask::new("PUT", format!("/{BUCKET}")))
            .await?
            .expect_status(200)?;
        Ok(Self {
            tap,
            http,
            keys: keys(world)?,
            _program: program,
        })
    }

    /// What lies between the relay and the store.
    #[must_use]
    pub const fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Has a relay keep its attachments here, from its next start on.
    ///
    /// # Errors
    /// A path is not text.
    pub fn keeps_for(&self, relay: &mut Relay) -> anyhow::Result<()> {
        let keys = self.keys.to_str().context("a path")?;
        relay.arguments([
            "--blobs",
            &format!("s3://{BUCKET}/{PREFIX}"),
            "--blobs-spool",
            SPOOL,
            "--s3-endpoint",
            &self.tap.url(),
            "--s3-credentials-file",
            keys,
        ]);
        Ok(())
    }

    /// A relay that keeps its attachments here.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn relay(&self, world: &World) -> anyhow::Result<Relay> {
        let mut relay = world.new_relay("relay")?;
        self.keeps_for(&mut relay)?;
        relay.start().await?;
        Ok(relay)
    }

    /// The names of all objects.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn objects(&self) -> anyhow::Result<Vec<String>> {
        self.keys_of("list-type=2").await
    }

    /// The objects that are put in parts and not yet there.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn unfinished(&self) -> anyhow::Result<Vec<String>> {
        self.keys_of("uploads").await
    }

    async fn keys_of(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let answer = self
            .http
            .ask(Ask::new("GET", format!("/{BUCKET}?{query}")))
            .await?;
        answer.expect_status(200)?;
        let text = answer.text();
        let keys = text.split("<Key>").skip(1);
        Ok(keys
            .filter_map(|rest| rest.split_once("</Key>"))
            .map(|(key, _)| key.to_owned())
            .collect())
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// There is none.
    pub async fn object(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.http.ask(of_object("GET", name)).await?;
        answer.expect_status(200)?;
        Ok(answer.body.to_vec())
    }

    /// Puts an object in place of another.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn replace(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let ask = of_object("PUT", name).body(bytes);
        self.http.ask(ask).await?.expect_status(200)
    }
}

/// The store wants to see that somebody has signed a request for an object, and not who.
fn of_object(method: &str, name: &str) -> Ask {
    Ask::new(method, format!("/{BUCKET}/{name}")).header("authorization", "AWS test:")
}

/// Writes credentials, whose secret must not be found anywhere else: the search leaves files of this name out.
fn keys(world: &World) -> anyhow::Result<PathBuf> {
    let secret = crate::unique("s3-secret")?;
    world.canaries().forbid(&secret);
    let file = world.folder().join("s3").join("token");
    let text = format!("[default]\naws_access_key_id = relay\naws_secret_access_key = {secret}\n");
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}
