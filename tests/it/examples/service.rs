//! The example `service`, run as its users run it: as a process, by HTTP.

use crate::support::prometheus;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::support::process::command;
use leakproof::Clock;
use serde_json::{Value, json};
use ureq::Agent;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

/// A service that runs.
struct Running {
    process: Ending,
    printed: Option<BufReader<ChildStdout>>,
    address: String,
    agent: Agent,
}

/// What is answered.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    /// Status, how many messages had come in the session, and whether this reply was given before.
    fn reply(&self) -> (u16, u64, bool) {
        let json = self.json();
        let messages = json["reply"]["messages"]
            .as_u64()
            .unwrap_or_else(|| panic!("no reply in {json}"));
        (
            self.status,
            messages,
            json["duplicate"].as_bool().expect("it says so"),
        )
    }
}

impl Running {
    fn new(environment: &[(&str, &str)]) -> Self {
        let mut command = service(environment);
        let mut process = command.spawn().expect("the example starts");
        let mut printed = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut line = String::new();
        printed.read_line(&mut line).expect("text");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("{line:?}"))
            .to_owned();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Self {
            process: Ending(process),
            printed: Some(printed),
            address,
            agent: config.into(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        let answer = self
            .agent
            .get(format!("http://{}{path}", self.address))
            .call();
        Self::answer(answer.expect("an answer"))
    }

    fn post(&self, path: &str, body: &str) -> Answer {
        let post = self.agent.post(format!("http://{}{path}", self.address));
        Self::answer(
            post.header("content-type", "application/json")
                .send(body)
                .expect("an answer"),
        )
    }

    fn answer(mut answer: ureq::http::Response<ureq::Body>) -> Answer {
        let retry_after = answer
            .headers()
            .get("retry-after")
            .map(|after| after.to_str().expect("text").to_owned());
        let text = answer.body_mut().read_to_string().expect("text");
        Answer {
            status: answer.status().as_u16(),
            retry_after,
            text,
        }
    }

    fn deliver(&self, message: Value) -> Answer {
        self.post("/messages", &message.to_string())
    }

    /// Begins to deliver a message that takes so long, and hangs up when what is returned is dropped.
    fn begin(&self, id: &str, takes: Duration) -> TcpStream {
        let body =
            json!({ "chat": "slow", "id": id, "takes_ms": takes.as_millis() as u64 }).to_string();
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let head = "POST /messages HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\ncontent-length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len()).expect("it reads");
        let clock = Clock::precise();
        let has_come = || {
            let messages = &self.get("/health").json()["collections"][0];
            messages["in_flight"]["used"] == 1 || messages["entries"]["used"] == 1
        };
        while !has_come() {
            assert!(clock.now() < PATIENCE, "it has not come");
            thread::yield_now();
        }
        stream
    }

    /// Asks it to stop; how it ended, and what it printed last.
    fn stop(&mut self) -> (Option<i32>, String) {
        let pid = self.process.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .expect("there is kill")
                .success()
        );
        let rest = self.printed.take().map_or(String::new(), to_the_end);
        (self.process.0.wait().expect("it ended").code(), rest)
    }
}

/// What a process prints until it ends.
fn to_the_end(mut printed: impl Read + Send + 'static) -> String {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut all = String::new();
        printed.read_to_string(&mut all).expect("text");
        sender.send(all).ok();
    });
    receiver.recv_timeout(PATIENCE).expect("it ends")
}

/// On a free port.
fn service(environment: &[(&str, &str)]) -> Command {
    let mut command = command("service", &[]);
    command
        .env("SERVICE_ADDR", "127.0.0.1:0")
        .envs(environment.iter().copied());
    command
}

/// How a service that cannot start ends, and what it says.
fn fails(environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut running = Ending(service(environment).spawn().expect("the example starts"));
    let log = to_the_end(running.0.stderr.take().expect("a pipe"));
    (running.0.wait().expect("it ended").code(), log)
}

/// A process that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn message(id: &str) -> Value {
    json!({ "chat": "1203630@g.us", "id": id, "text": "hi" })
}

#[test]
fn a_redelivery_gets_the_reply_of_the_first_delivery() {
    let service = Running::new(&[]);
    let first = service.deliver(message("a"));
    assert_eq!(first.reply(), (200, 1, false));
    assert_eq!(first.json()["reply"]["text"], "you said: hi");
    let second = service.deliver(message("a"));
    assert_eq!(second.reply(), (200, 1, true));
    assert_eq!(second.json()["reply"], first.json()["reply"]);
    assert_eq!(service.deliver(message("b")).reply(), (200, 2, false));
    let elsewhere = service.deliver(json!({ "chat": "another", "id": "a" }));
    assert_eq!(
        elsewhere.reply(),
        (200, 1, false),
        "an id is one of its chat"
    );
}

