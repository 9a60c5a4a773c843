//! One stream of each kind through the hub, what each has brought, and when.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::Process;

use crate::world::World;
use crate::{BACK_WITHIN, COUNT, FILE_LINES, LINES, SOON};

const POLL: Duration = Duration::from_millis(20);
/// Objects that the watch sees.
const OBJECTS: usize = 5;

/// A pod that says numbers and ends.
fn counter(name: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: faults}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
    - name: counter
      image: docker.io/local/busybox:1
      imagePullPolicy: Never
      command: [sh, -c, "{COUNT}"]
"#
    )
}

/// One of each kind, under way.
pub struct Streams<'a> {
    world: &'a World<'a>,
    name: String,
    /// Exec over WebSocket, exec over SPDY, `logs -f`.
    pub counting: [(&'static str, Process, i32); 3],
    pub watch: Process,
    forward: Process,
    pub download: TcpStream,
}

/// How long after the road was healed each kind brought something that had been said since it broke.
pub type Firsts = Vec<(&'static str, Duration)>;

impl<'a> Streams<'a> {
    /// Starts them all, and waits until each has carried something.
    pub fn start(world: &'a World<'a>, name: &str) -> Result<Streams<'a>> {
        let folder = world.scratch.path();
        let member = world.member.kubectl();
        member.apply(&counter(name))?;
        member.wait_until(["pod", "-n", "faults", name], SOON, |pod| pod["status"]["phase"] == "Running")?;
        let exec = ["exec", "-n", "faults", "web", "--", "sh", "-c", COUNT];
        let launch = |label: &str, args: &[&str]| world.kubectl.launch(&format!("{name}-{label}"), args, folder);
        // From the cache, which of a kind that seldom changes may be behind.
        let watched = format!("/api/v1/namespaces/faults/configmaps?watch=true&resourceVersion=0&labelSelector=stream%3D{name}");
        let mut forward = launch("forward", &["port-forward", "-n", "faults", "web", ":8080"]).start()?;
        // Not `get --watch`, which begins another watch by itself when one breaks.
        let watch = launch("watch", &["get", "--raw", &watched]).start()?;
        let download = download(&mut forward)?;
        let spdy = launch("spdy", &exec).env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
        let counting = [
            ("exec", launch("websocket", &exec).start()?, 7),
            ("exec over SPDY", spdy.start()?, 7),
            ("logs -f", launch("logs", &["logs", "-n", "faults", "-f", name]).start()?, 0),
        ];
        let mut streams = Streams { world, name: name.to_owned(), counting, watch, forward, download };
        touch(world, name, 0)?;
        for (_, process, _) in &mut streams.counting {
            process.wait_for_line("line-100 ", SOON)?;
        }
        streams.sees(1, SOON)?;
        Ok(streams)
    }

    /// Waits until the watch has seen so many objects; the names of all that it saw.
    fn sees(&mut self, count: usize, within: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + within;
        loop {
            let names = seen(&self.watch);
            if names.len() >= count {
                return Ok(names);
            }
            ensure!(Instant::now() < deadline && self.watch.is_running(), "the watch saw {names:?}: {}", self.watch.log_tail());
            thread::sleep(POLL);
        }
    }

    /// When each kind brings the first thing that was said after `broken` (uptime, in seconds), counted from now, and what the download
    /// brings in all, whose first `carried` bytes may have come before.
    pub fn bring(&mut self, broken: f64, carried: u64) -> Result<(Firsts, Vec<u8>)> {
        let (healed, deadline) = (Instant::now(), Instant::now() + BACK_WITHIN);
        let Streams { world, name, counting, watch, download, .. } = self;
        thread::scope(|scope| {
            let loading = scope.spawn(|| load(download, carried));
            let touching = scope.spawn(|| (1..OBJECTS).try_for_each(|number| touch(world, name, number)));
            let mut firsts = Firsts::new();
            let mut waiting: Vec<&str> = counting.iter().map(|(label, ..)| *label).chain(["watch"]).collect();
            while !waiting.is_empty() {
                ensure!(Instant::now() < deadline, "{waiting:?} brought nothing within {BACK_WITHIN:?}");
                waiting.retain(|label| {
                    let has_come = match counting.iter().find(|(counting, ..)| counting == label) {
                        Some((_, process, _)) => last_said(&process.log()).is_some_and(|said| said > broken),
                        None => seen(watch).len() > 1,
                    };
                    if has_come {
                        firsts.push((label, healed.elapsed()));
                    }
                    !has_come
                });
                thread::sleep(POLL);
            }
            touching.join().expect("no panic")?;
            let (first, body) = loading.join().expect("no panic")?;
            firsts.push(("port-forward", first.saturating_duration_since(healed)));
            Ok((firsts, body))
        })
    }

    /// Reads each to its end: everything is there, once, in order. The lines that were lost and doubled, which is none.
    pub fn are_whole(mut self, body: Vec<u8>) -> Result<(usize, usize)> {
        let body = String::from_utf8(body)?;
        let (_, body) = body.split_once("\r\n\r\n").context("no answer")?;
        let mut missed = complete("the download", &numbers(body.lines())?, 1..=FILE_LINES)?;
        for (label, process, code) in &mut self.counting {
            let status = process.wait(BACK_WITHIN)?;
            let said = process.log();
            let counted = numbers(said.lines().filter_map(|line| line.strip_prefix("line-")))?;
            let here = complete(label, &counted, 0..=LINES - 1).map_err(|error| error.context(process.log_tail()))?;
            ensure!(status.code() == Some(*code), "{label} ended with {status}: {}", process.log_tail());
            missed = (missed.0 + here.0, missed.1 + here.1);
        }
        let names = self.sees(OBJECTS, SOON)?;
        let expected: Vec<String> = (0..OBJECTS).map(|number| format!("{}-{number}", self.name)).collect();
        ensure!(names == expected, "the watch saw {names:?}");
        ensure!(self.forward.is_running(), "port-forward has ended: {}", self.forward.log_tail());
        Ok(missed)
    }
}

/// Begins to load the file through a port-forward, and leaves it there: what waits is in the streams.
fn download(forward: &mut Process) -> Result<TcpStream> {
    let said = forward.wait_for_line("Forwarding from 127.0.0.1:", SOON)?;
    let port: u16 = said.split_whitespace().next().and_then(|port| port.parse().ok()).with_context(|| format!("no port in {said:?}"))?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    // So that it is the streams where the file waits.
    socket.set_recv_buffer_size(32 << 10)?;
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(BACK_WITHIN))?;
    socket.write_all(b"GET /numbers HTTP/1.0\r\n\r\n")?;
    let mut first = [0; 1];
    socket.peek(&mut first)?;
    Ok(socket)
}

