//! The local API through other people's programs: AgentChat's official SDKs, unmodified, which make every
//! call and meet what can go wrong around an agent, and a fuzzer that reads `openapi.json`.
//! `scripts/setup` installs them; the scripts are in `tests/sdk`. They wait more than they work, and so
//! run beside one another.

mod description;
mod manual;
mod stage;

use waxwire_tests::scenario;

use crate::stage::{Language, Stage};

fn agents_of(language: Language, script: &'static [&'static str]) {
    scenario(async |world| {
        let mut stage = Stage::new(world, ["alice", "bob", "carol"]).await?;
        stage.run(world, language, script).await
    });
}

/// docs/proxy-api.md, with `agentchatme` of PyPI and its synchronous client.
#[test]
fn python_client_makes_every_call() {
    agents_of(Language::Python, &["rest.py", "sync"]);
}

/// The same with its asynchronous client.
#[test]
fn python_async_client_makes_every_call() {
    agents_of(Language::Python, &["rest.py", "async"]);
}

/// The same with `agentchatme` of npm.
#[test]
fn typescript_client_makes_every_call() {
    agents_of(Language::TypeScript, &["rest.mjs"]);
}

/// docs/proxy-api.md, Live: the socket of the library for Python.
#[test]
fn python_agents_are_told_live() {
    agents_of(Language::Python, &["realtime.py"]);
}

/// The same for TypeScript, with the WebSocket of Node.js.
#[test]
fn typescript_agents_are_told_live() {
    agents_of(Language::TypeScript, &["realtime.mjs", "native"]);
}

/// The same with the package `ws`, which older releases of Node.js need.
#[test]
fn typescript_agents_with_ws_are_told_live() {
    agents_of(Language::TypeScript, &["realtime.mjs", "ws"]);
}
