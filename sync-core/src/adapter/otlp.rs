//! Traces, told by OTLP over HTTP, as collectors of OpenTelemetry take it.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::{Request, Response};
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use reqwest::Client;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind};
use crate::port::{Span, SpanKind, Tracer};

/// Where traces are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// The collector, such as `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// What this service is called there; `sync` unless said.
    pub service: String,
    /// How long one request may take; 10 seconds unless said.
    pub timeout: Duration,
}

impl OtlpConfig {
    /// This collector; a request may take 10 seconds.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), service: "sync".to_owned(), timeout: Duration::from_secs(10) }
    }
}

setters! {
    OtlpConfig {
        service: into String,
        timeout: Duration,
    }
}

/// Tells spans on, some seconds later and many at a time; what the collector does not take is lost.
pub struct OtlpTracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl fmt::Debug for OtlpTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpTracer").finish_non_exhaustive()
    }
}

impl OtlpTracer {
    /// Connects when there is something to tell. To be made inside a runtime, which it uses.
    ///
    /// # Errors
    /// `Configuration` when the address of the collector is none, and outside a runtime.
    pub fn new(config: &OtlpConfig) -> Result<Self, Error> {
        let wrong = |what: &str| Error::new(ErrorKind::Configuration, format!("traces.endpoint: {what}"));
        let url: reqwest::Url = config.endpoint.parse().map_err(|_| wrong("not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("expected http:// or https:// and a host, such as \"http://127.0.0.1:4318\""));
        }
        let runtime = Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Configuration, "an OtlpTracer is made inside a tokio runtime, which it uses")
        })?;
        let client = Client::builder().timeout(config.timeout).build();
        let client = client.map_err(|error| wrong("cannot prepare requests").with_source(error))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Courier { client, runtime })
            .with_endpoint(format!("{}/v1/traces", config.endpoint.trim_end_matches('/')))
            .with_timeout(config.timeout)
            .build()
            .map_err(|error| wrong("cannot prepare telling").with_source(error))?;
        let resource = Resource::builder().with_service_name(config.service.clone()).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self { tracer: provider.tracer("sync-core"), provider })
    }

    /// Tells what there is to tell, for so long at most; nothing is taken any more then.
    pub async fn close(&self, patience: Duration) {
        let provider = self.provider.clone();
        let closed = timeout(patience, tokio::task::spawn_blocking(move || provider.shutdown())).await;
        if !matches!(closed, Ok(Ok(Ok(())))) {
            tracing::debug!("the last traces were not told");
        }
    }
}

impl Tracer for OtlpTracer {
    fn record(&self, span: Span) {
        let Span { parent, name, kind, began_at, ended_at, attributes, error } = span;
        let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, emitter) = (TraceId::from_bytes(parent.trace), SpanId::from_bytes(parent.span));
        let parent = SpanContext::new(trace, emitter, flags, true, TraceState::default());
        let context = Context::new().with_remote_span_context(parent);
        let kind = match kind {
            SpanKind::Producer => opentelemetry::trace::SpanKind::Producer,
            SpanKind::Consumer => opentelemetry::trace::SpanKind::Consumer,
        };
        let attributes: Vec<_> = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect();
        let builder = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let builder = builder.with_start_time(SystemTime::from(began_at));
        let mut span = builder.start_with_context(&self.tracer, &context);
        if let Some(error) = error {
            opentelemetry::trace::Span::set_status(&mut span, Status::error(error));
        }
        opentelemetry::trace::Span::end_with_timestamp(&mut span, SystemTime::from(ended_at));
    }
}

/// Carries requests. The exporter asks from a thread of its own, where no runtime is.
#[derive(Debug)]
struct Courier {
    client: Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), reqwest::Request::try_from(request)?);
        let carried = self.runtime.spawn(async move {
            let answer = client.execute(request).await?.error_for_status()?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        let (status, body) = carried.await??;
        Ok(Response::builder().status(status).body(body)?)
    }
}
