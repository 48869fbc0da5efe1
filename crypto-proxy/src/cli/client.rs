//! The local API as the commands for people and scripts use it: one connection, one call after the
//! other.
//!
//! Another user of this machine may listen where a proxy has stopped listening. So whoever answers
//! proves first that it knows the token of the state folder, for a nonce and for this very place
//! (docs/proxy-api.md, "Who answers"); only then it is shown the token.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rand_core::Rng as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::{address::AddressFile, init::TOKEN_FILE};
use crate::{
    api::{ListenAddr, NONCE, PROOF},
    crypto::kdf,
    rng::OsRng,
};

/// Largest answer: a page of the largest messages with room to spare.
const ANSWER: usize = 16 * 1024 * 1024;

/// Which proxy, and how its answers are shown.
#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// State folder of the agent, whose proxy has to run.
    #[arg(long, env = "WAXWIRE_PROXY_STATE", value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// Where its local API listens, if not where the state folder says: an address with a port, or unix:PATH.
    #[arg(long, env = "WAXWIRE_PROXY_API", value_name = "ADDRESS", global = true)]
    api: Option<ListenAddr>,
    /// Print what the local API answers, as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl ClientArgs {
    /// Options that may stand anywhere cannot be required by the parser.
    fn state(&self) -> anyhow::Result<&Path> {
        let missing = "which agent? give its state folder with --state DIR or WAXWIRE_PROXY_STATE";
        self.state.as_deref().context(missing)
    }
}

/// The API refuses; its own words.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(super) struct Refused {
    code: String,
    message: String,
    pub(super) status: StatusCode,
    /// The whole answer.
    pub(super) body: Value,
}

/// A connection to the local API.
pub(super) struct LocalApi {
    sender: http1::SendRequest<Full<Bytes>>,
    host: HeaderValue,
    token: Zeroizing<String>,
    _driver: AbortOnDropHandle<()>,
}

impl LocalApi {
    /// Connects and has the proof shown.
    pub(super) async fn connect(args: &ClientArgs) -> anyhow::Result<Self> {
        let place = match &args.api {
            Some(ListenAddr::Tcp(address)) => format!("http://{address}"),
            Some(ListenAddr::Unix(path)) => format!("unix:{}", path.display()),
            None => AddressFile::read(args.state()?)?,
        };
        let path = args.state()?.join(TOKEN_FILE);
        let line = std::fs::read_to_string(&path)
            .map(Zeroizing::new)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let token = Zeroizing::new(line.trim_end().to_owned());
        let mut api = Self::dial(&place, token)
            .await
            .with_context(|| format!("no proxy answers at {place}"))?;
        api.require_proof(&place).await?;
        Ok(api)
    }

    async fn dial(place: &str, token: Zeroizing<String>) -> anyhow::Result<Self> {
        let (sender, driver, host) = if let Some(path) = place.strip_prefix("unix:") {
            let (sender, driver) = http1::handshake(TokioIo::new(UnixStream::connect(path).await?)).await?;
            let driver = tokio::spawn(async { drop(driver.await) });
            (sender, driver, "localhost")
        } else {
            let host = place
                .strip_prefix("http://")
                .context("not the address of a local API")?;
            let (sender, driver) = http1::handshake(TokioIo::new(TcpStream::connect(host).await?)).await?;
            let driver = tokio::spawn(async { drop(driver.await) });
            (sender, driver, host)
        };
        Ok(Self {
            sender,
            host: HeaderValue::try_from(host)?,
            token,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    async fn require_proof(&mut self, place: &str) -> anyhow::Result<()> {
        let mut nonce = [0; 32];
        OsRng.fill_bytes(&mut nonce);
        let request = Request::get("/healthz")
            .header(HOST, &self.host)
            .header(NONCE, hex::encode(nonce))
            .body(Full::default())?;
        let answer = self.sender.send_request(request).await?;
        let token_hash: [u8; 32] = Sha256::digest(self.token.as_bytes()).into();
        let proof = kdf::local_proof(&token_hash, &nonce, place);
        let mut shown = [0; 32];
        let shown_at_all = answer
            .headers()
            .get(PROOF)
            .is_some_and(|shown_text| hex::decode_to_slice(shown_text, &mut shown).is_ok());
        ensure!(
            shown_at_all && bool::from(proof.ct_eq(&shown)),
            "who answers at {place} is not the proxy of this state folder; nothing was told to it"
        );
        // The connection is used on, so it has to be read to the end.
        read(answer).await.map(drop)
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        parse(&self.call(Method::GET, path, None).await?)
    }

    pub(super) async fn post(&mut self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        parse(&self.call(Method::POST, path, body.map(Value::to_string)).await?)
    }

    pub(super) async fn put(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        parse(&self.call(Method::PUT, path, Some(body.to_string())).await?)
    }

    pub(super) async fn delete(&mut self, path: &str) -> anyhow::Result<Value> {
        parse(&self.call(Method::DELETE, path, None).await?)
    }

    /// Readiness answers 503 with a body that is no refusal.
    pub(super) async fn readiness(&mut self) -> anyhow::Result<Value> {
        let answer = self.send(Method::GET, "/readyz", None).await?;
        parse(&read(answer).await?)
    }

    /// JSON text there and back as it is. What agents write holds numbers that fit no [`Value`].
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<String> {
        let answer = self.send(method, path, body).await?;
        let status = answer.status();
        let text = read(answer).await?;
        if status.is_success() {
            return Ok(text);
        }
        let body: Value = parse(&text)?;
        match (body["code"].as_str(), body["message"].as_str()) {
            (Some(code), Some(message)) => Err(Refused {
                code: code.to_owned(),
                message: message.to_owned(),
                status,
                body,
            }
            .into()),
            _ => bail!("the proxy answers {}", StatusCode::as_u16(&status)),
        }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<Response<Incoming>> {
        let bearer = Zeroizing::new(format!("Bearer {}", self.token.as_str()));
        let mut bearer = HeaderValue::try_from(bearer.as_str()).context("the token file holds no token")?;
        bearer.set_sensitive(true);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, bearer);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body.unwrap_or_default().into())?;
        Ok(self.sender.send_request(request).await?)
    }
}

async fn read(answer: Response<Incoming>) -> anyhow::Result<String> {
    let body = Limited::new(answer.into_body(), ANSWER)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!(error))
        .context("the proxy's answer breaks off")?
        .to_bytes();
    String::from_utf8(body.into()).context("the proxy's answer is no text")
}

/// What a command needs of an answer; nothing is null.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let text = if text.is_empty() { "null" } else { text };
    serde_json::from_str(text).context("the proxy's answer is not what was expected")
}

/// One segment of a path or one value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
