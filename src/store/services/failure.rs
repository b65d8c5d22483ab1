//! What went wrong with a call, told apart by what can be done about it.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use opendal::{Error, ErrorKind};

use super::transport::Heard;

/// STORE-7: what kind of trouble a service is in, or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No such host, or nobody listens there.
    Unreachable,
    /// The certificate of the host is not trusted.
    Untrusted,
    /// The connection broke before the answer.
    Broken,
    /// No answer came in time.
    TimedOut,
    /// It is busy, or asks for fewer requests.
    Throttled,
    /// It says that it failed itself.
    Failing,
    /// It does not know who asks: no credentials, wrong ones, or ended ones.
    Unauthorized,
    /// It knows who asks, who may not do this.
    Forbidden,
    /// It might have answered later, but a person asked to stop.
    Stopped,
    /// It may have stored what it was given, and that may not be repeated any more under the same name.
    Undecided,
    /// Anything else.
    Other,
}

/// Why one request, or all tries of a call, failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub trouble: Trouble,
    /// What OpenDAL makes of it.
    pub kind: ErrorKind,
    pub heard: Heard,
}

impl Failure {
    /// By the error, and by what the transport heard.
    pub fn of(error: &Error, heard: Option<Heard>) -> Failure {
        // Without a word of the service it was the library that refused, or an answer that broke off.
        let heard = heard.unwrap_or_else(|| Heard { message: one_line(error), ..Heard::default() });
        let trouble = heard.trouble.unwrap_or_else(|| match heard.status {
            Some(status) => by_status(status, heard.code.as_deref()),
            None if error.is_temporary() => Trouble::Broken,
            // The signer could not find credentials.
            None if error.kind() == ErrorKind::PermissionDenied || error.message().contains("credential") => {
                Trouble::Unauthorized
            }
            None => Trouble::Other,
        });
        Failure { trouble, kind: error.kind(), heard }
    }

    /// Nothing was answered for too long.
    pub fn timed_out(limit: Duration) -> Failure {
        let message = format!("nothing was answered for {} s", limit.as_secs());
        let heard = Heard { trouble: Some(Trouble::TimedOut), message, ..Heard::default() };
        Failure { trouble: Trouble::TimedOut, kind: ErrorKind::Unexpected, heard }
    }

    /// Whether another try may end otherwise.
    pub fn is_temporary(&self) -> bool {
        match self.trouble {
            Trouble::Unreachable | Trouble::Broken | Trouble::TimedOut | Trouble::Throttled | Trouble::Failing => true,
            Trouble::Untrusted | Trouble::Unauthorized | Trouble::Forbidden | Trouble::Stopped | Trouble::Undecided => {
                false
            }
            Trouble::Other => self.is_conflict(),
        }
    }

    /// Whether nothing can have been done: the request was refused before it took effect.
    pub fn is_without_effect(&self) -> bool {
        self.trouble == Trouble::Unreachable
            || self.is_conflict()
            || self.status().is_some_and(StatusCode::is_client_error)
    }

    /// Two writers met at one name, and this one has to come again.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(&StatusCode::CONFLICT)
    }

    /// Whether the service refused because the object is there.
    pub fn is_there(&self) -> bool {
        self.status() == Some(&StatusCode::PRECONDITION_FAILED)
            || matches!(self.kind, ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists)
    }

    /// Whether the service has no word for a condition.
    pub fn is_unknown_condition(&self) -> bool {
        self.status() == Some(&StatusCode::NOT_IMPLEMENTED)
    }

    /// Whether there is no such object, or what should hold it is missing.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound || self.is_no_bucket()
    }

    /// Whether what should hold the object is missing.
    pub fn is_no_bucket(&self) -> bool {
        self.heard.code.as_deref() == Some("NoSuchBucket")
    }

    pub fn is_past_end(&self) -> bool {
        self.kind == ErrorKind::RangeNotSatisfied || self.status() == Some(&StatusCode::RANGE_NOT_SATISFIABLE)
    }

    fn status(&self) -> Option<&StatusCode> {
        self.heard.status.as_ref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Heard { status, code, message, .. } = &self.heard;
        match (status, code) {
            (Some(status), Some(code)) => write!(f, "the service answers {} {code}", status.as_u16())?,
            (Some(status), None) => write!(f, "the service answers {status}")?,
            (None, _) => return f.write_str(message),
        }
        match message.is_empty() {
            true => Ok(()),
            false => write!(f, ": {message}"),
        }
    }
}

impl std::error::Error for Failure {}

fn by_status(status: StatusCode, code: Option<&str>) -> Trouble {
    match (status.as_u16(), code) {
        (401, _) => Trouble::Unauthorized,
        // S3 has one status for both.
        (_, Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken")) => {
            Trouble::Unauthorized
        }
        (_, Some("RequestTimeTooSkewed" | "AuthorizationHeaderMalformed")) => Trouble::Unauthorized,
        (_, Some("SlowDown")) => Trouble::Throttled,
        (_, Some("RequestTimeout")) => Trouble::TimedOut,
        (403, _) => Trouble::Forbidden,
        (408, _) => Trouble::TimedOut,
        // 498 is Swift's rate limit.
        (429 | 498 | 503, _) => Trouble::Throttled,
        (501, _) => Trouble::Other,
        _ if status.is_server_error() => Trouble::Failing,
        _ => Trouble::Other,
    }
}

fn one_line(error: &Error) -> String {
    let text: String = error.message().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: Option<&str>) -> Failure {
        let status = StatusCode::from_u16(status).ok();
        let heard = Heard { status, code: code.map(String::from), ..Heard::default() };
        Failure::of(&Error::new(ErrorKind::Unexpected, "x"), Some(heard))
    }

    #[test]
    fn answers_are_told_apart_by_what_can_be_done() {
        for (status, code, trouble, is_temporary) in [
            (401, None, Trouble::Unauthorized, false),
            (403, None, Trouble::Forbidden, false),
            (403, Some("AccessDenied"), Trouble::Forbidden, false),
            (403, Some("SignatureDoesNotMatch"), Trouble::Unauthorized, false),
            (429, None, Trouble::Throttled, true),
            (498, None, Trouble::Throttled, true),
            (503, Some("SlowDown"), Trouble::Throttled, true),
            (408, None, Trouble::TimedOut, true),
            (500, Some("InternalError"), Trouble::Failing, true),
            (502, None, Trouble::Failing, true),
            (507, None, Trouble::Failing, true),
            (409, Some("OperationAborted"), Trouble::Other, true),
            (501, None, Trouble::Other, false),
            (400, None, Trouble::Other, false),
            (404, Some("NoSuchBucket"), Trouble::Other, false),
        ] {
            let failure = answered(status, code);
            assert_eq!((failure.trouble, failure.is_temporary()), (trouble, is_temporary), "{status} {code:?}");
        }
    }

    #[test]
    fn what_was_refused_had_no_effect_and_what_broke_may_have_had() {
        assert!(answered(412, None).is_without_effect());
        assert!(answered(409, None).is_without_effect());
        for unsure in [500, 502, 503, 504] {
            assert!(!answered(unsure, None).is_without_effect(), "{unsure}");
        }
        assert!(!Failure::timed_out(Duration::from_secs(1)).is_without_effect());
    }
}
