//! `stub ADDRESS PORTS`: a server of many connections, for streams that test programs hold by the thousand. It listens on so many free
//! ports of the address, prints `port: N` for each, then `ready`, and on SIGUSR1 ends every connection.
//!
//! It goes over to any protocol and says back what it hears; `/watch` says a word now and then, `/logs` more than anybody reads, and
//! `/half` reads the request's body whole and leaves its answer open.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const USAGE: &str = "usage: stub ADDRESS PORTS";
/// Between two words of a watch.
const EVENT: Duration = Duration::from_secs(2);
/// Bytes that a log has at once: more than streams and sockets take of one that nobody reads.
const LOG: usize = 384 << 10;
/// How far the head of a request is read.
const MAX_HEAD: usize = 16 << 10;

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nbegun";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let read = match arguments.as_slice() {
        [address, ports] => address.parse().ok().zip(ports.parse().ok()),
        _ => None,
    };
    let Some((address, ports)) = read else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system gives a runtime its sockets");
    match runtime.block_on(run(address, ports)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(address: IpAddr, ports: usize) -> Result<()> {
    let mut ends = signal(SignalKind::user_defined1())?;
    let (end, ended) = watch::channel(0);
    for _ in 0..ports {
        let listener = TcpListener::bind((address, 0)).await.with_context(|| format!("{address} can't be listened on"))?;
        println!("port: {}", listener.local_addr()?.port());
        let ended = ended.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let mut ended = ended.clone();
                ended.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = serve(socket) => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
    }
    println!("ready");
    while ends.recv().await.is_some() {
        end.send_modify(|times| *times += 1);
    }
    Ok(())
}

async fn serve(mut socket: TcpStream) -> Result<()> {
    let head = head(&mut socket).await?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    if path.starts_with("/shell") {
        socket.write_all(SWITCH).await?;
        let (mut reader, mut writer) = socket.split();
        tokio::io::copy(&mut reader, &mut writer).await?;
        return Ok(());
    }
    if path.starts_with("/half") {
        let lower = head.to_ascii_lowercase();
        let length: Option<usize> = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.context("a length")?.min(MAX_HEAD)];
        socket.read_exact(&mut body).await?;
    }
    socket.write_all(ANSWER).await?;
    if path.starts_with("/logs") {
        let log = [format!("{LOG:x}\r\n").as_bytes(), &vec![b'x'; LOG], b"\r\n"].concat();
        socket.write_all(&log).await?;
    }
    let (mut reader, mut writer) = socket.split();
    let mut byte = [0];
    loop {
        tokio::select! {
            // Whoever goes away is seen at once.
            _ = reader.read(&mut byte) => return Ok(()),
            () = tokio::time::sleep(EVENT) => {}
        }
        if path.starts_with("/watch") {
            writer.write_all(b"5\r\nevent\r\n").await?;
        }
    }
}

async fn head(from: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < MAX_HEAD, "an endless head");
        head.push(from.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}
