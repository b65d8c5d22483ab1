//! A Swift service: the operator for a container. Where the account is and the token come from the transport.

use opendal::Operator;
use opendal::services::Swift;

use super::token::PLACEHOLDER;

/// OpenDAL's operator for a container.
pub(super) fn operator(container: &str, prefix: &str) -> opendal::Result<Operator> {
    Operator::new(Swift::default().endpoint(PLACEHOLDER).container(container).root(prefix))
}
