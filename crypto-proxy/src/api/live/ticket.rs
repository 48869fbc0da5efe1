//! Tickets: what a page may put into the address of a socket, because it cannot send a header.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::time::Instant;

/// How long a ticket is good.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);
/// Tickets at one time; the oldest gives way.
const TICKETS: usize = 64;

/// Tickets that were given out and not used. In memory only, and only their hashes.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<VecDeque<Ticket>>);

#[derive(Debug)]
struct Ticket {
    hash: [u8; 32],
    until: Instant,
}

impl Tickets {
    /// A ticket: `wst_` and 43 base64url characters.
    pub(super) fn issue(&self, rng: &mut impl CryptoRng) -> String {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let text = format!("wst_{}", URL_SAFE_NO_PAD.encode(bytes));
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() == TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(Ticket {
            hash: hash(text.as_bytes()),
            until: Instant::now() + LIFETIME,
        });
        text
    }

    /// Whether this is a ticket, which it is no more afterwards. Every ticket is compared with it, in
    /// constant time.
    pub(super) fn redeem(&self, shown: &[u8]) -> bool {
        let (shown, now) = (hash(shown), Instant::now());
        let mut good = Choice::from(0);
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|ticket| {
            let is_it = ticket.hash.ct_eq(&shown);
            good |= is_it & Choice::from(u8::from(ticket.until > now));
            !bool::from(is_it) && ticket.until > now
        });
        good.into()
    }
}

fn hash(ticket: &[u8]) -> [u8; 32] {
    Sha256::digest(ticket).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::OsRng;

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once() {
        let tickets = Tickets::default();
        let (first, second) = (tickets.issue(&mut OsRng), tickets.issue(&mut OsRng));
        assert!(!tickets.redeem(b"wst_"));
        assert!(tickets.redeem(second.as_bytes()));
        assert!(!tickets.redeem(second.as_bytes()));
        assert!(tickets.redeem(first.as_bytes()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_expires() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(&mut OsRng);
        tokio::time::advance(LIFETIME).await;
        assert!(!tickets.redeem(ticket.as_bytes()));
        assert!(tickets.0.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_too_many_gives_way() {
        let tickets = Tickets::default();
        let all: Vec<String> = (0..=TICKETS).map(|_| tickets.issue(&mut OsRng)).collect();
        assert!(!tickets.redeem(all[0].as_bytes()));
        assert!(tickets.redeem(all[1].as_bytes()));
    }
}
