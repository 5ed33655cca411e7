//! Listening sockets: bound before anything else starts, so that an address in use is known at once; then one task a
//! connection, within the limits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{self, ConnectionContext};
use super::limits::ConnectionLimits;
use super::memory::RequestMemory;
use crate::broker::{Broker, ListenerInfo};

/// Connections the kernel queues for us before we accept them.
const BACKLOG: i32 = 1024;

/// A dead peer is found by the kernel's probes, at the latest after about two minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// After the system refused a connection (no file descriptor left, say), wait before asking again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that is bound and listening, but answers nobody yet.
#[derive(Debug)]
pub struct BoundListener(TcpListener);

/// A bound socket that knows what its clients are told.
#[derive(Debug)]
pub struct NamedListener {
    listener: TcpListener,
    info: Arc<ListenerInfo>,
}

impl BoundListener {
    /// Binds `address`; must be called in a runtime.
    ///
    /// # Errors
    /// The system's, `AddrInUse` among them.
    pub fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // `[::]` and `0.0.0.0` are then two addresses, on every platform.
            socket.set_only_v6(true)?;
        }
        // Lets a restart take the address over from connections that linger.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self(TcpListener::from_std(socket.into())?))
    }

    /// Where it listens; tells the port when it was bound to port 0.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Adds what clients are told.
    pub fn told(self, info: ListenerInfo) -> NamedListener {
        NamedListener { listener: self.0, info: Arc::new(info) }
    }
}

/// Open connections, over all listeners.
#[derive(Debug, Default)]
struct Connections {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

struct Admitted {
    connections: Arc<Mutex<Connections>>,
    ip: IpAddr,
    broker: Arc<Broker>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut connections = self.connections.lock();
        connections.total -= 1;
        if let Some(count) = connections.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                connections.by_ip.remove(&self.ip);
            }
        }
        self.broker.metrics.active_connections.set(connections.total as f64);
    }
}

fn admit(connections: &Arc<Mutex<Connections>>, ip: IpAddr, broker: &Arc<Broker>) -> Option<Admitted> {
    let settings = broker.dynamic.settings.current();
    let network = &settings.network;
    let mut open = connections.lock();
    let from_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
    if open.total >= network.max_connections || from_ip >= network.max_connections_per_ip {
        return None;
    }
    open.total += 1;
    open.by_ip.insert(ip, from_ip + 1);
    broker.metrics.active_connections.set(open.total as f64);
    Some(Admitted { connections: connections.clone(), ip, broker: broker.clone() })
}

/// Serves every listener until `stopping` turns true; returns when all connections have ended.
pub async fn serve(
    listeners: Vec<NamedListener>,
    broker: Arc<Broker>,
    memory: RequestMemory,
    limits: ConnectionLimits,
    stopping: watch::Receiver<bool>,
) {
    let connections = Arc::new(Mutex::new(Connections::default()));
    let mut accepting = JoinSet::new();
    for bound in listeners {
        let context = ConnectionContext {
            broker: broker.clone(),
            listener: bound.info,
            memory: memory.clone(),
            limits,
            stopping: stopping.clone(),
        };
        accepting.spawn(accept_loop(bound.listener, context, connections.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept_loop(
    listener: TcpListener,
    context: ConnectionContext,
    connections: Arc<Mutex<Connections>>,
) {
    let mut stopping = context.stopping.clone();
    // Bounded by `max.connections`.
    let mut open = JoinSet::new();
    while !*stopping.borrow() {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match admit(&connections, peer.ip(), &context.broker) {
                    Some(admitted) => {
                        open.spawn(serve_connection(stream, peer, context.clone(), admitted));
                    }
                    None => tracing::warn!(
                        %peer,
                        "connection refused: max.connections or max.connections.per.ip is reached"
                    ),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
            _ = stopping.changed() => {}
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    context: ConnectionContext,
    admitted: Admitted,
) {
    // A reply is one write; waiting to fill a packet would only delay it.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let (reader, writer) = stream.into_split();
    if let Err(error) = connection::run(context, peer, reader, writer).await {
        tracing::debug!(%peer, %error, "connection closed");
    }
    drop(admitted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamic::settings::Scope;
    use crate::handlers::testing;

    #[tokio::test]
    async fn limits_changed_at_run_time_hold_for_the_next_connection() {
        let ctx = testing::context().await;
        let set = async |name: &str, value: &str| {
            let layer = [(name.to_owned(), value.to_owned())].into();
            let replaced = ctx.broker.dynamic.settings.replace(&ctx.broker.engine, Scope::ThisBroker, layer);
            replaced.await.expect("the store is well");
        };
        let connections = Arc::default();
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = admit(&connections, here, &ctx.broker);
        assert!(first.is_some());
        set("max.connections.per.ip", "1").await;
        assert!(admit(&connections, here, &ctx.broker).is_none());
        let second = admit(&connections, there, &ctx.broker);
        assert!(second.is_some());
        set("max.connections", "2").await;
        assert!(admit(&connections, here, &ctx.broker).is_none());
        drop(second);
        assert!(admit(&connections, here, &ctx.broker).is_some());
    }
}
