//! Batches of ids.

use leakproof::redis::{Tier, Unavailable};

use super::proxy::Proxy;
use super::server::on_server;

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("id {at}")).collect()
}

#[test]
fn insert_batch_answers_in_order_and_once() {
    on_server(async |server| {
        let one = server.set().build().await.unwrap();
        let two = server.set().build().await.unwrap();
        let ids = ids(2_500);
        let before = one.stats().round_trips;
        let answers = one.insert_batch(&ids).await.unwrap();
        assert!(
            answers
                .iter()
                .all(|decided| decided.answer && decided.tier == Tier::Shared)
        );
        assert_eq!(one.stats().round_trips - before, 3);
        for (set, tier) in [(&two, Tier::Shared), (&one, Tier::Local)] {
            let answers = set.insert_batch(&ids).await.unwrap();
            assert!(
                answers
                    .iter()
                    .all(|decided| !decided.answer && decided.tier == tier)
            );
        }
        assert_eq!(one.insert_batch::<&str>([]).await.unwrap(), []);
    });
}

#[test]
fn insert_batch_accepts_the_first_of_equal_ids() {
    on_server(async |server| {
        let set = server.set().build().await.unwrap();
        let answers = set.insert_batch(["a", "b", "a", "c", "b"]).await.unwrap();
        let answers: Vec<_> = answers.into_iter().map(|decided| decided.answer).collect();
        assert_eq!(answers, [true, true, false, true, false]);
    });
}

#[test]
fn insert_batch_respects_claims() {
    on_server(async |server| {
        let one = server.set().build().await.unwrap();
        let two = server.set().build().await.unwrap();
        let claim = one.claim("b").await.unwrap().answer;
        for set in [&one, &two] {
            let ids = ["b"];
            assert!(!set.insert_batch(ids).await.unwrap()[0].answer);
        }
        drop(claim);
    });
}

#[test]
fn batch_whose_reply_is_cut_off_is_new_once() {
    on_server(async |server| {
        for cut in [0, 1, 4, 5, 100, 2_000] {
            let proxy = Proxy::start(server.port).await;
            let builder = server.set().redis(proxy.url());
            let set = builder
                .when_unavailable(Unavailable::Refuse)
                .build()
                .await
                .unwrap();
            let ids: Vec<_> = ids(1_000).iter().map(|id| format!("{cut} {id}")).collect();
            server.text("SCRIPT FLUSH");
            let before = set.stats().round_trips;
            proxy.cut_after(cut);
            let answers = set.insert_batch(&ids).await.unwrap();
            // Two attempts, and the text of the script that the server has forgotten.
            assert_eq!(set.stats().round_trips - before, 3);
            assert!(
                answers.iter().all(|decided| decided.answer),
                "cut after {cut}"
            );
            assert_eq!(set.stats().repeated, 1);
        }
    });
}

#[test]
fn batch_without_the_server_counts_each_answer() {
    on_server(async |server| {
        let set = server.set().build().await.unwrap();
        set.insert("known").await.unwrap();
        server.kill();
        let answers = set.insert_batch(["a", "known", "b", "a"]).await.unwrap();
        assert!(answers.iter().all(|decided| decided.tier == Tier::Local));
        let answers: Vec<_> = answers.into_iter().map(|decided| decided.answer).collect();
        assert_eq!(answers, [true, false, true, false]);
        assert_eq!(set.stats().degraded, 2);
        assert_eq!(set.stats().recovery_len, 2);
        let refuse = server.set().when_unavailable(Unavailable::Refuse);
        assert!(refuse.build().await.is_err());
    });
}
