//! The example `service`, run as a process and called by HTTP.

mod alerts;
mod fleet;
mod payments;

use crate::support::prometheus;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::support::process::command;
use leakproof::Clock;
use serde_json::{Value, json};
use ureq::Agent;

/// Longer than every step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

/// A running service.
struct Running {
    process: Ending,
    printed: Option<BufReader<ChildStdout>>,
    address: String,
    agent: Agent,
}

/// An HTTP response.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    is_replayed: bool,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    /// Returns the status, the messages in the session, and `true` for a redelivery.
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
        Self::start(service(environment))
    }

    fn start(mut command: Command) -> Self {
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
        let is_replayed = answer.headers().contains_key("idempotent-replayed");
        let text = answer.body_mut().read_to_string().expect("text");
        Answer {
            status: answer.status().as_u16(),
            retry_after,
            is_replayed,
            text,
        }
    }

    fn deliver(&self, message: Value) -> Answer {
        self.post("/messages", &message.to_string())
    }

    /// Delivers a message that takes this long, and waits until it is in flight. Dropping the
    /// stream hangs up.
    fn begin(&self, id: &str, takes: Duration) -> TcpStream {
        let body =
            json!({ "chat": "slow", "id": id, "takes_ms": takes.as_millis() as u64 }).to_string();
        let usage = || self.get("/health").json()["collections"][0]["usage"].clone();
        let inserted = usage()["inserted"].clone();
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let head = "POST /messages HTTP/1.1\r\nhost: service\r\n\
                    content-type: application/json\r\ncontent-length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len()).expect("it reads");
        let clock = Clock::precise();
        let is_claimed = || {
            let usage = usage();
            usage["in_flight"] == 1 || usage["inserted"] != inserted
        };
        while !is_claimed() {
            assert!(clock.now() < PATIENCE, "it is not in flight");
            thread::yield_now();
        }
        stream
    }

    /// Sends SIGTERM. Returns the exit code and the rest of standard output.
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

/// Returns all output of a process, up to its end.
fn to_the_end(mut printed: impl Read + Send + 'static) -> String {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut all = String::new();
        printed.read_to_string(&mut all).expect("text");
        sender.send(all).ok();
    });
    receiver.recv_timeout(PATIENCE).expect("it ends")
}

/// Returns the command of a service on a free port.
fn service(environment: &[(&str, &str)]) -> Command {
    let mut command = command("service", &[]);
    command
        .env("SERVICE_ADDR", "127.0.0.1:0")
        .envs(environment.iter().copied());
    command
}

/// Returns the exit code and the log of a service that cannot start.
fn fails(environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut running = Ending(service(environment).spawn().expect("the example starts"));
    let log = to_the_end(running.0.stderr.take().expect("a pipe"));
    (running.0.wait().expect("it ended").code(), log)
}

/// A process that is killed when dropped.
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
fn redelivery_gets_the_reply_of_the_first_delivery() {
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
        "ids are unique within a chat only"
    );
}

