//! stub
use super::Desired;
/// stub
#[derive(Debug)]
pub struct ResolveError;
/// stub
pub fn resolve() -> Result<Desired, ResolveError> {
    Err(ResolveError)
}