#[test]
fn a_message_whose_handling_failed_is_handled_when_it_is_delivered_again() {
    let service = Running::new(&[]);
    let failing = json!({ "chat": "1203630@g.us", "id": "a", "fail": true });
    for _ in 0..2 {
        assert_eq!(service.deliver(failing.clone()).status, 500);
    }
    assert_eq!(service.deliver(message("a")).reply(), (200, 1, false));
    assert_eq!(
        service.deliver(failing).reply(),
        (200, 1, true),
        "it is not handled again"
    );
}

#[test]
fn of_deliveries_at_once_one_is_handled() {
    let service = Running::new(&[]);
    let slow = json!({ "chat": "1203630@g.us", "id": "a", "takes_ms": 200 });
    let answers: Vec<Answer> = thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| service.deliver(slow.clone())))
            .collect();
        all.into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    let handled = answers
        .iter()
        .filter(|answer| answer.status == 200 && !answer.reply().2)
        .count();
    assert_eq!(handled, 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 409 || answer.reply().1 == 1)
    );
    assert_eq!(service.deliver(slow).reply(), (200, 1, true));
}

#[test]
fn what_is_being_handled_is_to_be_delivered_later_and_so_is_what_finds_no_room() {
    let service = Running::new(&[("SERVICE_DEDUP_MAX_IN_FLIGHT", "1")]);
    let _begun = service.begin("a", MINUTE);
    let again = service.deliver(json!({ "chat": "slow", "id": "a" }));
    assert_eq!(
        (again.status, again.retry_after.as_deref()),
        (409, Some("1"))
    );
    let other = service.deliver(message("b"));
    assert_eq!(
        (other.status, other.retry_after.as_deref()),
        (503, Some("10"))
    );
}

#[test]
fn a_reply_that_is_too_late_for_its_lease_is_sent_again_all_the_same() {
    let service = Running::new(&[("SERVICE_DEDUP_LEASE_MS", "1000")]);
    let slow = json!({ "chat": "1203630@g.us", "id": "a", "takes_ms": 1_500 });
    assert_eq!(service.deliver(slow.clone()).reply(), (200, 1, false));
    assert_eq!(
        service.get("/health").json()["collections"][0]["stats"]["lapsed"],
        1
    );
    assert_eq!(
        service.deliver(slow).reply(),
        (200, 1, true),
        "it is not handled again"
    );
}

#[test]
fn a_sender_that_hangs_up_finds_the_reply_when_it_delivers_again() {
    let service = Running::new(&[]);
    drop(service.begin("a", Duration::from_secs(1)));
    let clock = Clock::precise();
    let again = loop {
        let again = service.deliver(json!({ "chat": "slow", "id": "a" }));
        if again.status != 409 {
            break again;
        }
        assert!(clock.now() < PATIENCE, "it is still in flight");
    };
    assert_eq!(again.reply(), (200, 1, true), "the work went on");
}

