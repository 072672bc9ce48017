//! A connection's bad day: a proxy that delays, cuts and refuses.

use super::{ports::Port, process::eventually};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Forwards a port of its own to a server on 127.0.0.1.
///
/// A reply that is lost although the server acted on its request: [`delay`](Self::delay) for an hour, ask, wait until
/// the server shows the effect, [`cut`](Self::cut).
pub struct CutProxy {
    port: Port,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    target: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    delay: Duration,
    refusing: bool,
    /// Cuts so far: a connection ends at the first one after it began.
    cuts: u64,
    accepted: u64,
    open: Vec<Open>,
}

struct Open {
    number: u64,
    sides: [TcpStream; 2],
}

impl CutProxy {
    pub fn to(port: u16) -> CutProxy {
        let shared = Shared { target: port, state: Mutex::default(), changed: Condvar::new() };
        let proxy = CutProxy { port: Port::claim(), shared: Arc::new(shared), accepting: Mutex::new(None) };
        proxy.accept();
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Drops every connection there is, with the replies under way; new ones are taken.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.cuts += 1;
        for open in state.open.drain(..) {
            open.close();
        }
        self.shared.changed.notify_all();
    }

    /// Hands every reply on this much later, those that wait already included. Zero: at once.
    pub fn delay(&self, delay: Duration) {
        self.shared.lock().delay = delay;
        self.shared.changed.notify_all();
    }

    /// Drops every connection and refuses new ones until [`accept`](Self::accept).
    pub fn refuse(&self) {
        self.shared.lock().refusing = true;
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            // It looks at `refusing` when somebody connects.
            let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
            let _ = connect();
            accepting.join().unwrap();
            // A process that another thread is starting has our sockets too, up to the moment it runs its program.
            eventually(|| connect().is_err().then_some(()), || "a port that is closed".to_owned());
        }
        self.cut();
    }

    /// Takes connections, as it does from the start.
    pub fn accept(&self) {
        let mut accepting = self.accepting.lock().unwrap();
        if accepting.is_none() {
            self.shared.lock().refusing = false;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port())).expect("the proxy's port");
            let shared = Arc::clone(&self.shared);
            *accepting = Some(thread::spawn(move || shared.serve(&listener)));
        }
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.lock().open.len()
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.refuse();
    }
}

impl Open {
    fn close(&self) {
        for side in &self.sides {
            let _ = side.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            if self.lock().refusing {
                return;
            }
            // A server that is down shows as a connection that ends at once.
            let _ = self.forward(client);
        }
    }

    fn forward(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let sides = [client.try_clone()?, server.try_clone()?];
        let (number, cuts) = {
            let mut state = self.lock();
            state.accepted += 1;
            let number = state.accepted;
            state.open.push(Open { number, sides });
            (number, state.cuts)
        };
        let (requests, replies) = ((client.try_clone()?, server.try_clone()?), (server, client));
        let shared = Arc::clone(self);
        thread::spawn(move || shared.copy(requests, number, |_| true));
        let shared = Arc::clone(self);
        thread::spawn(move || shared.copy(replies, number, |arrived| shared.held(arrived, cuts)));
        Ok(())
    }

    /// Copies one direction until either side ends; that ends the other direction too.
    fn copy(&self, (mut from, mut to): (TcpStream, TcpStream), number: u64, wait: impl Fn(Instant) -> bool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if !wait(Instant::now()) || to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let mut state = self.lock();
        if let Some(place) = state.open.iter().position(|open| open.number == number) {
            state.open.swap_remove(place).close();
        }
    }

    /// Holds a reply for the delay; whether it may still go.
    fn held(&self, arrived: Instant, cuts: u64) -> bool {
        let mut state = self.lock();
        while state.cuts == cuts {
            let left = state.delay.saturating_sub(arrived.elapsed());
            if left.is_zero() {
                return true;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
        false
    }
}
