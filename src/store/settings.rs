//! How services that keep objects are reached: addresses, credentials, trust. The cli fills it in from variables and files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{PutNew, Timing};

/// A secret text; it has no way to be shown.
pub type SecretText = Zeroizing<String>;

/// Takes a line for a person.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// What is needed to reach a service, beside its location.
#[derive(Clone, Default)]
pub struct Settings {
    /// For `s3://` locations.
    pub s3: S3,
    /// For `swift://` locations; `None` where nothing says how to log in.
    pub swift: Option<Swift>,
    /// How TLS connections are judged.
    pub tls: Tls,
    /// What was found out before of `put_new` there; else it is tried where a repository is made, and nothing assumed elsewhere.
    pub put_new: Option<PutNew>,
    /// How fast bytes may pass.
    pub limits: Limits,
    /// How long a call is tried again, where a person says so.
    pub retry_for: Option<Duration>,
    /// Is set once a person asks to stop: then no call is tried again.
    pub stop: Option<Arc<AtomicBool>>,
    /// Is told once, of the first call that is tried again for long, why.
    pub waits: Option<Tell>,
    /// How long the writers of the store wait, where that is not what its kind asks for.
    pub timing: Option<Timing>,
}

/// Bytes a second that may pass, all calls together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// To the service.
    pub upload: Option<u64>,
    /// From the service.
    pub download: Option<u64>,
}

/// How an S3 service is reached.
#[derive(Clone, Default)]
pub struct S3 {
    /// The address of the service; without one, Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region requests are signed for.
    pub region: Option<String>,
    /// Whether the bucket stands in the path or in the host name of a request; without a word, in the path where an
    /// endpoint is named.
    pub path_style: Option<bool>,
    /// The class objects are stored in.
    pub storage_class: Option<String>,
    /// Who asks; without keys, what Amazon's own tools would find (their files, the role of the machine).
    pub keys: Option<S3Keys>,
}

/// An access key.
#[derive(Clone)]
pub struct S3Keys {
    /// Its name.
    pub id: String,
    /// What requests are signed with.
    pub secret: SecretText,
    /// What goes with a key that was lent for a while.
    pub session_token: Option<SecretText>,
}

/// How a Swift service is reached.
#[derive(Clone)]
pub struct Swift {
    /// How one logs in.
    pub login: SwiftLogin,
    /// Where the account is, in place of the address that the login names.
    pub storage_url: Option<String>,
}

/// Ways to log in to Swift.
#[derive(Clone)]
pub enum SwiftLogin {
    /// By Swift's own v1 protocol.
    V1 {
        /// The address that is asked for a token.
        auth: String,
        /// Account and user.
        user: String,
        /// The user's password.
        key: SecretText,
    },
    /// By Keystone's v3 protocol.
    Keystone {
        /// The address of the identity service.
        auth: String,
        /// Who asks.
        identity: KeystoneIdentity,
        /// The region whose service is meant, where there are several.
        region: Option<String>,
    },
    /// With a token that was fetched elsewhere. It is not renewed.
    Token {
        /// The token.
        token: SecretText,
    },
}

/// Who asks a Keystone for a token.
#[derive(Clone)]
pub enum KeystoneIdentity {
    /// A user, in a project.
    Password {
        /// The user's name.
        user: String,
        /// The name of the user's domain.
        user_domain: String,
        /// The user's password.
        password: SecretText,
        /// The project's name.
        project: String,
        /// The name of the project's domain.
        project_domain: String,
    },
    /// An application credential by its id.
    CredentialId {
        /// The id.
        id: String,
        /// Its secret.
        secret: SecretText,
    },
    /// An application credential by its name and its owner.
    CredentialName {
        /// The name.
        name: String,
        /// The user it belongs to.
        user: String,
        /// The name of the user's domain.
        user_domain: String,
        /// Its secret.
        secret: SecretText,
    },
}

/// How TLS connections are judged.
#[derive(Clone, Default)]
pub struct Tls {
    /// A file of certificates in PEM that are trusted instead of this host's.
    pub ca_file: Option<PathBuf>,
    /// Whether any certificate will do.
    pub insecure: bool,
}
