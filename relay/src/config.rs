//! What `serve` is told: flags, environment, file, defaults, in this order.

mod limits;
mod listen;
mod redis;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use waxwire_outbound::{
    logs::{LogFilter, LogFilterError, LogFormat},
    traces::{Collector, CollectorError},
};
use waxwire_shared::{api::rest::Registration, limits::GROUP_MEMBERS};
use zeroize::Zeroizing;

use self::limits::{TierTable, tiers};
pub use self::{
    limits::Limits,
    listen::{Listen, ListenError},
    redis::{RedisUrl, RedisUrlError},
};
use crate::{
    blobs::{BlobsConfig, BucketConfig, Credentials, Place},
    cli::ServeArgs,
    hooks::HookAllow,
    limits::{DEFAULT_TIER, Tiers},
    snowflake::WorkerId,
    store::{DatabaseUrl, DatabaseUrlError},
    transparency::{HeadIntervalError, TransparencyTable},
};

const DEFAULT_LISTEN: &str = "127.0.0.1:7600";
const DEFAULT_DATABASE: &str = "sqlite://waxwire-relay.db";
/// Least length of a master key.
const MASTER_KEY_MIN: usize = 32;

/// The configuration file. Unknown keys are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Listen>,
    database: Option<String>,
    blobs: Option<Place>,
    blobs_spool: Option<PathBuf>,
    s3_endpoint: Option<String>,
    s3_region: Option<String>,
    s3_virtual_host: Option<bool>,
    s3_credentials_file: Option<PathBuf>,
    redis: Option<String>,
    worker_id: Option<WorkerId>,
    public_url: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    registration: Option<Registration>,
    master_key_file: Option<PathBuf>,
    metrics_listen: Option<Listen>,
    hook_allow: Option<Vec<HookAllow>>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    traces: Option<String>,
    #[serde(default)]
    transparency: TransparencyTable,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    tiers: BTreeMap<String, TierTable>,
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
    /// The URL of Redis.
    #[error(transparent)]
    Redis(#[from] RedisUrlError),
    /// Several nodes on a file.
    #[error("--redis connects relays on one PostgreSQL database; with SQLite there is one relay")]
    RedisWithSqlite,
    /// Attachments of several nodes.
    #[error(
        "with --redis, say where all nodes find attachments: --blobs s3://BUCKET[/PREFIX], or a folder that they share"
    )]
    BlobsOfNodes,
    /// Half of a TLS configuration.
    #[error("--tls-cert and --tls-key belong together")]
    HalfTls,
    /// The log filter in the file.
    #[error(transparent)]
    Log(#[from] LogFilterError),
    /// The master key is too short.
    #[error("the master key needs at least {MASTER_KEY_MIN} characters")]
    MasterKey,
    /// No credentials in their file.
    #[error("{} has no aws_access_key_id and aws_secret_access_key in [default]", path.display())]
    Credentials {
        /// Which.
        path: PathBuf,
    },
    /// Flags for a bucket, and no bucket.
    #[error("--blobs-spool and the flags of S3 go with --blobs s3://BUCKET[/PREFIX]")]
    NoBucket,
    /// Others may read or change a file with a secret.
    #[error("permissions {mode:03o} of {} are too open for a secret, at most 600 is accepted", path.display())]
    Permissions {
        /// Its file.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The default tier has its limits elsewhere.
    #[error("the limits of the tier {DEFAULT_TIER} are those of [limits]")]
    DefaultTier,
    /// A tier that no organisation can have.
    #[error("{0:?} is no name of a tier: it has 1 to 64 letters, digits, '-', '_' and '.'")]
    TierName(String),
    /// Larger groups than there can be.
    #[error("group_members is at most {GROUP_MEMBERS}")]
    GroupMembers,
    /// No such tier.
    #[error("{} has no [tiers.{tier}]", path.display())]
    UnknownTier {
        /// The configuration file.
        path: PathBuf,
        /// The tier.
        tier: String,
    },
    /// The collector of traces in the file.
    #[error(transparent)]
    Traces(#[from] CollectorError),
    /// The interval of heads.
    #[error(transparent)]
    HeadInterval(#[from] HeadIntervalError),
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
    /// Where attachments are stored.
    pub blobs: BlobsConfig,
    /// Number in ids; without one, the first that no other relay has.
    pub worker: Option<WorkerId>,
    /// Where other relays on the same database are heard of, if there may be any.
    pub redis: Option<RedisUrl>,
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
    /// Whose hooks may be called besides public ones over TLS.
    pub hook_allow: Vec<HookAllow>,
    /// How often heads of the transparency log are signed at most; none if there is no log.
    pub transparency: Option<Duration>,
    /// What is told on what time is spent.
    pub traces: Option<Collector>,
    /// What to log.
    pub log: LogFilter,
    /// How to log.
    pub log_format: LogFormat,
    /// Limits.
    pub limits: Limits,
    /// Limits by tier.
    pub tiers: Tiers,
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
        let redis = redis(args.redis.or(file.redis), &database)?;
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
            .map(|path| MasterKey::new(&read_secret(&path)?))
            .transpose()?;
        let log = match (args.log, file.log) {
            (Some(log), _) => log,
            (None, Some(text)) => text.parse()?,
            (None, None) => LogFilter::default(),
        };
        let blobs = BlobsArgs {
            place: args.blobs.or(file.blobs),
            spool: args.blobs_spool.or(file.blobs_spool),
            endpoint: args.s3_endpoint.or(file.s3_endpoint),
            region: args.s3_region.or(file.s3_region),
            virtual_host: args.s3_virtual_host || file.s3_virtual_host.unwrap_or(false),
            credentials_file: args.s3_credentials_file.or(file.s3_credentials_file),
        };
        if redis.is_some() && blobs.place.is_none() {
            return Err(ConfigError::BlobsOfNodes);
        }
        let blobs = blobs.resolve(beside(&database))?;
        let traces = match (args.traces, file.traces) {
            (Some(collector), _) => Some(collector),
            (None, text) => text.map(|text| text.parse()).transpose()?,
        };
        Ok(Self {
            listen,
            database,
            blobs,
            worker: args.worker_id.or(file.worker_id),
            redis,
            public_url,
            tls,
            registration,
            master_key,
            metrics_listen: args.metrics_listen.or(file.metrics_listen),
            hook_allow: if args.hook_allow.is_empty() {
                file.hook_allow.unwrap_or_default()
            } else {
                args.hook_allow
            },
            transparency: file.transparency.resolve(args.transparency)?,
            traces,
            log,
            log_format: args.log_format.or(file.log_format).unwrap_or_default(),
            limits: file.limits,
            tiers: tiers(&file.limits, file.tiers)?,
        })
    }
}

/// What flags and file say of blobs.
struct BlobsArgs {
    place: Option<Place>,
    spool: Option<PathBuf>,
    endpoint: Option<String>,
    region: Option<String>,
    virtual_host: bool,
    credentials_file: Option<PathBuf>,
}

impl BlobsArgs {
    fn resolve(self, default: PathBuf) -> Result<BlobsConfig, ConfigError> {
        let (name, prefix) = match self.place.clone() {
            Some(Place::Bucket { name, prefix }) => (name, prefix),
            _ if self.speaks_of_a_bucket() => return Err(ConfigError::NoBucket),
            Some(Place::Folder(folder)) => return Ok(BlobsConfig { folder, bucket: None }),
            None => {
                return Ok(BlobsConfig {
                    folder: default,
                    bucket: None,
                });
            }
        };
        let credentials = self.credentials_file.as_deref().map(read_credentials);
        Ok(BlobsConfig {
            folder: self.spool.unwrap_or(default),
            bucket: Some(BucketConfig {
                name,
                prefix,
                endpoint: self.endpoint,
                region: self.region,
                virtual_host: self.virtual_host,
                credentials: credentials.transpose()?,
            }),
        })
    }

    const fn speaks_of_a_bucket(&self) -> bool {
        self.spool.is_some()
            || self.endpoint.is_some()
            || self.region.is_some()
            || self.virtual_host
            || self.credentials_file.is_some()
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

/// Requires that a configuration file has a tier.
///
/// # Errors
/// [`ConfigError`].
pub fn require_tier(path: &Path, tier: &str) -> Result<(), ConfigError> {
    if tier == DEFAULT_TIER || read_file(path)?.tiers.contains_key(tier) {
        return Ok(());
    }
    Err(ConfigError::UnknownTier {
        path: path.to_path_buf(),
        tier: tier.to_owned(),
    })
}

/// The folder of attachments that goes with a database.
fn beside(database: &DatabaseUrl) -> PathBuf {
    let mut name = match database {
        DatabaseUrl::Sqlite(path) => path.as_os_str().to_owned(),
        DatabaseUrl::Postgres(_) => "waxwire-relay".into(),
    };
    name.push("-blobs");
    name.into()
}

fn redis(url: Option<String>, database: &DatabaseUrl) -> Result<Option<RedisUrl>, ConfigError> {
    match (url, database) {
        (None, _) => Ok(None),
        (Some(_), DatabaseUrl::Sqlite(_)) => Err(ConfigError::RedisWithSqlite),
        (Some(url), DatabaseUrl::Postgres(_)) => Ok(Some(url.parse()?)),
    }
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

fn read_credentials(path: &Path) -> Result<Credentials, ConfigError> {
    Credentials::parse(&read_secret(path)?).ok_or_else(|| ConfigError::Credentials {
        path: path.to_path_buf(),
    })
}

/// Reads a secret from a file that nobody else may read or change.
fn read_secret(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    };
    // The permissions of the opened file, whatever happens to its name.
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(ConfigError::Permissions {
            path: path.to_path_buf(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
