//! The HTTP that OpenDAL speaks: which connections are trusted, what is added to requests, and what was answered.
//!
//! OpenDAL's errors forget most of an answer. So each call carries a note of its own, [`Call`], in which the transport
//! writes down what it heard; and what OpenDAL has no word for, a condition on a Swift object, stands there as well.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use http::response::Parts;
use http::{Request, Response, StatusCode};
use opendal::raw::{Layer, Servicer, oio::ReadStream as _};
use opendal::{Buffer, Error, HttpBody, HttpTransport, HttpTransporter, OperationContext};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::Client;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::Barrier;

use super::failure::Trouble;
use super::pace::Pace;
use super::token::Tokens;
use super::{listing, rights, streamed};
use crate::store::Keeping;
use crate::store::settings::{Limits, Tls};

/// A connection that is not there by then is given up.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that nobody used for so long is closed: services close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(30);

/// What is read of an answer that refuses.
const REFUSAL_BYTES: usize = 64 << 10;

tokio::task_local! {
    /// The call to the store that the running requests belong to.
    pub(super) static CALL: Call;
}

/// One call: what the transport has to know of it, and what it heard.
#[derive(Default)]
pub(super) struct Call {
    /// The object must not be there yet: for services for which OpenDAL cannot say so.
    pub if_absent: bool,
    /// Half of the body is held back until all creators of a race have come so far.
    pub gate: Option<Arc<Barrier>>,
    /// Whether it is told how many entries of a listing in JSON came.
    pub counts: bool,
    /// How many they were.
    pub counted: Cell<Option<usize>>,
    /// What the last request was answered, where that was a refusal.
    pub heard: RefCell<Option<Heard>>,
    /// When the object was stored, where the service says so exactly (µs since the epoch).
    pub stored_at: Cell<Option<u64>>,
}

/// An answer that refuses, or why there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The status.
    pub status: Option<StatusCode>,
    /// What kind of trouble it is, where that is known without the status.
    pub trouble: Option<Trouble>,
    /// The service's own word for it, such as `NoSuchBucket`.
    pub code: Option<String>,
    /// What it says for people.
    pub message: String,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Notes what was heard, where a call is running.
pub(super) fn note(heard: Heard) {
    // Outside of a call nobody asks.
    let _ = CALL.try_with(|call| *call.heard.borrow_mut() = Some(heard));
}

/// HTTP for one store.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
    plain: ReqwestTransport,
    /// Where requests get their token and address from, with Swift.
    tokens: Option<Arc<Tokens>>,
    /// How fast bytes may pass.
    pub pace: Paces,
    /// Whether the service ever answered.
    reached: Arc<AtomicBool>,
    /// What it keeps of what is deleted.
    keeping: Arc<rights::Heard>,
}

/// How fast bytes may pass each way.
#[derive(Clone)]
pub(super) struct Paces {
    pub upload: Arc<Pace>,
    pub download: Arc<Pace>,
}

impl Paces {
    pub fn of(limits: Limits) -> Paces {
        let of = |rate| Arc::new(Pace::new(rate));
        Paces { upload: of(limits.upload), download: of(limits.download) }
    }
}

impl Transport {
    pub fn new(client: Client, tokens: Option<Arc<Tokens>>, limits: Limits) -> Transport {
        let plain = ReqwestTransport::new(client.clone());
        Transport { client, plain, tokens, pace: Paces::of(limits), reached: Arc::default(), keeping: Arc::default() }
    }

    /// Whether the service ever answered: what never did may be another one than meant.
    pub fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// What the service was heard to keep of what is deleted or replaced.
    pub fn keeping(&self) -> Keeping {
        self.keeping.so_far()
    }

    async fn send(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let gate = CALL.try_with(|call| call.gate.clone()).ok().flatten();
        let has_limit = self.pace.upload.rate().is_some();
        let apart = |request: Request<Buffer>| {
            let (parts, body) = request.into_parts();
            (parts, body.to_bytes())
        };
        let method = request.method().clone();
        let answer = match gate {
            _ if request.body().is_empty() => self.plain.fetch(request).await,
            Some(gate) => streamed::held_back(&self.client, apart(request), gate).await,
            None if has_limit => streamed::paced(&self.client, apart(request), Arc::clone(&self.pace.upload)).await,
            None => self.plain.fetch(request).await,
        };
        match answer {
            Ok(answer) => {
                self.reached.store(true, Ordering::Relaxed);
                self.keeping.listen(&method, answer.headers());
                self.listen(answer).await
            }
            Err(error) => {
                note(Heard { trouble: Some(trouble_of(&error)), message: reason(&error), ..Heard::default() });
                Err(error)
            }
        }
    }

    /// Notes what an answer says beyond what OpenDAL keeps of it.
    async fn listen(&self, answer: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
        let stored_at = answer.headers().get("x-timestamp").and_then(|value| micros(value.to_str().ok()?));
        let _ = CALL.try_with(|call| call.stored_at.set(stored_at.or(call.stored_at.get())));
        if !answer.status().is_client_error() && !answer.status().is_server_error() {
            return match CALL.try_with(|call| call.counts) {
                Ok(true) => counted(answer).await,
                _ => Ok(answer),
            };
        }
        let (parts, mut body) = answer.into_parts();
        let mut text = Vec::new();
        while text.len() < REFUSAL_BYTES {
            // What is cut off was only an explanation.
            let Ok(piece) = body.read().await else { break };
            if piece.is_empty() {
                break;
            }
            text.extend_from_slice(&piece.to_bytes());
        }
        text.truncate(REFUSAL_BYTES);
        note(heard(parts.status, &parts.headers, &String::from_utf8_lossy(&text)));
        Ok(whole(parts, text.into()))
    }
}

