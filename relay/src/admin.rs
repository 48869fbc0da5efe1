//! `waxwire-relay admin`: works on the database, also while a relay serves it. A serving relay
//! notices changes within seconds.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use waxwire_shared::ids::Handle;

use crate::{
    accounts::credential::Credential,
    backup::{self, BackupError, Made},
    cli::AdminCommand,
    clock::Clock,
    identity::RelayIdentity,
    metrics::Metrics,
    rng::{self, Random, RandomError},
    store::{
        AgentNo, AgentRecord, Appended, CommitListener, DatabaseUrl, OpenError, OrgOutcome, ReadError, Store,
        StoreContext, Stored, WriteError,
    },
};

/// Agents read at once.
const PAGE: usize = 500;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// Why an administrator's command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database cannot be opened.
    #[error("the database cannot be opened")]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// There is no database.
    #[error("there is no database at {0}: serve or migrate makes one")]
    Missing(PathBuf),
    /// No such agent.
    #[error("no agent has the handle {0}")]
    Unknown(Handle),
    /// Nothing of this agent was given up.
    #[error("no wake-up of {0} was given up")]
    NoDeadLetter(Handle),
    /// No backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// PostgreSQL has tools of its own.
    #[error("a database on PostgreSQL is backed up by pg_dump or a base backup")]
    NotSqlite,
    /// No such organisation.
    #[error("there is no organisation {0}: admin org makes one")]
    UnknownOrg(String),
}

/// Nobody listens to the writes of a command.
struct Nobody;

impl CommitListener for Nobody {
    fn stored(&self, _: &[Appended], _: &[Stored]) {}
}

async fn open(url: &DatabaseUrl, clock: Clock) -> Result<Store, OpenError> {
    let context = StoreContext {
        worker: None,
        clock,
        metrics: Arc::new(Metrics::default()),
        tiers: Arc::default(),
        listener: Arc::new(Nobody),
        serving: false,
        nodes: None,
        others: false,
    };
    Store::open(url, context).await
}

/// Creates the database or brings its schema up to date.
///
/// # Errors
/// [`AdminError::Open`].
pub async fn migrate(url: &DatabaseUrl) -> Result<(), AdminError> {
    open(url, Clock::System).await?.close().await;
    Ok(())
}

/// Runs a command and gives what it prints, without the last line's end.
///
/// # Errors
/// [`AdminError`].
pub async fn run(
    url: &DatabaseUrl,
    command: AdminCommand,
    clock: Clock,
    random: &dyn Random,
) -> Result<String, AdminError> {
    if let DatabaseUrl::Sqlite(path) = url
        && !path.exists()
    {
        return Err(AdminError::Missing(path.clone()));
    }
    if let AdminCommand::Backup { dir, blobs } = command {
        return back_up(url, dir, blobs).await;
    }
    let store = open(url, clock.clone()).await?;
    let result = run_on(&store, command, &clock, random).await;
    store.close().await;
    result
}

async fn back_up(url: &DatabaseUrl, dir: PathBuf, blobs: Option<PathBuf>) -> Result<String, AdminError> {
    let DatabaseUrl::Sqlite(database) = url else {
        return Err(AdminError::NotSqlite);
    };
    let blobs = blobs.unwrap_or_else(|| beside(database));
    let (database, to) = (database.clone(), dir.clone());
    let made = tokio::task::spawn_blocking(move || backup::make(&database, &blobs, &to)).await;
    let Made { blobs } = made.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    Ok(format!(
        "{}: the database and {blobs} attachments. It holds the relay's signing key: keep it closed",
        dir.display()
    ))
}

/// Where attachments are if nothing else is said.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-blobs");
    name.into()
}

