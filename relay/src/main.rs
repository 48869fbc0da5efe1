//! The program: command line, runtime, signals, exit status.

use std::{io::Write as _, num::NonZero, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use waxwire_outbound::{
    logs::{self, LogFilter, LogFormat},
    traces::Traces,
};
use waxwire_relay::{
    admin,
    cli::{AdminCommand, Cli, Command, ServeArgs},
    clock::Clock,
    config::{Config, database_of, require_tier},
    delivery::Timing,
    rng::SystemRandom,
    server::{Server, Surroundings},
};

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a program that does not start"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("waxwire-relay: {error:#}");
}

fn start(cli: Cli) -> anyhow::Result<()> {
    // One core is the writer's. Workers that share it with the writer spend their time waking each other.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = cores.saturating_sub(1).clamp(1, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(args) => serve(*args).await,
        Command::Migrate(args) => {
            logs::start(&LogFilter::default(), LogFormat::Text, None);
            let url = database_of(args.database, args.config.as_deref())?;
            admin::migrate(&url).await?;
            print_line("the database is up to date")
        }
        Command::Admin { database, command } => {
            logs::start(&LogFilter::default(), LogFormat::Text, None);
            let config = database.config.as_deref();
            if let (AdminCommand::Org { tier, .. }, Some(config)) = (&command, config) {
                require_tier(config, &tier.0)?;
            }
            let url = database_of(database.database, config)?;
            let text = admin::run(&url, command, Clock::System, &SystemRandom).await?;
            print_line(&text)
        }
        Command::Completions { shell } => {
            let name = env!("CARGO_PKG_NAME");
            clap_complete::generate(shell, &mut Cli::command(), name, &mut std::io::stdout());
            Ok(())
        }
        Command::Man { dir } => {
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), &dir)
                .with_context(|| format!("cannot write to {}", dir.display()))
        }
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::resolve(args)?;
    let traces = config
        .traces
        .as_ref()
        .map(|collector| Traces::start(collector, env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")));
    let traces = traces.transpose()?;
    logs::start(&config.log, config.log_format, traces.as_ref());
    if let Some(traces) = &traces {
        traces.call_on(Handle::current());
    }
    let public_url = config.public_url.clone();
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    let surroundings = Surroundings {
        clock: Clock::System,
        random: Arc::new(SystemRandom),
        timing: Timing::default(),
        shutdown,
    };
    let server = Server::start(config, surroundings).await?;
    let address = server.address();
    let fingerprint = server.relay().identity.fingerprint();
    let join = public_url.unwrap_or_else(|| address.clone());
    print_line(&format!("listening on {address}"))?;
    tracing::info!(%fingerprint, relay = %format!("{join}#{fingerprint}"), "ready");
    if let Some(bound) = server.metrics_bound() {
        tracing::info!(%bound, "metrics");
    }
    server.run().await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(())
}

fn stop_on_signals(shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no handler for SIGINT")?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}

fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("standard output is closed")
}
