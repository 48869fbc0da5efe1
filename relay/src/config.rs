//! What `serve` is told: flags, environment, file, defaults, in this order.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};
use waxwire_shared::api::rest::Registration;
use zeroize::Zeroizing;

use crate::{
    cli::ServeArgs,
    logging::{LogFilter, LogFormat},
    snowflake::WorkerId,
    store::{DatabaseUrl, DatabaseUrlError},
};

const DEFAULT_LISTEN: &str = "127.0.0.1:7600";
const DEFAULT_DATABASE: &str = "sqlite://waxwire-relay.db";
/// Least length of a master key.
const MASTER_KEY_MIN: usize = 32;

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`, resolved when it is bound.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Text that is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is HOST:PORT or unix:PATH")]
pub struct ListenError;

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty())
                .then(|| Self::Unix(path.into()))
                .ok_or(ListenError);
        }
        let (host, port) = text.rsplit_once(':').ok_or(ListenError)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(ListenError);
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Listen {
    /// Whether only this machine can connect, as far as the text tells.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let Self::Tcp(address) = self else { return true };
        if let Ok(address) = address.parse::<SocketAddr>() {
            return address.ip().is_loopback();
        }
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Limits that an operator may change; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sockets that an agent may have at the same time.
    pub sockets: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sockets: 8 }
    }
}

/// The configuration file. Unknown keys are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Listen>,
    database: Option<String>,
    redis: Option<String>,
    worker_id: Option<WorkerId>,
    public_url: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    registration: Option<Registration>,
    master_key_file: Option<PathBuf>,
    metrics_listen: Option<Listen>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    #[serde(default)]
    limits: Limits,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file is not valid.
    #[error("{path} is not valid")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The database URL.
    #[error(transparent)]
    Database(#[from] DatabaseUrlError),
    /// Redis without PostgreSQL.
    #[error("redis connects several relay nodes and SQLite has one: drop --redis or use PostgreSQL")]
    RedisWithSqlite,
    /// Half of a TLS configuration.
    #[error("--tls-cert and --tls-key belong together")]
    HalfTls,
    /// The log filter in the file.
    #[error(transparent)]
    Log(#[from] crate::logging::LogFilterError),
    /// The master key is too short.
    #[error("the master key needs at least {MASTER_KEY_MIN} characters")]
    MasterKey,
    /// The public URL.
    #[error("the public URL must begin with http:// or https://")]
    PublicUrl,
}

/// TLS files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain in PEM.
    pub cert: PathBuf,
    /// Private key in PEM.
    pub key: PathBuf,
}

/// The master key of the administration API. Wiped when dropped.
pub struct MasterKey(Zeroizing<String>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// A master key of at least 32 characters; white space around it does not count.
    ///
    /// # Errors
    /// [`ConfigError::MasterKey`].
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        let key = text.trim();
        if key.len() < MASTER_KEY_MIN {
            return Err(ConfigError::MasterKey);
        }
        Ok(Self(Zeroizing::new(key.to_owned())))
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

/// Settings of a relay that serves.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Which database.
    pub database: DatabaseUrl,
    /// Number in ids.
    pub worker: WorkerId,
    /// Under which URL agents reach this relay.
    pub public_url: Option<String>,
    /// HTTPS instead of HTTP.
    pub tls: Option<TlsFiles>,
    /// Who may register.
    pub registration: Registration,
    /// Opens the administration API.
    pub master_key: Option<MasterKey>,
    /// Where to serve metrics.
    pub metrics_listen: Option<Listen>,
    /// What to log.
    pub log: LogFilter,
    /// How to log.
    pub log_format: LogFormat,
    /// Limits.
    pub limits: Limits,
}

impl Config {
    /// Puts flags, environment (which clap has put among the flags), file and defaults together.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn resolve(args: ServeArgs) -> Result<Self, ConfigError> {
        let file = args
            .config
            .as_deref()
            .map(read_file)
            .transpose()?
            .unwrap_or_default();
        let listen = match args.listen.or(file.listen) {
            Some(listen) => listen,
            None => Listen::Tcp(DEFAULT_LISTEN.to_owned()),
        };
        let database = database(args.database.or(file.database))?;
        if args.redis.or(file.redis).is_some() && matches!(database, DatabaseUrl::Sqlite(_)) {
            return Err(ConfigError::RedisWithSqlite);
        }
        let tls = match (args.tls_cert.or(file.tls_cert), args.tls_key.or(file.tls_key)) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            _ => return Err(ConfigError::HalfTls),
        };
        let public_url = args.public_url.or(file.public_url);
        if public_url
            .as_deref()
            .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://"))
        {
            return Err(ConfigError::PublicUrl);
        }
        let registration = args
            .registration
            .or(file.registration)
            .unwrap_or(if listen.is_loopback() {
                Registration::Open
            } else {
                Registration::Invite
            });
        let master_key = args
            .master_key_file
            .or(file.master_key_file)
            .map(|path| read_master_key(&path))
            .transpose()?;
        let log = match (args.log, file.log) {
            (Some(log), _) => log,
            (None, Some(text)) => text.parse()?,
            (None, None) => LogFilter::default(),
        };
        Ok(Self {
            listen,
            database,
            worker: args.worker_id.or(file.worker_id).unwrap_or_default(),
            public_url,
            tls,
            registration,
            master_key,
            metrics_listen: args.metrics_listen.or(file.metrics_listen),
            log,
            log_format: args.log_format.or(file.log_format).unwrap_or_default(),
            limits: file.limits,
        })
    }
}

/// The database of a command other than `serve`.
///
/// # Errors
/// [`ConfigError`].
pub fn database_of(flag: Option<String>, config: Option<&Path>) -> Result<DatabaseUrl, ConfigError> {
    let file = config.map(read_file).transpose()?.unwrap_or_default();
    database(flag.or(file.database))
}

fn database(url: Option<String>) -> Result<DatabaseUrl, ConfigError> {
    Ok(url.as_deref().unwrap_or(DEFAULT_DATABASE).parse()?)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    toml::from_str(&read(path)?).map_err(|source| ConfigError::File {
        path: path.to_path_buf(),
        source: Box::new(source),
    })
}

fn read_master_key(path: &Path) -> Result<MasterKey, ConfigError> {
    MasterKey::new(&Zeroizing::new(read(path)?))
}
