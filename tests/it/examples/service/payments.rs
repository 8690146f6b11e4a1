//! `POST /payments`: once for each idempotency key of an account.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::thread;

use leakproof::Clock;
use serde_json::json;

use super::{Answer, PATIENCE, Running};
use crate::support::example::Folder;

impl Running {
    pub(super) fn pay(&self, account: &str, key: &str, cents: u64) -> Answer {
        let post = self.agent.post(format!("http://{}/payments", self.address));
        let post = post
            .header("content-type", "application/json")
            .header("x-account", account);
        let post = match key {
            "" => post,
            key => post.header("idempotency-key", format!("\"{key}\"")),
        };
        let body = json!({ "cents": cents }).to_string();
        Self::answer(post.send(body).expect("an answer"))
    }
}

#[test]
fn retried_payment_gets_the_first_answer() {
    let service = Running::new(&[]);
    let paid = service.pay("ada", "1", 500);
    assert_eq!((paid.status, paid.is_replayed), (201, false));
    assert_eq!(paid.json(), json!({ "payment": 1, "cents": 500 }));
    for _ in 0..2 {
        let again = service.pay("ada", "1", 500);
        assert_eq!((again.status, again.is_replayed), (201, true));
        assert_eq!(again.text, paid.text);
    }
    assert_eq!(service.pay("ada", "2", 500).json()["payment"], 2);
    let of_another = service.pay("grace", "1", 500);
    assert_eq!(
        of_another.json()["payment"],
        3,
        "keys are unique per account only"
    );
    assert_eq!(service.pay("ada", "1", 501).status, 422, "another payload");
    assert_eq!(service.pay("ada", "", 500).status, 400, "no key");
    assert_eq!(service.pay("", "1", 500).status, 400, "no account");
    let usage = &service.get("/health").json()["collections"][4]["usage"];
    assert_eq!(usage["inserted"], 3);
}

#[test]
fn sigterm_completes_the_payment_of_a_client_that_hung_up() {
    let folder = Folder::new("service-payment");
    let journal = folder.path().to_str().expect("a path in UTF-8");
    let instance = || Running::new(&[("SERVICE_JOURNAL", journal)]);
    let mut one = instance();
    let body = json!({ "cents": 500, "takes_ms": 2_000 }).to_string();
    let mut stream = TcpStream::connect(&one.address).expect("it listens");
    let head = "POST /payments HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\n\
                x-account: ada\r\nidempotency-key: \"1\"\r\ncontent-length: ";
    write!(stream, "{head}{}\r\n\r\n{body}", body.len()).expect("it reads");
    let clock = Clock::precise();
    let in_flight = || one.get("/health").json()["collections"][4]["in_flight"]["used"].clone();
    while in_flight() != 1 {
        assert!(clock.now() < PATIENCE, "it is not in flight");
        thread::yield_now();
    }
    drop(stream);
    assert_eq!(one.stop().0, Some(0));
    let two = instance();
    let payments = || two.get("/health").json()["collections"][4]["entries"]["used"].clone();
    assert_eq!(payments(), 1, "its response is stored");
}

#[test]
fn concurrent_payments_with_one_key_are_made_once() {
    let service = Running::new(&[]);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let pay = || service.pay("ada", "1", 500);
        let all: Vec<_> = (0..16).map(|_| scope.spawn(pay)).collect();
        let all = all.into_iter().map(|one| one.join().expect("an answer"));
        all.collect()
    });
    let statuses: BTreeSet<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(
        statuses.is_subset(&BTreeSet::from([201, 409])),
        "{statuses:?}"
    );
    let first = answers
        .iter()
        .filter(|it| it.status == 201 && !it.is_replayed);
    assert_eq!(first.count(), 1);
    assert_eq!(service.pay("ada", "2", 500).json()["payment"], 2);
}

#[test]
fn instances_share_payments_over_redis() {
    if !crate::redis::server::is_installed() {
        return;
    }
    let mut server = crate::redis::server::Server::start(&[]);
    let url = server.url();
    let instance = || Running::new(&[("SERVICE_REDIS_URL", &url)]);
    let (one, two) = (instance(), instance());
    let paid = one.pay("ada", "1", 500);
    assert_eq!((paid.status, paid.is_replayed), (201, false));
    let again = two.pay("ada", "1", 500);
    assert_eq!(
        (again.status, again.is_replayed),
        (201, true),
        "{}",
        again.text
    );
    assert_eq!(again.text, paid.text);
    server.kill();
    let refused = two.pay("ada", "2", 500);
    assert_eq!(refused.status, 503, "the other instance may have paid");
    assert_eq!(two.pay("ada", "1", 500).text, paid.text);
}
