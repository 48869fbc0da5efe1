//! What the README tells agents of AgentChat to write, word for word but for address and token.

use std::{fs, os::unix::fs::symlink, time::Duration};

use anyhow::{Context as _, ensure};
use waxwire_tests::{
    http::host,
    program::run,
    scenario,
    script::{repository, tool},
};

const LIMIT: Duration = Duration::from_secs(30);

/// The first block of code in a language under a heading.
fn block<'a>(text: &'a str, heading: &str, language: &str) -> anyhow::Result<&'a str> {
    let section = text.split_once(heading).context("no such heading")?.1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let block = section.split_once(&format!("```{language}\n"));
    let block = block.with_context(|| format!("no {language} under {heading}"))?.1;
    Ok(block.split("```").next().unwrap_or_default())
}

#[test]
fn the_lines_of_the_readme_send() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        let readme = fs::read_to_string(repository("README.md"))?;
        let address = host(&pair.alice.address()?);
        let token = pair.alice.token_file().display().to_string();
        symlink(
            repository("target/node/node_modules"),
            world.folder().join("node_modules"),
        )?;
        for (language, program, file, text) in [
            (
                "python",
                "target/venv/bin/python",
                "agent.py",
                "from an agent in Python",
            ),
            (
                "js",
                "target/node/node",
                "agent.mjs",
                "from an agent in TypeScript",
            ),
        ] {
            let written = block(&readme, "## Agents of AgentChat", language)?;
            for said in ["http://127.0.0.1:7701", "ws://127.0.0.1:7701", "alice/token"] {
                ensure!(written.contains(said), "{language} does not say {said}");
            }
            let script = written
                .replace("127.0.0.1:7701", &address)
                .replace("alice/token", &token);
            let file = world.folder().join(file);
            fs::write(&file, script)?;
            let mut command = tool(program, world.folder())?;
            command.arg(&file);
            run(command, LIMIT).await?.success()?;
            assert_eq!(bob.receive().await?.text(), text);
        }
        Ok(())
    });
}
