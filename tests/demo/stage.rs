//! The programs of the demonstration, in a fresh folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use waxwire_tests::{Agent, Proxy, Relay, canary::Canaries, http::host, program::Address, proxy::Straight};

use crate::transcript::Transcript;

/// A relay and three agents.
pub(crate) struct Stage {
    folder: TempDir,
    /// The relay.
    pub(crate) relay: Relay,
    proxies: Vec<Proxy<Straight>>,
    /// Everything that agents write, and their tokens.
    pub(crate) secrets: Canaries,
}

/// Who is there.
const HANDLES: [&str; 3] = ["alice", "bob", "carol"];

impl Stage {
    /// Starts everything.
    pub(crate) async fn set(transcript: &Transcript) -> anyhow::Result<Self> {
        transcript.step("A relay and three agents, each with a crypto proxy of its own")?;
        let folder = tempfile::Builder::new().prefix("waxwire-demo-").tempdir()?;
        let log = |name: &str| folder.path().join(format!("{name}.log"));
        let relay_folder = folder.path().join("relay");
        fs::create_dir(&relay_folder)?;
        let mut relay = Relay::new(&relay_folder, &log("relay"))?;
        relay.log_level("info");
        relay.start().await.context("the relay")?;
        transcript.fact("relay", &relay.url()?)?;
        let (secrets, mut proxies) = (Canaries::default(), Vec::new());
        for handle in HANDLES {
            let route = Straight(relay.url()?);
            let mut proxy = Proxy::new(handle, folder.path(), &log(handle), route, secrets.clone());
            proxy.log_level("info");
            proxy.init().await?;
            proxy.start().await?;
            let agent = proxy.agent()?;
            agent.until_ready().await?;
            let me = agent.get("/v1/agents/me").await?.expect(200)?;
            let fingerprint = me["fingerprint"].as_str().context("a fingerprint")?;
            transcript.fact(
                handle,
                &format!("{}  fingerprint {}...", url(&proxy)?, &fingerprint[..16]),
            )?;
            proxies.push(proxy);
        }
        transcript.fact("folder", &folder.path().display().to_string())?;
        Ok(Self {
            folder,
            relay,
            proxies,
            secrets,
        })
    }

    /// The proxy of an agent.
    pub(crate) fn proxy(&mut self, handle: &str) -> anyhow::Result<&mut Proxy<Straight>> {
        let proxy = self.proxies.iter_mut().find(|proxy| proxy.handle() == handle);
        proxy.with_context(|| format!("nobody is called {handle}"))
    }

    /// An agent.
    pub(crate) fn agent(&self, handle: &str) -> anyhow::Result<Agent> {
        let proxy = self.proxies.iter().find(|proxy| proxy.handle() == handle);
        proxy
            .with_context(|| format!("nobody is called {handle}"))?
            .agent()
    }

    /// Tells how to go on by hand.
    pub(crate) fn invite(&self, group: &str, transcript: &Transcript) -> anyhow::Result<()> {
        transcript.step("Your turn: everything stays up until Ctrl-C")?;
        for proxy in &self.proxies {
            let token = proxy.token_file();
            transcript.fact(
                proxy.handle(),
                &format!("{}  token in {}", url(proxy)?, token.display()),
            )?;
        }
        let [alice, bob] = [&self.proxies[0], &self.proxies[1]];
        let bearer = |proxy: &Proxy<Straight>| {
            format!(
                "-H \"Authorization: Bearer $(cat {})\"",
                proxy.token_file().display()
            )
        };
        transcript.line("")?;
        transcript.line(&format!(
            "curl -s {} -H 'Content-Type: application/json' -d '{}' {}/v1/messages",
            bearer(alice),
            r#"{"to": "bob", "client_msg_id": "by-hand-1", "content": {"text": "hello"}}"#,
            url(alice)?
        ))?;
        transcript.line(&format!("curl -s {} {}/v1/inbox", bearer(bob), url(bob)?))?;
        transcript.line(&format!(
            "curl -s {} {}/v1/groups/{group}/security",
            bearer(bob),
            url(bob)?
        ))?;
        transcript.line("")
    }

    /// Ends everything in order.
    pub(crate) async fn strike(mut self) -> anyhow::Result<()> {
        for proxy in &mut self.proxies {
            let status = proxy.terminate().await?;
            ensure!(
                status.success(),
                "the proxy of {} ended with {status}",
                proxy.handle()
            );
        }
        let status = self.relay.terminate().await?;
        ensure!(status.success(), "the relay ended with {status}");
        Ok(())
    }

    /// Keeps the logs beyond the end and says where they are.
    pub(crate) fn keep_logs(&self) -> anyhow::Result<String> {
        let kept = tempfile::Builder::new()
            .prefix("waxwire-demo-logs-")
            .tempdir()?
            .keep();
        for log in logs(self.folder.path())? {
            if let Some(name) = log.file_name() {
                fs::copy(&log, kept.join(name))?;
            }
        }
        Ok(format!("logs are kept in {}", kept.display()))
    }
}

/// Where a proxy listens.
pub(crate) fn url(proxy: &Proxy<Straight>) -> anyhow::Result<String> {
    let address: Address = proxy.address()?;
    Ok(format!("http://{}", host(&address)))
}

fn logs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files = waxwire_tests::canary::files(folder)?;
    let is_log = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "log");
    Ok(files.into_iter().filter(is_log).collect())
}
