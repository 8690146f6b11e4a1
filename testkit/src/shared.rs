//! The reference model of one key of a shared deduplicator, and an exhaustive search over what
//! clients, network and server can do to it.
//!
//! [`Key::apply`] is the transition function that the Lua scripts implement. A test on a real
//! server applies the same requests to both. [`search`] explores every interleaving of two clients
//! with lost, late and repeated requests, lost replies, crashes, expired leases, a restart without
//! data and a failover to a stale replica.

use std::collections::{HashSet, VecDeque};

/// A claim's random token.
pub type Token = u16;

/// The state of a key on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Absent,
    InFlight { token: Token },
    Done { token: Token, value: u8 },
}

/// A script with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    Claim {
        token: Token,
    },
    Record {
        token: Token,
        value: u8,
    },
    Commit {
        token: Token,
        value: u8,
    },
    /// Records an id that was handled while the server was unreachable.
    Push {
        token: Token,
        value: u8,
    },
    Extend {
        token: Token,
    },
    Release {
        token: Token,
    },
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reply {
    /// The id belongs to the caller.
    Mine,
    InFlight,
    Duplicate {
        value: u8,
    },
    /// A commit, push, extension, release or removal took effect.
    Changed,
    Unchanged,
}

impl Key {
    /// Applies a request as the scripts do, and returns their reply.
    pub fn apply(&mut self, request: Request) -> Reply {
        use Request::{Claim, Commit, Extend, Push, Record, Release, Remove};
        match (*self, request) {
            (Self::Absent, Claim { token }) => {
                *self = Self::InFlight { token };
                Reply::Mine
            }
            (Self::Absent, Record { token, value }) => {
                *self = Self::Done { token, value };
                Reply::Mine
            }
            (
                Self::InFlight { token: held } | Self::Done { token: held, .. },
                Claim { token } | Record { token, .. },
            ) if held == token => Reply::Mine,
            (Self::InFlight { .. }, Claim { .. } | Record { .. }) => Reply::InFlight,
            (Self::Done { value, .. }, Claim { .. } | Record { .. }) => Reply::Duplicate { value },

            (Self::InFlight { token: held }, Commit { token, value } | Push { token, value })
                if held == token =>
            {
                *self = Self::Done { token, value };
                Reply::Changed
            }
            (Self::Done { token: held, .. }, Commit { token, .. } | Push { token, .. })
                if held == token =>
            {
                Reply::Changed
            }
            (Self::Absent, Push { token, value }) => {
                *self = Self::Done { token, value };
                Reply::Changed
            }
            (Self::InFlight { token: held }, Extend { token }) if held == token => Reply::Changed,
            (Self::InFlight { token: held }, Release { token }) if held == token => {
                *self = Self::Absent;
                Reply::Changed
            }
            (Self::Done { .. }, Remove) => {
                *self = Self::Absent;
                Reply::Changed
            }
            (_, Commit { .. } | Push { .. } | Extend { .. } | Release { .. } | Remove) => {
                Reply::Unchanged
            }
        }
    }
}

/// The state of a client that handles one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Client {
    /// Has no claim. The message will be delivered again.
    Idle,
    /// Waits for the reply to a claim.
    Asking { token: Token },
    /// Waits for the claim of another client, to ask again with the same token.
    Waiting { token: Token },
    /// Handles the message, under a claim of the server.
    Holding { token: Token },
    /// Handles the message, because the server was unreachable.
    Degraded { token: Token },
    /// Waits for the reply to a commit.
    Committing { token: Token },
    /// Has been answered, or has crashed.
    Finished,
}

/// A message on the network. Messages are delivered in any order, or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Request {
        client: usize,
        request: Request,
    },
    Reply {
        client: usize,
        request: Request,
        reply: Reply,
    },
}

/// Limits the number of each failure on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Requests that are sent again, while the first may still arrive.
    pub retries: u8,
    /// Leases that end.
    pub expiries: u8,
    /// Clients that stop, or decide without the server.
    pub crashes: u8,
    /// Restarts without data, and failovers to a stale replica.
    pub losses: u8,
    /// Claims per path, including the first of each client.
    pub claims: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    key: Key,
    replica: Key,
    clients: [Client; 2],
    network: Vec<Message>,
    faults: Faults,
    next_token: Token,
    /// The client that the server has answered `Mine` within the present lease.
    holder: Option<usize>,
    /// `true` if a client has handled the message.
    handled: bool,
    /// The token of the commit that the server has acknowledged.
    committed: Option<Token>,
    /// `true` if the server has lost data.
    lost: bool,
}

