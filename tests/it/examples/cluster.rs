//! The example `cluster`, run as a process: the multi-process check of `SharedDedup`.

use std::fs;
use std::process::Command;

use crate::redis::server::{Server, free_port, is_installed};
use crate::support::example::{Folder, stdout};
use crate::support::process::command;

/// Runs the example, unless there is no server to start. Returns a figure of its report.
fn run(args: &[&str]) -> Option<impl Fn(&str) -> u64> {
    if !is_installed() {
        return None;
    }
    let output = command("cluster", args).output().expect("it runs");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    Some(move |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name:?} in:\n{text}"));
        line.trim().parse().expect("a number")
    })
}

#[test]
fn faults_break_no_promise_of_several_processes() {
    let Some(figure) = run(&["--seconds", "15"]) else {
        return;
    };
    assert_eq!(figure("broken promises"), 0);
    assert_eq!(figure("lost"), 0);
    assert!(figure("messages") > 200);
    assert!(figure("duplicates by the server") > 0);
    assert!(figure("duplicates by the local tier") > 0);
}

#[test]
fn refusing_processes_handle_no_message_without_the_server() {
    let Some(figure) = run(&["--seconds", "8", "--refuse", "--seed", "2"]) else {
        return;
    };
    assert_eq!(figure("broken promises"), 0);
    assert_eq!(figure("lost"), 0);
    assert_eq!(figure("degraded answers"), 0);
    assert_eq!(figure("fresh by the local tier"), 0);
    assert_eq!(figure("handled twice, without the server"), 0);
}

#[test]
fn workers_share_ids_over_tls() {
    if !is_installed() {
        return;
    }
    let folder = Folder::new("cluster-tls");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("skipped: no openssl on the path");
        return;
    }
    assert!(fs::metadata(&certificate).is_ok());
    let port = free_port();
    let files = ["--tls-key-file", &key, "--tls-cert-file", &certificate];
    let port_text = port.to_string();
    let server = [
        &files[..],
        &["--tls-port", &port_text, "--tls-auth-clients", "no"],
    ]
    .concat();
    let _server = Server::start(&server);
    let address = format!("rediss://127.0.0.1:{port}");
    let output = command(
        "cluster",
        &["--redis", &address, "--no-faults", "--seconds", "2"],
    )
    .env("SSL_CERT_FILE", &certificate)
    .output()
    .expect("it runs");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("fresh by the server"));
    let fresh: u64 = line.map_or(0, |line| line.trim().parse().expect("a number"));
    assert!(fresh > 0, "{text}");
}
