//! Servers under test as processes of their own, so that a benchmark shares no runtime with them.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use crate::clock;

/// Clock ticks a second in `/proc`; a constant of Linux's interface on every platform.
pub(crate) const TICKS: f64 = 100.0;
/// How long a program that does not say that it listens may take until it does.
const START: Duration = Duration::from_secs(60);
/// How often that is tried.
const STEP: Duration = Duration::from_millis(10);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From the start of the process to its word that it listens.
    pub(crate) startup: Duration,
    /// Held open: a program that writes more would fail on a closed one.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts the command and waits for its line `listening on http://HOST:PORT`.
    ///
    /// # Errors
    /// The program cannot be started, or ends or closes its output before that line.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let begin = clock::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        match announced(&mut child) {
            Ok((address, stdout)) => Ok(Self {
                child,
                address,
                startup: clock::now() - begin,
                _stdout: Some(stdout),
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context(format!("{program} did not come up")))
            }
        }
    }

    /// Starts a command that was told this address and waits until it takes connections there. `log`: where it writes.
    ///
    /// # Errors
    /// The program cannot be started, ends, or takes no connections in time.
    pub(crate) async fn start_at(
        command: &mut Command,
        address: SocketAddr,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let begin = clock::now();
        let file = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let mut server = Self {
            child,
            address,
            startup: Duration::ZERO,
            _stdout: None,
        };
        while TcpStream::connect(address).is_err() {
            let waits = server.child.try_wait()?.is_none() && begin.elapsed() < START;
            ensure!(
                waits,
                "{program} did not come up: {}",
                last_line(&fs::read_to_string(log)?)
            );
            tokio::time::sleep(STEP).await;
        }
        server.startup = begin.elapsed();
        Ok(server)
    }

    /// Seconds of CPU, of all threads, user and system, since the start. Resolution 10 ms.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(&self.child.id().to_string())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by SIGKILL and waits for that.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Resident memory, bytes.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        resident(&status).context("no VmRSS in /proc/PID/status")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same of this process and of all that it started and that have ended.
///
/// # Errors
/// The system is not Linux.
pub(crate) fn own_cpu_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = [OWN, ENDED_CHILDREN].map(|fields| cpu_ticks(&stat, fields));
    let ticks = ticks.into_iter().sum::<Option<u64>>();
    Ok(ticks.context("no CPU times in /proc/self/stat")? as f64 / TICKS)
}

fn cpu_seconds(process: &str) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks = cpu_ticks(&stat, OWN).context("no CPU times in /proc/PID/stat")?;
    Ok(ticks as f64 / TICKS)
}

fn announced(child: &mut Child) -> anyhow::Result<(SocketAddr, BufReader<ChildStdout>)> {
    let mut stdout = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut line = String::new();
    while stdout.read_line(&mut line)? > 0 {
        if let Some(url) = line.trim().strip_prefix("listening on http://") {
            let address = url.trim_end_matches('/').parse();
            return Ok((address.with_context(|| format!("no address: {url}"))?, stdout));
        }
        line.clear();
    }
    bail!("it ended without saying where it listens")
}

/// An address of this machine that nobody listens at, for a program that does not choose one itself.
///
/// # Errors
/// All ports are taken.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// What a program said last.
pub(crate) fn last_line(said: &str) -> &str {
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing")
}

/// Places of `utime` and `cutime` behind the name in field 2; `stime` and `cstime` follow them.
const OWN: usize = 11;
const ENDED_CHILDREN: usize = 13;

/// User and system time from a place on. The name in field 2 may contain spaces and ends with `)`.
fn cpu_ticks(stat: &str, place: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(place);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_survive_a_name_with_brackets() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 100 0 0 0 31 12 5 2 20 0 3 0 500 1 1";
        assert_eq!(cpu_ticks(stat, OWN), Some(43));
        assert_eq!(cpu_ticks(stat, ENDED_CHILDREN), Some(7));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    5120 kB\nThreads:\t2"),
            Some(5120 * 1024)
        );
    }

    #[test]
    fn a_program_that_ends_is_an_error_that_tells_its_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo before; echo no such thing >&2; echo"]);
        let start = Server::start_at(&mut command, free_address().unwrap(), &log);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let error = runtime.unwrap().block_on(start).err().unwrap();
        assert!(error.to_string().ends_with(": no such thing"), "{error}");
    }

    #[test]
    fn a_program_that_says_nothing_is_an_error() {
        assert!(Server::start(&mut Command::new("true")).is_err());
    }
}
