//! The HTTP address as a client meets it: over a real socket, since the limits live there.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::{Sources, load};

struct NoFigures;

impl Figures for NoFigures {
    fn refresh(&self) -> BoxFuture<'_, String> {
        Box::pin(async { String::new() })
    }
}

struct Served {
    address: SocketAddr,
    readiness: Readiness,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// Serves on a free loopback port as if the configured address were `http_addr`.
async fn served(http_addr: &str, key: Option<&str>) -> Served {
    let mut env = vec![("CHRONIK_HTTP_ADDR".to_owned(), http_addr.to_owned())];
    env.extend(key.map(|key| ("CHRONIK_ADMIN_API_KEY".to_owned(), key.to_owned())));
    let config = load(&Sources { env, ..Sources::default() }).unwrap();
    let readiness = Readiness::new();
    let state = HttpState::with_figures(Arc::new(config), readiness.clone(), Box::new(NoFigures));
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(serve(listener, state, stopping));
    Served { address, readiness, stop, task }
}

impl Served {
    async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
        let request = format!("GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, text)
    }
}

#[tokio::test]
async fn health_says_ready_only_when_told_so() {
    let served = served("127.0.0.1:6092", None).await;
    assert_eq!(served.get("/health/live", "").await.0, 200);
    assert_eq!(served.get("/health/ready", "").await.0, 503);
    served.readiness.set(true);
    assert_eq!(served.get("/health/ready", "").await.0, 200);
    assert_eq!(served.get("/nothing", "").await.0, 404);
    let (status, text) = served.get("/metrics", "").await;
    assert_eq!(status, 200);
    assert!(text.contains("text/plain; version=0.0.4"));
}

#[tokio::test]
async fn a_key_is_asked_for_wherever_it_is_set() {
    for address in ["127.0.0.1:6092", "0.0.0.0:6092"] {
        let served = served(address, Some("swordfish")).await;
        let path = "/v1/admin/config";
        assert_eq!(served.get(path, "").await.0, 401);
        assert_eq!(served.get(path, "X-API-Key: swordfis\r\n").await.0, 403);
        assert_eq!(served.get(path, "X-API-Key: swordfish2\r\n").await.0, 403);
        assert_eq!(served.get(path, "Authorization: Basic swordfish\r\n").await.0, 401);
        let (status, text) = served.get(path, "Authorization: bearer swordfish\r\n").await;
        assert_eq!(status, 200);
        assert!(text.contains("\"num.partitions\"") && !text.contains("swordfish"));
        assert_eq!(served.get(path, "X-API-Key: swordfish\r\n").await.0, 200);
        assert_eq!(served.get("/v1/admin/none", "").await.0, 401, "a guess learns nothing without the key");
        assert_eq!(served.get("/health/live", "").await.0, 200);
        assert_eq!(served.get("/metrics", "").await.0, 200);
    }
}

#[tokio::test]
async fn without_a_key_only_this_machine_is_answered() {
    let path = "/v1/admin/config";
    let open = served("0.0.0.0:6092", None).await;
    let (status, text) = open.get(path, "").await;
    assert_eq!(status, 403);
    assert!(text.contains("CHRONIK_ADMIN_API_KEY"));
    assert_eq!(open.get("/metrics", "").await.0, 200);
    let local = served("127.0.0.1:6092", None).await;
    assert_eq!(local.get(path, "").await.0, 200);
    assert_eq!(local.get(path, "Host: [::1]:6092\r\n").await.0, 200);
    assert_eq!(local.get(path, "Host: evil.example\r\n").await.0, 403, "DNS rebinding");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_client_that_says_nothing() {
    let served = served("127.0.0.1:6092", None).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    silent.write_all(b"GET /health/live HTTP/1.1\r\n").await.unwrap();
    assert_eq!(served.get("/health/live", "").await.0, 200);
    served.stop.send(true).unwrap();
    tokio::time::timeout(STOP_TIMEOUT * 3, served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let served = served("127.0.0.1:6092", None).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ").await.unwrap();
    let chunk = [b'a'; 16 * 1024];
    let mut sent = 0;
    // 8 MiB is far above any bound; the server must have closed by then.
    while sent < 8 << 20 {
        match stream.write_all(&chunk).await {
            Ok(()) => sent += chunk.len(),
            Err(_) => return,
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{} bytes of header were taken", sent);
}
