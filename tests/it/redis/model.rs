//! Every interleaving of two clients with one key, and the faults between them.

use leakproof_testkit::shared::{Apply, Faults, Key, Reply, Request, search};

const FAULTS: Faults = Faults {
    retries: 2,
    expiries: 2,
    crashes: 1,
    losses: 0,
    claims: 2,
};

#[test]
fn scripts_keep_their_promises_under_every_fault() {
    let states = search(FAULTS, Key::apply).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(states > 50_000, "{states} states");
}

#[test]
fn scripts_keep_their_promises_with_data_loss() {
    let faults = Faults {
        retries: 1,
        expiries: 1,
        losses: 1,
        ..FAULTS
    };
    let states = search(faults, Key::apply).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(states > 50_000, "{states} states");
}

#[test]
fn scripts_keep_their_promises_for_a_client_that_asks_again() {
    let faults = Faults {
        retries: 1,
        expiries: 1,
        crashes: 1,
        losses: 0,
        claims: 3,
    };
    let states = search(faults, Key::apply).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(states > 50_000, "{states} states");
}

/// Scripts that each lack one check. The search finds every one of them.
#[test]
fn search_finds_every_broken_script() {
    let broken: [(&str, Apply); 7] = [
        ("answered `mine`", |key, request| match (*key, request) {
            (Key::InFlight { .. }, Request::Claim { .. }) => Reply::InFlight,
            _ => key.apply(request),
        }),
        ("never changes a claim", |key, request| match request {
            Request::Claim { token } if matches!(key, Key::InFlight { .. }) => {
                *key = Key::InFlight { token };
                Reply::Mine
            }
            _ => key.apply(request),
        }),
        ("late request", |key, request| match request {
            Request::Commit { token, value } => {
                *key = Key::Done { token, value };
                Reply::Changed
            }
            _ => key.apply(request),
        }),
        ("late request", |key, request| match request {
            Request::Release { .. } => {
                *key = Key::Absent;
                Reply::Changed
            }
            _ => key.apply(request),
        }),
        ("late request", |key, request| match request {
            Request::Extend { token } => {
                *key = Key::InFlight { token };
                Reply::Changed
            }
            _ => key.apply(request),
        }),
        ("late request", |key, request| match (*key, request) {
            // A push that overwrites the claim of another client.
            (Key::InFlight { .. }, Request::Push { token, value }) => {
                *key = Key::Done { token, value };
                Reply::Changed
            }
            _ => key.apply(request),
        }),
        ("can be claimed", |key, request| match (*key, request) {
            (Key::Absent, Request::Claim { .. }) => Reply::InFlight,
            _ => key.apply(request),
        }),
    ];
    for (at, (rule, apply)) in broken.into_iter().enumerate() {
        let violation = search(FAULTS, apply).expect_err("the script is broken");
        assert!(violation.contains(rule), "script {at}: {violation}");
    }
}
