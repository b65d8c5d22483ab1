//! STORE-10: tokens of Swift are fetched when one is needed, renewed before they end and when one is refused.
//!
//! The same login gives the same token again while that lives (TempAuth), or a new one each time (Keystone); and where the
//! account is may change from one to the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri};
use opendal::{Buffer, Error, ErrorKind};
use reqwest::{Client, Response};
use tokio::sync::Mutex;

use super::failure::Trouble;
use super::keystone;
use super::transport::{Heard, note};
use crate::store::settings::{Swift, SwiftLogin};

/// What stands for the account in the addresses that OpenDAL makes.
pub(super) const PLACEHOLDER: &str = "http://swift.invalid/account";

/// A token that ends sooner is renewed first.
const MARGIN: Duration = Duration::from_secs(60);

/// Where a renewal brings the same token, it is not asked for again before this.
const PATIENCE: Duration = Duration::from_secs(10);

/// An identity service that has not answered by then does not.
const LIMIT: Duration = Duration::from_secs(60);

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// What opens an account for a while.
#[derive(Clone)]
pub(super) struct Token {
    pub value: HeaderValue,
    /// Where the account is.
    pub storage: String,
    /// When it ends, where that is known.
    pub ends: Option<Instant>,
    /// When it was fetched.
    pub fetched: Instant,
}

impl Token {
    pub fn new(value: &str, storage: &str, lives: Option<Duration>) -> Result<Token, String> {
        let mut value = HeaderValue::from_str(value).map_err(|_| "the token cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        let fetched = Instant::now();
        let storage = storage.trim_end_matches('/').to_owned();
        Ok(Token { value, storage, ends: lives.and_then(|lives| fetched.checked_add(lives)), fetched })
    }

    fn is_ending(&self) -> bool {
        let ends_soon = self.ends.is_some_and(|ends| ends.saturating_duration_since(Instant::now()) < MARGIN);
        ends_soon && self.fetched.elapsed() >= PATIENCE
    }

    /// A request with this token, to where the account is.
    pub fn sign(&self, request: &Request<Buffer>) -> opendal::Result<Request<Buffer>> {
        let mut request = request.clone();
        let address = request.uri().to_string();
        let rest = address.strip_prefix(PLACEHOLDER).unwrap_or_default();
        let address: Uri = format!("{}{rest}", self.storage).parse().map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, "the address of the account is none").set_source(error)
        })?;
        *request.uri_mut() = address;
        request.headers_mut().insert(X_AUTH_TOKEN, self.value.clone());
        Ok(request)
    }
}

/// The tokens of one login.
pub(super) struct Tokens {
    client: Client,
    swift: Swift,
    current: Mutex<Option<Arc<Token>>>,
}

impl Tokens {
    pub fn new(client: Client, swift: Swift) -> Tokens {
        Tokens { client, swift, current: Mutex::default() }
    }

    /// Whether a token that was refused can be had anew.
    pub fn can_renew(&self) -> bool {
        !matches!(self.swift.login, SwiftLogin::Token { .. })
    }

    /// One that lives.
    pub async fn current(&self) -> opendal::Result<Arc<Token>> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| !token.is_ending()) {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(self.fetch().await?);
        *current = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Another one than that which was refused; the same where no other is to be had.
    pub async fn instead_of(&self, refused: &Token) -> opendal::Result<Arc<Token>> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| token.value != refused.value) {
            return Ok(Arc::clone(token));
        }
        let mut token = self.fetch().await?;
        if token.value == refused.value && self.can_renew() {
            // It is about to end: asked for in its last second, a service gives it once more.
            tokio::time::sleep(Duration::from_secs(1)).await;
            token = self.fetch().await?;
        }
        let token = Arc::new(token);
        *current = Some(Arc::clone(&token));
        Ok(token)
    }

    async fn fetch(&self) -> opendal::Result<Token> {
        let fetched = tokio::time::timeout(LIMIT, async {
            match &self.swift.login {
                SwiftLogin::V1 { auth, user, key } => v1(&self.client, auth, user, key).await,
                SwiftLogin::Keystone { auth, identity, region } => {
                    keystone::token(&self.client, auth, identity, region.as_deref()).await
                }
                SwiftLogin::Token { token } => Token::new(token, "", None).map_err(Refusal::words),
            }
        });
        let fetched = fetched.await.unwrap_or_else(|_| {
            Err(Refusal(Heard {
                trouble: Some(Trouble::TimedOut),
                message: "the login is not answered".into(),
                ..Heard::default()
            }))
        });
        let mut token = fetched.map_err(|Refusal(heard)| {
            note(heard);
            Error::new(ErrorKind::PermissionDenied, "no token")
        })?;
        if let Some(storage) = &self.swift.storage_url {
            token.storage = storage.trim_end_matches('/').to_owned();
        }
        Ok(token)
    }
}

/// Why there is no token.
pub(super) struct Refusal(pub Heard);

impl Refusal {
    pub fn words(message: String) -> Refusal {
        Refusal(Heard { trouble: Some(Trouble::Other), message, ..Heard::default() })
    }

    /// The login service could not be asked.
    pub fn unasked(error: &reqwest::Error) -> Refusal {
        let error = Error::new(ErrorKind::Unexpected, "log in").set_source(std::io::Error::other(error.to_string()));
        Refusal(Heard {
            trouble: Some(Trouble::Unreachable),
            message: format!("cannot log in: {}", error.message()),
            ..Heard::default()
        })
    }

    /// The login service refused.
    pub fn answered(status: StatusCode) -> Refusal {
        let message = "the login was refused".to_owned();
        Refusal(Heard { status: Some(status), message, ..Heard::default() })
    }
}

/// A header of an answer as text.
pub(super) fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// By Swift's own protocol.
async fn v1(client: &Client, auth: &str, user: &str, key: &str) -> Result<Token, Refusal> {
    let request = client.get(auth).header("x-auth-user", user).header("x-auth-key", key);
    let answer = request.send().await.map_err(|error| Refusal::unasked(&error))?;
    if !answer.status().is_success() {
        return Err(Refusal::answered(answer.status()));
    }
    let (Some(token), Some(storage)) = (header(&answer, "x-auth-token"), header(&answer, "x-storage-url")) else {
        return Err(Refusal::words(format!("{auth} answers without a token: it is no Swift v1 login")));
    };
    let lives =
        header(&answer, "x-auth-token-expires").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    Token::new(token, storage, lives).map_err(Refusal::words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// STORE-10: a service may give the same token once more, with the same end (Swift 2.30.1, TempAuth): asking for it
    /// before each request would change nothing.
    #[test]
    fn a_token_is_renewed_in_its_last_minute_and_one_that_was_just_given_is_not() {
        let of = |lives: Option<u64>, seconds: u64| {
            let fetched = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
            let token = Token::new("token", "http://swift/v1/AUTH_a", None).unwrap();
            let ends = lives.and_then(|lives| fetched.checked_add(Duration::from_secs(lives)));
            Token { ends, fetched, ..token }.is_ending()
        };
        assert!(of(Some(3600), 3550) && of(Some(3600), 3601) && of(Some(30), 11));
        assert!(!of(Some(3600), 3500) && !of(Some(30), 5) && !of(Some(0), 0) && !of(None, 100_000));
    }
}