#[test]
fn redelivery_after_a_failure_is_handled() {
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
fn one_of_concurrent_deliveries_is_handled() {
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
fn delivery_in_flight_or_without_room_is_to_be_retried() {
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
fn work_that_hangs_is_cancelled_and_its_message_handled_again() {
    let service = Running::new(&[]);
    let hanging = service.begin("a", MINUTE);
    let clock = Clock::precise();
    let again = loop {
        let again = service.deliver(json!({ "chat": "slow", "id": "a" }));
        if again.status != 409 {
            break again;
        }
        assert!(clock.now() < PATIENCE, "it is still in flight");
    };
    assert_eq!(again.reply(), (200, 1, false));
    hanging.set_read_timeout(Some(PATIENCE)).expect("supported");
    let mut status = String::new();
    let mut lines = BufReader::new(hanging);
    lines.read_line(&mut status).expect("text");
    assert!(status.starts_with("HTTP/1.1 500 "), "{status}");
}

#[test]
fn reply_after_the_lease_is_recorded() {
    let service = Running::new(&[("SERVICE_DEDUP_LEASE_MS", "1000")]);
    let slow = json!({ "chat": "1203630@g.us", "id": "a", "takes_ms": 1_500 });
    assert_eq!(service.deliver(slow.clone()).reply(), (200, 1, false));
    assert_eq!(
        service.get("/health").json()["collections"][0]["usage"]["leases_expired"],
        1
    );
    assert_eq!(
        service.deliver(slow).reply(),
        (200, 1, true),
        "it is not handled again"
    );
}

#[test]
fn redelivery_after_hanging_up_gets_the_reply() {
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
    assert_eq!(again.reply(), (200, 1, true), "the work continued");
}

#[test]
fn bad_input_is_refused_with_the_reason() {
    let service = Running::new(&[]);
    let long_id = json!({ "chat": "c", "id": "x".repeat(256) }).to_string();
    for (body, status, what) in [
        (r#"{"chat": "c"}"#, 400, "`id` is missing"),
        (r#"{"id": "a"}"#, 400, "`chat` is missing"),
        (r#"{"chat": "", "id": "a"}"#, 400, "`chat` is missing"),
        ("{}", 400, "`chat` is missing"),
        ("no JSON", 400, "JSON"),
        ("", 400, "JSON"),
        (r#"{"chat": 7, "id": "a"}"#, 422, "chat"),
        ("[]", 400, "missing"),
        (long_id.as_str(), 400, "`chat` and `id` exceed 256 bytes"),
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
        service.get("/health").json()["collections"][0]["usage"]["inserted"],
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
        (
            "leakproof_idle_timeout_seconds{collection=\"sessions\"}",
            300.0,
        ),
        ("leakproof_entries{collection=\"handlers\"}", 2.0),
        ("leakproof_emitted_total{collection=\"handlers\"}", 2.0),
        ("leakproof_entries{collection=\"chats\"}", 1.0),
        ("leakproof_allowed_total{collection=\"chats\"}", 2.0),
        ("leakproof_rejected_total{collection=\"chats\"}", 0.0),
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
        "metrics are those at the request"
    );
}

#[test]
fn test_parser_of_metrics_is_strict() {
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
fn health_page_of_a_full_set_is_critical_but_not_503() {
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
    assert_eq!(
        names,
        ["messages", "sessions", "handlers", "chats", "payments"]
    );
    assert_eq!(json["collections"][0]["entries"]["limit"], 4);
    for id in ["a", "b", "c", "d"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    let full = service.get("/health");
    assert_eq!(
        (full.status, &full.json()["severity"]),
        (200, &json!("critical"))
    );
}

#[test]
#[cfg(target_os = "linux")]
fn health_page_is_503_if_the_process_runs_out_of_files() {
    let service = service(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$0\""]);
    command
        .arg(service.get_program())
        .envs(
            service
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let service = Running::start(command);
    assert_eq!(service.get("/health").status, 200);
    let mut connections = Vec::new();
    let is_ill = (0..128).any(|_| {
        connections.push(TcpStream::connect(&service.address).expect("a connection"));
        service.get("/health").status == 503
    });
    assert!(is_ill);
}

#[test]
fn reconnects_do_not_add_handlers() {
    let service = Running::new(&[]);
    for _ in 0..100 {
        let answer = service.post("/admin/reconnect", "");
        assert_eq!(
            (answer.status, &answer.json()["handlers"]),
            (200, &json!(2))
        );
    }
    // A handler of every reconnect would have counted the message.
    assert_eq!(service.deliver(message("a")).reply(), (200, 1, false));
    assert_eq!(service.deliver(message("b")).reply(), (200, 2, false));
}

#[test]
fn message_is_new_again_after_clear() {
    let service = Running::new(&[]);
    for id in ["a", "b"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    assert_eq!(service.post("/admin/clear", "").status, 200);
    let health = service.get("/health").json();
    for collection in [0, 1] {
        assert_eq!(health["collections"][collection]["entries"]["used"], 0);
    }
    assert_eq!(service.deliver(message("a")).reply(), (200, 1, false));
}

#[test]
fn sigterm_completes_work_and_prints_a_last_report() {
    let mut service = Running::new(&[]);
    assert_eq!(service.deliver(message("a")).status, 200);
    // The sender hangs up, but its message counts as handled.
    drop(service.begin("b", Duration::from_secs(2)));
    let (code, printed) = service.stop();
    assert_eq!(code, Some(0), "{printed}");
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines[0].starts_with("normal: 0 findings"), "{printed}");
    let of = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{printed}"))
    };
    let entries: Vec<_> = of("messages").split_whitespace().collect();
    assert_eq!(entries[1..3], ["entries", "2"], "{printed}");
    assert!(of("process").contains("memory"), "{printed}");
}

#[test]
fn sigterm_ends_the_service_despite_half_a_request() {
    for half in [
        "POST /messages HT",
        "POST /messages HTTP/1.1\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut service = Running::new(&[]);
        let mut stream = TcpStream::connect(&service.address).expect("it listens");
        stream.write_all(half.as_bytes()).expect("it reads");
        assert_eq!(
            service.get("/health").status,
            200,
            "the connection is accepted"
        );
        assert_eq!(service.stop().0, Some(0));
    }
}

#[test]
fn half_a_request_ends_its_connection_after_some_seconds() {
    let service = Running::new(&[]);
    let response = |half: &str| {
        let mut stream = TcpStream::connect(&service.address).expect("it listens");
        stream.write_all(half.as_bytes()).expect("it reads");
        stream.set_read_timeout(Some(PATIENCE)).expect("supported");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("an end");
        response
    };
    let head = "POST /messages HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    assert!(!response(head).contains("200"));
    let timed_out = response(&format!("{head}content-length: 9\r\n\r\n{{"));
    assert!(timed_out.starts_with("HTTP/1.1 408 "), "{timed_out}");
}

#[test]
fn connections_above_the_bound_wait() {
    let service = Running::new(&[("SERVICE_MAX_CONNECTIONS", "1")]);
    let idle = TcpStream::connect(&service.address).expect("it listens");
    let mut waiting = TcpStream::connect(&service.address).expect("it listens");
    let request = "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    waiting.write_all(request.as_bytes()).expect("it reads");
    let mut response = String::new();
    let short = Some(Duration::from_millis(500));
    waiting.set_read_timeout(short).expect("supported");
    assert!(waiting.read_to_string(&mut response).is_err(), "{response}");
    drop(idle);
    waiting.set_read_timeout(Some(PATIENCE)).expect("supported");
    waiting.read_to_string(&mut response).expect("an end");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn reply_quotes_a_bounded_part_of_the_text() {
    let service = Running::new(&[]);
    let text = "ä".repeat(30_000);
    let answer = service.deliver(json!({ "chat": "c", "id": "a", "text": text }));
    let json = answer.json();
    let quoted = json["reply"]["text"].as_str().expect("a text");
    assert_eq!(quoted, format!("you said: {}", "ä".repeat(100)));
}

#[test]
fn bytes_of_ids_are_bounded_by_default() {
    let service = Running::new(&[]);
    let health = service.get("/health").json();
    let limit = &health["collections"][0]["usage"]["max_weight"];
    assert_eq!(limit, &json!(64 << 20), "{health}");
}

#[test]
fn help_names_the_environment_variables() {
    let output = command("service", &["--help"]).output().expect("it runs");
    let help = String::from_utf8(output.stdout).expect("text");
    for variable in ["SERVICE_ADDR", "SERVICE_DEDUP_*", "SERVICE_JOURNAL"] {
        assert!(help.contains(variable), "{help}");
    }
}

#[test]
fn closed_standard_output_is_no_error() {
    let mut service = Running::new(&[]);
    service.printed = None;
    assert_eq!(service.stop().0, Some(0));
}

#[test]
fn invalid_limit_is_reported_and_replaced_by_its_default() {
    let wrong = ("SERVICE_DEDUP_TTL_MS", "soon");
    let mut service = Running::new(&[wrong]);
    assert_eq!(
        service.get("/health").json()["collections"][0]["usage"]["ttl_ms"],
        86_400_000
    );
    service.stop();
    let log = to_the_end(service.process.0.stderr.take().expect("a pipe"));
    assert!(
        log.contains("leakproof::config") && log.contains("SERVICE_DEDUP_TTL_MS"),
        "{log}"
    );
}

#[test]
fn service_that_cannot_start_reports_the_option() {
    for (variable, value, code, what) in [
        ("SERVICE_ADDR", "nowhere", 1, "cannot listen on nowhere"),
        ("SERVICE_JOURNAL", "/dev/null", 1, "/dev/null/messages"),
        (
            "SERVICE_MAX_CONNECTIONS",
            "0",
            2,
            "'0' for '--max-connections",
        ),
        (
            "SERVICE_EVENTS_MAX_PER_TOPIC",
            "1",
            1,
            "`max_per_topic` is reached",
        ),
    ] {
        let (exited, log) = fails(&[(variable, value)]);
        assert_eq!(exited, Some(code), "{log}");
        assert!(log.contains(what), "{log}");
    }
}

#[test]
fn messages_above_the_quota_of_a_chat_are_429() {
    let service = Running::new(&[("SERVICE_CHAT_PER_MINUTE", "2")]);
    for id in ["a", "b"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    let denied = service.deliver(message("c"));
    let wait: u64 = denied
        .retry_after
        .expect("it says")
        .parse()
        .expect("seconds");
    assert_eq!(denied.status, 429);
    assert!((1..=30).contains(&wait), "{wait} s");
    assert_eq!(
        service.deliver(message("a")).reply(),
        (200, 1, true),
        "a redelivery takes nothing of the quota"
    );
    let elsewhere = json!({ "chat": "another", "id": "a" });
    assert_eq!(service.deliver(elsewhere).status, 200);
    let health = service.get("/health").json();
    let usage = |at: usize| health["collections"][at]["usage"].clone();
    assert_eq!(usage(0)["inserted"], 3, "a denied message is not recorded");
    assert_eq!(
        (&usage(3)["kind"], &usage(3)["limited"]),
        (&json!("rate_limits"), &json!(1))
    );
}
