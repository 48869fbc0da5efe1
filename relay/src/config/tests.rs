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
fn tiers_have_names_of_tiers_and_limits_that_can_be_kept() {
    let folder = TempDir::new().unwrap();
    for (file, complaint) in [
        ("[tiers.'']\nbacklog = 1\n", "no name of a tier"),
        ("[tiers.'a b']\nbacklog = 1\n", "no name of a tier"),
        ("[tiers.default]\nbacklog = 1\n", "[limits]"),
        ("[limits]\ngroup_members = 10_001\n", "at most 10000"),
        ("[tiers.gold]\ngroup_members = 10_001\n", "at most 10000"),
    ] {
        let refused = resolve(&folder, file, &[]).unwrap_err().to_string();
        assert!(refused.contains(complaint), "{file}: {refused}");
    }
    resolve(&folder, "[tiers.gold]\ngroup_members = 10_000\n", &[]).unwrap();
    let path = folder.path().join("relay.toml");
    require_tier(&path, "gold").unwrap();
    require_tier(&path, DEFAULT_TIER).unwrap();
    let refused = require_tier(&path, "silver").unwrap_err().to_string();
    assert!(refused.ends_with("has no [tiers.silver]"), "{refused}");
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
