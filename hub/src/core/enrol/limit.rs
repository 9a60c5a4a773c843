//! How often may be asked: by everybody together, and by one address that keeps failing.
//!
//! A whole site may sit behind one address, so what succeeds is limited only in all; what fails is what an attacker does.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Requests a second in all, over a while: each costs a signature check or two and two commits.
pub const REQUESTS_PER_SECOND: u64 = 100;
/// Requests at once in all, after a quiet while: a fleet that comes back.
pub const BURST: u64 = 400;
/// Refused requests of one address (of IPv6: of one /64) that are answered before it has to wait.
pub const FAILURES: u64 = 20;
/// Seconds until a refused request is forgotten.
pub const FORGET_SECONDS: u64 = 6;
/// Addresses whose failures are remembered; the longest quiet is forgotten first.
pub const ADDRESSES: usize = 4096;

const MILLI: u64 = 1000;

/// What was asked so far.
#[derive(Debug, Default)]
pub struct Limiter {
    all: Bucket,
    failed: BTreeMap<IpAddr, Bucket>,
}

/// Fills by use and drains by time, in thousandths of a request.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    level: u64,
    /// Milliseconds.
    at: u64,
}

impl Bucket {
    fn drain(&mut self, now: u64, per_second: u64) {
        // Thousandths a millisecond are requests a second.
        self.level = self.level.saturating_sub(now.saturating_sub(self.at).saturating_mul(per_second));
        self.at = self.at.max(now);
    }
}

impl Limiter {
    /// Counts a request at `now`, in milliseconds of any clock that only rises.
    ///
    /// # Errors
    /// Seconds to wait before the next try.
    pub fn ask(&mut self, peer: IpAddr, now: u64) -> Result<(), u64> {
        if let Some(failed) = self.failed.get_mut(&network(peer)) {
            forget(failed, now);
            if failed.level >= FAILURES * MILLI {
                return Err(FORGET_SECONDS);
            }
        }
        self.all.drain(now, REQUESTS_PER_SECOND);
        if self.all.level >= BURST * MILLI {
            return Err(1);
        }
        self.all.level += MILLI;
        Ok(())
    }

    /// Takes note that a request of this address was refused.
    pub fn failed(&mut self, peer: IpAddr, now: u64) {
        let peer = network(peer);
        if self.failed.len() >= ADDRESSES && !self.failed.contains_key(&peer) {
            let oldest = self.failed.iter().min_by_key(|(_, bucket)| bucket.at).map(|(address, _)| *address);
            if let Some(oldest) = oldest {
                self.failed.remove(&oldest);
            }
        }
        let bucket = self.failed.entry(peer).or_default();
        forget(bucket, now);
        bucket.level += MILLI;
    }
}

fn forget(bucket: &mut Bucket, now: u64) {
    let periods = now.saturating_sub(bucket.at) / (FORGET_SECONDS * MILLI);
    bucket.level = bucket.level.saturating_sub(periods * MILLI);
    bucket.at += periods * FORGET_SECONDS * MILLI;
    if bucket.level == 0 {
        bucket.at = now;
    }
}

/// Who has one IPv6 address has its whole /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_fails_waits_and_others_do_not() {
        let mut limiter = Limiter::default();
        let (bad, good) = (peer("10.0.0.1"), peer("10.0.0.2"));
        let tries = (0..100).take_while(|_| {
            let asked = limiter.ask(bad, 1000).is_ok();
            limiter.failed(bad, 1000);
            asked
        });
        assert_eq!(tries.count() as u64, FAILURES);
        assert_eq!(limiter.ask(bad, 1000), Err(FORGET_SECONDS));
        assert_eq!(limiter.ask(good, 1000), Ok(()));
        assert_eq!(limiter.ask(bad, 1000 + 2 * FORGET_SECONDS * 1000), Ok(()));
    }

    #[test]
    fn successes_of_one_address_are_limited_only_in_all() {
        let mut limiter = Limiter::default();
        assert!((0..BURST).all(|_| limiter.ask(peer("10.0.0.1"), 0).is_ok()));
        assert_eq!(limiter.ask(peer("10.0.0.2"), 0), Err(1));
        assert!((0..REQUESTS_PER_SECOND).all(|_| limiter.ask(peer("10.0.0.1"), 1000).is_ok()));
        assert_eq!(limiter.ask(peer("10.0.0.1"), 1000), Err(1));
    }

    #[test]
    fn one_ipv6_network_is_one_address_and_memory_is_bounded() {
        let mut limiter = Limiter::default();
        (0..FAILURES).for_each(|host| limiter.failed(peer(&format!("fd00::{host:x}")), 0));
        assert!(limiter.ask(peer("fd00::ffff"), 0).is_err() && limiter.ask(peer("fd00:0:0:1::1"), 0).is_ok());
        (0..2 * ADDRESSES).for_each(|net| limiter.failed(peer(&format!("fd01:{net:x}::1")), 1 + net as u64));
        assert_eq!(limiter.failed.len(), ADDRESSES);
    }
}