/// The transition function under test.
pub type Apply = fn(&mut Key, Request) -> Reply;

/// Visits every reachable state, and returns their number, or the first violation.
///
/// # Errors
///
/// Returns the state, the request and the broken rule.
pub fn search(faults: Faults, apply: Apply) -> Result<usize, String> {
    let first = World {
        key: Key::Absent,
        replica: Key::Absent,
        clients: [Client::Idle; 2],
        network: Vec::new(),
        faults,
        next_token: 1,
        holder: None,
        handled: false,
        committed: None,
        lost: false,
    };
    let mut seen = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    let mut next = Vec::new();
    while let Some(world) = queue.pop_front() {
        world.successors(apply, &mut next)?;
        for world in next.drain(..) {
            if seen.insert(world.clone()) {
                queue.push_back(world);
            }
        }
    }
    Ok(seen.len())
}

/// Takes one from a counter, if one is left.
fn spend(left: &mut u8) -> bool {
    let some = *left > 0;
    *left -= u8::from(some);
    some
}

impl World {
    fn send(&mut self, message: Message) {
        self.network.push(message);
        self.drop_unawaited();
        // The order of delivery is free, so the order of sending is no part of the state.
        self.network.sort_unstable();
    }

    /// Drops the replies that no client waits for, because they cannot change anything.
    fn drop_unawaited(&mut self) {
        let clients = self.clients;
        self.network.retain(|&message| match message {
            Message::Request { .. } => true,
            Message::Reply {
                client, request, ..
            } => is_awaited(clients[client], request),
        });
    }

    fn successors(&self, apply: Apply, next: &mut Vec<Self>) -> Result<(), String> {
        for client in 0..self.clients.len() {
            self.client_steps(client, next);
        }
        for at in 0..self.network.len() {
            let mut lossy = self.clone();
            let message = lossy.network.remove(at);
            next.push(lossy.clone());
            match message {
                Message::Request { client, request } => {
                    lossy.serve(client, request, apply)?;
                    next.push(lossy);
                }
                Message::Reply {
                    client,
                    request,
                    reply,
                } => {
                    lossy.receive(client, request, reply);
                    if let (Request::Claim { token }, Client::Idle) =
                        (request, lossy.clients[client])
                    {
                        let mut waiting = lossy.clone();
                        waiting.clients[client] = Client::Waiting { token };
                        next.push(waiting);
                    }
                    next.push(lossy);
                }
            }
        }
        self.server_steps(next);
        Ok(())
    }

    fn client_steps(&self, client: usize, next: &mut Vec<Self>) {
        let mut step = |change: &dyn Fn(&mut Self) -> bool| {
            let mut world = self.clone();
            if change(&mut world) {
                world.drop_unawaited();
                next.push(world);
            }
        };
        let request = |request| Message::Request { client, request };
        let crash = |world: &mut Self| {
            world.clients[client] = Client::Finished;
            spend(&mut world.faults.crashes)
        };
        match self.clients[client] {
            Client::Idle => step(&|world| {
                let token = world.next_token;
                world.next_token += 1;
                world.clients[client] = Client::Asking { token };
                world.send(request(Request::Claim { token }));
                spend(&mut world.faults.claims)
            }),
            Client::Asking { token } => {
                step(&|world| {
                    world.send(request(Request::Claim { token }));
                    spend(&mut world.faults.retries)
                });
                step(&|world| {
                    world.clients[client] = Client::Degraded { token };
                    spend(&mut world.faults.crashes)
                });
                // A cancelled call.
                step(&|world| {
                    world.clients[client] = Client::Finished;
                    world.send(request(Request::Release { token }));
                    spend(&mut world.faults.crashes)
                });
                step(&crash);
            }
            Client::Waiting { token } => {
                step(&|world| {
                    world.clients[client] = Client::Asking { token };
                    world.send(request(Request::Claim { token }));
                    spend(&mut world.faults.claims)
                });
                step(&crash);
            }
            Client::Holding { token } => {
                step(&|world| {
                    world.handled = true;
                    world.clients[client] = Client::Committing { token };
                    world.send(request(Request::Commit {
                        token,
                        value: value_of(token),
                    }));
                    true
                });
                step(&|world| {
                    world.clients[client] = Client::Idle;
                    world.send(request(Request::Release { token }));
                    true
                });
                step(&|world| {
                    world.send(request(Request::Extend { token }));
                    spend(&mut world.faults.retries)
                });
                step(&crash);
            }
            Client::Degraded { token } => {
                step(&|world| {
                    world.handled = true;
                    world.clients[client] = Client::Finished;
                    world.send(request(Request::Push {
                        token,
                        value: value_of(token),
                    }));
                    true
                });
                step(&|world| {
                    world.clients[client] = Client::Idle;
                    world.send(request(Request::Release { token }));
                    true
                });
            }
            Client::Committing { token } => {
                step(&|world| {
                    world.send(request(Request::Commit {
                        token,
                        value: value_of(token),
                    }));
                    spend(&mut world.faults.retries)
                });
                step(&crash);
            }
            Client::Finished => {}
        }
    }