async fn run_on(
    store: &Store,
    command: AdminCommand,
    clock: &Clock,
    random: &dyn Random,
) -> Result<String, AdminError> {
    match command {
        AdminCommand::Fingerprint => {
            let candidate = zeroize::Zeroizing::new(rng::array::<32>(random)?);
            let held = store.relay_secret(candidate).await?;
            Ok(RelayIdentity::from_secret(&held.secret).fingerprint().to_string())
        }
        AdminCommand::Agents => list(store).await,
        AdminCommand::Restored => {
            store.end_lineage().await?;
            Ok("agents are told at the next start of the relay".to_owned())
        }
        AdminCommand::Suspend { handle } => {
            let changed = store.set_suspended(handle.clone(), true).await?;
            say(changed, handle, "suspended", "was suspended already")
        }
        AdminCommand::Unsuspend { handle } => {
            let changed = store.set_suspended(handle.clone(), false).await?;
            say(changed, handle, "not suspended any more", "was not suspended")
        }
        AdminCommand::Revoke { handle } => {
            let changed = store.revoke_key(handle.clone()).await?;
            say(changed, handle, "API key revoked", "had no API key")
        }
        AdminCommand::Orgs => list_orgs(store).await,
        AdminCommand::Org { name, tier } => {
            let outcome = match store.put_org(name.0.clone(), tier.0.clone()).await? {
                OrgOutcome::Created => "made",
                OrgOutcome::Changed => "changed",
                OrgOutcome::Same => "as it was",
            };
            Ok(format!("{}: {outcome}, tier {}", name.0, tier.0))
        }
        AdminCommand::Move { handle, org } => match store.move_agent(handle.clone(), org.0.clone()).await? {
            None => Err(AdminError::Unknown(handle)),
            Some(false) => Err(AdminError::UnknownOrg(org.0)),
            Some(true) => Ok(format!("{handle}: in {}", org.0)),
        },
        AdminCommand::DeadLetters { redeliver: None } => dead_letters(store).await,
        AdminCommand::DeadLetters {
            redeliver: Some(handle),
        } => {
            if !store.redeliver_wakeup(handle.clone()).await? {
                return Err(AdminError::NoDeadLetter(handle));
            }
            Ok(format!("{handle}: called again"))
        }
        // Needs no store.
        AdminCommand::Backup { .. } => Ok(String::new()),
        AdminCommand::Invite { count, days } => {
            let expires_at = clock.now_ms().saturating_add(u64::from(days) * DAY_MS);
            let mut codes = Vec::with_capacity(count.into());
            for _ in 0..count {
                let code = Credential::new_invite(random)?;
                store.add_invite(code.hash(), expires_at).await?;
                codes.push(code.expose_text().to_owned());
            }
            Ok(codes.join("\n"))
        }
    }
}

fn say(
    changed: Option<(AgentNo, bool)>,
    handle: Handle,
    done: &str,
    before: &str,
) -> Result<String, AdminError> {
    match changed {
        None => Err(AdminError::Unknown(handle)),
        Some((_, true)) => Ok(format!("{handle}: {done}")),
        Some((_, false)) => Ok(format!("{handle}: {before}")),
    }
}

async fn list(store: &Store) -> Result<String, AdminError> {
    let mut text = String::from("handle\tagent id\torganisation\tregistered (Unix ms)\tstate");
    let mut after = String::new();
    loop {
        let agents = store.agents(&after, PAGE).await?;
        let Some(last) = agents.last() else {
            return Ok(text);
        };
        after = last.handle.to_string();
        for agent in &agents {
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "\n{}\t{}\t{}\t{}\t{}",
                agent.handle,
                agent.id,
                agent.org,
                agent.registered_at,
                state(agent)
            );
        }
    }
}

async fn list_orgs(store: &Store) -> Result<String, AdminError> {
    let mut text = String::from("organisation\ttier\tagents");
    for org in store.orgs().await? {
        let _ = write!(text, "\n{}\t{}\t{}", org.name, org.tier, org.agents);
    }
    Ok(text)
}

async fn dead_letters(store: &Store) -> Result<String, AdminError> {
    let mut text = String::from("handle\tattempts\towed since (Unix ms)\tgiven up (Unix ms)\treason");
    let mut after = String::new();
    loop {
        let dead = store.dead_wakeups(&after, PAGE).await?;
        let Some(last) = dead.last() else {
            return Ok(text);
        };
        after = last.handle.to_string();
        for dead in &dead {
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "\n{}\t{}\t{}\t{}\t{}",
                dead.handle, dead.attempts, dead.since, dead.dead_at, dead.reason
            );
        }
    }
}

const fn state(agent: &AgentRecord) -> &'static str {
    match agent {
        AgentRecord {
            suspended_at: Some(_),
            ..
        } => "suspended",
        AgentRecord { api_key: None, .. } => "revoked",
        _ => "active",
    }
}
