//! What `serve` is told: flags, environment, file, defaults, in this order.

mod listen;
mod redis;

use std::{
    collections::BTreeMap,
    fmt,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use waxwire_outbound::traces::{Collector, CollectorError};
use waxwire_shared::api::rest::Registration;
use zeroize::Zeroizing;

pub use self::{
    listen::{Listen, ListenError},
    redis::{RedisUrl, RedisUrlError},
};
use crate::{
    blobs::{BlobsConfig, BucketConfig, Credentials, Place},
    cli::ServeArgs,
    hooks::HookAllow,
    limits::{DEFAULT_TIER, SendLimits, TierLimits, Tiers},
    logging::{LogFilter, LogFormat},
    snowflake::WorkerId,
    store::{DatabaseUrl, DatabaseUrlError},
    transparency::{HeadIntervalError, TransparencyTable},
};

const DEFAULT_LISTEN: &str = "127.0.0.1:7600";
const DEFAULT_DATABASE: &str = "sqlite://waxwire-relay.db";
/// Least length of a master key.
const MASTER_KEY_MIN: usize = 32;

/// Limits that an operator may change; 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sockets that an agent may have at the same time.
    pub sockets: u64,
    /// Sockets of all agents at one node.
    pub node_sockets: u64,
    /// Contacts that an agent may hold.
    pub contacts: u64,
    /// Agents that an agent may have blocked.
    pub blocks: u64,
    /// Envelopes that are stored nowhere which an agent may have passed on in a minute.
    pub transients_per_minute: u64,
    /// Joins and leaves of an agent in one group, in an hour. Joins are refused beyond it.
    pub joins_and_leaves_per_hour: u64,
    /// Commits that an agent appends to the log of one group, in a minute.
    pub commits_per_minute: u64,
    /// Searches of an agent in a minute.
    pub directory_per_minute: u64,
    /// Searches of an agent on a day.
    pub directory_per_day: u64,
    /// Handles that an agent asks for in a minute and may not know of.
    pub lookup_misses_per_minute: u64,
    /// The same on a day.
    pub lookup_misses_per_day: u64,
    /// Days that a blob is kept.
    pub blob_days: u64,
    /// Members that a group may have, open invites included, for an invite or a joining to be taken. This
    /// and the following are those of the default tier.
    pub group_members: u64,
    /// Largest attachment, in bytes before it is padded and sealed.
    pub attachment: u64,
    /// Bytes of blobs that the relay holds of an agent; each counts as 64 KiB at least.
    pub blob_bytes: u64,
    /// Uploads that an agent may have begun and not completed.
    pub unfinished_blobs: u64,
    /// Messages that an agent sends in a minute.
    pub sends_per_minute: u64,
    /// Control envelopes that an agent sends in a minute.
    pub control_per_minute: u64,
    /// Envelopes that all agents of an organisation send in an hour.
    pub org_sends_per_hour: u64,
    /// Messages that wait for an agent: beyond it senders are refused, from half of it they are told.
    pub backlog: u64,
    /// Control envelopes that wait for an agent.
    pub control_backlog: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let tier = TierLimits::default();
        let sends = tier.sends;
        Self {
            sockets: 8,
            node_sockets: 100_000,
            group_members: tier.group_members,
            contacts: 10_000,
            blocks: 10_000,
            transients_per_minute: 1_200,
            joins_and_leaves_per_hour: 4,
            commits_per_minute: 120,
            directory_per_minute: 60,
            directory_per_day: 1_000,
            lookup_misses_per_minute: 60,
            lookup_misses_per_day: 1_000,
            sends_per_minute: sends.sends_per_minute,
            control_per_minute: sends.control_per_minute,
            org_sends_per_hour: sends.org_sends_per_hour,
            backlog: sends.backlog,
            control_backlog: sends.control_backlog,
            attachment: tier.attachment,
            blob_bytes: tier.blob_bytes,
            unfinished_blobs: tier.unfinished_blobs,
            blob_days: 30,
        }
    }
}

