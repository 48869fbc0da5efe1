//! Listeners, TLS, metrics, and the end.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};
use waxwire_outbound::logs::{LogFilter, LogFormat};
use waxwire_shared::api::rest::Registration;

use super::*;
use crate::{
    blobs::BlobsConfig,
    config::{Limits, Listen, TlsFiles},
    limits::Tiers,
    rng::SystemRandom,
    store::DatabaseUrl,
};

fn config(folder: &TempDir, listen: &str) -> Config {
    Config {
        listen: listen.parse().unwrap(),
        database: DatabaseUrl::Sqlite(folder.path().join("relay.db")),
        blobs: BlobsConfig {
            folder: folder.path().join("blobs"),
            bucket: None,
        },
        worker: None,
        redis: None,
        public_url: None,
        tls: None,
        registration: Registration::Open,
        master_key: None,
        metrics_listen: None,
        hook_allow: Vec::new(),
        transparency: None,
        traces: None,
        log: LogFilter::default(),
        log_format: LogFormat::Text,
        limits: Limits::default(),
        tiers: Tiers::default(),
    }
}

fn surroundings() -> Surroundings {
    Surroundings {
        clock: Clock::System,
        random: Arc::new(SystemRandom),
        timing: Timing::default(),
        shutdown: CancellationToken::new(),
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A TLS peer that closes without saying so has still answered.
    drop(stream.read_to_string(&mut answer).await);
    answer
}

#[tokio::test]
async fn unix_socket_serves_and_is_removed_at_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("relay.sock");
    let listen = format!("unix:{}", path.display());
    // A file that a killed relay left.
    drop(tokio::net::UnixListener::bind(&path).unwrap());
    let surroundings = surroundings();
    let shutdown = surroundings.shutdown.clone();
    let server = Server::start(config(&folder, &listen), surroundings)
        .await
        .unwrap();
    assert_eq!(server.address(), listen);
    let answer = ask(UnixStream::connect(&path).await.unwrap(), "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    shutdown.cancel();
    server.run().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn socket_file_that_is_in_use_stays() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("relay.sock");
    let _other = tokio::net::UnixListener::bind(&path).unwrap();
    let listen = format!("unix:{}", path.display());
    let started = Server::start(config(&folder, &listen), surroundings()).await;
    assert!(matches!(started, Err(StartError::Listen { .. })));
    assert!(path.exists());
}

#[tokio::test]
async fn https_serves_and_plain_http_is_refused() {
    let folder = TempDir::new().unwrap();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/src/server/testdata");
    let mut config = config(&folder, "127.0.0.1:0");
    let cert = PathBuf::from(format!("{data}/cert.pem"));
    config.tls = Some(TlsFiles {
        cert: cert.clone(),
        key: format!("{data}/key.pem").into(),
    });
    let server = Server::start(config, surroundings()).await.unwrap();
    let address = server.address();
    let address = address.strip_prefix("https://").unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
        .unwrap();
    let answer = ask(stream, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask(TcpStream::connect(address).await.unwrap(), "/healthz").await;
    assert!(!answer.starts_with("HTTP"), "{answer}");
}

#[tokio::test]
async fn unusable_tls_files_and_addresses_are_named() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let mut config = config(&folder, "127.0.0.1:0");
    config.tls = Some(TlsFiles {
        cert: empty.clone(),
        key: empty.clone(),
    });
    match Server::start(config, surroundings()).await {
        Err(StartError::Tls { path, .. }) => assert_eq!(path, empty),
        other => panic!("{other:?}"),
    }
    let config = self::config(&folder, "192.0.2.1:1");
    assert!(matches!(
        Server::start(config, surroundings()).await,
        Err(StartError::Listen { .. })
    ));
}

#[tokio::test]
async fn metrics_are_served_on_their_own_listener_only() {
    let folder = TempDir::new().unwrap();
    let mut config = config(&folder, "127.0.0.1:0");
    config.metrics_listen = Some("127.0.0.1:0".parse::<Listen>().unwrap());
    let server = Server::start(config, surroundings()).await.unwrap();
    let Some(Bound::Tcp(metrics)) = server.metrics_bound().cloned() else {
        panic!("no metrics");
    };
    let address = server.address();
    let relay = address.strip_prefix("http://").unwrap();
    ask(TcpStream::connect(relay).await.unwrap(), "/nothing").await;
    let text = ask(TcpStream::connect(metrics).await.unwrap(), "/metrics").await;
    assert!(
        text.contains("waxwire_relay_refusals_total{type=\"not-found\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("text/plain; version=0.0.4"));
    let other = ask(TcpStream::connect(metrics).await.unwrap(), "/healthz").await;
    assert!(other.starts_with("HTTP/1.1 404"));
    let hidden = ask(TcpStream::connect(relay).await.unwrap(), "/metrics").await;
    assert!(hidden.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn identity_is_the_same_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let mut fingerprints = Vec::new();
    for _ in 0..2 {
        let surroundings = surroundings();
        let shutdown = surroundings.shutdown.clone();
        let server = Server::start(config(&folder, "127.0.0.1:0"), surroundings)
            .await
            .unwrap();
        fingerprints.push(server.relay().identity.fingerprint());
        shutdown.cancel();
        server.run().await;
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
}
