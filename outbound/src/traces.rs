//! Traces for OpenTelemetry: on what a program spends its time, told to a collector as OTLP over HTTP, in JSON. Without a
//! collector no span is made. A span has a name, times, and the few fields that this project gives it: no identity, no
//! content, nothing of log lines.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT},
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};
use waxwire_shared::target::Target;

use crate::hook::{CallFault, Caller, Post, Rules, SystemResolver};

/// The target of every span that is told, and of nothing else.
pub const TARGET: &str = "waxwire::traces";

/// How long the last spans may take at the end of a program.
const LAST: Duration = Duration::from_secs(3);

/// Whether something is made for traces: log lines are not.
#[must_use]
pub fn is_span(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET
}

/// Where traces are told: a URL such as `http://127.0.0.1:4318/v1/traces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(String);

/// Text that is no URL of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("traces go to http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH; collectors listen at /v1/traces")]
pub struct CollectorError;

impl FromStr for Collector {
    type Err = CollectorError;

    fn from_str(text: &str) -> Result<Self, CollectorError> {
        let target = Target::parse(text).map_err(|_| CollectorError)?;
        (target.path() != "/")
            .then(|| Self(text.to_owned()))
            .ok_or(CollectorError)
    }
}

/// The collector cannot be spoken to.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be told")]
pub struct TracesError(#[source] opentelemetry_otlp::ExporterBuildError);

/// What tells the spans of a program.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    runtime: Arc<OnceLock<Handle>>,
}

impl Traces {
    /// `service` and `version` name the program. The standard variables `OTEL_TRACES_SAMPLER`,
    /// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_BSP_*` hold.
    ///
    /// # Errors
    /// [`TracesError`].
    pub fn start(
        collector: &Collector,
        service: &'static str,
        version: &'static str,
    ) -> Result<Self, TracesError> {
        let runtime = Arc::default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(service, &runtime))
            .with_endpoint(&collector.0)
            .with_protocol(Protocol::HttpJson)
            .build()
            .map_err(TracesError)?;
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(opentelemetry::KeyValue::new("service.version", version));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build());
        Ok(Self {
            provider: provider.build(),
            runtime,
        })
    }

    /// From now on this runtime makes the calls. Until then spans wait, as many as have room.
    pub fn call_on(&self, runtime: Handle) {
        self.runtime.get_or_init(|| runtime);
    }

    /// Takes the spans.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("waxwire"))
            // The name of a span may come after its beginning.
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_filter(filter_fn(is_span))
    }

    /// Tells what was not told yet.
    pub async fn end(self) {
        // It waits for calls that this runtime makes.
        let ended = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(LAST));
        // Whoever is told nothing has said so.
        drop(ended.await);
    }
}

/// The collector is the operator's choice, wherever it is.
struct Anywhere;

impl Rules for Anywhere {
    fn permits(&self, _: &Target) -> bool {
        true
    }

    fn permits_at(&self, _: &Target, _: std::net::IpAddr) -> bool {
        true
    }
}

/// Makes the exporter's calls, which come from a thread of its own.
struct Client {
    caller: Arc<Caller>,
    runtime: Arc<OnceLock<Handle>>,
    /// Whether it was logged that the collector takes nothing.
    told: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn new(program: &'static str, runtime: &Arc<OnceLock<Handle>>) -> Self {
        Self {
            caller: Arc::new(Caller::new(program, Arc::new(Anywhere), SystemResolver)),
            runtime: Arc::clone(runtime),
            told: AtomicBool::new(false),
        }
    }

    async fn post(&self, request: Request<Bytes>) -> Result<StatusCode, HttpError> {
        let (parts, body) = request.into_parts();
        let own = [CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT];
        let headers = parts.headers.iter().filter(|(name, _)| !own.contains(name));
        let headers =
            headers.filter_map(|(name, value)| Some((name.clone(), value.to_str().ok()?.to_owned())));
        let (url, headers) = (parts.uri.to_string(), headers.collect());
        let caller = Arc::clone(&self.caller);
        let runtime = self.runtime.get().ok_or("the program is not up yet")?;
        let call = runtime.spawn(async move { caller.call(&url, Post { headers, body }).await });
        match call.await? {
            Ok(()) => Ok(StatusCode::OK),
            Err(CallFault::Status(status)) => Ok(StatusCode::from_u16(status)?),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Once for each time that it begins.
    fn note(&self, taken: bool) {
        if self.told.swap(!taken, Ordering::Relaxed) == taken {
            match taken {
                true => tracing::info!("traces are taken again"),
                false => tracing::warn!("traces are not taken: spans are dropped"),
            }
        }
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'b, Result<Response<Bytes>, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let status = self.post(request).await;
            self.note(status.as_ref().is_ok_and(StatusCode::is_success));
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = status?;
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collector_is_a_url_with_a_path() {
        for good in [
            "http://127.0.0.1:4318/v1/traces",
            "https://collector.example/v1/traces",
        ] {
            assert!(good.parse::<Collector>().is_ok(), "{good}");
        }
        for bad in [
            "http://127.0.0.1:4318",
            "http://127.0.0.1:4318/",
            "127.0.0.1:4318/v1/traces",
            "file:///v1/traces",
        ] {
            assert!(bad.parse::<Collector>().is_err(), "{bad}");
        }
    }
}