#[test]
fn bad_input_is_told_what_is_wrong_with_it() {
    let service = Running::new(&[]);
    for (body, status, what) in [
        (r#"{"chat": "c"}"#, 400, "`id` is missing"),
        (r#"{"id": "a"}"#, 400, "`chat` is missing"),
        (r#"{"chat": "", "id": "a"}"#, 400, "`chat` is missing"),
        ("{}", 400, "`chat` is missing"),
        ("no JSON", 400, "JSON"),
        ("", 400, "JSON"),
        (r#"{"chat": 7, "id": "a"}"#, 422, "chat"),
        ("[]", 400, "missing"),
    ] {
        let answer = service.post("/messages", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(answer.text.contains(what), "{body}: {}", answer.text);
    }
    let huge = json!({ "chat": "c", "id": "a", "text": "x".repeat(100_000) });
    assert_eq!(service.deliver(huge).status, 413);
    assert_eq!(service.get("/messages").status, 405);
    assert_eq!(service.get("/nowhere").status, 404);
    assert_eq!(
        service.get("/health").json()["collections"][0]["stats"]["inserted"],
        0,
        "nothing was recorded"
    );
}

#[test]
fn prometheus_can_read_the_metrics() {
    let service = Running::new(&[("SERVICE_DEDUP_MAX_ENTRIES", "1000")]);
    for id in ["a", "b", "b"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    let page = service.get("/metrics");
    assert_eq!(page.status, 200);
    let scraped = prometheus::parse(&page.text).unwrap_or_else(|wrong| panic!("{wrong}"));
    for (series, value) in [
        ("leakproof_entries{collection=\"messages\"}", 2.0),
        ("leakproof_max_entries{collection=\"messages\"}", 1_000.0),
        ("leakproof_duplicates_total{collection=\"messages\"}", 1.0),
        ("leakproof_ttl_seconds{collection=\"messages\"}", 86_400.0),
        ("leakproof_entries{collection=\"sessions\"}", 1.0),
        ("leakproof_max_idle_seconds{collection=\"sessions\"}", 300.0),
        ("leakproof_entries{collection=\"handlers\"}", 2.0),
        ("leakproof_emitted_total{collection=\"handlers\"}", 2.0),
    ] {
        assert_eq!(
            scraped.get(series),
            Some(&value),
            "{series} in {scraped:#?}"
        );
    }
    assert!(scraped["leakproof_process_resident_memory_bytes"] > 1e6);
    assert_eq!(service.deliver(message("c")).status, 200);
    let fresh = prometheus::parse(&service.get("/metrics").text).expect("it was right before");
    assert_eq!(
        fresh["leakproof_entries{collection=\"messages\"}"], 3.0,
        "no sample was due"
    );
}

#[test]
fn the_reader_of_the_metrics_is_strict() {
    let head = "# HELP a_total all\n# TYPE a_total counter\n# TYPE b gauge\n";
    for right in [
        "",
        "a_total 1\n",
        "b{c=\"d\"} +Inf\n",
        "b{c=\"d\",e=\"\\\"},\\\\\"} -1.5e3\n\nb 2\n",
    ] {
        assert!(
            prometheus::parse(&format!("{head}{right}")).is_ok(),
            "{right}"
        );
    }
    for wrong in [
        "b 1",
        "b\n",
        "b one\n",
        "c 1\n",
        "b{ 1\n",
        "b{c} 1\n",
        "b{c=d} 1\n",
        "b{c=\"d} 1\n",
        "b{c=\"d\",} 1\n",
        "b{c-=\"d\"} 1\n",
        "b 1\nb 2\n",
        "# TYPE b gauge\n",
        "# TYPE c histogram\n",
        "# TYPE c_total gauge\nc_total 1\n",
        "# HELP a_total again\n",
        "# something else\n",
    ] {
        assert!(
            prometheus::parse(&format!("{head}{wrong}")).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn the_health_page_has_the_report_and_turns_503_when_something_is_critical() {
    let service = Running::new(&[("SERVICE_DEDUP_MAX_ENTRIES", "4")]);
    let well = service.get("/health");
    assert_eq!(well.status, 200);
    let json = well.json();
    assert_eq!(json["severity"], "normal", "{json}");
    let names: Vec<_> = json["collections"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["messages", "sessions", "handlers"]);
    assert_eq!(json["collections"][0]["entries"]["limit"], 4);
    for id in ["a", "b", "c", "d"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    let ill = service.get("/health");
    assert_eq!(
        (ill.status, &ill.json()["severity"]),
        (503, &json!("critical"))
    );
}

#[test]
fn handlers_do_not_pile_up_over_reconnects() {
    let service = Running::new(&[]);
    for _ in 0..100 {
        let answer = service.post("/admin/reconnect", "");
        assert_eq!(
            (answer.status, &answer.json()["handlers"]),
            (200, &json!(2))
        );
    }
    // Each of them would have counted it.
    assert_eq!(service.deliver(message("a")).reply(), (200, 1, false));
    assert_eq!(service.deliver(message("b")).reply(), (200, 2, false));
}

#[test]
fn what_is_cleared_is_new_again() {
    let service = Running::new(&[]);
    for id in ["a", "b"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    let cleared = service.post("/admin/clear", "");
    assert_eq!(
        (cleared.status, cleared.json()),
        (200, json!({ "messages": 2, "sessions": 1 }))
    );
    assert_eq!(service.deliver(message("a")).reply(), (200, 1, false));
}

#[test]
fn it_ends_when_it_is_asked_to_and_prints_a_last_report() {
    let mut service = Running::new(&[]);
    assert_eq!(service.deliver(message("a")).status, 200);
    // One who has hung up does not keep it.
    drop(service.begin("b", MINUTE));
    let (code, printed) = service.stop();
    assert_eq!(code, Some(0), "{printed}");
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines[0].starts_with("normal: 0 findings"), "{printed}");
    let of = |name: &str| {
        lines
            .iter()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{printed}"))
    };
    assert!(of("messages").contains("entries"), "{printed}");
    assert!(of("process").contains("memory"), "{printed}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let mut service = Running::new(&[]);
    service.printed = None;
    assert_eq!(service.stop().0, Some(0));
}

#[test]
fn a_wrong_limit_has_its_default_and_is_told_and_what_cannot_be_is_an_error() {
    let wrong = ("SERVICE_DEDUP_TTL_MS", "soon");
    let mut service = Running::new(&[wrong]);
    assert_eq!(
        service.get("/health").json()["collections"][0]["stats"]["ttl_ms"],
        86_400_000
    );
    service.stop();
    let log = to_the_end(service.process.0.stderr.take().expect("a pipe"));
    assert!(
        log.contains("leakproof::config") && log.contains("SERVICE_DEDUP_TTL_MS"),
        "{log}"
    );

    for (environment, what) in [
        (
            &[wrong, ("SERVICE_LIMITS", "strict")][..],
            "SERVICE_DEDUP_TTL_MS is",
        ),
        (&[("SERVICE_ADDR", "nowhere")], "service: "),
        (
            &[("SERVICE_EVENTS_MAX_PER_TOPIC", "1")],
            "`max_per_topic` is reached",
        ),
    ] {
        let (code, log) = fails(environment);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(what), "{log}");
    }
}
