//! A link to a twin that can be slowed down and cut.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::Twin;

/// Bytes that are passed on at a time; with the rate, this determines how smooth the flow is.
const CHUNK: usize = 16 << 10;

/// A port of this machine that forwards to a twin's sshd.
pub(crate) struct Link {
    pub(crate) port: u16,
    /// Bytes a second towards the twin; 0 means no limit.
    rate: Arc<AtomicU64>,
    /// Bytes sent towards the twin.
    sent: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
    /// How often the current connections fell silent.
    silences: Arc<AtomicU64>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    target: Arc<Mutex<String>>,
}

impl Link {
    pub(crate) fn to(twin: &Twin) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Self {
            port: listener.local_addr().unwrap().port(),
            rate: Arc::default(),
            sent: Arc::default(),
            broken: Arc::default(),
            silences: Arc::default(),
            sockets: Arc::default(),
            target: Arc::default(),
        };
        link.lead_to(twin);
        let (rate, sockets) = (Arc::clone(&link.rate), Arc::clone(&link.sockets));
        let (sent, broken) = (Arc::clone(&link.sent), Arc::clone(&link.broken));
        let silences = Arc::clone(&link.silences);
        let target = Arc::clone(&link.target);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if broken.load(Ordering::Relaxed) {
                    continue;
                }
                let target = target.lock().unwrap().clone();
                let Ok(far) = TcpStream::connect(target) else {
                    continue;
                };
                for socket in [&near, &far] {
                    sockets.lock().unwrap().push(socket.try_clone().unwrap());
                }
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (rate, sent) = (Arc::clone(&rate), Arc::clone(&sent));
                let (there, back) = (Silence::new(&silences), Silence::new(&silences));
                std::thread::spawn(move || pass(near, far, &there, &rate, &sent));
                let none = AtomicU64::new(0);
                std::thread::spawn(move || {
                    pass(far_too, near_too, &back, &none, &AtomicU64::new(0));
                });
            }
        });
        link
    }

    /// Connects new connections to another twin, as if that one had got the address.
    pub(crate) fn lead_to(&self, twin: &Twin) {
        *self.target.lock().unwrap() = format!("{}:22", twin.address);
    }

    /// Limits the link to `rate` bytes a second towards the twin; 0 means no limit.
    pub(crate) fn slow(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Returns the bytes sent towards the twin so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` bytes have been sent towards the twin.
    pub(crate) fn wait_for(&self, bytes: u64) {
        let end = std::time::Instant::now() + Duration::from_secs(120);
        while self.sent() < bytes {
            assert!(std::time::Instant::now() < end, "{} bytes", self.sent());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Cuts all connections, and refuses new ones.
    pub(crate) fn pull(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Stops passing on anything on the current connections,
    /// without closing them. New connections are possible.
    pub(crate) fn fall_silent(&self) {
        self.silences.fetch_add(1, Ordering::Relaxed);
    }

    /// Cuts all connections. New connections are possible.
    pub(crate) fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Whether a connection fell silent.
struct Silence {
    silences: Arc<AtomicU64>,
    at_first: u64,
}

impl Silence {
    fn new(silences: &Arc<AtomicU64>) -> Self {
        Self {
            at_first: silences.load(Ordering::Relaxed),
            silences: Arc::clone(silences),
        }
    }

    /// Never returns once the connection fell silent.
    fn wait(&self) {
        while self.silences.load(Ordering::Relaxed) != self.at_first {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    silence: &Silence,
    rate: &AtomicU64,
    sent: &AtomicU64,
) {
    let mut buffer = [0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        silence.wait();
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        sent.fetch_add(count as u64, Ordering::Relaxed);
        let micros = (count as u64 * 1_000_000).checked_div(rate.load(Ordering::Relaxed));
        if let Some(micros) = micros {
            std::thread::sleep(Duration::from_micros(micros));
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
