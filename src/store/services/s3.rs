//! An S3 service: the operator for a bucket.

use opendal::Operator;
use opendal::services::S3;

use crate::store::settings::{S3Keys, Settings};

/// Services that know no regions take any; this is the one they are told where nobody names one.
const REGION: &str = "us-east-1";

/// OpenDAL's operator for a bucket. It reads the environment and files of Amazon's tools only where no keys are given.
pub(super) fn operator(bucket: &str, prefix: &str, settings: &Settings) -> opendal::Result<Operator> {
    let s3 = &settings.s3;
    let mut builder = S3::default().bucket(bucket).root(prefix);
    builder = builder.region(s3.region.as_deref().unwrap_or(REGION));
    builder = builder.endpoint(s3.endpoint.as_deref().unwrap_or("https://s3.amazonaws.com"));
    if !s3.path_style.unwrap_or(s3.endpoint.is_some()) {
        builder = builder.enable_virtual_host_style();
    }
    if let Some(class) = &s3.storage_class {
        builder = builder.default_storage_class(class);
    }
    if let Some(S3Keys { id, secret, session_token }) = &s3.keys {
        builder = builder.access_key_id(id).secret_access_key(secret).disable_config_load().disable_ec2_metadata();
        if let Some(token) = session_token {
            builder = builder.session_token(token);
        }
    }
    Operator::new(builder)
}
