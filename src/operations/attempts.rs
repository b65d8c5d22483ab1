//! A session that was given up is begun anew.

use super::OperationError;
use crate::repository::{Repository, RepositoryError};

/// How often a session that a sweep gave up, or that met a damaged catalog, is tried.
const ATTEMPTS: usize = 3;

/// Does the work of one session; again where a sweep took it for dead, or the catalog is damaged and was replaced.
pub(super) fn attempt<T>(
    repository: &Repository,
    mut session: impl FnMut() -> Result<T, OperationError>,
) -> Result<T, OperationError> {
    for _ in 1..ATTEMPTS {
        match session() {
            Err(OperationError::Repository(RepositoryError::Fenced)) => {}
            Err(OperationError::Repository(error)) if error.is_of_catalog() => repository.replace_catalog()?,
            other => return other,
        }
    }
    session()
}
