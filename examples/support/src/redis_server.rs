//! A `redis-server` that keeps each write, so that killing it loses nothing.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

use crate::Result;

pub struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

/// Returns `true` if there is a server to start.
pub fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Sends a signal such as `-STOP` to a process.
pub fn signal(process: u32, signal: &str) {
    let _ = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
}

impl Server {
    /// Starts a server on a free port of the loopback interface.
    pub fn start() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("leakproof-server-{}-{number}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = launch(port, &folder)?;
        Ok(Self {
            child,
            port,
            folder,
        })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server, and starts it again with its data.
    pub fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = launch(self.port, &self.folder)?;
        Ok(())
    }

    /// Sends a command and ignores the reply.
    pub fn command(&self, line: &str) -> Result<()> {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        // A server that is frozen by an earlier fault, or slow, executes it later.
        let _ = stream.read(&mut [0; 16]);
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "a server needs time to start")]
fn launch(port: u16, folder: &Path) -> Result<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args([
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start redis-server: {error}"))?;
    for _attempt in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(child);
        }
        sleep(Duration::from_millis(20));
    }
    child.kill()?;
    Err("redis-server does not accept connections".into())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
