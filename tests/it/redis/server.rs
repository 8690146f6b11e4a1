//! Starts real servers on free ports of the loopback interface, and stops them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use leakproof::redis::{SharedDedup, SharedDedupBuilder, SharedDedupSet};

pub const TTL: Duration = Duration::from_secs(600);
pub const LEASE: Duration = Duration::from_secs(60);
/// Enough for a server that answers, on a machine under load.
const LONG: Duration = Duration::from_secs(8);

/// A running server.
pub struct Server {
    child: Option<Child>,
    args: Vec<String>,
    folder: PathBuf,
    pub port: u16,
}

/// Returns a port that is free at present.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// Returns the server that the tests start: another one than `redis-server` to test with Valkey or
/// another version.
pub fn binary() -> String {
    std::env::var("LEAKPROOF_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Returns `false`, and says so, if there is no server to start.
pub fn is_installed() -> bool {
    let version = Command::new(binary()).arg("--version").output();
    let installed = version.is_ok_and(|output| output.status.success());
    if !installed {
        println!("skipped: no {} on the path", binary());
    }
    installed
}

/// Runs a test with a server, unless there is none to start.
pub fn on_server(test: impl AsyncFnOnce(&mut Server)) {
    if is_installed() {
        run(async { test(&mut Server::start(&[])).await });
    }
}

/// Runs a future on a runtime of its own, for at most a minute.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, test)
            .await
            .expect("it comes to an end");
    });
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("leakproof-redis-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let mut server = Self {
            child: None,
            args: args.iter().map(ToString::to_string).collect(),
            folder,
            port: 0,
        };
        // Another process may take the port first.
        for _attempt in 0..20 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("the server does not start");
    }

    #[allow(clippy::disallowed_methods, reason = "a server needs time to start")]
    fn launch(&mut self) -> bool {
        let mut command = Command::new(binary());
        if self.args.iter().any(|arg| arg == "--sentinel") {
            // A sentinel keeps its state in its configuration file.
            let config = self.folder.join("sentinel.conf");
            fs::write(&config, "").expect("the folder is writable");
            command.arg(config);
        }
        command
            .args(&self.args)
            .args(["--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", ""])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the server is on the path");
        for _attempt in 0..200 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            if matches!(child.try_wait(), Ok(Some(_))) {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        false
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("the server runs");
        let status = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(status.expect("there is `kill`").success());
    }

    /// Freezes the server. Its connections stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Kills the server. Its data is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "the server starts again");
    }

    /// Sends a command on a connection of its own, and returns the reply as text.
    pub fn command(&self, parts: &[&[u8]]) -> String {
        command(self.port, parts)
    }

    pub fn text(&self, line: &str) -> String {
        let parts: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.command(&parts)
    }

    /// Returns a builder for an instance with a value, which degrades.
    pub fn map(&self) -> SharedDedupBuilder<SharedDedup<String>> {
        let builder = SharedDedup::builder().redis(self.url());
        builder
            .namespace("test")
            .ttl(TTL)
            .lease(LEASE)
            .timeout(LONG)
    }

    pub fn set(&self) -> SharedDedupBuilder<SharedDedupSet> {
        let builder = SharedDedupSet::builder().redis(self.url());
        builder
            .namespace("test")
            .ttl(TTL)
            .lease(LEASE)
            .timeout(LONG)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn command(port: u16, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).expect("it is above zero");
    let mut request = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        request.extend_from_slice(part);
        request.extend_from_slice(b"\r\n");
    }
    stream.write_all(&request).expect("the server reads");
    reply(&mut BufReader::new(stream))
}

/// Reads a reply: integers and strings as they are, arrays with spaces, absent values as `nil`.
fn reply(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("the server replies");
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let number: i64 = rest.parse().unwrap_or(0);
    match kind {
        "$" | "*" if number < 0 => "nil".to_owned(),
        "$" => {
            let length = usize::try_from(number).expect("it is not negative");
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).expect("the reply is whole");
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        }
        "*" => {
            let parts: Vec<_> = (0..number).map(|_| reply(stream)).collect();
            parts.join(" ")
        }
        _ => rest.to_owned(),
    }
}