/// An answer whose body is there.
fn whole(parts: Parts, body: Buffer) -> Response<HttpBody> {
    let length = body.len() as u64;
    Response::from_parts(parts, HttpBody::new(stream::iter([Ok(body)]), Some(length)))
}

/// A page of a listing, counted. What is no page its reader refuses.
async fn counted(answer: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
    let (parts, mut body) = answer.into_parts();
    let page = body.to_buffer().await?;
    let entries = listing::count(&page.to_bytes());
    let _ = CALL.try_with(|call| call.counted.set(entries));
    Ok(whole(parts, page))
}

impl HttpTransport for Transport {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if CALL.try_with(|call| call.if_absent).unwrap_or(false) {
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let Some(tokens) = &self.tokens else { return self.send(request).await };
        let token = tokens.current().await?;
        let answer = self.send(token.sign(&request)?).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !tokens.can_renew() {
            return Ok(answer);
        }
        // It may end, or be revoked, at any time. One that was just fetched is not refused for its age.
        let token = tokens.instead_of(&token).await?;
        let answer = self.send(token.sign(&request)?).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let _ = CALL.try_with(|call| {
                if let Some(heard) = call.heard.borrow_mut().as_mut() {
                    heard.trouble = Some(Trouble::Forbidden);
                }
            });
        }
        Ok(answer)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

/// Makes an operator speak through a transport.
impl Layer for Transport {
    fn apply_context(&self, _: Servicer, inner: OperationContext) -> OperationContext {
        inner.with_http_transport(HttpTransporter::new(self.clone()))
    }
}

/// What an answer that refuses says.
fn heard(status: StatusCode, headers: &HeaderMap, body: &str) -> Heard {
    let seconds = |name: HeaderName| headers.get(name)?.to_str().ok()?.parse().ok().map(Duration::from_secs);
    let code = between(body, "<Code>", "</Code>").map(plain);
    let message = between(body, "<Message>", "</Message>").or_else(|| between(body, "<p>", "</p>")).map(plain);
    Heard {
        status: Some(status),
        trouble: None,
        code,
        message: message.unwrap_or_default(),
        retry_after: seconds(RETRY_AFTER),
    }
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// What a service says, on one line of bounded length.
fn plain(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    text.trim().to_owned()
}

/// Seconds with a fraction, as `X-Timestamp` has them, in microseconds.
fn micros(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction.parse().ok()?)
}

/// What kept a request from being answered.
fn trouble_of(error: &Error) -> Trouble {
    let mut next = std::error::Error::source(error);
    let mut trouble = Trouble::Unreachable;
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<reqwest::Error>() {
            trouble = match error {
                error if error.is_timeout() && !error.is_connect() => Trouble::TimedOut,
                error if error.is_connect() => Trouble::Unreachable,
                // It was connected once, and then the connection broke.
                _ => Trouble::Broken,
            };
        }
        if cause.is::<rustls::Error>() || cause.downcast_ref().is_some_and(is_of_tls) {
            return Trouble::Untrusted;
        }
        next = cause.source();
    }
    trouble
}

/// Errors of TLS come wrapped in others, one in another, which name the cause of what they wrap as their own.
fn is_of_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>() || inner.downcast_ref::<io::Error>().is_some_and(is_of_tls))
}

/// The innermost cause, which says most.
fn reason(error: &Error) -> String {
    let mut next = std::error::Error::source(error);
    let mut last = error.message().to_owned();
    while let Some(cause) = next {
        last = cause.to_string();
        next = cause.source();
    }
    plain(&last)
}

/// Connections by the rules of `tls`; errors in words.
pub(super) fn client(tls: &Tls) -> Result<Client, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match tls.insecure {
        true => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth(),
        false => builder.with_root_certificates(roots(tls)?).with_no_client_auth(),
    };
    Client::builder()
        .tls_backend_preconfigured(config)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("redkeep/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())
}

/// What is trusted: the certificates of the file that was named, else those of this host.
fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca_file {
        Some(path) => {
            let unusable = |error: String| format!("{}: {error}", path.display());
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("it holds no certificate in PEM".into()));
            }
        }
        // Of those that this host trusts some may be unusable; where none is, every connection says so.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}

/// Trusts anybody, as a person asked for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_its_service() {
        let of = |body| heard(StatusCode::NOT_FOUND, &HeaderMap::new(), body);
        let s3 = of("<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>It is\nnot there</Message></Error>");
        assert_eq!((s3.code.as_deref(), &*s3.message), (Some("NoSuchBucket"), "It is not there"));
        let swift = of("<html><h1>Not Found</h1><p>The resource could not be found.</p></html>");
        assert_eq!((swift.code, &*swift.message), (None, "The resource could not be found."));
        assert_eq!(of("something else").message, "");
        assert_eq!(of(&format!("<p>{}</p>", "a".repeat(5000))).message.len(), 300);
    }

    #[test]
    fn a_timestamp_has_at_most_microseconds() {
        for (text, time) in [("1700000000.12345", 1_700_000_000_123_450), ("1", 1_000_000), ("0.0000019", 1)] {
            assert_eq!(micros(text), Some(time), "{text}");
        }
        for text in ["", "x", "1.x", "-1.0", "99999999999999999999"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }
}
