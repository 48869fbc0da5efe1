//! On PostgreSQL: `pg_dump` and `pg_restore`.

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::time::sleep;
use waxwire_tests::{Database, postgres::Server, program::run, scenario};

use super::{Scene, TOOL, backup_in, succeeds};

/// A dump made under load, and restored under load into an empty database: the relay sees by itself that it is another
/// one, and all heals as on SQLite.
#[test]
fn dump_that_is_restored_under_load_loses_nothing_that_anybody_holds() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let mut relay = world.new_relay_on(&server, "relay")?;
        relay.start().await?;
        let mut scene = Scene::around(world, relay).await?;
        let dump = backup_in(world, "relay.dump");
        let history = scene
            .under_load(async |circle| {
                sleep(Duration::from_millis(1_500)).await;
                let url = circle.relay.store().url()?;
                let mut command = tool("pg_dump")?;
                command.args(["--format=custom", "--file"]).arg(&dump).arg(&url);
                succeeds(command).await?;
                sleep(Duration::from_millis(1_500)).await;
                circle.relay.kill()?;
                circle.relay.store().lose()?;
                let mut command = tool("pg_restore")?;
                command.args(["--exit-on-error", "--dbname", &url]).arg(&dump);
                succeeds(command).await?;
                circle.relay.start().await?;
                sleep(Duration::from_millis(1_500)).await;
                Ok(())
            })
            .await?;
        ensure!(history.len() > 50, "hardly anything was sent");
        scene.is_healed().await
    });
}

/// PostgreSQL has tools of its own, which are named.
#[test]
fn backup_of_a_database_on_postgresql_is_refused_with_the_reason() {
    scenario(async |world| {
        let server = Arc::new(Server::start()?);
        let relay = world.new_relay_on(&server, "relay")?;
        succeeds(relay.tool(["migrate"])?).await?;
        ensure!(matches!(relay.store(), Database::Postgres { .. }));
        let mut command = relay.tool(["admin", "backup"])?;
        command.arg(backup_in(world, "backup"));
        let refused = run(command, TOOL).await?.refusal()?;
        ensure!(refused.contains("pg_dump"), "{refused}");
        Ok(())
    });
}

/// The tool of the newest PostgreSQL here: it must not be older than the server.
fn tool(name: &str) -> anyhow::Result<Command> {
    let mut found: Vec<PathBuf> = Vec::new();
    for version in std::fs::read_dir("/usr/lib/postgresql").context("no PostgreSQL")? {
        found.push(version?.path().join("bin").join(name));
    }
    found.sort_by_key(|path| {
        let version = path
            .ancestors()
            .nth(2)
            .and_then(|path| path.file_name()?.to_str()?.parse::<u32>().ok());
        version.unwrap_or_default()
    });
    Ok(Command::new(found.pop().context("no tool")?))
}
