//! A crypto proxy as a process, with its tap towards the relay and its agent.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{
    agent::Agent,
    binaries::Binary,
    canary::Canaries,
    http::Http,
    program::{Address, Finished, Program, run},
    tap::Tap,
};

/// How long `init` may take.
const INIT: Duration = Duration::from_secs(30);

/// How a proxy reaches its relay.
pub trait Route {
    /// The relay's URL as the proxy knows it.
    fn url(&self) -> String;
}

impl Route for Tap {
    fn url(&self) -> String {
        self.url()
    }
}

/// Straight to the relay at this URL, which must not move.
#[derive(Debug, Clone)]
pub struct Straight(pub String);

impl Route for Straight {
    fn url(&self) -> String {
        self.0.clone()
    }
}

/// A crypto proxy; killed when dropped. Each start takes a free port, which its agent follows.
#[derive(Debug)]
pub struct Proxy<R = Tap> {
    handle: String,
    folder: PathBuf,
    log: PathBuf,
    level: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    route: R,
    http: Http,
    canaries: Canaries,
    program: Option<Program>,
}

impl Proxy {
    /// What lies between this proxy and the relay.
    #[must_use]
    pub const fn tap(&self) -> &Tap {
        &self.route
    }
}

impl<R: Route> Proxy<R> {
    /// A proxy with its state below `folder`, which exists; neither initialised nor started.
    #[must_use]
    pub fn new(handle: &str, folder: &Path, log: &Path, route: R, canaries: Canaries) -> Self {
        Self {
            handle: handle.to_owned(),
            folder: folder.to_owned(),
            log: log.to_owned(),
            level: "debug".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            route,
            http: Http::new(None),
            canaries,
            program: None,
        }
    }

    /// The agent's handle.
    #[must_use]
    pub fn handle(&self) -> &str {
        &self.handle
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join(format!("{}-state", self.handle))
    }

    /// Another log level than `debug`, from the next start on.
    pub fn log_level(&mut self, level: &str) {
        level.clone_into(&mut self.level);
    }

    /// Further arguments of `run`, from the next start on.
    pub fn arguments<const N: usize>(&mut self, arguments: [&str; N]) {
        self.arguments = arguments.map(str::to_owned).to_vec();
    }

    /// What is in the environment of `run`, from the next start on.
    pub fn environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// The command `init` with further arguments.
    ///
    /// # Errors
    /// The program is not built.
    pub fn init_command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Binary::Proxy.command(&self.folder)?;
        command.args([
            "init",
            "--relay",
            &self.route.url(),
            "--handle",
            &self.handle,
            "--state",
        ]);
        command.arg(self.state()).args(arguments);
        Ok(command)
    }

    /// Makes the state folder and registers. Its output, with the recovery key, is not kept.
    ///
    /// # Errors
    /// `init` fails.
    pub async fn init(&self) -> anyhow::Result<Finished> {
        self.init_with(&[]).await
    }

    /// The same with further arguments of `init`.
    ///
    /// # Errors
    /// `init` fails.
    pub async fn init_with(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let finished = run(self.init_command(arguments)?, INIT).await?;
        finished
            .success()
            .with_context(|| format!("init of {}", self.handle))
    }

    /// Another command over the state folder.
    ///
    /// # Errors
    /// The program is not built.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Binary::Proxy.command(&self.folder)?;
        command.args([name, "--state"]).arg(self.state()).args(arguments);
        Ok(command)
    }

    /// The command `run` that a start runs, listening on `listen`.
    ///
    /// # Errors
    /// The program is not built.
    pub fn run_command(&self, listen: &str) -> anyhow::Result<Command> {
        let mut command = Binary::Proxy.command(&self.folder)?;
        // Tests of something else may repeat themselves.
        command.env("WAXWIRE_PROXY_DUPLICATES", "0");
        command.envs(self.environment.iter().cloned());
        command
            .args(["run", "--listen", listen, "--state"])
            .arg(self.state());
        command.args(["--log", &self.level]).args(&self.arguments);
        Ok(command)
    }

    /// Starts it on a free port.
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.start_by(self.run_command("127.0.0.1:0")?).await
    }

    /// Starts it with a fault point armed, see `WAXWIRE_FAULT`.
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start_with_fault(&mut self, fault: &str) -> anyhow::Result<()> {
        let mut command = self.run_command("127.0.0.1:0")?;
        command.env("WAXWIRE_FAULT", fault);
        self.start_by(command).await
    }

    /// Starts it by a command made of [`Self::run_command`].
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start_by(&mut self, command: Command) -> anyhow::Result<()> {
        if self.program.is_some() {
            bail!("the proxy of {} runs already", self.handle);
        }
        let program = Program::start(&self.handle, command, &self.log).await?;
        self.http.moved(Some(program.address().clone()));
        self.program = Some(program);
        Ok(())
    }

    fn stopped(&mut self) -> anyhow::Result<Program> {
        self.http.moved(None);
        self.program.take().context("the proxy does not run")
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.stopped()?.kill()
    }

    /// `kill -9`, then a start.
    ///
    /// # Errors
    /// It did not run or does not come up.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.start().await
    }

    /// Waits until a fault point ends it.
    ///
    /// # Errors
    /// It does not end, or otherwise.
    pub async fn aborted(&mut self) -> anyhow::Result<()> {
        let program = self.program.as_mut().context("the proxy does not run")?;
        program.aborted(Duration::from_secs(20)).await?;
        self.stopped().map(drop)
    }

    /// SIGTERM, and its exit status within ten seconds.
    ///
    /// # Errors
    /// It does not run or does not end.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.stopped()?.terminate().await
    }

    /// The running process.
    ///
    /// # Errors
    /// It does not run.
    pub fn program(&mut self) -> anyhow::Result<&mut Program> {
        self.program.as_mut().context("the proxy does not run")
    }

    /// Where it listens.
    ///
    /// # Errors
    /// It does not run.
    pub fn address(&self) -> anyhow::Result<Address> {
        self.http.address()
    }

    /// The file with the bearer token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.state().join("token")
    }

    /// The bearer token.
    ///
    /// # Errors
    /// There is none.
    pub fn token(&self) -> anyhow::Result<String> {
        let file = self.token_file();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Its agent, which stays usable over restarts.
    ///
    /// # Errors
    /// There is no token.
    pub fn agent(&self) -> anyhow::Result<Agent> {
        let (http, canaries) = (self.http.clone(), self.canaries.clone());
        Ok(Agent::new(&self.handle, &self.token()?, http, canaries))
    }
}
