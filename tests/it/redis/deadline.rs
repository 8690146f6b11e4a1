//! The deadline of a call, in virtual time.

use std::time::Duration;

use leakproof::Claim;
use leakproof::redis::{SharedError, Tier, Unavailable};
use tokio::time::Instant;

use super::fake::{Fake, in_virtual_time};

const TIMEOUT: Duration = Duration::from_millis(100);

#[test]
fn call_without_a_reply_ends_at_its_timeout() {
    in_virtual_time(async {
        let server = Fake::default();
        let builder = || server.map().timeout(TIMEOUT).circuit_breaker(100, TIMEOUT);
        let refuse = Unavailable::Refuse;
        let map = builder().when_unavailable(refuse).build().await.unwrap();
        let Claim::Fresh(held) = map.claim("held").await.unwrap().answer else {
            panic!("it is new");
        };
        server.set_silent(true);
        let start = Instant::now();
        for calls in 1..5 {
            let error = map.claim("id").await.unwrap_err();
            assert!(matches!(error, SharedError::Unavailable { .. }), "{error}");
            assert_eq!(start.elapsed(), calls * TIMEOUT);
        }
        // Two attempts each. The releases of the failed claims wait as well.
        assert!(map.stats().timeouts >= 8);
        assert!(held.commit(String::new()).await.is_err());
        assert_eq!(start.elapsed(), 5 * TIMEOUT);
    });
}

#[test]
fn open_breaker_costs_no_time_and_admits_one_probe() {
    in_virtual_time(async {
        let server = Fake::default();
        let time = leakproof::ManualClock::new();
        let builder = server.map().timeout(TIMEOUT).clock(&time);
        let map = builder.circuit_breaker(3, TIMEOUT).build().await.unwrap();
        server.set_silent(true);
        let start = Instant::now();
        // Kept, because the release of a dropped ticket is a call as well.
        let mut claims = Vec::new();
        for at in 0..20 {
            let claim = map.claim(format!("id {at}")).await.unwrap();
            assert_eq!(claim.tier, Tier::Local);
            claims.push(claim);
        }
        assert_eq!(start.elapsed(), 3 * TIMEOUT);
        time.advance(TIMEOUT);
        let before = server.calls();
        let probes = (0..10).map(|at| {
            let map = map.clone();
            tokio::spawn(async move { map.contains_key(format!("probe {at}")).await.unwrap().tier })
        });
        for probe in probes.collect::<Vec<_>>() {
            assert_eq!(probe.await.unwrap(), Tier::Local);
        }
        assert_eq!(start.elapsed(), 4 * TIMEOUT);
        // One attempt. The second waits for a new connection, which does not answer.
        assert_eq!(server.calls() - before, 1);
    });
}

#[test]
fn late_commit_without_a_reply_is_not_reported_as_expired() {
    in_virtual_time(async {
        let (server, time) = (Fake::default(), leakproof::ManualClock::new());
        let map = server
            .map()
            .clock(&time)
            .timeout(TIMEOUT)
            .build()
            .await
            .unwrap();
        let Claim::Fresh(ticket) = map.claim("id").await.unwrap().answer else {
            panic!("it is new");
        };
        // The lease ends here, and the server, which may have committed the id, does not answer.
        time.advance(map.lease());
        server.set_silent(true);
        let error = ticket.commit("reply".to_owned()).await.unwrap_err();
        assert!(
            matches!(error, leakproof::redis::CommitError::Failed { .. }),
            "{error:?}"
        );
        assert_eq!(error.into_value(), "reply");
        assert_eq!(map.stats().late_commits, 0);
    });
}