/// Reads to the end; when more had come than `carried` bytes.
fn load(from: &mut TcpStream, carried: u64) -> Result<(Instant, Vec<u8>)> {
    let (mut body, mut chunk, mut first) = (Vec::new(), vec![0; 64 << 10], None);
    loop {
        let count = from.read(&mut chunk).context("the download")?;
        if body.len() as u64 > carried {
            first.get_or_insert_with(Instant::now);
        }
        if count == 0 {
            return Ok((first.context("all of the download had come before")?, body));
        }
        body.extend_from_slice(&chunk[..count]);
    }
}

/// Makes the watched object of this number, on the member itself.
fn touch(world: &World<'_>, name: &str, number: usize) -> Result<()> {
    let object =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-{number}, namespace: faults, labels: {{stream: {name}}}}}");
    world.member.kubectl().apply(&object).map(drop)
}

/// The names of the objects that a watch has seen.
fn seen(watch: &Process) -> Vec<String> {
    let log = watch.log();
    let events = log.split_inclusive('\n').filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter_map(|event| Some(event["object"]["metadata"]["name"].as_str()?.to_owned())).collect()
}

/// The uptime at which the last whole line was said.
fn last_said(log: &str) -> Option<f64> {
    let (whole, _) = log.rsplit_once('\n')?;
    whole.lines().rev().find_map(|line| line.strip_prefix("line-")?.split_once(' ')?.1.parse().ok())
}

/// The number that each line begins with.
fn numbers<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<usize>> {
    let number = |line: &str| line.split(' ').next().and_then(|number| number.parse().ok()).with_context(|| format!("{line:?}"));
    lines.map(number).collect()
}

/// How many of the numbers are lost and doubled: none, and they are in order.
fn complete(label: &str, found: &[usize], expected: std::ops::RangeInclusive<usize>) -> Result<(usize, usize)> {
    let distinct = found.iter().collect::<std::collections::BTreeSet<_>>().len();
    let (lost, doubled) = (expected.clone().count().saturating_sub(distinct), found.len() - distinct);
    ensure!(found.iter().copied().eq(expected), "{label}: {lost} lines lost, {doubled} doubled, of {}", found.len());
    Ok((lost, doubled))
}
