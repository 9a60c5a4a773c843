//! Whether the agent lives and has joined: for a kubelet's probes over HTTP, and for systemd's watchdog.
//!
//! It lives when its runtime runs and its engine answers, which a stuck disk keeps it from. A hub or an API server that is away is no
//! reason for a restart: the agent is made for that.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use system::notify;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, Input};

/// Longest that the engine may take to answer: a commit on a slow flash card included.
const ANSWER: Duration = Duration::from_secs(5);

/// Longest that somebody may take to ask.
const ASK: Duration = Duration::from_secs(2);

/// Requests at the same time; others wait.
const CONNECTIONS: usize = 4;

/// Bytes of a request that are read; a kubelet's is about 100.
const REQUEST: usize = 1024;

/// What can be told so far: nothing of the engine before the cluster has joined.
#[derive(Clone, Default)]
pub struct Probe {
    engine: Arc<OnceLock<Engine>>,
}

impl Probe {
    /// The cluster has joined, and this engine runs.
    pub fn joined(&self, engine: Engine) {
        let _ = self.engine.set(engine);
        notify::tell("STATUS=joined");
    }

    /// Whether the agent works, while it waits to join too.
    pub async fn is_alive(&self) -> bool {
        let Some(engine) = self.engine.get() else { return true };
        let (answer, answered) = oneshot::channel();
        let ask = async {
            engine.tell(Input::Ping(answer)).await;
            answered.await.is_ok()
        };
        tokio::time::timeout(ANSWER, ask).await.unwrap_or(false)
    }

    async fn answer(&self, path: &str) -> (&'static str, &'static str) {
        match path {
            "/healthz" if self.is_alive().await => ("200 OK", "ok"),
            "/healthz" => ("503 Service Unavailable", "the engine does not answer: is the disk stuck?"),
            "/readyz" if self.engine.get().is_none() => ("503 Service Unavailable", "not joined yet: see the log"),
            "/readyz" => ("200 OK", "joined"),
            _ => ("404 Not Found", "there are /healthz and /readyz"),
        }
    }
}

/// Tells the service manager that the agent lives, as often as it wants to hear.
pub async fn keep_alive(probe: Probe) {
    notify::tell(notify::READY);
    let Some(interval) = notify::interval() else { return };
    loop {
        if probe.is_alive().await {
            notify::tell(notify::ALIVE);
        }
        tokio::time::sleep(interval).await;
    }
}

/// Listens for a kubelet.
///
/// # Errors
/// The address cannot be had.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("health_listen {address}: give another address with --health-listen"))
}

/// Answers until it is stopped.
pub async fn serve(listener: TcpListener, probe: Probe, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(Ok(place)) = stop.run_until_cancelled(places.clone().acquire_owned()).await {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { return };
        let Ok((stream, _)) = accepted else {
            // No descriptor is left, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let probe = probe.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(ASK + ANSWER, reply(stream, &probe)).await;
            drop(place);
        });
    }
}

async fn reply(mut stream: TcpStream, probe: &Probe) -> std::io::Result<()> {
    let Ok(request) = tokio::time::timeout(ASK, head(&mut stream)).await else { return Ok(()) };
    let request = request?;
    let (status, text) = match path(&request) {
        Some(path) => probe.answer(path).await,
        None => ("400 Bad Request", "this answers GET over HTTP/1.1"),
    };
    let length = text.len() + 1;
    let answer = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The request up to its empty line, or what of it fits.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = vec![0; REQUEST];
    let mut len = 0;
    while len < REQUEST && !request[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut request[len..]).await? {
            0 => break,
            more => len += more,
        }
    }
    request.truncate(len);
    Ok(request)
}

/// The path of a GET or HEAD without its query.
fn path(request: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(request.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    let asked = matches!(words.next(), Some("GET" | "HEAD"));
    let target = words.next().filter(|target| asked && target.starts_with('/'))?;
    let versioned = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    versioned.then(|| target.split('?').next().unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        // What was not read of a refused request resets the connection, after the answer.
        let _ = stream.read_to_string(&mut answer).await;
        answer.lines().next().unwrap_or_default().to_owned()
    }

    async fn served() -> (SocketAddr, Probe, CancellationToken) {
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (address, probe, stop) = (listener.local_addr().unwrap(), Probe::default(), CancellationToken::new());
        tokio::spawn(serve(listener, probe.clone(), stop.clone()));
        (address, probe, stop)
    }

    #[tokio::test]
    async fn an_agent_that_waits_to_join_lives_and_is_not_ready() {
        let (address, _, _stop) = served().await;
        assert_eq!(ask(address, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await, "HTTP/1.1 200 OK");
        assert_eq!(ask(address, b"GET /readyz?verbose HTTP/1.1\r\n\r\n").await, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(ask(address, b"GET /other HTTP/1.1\r\n\r\n").await, "HTTP/1.1 404 Not Found");
        for odd in [&b"POST /healthz HTTP/1.1\r\n\r\n"[..], b"GET http://x/ HTTP/1.1\r\n\r\n", b"\xff\xff\r\n\r\n", &[b'a'; REQUEST]] {
            assert_eq!(ask(address, odd).await, "HTTP/1.1 400 Bad Request");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_does_not_answer_is_told() {
        let (engine, inputs) = Engine::listened();
        let probe = Probe::default();
        probe.joined(engine);
        assert_eq!(probe.answer("/readyz").await.0, "200 OK");
        let (alive, ()) = tokio::join!(probe.is_alive(), async {
            let Ok(Input::Ping(answer)) = inputs.recv_async().await else { panic!("something else than a ping") };
            answer.send(()).unwrap();
        });
        assert!(alive);
        assert_eq!(probe.answer("/healthz").await.0, "503 Service Unavailable");
    }
}
