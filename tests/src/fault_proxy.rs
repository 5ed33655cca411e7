//! A proxy in front of an object store that does what networks and stores do: is slow, answers 500 and 503, says nothing,
//! cuts connections, changes bytes, takes half an upload, or is gone. HTTP as far as it must, and bytes otherwise.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Nothing.
    None = 0,
    /// 50 ms before each piece of an answer.
    Slow = 1,
    /// 500 to every request.
    Error = 2,
    /// 503 to every request.
    Unavailable = 3,
    /// Takes requests and never answers.
    Silent = 4,
    /// Cuts an answer off in the middle.
    Cut = 5,
    /// Changes a byte of large answers.
    WrongBytes = 6,
    /// Cuts an upload off in the middle.
    HalfUpload = 7,
    /// Nobody answers.
    Gone = 8,
}

impl Fault {
    /// Everything that goes wrong.
    pub const ALL: [Fault; 8] = [
        Fault::Slow,
        Fault::Error,
        Fault::Unavailable,
        Fault::Silent,
        Fault::Cut,
        Fault::WrongBytes,
        Fault::HalfUpload,
        Fault::Gone,
    ];
}

/// Bytes of an answer, or of an upload, after which it is cut or changed.
const SPARED_BYTES: u64 = 8 << 10;

/// See the module.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    fault: AtomicU8,
    hits: AtomicU64,
    /// Open connections, so that a new fault concerns those that are kept for the next request.
    open: Mutex<Vec<TcpStream>>,
}

impl State {
    fn is(&self, fault: Fault) -> bool {
        self.fault.load(Ordering::SeqCst) == fault as u8
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::SeqCst);
    }
}

impl FaultProxy {
    /// In front of `target`.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            target,
            fault: AtomicU8::new(0),
            hits: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
        });
        let serving = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = serving.clone();
                std::thread::spawn(move || serve(&state, client));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this goes wrong. Connections that are open end.
    ///
    /// # Panics
    /// When a thread of the proxy has.
    pub fn set(&self, fault: Fault) {
        self.state.fault.store(fault as u8, Ordering::SeqCst);
        for stream in self.state.open.lock().expect("no thread of the proxy panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How often something went wrong so far.
    pub fn hits(&self) -> u64 {
        self.state.hits.load(Ordering::SeqCst)
    }
}

fn serve(state: &Arc<State>, mut client: TcpStream) {
    if state.is(Fault::Gone) {
        state.hit();
        return;
    }
    let answer = if state.is(Fault::Error) {
        Some("500 Internal Server Error")
    } else if state.is(Fault::Unavailable) {
        Some("503 Service Unavailable")
    } else {
        None
    };
    if let Some(answer) = answer {
        state.hit();
        // A part of the request is enough to have an answer to.
        let _ = client.read(&mut [0; 64 << 10]);
        let _ = write!(client, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    if let Ok(kept) = client.try_clone() {
        state.open.lock().expect("no thread of the proxy panics").push(kept);
    }
    if state.is(Fault::Silent) {
        state.hit();
        // Until the other side gives up.
        while client.read(&mut [0; 64 << 10]).is_ok_and(|read| read > 0) {}
        return;
    }
    let Ok(server) = TcpStream::connect(state.target) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(client_half), Ok(server_half)) = (client.try_clone(), server.try_clone()) else { return };
    let answering = state.clone();
    let answers = std::thread::spawn(move || carry(&answering, server_half, client_half, false));
    carry(state, client, server, true);
    let _ = answers.join();
}

/// Carries bytes one way until either end closes.
fn carry(state: &State, mut from: TcpStream, mut to: TcpStream, is_request: bool) {
    let mut buffer = vec![0; 16 << 10];
    let mut carried = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..count];
        carried += count as u64;
        let far = carried > SPARED_BYTES;
        if far && ((is_request && state.is(Fault::HalfUpload)) || (!is_request && state.is(Fault::Cut))) {
            state.hit();
            break;
        }
        if far && !is_request && state.is(Fault::WrongBytes) {
            state.hit();
            bytes[count / 2] ^= 0x55;
        }
        if !is_request && state.is(Fault::Slow) {
            state.hit();
            std::thread::sleep(Duration::from_millis(50));
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