    fn server_steps(&self, next: &mut Vec<Self>) {
        if self.faults.losses > 0 {
            let mut replicated = self.clone();
            replicated.replica = self.key;
            next.push(replicated);
        }
        if matches!(self.key, Key::InFlight { .. }) {
            let mut expired = self.clone();
            if spend(&mut expired.faults.expiries) {
                expired.set_key(Key::Absent);
                next.push(expired);
            }
        }
        for key in [Key::Absent, self.replica] {
            let mut lossy = self.clone();
            if spend(&mut lossy.faults.losses) {
                lossy.set_key(key);
                lossy.holder = None;
                lossy.lost = true;
                next.push(lossy);
            }
        }
    }

    fn set_key(&mut self, key: Key) {
        if key == Key::Absent {
            self.holder = None;
        }
        self.key = key;
    }

    /// Lets the server handle a request, and checks every promise that concerns it.
    fn serve(&mut self, client: usize, request: Request, apply: Apply) -> Result<(), String> {
        let before = self.key;
        let mut key = before;
        let reply = apply(&mut key, request);
        let fail = |rule: &str| {
            Err(format!(
                "{rule}: {request:?} -> {reply:?}, {key:?} in {self:?}"
            ))
        };
        let mine = |key| match (key, request) {
            (
                Key::InFlight { token: held },
                Request::Claim { token }
                | Request::Commit { token, .. }
                | Request::Push { token, .. }
                | Request::Extend { token }
                | Request::Release { token },
            ) => held == token,
            (Key::Done { token: held, .. }, Request::Claim { token }) => held == token,
            _ => false,
        };
        match request {
            Request::Claim { .. } | Request::Record { .. } => {
                if before == Key::Absent && reply != Reply::Mine {
                    return fail("an id that is free can be claimed");
                }
                if before != Key::Absent && key != before {
                    return fail("a claim never changes a claim or a record");
                }
                if mine(before) && reply != Reply::Mine {
                    return fail("a repeated claim is answered `mine`");
                }
                if reply == Reply::Mine && !mine(key) {
                    return fail("`mine` means that the server holds the claim");
                }
                if matches!(reply, Reply::Duplicate { .. }) && !self.handled {
                    return fail("only a handled message is a duplicate");
                }
            }
            Request::Push { .. } if before == Key::Absent => {}
            _ if !mine(before) && key != before => {
                return fail("a late request changes nothing");
            }
            _ => {}
        }
        if matches!(key, Key::Done { .. }) && !self.handled {
            return fail("only a handled message is recorded");
        }
        if reply == Reply::Mine && self.holder.is_some_and(|holder| holder != client) {
            return fail("at most one client holds a lease");
        }
        if let (Request::Commit { token, .. }, Reply::Changed) = (request, reply) {
            if !self.lost && self.committed.is_some_and(|other| other != token) {
                return fail("at most one commit succeeds");
            }
            self.committed = Some(token);
        }
        if reply == Reply::Mine {
            self.holder = Some(client);
        }
        self.set_key(key);
        self.send(Message::Reply {
            client,
            request,
            reply,
        });
        Ok(())
    }

    fn receive(&mut self, client: usize, request: Request, reply: Reply) {
        if is_awaited(self.clients[client], request) {
            self.clients[client] = match (request, reply) {
                (Request::Claim { token }, Reply::Mine) => Client::Holding { token },
                (Request::Claim { .. }, Reply::InFlight) => Client::Idle,
                _ => Client::Finished,
            };
            self.drop_unawaited();
        }
    }
}

/// Returns the value with which the claim of a token is committed.
fn value_of(token: Token) -> u8 {
    token.to_le_bytes()[0]
}

/// Returns `true` if a client waits for the reply to a request.
fn is_awaited(client: Client, request: Request) -> bool {
    match (client, request) {
        (Client::Asking { token: sent }, Request::Claim { token })
        | (Client::Committing { token: sent }, Request::Commit { token, .. }) => sent == token,
        _ => false,
    }
}
