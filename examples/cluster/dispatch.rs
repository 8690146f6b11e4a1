//! The broker: sends deliveries to workers, repeats those without an answer, and restarts workers.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::spawn;
use std::time::Duration;

use example_support::Result;
use example_support::random::scramble;
use leakproof::Clock;

use crate::Options;
use crate::faults::{Counts, inject};
use crate::ledger::Ledger;
use example_support::redis_server::Server;

const BETWEEN_FAULTS: Duration = Duration::from_millis(1_700);
/// The time for the last answers.
const AT_THE_END: Duration = Duration::from_secs(60);

struct Worker {
    child: Child,
    /// `None` after the last delivery.
    input: Option<ChildStdin>,
    /// Ids by delivery.
    waiting: HashMap<u64, u64>,
}

/// A line of a worker, or `None` at its end.
type Line = (u64, Option<String>);

struct Broker<'a> {
    options: &'a Options,
    lines: Receiver<Line>,
    sender: Sender<Line>,
    workers: HashMap<u64, Worker>,
    next_worker: u64,
    next_delivery: u64,
    next_id: u64,
    /// Deliveries that are due, as ids.
    due: VecDeque<u64>,
    ledger: Ledger,
    dice: u64,
}

pub fn run(options: &Options, mut server: Option<Server>) -> Result<Ledger> {
    let (sender, lines) = channel();
    let mut broker = Broker {
        options,
        lines,
        sender,
        workers: HashMap::new(),
        next_worker: 0,
        next_delivery: 0,
        next_id: 0,
        due: VecDeque::new(),
        ledger: Ledger::default(),
        dice: scramble(options.seed),
    };
    for _worker in 0..options.workers {
        broker.start_worker()?;
    }
    let clock = Clock::precise();
    let end = Duration::from_secs(options.seconds);
    let mut next_fault = BETWEEN_FAULTS;
    let mut counts = Counts::default();
    while clock.now() < end {
        broker.step(true)?;
        if clock.now() >= next_fault && !options.no_faults {
            next_fault = clock.now() + BETWEEN_FAULTS;
            let workers: Vec<u32> = broker.processes();
            inject(broker.roll(), &workers, server.as_mut(), &mut counts)?;
        }
    }
    while broker.has_work() && clock.now() < end + AT_THE_END {
        broker.step(false)?;
    }
    broker.finish()?;
    broker.ledger.faults = counts;
    Ok(broker.ledger)
}

impl Broker<'_> {
    fn roll(&mut self) -> u64 {
        self.dice = scramble(self.dice);
        self.dice
    }

    /// Returns the workers in the order of their start, so that a seed chooses the same ones.
    fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.workers.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    fn processes(&self) -> Vec<u32> {
        let numbers = self.numbers().into_iter();
        numbers
            .map(|number| self.workers[&number].child.id())
            .collect()
    }

    fn start_worker(&mut self) -> Result<()> {
        let number = self.next_worker;
        self.next_worker += 1;
        let mut command = Command::new(env::current_exe()?);
        command
            .args(["--worker", &number.to_string()])
            .args(["--tasks", &self.options.tasks.to_string()])
            .args(["--namespace", &self.options.namespace])
            .args(["--redis", self.options.redis.as_deref().unwrap_or_default()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if self.options.refuse {
            command.arg("--refuse");
        }
        let mut child = command.spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("the output is piped")?);
        let sender = self.sender.clone();
        spawn(move || {
            for line in output.lines().map_while(std::result::Result::ok) {
                let _ = sender.send((number, Some(line)));
            }
            let _ = sender.send((number, None));
        });
        let input = child.stdin.take();
        let waiting = HashMap::new();
        let worker = Worker {
            child,
            input,
            waiting,
        };
        self.workers.insert(number, worker);
        Ok(())
    }

    fn has_work(&self) -> bool {
        let waiting = self
            .workers
            .values()
            .any(|worker| !worker.waiting.is_empty());
        waiting || !self.due.is_empty()
    }

    /// Sends deliveries up to the limit of each worker, then handles the lines that arrived.
    fn step(&mut self, with_new: bool) -> Result<()> {
        for number in self.numbers() {
            while self.workers[&number].waiting.len() < 2 * self.options.tasks {
                if self.due.is_empty() && with_new {
                    self.add_message();
                }
                let Some(id) = self.due.pop_front() else {
                    break;
                };
                self.send(number, id);
            }
        }
        let mut line = self.lines.recv_timeout(Duration::from_millis(20));
        while let Ok((number, text)) = line {
            self.handle(number, text)?;
            line = self.lines.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
        Ok(())
    }

    /// Adds a message, of which some are delivered two or three times at once, and some later.
    fn add_message(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let dice = self.roll();
        for _delivery in 0..1 + dice % 3 {
            self.due.push_back(id);
        }
        if dice % 5 == 0 && id > 100 {
            self.due.push_back(id - 1 - (dice >> 8) % 100);
        }
    }

    fn send(&mut self, number: u64, id: u64) {
        let delivery = self.next_delivery;
        self.next_delivery += 1;
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        worker.waiting.insert(delivery, id);
        if let Some(input) = &mut worker.input {
            // A worker that was killed is noticed by the end of its output.
            let _ = writeln!(input, "{delivery} m{id}");
        }
    }

    fn handle(&mut self, number: u64, line: Option<String>) -> Result<()> {
        let Some(line) = line else {
            if let Some(mut worker) = self.workers.remove(&number) {
                worker.child.wait()?;
                self.due.extend(worker.waiting.values());
                self.start_worker()?;
            }
            return Ok(());
        };
        let mut words = line.split(' ');
        if words.next() == Some("A") {
            let delivery = words.next().and_then(|word| word.parse::<u64>().ok());
            let worker = self.workers.get_mut(&number);
            let id = delivery
                .zip(worker)
                .and_then(|(delivery, worker)| worker.waiting.remove(&delivery));
            if let Some(id) = id {
                match words.next() {
                    Some("again") => self.due.push_back(id),
                    Some(answer) => {
                        let (tier, value) = (words.next(), words.next());
                        self.ledger.answered(id, answer, tier, value);
                    }
                    None => return Err(format!("worker {number}: {line}").into()),
                }
            }
        } else {
            self.ledger.add(&line)?;
        }
        Ok(())
    }

    /// Lets the workers end, and reads their last lines.
    fn finish(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.due) {
            self.ledger.unanswered(id);
        }
        for worker in self.workers.values_mut() {
            worker
                .waiting
                .values()
                .for_each(|&id| self.ledger.unanswered(id));
            worker.waiting.clear();
            worker.input = None;
        }
        while !self.workers.is_empty() {
            let (number, line) = self.lines.recv_timeout(AT_THE_END)?;
            match line {
                Some(line) if line.starts_with("A ") => {}
                Some(line) => self.ledger.add(&line)?,
                None => {
                    if let Some(mut worker) = self.workers.remove(&number) {
                        worker.child.wait()?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
