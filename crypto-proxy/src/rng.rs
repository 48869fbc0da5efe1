//! The one place where randomness comes from the machine.
//!
//! Everything else takes a [`CryptoRng`](rand_core::CryptoRng) as a parameter, so that tests,
//! vectors and the simulation drive it from a seed.

use getrandom::SysRng;
use rand_core::{Infallible, TryCryptoRng, TryRng};

use crate::harden::abort;

/// The operating system's generator, asked at every call; nothing is buffered, so a fork, a clone
/// or a restored snapshot of the process never repeats an output.
///
/// If the system refuses, the process ends with a message. There is no sensible way on: each
/// caller is about to make a key or a nonce, an error type in every signature would be handled by
/// nobody, and a panic could be caught by a runtime that then goes on. The system refuses only
/// where it is misconfigured, so [`OsRng::check`] at start finds it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRng;

/// The operating system has no randomness to give.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system's random generator does not answer")]
pub struct OsRngError(#[from] getrandom::Error);

impl OsRng {
    /// Draws once, so that a machine without a generator is found at start and not at first use.
    ///
    /// # Errors
    /// [`OsRngError`] with the system's reason as its source.
    pub fn check() -> Result<(), OsRngError> {
        SysRng.try_fill_bytes(&mut [0; 32])?;
        Ok(())
    }
}

impl TryRng for OsRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(SysRng.try_next_u32().unwrap_or_else(|_| refused()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(SysRng.try_next_u64().unwrap_or_else(|_| refused()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        SysRng.try_fill_bytes(bytes).unwrap_or_else(|_| refused());
        Ok(())
    }
}

impl TryCryptoRng for OsRng {}

fn refused() -> ! {
    abort("the operating system's random generator does not answer")
}

#[cfg(test)]
mod tests {
    use rand_core::Rng as _;

    use super::*;

    #[test]
    fn system_generator_answers_and_does_not_repeat() {
        OsRng::check().unwrap();
        let (mut first, mut second) = ([0; 32], [0; 32]);
        OsRng.fill_bytes(&mut first);
        OsRng.fill_bytes(&mut second);
        assert_ne!(first, second);
        assert_ne!(OsRng.next_u64(), OsRng.next_u64());
    }
}
