//! A second look before damage is final: what one catalog or index object lost may still be in the repository.

use super::OperationError;
use crate::repository::Repository;

/// Does something that only reads the repository. Where it meets damage, in its error or in its result, the catalog is
/// built again, packs that no index object names are taken in, and it is done once more; that answer counts. The same
/// where the catalog itself turns out damaged, or gave a file other bytes.
pub(super) fn second_look<T>(
    repository: &Repository,
    is_whole: impl Fn(&T) -> bool,
    mut work: impl FnMut() -> Result<T, OperationError>,
) -> Result<T, OperationError> {
    match work() {
        Ok(done) if is_whole(&done) => return Ok(done),
        // The next command shall not meet it again.
        Err(OperationError::Repository(error)) if error.is_of_catalog() => repository.replace_catalog()?,
        Err(error) if !error.is_damage() && !error.may_be_of_catalog() => return Err(error),
        Ok(_) | Err(_) => {}
    }
    repository.second_look()?;
    work()
}
