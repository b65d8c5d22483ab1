//! Tokens of OpenStack's identity service, version 3.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::token::{Refusal, Token, header};
use crate::store::settings::KeystoneIdentity;

/// An answer with a catalog has no more bytes.
const ANSWER_BYTES: u64 = 4 << 20;

/// The catalog's word for Swift.
const OBJECT_STORE: &str = "object-store";

#[derive(Deserialize)]
struct Answer {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    r#type: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    region: Option<String>,
    region_id: Option<String>,
    url: String,
}

/// Asks for a token, and for where the object store of its project is.
pub(super) async fn token(
    client: &Client,
    auth: &str,
    identity: &KeystoneIdentity,
    region: Option<&str>,
) -> Result<Token, Refusal> {
    let address = format!("{}/auth/tokens", versioned(auth));
    let request = client.post(&address).header("content-type", "application/json");
    let answer = request.body(question(identity).to_string()).send().await;
    let mut answer = answer.map_err(|error| Refusal::unasked(&error))?;
    if !answer.status().is_success() {
        return Err(Refusal::answered(answer.status()));
    }
    let value = header(&answer, "x-subject-token").map(String::from);
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| Refusal::unasked(&error))? {
        if body.len() as u64 + piece.len() as u64 > ANSWER_BYTES {
            return Err(Refusal::words(format!("{address} answers with more than {ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| Refusal::words(format!("{address} does not answer as an identity service does")))?;
    let value = value.ok_or_else(|| Refusal::words(format!("{address} answers without a token")))?;
    let storage = place(&answer.token.catalog, region).map_err(Refusal::words)?;
    let ends = answer.token.expires_at.and_then(|text| text.parse::<Timestamp>().ok());
    let lives = ends.map(|ends| Duration::try_from(ends.duration_since(Timestamp::now())).unwrap_or_default());
    Token::new(&value, &storage, lives).map_err(Refusal::words)
}

/// People name the service with its version and without.
fn versioned(auth: &str) -> String {
    let auth = auth.trim_end_matches('/');
    if auth.ends_with("/v3") { auth.to_owned() } else { format!("{auth}/v3") }
}

fn question(identity: &KeystoneIdentity) -> Value {
    match identity {
        KeystoneIdentity::Password { user, user_domain, password, project, project_domain } => json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": user, "domain": {"name": user_domain}, "password": password.as_str(),
            }}},
            "scope": {"project": {"name": project, "domain": {"name": project_domain}}},
        }}),
        // These carry their project; asked for with one they are refused.
        KeystoneIdentity::CredentialId { id, secret } => json!({"auth": {"identity": {
            "methods": ["application_credential"],
            "application_credential": {"id": id, "secret": secret.as_str()},
        }}}),
        KeystoneIdentity::CredentialName { name, user, user_domain, secret } => json!({"auth": {"identity": {
            "methods": ["application_credential"],
            "application_credential": {
                "name": name, "user": {"name": user, "domain": {"name": user_domain}}, "secret": secret.as_str(),
            },
        }}}),
    }
}

/// The public address of the object store, in the region that was named.
fn place(catalog: &[Service], region: Option<&str>) -> Result<String, String> {
    let all = catalog.iter().filter(|service| service.r#type == OBJECT_STORE).flat_map(|service| &service.endpoints);
    let public: Vec<&Endpoint> = all.filter(|endpoint| endpoint.interface == "public").collect();
    let is_meant = |endpoint: &&&Endpoint| {
        let names = [&endpoint.region, &endpoint.region_id];
        region.is_none_or(|region| names.into_iter().any(|name| name.as_deref() == Some(region)))
    };
    match (public.iter().find(is_meant), region) {
        (Some(endpoint), _) => Ok(endpoint.url.clone()),
        (None, Some(region)) if !public.is_empty() => Err(format!("the catalog has no object store in {region}")),
        (None, _) => Err("the catalog has no object store: check the project and the user's roles in it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(kind: &str, endpoints: &[(&str, &str, &str)]) -> Service {
        let endpoint = |(interface, region, url): &(&str, &str, &str)| Endpoint {
            interface: (*interface).into(),
            region: Some((*region).into()),
            region_id: None,
            url: (*url).into(),
        };
        Service { r#type: kind.into(), endpoints: endpoints.iter().map(endpoint).collect() }
    }

    #[test]
    fn the_public_object_store_of_the_region_is_meant() {
        let catalog = [
            service("identity", &[("public", "one", "http://identity")]),
            service(
                OBJECT_STORE,
                &[("internal", "one", "http://in"), ("public", "one", "http://1"), ("public", "two", "http://2")],
            ),
        ];
        assert_eq!(place(&catalog, None).expect("one"), "http://1");
        assert_eq!(place(&catalog, Some("two")).expect("two"), "http://2");
        assert!(place(&catalog, Some("three")).expect_err("none").contains("three"));
        assert!(place(&[], None).is_err());
    }

    #[test]
    fn the_service_is_named_with_its_version_or_without() {
        for auth in ["http://x:5000", "http://x:5000/", "http://x:5000/v3", "http://x:5000/v3/"] {
            assert_eq!(versioned(auth), "http://x:5000/v3");
        }
    }

    #[test]
    fn an_application_credential_asks_for_no_project() {
        let asked = question(&KeystoneIdentity::CredentialId { id: "i".into(), secret: String::from("s").into() });
        assert_eq!(asked["auth"]["scope"], Value::Null);
        assert_eq!(asked["auth"]["identity"]["methods"], json!(["application_credential"]));
    }
}
