//! `--alert-url`: findings of the monitor as JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::{Value, json};

use super::{PATIENCE, Running, message, service};

/// Returns the command of a service that is critical after four messages, and posts that.
fn alerting(webhook: &TcpListener) -> Command {
    let mut command = service(&[("SERVICE_DEDUP_MAX_ENTRIES", "4")]);
    let address = webhook.local_addr().expect("it is bound");
    command.args(["--alert-url", &format!("http://{address}/hook")]);
    command
}

/// Accepts a connection, which the service makes after its next sample.
fn accept(webhook: TcpListener) -> TcpStream {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(webhook.accept()));
    let accepted = receiver.recv_timeout(PATIENCE).expect("an alert in time");
    accepted.expect("a connection").0
}

/// Reads one request. Returns its first line and its body.
fn read(stream: &TcpStream) -> (String, Value) {
    stream.set_read_timeout(Some(PATIENCE)).expect("supported");
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("text");
        line.trim().to_owned()
    };
    let (first, mut length) = (line(), 0);
    loop {
        let header = line().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(number) = header.strip_prefix("content-length: ") {
            length = number.parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (first, serde_json::from_slice(&body).expect("JSON"))
}

#[test]
fn finding_is_posted_to_the_webhook() {
    let webhook = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let service = Running::start(alerting(&webhook));
    for id in ["a", "b", "c", "d"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    let mut stream = accept(webhook);
    let (first, alert) = read(&stream);
    assert_eq!(first, "POST /hook HTTP/1.1");
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(ok).expect("it reads");
    assert_eq!(alert["change"], "appeared", "{alert}");
    let finding = &alert["finding"];
    assert_eq!(
        (
            &finding["collection"],
            &finding["kind"],
            &finding["severity"]
        ),
        (
            &json!("messages"),
            &json!("entries_use"),
            &json!("critical")
        )
    );
    let text = alert["text"].as_str().expect("a text");
    assert!(
        text.contains("messages") && text.contains("critical"),
        "{text}"
    );
}

#[test]
fn webhook_that_hangs_delays_nothing() {
    let webhook = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut service = Running::start(alerting(&webhook));
    for id in ["a", "b", "c", "d"] {
        assert_eq!(service.deliver(message(id)).status, 200);
    }
    let stream = accept(webhook);
    read(&stream);
    // No answer.
    assert_eq!(service.deliver(message("e")).status, 200);
    assert_eq!(service.get("/health").json()["severity"], "critical");
    assert_eq!(service.stop().0, Some(0));
}
