//! The one place that asks the machine for randomness.

use std::fmt;

/// The generator failed; nothing that needs randomness can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the random number generator failed")]
pub struct RandomError;

/// Where random bytes come from; passed to whatever needs them.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `bytes` with uniformly random bytes fit for secrets.
    ///
    /// # Errors
    /// [`RandomError`]; `bytes` must not be used then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// A random array.
///
/// # Errors
/// [`RandomError`].
pub fn array<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the module that asks for randomness"
    )]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|_| RandomError)
    }
}
