//! A bucket with one object a blob, in a store that speaks S3.
//!
//! Objects become visible whole: small ones are put in one request, larger ones in parts that the store puts
//! together at the end. The id of such an upload in parts is kept beside the blob's file while it lasts, so
//! that one which a crash has left behind is given up when the blob is tried again or deleted.

mod http;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    BackoffConfig, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    multipart::MultipartStore as _,
    path::Path,
};
use tokio::{fs::File, io::AsyncReadExt as _, sync::Semaphore};
use waxwire_shared::ids::BlobId;

use self::http::Connector;
use super::{
    BlobStream, BucketConfig,
    folder::{Folder, remove},
};

/// Bytes that are put at once: the least that S3 takes for a part that is not the last.
const PART: usize = 5 * 1024 * 1024;
/// Blobs that are put at the same time; each holds a part in memory.
const PUTS: usize = 4;
/// How often, and for how long, a request is made again. Whoever asked the relay is waiting meanwhile.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
    },
    max_retries: 3,
    retry_timeout: Duration::from_secs(10),
};

/// Why there is no bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// What is said of it contradicts itself.
    #[error("the bucket is not well described")]
    Config(#[source] object_store::Error),
    /// This machine trusts nobody.
    #[error(transparent)]
    Trust(#[from] waxwire_outbound::trust::TrustError),
}

/// A bucket. Clones share their connections.
#[derive(Clone)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    prefix: String,
    puts: Arc<Semaphore>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

impl Bucket {
    pub(super) fn open(config: &BucketConfig) -> Result<Self, BucketError> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&config.name)
            .with_retry(RETRY);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        if config.virtual_host {
            builder = builder.with_virtual_hosted_style_request(true);
        }
        if let Some(credentials) = &config.credentials {
            builder = builder
                .with_access_key_id(&credentials.key_id)
                .with_secret_access_key(&credentials.secret);
            if let Some(token) = &credentials.token {
                builder = builder.with_token(token);
            }
        }
        // An endpoint without TLS is the operator's word; what is stored is ciphertext.
        let endpoint = builder
            .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
            .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
        let is_plain = endpoint.is_some_and(|url| url.starts_with("http://"));
        let connector = if is_plain {
            Connector::plain()
        } else {
            Connector::tls()?
        };
        let store = builder
            .with_allow_http(is_plain)
            .with_http_connector(connector)
            .build()
            .map_err(BucketError::Config)?;
        Ok(Self {
            store: Arc::new(store),
            prefix: config.prefix.clone(),
            puts: Arc::new(Semaphore::new(PUTS)),
        })
    }

    fn path(&self, id: &BlobId) -> Path {
        Path::from_iter(self.prefix.split('/').chain([id.to_string().as_str()]))
    }

    /// Puts the file of a blob here, in place of what is here.
    pub(super) async fn put(&self, id: &BlobId, folder: &Folder) -> io::Result<()> {
        let _permit = self.puts.acquire().await.map_err(io::Error::other)?;
        let (path, mut file) = (self.path(id), File::open(folder.file(id)).await?);
        self.give_up(&path, &mark(folder, id)).await?;
        if file.metadata().await?.len() <= PART as u64 {
            let whole = part(&mut file).await?;
            self.store.put(&path, whole.into()).await.map_err(fault)?;
            return Ok(());
        }
        self.put_in_parts(&path, file, &mark(folder, id)).await
    }

    async fn put_in_parts(&self, path: &Path, mut file: File, mark: &PathBuf) -> io::Result<()> {
        let upload = self.store.create_multipart(path).await.map_err(fault)?;
        tokio::fs::write(mark, &upload).await?;
        let mut parts = Vec::new();
        loop {
            let bytes = part(&mut file).await?;
            if bytes.is_empty() {
                break;
            }
            let put = self.store.put_part(path, &upload, parts.len(), bytes.into());
            parts.push(put.await.map_err(fault)?);
        }
        let completed = self.store.complete_multipart(path, &upload, parts);
        completed.await.map_err(fault)?;
        remove(mark).await
    }

    /// Ends an upload in parts that a crash has left behind.
    async fn give_up(&self, path: &Path, mark: &PathBuf) -> io::Result<()> {
        let upload = match tokio::fs::read_to_string(mark).await {
            Ok(upload) => upload,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.store.abort_multipart(path, &upload).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => remove(mark).await,
            Err(error) => Err(fault(error)),
        }
    }

    /// The bytes of a range; `None` if they are not here.
    pub(super) async fn read(&self, id: &BlobId, start: u64, count: u64) -> io::Result<Option<BlobStream>> {
        let range = start..start.saturating_add(count);
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        match self.store.get_opts(&self.path(id), options).await {
            Ok(result) if result.range == range => Ok(Some(result.into_stream().map_err(fault).boxed())),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(fault(error)),
        }
    }

    /// Deletes a blob and what was begun of it.
    pub(super) async fn delete(&self, id: &BlobId, folder: &Folder) -> io::Result<()> {
        let path = self.path(id);
        self.give_up(&path, &mark(folder, id)).await?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault(error)),
        }
    }
}

/// Where the id of a blob's upload in parts is kept.
fn mark(folder: &Folder, id: &BlobId) -> PathBuf {
    folder.file(id).with_extension("parts")
}

/// As much of a file as is put at once; nothing at its end.
async fn part(file: &mut File) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(PART);
    file.take(PART as u64).read_to_end(&mut bytes).await?;
    Ok(bytes.into())
}

fn fault(error: object_store::Error) -> io::Error {
    io::Error::other(error)
}
