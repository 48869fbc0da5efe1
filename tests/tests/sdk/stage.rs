//! A relay and crypto proxies around a script, and what the script may have done to them.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use waxwire_tests::{
    Circle, World,
    http::host,
    program::run,
    script::{repository, run_script, tool},
    unique,
};

/// How long a script may take on two idle cores.
const SCRIPT: Duration = Duration::from_secs(90);
/// How long a command of the relay's operator may take.
const COMMAND: Duration = Duration::from_secs(20);

/// What a script is written in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Language {
    /// Python, with `agentchatme` of PyPI.
    Python,
    /// JavaScript, with `agentchatme` of npm.
    TypeScript,
}

/// Where a script plays.
#[derive(Debug)]
pub(crate) struct Stage {
    circle: Circle,
    /// Where each proxy listens, also while it does not run.
    addresses: HashMap<String, String>,
}

impl Stage {
    /// A relay and a proxy for each handle.
    pub(crate) async fn new<const N: usize>(world: &World, handles: [&str; N]) -> anyhow::Result<Self> {
        let mut circle = world.circle(handles).await?;
        let mut addresses = HashMap::new();
        for proxy in circle.proxies() {
            addresses.insert(proxy.handle().to_owned(), host(&proxy.address()?));
        }
        Ok(Self { circle, addresses })
    }

    /// What an agent of the platform changes: two addresses and a token.
    fn settings(&mut self) -> anyhow::Result<Value> {
        let mut all = Map::new();
        for proxy in self.circle.proxies() {
            let address = &self.addresses[proxy.handle()];
            let own = json!({
                "base_url": format!("http://{address}"),
                "realtime_url": format!("ws://{address}"),
                "token": proxy.token()?,
            });
            all.insert(proxy.handle().to_owned(), own);
        }
        Ok(Value::Object(all))
    }

    /// Runs a script to its end.
    pub(crate) async fn run(
        &mut self,
        world: &World,
        language: Language,
        script: &[&str],
    ) -> anyhow::Result<()> {
        let (program, folder) = match language {
            Language::Python => ("target/venv/bin/python", "tests/sdk/python"),
            // Below this link, the scripts find the packages beside it.
            Language::TypeScript => ("target/node/node", "target/node/scripts"),
        };
        let mut command = tool(program, world.folder())?;
        match language {
            Language::Python => command.arg("-B"),
            Language::TypeScript => command.args(["--preserve-symlinks", "--preserve-symlinks-main"]),
        };
        command.arg(repository(folder).join(script[0])).args(&script[1..]);
        let mark = unique("sdk")?;
        world.canaries().forbid(&mark);
        command
            .env("MARK", &mark)
            .env("AGENTS", self.settings()?.to_string());
        run_script(command, SCRIPT, async |request| self.act(request).await)
            .await
            .map(drop)
    }

    /// What the script asks for.
    async fn act(&mut self, request: &str) -> anyhow::Result<()> {
        match request.split(' ').collect::<Vec<_>>()[..] {
            ["stop", "relay"] => self.circle.relay.terminate().await.map(drop),
            ["start", "relay"] => self.circle.relay.start().await,
            ["stop", handle] => self.circle.proxy(handle)?.terminate().await.map(drop),
            ["kill", handle] => self.circle.proxy(handle)?.kill(),
            ["start", handle] => {
                let address = self.addresses.get(handle).context("nobody is called so")?;
                let proxy = self.circle.proxy(handle)?;
                proxy.start_by(proxy.run_command(address)?).await
            }
            ["suspend", handle] => {
                let command = self.circle.relay.tool(["admin", "suspend", handle])?;
                run(command, COMMAND).await?.success().map(drop)
            }
            _ => bail!("nobody knows how to {request}"),
        }
    }
}