impl Limits {
    const fn tier(&self) -> TierLimits {
        TierLimits {
            sends: SendLimits {
                sends_per_minute: self.sends_per_minute,
                control_per_minute: self.control_per_minute,
                org_sends_per_hour: self.org_sends_per_hour,
                backlog: self.backlog,
                control_backlog: self.control_backlog,
            },
            group_members: self.group_members,
            attachment: self.attachment,
            blob_bytes: self.blob_bytes,
            unfinished_blobs: self.unfinished_blobs,
        }
    }
}

/// What a tier has otherwise than `[limits]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierTable {
    sends_per_minute: Option<u64>,
    control_per_minute: Option<u64>,
    org_sends_per_hour: Option<u64>,
    backlog: Option<u64>,
    control_backlog: Option<u64>,
    group_members: Option<u64>,
    attachment: Option<u64>,
    blob_bytes: Option<u64>,
    unfinished_blobs: Option<u64>,
}

impl TierTable {
    fn over(self, default: TierLimits) -> TierLimits {
        let sends = default.sends;
        TierLimits {
            sends: SendLimits {
                sends_per_minute: self.sends_per_minute.unwrap_or(sends.sends_per_minute),
                control_per_minute: self.control_per_minute.unwrap_or(sends.control_per_minute),
                org_sends_per_hour: self.org_sends_per_hour.unwrap_or(sends.org_sends_per_hour),
                backlog: self.backlog.unwrap_or(sends.backlog),
                control_backlog: self.control_backlog.unwrap_or(sends.control_backlog),
            },
            group_members: self.group_members.unwrap_or(default.group_members),
            attachment: self.attachment.unwrap_or(default.attachment),
            blob_bytes: self.blob_bytes.unwrap_or(default.blob_bytes),
            unfinished_blobs: self.unfinished_blobs.unwrap_or(default.unfinished_blobs),
        }
    }
}

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
    Log(#[from] crate::logging::LogFilterError),
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

fn tiers(limits: &Limits, tables: BTreeMap<String, TierTable>) -> Result<Tiers, ConfigError> {
    if tables.contains_key(DEFAULT_TIER) {
        return Err(ConfigError::DefaultTier);
    }
    let default = limits.tier();
    Ok(Tiers {
        default,
        named: tables
            .into_iter()
            .map(|(name, table)| (name, table.over(default)))
            .collect(),
    })
}

/// The database of a command other than `serve`.
///
/// # Errors
/// [`ConfigError`].
pub fn database_of(flag: Option<String>, config: Option<&Path>) -> Result<DatabaseUrl, ConfigError> {
    let file = config.map(read_file).transpose()?.unwrap_or_default();
    database(flag.or(file.database))
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::{Cli, Command};

    fn resolve(folder: &TempDir, file: &str, flags: &[&str]) -> Result<Config, ConfigError> {
        let path = folder.path().join("relay.toml");
        std::fs::write(&path, file).unwrap();
        let start = ["waxwire-relay", "serve", "--config", path.to_str().unwrap()];
        let cli = Cli::parse_from(start.iter().chain(flags));
        let Command::Serve(args) = cli.command else {
            panic!("not serve");
        };
        Config::resolve(*args)
    }

    #[test]
    fn flag_wins_over_file_and_file_over_default() {
        let folder = TempDir::new().unwrap();
        let file = "listen = '127.0.0.1:1'\nworker_id = 7\nlog_format = 'json'\n[limits]\nsockets = 3\ngroup_members = 0\ntransients_per_minute = 5\n";
        let config = resolve(&folder, file, &["--listen", "127.0.0.1:2"]).unwrap();
        assert_eq!(config.listen, Listen::Tcp("127.0.0.1:2".to_owned()));
        assert_eq!(config.worker, Some(WorkerId::try_from(7).unwrap()));
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!((config.limits.sockets, config.limits.group_members), (3, 0));
        assert_eq!(config.limits.transients_per_minute, 5);
        assert_eq!(config.database, DatabaseUrl::Sqlite("waxwire-relay.db".into()));
        let config = resolve(&folder, "", &[]).unwrap();
        assert_eq!(config.listen, Listen::Tcp(DEFAULT_LISTEN.to_owned()));
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.blobs.folder, Path::new("waxwire-relay.db-blobs"));
        assert!(config.blobs.bucket.is_none());
        let config = resolve(
            &folder,
            "blobs = '/a'\n[limits]\nblob_days = 3\n",
            &["--blobs", "/b"],
        )
        .unwrap();
        assert_eq!(
            (config.blobs.folder.as_path(), config.limits.blob_days),
            (Path::new("/b"), 3)
        );
    }

    #[test]
    fn bucket_takes_what_is_complete_and_the_folder_the_rest() {
        let folder = TempDir::new().unwrap();
        let file = "blobs = 's3://blobs/relay'\ns3_endpoint = 'https://a'\ns3_virtual_host = true\n";
        let keys = folder.path().join("keys");
        std::fs::write(&keys, "aws_access_key_id = id\naws_secret_access_key = key\n").unwrap();
        let set_mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&keys, permissions).unwrap();
        };
        set_mode(0o600);
        let name = keys.to_str().unwrap();
        let flags = ["--s3-endpoint", "http://b", "--s3-credentials-file", name];
        let blobs = resolve(&folder, file, &flags).unwrap().blobs;
        assert_eq!(blobs.folder, Path::new("waxwire-relay.db-blobs"));
        let bucket = blobs.bucket.unwrap();
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("blobs", "relay"));
        assert_eq!(bucket.endpoint.as_deref(), Some("http://b"));
        assert!(bucket.virtual_host && bucket.region.is_none());
        assert_eq!(bucket.credentials.unwrap().key_id, "id");

        set_mode(0o640);
        let refused = resolve(&folder, file, &flags).unwrap_err();
        assert!(matches!(refused, ConfigError::Permissions { .. }));
        set_mode(0o600);
        std::fs::write(&keys, "id:key\n").unwrap();
        let refused = resolve(&folder, file, &flags).unwrap_err();
        assert!(matches!(refused, ConfigError::Credentials { .. }));
        for flags in [
            ["--s3-endpoint", "http://b"],
            ["--blobs-spool", "/a"],
            ["--s3-region", "a"],
        ] {
            let refused = resolve(&folder, "", &flags).unwrap_err();
            assert!(matches!(refused, ConfigError::NoBucket), "{flags:?}");
        }
    }

    #[test]
    fn transparency_log_is_on_unless_it_is_switched_off() {
        let folder = TempDir::new().unwrap();
        let resolve = |file: &str, flags: &[&str]| resolve(&folder, file, flags);
        let (ten, three) = (Duration::from_secs(10), Duration::from_secs(3));
        assert_eq!(resolve("", &[]).unwrap().transparency, Some(ten));
        let file = "[transparency]\nenabled = false\nhead_interval_seconds = 3\n";
        assert_eq!(resolve(file, &[]).unwrap().transparency, None);
        let on = resolve(file, &["--transparency", "on"]).unwrap();
        assert_eq!(on.transparency, Some(three));
        let off = resolve("", &["--transparency", "off"]).unwrap();
        assert_eq!(off.transparency, None);
        for seconds in [0, 3_601] {
            let file = format!("[transparency]\nhead_interval_seconds = {seconds}\n");
            let refused = resolve(&file, &[]).unwrap_err();
            assert!(matches!(refused, ConfigError::HeadInterval(_)));
        }
    }

    #[test]
    fn unknown_and_mistyped_keys_are_refused() {
        let folder = TempDir::new().unwrap();
        for file in [
            "lisen = '127.0.0.1:1'",
            "[limits]\nsocket = 1",
            "[transparency]\nenable = true",
            "[limits]\nsockets = -1",
            "worker_id = 1024",
            "listen = 'nowhere'",
            "registration = 'maybe'",
            "not toml",
        ] {
            let error = resolve(&folder, file, &[]).unwrap_err();
            assert!(matches!(error, ConfigError::File { .. }), "{file}: {error}");
        }
        assert!(matches!(
            resolve(&folder, "log = 'a=b=c'", &[]),
            Err(ConfigError::Log(_))
        ));
    }

    #[test]
    fn registration_is_open_only_where_nobody_else_can_connect() {
        let folder = TempDir::new().unwrap();
        for (listen, expected) in [
            ("127.0.0.1:0", Registration::Open),
            ("[::1]:0", Registration::Open),
            ("localhost:0", Registration::Open),
            ("unix:/tmp/x", Registration::Open),
            ("0.0.0.0:0", Registration::Invite),
            ("[::]:0", Registration::Invite),
            ("192.0.2.1:0", Registration::Invite),
            ("relay.example:0", Registration::Invite),
        ] {
            let config = resolve(&folder, "", &["--listen", listen]).unwrap();
            assert_eq!(config.registration, expected, "{listen}");
        }
        let config = resolve(&folder, "registration = 'closed'", &[]).unwrap();
        assert_eq!(config.registration, Registration::Closed);
    }

    #[test]
    fn contradictions_are_refused() {
        let folder = TempDir::new().unwrap();
        let refused = |flags: &[&str]| resolve(&folder, "", flags).unwrap_err();
        assert!(matches!(refused(&["--tls-cert", "x"]), ConfigError::HalfTls));
        assert!(matches!(
            refused(&["--database", "mysql://x"]),
            ConfigError::Database(_)
        ));
        assert!(matches!(
            refused(&["--database", "sqlite://:memory:"]),
            ConfigError::Database(_)
        ));
        let error = refused(&["--database", "postgres://user:hunter2@localhost:port/relay"]);
        assert!(matches!(error, ConfigError::Database(_)));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(matches!(
            refused(&["--public-url", "relay.example"]),
            ConfigError::PublicUrl
        ));
        let key = folder.path().join("key");
        std::fs::write(&key, "short\n").unwrap();
        let set_mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&key, permissions).unwrap();
        };
        let name = key.to_str().unwrap();
        for mode in [0o644, 0o640, 0o602, 0o601] {
            set_mode(mode);
            let error = refused(&["--master-key-file", name]);
            assert!(matches!(error, ConfigError::Permissions { mode: found, .. } if found == mode));
        }
        set_mode(0o600);
        assert!(matches!(
            refused(&["--master-key-file", name]),
            ConfigError::MasterKey
        ));
        assert!(matches!(
            refused(&["--master-key-file", "/nowhere"]),
            ConfigError::Read { .. }
        ));
    }

    #[test]
    fn redis_goes_with_postgres_and_a_place_that_all_nodes_know() {
        let folder = TempDir::new().unwrap();
        let postgres = ["--database", "postgres://localhost/relay"];
        let resolve = |flags: &[&str]| resolve(&folder, "redis = 'rediss://:hunter2@host/1'\n", flags);
        let refused = resolve(&[]).unwrap_err();
        assert!(matches!(refused, ConfigError::RedisWithSqlite));
        let refused = resolve(&postgres).unwrap_err();
        assert!(matches!(refused, ConfigError::BlobsOfNodes));
        for blobs in ["/shared", "s3://bucket"] {
            let config = resolve(&[&postgres[..], &["--blobs", blobs]].concat()).unwrap();
            assert_eq!(
                config.redis.as_ref().unwrap().expose_text(),
                "rediss://:hunter2@host/1"
            );
            assert!(!format!("{config:?}").contains("hunter2"));
        }
        let elsewhere = ["--blobs", "/shared", "--redis", "unix:///run/redis"];
        let refused = resolve(&[&postgres[..], &elsewhere].concat()).unwrap_err();
        assert!(matches!(refused, ConfigError::Redis(_)));
    }

    #[test]
    fn master_key_is_compared_without_its_white_space() {
        let key = MasterKey::new(&format!(" {}\n", "k".repeat(32))).unwrap();
        assert!(key.matches(&"k".repeat(32)));
        assert!(!key.matches(&"k".repeat(33)));
        assert!(!key.matches(""));
        assert_eq!(format!("{key:?}"), "MasterKey");
    }
}
